//! A node of the simulation: real shards over what they share, their turns taken one by one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::task::{Wake, Waker};

use tokio::sync::mpsc;
use tombolo_broker_api as api;

use super::links::CLUSTERS;
use crate::clock::{Clock, Millis, StampClock};
use crate::link::Local;
use crate::metrics::Board;
use crate::peer::Directory;
use crate::retained::{Limits, Retained};
use crate::router::Index;
use crate::shard::link::Target;
use crate::shard::{
    Awaited, DialRequest, Evacuation, Inbox, LinkKey, Pressure, Ready, Settled, Shard, Shared, Tuning, shard_of,
};
use crate::store::Memory;

/// A node from its start until it is killed.
pub struct Life {
    /// What its shards share.
    pub shared: Arc<Shared>,
    /// Its shards.
    pub shards: Vec<Shard>,
    /// Who it wants to reach.
    pub requests: mpsc::Receiver<DialRequest>,
    /// The links with the nodes of the cluster, by their number: shard and key.
    links: Vec<(usize, LinkKey)>,
    /// Each shard's wish for a turn.
    wishes: Vec<Arc<Wish>>,
    woken: Vec<u32>,
}

/// Where a node begins.
pub struct Seat<'a> {
    /// The number of its cluster.
    pub cluster: usize,
    /// Its own.
    pub node: usize,
    /// Those of the nodes in the list.
    pub members: &'a [usize],
    /// The links of its cluster.
    pub links: Vec<api::Link>,
}

/// What a node thinks of another one, as far as it is looked at after each turn.
pub struct Glance {
    pub connected: bool,
    pub suspended: bool,
    pub ready: bool,
    /// Nothing waits for it.
    pub is_empty: bool,
}

/// More nodes than any plan has.
const NODES_MAX: usize = 8;

/// Set when a shard is woken.
#[derive(Default)]
pub struct Wish(AtomicBool);

// === impl Wish ===

impl Wish {
    /// True once after each wake.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    /// Makes a wish.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Wish {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// The name of a node.
pub fn name(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

// === impl Life ===

impl Life {
    /// Starts a node, with nothing in memory.
    pub fn start(seat: Seat<'_>, shards: usize, tuning: &Arc<Tuning>, incarnation: u64, seed: u64) -> Self {
        let Seat { cluster, node, members, links: links_of_cluster } = seat;
        let ready: Vec<Arc<Ready>> = (0..shards).map(|_| Arc::default()).collect();
        let (dialler, requests) = mpsc::channel(64);
        let shared = Arc::new(Shared {
            index: Arc::new(Index::new(seed)),
            retained: Retained::new(Limits { messages: 1000, bytes: 1 << 20, tombstones: 1000 }),
            board: Arc::new(Board::new(shards)),
            inboxes: ready.iter().map(|ready| Inbox::new(shards, Arc::clone(ready))).collect(),
            shards_with_links: 0.into(),
            awaited: Awaited::default(),
            sessions: 0.into(),
            pressure: Pressure::default(),
            settled: Settled::default(),
            stamps: StampClock::new(node as u64 + 1),
            directory: RwLock::new(Directory::new(incarnation)),
            own_versions: 0.into(),
            seen: Default::default(),
            evacuation: Evacuation::default(),
            clock: Clock::start(),
            local: Local {
                cluster_name: CLUSTERS[cluster].into(),
                cluster_id: format!("{}-id", CLUSTERS[cluster]).into(),
                node: name(node),
                incarnation,
                shards: shards as u8,
            },
            dialler,
        });
        let (farewells, _) = mpsc::channel(1);
        let make = |(number, ready): (usize, &Arc<Ready>)| {
            let (shared, ready, tuning) = (Arc::clone(&shared), Arc::clone(ready), Arc::clone(tuning));
            Shard::new(number as u8, shared, ready, tuning, Box::new(Memory), farewells.clone())
        };
        let wishes: Vec<Arc<Wish>> = (0..shards).map(|_| Arc::default()).collect();
        for (ready, wish) in ready.iter().zip(&wishes) {
            ready.set_task(&Waker::from(Arc::clone(wish)));
        }
        let shards = ready.iter().enumerate().map(make).collect();
        let links =
            (0..NODES_MAX).map(|other| (shard_of(name(other).as_bytes(), wishes.len()), LinkKey::Peer(name(other))));
        let links = links.collect();
        let life = Self { shards, shared, requests, links, wishes, woken: Vec::new() };
        life.send_links(links_of_cluster);
        life.set_list(node, members);
        life
    }

    /// The shard of a client id or of a node.
    pub fn shard_of(&self, key: &str) -> usize {
        shard_of(key.as_bytes(), self.shards.len())
    }

    /// Whether a shard has something to do now, by the clock of the node.
    pub fn wants_turn(&self, shard: usize, now: Millis) -> bool {
        self.wishes[shard].is_set() || self.shards[shard].has_more() || self.due(shard) <= now
    }

    /// When a shard has something to do.
    pub fn due(&self, shard: usize) -> Millis {
        self.shards[shard].next_turn()
    }

    /// One turn of a shard.
    pub fn turn(&mut self, shard: usize) {
        self.wishes[shard].take();
        self.shards[shard].turn(&mut self.woken);
    }

    /// What it thinks of another node, in short.
    pub fn glance(&self, other: usize) -> Option<Glance> {
        let (shard, key) = &self.links[other];
        let shard = &self.shards[*shard];
        let row = shard.link_row(shard.link_of(key)?)?;
        let (Some(link), Target::Peer(peer)) = (&row.link, &row.target) else { return None };
        let connected = link.is_connected();
        Some(Glance {
            connected,
            suspended: peer.is_suspended() && !connected,
            ready: link.is_ready(shard.core.now.duration()),
            is_empty: link.is_spool_empty(),
        })
    }

    /// What it thinks of another node: whether it is connected, and how much waits for it.
    pub fn peer(&self, other: &Arc<str>) -> Option<api::PeerStatus> {
        let shard = &self.shards[self.shard_of(other)];
        let slot = shard.link_of(&LinkKey::Peer(Arc::clone(other)))?;
        shard.peer_status(slot, shard.core.now.duration(), 0)
    }

    /// Whether all shards have handed over what they routed to others.
    pub fn is_handed_over(&self) -> bool {
        self.shards.iter().all(|shard| shard.core.outboxes.iter().all(super::super::batch::Batch::is_empty))
            && self.shared.inboxes.iter().all(|inbox| !inbox.holds_batches())
    }

    /// Whether no session is on its way here or away, and nothing follows one.
    pub fn is_unmoved(&self) -> bool {
        self.shards.iter().all(|shard| {
            let pending = shard.moves_report().0;
            (pending.lookups, pending.moves, pending.unsettled) == (0, 0, 0) && shard.parked.is_empty()
        })
    }

    /// Every other node is in sync with it, or given up.
    pub fn is_ready(&self) -> bool {
        self.shared.settled.unmet() == Some(0)
    }
}
