//! The index of all subscriptions of this node: one for all shards.
//!
//! It is locked for one operation at a time. A change is visible, and the routes that it voids are void, when the call
//! returns: who has seen a SUBACK misses nothing that is published afterwards, on whatever shard.

use super::hash::{Levels, Seed};
use super::interest::{Audience, CHANGES_MAX, Interest, InterestLog, Log, Shares};
use super::member::{Member, Presence, Tally};
use super::node::{Effect, Entry, Node};
use super::receiver::Receiver;
use super::route::Route;
use super::shape::{Form, Pattern, Shape, Shapes, Table};
use super::shared_subscription::SharedSubscription;
use super::stamps::{Stamp, Stamps};
use super::team::Told;
use super::trie::Trie;
use crate::topic::{Filter, Subscription};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Subscriptions looked at under one lock when a session comes or goes.
const BATCH: usize = 16;

/// The index of all subscriptions of this node.
#[derive(Debug)]
pub struct Index {
    seed: Seed,
    stamps: Stamps,
    interest_ends: [AtomicU64; Audience::ALL.len()],
    shares_end: AtomicU64,
    tables: RwLock<Tables>,
}

/// Who subscribes, and how.
#[derive(Clone, Debug)]
pub struct SubscriptionEntry {
    /// The receiver with its options; whether it has identifiers follows from `subscription_id`.
    pub receiver: Receiver,
    /// The Subscription Identifier of the SUBSCRIBE.
    pub subscription_id: Option<u32>,
    /// Whether the session has a connection; read for shared subscriptions alone, where `None` counts as on-line.
    pub presence: Option<Presence>,
}

/// How much the index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Subscriptions: pairs of a filter, or a group's filter, and a receiver.
    pub subscriptions: usize,
    /// Different filters.
    pub filters: usize,
    /// Filters among them that have no table of their shape; look-ups are slower for each of them.
    pub unshaped: usize,
    /// Shapes with a table.
    pub shapes: usize,
}

#[derive(Debug)]
struct Tables {
    exact: Table,
    shapes: Shapes,
    trie: Trie,
    /// Filters in the trie by shape. A shape is in the trie or has a table, never both.
    unshaped: BTreeMap<Shape, usize>,
    interest: InterestLog,
    shares: Log<SharedSubscription>,
    subscriptions: usize,
}

// === impl Index ===

impl Index {
    /// An empty index; `seed` should be random, so that nobody can choose topics whose hashes collide.
    pub fn new(seed: u64) -> Self {
        let tables = Tables {
            exact: Table::default(),
            shapes: Shapes::default(),
            trie: Trie::new(),
            unshaped: BTreeMap::new(),
            interest: InterestLog::new(CHANGES_MAX),
            shares: Log::new(CHANGES_MAX),
            subscriptions: 0,
        };
        Self {
            seed: Seed::new(seed),
            stamps: Stamps::new(),
            interest_ends: Default::default(),
            shares_end: AtomicU64::new(0),
            tables: RwLock::new(tables),
        }
    }

    /// Adds a subscription, or replaces that of the same receiver to the same filter (and group) `[MQTT-3.8.4-3]`;
    /// whether there was one.
    pub fn subscribe(&self, subscription: &Subscription, entry: SubscriptionEntry) -> bool {
        let SubscriptionEntry { receiver, subscription_id, presence } = entry;
        let id = subscription_id.unwrap_or(0);
        let receiver = Receiver { flags: receiver.flags.with_ids(id != 0), ..receiver };
        let (group, filter) = parts(subscription);
        self.put(group, filter, |node| match group {
            None => node.put(&self.seed, Entry { receiver, id }),
            Some(name) => node.put_member(&self.seed, name, Member::session(receiver, id, presence)),
        })
    }

    /// Enters a peer in a group, with its members there as one, or replaces what stood there of it; whether it was there.
    ///
    /// Routes that are kept see at once what differs; if that is only how many members there are, they need not be looked
    /// up again. A `share` without members removes the entry. `receiver` is a peer; `presence` tells whether it is
    /// connected, and must be the same flag each time.
    pub fn put_share(&self, receiver: Receiver, share: &SharedSubscription, presence: &Presence) -> bool {
        if share.is_empty() {
            return self.drop_share(receiver, &share.group, &share.filter);
        }
        let flags = receiver.flags.with_as_member(true).with_ids(share.number != 0);
        let receiver = Receiver { flags, ..receiver };
        let tally = Tally { online: share.online, offline: share.offline };
        let member = Member::node(receiver, share.number, tally, presence);
        let group = &share.group;
        self.put(Some(group), &share.filter, |node| node.put_member(&self.seed, group, member))
    }

    /// Strikes a peer off a group; whether it was there.
    pub fn drop_share(&self, receiver: Receiver, group: &str, filter: &Filter) -> bool {
        self.remove(&mut self.write(), Some(&group.into()), filter, receiver)
    }

