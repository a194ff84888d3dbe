//! The MQTT broker of Tombolo: a library that the binary and `tombolo up` start nodes from.

pub mod admin;
pub mod auth;
mod bound;
pub mod clock;
pub mod codec;
pub mod config;
pub mod connection;
pub mod digest;
pub mod link;
pub mod message;
pub mod metrics;
pub mod net;
pub mod node;
pub mod peer;
#[cfg(test)]
mod random;
pub mod retained;
pub mod router;
pub mod session;
pub mod shard;
pub mod store;
pub mod tls;
pub mod topic;
pub mod transport;

pub use node::{Broker, StartError};
