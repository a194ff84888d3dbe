//! A broker node: its shards, its listeners, its configuration and what it says about itself.

mod apply;
mod evacuation;
mod identity;
mod shards;
mod start;
mod status;

pub use start::{Broker, StartError};
