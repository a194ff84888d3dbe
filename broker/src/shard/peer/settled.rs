//! How far the other nodes of the cluster route by what is wanted here, and the SUBACKs that wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::clock::Millis;
use crate::codec::Qos;
use crate::codec::subscribe::Suback;
use crate::router::Audience;
use crate::shard::{Control, Shard};
use crate::topic::Subscription;

/// Nodes that can be waited for: as many others as a cluster may have.
const NODES_MAX: usize = 64;

/// SUBACKs of a shard that wait at one time; further ones do not wait.
const WAITING_MAX: usize = 65_536;

/// Places in the logs of what is wanted here: of filters, and of shared subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// In the log of filters.
    pub interest: u64,
    /// In the log of shared subscriptions.
    pub shares: u64,
}

/// How far each node that can be reached has come, as all shards see it. A node that can't be reached is not waited for.
pub struct Settled {
    /// A bit for each place in use.
    used: AtomicU64,
    nodes: [Place; NODES_MAX],
    /// A bit for each shard with SUBACKs that wait.
    waiting: AtomicU64,
    /// A bit for each node that was in sync once, or was given up.
    met: AtomicU64,
    /// A bit for each node that has told what it wants, or was given up.
    heard: AtomicU64,
    /// Lists of the nodes that shards have yet to take: who stands in them may have no place yet.
    lists: AtomicU32,
}

#[derive(Default)]
struct Place {
    interest: AtomicU64,
    shares: AtomicU64,
}

/// A SUBACK that waits.
pub struct Waiting {
    slot: u32,
    epoch: u16,
    until: Cursors,
    /// When it waits no longer.
    deadline: Millis,
    /// What is to be said.
    pub answer: Answer,
}

/// The answer to a SUBSCRIBE, and what follows it.
pub struct Answer {
    /// The packet.
    pub suback: Suback<'static>,
    /// Subscriptions whose retained messages are sent, with the QoS granted.
    pub replays: Vec<(Subscription, Qos)>,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
}

// === impl Cursors ===

impl Cursors {
    fn reach(self, other: Self) -> bool {
        self.interest >= other.interest && self.shares >= other.shares
    }
}

// === impl Settled ===

impl Default for Settled {
    fn default() -> Self {
        let nodes = std::array::from_fn(|_| Place::default());
        Self {
            used: AtomicU64::new(0),
            nodes,
            waiting: AtomicU64::new(0),
            met: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            lists: AtomicU32::new(0),
        }
    }
}

impl Settled {
    /// A place for a node, which is not waited for yet; none if all are taken, which the bound of the configuration
    /// excludes.
    pub fn enter(&self) -> Option<usize> {
        let free = |used: u64| (used != u64::MAX).then(|| used.trailing_ones() as usize);
        let used = self.used.load(Ordering::Acquire);
        let place = free(used)?;
        self.leave_alone(place);
        // Shards enter one after the other, as the configuration comes to them; the loser of a race tries again.
        match self.used.compare_exchange(used, used | 1 << place, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(place),
            Err(_) => self.enter(),
        }
    }

    /// A node is in sync with this one, or is given up for now: this one need not wait for it to be ready.
    pub fn meet(&self, place: usize) {
        self.met.fetch_or(1 << place, Ordering::AcqRel);
    }

    /// A node has told what it wants, or is given up for now.
    pub fn hear(&self, place: usize) {
        self.heard.fetch_or(1 << place, Ordering::AcqRel);
    }

    /// How many nodes have told what they want, or were given up.
    pub fn heard(&self) -> u32 {
        (self.used.load(Ordering::Acquire) & self.heard.load(Ordering::Acquire)).count_ones()
    }

    /// So many shards are told which nodes there are.
    pub fn list(&self, shards: usize) {
        self.lists.fetch_add(u32::try_from(shards).unwrap_or(u32::MAX), Ordering::AcqRel);
    }

    /// A shard has taken what it was told: each node whose row is there has its place.
    pub fn listed(&self) {
        self.lists.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many nodes this one has not met yet; nobody knows before all shards have taken the list of the nodes.
    pub fn unmet(&self) -> Option<u32> {
        let known = self.lists.load(Ordering::Acquire) == 0;
        known.then(|| (self.used.load(Ordering::Acquire) & !self.met.load(Ordering::Acquire)).count_ones())
    }

    /// A node is gone.
    pub fn leave(&self, place: usize) {
        self.met.fetch_and(!(1 << place), Ordering::AcqRel);
        self.heard.fetch_and(!(1 << place), Ordering::AcqRel);
        self.used.fetch_and(!(1 << place), Ordering::AcqRel);
    }

    /// A node that can be reached has come so far.
    pub fn set(&self, place: usize, cursors: Cursors) {
        self.nodes[place].interest.store(cursors.interest, Ordering::Release);
        self.nodes[place].shares.store(cursors.shares, Ordering::Release);
    }

    /// A node can't be reached: nobody waits for it.
    pub fn leave_alone(&self, place: usize) {
        self.set(place, Cursors { interest: u64::MAX, shares: u64::MAX });
    }

    /// Shards that have something waiting.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }

    /// How far all have come.
    fn least(&self) -> Cursors {
        let mut least = Cursors { interest: u64::MAX, shares: u64::MAX };
        let mut used = self.used.load(Ordering::Acquire);
        while used != 0 {
            let node = &self.nodes[used.trailing_zeros() as usize];
            least.interest = least.interest.min(node.interest.load(Ordering::Acquire));
            least.shares = least.shares.min(node.shares.load(Ordering::Acquire));
            used &= used - 1;
        }
        least
    }
}

// === impl Shard ===

impl Shard {
    /// Whether this node knows what is wanted at all others, but for those that it gave up. Before that, what clients
    /// publish or what came over a link with another cluster would be lost for them, and that one would be told too little.
    /// Once is enough: what was heard is kept.
    #[inline]
    pub(in crate::shard) fn has_heard_all(&mut self) -> bool {
        self.has_heard = self.has_heard || self.hears_all();
        self.has_heard
    }

