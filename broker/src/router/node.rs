//! One filter of the index with all who subscribed to it, alone or in groups.

use super::hash::Seed;
use super::interest::{Audience, Change, Changes};
use super::member::Member;
use super::receiver::{Kind, Receiver};
use super::roster::{Listed, Roster};
use super::team::{self, Team, Told};
use crate::topic::Filter;
use hashbrown::HashTable;
use std::sync::Arc;

/// A filter and its subscribers. Most filters have one; that one needs no memory of its own.
#[derive(Debug)]
pub(super) struct Node {
    /// The hash by which the filter's table finds it.
    pub hash: u64,
    pub filter: Filter,
    subscribers: Subscribers,
}

#[derive(Debug)]
enum Subscribers {
    None,
    One(Entry),
    Many(Box<Many>),
}

#[derive(Debug)]
struct Many {
    plain: Roster<Entry>,
    teams: HashTable<Team>,
    /// Who wants the filter, by audience; who is in groups too counts once for itself and once for each group.
    wanted: [u32; Audience::ALL.len()],
}

/// A subscriber and its Subscription Identifier; 0: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub receiver: Receiver,
    pub id: u32,
}

/// What a change of a node was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    /// Whether the subscription was there before.
    pub existed: bool,
    /// Whether routes differ now.
    pub changed: bool,
    /// Whether the filter began or ceased to be wanted, by audience.
    pub interest: Changes,
    /// What other nodes have to be told of the group.
    pub told: Option<Told>,
}

// === impl Node ===

impl Node {
    pub fn new(hash: u64, filter: Filter) -> Self {
        Self { hash, filter, subscribers: Subscribers::None }
    }

    /// Enters a subscriber outside of groups, or replaces the entry of the same receiver.
    pub fn put(&mut self, seed: &Seed, entry: Entry) -> Effect {
        let before = self.wanted();
        let changed = match &mut self.subscribers {
            Subscribers::None => {
                self.subscribers = Subscribers::One(entry);
                None
            }
            Subscribers::One(one) if one.receiver.same(entry.receiver) => Some(std::mem::replace(one, entry) != entry),
            Subscribers::One(_) | Subscribers::Many(_) => self.subscribers.many(seed).put(seed, entry),
        };
        self.effect(before, changed.is_some(), changed.unwrap_or(true), None)
    }

    /// Enters a member of a group, or replaces that of the same receiver.
    pub fn put_member(&mut self, seed: &Seed, group: &Arc<str>, member: Member) -> Effect {
        let before = self.wanted();
        let effect = self.subscribers.many(seed).put_member(seed, group, &self.filter, member);
        self.effect(before, effect.before.is_some(), effect.changed, effect.told)
    }

    /// Removes a subscription.
    pub fn take(&mut self, seed: &Seed, group: Option<&Arc<str>>, receiver: Receiver) -> Effect {
        let before = self.wanted();
        let (existed, told) = match (&mut self.subscribers, group) {
            (Subscribers::One(one), None) if one.receiver.same(receiver) => {
                self.subscribers = Subscribers::None;
                (true, None)
            }
            (Subscribers::None | Subscribers::One(_), _) => (false, None),
            (Subscribers::Many(many), group) => {
                let taken = match group {
                    None => (many.take(seed, receiver), None),
                    Some(name) => many.take_member(seed, name, receiver),
                };
                self.subscribers.settle();
                taken
            }
        };
        self.effect(before, existed, existed, told)
    }

    /// A session in a group came on-line or went off-line: what other nodes have to be told.
    pub fn recount(&mut self, seed: &Seed, group: &Arc<str>, receiver: Receiver) -> Option<Told> {
        match &mut self.subscribers {
            Subscribers::None | Subscribers::One(_) => None,
            Subscribers::Many(many) => many.team_mut(seed, group)?.recount(seed, receiver),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.subscribers, Subscribers::None)
    }

    /// Whether anybody wants the filter of whom an audience hears.
    pub fn is_wanted(&self, audience: Audience) -> bool {
        self.wanted()[audience as usize]
    }

    /// The subscribers outside of groups.
    pub fn plain(&self) -> &[Entry] {
        match &self.subscribers {
            Subscribers::None => &[],
            Subscribers::One(one) => std::slice::from_ref(one),
            Subscribers::Many(many) => many.plain.all(),
        }
    }

    /// The groups.
    pub fn teams(&self) -> impl Iterator<Item = &Team> {
        let many = match &self.subscribers {
            Subscribers::None | Subscribers::One(_) => None,
            Subscribers::Many(many) => Some(many),
        };
        many.into_iter().flat_map(|many| many.teams.iter())
    }

