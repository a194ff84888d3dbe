//! `tombolo status`: asks the nodes of a running `tombolo up` how they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tombolo_broker_api::Status;

use crate::data_dir;
use crate::table;
use crate::up::run_file::{self, RunFile};
use crate::view::{Readiness, View};

/// Time that a node has to answer who asked by hand.
pub const ANSWER: Duration = Duration::from_secs(3);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Flags of `tombolo status`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The data folder of the `tombolo up` that is asked [default: that of `tombolo up`].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints the state; exit code 0 if everything is ready, 1 if not.
///
/// # Errors
/// Nothing runs.
pub fn run(flags: &Flags) -> Result<ExitCode> {
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

/// Asks the admin listener of a node: `GET /v1/status`, by HTTP/1.0, which has no chunks. It has `time` to connect, and
/// so much again for each part of its answer.
///
/// # Errors
/// It does not answer, or not with a status.
pub fn ask(admin: &str, time: Duration) -> Result<Status> {
    let address: SocketAddr = admin.parse().with_context(|| format!("{admin} is not an address"))?;
    let mut stream = TcpStream::connect_timeout(&address, time).with_context(|| format!("{admin} does not answer"))?;
    stream.set_read_timeout(Some(time))?;
    stream.set_write_timeout(Some(time))?;
    write!(stream, "GET /v1/status HTTP/1.0\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).with_context(|| format!("{admin} does not answer"))?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = match end {
        Some(end) => (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]),
        None => bail!("{admin} does not answer in HTTP"),
    };
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        bail!("{admin} answers `{first}`");
    }
    serde_json::from_slice(body).with_context(|| format!("{admin} answers with something else than a status"))
}
