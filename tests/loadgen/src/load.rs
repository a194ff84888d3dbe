//! A run of a load: connects, warms up, measures until everything has arrived.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::clock::nonce;
use crate::login::{self, Login};
use crate::mqtt;
use crate::process::{Cpu, Process};
use crate::report::{FilterReport, LoadReport, ProcessReport, round};
use crate::scenario::Plan;
use crate::traffic::{self, Board, Publisher};

/// No progress for so long is a stall.
const STALL: Duration = Duration::from_secs(4);

/// Options of every scenario.
#[derive(Args, Clone)]
pub struct Common {
    /// Broker that publishers connect to; repeatable, then they connect to each in turn
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub addr: Vec<SocketAddr>,
    /// Broker that subscribers connect to, when another (links, clusters); repeatable, then they are spread so that the
    /// subscriber of a pair is at each of them, wherever its publisher is
    #[arg(long)]
    pub sub_addr: Vec<SocketAddr>,
    /// Process to account CPU to, NAME=PID; repeatable
    #[arg(long = "pid", value_parser = Process::parse)]
    pub processes: Vec<Process>,
    /// MQTT level: 4 (3.1.1) or 5
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=5))]
    pub level: u8,
    /// Copied into the output
    #[arg(long, default_value = "")]
    pub label: String,
    /// User name
    #[arg(long)]
    pub user: Option<String>,
    /// Password
    #[arg(long)]
    pub pass: Option<String>,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 30.0)]
    pub max_secs: f64,
    /// Keep alive sent in CONNECT
    #[arg(long, default_value_t = 600)]
    pub keepalive: u16,
}

impl Common {
    /// Where publisher or connection `k` connects.
    pub fn publisher_addr(&self, k: usize) -> SocketAddr {
        self.addr[k % self.addr.len()]
    }

    /// Where subscriber `k` connects.
    pub fn subscriber_addr(&self, k: usize) -> SocketAddr {
        let all = if self.sub_addr.is_empty() { &self.addr } else { &self.sub_addr };
        all[k / all.len() % all.len()]
    }

    /// What connections of this run say in CONNECT.
    pub fn login(&self, receive_max: Option<u16>) -> Login {
        let (user, pass) = (self.user.clone(), self.pass.clone());
        Login { level: self.level, keep_alive: self.keepalive, user, pass, receive_max }
    }
}

/// Options of scenarios with messages.
#[derive(Args, Clone)]
pub struct Load {
    /// QoS of publishes
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// QoS of subscriptions (default: the same)
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub sub_qos: Option<u8>,
    /// Payload bytes (at least 16)
    #[arg(long, default_value_t = 64)]
    pub payload: usize,
    /// Publishes measured, all publishers together
    #[arg(long, default_value_t = 200_000)]
    pub count: u64,
    /// Publishes before the measurement starts
    #[arg(long, default_value_t = 20_000)]
    pub warmup: u64,
    /// Closed loop: messages per publisher that may be undelivered or unacknowledged
    #[arg(long, default_value_t = 32)]
    pub window: u64,
    /// Closed loop: at most this many messages per write
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub batch: u64,
    /// Paced, open loop: messages per second in all; 0 is closed loop
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Record end-to-end latency in the closed loop too (send time is per batch there)
    #[arg(long)]
    pub lat: bool,
    /// Wait this long between subscribing and publishing (subscriptions crossing links or clusters)
    #[arg(long, default_value_t = 300)]
    pub settle_ms: u64,
}

/// Counters and processes at one moment.
struct Snapshot {
    at: Instant,
    sent: u64,
    delivered: u64,
    reads: u64,
    cpu: Vec<Cpu>,
    own: Cpu,
    switches: u64,
}

impl Snapshot {
    fn take(board: &Board, processes: &[Process]) -> Self {
        Self {
            cpu: processes.iter().map(Process::cpu).collect(),
            switches: processes.iter().map(Process::context_switches).sum(),
            own: own().cpu(),
            at: Instant::now(),
            sent: board.total_sent.get(),
            delivered: board.total_delivered.get(),
            reads: board.sub_reads.get(),
        }
    }
}

fn own() -> Process {
    Process { name: "loadgen".to_owned(), pid: std::process::id() }
}

