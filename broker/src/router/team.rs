//! A group of a shared subscription within the index: who is in it, and what other nodes are told of it.

use super::group::{Group, Turns};
use super::hash::Seed;
use super::member::{Member, Tally};
use super::receiver::Receiver;
use super::roster::Roster;
use super::shared_subscription::SharedSubscription;
use crate::topic::Filter;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// A group within the index.
#[derive(Debug)]
pub(super) struct Team {
    pub name: Arc<str>,
    /// Given when the first session of this node comes, and kept while anybody is in the group; 0: none yet.
    number: u32,
    roster: Roster<Member>,
    turns: Arc<Turns>,
    /// Made once after a change, by the first who looks.
    snapshot: OnceLock<Group>,
}

/// Numbers for groups, each given once; after four thousand million they begin anew.
#[derive(Debug, Default)]
pub(super) struct Numbers(AtomicU32);

/// What became of a member that came or went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    /// Who stood there before for the same receiver.
    pub before: Option<Receiver>,
    /// Whether a route that is kept would not show it.
    pub changed: bool,
    /// What other nodes have to be told.
    pub told: Option<Told>,
}

/// The sessions of this node in a group: its number, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub number: u32,
    pub tally: Tally,
}

// === impl Team ===

impl Team {
    pub fn new(name: Arc<str>) -> Self {
        Self { name, number: 0, roster: Roster::new(), turns: Arc::default(), snapshot: OnceLock::new() }
    }

    /// Enters a member, or replaces that of the same receiver.
    pub fn put(&mut self, seed: &Seed, numbers: &Numbers, mut member: Member) -> Effect {
        if let Some(known) = self.roster.find(seed, member.receiver)
            && known.recount(&member)
        {
            return Effect { before: Some(known.receiver), changed: false, told: None };
        }
        member.counted_online = member.is_online();
        let after = counted(&member);
        if after.is_some() && self.number == 0 {
            self.number = numbers.next();
        }
        let known = self.roster.put(seed, member.clone());
        let changed = known.as_ref().is_none_or(|known| known.differs(&member));
        if changed {
            self.snapshot.take();
        }
        let told = self.count(known.as_ref().and_then(counted), after);
        Effect { before: known.map(|known| known.receiver), changed, told }
    }

    /// Strikes a member off.
    pub fn take(&mut self, seed: &Seed, receiver: Receiver) -> Effect {
        let taken = self.roster.take(seed, receiver);
        if taken.is_some() {
            self.snapshot.take();
        }
        let told = self.count(taken.as_ref().and_then(counted), None);
        Effect { before: taken.as_ref().map(|taken| taken.receiver), changed: taken.is_some(), told }
    }

    /// A session of this node came on-line or went off-line.
    pub fn recount(&mut self, seed: &Seed, receiver: Receiver) -> Option<Told> {
        let member = self.roster.find_mut(seed, receiver)?;
        let before = counted(member);
        member.counted_online = member.is_online();
        let after = counted(member);
        self.count(before, after)
    }

    pub fn is_empty(&self) -> bool {
        self.roster.all().is_empty()
    }

    /// What other nodes know of it, if a session of this node is in it.
    pub fn told(&self) -> Option<Told> {
        let tally = self.turns.tally.get();
        (tally.all() > 0).then_some(Told { number: self.number, tally })
    }

    /// The group as routes hold it. The team must have a member.
    pub fn group(&self) -> Group {
        self.snapshot.get_or_init(|| Group::new(self.number, Arc::clone(&self.turns), self.roster.all())).clone()
    }

    /// A session counts differently now: `Some(whether it is on-line)`, or not at all.
    fn count(&self, before: Option<bool>, after: Option<bool>) -> Option<Told> {
        if before == after {
            return None;
        }
        let mut tally = self.turns.tally.get();
        tally.change(before, after);
        self.turns.tally.set(tally);
        Some(Told { number: self.number, tally })
    }
}

// === impl Told ===

impl Told {
    /// In the words for other nodes.
    pub fn share(self, group: &Arc<str>, filter: &Filter) -> SharedSubscription {
        let Tally { online, offline } = self.tally;
        SharedSubscription { group: Arc::clone(group), filter: filter.clone(), number: self.number, online, offline }
    }
}

// === impl Numbers ===

impl Numbers {
    fn next(&self) -> u32 {
        loop {
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if number != 0 {
                return number;
            }
        }
    }
}

/// Whether a session is counted as on-line; nothing for a peer, which is not counted.
fn counted(member: &Member) -> Option<bool> {
    (!member.is_peer()).then_some(member.counted_online)
}
