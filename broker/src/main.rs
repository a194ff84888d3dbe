//! The binary `tombolo-broker`: one node, from one configuration file.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tombolo_broker::Broker;
use tracing_subscriber::EnvFilter;

/// Exit code when the configuration or the environment does not let the node start.
const CANNOT_START: u8 = 2;
/// Time that clients and links have at the end.
const STOP_MAX: Duration = Duration::from_secs(20);

// That of musl takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A node of a Tombolo broker cluster.
#[derive(Parser)]
#[command(name = "tombolo-broker", version)]
struct Args {
    /// The configuration, `broker.yaml`; files that it names are relative to its folder.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name of this node, instead of `nodeName` in the configuration.
    #[arg(long, env = "TOMBOLO_NODE", value_name = "NAME")]
    node: Option<String>,
    /// Print log lines as JSON.
    #[arg(long, env = "TOMBOLO_LOG_JSON")]
    log_json: bool,
    /// What is logged, such as `info` or `tombolo_broker::link=debug`.
    #[arg(long, env = "TOMBOLO_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|error| {
        eprintln!("tombolo-broker: --log: {error}; logging `info`");
        EnvFilter::new("info")
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever reads it in a file or by `kubectl logs` has no use for colours.
    let log = log.with_ansi(std::io::stderr().is_terminal());
    if args.log_json {
        log.json().init()
    } else {
        log.init()
    }
    let mut broker = match Broker::start_with(args.config, args.node).await {
        Ok(broker) => broker,
        Err(error) => {
            eprintln!("tombolo-broker: {error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("tombolo-broker: the system lets no signal handler be set");
        return ExitCode::from(CANNOT_START);
    };
    let leaves = tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => false,
        () = broker.ended() => {
            eprintln!("tombolo-broker: a shard has ended; see the log above");
            return ExitCode::FAILURE;
        }
    };
    if leaves {
        // Whoever asks twice does not want to wait.
        tokio::select! {
            () = broker.leave() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    broker.stop(STOP_MAX).await;
    ExitCode::SUCCESS
}