    /// Whether the filter is wanted, by audience.
    fn wanted(&self) -> [bool; Audience::ALL.len()] {
        match &self.subscribers {
            Subscribers::None => [false; Audience::ALL.len()],
            Subscribers::One(one) => Audience::ALL.map(|audience| audience.hears_of(one.receiver, false)),
            Subscribers::Many(many) => many.wanted.map(|count| count > 0),
        }
    }

    /// A change that was made, given who wanted the filter before.
    fn effect(&self, before: [bool; Audience::ALL.len()], existed: bool, changed: bool, told: Option<Told>) -> Effect {
        let after = self.wanted();
        let interest = Audience::ALL.map(|audience| match (before[audience as usize], after[audience as usize]) {
            (false, true) => Some(Change::Added),
            (true, false) => Some(Change::Removed),
            (true, true) | (false, false) => None,
        });
        Effect { existed, changed, interest, told }
    }
}

// === impl Subscribers ===

impl Subscribers {
    /// The form that holds any number of subscribers, and groups.
    fn many(&mut self, seed: &Seed) -> &mut Many {
        if !matches!(self, Self::Many(_)) {
            let wanted = Default::default();
            let mut many = Box::new(Many { plain: Roster::new(), teams: HashTable::new(), wanted });
            if let Self::One(one) = self {
                many.put(seed, *one);
            }
            *self = Self::Many(many);
        }
        match self {
            Self::Many(many) => many,
            Self::None | Self::One(_) => unreachable!("made so above"),
        }
    }

    /// The smallest form for those who are left.
    fn settle(&mut self) {
        if let Self::Many(many) = self
            && many.teams.is_empty()
        {
            match many.plain.all() {
                [] => *self = Self::None,
                [one] => *self = Self::One(*one),
                [..] => {}
            }
        }
    }
}

// === impl Many ===

impl Many {
    /// Enters a subscriber outside of groups: `Some(whether routes differ)` if it was there.
    fn put(&mut self, seed: &Seed, entry: Entry) -> Option<bool> {
        let known = self.plain.put(seed, entry);
        self.count(known.map(|known| known.receiver), Some(entry.receiver), false);
        known.map(|known| known != entry)
    }

    fn put_member(&mut self, seed: &Seed, name: &Arc<str>, filter: &Filter, member: Member) -> team::Effect {
        let hash = |team: &Team| seed.bytes(team.name.as_bytes());
        let team = self.teams.entry(seed.bytes(name.as_bytes()), |team| team.name == *name, hash);
        let team = team.or_insert_with(|| Team::new(Arc::clone(name), filter)).into_mut();
        let receiver = member.receiver;
        let effect = team.put(seed, member);
        self.count(effect.before, Some(receiver), true);
        effect
    }

    /// Removes a subscriber outside of groups; whether it was there.
    fn take(&mut self, seed: &Seed, receiver: Receiver) -> bool {
        let taken = self.plain.take(seed, receiver).map(|entry| entry.receiver);
        self.count(taken, None, false);
        taken.is_some()
    }

    /// Removes a member of a group: whether it was there, and what other nodes have to be told.
    fn take_member(&mut self, seed: &Seed, name: &Arc<str>, receiver: Receiver) -> (bool, Option<Told>) {
        let found = self.teams.find_entry(seed.bytes(name.as_bytes()), |team| team.name == *name);
        let Ok(mut team) = found else { return (false, None) };
        let effect = team.get_mut().take(seed, receiver);
        if team.get().is_empty() {
            team.remove();
        }
        self.count(effect.before, None, true);
        (effect.before.is_some(), effect.told)
    }

    fn team_mut(&mut self, seed: &Seed, name: &Arc<str>) -> Option<&mut Team> {
        self.teams.find_mut(seed.bytes(name.as_bytes()), |team| team.name == *name)
    }

    fn count(&mut self, before: Option<Receiver>, after: Option<Receiver>, in_group: bool) {
        for audience in Audience::ALL {
            let of = |who: Option<Receiver>| u32::from(who.is_some_and(|who| audience.hears_of(who, in_group)));
            let wanted = &mut self.wanted[audience as usize];
            *wanted = *wanted + of(after) - of(before);
        }
    }
}

impl Listed for Entry {
    fn receiver(&self) -> Receiver {
        self.receiver
    }
}

// === impl Audience ===

impl Audience {
    /// Whether the filter of this subscriber is told to the audience as wanted.
    fn hears_of(self, receiver: Receiver, in_group: bool) -> bool {
        match (self, receiver.flags.kind()) {
            (Self::Peers, Kind::Client) => !in_group,
            (Self::Links, Kind::Client | Kind::Peer) => true,
            (Self::Peers, Kind::Peer | Kind::Link) | (Self::Links, Kind::Link) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_with_one_subscriber_takes_48_bytes() {
        assert_eq!(size_of::<Node>(), 48);
    }
}
