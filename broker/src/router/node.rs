//! One filter of the index with all who subscribed to it, alone or in groups.

use super::hash::Seed;
use super::index::SubscriptionEntry;
use super::interest::Change;
use super::receiver::{Kind, Receiver};
use super::roster::{Listed, Roster};
use super::share::{Member, Team};
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
    /// Clients among all of them; a client counts once for itself and once for each group.
    clients: u32,
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
    /// Whether clients began or ceased to want the filter.
    pub interest: Option<Change>,
}

// === impl Node ===

impl Node {
    pub fn new(hash: u64, filter: Filter) -> Self {
        Self { hash, filter, subscribers: Subscribers::None }
    }

    /// Enters a subscription, or replaces that of the same receiver (and group).
    pub fn put(&mut self, seed: &Seed, group: Option<&Arc<str>>, entry: SubscriptionEntry) -> Effect {
        let wanted = self.clients() > 0;
        let SubscriptionEntry { receiver, subscription_id, presence } = entry;
        let id = subscription_id.unwrap_or(0);
        let receiver = Receiver { flags: receiver.flags.with_ids(id != 0), ..receiver };
        let changed = match group {
            None => self.put_plain(seed, Entry { receiver, id }),
            Some(name) => self.subscribers.many(seed).put(seed, name, Member { receiver, id, presence }),
        };
        Effect { existed: changed.is_some(), changed: changed.unwrap_or(true), interest: self.interest(wanted) }
    }

    /// Removes a subscription.
    pub fn take(&mut self, seed: &Seed, group: Option<&Arc<str>>, receiver: Receiver) -> Effect {
        let wanted = self.clients() > 0;
        let existed = match (&mut self.subscribers, group) {
            (Subscribers::One(one), None) if one.receiver.same(receiver) => {
                self.subscribers = Subscribers::None;
                true
            }
            (Subscribers::None | Subscribers::One(_), _) => false,
            (Subscribers::Many(many), group) => {
                let existed = many.take(seed, group, receiver);
                self.subscribers.settle();
                existed
            }
        };
        Effect { existed, changed: existed, interest: self.interest(wanted) }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.subscribers, Subscribers::None)
    }

    /// How many subscriptions of clients stand behind the filter.
    pub fn clients(&self) -> u32 {
        match &self.subscribers {
            Subscribers::None => 0,
            Subscribers::One(one) => client(one.receiver),
            Subscribers::Many(many) => many.clients,
        }
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

    /// `Some(whether routes differ)` if the receiver was there.
    fn put_plain(&mut self, seed: &Seed, entry: Entry) -> Option<bool> {
        match &mut self.subscribers {
            Subscribers::None => {
                self.subscribers = Subscribers::One(entry);
                None
            }
            Subscribers::One(one) if one.receiver.same(entry.receiver) => Some(std::mem::replace(one, entry) != entry),
            Subscribers::One(_) | Subscribers::Many(_) => {
                let many = self.subscribers.many(seed);
                let before = many.plain.put(seed, entry);
                many.count(before.map(|before| before.receiver), Some(entry.receiver));
                before.map(|before| before != entry)
            }
        }
    }

    fn interest(&self, wanted: bool) -> Option<Change> {
        match (wanted, self.clients() > 0) {
            (false, true) => Some(Change::Added),
            (true, false) => Some(Change::Removed),
            (true, true) | (false, false) => None,
        }
    }
}

// === impl Subscribers ===

impl Subscribers {
    /// The form that holds any number of subscribers, and groups.
    fn many(&mut self, seed: &Seed) -> &mut Many {
        if !matches!(self, Self::Many(_)) {
            let mut many = Box::new(Many { plain: Roster::new(), teams: HashTable::new(), clients: 0 });
            if let Self::One(one) = self {
                many.plain.put(seed, *one);
                many.count(None, Some(one.receiver));
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
    /// Enters a member of a group: `Some(whether routes differ)` if it was there.
    fn put(&mut self, seed: &Seed, name: &Arc<str>, member: Member) -> Option<bool> {
        let hash = |team: &Team| seed.bytes(team.name.as_bytes());
        let team = self.teams.entry(seed.bytes(name.as_bytes()), |team| team.name == *name, hash);
        let team = team.or_insert_with(|| Team::new(Arc::clone(name))).into_mut();
        let receiver = member.receiver;
        let before = team.put(seed, member.clone());
        self.count(before.as_ref().map(|before| before.receiver), Some(receiver));
        before.map(|before| before.differs(&member))
    }

    /// Removes a subscriber, or a member of a group; whether it was there.
    fn take(&mut self, seed: &Seed, group: Option<&Arc<str>>, receiver: Receiver) -> bool {
        let taken = match group {
            None => self.plain.take(seed, receiver).map(|entry| entry.receiver),
            Some(name) => {
                let team = self.teams.find_entry(seed.bytes(name.as_bytes()), |team| team.name == *name);
                team.ok().and_then(|mut team| {
                    let taken = team.get_mut().take(seed, receiver);
                    if team.get().is_empty() {
                        team.remove();
                    }
                    taken.map(|member| member.receiver)
                })
            }
        };
        self.count(taken, None);
        taken.is_some()
    }

    fn count(&mut self, before: Option<Receiver>, after: Option<Receiver>) {
        self.clients += after.map_or(0, client);
        self.clients -= before.map_or(0, client);
    }
}

impl Listed for Entry {
    fn receiver(&self) -> Receiver {
        self.receiver
    }
}

/// 1 for a client, else 0.
fn client(receiver: Receiver) -> u32 {
    match receiver.flags.kind() {
        Kind::Client => 1,
        Kind::Peer | Kind::Link => 0,
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
