//! `relay MODE PORT`: the limit of the machine, framing and no MQTT logic.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser;
use tombolo_loadgen::relay::{self, Mode, Options};

/// Relays PUBLISH packets between groups of the load generator, on 127.0.0.1.
#[derive(Parser)]
struct Arguments {
    /// How it is built.
    mode: Mode,
    /// Port on 127.0.0.1.
    port: u16,
    /// PUBACK for each publish of QoS 1.
    #[arg(long)]
    acks: bool,
    /// Threads of the modes with several.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Also forward every PUBLISH over ONE connection to another relay of mode `epoll`, each frame behind its group.
    #[arg(long, value_name = "HOST:PORT")]
    link: Option<SocketAddr>,
}

fn main() -> Result<()> {
    tombolo_loadgen::process::raise_open_files();
    let Arguments { mode, port, acks, threads, link } = Arguments::parse();
    relay::run(Options { mode, port, acks, threads, link })
}
