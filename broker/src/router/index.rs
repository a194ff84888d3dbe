//! The index of all subscriptions of this node: one for all shards.
//!
//! It is locked for one operation at a time. A change is visible, and the routes that it voids are void, when the call
//! returns: who has seen a SUBACK misses nothing that is published afterwards, on whatever shard.

use super::hash::{Levels, Seed};
use super::interest::{CHANGES_MAX, Interest, Log};
use super::node::{Effect, Node};
use super::receiver::Receiver;
use super::route::Route;
use super::shape::{Form, Pattern, Shape, Shapes, Table};
use super::share::Presence;
use super::stamps::{Stamp, Stamps};
use super::trie::Trie;
use crate::topic::{Filter, Subscription};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Subscriptions removed under one lock when a session goes.
const BATCH: usize = 16;

/// The index of all subscriptions of this node.
#[derive(Debug)]
pub struct Index {
    seed: Seed,
    stamps: Stamps,
    interest_end: AtomicU64,
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
    log: Log,
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
            log: Log::new(CHANGES_MAX),
            subscriptions: 0,
        };
        let seed = Seed::new(seed);
        Self { seed, stamps: Stamps::new(), interest_end: AtomicU64::new(0), tables: RwLock::new(tables) }
    }

    /// Adds a subscription, or replaces that of the same receiver to the same filter (and group) `[MQTT-3.8.4-3]`;
    /// whether there was one.
    pub fn subscribe(&self, subscription: &Subscription, entry: SubscriptionEntry) -> bool {
        let (group, filter) = parts(subscription);
        let pattern = Pattern::of(&self.seed, filter.as_str());
        let mut tables = self.write();
        let effect = tables.node(&self.seed, &pattern, filter).put(&self.seed, group, entry);
        tables.subscriptions += usize::from(!effect.existed);
        self.settle(&mut tables, &pattern, filter, effect);
        effect.existed
    }

    /// Removes the subscription of a receiver to a filter (and group); whether there was one.
    pub fn unsubscribe(&self, subscription: &Subscription, receiver: Receiver) -> bool {
        self.remove(&mut self.write(), subscription, receiver)
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
            removed += batch.filter(|subscription| self.remove(&mut tables, subscription, receiver)).count();
        }
        removed
    }

    /// Who receives messages of `topic`, which must be a valid topic name. What `into` held is overwritten.
    pub fn lookup(&self, topic: &str, into: &mut Route) {
        self.look_up(topic, into);
    }

    /// What clients of this node want that a reader has not seen; 0 is the cursor of one who has seen nothing.
    ///
    /// Subscriptions of sessions count whether on-line or off-line, those to groups by their filter.
    pub fn interest_since(&self, cursor: u64) -> Interest {
        let tables = self.read();
        let end = tables.log.end();
        match tables.log.since(cursor) {
            Some(changes) => Interest::Changes(changes, end),
            None => {
                let wanted = tables.iter().filter(|node| node.clients() > 0);
                Interest::Snapshot(wanted.map(|node| node.filter.clone()).collect(), end)
            }
        }
    }

    /// The cursor of a reader of [`interest_since`](Self::interest_since) for whom there is nothing new; read without
    /// the lock.
    pub fn interest_end(&self) -> u64 {
        self.interest_end.load(Ordering::Acquire)
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

    fn remove(&self, tables: &mut Tables, subscription: &Subscription, receiver: Receiver) -> bool {
        let (group, filter) = parts(subscription);
        let pattern = Pattern::of(&self.seed, filter.as_str());
        let taken = tables.change(&self.seed, &pattern, filter, |node| node.take(&self.seed, group, receiver));
        let Some(effect) = taken else { return false };
        tables.subscriptions -= usize::from(effect.existed);
        self.settle(tables, &pattern, filter, effect);
        effect.existed
    }

    /// What follows from a change, while the index is still locked.
    fn settle(&self, tables: &mut Tables, pattern: &Pattern, filter: &Filter, effect: Effect) {
        if let Some(change) = effect.interest {
            tables.log.push(filter, change);
            self.interest_end.store(tables.log.end(), Ordering::Release);
        }
        if effect.changed {
            self.stamps.bump(pattern.position);
        }
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
