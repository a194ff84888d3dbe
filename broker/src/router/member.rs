//! A member of a shared subscription: a session of this node, or another node with all the members that it has.
//!
//! Whether a session is on-line is a flag that it owns and its entries share: the shard that publishes reads it without
//! asking the shard that owns the member. It may be a moment old. Then the message goes to a session that has just gone,
//! which queues it as any other. Of another node the flag tells whether it is connected, and a tally that the index
//! keeps how many members it has there: routes that are kept see both change.

use super::receiver::{Kind, Receiver};
use super::roster::Listed;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether a session, or a peer, has a connection, as all shards see it.
#[derive(Clone, Debug)]
pub struct Presence(Arc<AtomicBool>);

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is, with the options of its subscription to the group.
    pub receiver: Receiver,
    words: Words,
    /// Whether the tally of the group has it among those on-line; of sessions alone.
    pub(super) counted_online: bool,
    standing: Standing,
}

/// What goes with a message to a member: to a session the number of its group, and its Subscription Identifier for that;
/// to a peer the number that it has given to the group. 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Words([u32; 2]);

/// What stands behind a member.
#[derive(Clone, Debug)]
enum Standing {
    /// One that is always there.
    Always,
    /// A session.
    Session(Presence),
    /// Another node.
    Node(Arc<NodeShare>),
}

/// The members of a group at another node.
#[derive(Debug)]
struct NodeShare {
    presence: Presence,
    tally: SharedTally,
}

/// How many members there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub online: u32,
    pub offline: u32,
}

/// A tally that one writes and many read.
#[derive(Debug, Default)]
pub(super) struct SharedTally(AtomicU64);

// === impl Presence ===

impl Presence {
    /// The flag of a session, or of a peer.
    pub fn new(online: bool) -> Self {
        Self(Arc::new(AtomicBool::new(online)))
    }

    /// Tells all shards that it has, or has lost, its connection.
    pub fn set(&self, online: bool) {
        self.0.store(online, Ordering::Release);
    }

    /// Whether it has a connection.
    pub fn is_online(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

// === impl Member ===

impl Member {
    /// A session; one that comes without a flag is always there.
    pub(super) fn session(receiver: Receiver, id: u32, presence: Option<Presence>) -> Self {
        let standing = presence.map_or(Standing::Always, Standing::Session);
        let receiver = Receiver { flags: receiver.flags.with_as_member(true), ..receiver };
        Self { receiver, words: Words([0, id]), counted_online: false, standing }
    }

    /// Another node with all its members, which knows the group by `number`.
    pub(super) fn node(receiver: Receiver, number: u32, tally: Tally, presence: &Presence) -> Self {
        let share = NodeShare { presence: presence.clone(), tally: SharedTally::default() };
        share.tally.set(tally);
        Self { receiver, words: Words([number, 0]), counted_online: false, standing: Standing::Node(Arc::new(share)) }
    }

    /// The same as a member of the group of this number, if it is a session.
    pub(super) fn of_group(mut self, number: u32) -> Self {
        if !self.is_peer() {
            self.words.0[0] = number;
        }
        self
    }

    /// What goes with a message to it: to a session the number of its group, and its Subscription Identifier for that if it
    /// has one; to a peer the number that it has given to the group.
    pub fn words(&self) -> &[u32] {
        self.words.as_slice()
    }

    pub(super) fn kept_words(&self) -> Words {
        self.words
    }

    /// Whether it is another node.
    pub fn is_peer(&self) -> bool {
        self.receiver.flags.kind() == Kind::Peer
    }

    /// Whether it has a connection; a peer, also whether a member of it has one.
    pub fn is_online(&self) -> bool {
        self.reached().online > 0
    }

    /// Those behind it, as far as they can be reached now: a node that is not connected has none.
    #[inline]
    pub(super) fn reached(&self) -> Tally {
        match &self.standing {
            Standing::Always => Tally::one(true),
            Standing::Session(presence) => Tally::one(presence.is_online()),
            Standing::Node(share) if share.presence.is_online() => share.tally.get(),
            Standing::Node(_) => Tally::default(),
        }
    }

    /// How many are behind it, whether it is connected or not; at least 1.
    pub fn size(&self) -> u64 {
        match &self.standing {
            Standing::Always | Standing::Session(_) => 1,
            Standing::Node(share) => share.tally.get().all().max(1),
        }
    }

    /// Takes over the tally of `other` if nothing else differs; whether it could.
    pub(super) fn recount(&self, other: &Self) -> bool {
        match (&self.standing, &other.standing) {
            (Standing::Node(own), Standing::Node(new)) if !self.differs(other) => {
                own.tally.set(new.tally.get());
                true
            }
            _ => false,
        }
    }

    /// Whether anything differs that a route which is kept would not show.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let standing = match (&self.standing, &other.standing) {
            (Standing::Always, Standing::Always) => true,
            (Standing::Session(own), Standing::Session(new)) => own.same(new),
            (Standing::Node(own), Standing::Node(new)) => own.presence.same(&new.presence),
            (Standing::Always | Standing::Session(_) | Standing::Node(_), _) => false,
        };
        self.receiver != other.receiver || self.words != other.words || !standing
    }
}

// === impl Words ===

impl Words {
    pub fn as_slice(&self) -> &[u32] {
        let count = self.0.iter().take_while(|word| **word != 0).count();
        &self.0[..count]
    }

    /// The first of them, by which the group is known.
    pub fn number(self) -> u32 {
        self.0[0]
    }
}

impl Listed for Member {
    fn receiver(&self) -> Receiver {
        self.receiver
    }
}

// === impl Tally ===

impl Tally {
    /// Of one member.
    pub fn one(online: bool) -> Self {
        Self { online: u32::from(online), offline: u32::from(!online) }
    }

    /// How many in all.
    pub fn all(self) -> u64 {
        u64::from(self.online) + u64::from(self.offline)
    }

    /// One member more or less is `online`, or is not.
    pub fn change(&mut self, before: Option<bool>, after: Option<bool>) {
        let of = |online: Option<bool>| online.map_or(Self::default(), Self::one);
        let (before, after) = (of(before), of(after));
        self.online = self.online + after.online - before.online;
        self.offline = self.offline + after.offline - before.offline;
    }
}

// === impl SharedTally ===

impl SharedTally {
    pub fn get(&self) -> Tally {
        let both = self.0.load(Ordering::Acquire);
        Tally { online: (both >> 32) as u32, offline: both as u32 }
    }

    pub fn set(&self, tally: Tally) {
        self.0.store(u64::from(tally.online) << 32 | u64::from(tally.offline), Ordering::Release);
    }
}
