//! The command `tombolo`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tombolo::{client, node, render, status, up};

// That of musl takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Linked MQTT clusters: on this machine, from the manifests that Kubernetes takes.
#[derive(Parser)]
#[command(name = "tombolo", version, max_term_width = 120)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run the clusters and links of manifests in this process, and follow the files.
    Up(up::Flags),
    /// Publish messages, as mosquitto_pub does.
    Pub(client::publish::Flags),
    /// Print messages, as mosquitto_sub does.
    Sub(client::subscribe::Flags),
    /// Publish a message and hear it: whether a broker carries messages.
    Ping(client::ping::Flags),
    /// Print what would be applied to Kubernetes for manifests.
    Render(render::Flags),
    /// Run one node in this process.
    #[command(hide = true)]
    Node(node::Flags),
    /// Show clusters, links and counters of a running `tombolo up`.
    Status(status::Flags),
}

fn main() -> ExitCode {
    let Command { action } = Command::parse();
    match run(action) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tombolo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match action {
        Action::Up(flags) => runtime.block_on(up::run(flags)),
        Action::Pub(flags) => runtime.block_on(client::publish::run(flags)),
        Action::Sub(flags) => runtime.block_on(client::subscribe::run(flags)),
        Action::Ping(flags) => runtime.block_on(client::ping::run(flags)),
        Action::Node(flags) => runtime.block_on(node::run(flags)),
        Action::Render(flags) => render::run(&flags),
        Action::Status(flags) => runtime.block_on(status::run(&flags)),
    }
}
