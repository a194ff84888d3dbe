//! `tombolo node`: one node in a process of its own, as `tombolo up --processes` starts it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tombolo_broker::Broker;

use crate::signals::Signals;

/// Time that a node has to say goodbye to its clients.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Flags of `tombolo node`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The configuration, `broker.yaml`.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// What it says of its start, as a line of JSON on standard output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// It serves; its admin listener is there.
    Started(SocketAddr),
    /// It does not start, and why.
    Failed(String),
}

/// Runs the node until a signal says stop, or standard input ends: then who started it is gone.
///
/// # Errors
/// The system lacks something that every process has.
pub async fn run(flags: Flags) -> Result<ExitCode> {
    // A test may have set another already.
    let _ = tracing_subscriber::fmt().with_env_filter(log_filter()).with_ansi(false).with_writer(io::stderr).try_init();
    let mut signals = Signals::listen()?;
    let mut broker = match Broker::start(flags.config).await {
        Ok(broker) => broker,
        Err(error) => {
            say(&Said::Failed(error.to_string()))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    say(&Said::Started(broker.admin_address()))?;
    tokio::select! {
        () = signals.next() => {}
        () = input_ended()? => {}
        // Only a bug can make it.
        () = broker.ended() => return Ok(ExitCode::FAILURE),
    }
    broker.stop(STOP_DEADLINE).await;
    Ok(ExitCode::SUCCESS)
}

/// What is logged: errors, unless `RUST_LOG` asks for more or less.
pub fn log_filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"))
}

fn say(said: &Said) -> Result<()> {
    let line = serde_json::to_string(said).context("an address or a sentence cannot be written as JSON")?;
    let mut out = io::stdout().lock();
    // Who does not listen any more has closed standard input as well.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    Ok(())
}

/// Awaits the end of standard input, on a thread that ends with the process.
fn input_ended() -> Result<impl Future<Output = ()>> {
    let (ended, end) = oneshot::channel::<()>();
    let wait = move || {
        let _ended = ended;
        // An error is an end, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(wait).context("no thread for standard input")?;
    Ok(async move {
        // Nothing is ever sent: the sender goes with the thread.
        let _ = end.await;
    })
}
