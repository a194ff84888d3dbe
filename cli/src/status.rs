//! `tombolo status`: asks the nodes of a running `tombolo up`, or an operator, how they are.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::time::Instant;
use tombolo_broker_api::Status;

use crate::data_dir;
use crate::table;
use crate::up::run_file::{self, RunFile};
use crate::view::{Readiness, View};

/// Time that a node has to answer who asked by hand.
pub const ANSWER: Duration = Duration::from_secs(3);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Time between two questions to an operator that is not ready.
const PAUSE: Duration = Duration::from_millis(500);

/// Flags of `tombolo status`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The data folder of the `tombolo up` that is asked [default: that of `tombolo up`].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Ask the operator that serves health and metrics there, instead.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["data_dir", "json"])]
    pub operator: Option<String>,
    /// Seconds for which it may still become ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "operator", value_parser = clap::value_parser!(u64).range(..=3600))]
    pub wait: u64,
}

/// Prints the state; exit code 0 if everything is ready, 1 if not.
///
/// # Errors
/// Nothing runs.
pub async fn run(flags: &Flags) -> Result<ExitCode> {
    if let Some(operator) = &flags.operator {
        return Ok(operator_is_ready(operator, Duration::from_secs(flags.wait)).await);
    }
    let folder = flags.data_dir.clone().map_or_else(data_dir::default_path, Ok)?;
    let RunFile { nodes, .. } = run_file::read(&folder)?;
    let mut views = Vec::new();
    for node in nodes {
        let status = ask(&node.admin, ANSWER);
        if let Err(error) = &status {
            eprintln!("tombolo status: {}: {error:#}", node.node);
        }
        let run_file::RunningNode { namespace, cluster, node, pid, admin, listeners: _ } = node;
        views.push(View { namespace, cluster, node, admin, pid, status: status.ok() });
    }
    let readiness = Readiness::of(&views, |_, link| link.ready, |_, peer| peer.ready);
    let text = if flags.json {
        serde_json::to_string_pretty(&views).context("the state cannot be written as JSON")?
    } else {
        let mut lines = table::render(&views, usize::MAX);
        lines.push(format!("{}: {readiness}", if readiness.ready { "ready" } else { "not ready" }));
        lines.join("\n")
    };
    // A reader that went away is no error.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(if readiness.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks the admin listener of a node: `GET /v1/status`. It has `time` to connect, and so much again for each part of its
/// answer.
///
/// # Errors
/// It does not answer, or not with a status.
pub fn ask(admin: &str, time: Duration) -> Result<Status> {
    let (code, body) = get(admin, "/v1/status", time)?;
    if code != "200" {
        bail!("{admin} answers `{code}`");
    }
    serde_json::from_slice(&body).with_context(|| format!("{admin} answers with something else than a status"))
}

/// Says whether an operator can do its work, and what it watches; tried again until `wait` is over.
async fn operator_is_ready(address: &str, wait: Duration) -> ExitCode {
    let begun = Instant::now();
    loop {
        match operator(address) {
            Ok(said) => {
                // A reader that went away is no error.
                let _ = writeln!(std::io::stdout(), "{address}: {said}");
                return ExitCode::SUCCESS;
            }
            Err(error) if begun.elapsed() >= wait => {
                eprintln!("tombolo status: {error:#}");
                return ExitCode::FAILURE;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn operator(address: &str) -> Result<String> {
    let (code, body) = get(address, "/readyz", ANSWER)?;
    let said = String::from_utf8_lossy(&body).trim().to_owned();
    if code != "200" {
        bail!("{address} answers {code}: {said}");
    }
    let (_, body) = get(address, "/metrics", ANSWER)?;
    let metrics = String::from_utf8_lossy(&body).into_owned();
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("{address} has no metric {name}; is it an operator of Tombolo?"))
    };
    let (clusters, links) = (metric("tombolo_operator_clusters")?, metric("tombolo_operator_links")?);
    Ok(format!("{said}; BrokerClusters: {clusters}, ClusterLinks: {links}"))
}

/// Code and body of an answer by HTTP/1.0, which has no chunks.
fn get(server: &str, path: &str, time: Duration) -> Result<(String, Vec<u8>)> {
    let address = server.to_socket_addrs().with_context(|| format!("{server} is not found"))?.next();
    let address = address.with_context(|| format!("{server} is not found"))?;
    let mut stream = TcpStream::connect_timeout(&address, time).with_context(|| format!("{server} does not answer"))?;
    stream.set_read_timeout(Some(time))?;
    stream.set_write_timeout(Some(time))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).with_context(|| format!("{server} does not answer"))?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.with_context(|| format!("{server} does not answer in HTTP"))?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let code = head.lines().next().and_then(|first| first.split(' ').nth(1)).unwrap_or_default();
    Ok((code.to_owned(), body))
}