    /// A session came on-line or went off-line, as its [`Presence`] tells since: other nodes hear of those of its
    /// `subscriptions` that are shared.
    pub fn presence_changed<'a>(&self, receiver: Receiver, subscriptions: impl IntoIterator<Item = &'a Subscription>) {
        let shared = |subscription: &'a Subscription| match subscription {
            Subscription::Plain(_) => None,
            Subscription::Shared { group, filter } => Some((group, filter)),
        };
        let mut shared = subscriptions.into_iter().filter_map(shared).peekable();
        while shared.peek().is_some() {
            let mut tables = self.write();
            for (group, filter) in shared.by_ref().take(BATCH) {
                let pattern = Pattern::of(&self.seed, filter.as_str());
                let recount = |node: &mut Node| node.recount(&self.seed, group, receiver);
                if let Some(told) = tables.change(&self.seed, &pattern, filter, recount).flatten() {
                    self.tell(&mut tables, group, filter, told);
                }
            }
        }
    }

    /// Removes the subscription of a receiver to a filter (and group); whether there was one.
    pub fn unsubscribe(&self, subscription: &Subscription, receiver: Receiver) -> bool {
        let (group, filter) = parts(subscription);
        self.remove(&mut self.write(), group, filter, receiver)
    }

    /// Removes many subscriptions of a receiver, as when its session ends; how many there were.
    pub fn unsubscribe_all<'a>(
        &self,
        subscriptions: impl IntoIterator<Item = &'a Subscription>,
        receiver: Receiver,
    ) -> usize {
        let mut subscriptions = subscriptions.into_iter().peekable();
        let mut removed = 0;
        while subscriptions.peek().is_some() {
            let mut tables = self.write();
            let batch = subscriptions.by_ref().take(BATCH);
            let parts = batch.map(parts);
            removed += parts.filter(|(group, filter)| self.remove(&mut tables, *group, filter, receiver)).count();
        }
        removed
    }

    /// Who receives messages of `topic`, which must be a valid topic name. What `into` held is overwritten.
    pub fn lookup(&self, topic: &str, into: &mut Route) {
        self.look_up(topic, into);
    }

    /// What is wanted here that a reader has not seen; 0 is the cursor of one who has seen nothing.
    ///
    /// Subscriptions of sessions count whether on-line or off-line; an audience that hears of groups does so by their
    /// filters.
    pub fn interest_since(&self, audience: Audience, cursor: u64) -> Interest {
        let tables = self.read();
        let end = tables.interest.end(audience);
        match tables.interest.since(audience, cursor) {
            Some(changes) => Interest::Changes(changes, end),
            None => {
                let wanted = tables.iter().filter(|node| node.is_wanted(audience));
                Interest::Snapshot(wanted.map(|node| node.filter.clone()).collect(), end)
            }
        }
    }

    /// The cursor of a reader of [`interest_since`](Self::interest_since) for whom there is nothing new; read without
    /// the lock.
    pub fn interest_end(&self, audience: Audience) -> u64 {
        self.interest_ends[audience as usize].load(Ordering::Acquire)
    }

    /// Shared subscriptions of sessions of this node that a reader has not seen as they are now; 0 is the cursor of one
    /// who has seen nothing.
    pub fn shares_since(&self, cursor: u64) -> Shares {
        let tables = self.read();
        let end = tables.shares.end();
        let changes: Option<Vec<_>> = tables.shares.since(cursor).map(|changes| changes.cloned().collect());
        match changes {
            Some(changes) => {
                drop(tables);
                Shares::last_of(changes, end)
            }
            None => {
                let shares = tables.iter().flat_map(|node| {
                    let told = node.teams().filter_map(|team| Some((team, team.told()?)));
                    told.map(|(team, told)| told.share(&team.name, &node.filter))
                });
                Shares::Snapshot(shares.collect(), end)
            }
        }
    }

    /// The cursor of a reader of [`shares_since`](Self::shares_since) for whom there is nothing new; read without the
    /// lock.
    pub fn shares_end(&self) -> u64 {
        self.shares_end.load(Ordering::Acquire)
    }

    /// How much the index holds.
    pub fn counts(&self) -> Counts {
        let tables = self.read();
        let shaped = tables.shapes.filters();
        Counts {
            subscriptions: tables.subscriptions,
            filters: tables.exact.len() + shaped + tables.trie.len(),
            unshaped: tables.trie.len(),
            shapes: tables.shapes.count(),
        }
    }

    /// The route of a topic with the stamp that tells how long it stands.
    pub(super) fn look_up(&self, topic: &str, into: &mut Route) -> Stamp {
        let levels = Levels::of(&self.seed, topic);
        into.clear();
        let tables = self.read();
        let stamp = self.stamps.take(&levels);
        if let Some(node) = tables.exact.find(levels.whole, topic) {
            into.add(node);
        }
        tables.shapes.look_up(&self.seed, &levels, topic, |node| into.add(node));
        tables.trie.look_up(&self.seed, topic, |node| into.add(node));
        drop(tables);
        into.finish();
        stamp
    }

    /// Whether a route looked up with this stamp still stands.
    #[inline]
    pub(super) fn holds(&self, stamp: &Stamp) -> bool {
        self.stamps.hold(stamp)
    }

    pub(super) fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Changes the node of a filter by entering somebody; whether he was there.
    fn put(&self, group: Option<&Arc<str>>, filter: &Filter, put: impl FnOnce(&mut Node) -> Effect) -> bool {
        let pattern = Pattern::of(&self.seed, filter.as_str());
        let mut tables = self.write();
        let effect = put(tables.node(&self.seed, &pattern, filter));
        tables.subscriptions += usize::from(!effect.existed);
        self.settle(&mut tables, &pattern, group, filter, effect);
        effect.existed
    }

    fn remove(&self, tables: &mut Tables, group: Option<&Arc<str>>, filter: &Filter, receiver: Receiver) -> bool {
        let pattern = Pattern::of(&self.seed, filter.as_str());
        let taken = tables.change(&self.seed, &pattern, filter, |node| node.take(&self.seed, group, receiver));
        let Some(effect) = taken else { return false };
        tables.subscriptions -= usize::from(effect.existed);
        self.settle(tables, &pattern, group, filter, effect);
        effect.existed
    }

    /// What follows from a change, while the index is still locked.
    fn settle(
        &self,
        tables: &mut Tables,
        pattern: &Pattern,
        group: Option<&Arc<str>>,
        filter: &Filter,
        effect: Effect,
    ) {
        if effect.interest.iter().any(Option::is_some) {
            tables.interest.push(filter, effect.interest);
            for audience in Audience::ALL {
                self.interest_ends[audience as usize].store(tables.interest.end(audience), Ordering::Release);
            }
        }
        if let (Some(group), Some(told)) = (group, effect.told) {
            self.tell(tables, group, filter, told);
        }
        if effect.changed {
            self.stamps.bump(pattern.position);
        }
    }

    fn tell(&self, tables: &mut Tables, group: &Arc<str>, filter: &Filter, told: Told) {
        tables.shares.push(told.share(group, filter));
        self.shares_end.store(tables.shares.end(), Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().expect("nobody panics while he changes the index")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().expect("nobody panics while he changes the index")
    }
}

