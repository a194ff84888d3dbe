//! The network of a node: what it listens at and what it dials.

mod dial;
mod dial_error;
mod dialler;
mod listener;
mod prepared;

pub use dial::{DialConfig, Dialled, dial};
pub use dial_error::{DialError, Fault};
pub use dialler::run as run_dialler;
pub use listener::{ListenError, Listener};
pub use prepared::{Prepared, PreparedCluster, peer_packet_max};
