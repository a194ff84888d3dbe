//! The durable store of the simulation: what outlives a node, and the spool that stands on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::link::batch::LANE_MESSAGES;
use crate::link::chunk::Chunk;
use crate::link::interest_in::Changed;
use crate::link::lane_out::LaneOut;
use crate::link::source::Source;
use crate::link::{Link, Mark, MemorySpool, Now, Outlet, Spool, Version};

/// A spool that is durable when the store says so.
#[derive(Clone, Debug, Default)]
pub struct SimSpool {
    memory: MemorySpool,
    durable: bool,
}

/// What outlives a node.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// For each link.
    pub links: Vec<KeptLink>,
    /// How much of each subscriber's log was written.
    pub logs: BTreeMap<usize, usize>,
    /// How many arrivals from peers were.
    pub arrivals: usize,
}

/// What outlives a link.
#[derive(Clone, Debug)]
pub struct KeptLink {
    remote_id: Option<Arc<str>>,
    sources: Vec<Source>,
    messages: LaneOut<SimSpool>,
}

// === impl SimSpool ===

impl SimSpool {
    /// An empty spool.
    pub fn new(durable: bool) -> Self {
        Self { memory: MemorySpool::default(), durable }
    }
}

impl Spool for SimSpool {
    fn seals_each_turn(&self) -> bool {
        self.durable
    }

    fn append(&mut self, chunk: Chunk) {
        self.memory.append(chunk);
    }

    fn after(&mut self, place: u64) -> Option<&mut Chunk> {
        self.memory.after(place)
    }

    fn before(&self, place: u64) -> Option<u64> {
        self.memory.before(place)
    }

    fn release(&mut self, place: u64, each: impl FnMut(Chunk)) {
        self.memory.release(place, each);
    }

    fn drop_messages(&mut self, place: u64) -> Option<u32> {
        self.memory.drop_messages(place)
    }

    fn oldest(&self, place: u64) -> Option<Now> {
        self.memory.oldest(place)
    }

    fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    fn messages(&self) -> u64 {
        self.memory.messages()
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }
}

// === impl Link ===

impl Link<SimSpool> {
    /// What of it would outlive the node if it were written now.
    pub fn keep(&self) -> KeptLink {
        KeptLink { remote_id: self.remote_id.clone(), sources: self.sources.clone(), messages: self.messages.clone() }
    }

    /// By which versions of its remote's nodes it routes.
    pub fn applied_marks(&self) -> Vec<Mark> {
        let Some(cluster) = &self.remote_id else { return Vec::new() };
        let marks = self.sources.iter().filter(|source| source.held().0 != Version::default());
        let mark = |s: &Source| Mark { cluster: cluster.clone(), node: s.node.clone(), version: s.held().0 };
        marks.map(mark).collect()
    }

    /// Goes on in a new life with what outlived the last one.
    pub fn resume(&mut self, out: &mut impl Outlet, kept: KeptLink) {
        self.messages = kept.messages;
        self.messages.resume();
        self.sources = kept.sources;
        if let Some(id) = &kept.remote_id {
            self.identify(id);
        }
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            source.resume();
            let changed = Changed {
                added: source.interest.filters().iter().cloned().collect(),
                shared: source.interest.shares().collect(),
                ..Changed::default()
            };
            source.announced = (source.interest.version(), source.interest.digest());
            self.serve(out, &changed);
        }
        self.dirty = true;
    }

    /// Forgets what the remote's nodes sent: a broken rule, to see that it is found.
    pub fn forget_taken(&mut self) {
        self.sources.iter_mut().for_each(|source| source.forget_taken());
    }

    /// Forgets what the remote's nodes want: a broken rule.
    pub fn forget_interest(&mut self, out: &mut impl Outlet) {
        let sources = self.sources.clone();
        self.unserve(out, &sources);
        self.sources.iter_mut().for_each(|source| source.interest = Default::default());
    }
}

impl Source {
    fn resume(&mut self) {
        for number in 0..3 {
            if let Some(lane) = self.lane(number) {
                lane.made_durable(lane.epoch(), lane.taken());
            }
        }
    }

    fn forget_taken(&mut self) {
        for number in 0..3 {
            if let Some(lane) = self.lane(number) {
                let epoch = lane.epoch();
                lane.is_renewed(epoch.wrapping_add(1));
                lane.is_renewed(epoch);
            }
        }
    }
}

impl LaneOut<SimSpool> {
    /// In a new life all that was written is durable, and what was open is gone. Marks come anew.
    fn resume(&mut self) {
        self.pause();
        self.made_durable(self.sealed());
        self.open = Chunk::new(LANE_MESSAGES, Vec::new());
        self.marks.clear();
        self.marked.clear();
    }
}
