//! The operator of Tombolo as a program.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tombolo_operator::plan::DEFAULT_IMAGE;
use tombolo_operator::runtime::lease::Terms;
use tombolo_operator::runtime::{Options, Outcome, run};
use tracing_subscriber::EnvFilter;

/// Runs BrokerClusters and ClusterLinks on Kubernetes.
#[derive(Parser)]
#[command(name = "tombolo-operator", version)]
struct Flags {
    /// Namespaces to watch, separated by commas. Default: all of them.
    #[arg(long, env = "TOMBOLO_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "TOMBOLO_BIND", default_value = "0.0.0.0:8080")]
    bind: SocketAddr,
    /// Namespace of the Lease by which one of several operators leads. Default: that of the pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    lease_namespace: String,
    /// Name of that Lease.
    #[arg(long, env = "TOMBOLO_LEASE", default_value = "tombolo-operator")]
    lease_name: String,
    /// Seconds for which that Lease is valid without being renewed; more for a control plane that is slow at times.
    #[arg(long, env = "TOMBOLO_LEASE_DURATION", default_value_t = 15, value_parser = clap::value_parser!(u32).range(5..=3600))]
    lease_duration: u32,
    /// Who this process is among those that want the Lease. Default: the name of the pod.
    #[arg(long, env = "POD_NAME", default_value_t = format!("process-{}", std::process::id()))]
    identity: String,
    /// Image of clusters that state none, such as one of a mirror registry.
    #[arg(long, env = "TOMBOLO_BROKER_IMAGE", default_value = DEFAULT_IMAGE)]
    broker_image: String,
    /// What is logged, such as `info` or `tombolo_operator=debug`.
    #[arg(long, env = "TOMBOLO_LOG", default_value = "info,kube=warn")]
    log: String,
    /// Log lines as JSON. Default: as text on a terminal, else as JSON.
    #[arg(long, env = "TOMBOLO_LOG_JSON")]
    log_json: Option<bool>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match start(flags).await {
        Ok(Outcome::Stopped) => ExitCode::SUCCESS,
        Ok(Outcome::LeaseLost) => {
            tracing::error!("The Lease is lost; the process ends, and another one works on.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tombolo-operator: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn start(flags: Flags) -> anyhow::Result<Outcome> {
    let filter = EnvFilter::try_new(&flags.log).with_context(|| format!("--log `{}`", flags.log))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if flags.log_json.unwrap_or(!std::io::stderr().is_terminal()) {
        lines.json().init()
    } else {
        lines.init()
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a provider of cryptography was installed before"))?;
    let config = Config::infer().await.context("there is no way to an API server: neither KUBECONFIG nor a pod's")?;
    let client = Client::try_from(config).context("the way to the API server can't be used")?;
    let options = Options {
        namespaces: flags.watch_namespaces.into_iter().filter(|namespace| !namespace.is_empty()).collect(),
        bind: flags.bind,
        lease_namespace: flags.lease_namespace,
        lease_name: flags.lease_name,
        lease_terms: Terms::seconds(flags.lease_duration),
        identity: flags.identity,
        broker_image: flags.broker_image,
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("The operator stops.");
    };
    run(client, options, stop).await.with_context(|| format!("{} can't be listened at", flags.bind))
}
