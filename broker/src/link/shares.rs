//! Shared subscriptions of one node's clients, as its peers hold them: by group and filter.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::digest::digest;
use crate::router::SharedSubscription;
use crate::topic::Filter;

use super::record::Share;

/// Group and filter of a shared subscription.
pub type Key = (Arc<str>, Filter);

/// What may change of a shared subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Its number at its node.
    pub number: u32,
    /// Members that are connected.
    pub online: u32,
    /// Members that are away.
    pub offline: u32,
}

/// Shared subscriptions by group and filter.
pub type Shares = BTreeMap<Key, Members>;

/// Shared subscriptions of this node, and what of them the other side was not told.
#[derive(Debug, Default)]
pub struct SharesOut {
    all: Shares,
    /// What the other side was told of those that differ now; nothing: it was not told of them.
    untold: BTreeMap<Key, Option<Members>>,
}

/// A difference from what the other side was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub key: Key,
    /// What it was told.
    pub told: Option<Members>,
    /// What is so now.
    pub now: Option<Members>,
}

/// The hash of a shared subscription in a digest.
pub fn digest_of((group, filter): &Key, members: Members) -> u64 {
    let Members { number, online, offline } = members;
    digest(format!("$share/{group}/{} {number} {online} {offline}", filter.as_str()))
}

/// A shared subscription as one value; nothing if it has no member.
pub fn split(share: &SharedSubscription) -> (Key, Option<Members>) {
    let SharedSubscription { group, filter, number, online, offline } = share;
    let members = Members { number: *number, online: *online, offline: *offline };
    ((group.clone(), filter.clone()), (!share.is_empty()).then_some(members))
}

/// The opposite of [`split`].
pub fn join((group, filter): &Key, members: Members) -> SharedSubscription {
    let Members { number, online, offline } = members;
    SharedSubscription { group: group.clone(), filter: filter.clone(), number, online, offline }
}

// === impl Members ===

impl Members {
    /// As an entry of interest.
    pub fn entry(self, group: &str) -> Share<'_> {
        let Self { number, online, offline } = self;
        Share { group, number, online, offline }
    }
}

// === impl SharesOut ===

impl SharesOut {
    /// A shared subscription is so now.
    pub fn change(&mut self, share: &SharedSubscription) {
        let (key, now) = split(share);
        let before = match now {
            Some(members) => self.all.insert(key.clone(), members),
            None => self.all.remove(&key),
        };
        if before != now {
            let told = *self.untold.entry(key.clone()).or_insert(before);
            if told == now {
                self.untold.remove(&key);
            }
        }
    }

    /// These are all that there are.
    pub fn replace(&mut self, shares: impl IntoIterator<Item = SharedSubscription>) {
        let shares: Vec<SharedSubscription> = shares.into_iter().collect();
        let new: Shares = shares.iter().map(split).filter_map(|(key, now)| Some((key, now?))).collect();
        let gone: Vec<Key> = self.all.keys().filter(|key| !new.contains_key(*key)).cloned().collect();
        for key in gone {
            self.change(&join(&key, Members { number: 0, online: 0, offline: 0 }));
        }
        shares.iter().for_each(|share| self.change(share));
    }

    /// All that differs from what was told; it counts as told.
    pub fn tell(&mut self) -> Vec<Difference> {
        let untold = std::mem::take(&mut self.untold);
        let difference = |(key, told)| Difference { now: self.all.get(&key).copied(), key, told };
        untold.into_iter().map(difference).collect()
    }

    /// All count as told.
    pub fn tell_all(&mut self) {
        self.untold.clear();
    }

    /// All that there are, of which nothing may be untold.
    pub fn told(&self) -> impl Iterator<Item = (&Key, Members)> {
        self.all.iter().map(|(key, members)| (key, *members))
    }

    /// How many differ from what was told.
    pub fn untold(&self) -> usize {
        self.untold.len()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }
}