/// What subscribing took.
struct Subscribing {
    rss_before: Vec<u64>,
    rss_after: Vec<u64>,
    secs: f64,
    cpu: f64,
}

/// How a run went.
struct Outcome {
    first: Snapshot,
    last: Snapshot,
    end: &'static str,
    secs: f64,
}

/// Runs a plan and gives its figures.
pub async fn run(common: Common, load: Load, plan: Plan) -> Result<LoadReport> {
    ensure!(load.rate.is_finite() && load.rate >= 0.0, "--rate {} is no number of messages per second", load.rate);
    let login = common.login((common.level == 5).then_some(1000));
    let fan: Vec<u64> = plan.publishers.iter().map(|p| p.fan).collect();
    let board = Board::new(common.level, load.qos, load.window, load.batch, plan.check_order, fan);
    board.record_latency.set(load.warmup == 0 && (load.lat || load.rate > 0.0));
    let board = Rc::new(board);
    let id = nonce();
    let (subscribers, subscribing) = subscribe(&common, &load, &plan, &login, &id).await?;
    let mut publishers = Vec::new();
    for (k, p) in plan.publishers.iter().enumerate() {
        let stream = login::connect(common.publisher_addr(k), &format!("lg.{id}.p.{}.{k}", p.group), &login).await?;
        let template = mqtt::template(common.level, &p.topic, load.qos, load.payload)?;
        publishers.push(Publisher::new(k, stream, template, p.kind));
    }
    for s in subscribers {
        spawn_local(traffic::run_subscriber(board.clone(), s));
    }
    sleep(Duration::from_millis(load.settle_ms)).await;
    let wanted = publish(&board, &load, publishers);
    let outcome = watch(&board, &common, &load, wanted).await;
    Ok(report(&board, &common, &load, &plan, &subscribing, wanted, &outcome))
}

async fn subscribe(
    common: &Common,
    load: &Load,
    plan: &Plan,
    login: &Login,
    id: &str,
) -> Result<(Vec<TcpStream>, Subscribing)> {
    let processes = &common.processes;
    let rss_before = processes.iter().map(Process::rss_kib).collect();
    let cpu_before: Vec<Cpu> = processes.iter().map(Process::cpu).collect();
    let start = Instant::now();
    let mut streams = Vec::new();
    for (k, (group, filters)) in plan.subscribers.iter().enumerate() {
        let mut s = login::connect(common.subscriber_addr(k), &format!("lg.{id}.s.{group}.{k}"), login).await?;
        login::subscribe(&mut s, login.level, filters, load.sub_qos.unwrap_or(load.qos), plan.chunk).await?;
        streams.push(s);
    }
    let secs = start.elapsed().as_secs_f64();
    let cpu = processes.iter().zip(&cpu_before).map(|(p, before)| p.cpu().since(before).total()).sum();
    let rss_after = processes.iter().map(Process::rss_kib).collect();
    Ok((streams, Subscribing { rss_before, rss_after, secs, cpu }))
}

/// Starts the publishers; gives the number of deliveries that must follow.
fn publish(board: &Rc<Board>, load: &Load, publishers: Vec<Publisher>) -> u64 {
    let total = load.count + load.warmup;
    let n = publishers.len() as u64;
    let quota = |i: usize| total / n + u64::from((i as u64) < total % n);
    let wanted = (0..publishers.len()).map(|i| quota(i) * board.fan[i]).sum();
    if load.rate > 0.0 {
        spawn_local(traffic::run_paced(board.clone(), publishers, load.rate, total));
    } else {
        for (i, p) in publishers.into_iter().enumerate() {
            spawn_local(traffic::run_publisher(board.clone(), p, quota(i)));
        }
    }
    wanted
}

