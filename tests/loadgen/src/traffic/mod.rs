//! Publishers, subscribers and what they count, all on one thread, so that the generator leaves the other core alone.
//!
//! Closed loop: each publisher keeps at most a window of messages that are not yet delivered to every subscriber (and,
//! above QoS 0, acknowledged). No broker with a bounded queue drops anything then, so CPU per message is comparable.
//! Paced: one message per write, round robin over publishers, in an open loop; latency is recorded.

mod board;
mod paced;
mod publisher;
mod subscriber;

use std::io;

use tokio::net::TcpStream;

pub use board::Board;
pub use paced::run_paced;
pub use publisher::{Publisher, TopicKind, run_publisher};
pub use subscriber::run_subscriber;

async fn write_all(s: &TcpStream, mut b: &[u8]) -> io::Result<()> {
    while !b.is_empty() {
        match s.try_write(b) {
            Ok(n) => b = &b[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => s.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
