//! Relays with MQTT framing and no MQTT logic: the limit of the machine, against which a broker is measured.
//!
//! Groups come from the client id (`lg.<nonce>.p.<group>.<n>` publishes, `lg.<nonce>.s.<group>.<n>` receives); topics
//! are never looked at. With `acks`, QoS 1 gets its PUBACK, and the receiver's is ignored; packet ids are rewritten for
//! each receiver.

mod epoll;
mod frame;
mod multi;
mod single;

use std::net::SocketAddr;

use anyhow::{Result, bail};

/// How a relay is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One thread, raw epoll, output flushed once per epoll round.
    Epoll,
    /// The same, but each message is written at once.
    EpollNow,
    /// tokio `current_thread`, output flushed once per scheduler round.
    TokioCt,
    /// tokio `multi_thread`, a task per connection, a receiver's buffer under a mutex, a writer task.
    TokioMt,
    /// tokio `multi_thread`, a task per connection, a channel of shared messages, a writer task: the common design.
    TokioChan,
}

/// What a relay does.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How it is built.
    pub mode: Mode,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// PUBACK for each publish of QoS 1.
    pub acks: bool,
    /// Threads of the modes with several.
    pub threads: usize,
    /// Another relay that gets each publish too, over one connection, each frame behind its group.
    pub link: Option<SocketAddr>,
}

/// Runs a relay until it fails.
pub fn run(options: Options) -> Result<()> {
    let Options { mode, port, acks, threads, link } = options;
    if link.is_some() && mode != Mode::Epoll {
        bail!("--link needs the mode `epoll`");
    }
    match mode {
        Mode::Epoll => epoll::run(port, false, acks, link),
        Mode::EpollNow => epoll::run(port, true, acks, None),
        Mode::TokioCt => single::run(port, acks),
        Mode::TokioMt => multi::run(port, acks, false, threads),
        Mode::TokioChan => multi::run(port, acks, true, threads),
    }
}