/// Waits for the end and takes the two snapshots.
async fn watch(board: &Board, common: &Common, load: &Load, wanted: u64) -> Outcome {
    let total = load.count + load.warmup;
    let begin = Instant::now();
    let snapshot = || Snapshot::take(board, &common.processes);
    let mut first = (load.warmup == 0).then(snapshot);
    let mut progress = (begin, 0u64, 0u64);
    let end = loop {
        sleep(Duration::from_millis(2)).await;
        let sent = board.total_sent.get();
        if first.is_none() && sent >= load.warmup {
            first = Some(snapshot());
            if load.rate > 0.0 || load.lat {
                board.record_latency.set(true);
            }
        }
        let delivered = board.total_delivered.get();
        let acked = load.qos == 0 || board.total_acked.get() >= total;
        if delivered >= wanted && acked && sent >= total {
            break "done";
        }
        if board.failed.borrow().is_some() {
            break "failed";
        }
        let now = Instant::now();
        let mark = delivered + board.total_acked.get();
        if mark != progress.1 || sent != progress.2 {
            progress = (now, mark, sent);
        }
        if now - progress.0 > STALL {
            break "stalled";
        }
        if begin.elapsed().as_secs_f64() > common.max_secs {
            break "time";
        }
    };
    let last = snapshot();
    let first = first.unwrap_or_else(snapshot);
    let until = if end == "stalled" { progress.0 } else { last.at };
    let secs = until.saturating_duration_since(first.at).as_secs_f64();
    Outcome { first, last, end, secs }
}

fn report(
    board: &Board,
    common: &Common,
    load: &Load,
    plan: &Plan,
    subscribing: &Subscribing,
    wanted: u64,
    outcome: &Outcome,
) -> LoadReport {
    let Outcome { first, last, end, secs } = outcome;
    let (published, delivered) = (last.sent - first.sent, last.delivered.saturating_sub(first.delivered));
    let (p, d) = ((published as f64).max(1.0), (delivered as f64).max(1.0));
    let mut used = Cpu::default();
    let mut procs = BTreeMap::new();
    for (i, process) in common.processes.iter().enumerate() {
        let cpu = last.cpu[i].since(&first.cpu[i]);
        used = Cpu { user: used.user + cpu.user, sys: used.sys + cpu.sys };
        let (before, now) = (subscribing.rss_before[i] as f64 / 1024.0, process.rss_kib() as f64 / 1024.0);
        let report = ProcessReport {
            cpu_s: round(cpu.total(), 2),
            per_m_pub: round(cpu.total() / p * 1e6, 3),
            rss0_mib: round(before, 1),
            rss_mib: round(now, 1),
        };
        procs.insert(process.name.clone(), report);
    }
    LoadReport {
        label: common.label.clone(),
        scenario: plan.name,
        qos: load.qos,
        level: common.level,
        payload: load.payload,
        pubs: plan.publishers.len(),
        subs: plan.subscribers.len(),
        window: load.window,
        batch: load.batch,
        rate: load.rate,
        end,
        error: board.failed.borrow().clone(),
        secs: round(*secs, 3),
        published,
        delivered,
        wanted,
        pub_per_s: round(published as f64 / secs, 0),
        del_per_s: round(delivered as f64 / secs, 0),
        cpu_s: round(used.total(), 2),
        cpu_s_per_m_pub: round(used.total() / p * 1e6, 3),
        cpu_s_per_m_del: round(used.total() / d * 1e6, 3),
        user_share: if used.total() > 0.0 { round(used.user / used.total(), 2) } else { 0.0 },
        ctxsw_per_k_pub: round(last.switches.saturating_sub(first.switches) as f64 / p * 1e3, 1),
        own_cpu_s_per_m_del: round(last.own.since(&first.own).total() / d * 1e6, 3),
        del_per_read: round(delivered as f64 / (last.reads - first.reads).max(1) as f64, 1),
        gaps: board.gaps.get(),
        reordered: board.reordered.get(),
        dups: board.dups.get(),
        dup_flag: board.dup_flag.get(),
        lag_ms: round(board.lag_ns.get() as f64 / 1e6, 1),
        lat_us: board.latency.borrow().summary(),
        filters: filters(plan, subscribing),
        procs,
    }
}

fn filters(plan: &Plan, subscribing: &Subscribing) -> Option<FilterReport> {
    let n: usize = plan.subscribers.iter().map(|s| s.1.len()).sum();
    let grown =
        subscribing.rss_after.iter().zip(&subscribing.rss_before).map(|(a, b)| a.saturating_sub(*b)).sum::<u64>();
    (n > 1000).then(|| FilterReport {
        filters: n,
        sub_per_s: round(n as f64 / subscribing.secs, 0),
        sub_cpu_us: round(subscribing.cpu / n as f64 * 1e6, 2),
        bytes_per_filter: round(grown as f64 * 1024.0 / n as f64, 0),
    })
}
