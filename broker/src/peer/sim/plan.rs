//! What a schedule is made of: nodes, clients, loads and faults.

use tombolo_broker_api::WhenHomeDown;

/// A schedule's ingredients; the seed does the rest.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: usize,
    /// Client ids, each of one device, or of two that fight for it.
    pub clients: usize,
    /// Devices of each client id.
    pub devices: usize,
    /// Milliseconds in which faults, clients and publishers go on.
    pub active: u64,
    /// Connects of each device in that time, to any node.
    pub connects: usize,
    /// Of a hundred connects so many are with Clean Start.
    pub clean: usize,
    /// Of a hundred client ids so many have sessions that end with their connection.
    pub ephemeral: usize,
    /// Messages published at nodes.
    pub messages: usize,
    /// Messages published by clients through their sessions.
    pub own_messages: usize,
    /// Cuts between two nodes, or of one from all others.
    pub cuts: usize,
    /// Restarts of a node, with an empty store.
    pub restarts: usize,
    /// Sessions that expire while their client is away.
    pub expiries: usize,
    /// Sessions that are offered to another node while their client is away.
    pub offers: usize,
    /// Of a hundred control messages so many are lost.
    pub loss: usize,
    /// Of a hundred so many come twice.
    pub twice: usize,
    /// Longest time that anything takes from one node to another, in milliseconds.
    pub delay: u64,
    /// Milliseconds by which the clocks of nodes differ at most.
    pub skew: u64,
    /// A client whose session is at a node that can't be reached.
    pub when_home_down: WhenHomeDown,
    /// Some payloads are so long that they travel in parts.
    pub large: bool,
    /// What is broken on purpose, to see that it is found.
    pub sabotage: Option<Sabotage>,
}

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Marks overtake messages between the shards of a node.
    MarkOvertakes,
    /// Packet ids are given anew.
    NewPacketIds,
    /// A frozen session still reads its connection.
    ReadAfterFreeze,
    /// Inbound ids don't travel.
    NoInbound,
    /// A stake gives the numbers that were told last.
    OldStake,
    /// Duty is not asked about.
    NoDuty,
}

/// Topics that are published to.
pub const TOPICS: [&str; 4] = ["a", "b", "c/1", "c/2"];

/// Filters that are subscribed to.
pub const FILTERS: [&str; 5] = ["a", "b", "c/+", "#", "c/1"];

// === impl Plan ===

impl Plan {
    /// Three nodes, clients that roam, and a network that loses control messages, but no cut and no death.
    pub fn calm() -> Self {
        Self {
            nodes: 3,
            clients: 3,
            devices: 1,
            active: 20_000,
            connects: 8,
            clean: 10,
            ephemeral: 0,
            messages: 60,
            own_messages: 10,
            cuts: 0,
            restarts: 0,
            expiries: 0,
            offers: 2,
            loss: 10,
            twice: 10,
            delay: 30,
            skew: 0,
            when_home_down: WhenHomeDown::Wait,
            large: false,
            sabotage: None,
        }
    }

    /// The same with cuts and deaths, clients of all kinds, and clocks that differ.
    pub fn rough() -> Self {
        Self {
            devices: 2,
            // Two devices of one session would take each other's packet ids for their own.
            own_messages: 0,
            connects: 6,
            clean: 20,
            ephemeral: 30,
            cuts: 5,
            restarts: 3,
            expiries: 2,
            delay: 80,
            skew: 3_000,
            ..Self::calm()
        }
    }

    /// No two sessions of one name can come to be.
    pub fn is_undivided(&self) -> bool {
        self.cuts == 0 && self.restarts == 0
    }
}
