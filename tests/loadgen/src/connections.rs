//! A run of idle connections: rate, CPU of connecting, memory of each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::{nonce, now_ns};
use crate::histogram::Histogram;
use crate::load::Common;
use crate::login::{self, Login};
use crate::process::Process;
use crate::report::{ConnectionsReport, round};

/// So many refusals end a run.
const ERRORS_MAX: usize = 20;

/// Options of the scenario.
#[derive(Args, Clone)]
pub struct Connections {
    /// Connections
    #[arg(long, default_value_t = 10_000)]
    pub n: usize,
    /// Handshakes under way at once
    #[arg(long, default_value_t = 100)]
    pub concurrency: usize,
    /// Each connection also subscribes to a topic of its own
    #[arg(long)]
    pub subscribe: bool,
    /// Hold them this many seconds, to see the CPU of idling
    #[arg(long, default_value_t = 2.0)]
    pub hold: f64,
}

/// Connects, holds, and gives the figures.
pub async fn run(common: Common, options: Connections) -> Result<ConnectionsReport> {
    ensure!(options.concurrency > 0, "--concurrency 0 connects nothing");
    let processes = &common.processes;
    let login = common.login(None);
    let id = nonce();
    let rss = || processes.iter().map(Process::rss_kib).sum::<u64>();
    let cpu = || processes.iter().map(|p| p.cpu().total()).sum::<f64>();
    let (rss_before, cpu_before, start) = (rss(), cpu(), Instant::now());
    let limit = Duration::from_secs_f64(common.max_secs);
    let under_way = Rc::new(Semaphore::new(options.concurrency));
    let latency = Rc::new(RefCell::new(Histogram::default()));
    let failures = Rc::new(Cell::new(0));
    let mut tasks = JoinSet::new();
    for k in 0..options.n {
        // Given back by the task itself: one thread needs no owned permit.
        under_way.acquire().await.context("the semaphore is never closed")?.forget();
        if start.elapsed() > limit || failures.get() > ERRORS_MAX {
            break;
        }
        let (under_way, latency, failures) = (under_way.clone(), latency.clone(), failures.clone());
        let (login, id, addr, subscribe) = (login.clone(), id.clone(), common.publisher_addr(k), options.subscribe);
        tasks.spawn_local(async move {
            let begin = now_ns();
            let connecting = timeout(limit, connect(addr, &login, &id, k, subscribe)).await;
            let result = connecting.context("timed out").and_then(|r| r);
            match &result {
                Ok(_) => latency.borrow_mut().add(now_ns() - begin),
                Err(_) => failures.set(failures.get() + 1),
            }
            under_way.add_permits(1);
            result
        });
    }
    let (mut held, mut errors) = (Vec::with_capacity(options.n), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done? {
            Ok(stream) => held.push(stream),
            Err(e) => errors.push(format!("{e:#}")),
        }
    }
    let (secs, cpu_connected, connected) = (start.elapsed().as_secs_f64(), cpu(), held.len());
    sleep(Duration::from_secs_f64(options.hold)).await;
    let (cpu_held, rss_held) = (cpu(), rss());
    let each = connected.max(1) as f64;
    let lat_us = latency.borrow().summary();
    Ok(ConnectionsReport {
        label: common.label.clone(),
        scenario: "conns",
        level: common.level,
        n: options.n,
        connected,
        errors: errors.len(),
        first_error: errors.into_iter().next(),
        subscribe: options.subscribe,
        secs: round(secs, 3),
        conn_per_s: round(connected as f64 / secs, 0),
        cpu_s_per_10k: round((cpu_connected - cpu_before) / each * 1e4, 3),
        rss0_mib: round(rss_before as f64 / 1024.0, 1),
        rss_mib: round(rss_held as f64 / 1024.0, 1),
        kib_per_conn: round(rss_held.saturating_sub(rss_before) as f64 / each, 2),
        idle_cpu_pct: round((cpu_held - cpu_connected) / options.hold.max(0.001) * 100.0, 1),
        lat_us,
    })
}

async fn connect(addr: std::net::SocketAddr, login: &Login, id: &str, k: usize, subscribe: bool) -> Result<TcpStream> {
    let mut s = login::connect(addr, &format!("lg.{id}.c.0.{k}"), login).await?;
    if subscribe {
        login::subscribe(&mut s, login.level, &[format!("own/{id}/{k}/cmd")], 1, 1).await?;
    }
    Ok(s)
}
