//! A group of a shared subscription within the index: who is in it, and what other nodes are told of it.

use super::group::{Group, Turns};
use super::hash::Seed;
use super::member::{Member, Tally};
use super::receiver::Receiver;
use super::roster::Roster;
use super::shared_subscription::SharedSubscription;
use crate::topic::Filter;
use std::sync::{Arc, OnceLock};

/// A group within the index.
#[derive(Debug)]
pub(super) struct Team {
    pub name: Arc<str>,
    /// By what other nodes ask for a member of this node, and by what a session knows why it has a message: the same at every
    /// node, in each of its lives, so that a message which was chosen for a member that left finds those that are there
    /// now, wherever.
    number: u32,
    roster: Roster<Member>,
    turns: Arc<Turns>,
    /// Made once after a change, by the first who looks.
    snapshot: OnceLock<Group>,
}

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

/// Seeds the numbers of groups, at every node and in every version alike.
const NUMBERS: u64 = 0x0067_726f_7570_7301;

// === impl Team ===

impl Team {
    /// A group of a filter without members.
    pub fn new(name: Arc<str>, filter: &Filter) -> Self {
        let number = number_of(&name, filter);
        Self { name, number, roster: Roster::new(), turns: Arc::default(), snapshot: OnceLock::new() }
    }

    /// Enters a member, or replaces that of the same receiver.
    pub fn put(&mut self, seed: &Seed, member: Member) -> Effect {
        let mut member = member.of_group(self.number);
        if let Some(known) = self.roster.find(seed, member.receiver)
            && known.recount(&member)
        {
            return Effect { before: Some(known.receiver), changed: false, told: None };
        }
        member.counted_online = member.is_online();
        let after = counted(&member);
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

/// The number of a group. Two groups with one number matter if they match one topic: then members of either may get what is
/// the other's. Who seeks such a pair must be allowed to subscribe to the topic, and could join the other group as well.
pub fn number_of(name: &str, filter: &Filter) -> u32 {
    let seed = Seed::new(NUMBERS);
    let hash = seed.bytes(name.as_bytes()).rotate_left(32) ^ seed.bytes(filter.as_str().as_bytes());
    ((hash >> 32) as u32 ^ hash as u32).max(1)
}

/// Whether a session is counted as on-line; nothing for a peer, which is not counted.
fn counted(member: &Member) -> Option<bool> {
    (!member.is_peer()).then_some(member.counted_online)
}

#[cfg(test)]
mod tests {
    use super::super::{Index, Kind, Receiver, ReceiverFlags, Route, SubscriptionEntry};
    use super::*;
    use crate::topic::Subscription;

    #[test]
    fn a_group_has_the_same_number_at_every_node() {
        let number = |seed| {
            let (index, mut route) = (Index::new(seed), Route::default());
            let receiver = Receiver { slot: 1, epoch: 0, shard: 0, flags: ReceiverFlags::new(Kind::Client, 1) };
            index.subscribe(&Subscription::parse("$share/g/a/#", 8).unwrap(), SubscriptionEntry::new(receiver));
            index.lookup("a/b", &mut route);
            route.groups[0].number()
        };
        assert_eq!(number(1), number(2));
        assert_eq!(number(1), number_of("g", &Filter::parse("a/#", 8).unwrap()));
        assert_ne!(number(1), number_of("h", &Filter::parse("a/#", 8).unwrap()));
    }
}