    #[cold]
    fn hears_all(&self) -> bool {
        self.nodes_listed && self.shared.settled.heard() as usize >= self.nodes.len()
    }

    /// Answers a SUBSCRIBE as soon as every node that can be reached routes by it: what is published anywhere after the
    /// SUBACK arrives. A node that begins anew does not know yet who can be reached; it waits for those that it has not heard.
    pub(in crate::shard) fn answer_subscribe(&mut self, slot: u32, answer: Answer) {
        let index = &self.shared.index;
        let until = Cursors { interest: index.interest_end(Audience::Peers), shares: index.shares_end() };
        let timeout = Millis::from(self.core.tuning.cluster.subscribe_timeout);
        let Some(epoch) = self.core.rows.get(slot as usize).map(|row| row.epoch) else { return };
        if timeout == Millis(0) || self.waiting.len() >= WAITING_MAX || self.is_settled(until) {
            self.say_suback(slot, answer);
            return;
        }
        let deadline = self.core.now + timeout;
        self.waiting.push_back(Waiting { slot, epoch, until, deadline, answer });
        self.shared.settled.waiting.fetch_or(1 << self.core.shard, Ordering::AcqRel);
        // It may have settled while the bit was down.
        self.answer_settled();
    }

    fn is_settled(&mut self, until: Cursors) -> bool {
        self.has_heard_all() && self.shared.settled.least().reach(until)
    }

    /// Answers what waits no longer.
    pub(in crate::shard) fn answer_settled(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (heard, least) = (self.has_heard_all(), self.shared.settled.least());
        while let Some(next) =
            self.waiting.pop_front_if(|next| heard && least.reach(next.until) || next.deadline <= self.core.now)
        {
            let is_there = |row: &crate::shard::row::Row| row.epoch == next.epoch;
            if self.core.rows.get(next.slot as usize).is_some_and(is_there) {
                self.say_suback(next.slot, next.answer);
            }
        }
        self.note_waiting();
    }

    /// Says so when nothing waits any more.
    fn note_waiting(&self) {
        if self.waiting.is_empty() {
            self.shared.settled.waiting.fetch_and(!(1 << self.core.shard), Ordering::AcqRel);
        }
    }

    /// A connection has ended: what it asked is not answered on the next one.
    pub(in crate::shard) fn forget_waiting(&mut self, slot: u32) {
        self.waiting.retain(|waiting| waiting.slot != slot);
        self.note_waiting();
    }

    /// When the first SUBACK waits no longer.
    pub(in crate::shard) fn waiting_until(&self) -> Option<Millis> {
        self.waiting.front().map(|waiting| waiting.deadline)
    }

    /// A node has come further: whoever waits looks again.
    pub(in crate::shard) fn tell_settled(&mut self) {
        let waiting = self.shared.settled.waiting();
        for (shard, inbox) in self.shared.inboxes.iter().enumerate() {
            if waiting & 1 << shard != 0 {
                inbox.send(Control::Settled);
            }
        }
    }
}

/// SUBACKs that wait, oldest first.
pub type WaitingList = VecDeque<Waiting>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_that_can_be_reached_are_waited_for() {
        let settled = Settled::default();
        let at = |interest| Cursors { interest, shares: 0 };
        assert!(settled.least().reach(at(100)), "a node without others waits for nobody");
        let (one, two) = (settled.enter().expect("a place"), settled.enter().expect("another"));
        assert!(settled.least().reach(at(100)));
        settled.set(one, at(5));
        assert!(settled.least().reach(at(5)) && !settled.least().reach(at(6)));
        settled.set(two, at(3));
        assert!(!settled.least().reach(at(5)));
        settled.leave_alone(two);
        assert!(settled.least().reach(at(5)));
        settled.set(two, at(1));
        settled.leave(two);
        assert!(settled.least().reach(at(5)));
    }

    #[test]
    fn both_logs_must_be_reached() {
        let (interest, shares) = (3, 4);
        assert!(Cursors { interest, shares }.reach(Cursors { interest, shares }));
        assert!(!Cursors { interest, shares }.reach(Cursors { interest: 4, shares }));
        assert!(!Cursors { interest, shares }.reach(Cursors { interest, shares: 5 }));
    }
}
