//! Ways between nodes: ordered lanes that survive cuts, and control messages that survive nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::link::Version;
use crate::message::Delivery;

/// What goes in order from one node to another.
#[derive(Clone, Debug)]
pub enum Record {
    /// A message, routed by this shard.
    Message(u8, Arc<Published>),
    /// That shard routes by this version of what a node wants.
    Mark(u8, Arc<str>, Version),
    /// What the sender wants, as of this number.
    Interest(u64, Arc<Interest>),
}

/// What goes in order from one shard of a node to another.
#[derive(Clone, Debug)]
pub enum Local {
    /// A message for a session that was in the index: its client id and row, and the lane that it came by.
    Message {
        /// Client id.
        id: String,
        /// Row.
        slot: u64,
        /// Node where it entered.
        origin: Arc<str>,
        /// Shard that routed it there.
        shard: u8,
        /// The message as the session gets it.
        delivery: Delivery,
    },
    /// A mark of a lane.
    Mark(Arc<str>, u8, Arc<str>, Version),
}

/// A message that entered.
#[derive(Debug)]
pub struct Published {
    /// Its number.
    pub number: u32,
    /// Its topic.
    pub topic: &'static str,
    /// The message.
    pub delivery: Delivery,
}

/// What a node's clients want: filters by number, and which stays of sessions stand behind each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Stay of the session, filter.
    pub wanted: Vec<(u64, usize)>,
}

/// A pair of nodes, in one direction.
#[derive(Debug, Default)]
pub struct Way {
    /// Messages and marks, and when each arrives at the earliest.
    pub lane: VecDeque<(u64, Record)>,
    /// Interest, the same.
    pub interest: VecDeque<(u64, Record)>,
    /// The lives for which the lanes are.
    pub lives: Option<(u64, u64)>,
    /// When the last record of the lane arrives, and of interest.
    pub last: [u64; 2],
    /// Nothing gets through.
    pub cut: bool,
    /// The sender sees a connection.
    pub seen: bool,
    /// Number that the sender told last, and whether more is to be told.
    pub told: u64,
    /// More is to be told.
    pub untold: bool,
}
