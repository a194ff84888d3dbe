//! The topic index and what is read from it: who receives a message, and what this node wants to receive.
//!
//! Everything that receives is a [`Receiver`] in one [`Index`], which all shards share. A shard reads it through its
//! [`Cache`]; a link reads the interest of the local clients as a log of changes. Nothing here does I/O, reads a clock
//! or draws a random number: the seed of the hash is an argument.

mod cache;
mod choices;
mod forward;
mod group;
mod hash;
mod index;
mod interest;
mod member;
mod node;
mod receiver;
mod roster;
mod route;
mod shape;
mod shared_subscription;
mod stamps;
mod team;
mod trie;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod twin;

pub use cache::Cache;
pub use choices::Choices;
pub use forward::{CLUSTER_ID_MAX, Destination, Origin, Path, may_pass};
pub use group::Group;
pub use index::{Counts, Index, SubscriptionEntry};
pub use interest::{Audience, Change, Interest, Shares};
pub use member::{Member, Presence};
pub use receiver::{Kind, Receiver, ReceiverFlags};
pub use route::Route;
pub use shared_subscription::SharedSubscription;
pub use team::number_of as group_number;