// === impl SubscriptionEntry ===

impl SubscriptionEntry {
    /// A subscription without identifier, of a receiver that is always on-line.
    pub fn new(receiver: Receiver) -> Self {
        Self { receiver, subscription_id: None, presence: None }
    }
}

// === impl Tables ===

impl Tables {
    /// The node of a filter, made if it is not there.
    fn node(&mut self, seed: &Seed, pattern: &Pattern, filter: &Filter) -> &mut Node {
        let shape = match pattern.form {
            Form::Exact => return self.exact.node(pattern.hash, filter),
            Form::Shaped(shape) => Some(shape),
            Form::Deep => None,
        };
        if let Some(shape) = shape {
            // A shape that the trie holds stays there until the last of its filters is gone.
            let free = !self.unshaped.contains_key(&shape) && self.shapes.table(shape).is_none();
            if free {
                self.shapes.add(shape);
            }
            if let Some(table) = self.shapes.table(shape) {
                return table.node(pattern.hash, filter);
            }
        }
        let node = self.trie.node(seed, pattern.hash, filter);
        if let Some(shape) = shape
            && node.is_empty()
        {
            *self.unshaped.entry(shape).or_default() += 1;
        }
        node
    }

    /// Changes the node of a filter, and removes it if it is empty then; `None` if it is not there.
    fn change<T>(
        &mut self,
        seed: &Seed,
        pattern: &Pattern,
        filter: &Filter,
        change: impl FnOnce(&mut Node) -> T,
    ) -> Option<T> {
        let shape = match pattern.form {
            Form::Exact => return self.exact.change(pattern.hash, filter, change),
            Form::Shaped(shape) => Some(shape),
            Form::Deep => None,
        };
        if let Some(shape) = shape
            && let Some(table) = self.shapes.table(shape)
        {
            let result = table.change(pattern.hash, filter, change);
            if table.len() == 0 {
                self.shapes.settle(shape);
            }
            return result;
        }
        let before = self.trie.len();
        let result = self.trie.change(seed, filter, change);
        if let Some(shape) = shape
            && self.trie.len() < before
            && let Some(count) = self.unshaped.get_mut(&shape)
        {
            *count -= 1;
            if *count == 0 {
                self.unshaped.remove(&shape);
            }
        }
        result
    }

    fn iter(&self) -> impl Iterator<Item = &Node> {
        self.exact.iter().chain(self.shapes.iter()).chain(self.trie.iter())
    }
}

fn parts(subscription: &Subscription) -> (Option<&Arc<str>>, &Filter) {
    match subscription {
        Subscription::Plain(filter) => (None, filter),
        Subscription::Shared { group, filter } => (Some(group), filter),
    }
}
