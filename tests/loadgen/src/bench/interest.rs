//! How long nodes of a cluster take until each holds what all others want.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::measure::Figures;
use super::scenarios::Since;
use super::subject::{Subject, get};
use crate::login::{self, Login};

/// Filters at each node.
const FILTERS: f64 = 100_000.0;
/// Filters in one SUBSCRIBE.
const CHUNK: usize = 1_000;
/// Longest time that is waited.
const PATIENCE: Duration = Duration::from_secs(60);

/// Subscribes, and measures. The time of a look at the status of all nodes is part of it.
pub fn run(mut subject: Subject, since: Since, scale: f64) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let filters = ((FILTERS * scale) as u64).max(1);
    runtime.block_on(async {
        let nodes: Vec<usize> = (0..subject.publish.len()).collect();
        let mut clients = Vec::new();
        let mut subscribing = JoinSet::new();
        for node in &nodes {
            subscribing.spawn(subscribe(subject.publish[*node], *node, filters));
        }
        while let Some(client) = subscribing.join_next().await {
            clients.push(client??);
        }
        let mut start = Instant::now();
        let mut wanted = vec![filters; nodes.len()];
        if since == Since::Restart {
            level(&subject.admins, &wanted).await?;
            let last = nodes.len() - 1;
            wanted[last] = 0;
            start = Instant::now();
            subject.restart(last)?;
        }
        level(&subject.admins, &wanted).await?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Figures { per_delivery: 0.0, per_publish: 0.0, kib_per_connection: 0.0, seconds, clean: true })
    })
}

async fn subscribe(address: SocketAddr, node: usize, filters: u64) -> Result<TcpStream> {
    let login = Login { level: 4, keep_alive: 600, user: None, pass: None, receive_max: None };
    let mut stream = login::connect(address, &format!("interest-{node}"), &login).await?;
    let filters: Vec<String> = (0..filters).map(|i| format!("site/{node}/dev/{i:06}/cmd/+")).collect();
    login::subscribe(&mut stream, login.level, &filters, 1, CHUNK).await?;
    Ok(stream)
}

/// Awaits that each node is in sync with each other, and holds all that it wants.
async fn level(admins: &[SocketAddr], wanted: &[u64]) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !admins.iter().enumerate().all(|(node, admin)| holds(*admin, node, wanted).unwrap_or(false)) {
        if Instant::now() > end {
            bail!("the nodes are not in sync after {PATIENCE:?}");
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn holds(admin: SocketAddr, node: usize, wanted: &[u64]) -> Result<bool> {
    let answer = get(admin, "/v1/status")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer has a body")?;
    let status: Value = serde_json::from_str(body)?;
    let is_level = |other: usize| {
        let peers = status["peers"].as_array().into_iter().flatten();
        let mut peers = peers.filter(|peer| peer["node"] == format!("bench-{other}"));
        peers.any(|peer| peer["ready"] == true && peer["filtersHeld"] == wanted[other])
    };
    Ok((0..wanted.len()).filter(|other| *other != node).all(is_level))
}
