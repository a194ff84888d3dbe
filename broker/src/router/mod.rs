//! The topic index and what is read from it: who receives a message, and what this node wants to receive.
//!
//! Everything that receives is a [`Receiver`] in one [`Index`], which all shards share. A shard reads it through its
//! [`Cache`]; a link reads the interest of the local clients as a log of changes. Nothing here does I/O, reads a clock
//! or draws a random number: the seed of the hash is an argument.

mod cache;
mod forward;
mod hash;
mod index;
mod interest;
mod node;
mod receiver;
mod roster;
mod route;
mod shape;
mod share;
mod stamps;
mod trie;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod twin;

pub use cache::Cache;
pub use forward::{CLUSTER_ID_MAX, Destination, Origin, Path, may_pass};
pub use index::{Counts, Index, SubscriptionEntry};
pub use interest::{Change, Interest};
pub use receiver::{Kind, Receiver, ReceiverFlags};
pub use route::Route;
pub use share::{Group, Member, Presence};
