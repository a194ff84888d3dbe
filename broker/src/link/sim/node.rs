//! A node of the simulation: shards that route, sessions, a queue from each shard to each link, and the links.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stamp;
use crate::codec::{Qos, Version, publish};
use crate::link::backoff::Dialling;
use crate::link::marks::{Mark, Version as Interest};
use crate::link::{Aside, Conn, Delivery, Link, Marks, Origin, Outlet, Refusal};
use crate::router::{Path, SharedSubscription};
use crate::topic::Filter;

use super::routing::Got;
use super::store::{Kept, SimSpool};

/// A node.
pub struct Node {
    /// False between the death and the next life.
    pub up: bool,
    /// Counts its lives.
    pub life: u64,
    /// Its links.
    pub links: Vec<Side>,
    /// For each of its shards the marks that it has not heard of, and when the last of them arrives.
    pub shards: Vec<(VecDeque<Mark>, Duration)>,
    /// Its subscribers.
    pub subscribers: BTreeMap<usize, Subscriber>,
    /// Publications that came from peers, with the node that sent each.
    pub arrivals: Vec<(usize, usize)>,
    /// What is durable.
    pub durable: Kept,
    /// Syncs under way: when done, link, token, and what is durable then.
    pub syncs: VecDeque<(usize, u64, Kept, Vec<usize>)>,
    /// When the last of them is done.
    pub sync_last: Duration,
    /// Publications that every link has, but that are not durable.
    pub forwarded: Vec<usize>,
}

/// A link of a node, with the queue that leads to it and its part of the topic index.
pub struct Side {
    /// Index of the remote cluster.
    pub remote: usize,
    /// The link.
    pub link: Link<SimSpool>,
    /// The remote's filters in the topic index.
    pub routes: BTreeSet<Filter>,
    /// The remote's shared subscriptions there.
    pub shares: BTreeMap<(Arc<str>, Filter), SharedSubscription>,
    /// For each shard the messages and marks on their way from it, and when the last of them arrives.
    pub queues: Vec<(VecDeque<Queued>, Duration)>,
    /// Marks of so many shards that have arrived, where marks wait for each other.
    pub gathered: Vec<(Mark, usize)>,
    /// When and whom to dial, if this side dials.
    pub dialling: Option<(Dialling, Duration)>,
    /// Publishers are held.
    pub pressure: bool,
}

/// What is on the way from one shard to a link's.
#[derive(Clone, Debug)]
pub enum Queued {
    /// A message.
    Message {
        /// Index of the publication.
        publication: usize,
        /// The packet.
        frame: Vec<u8>,
        /// Its version.
        version: Version,
        /// Its path.
        path: Vec<u8>,
        /// What a peer is told besides.
        beside: Beside,
    },
    /// From here on the shard routes by a newer version.
    Mark(Mark),
}

/// What a peer is told of a message besides the packet, kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Its stamp.
    pub stamp: Option<Stamp>,
    /// Shared subscriptions that it is for.
    pub shares: Vec<u32>,
    /// It is for them alone.
    pub shares_only: bool,
}

/// A session that lives as long as it is subscribed.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// What it subscribed to.
    pub filter: Filter,
    /// The group that it shares it with.
    pub group: Option<Arc<str>>,
    /// Publications that it got, in order.
    pub log: Vec<Got>,
    /// Links over which the remote is known to route what it wants.
    pub established: BTreeSet<usize>,
}

/// A message of the simulation.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where it was published.
    pub node: usize,
    /// By whom.
    pub publisher: usize,
    /// Its number among those of its publisher.
    pub sequence: u32,
    /// Its QoS.
    pub qos: Qos,
    /// Its topic.
    pub topic: &'static str,
    /// It is retained, from this moment on.
    pub stamp: Option<Stamp>,
    /// Links that do not have it yet.
    pub waiting: usize,
    /// The publisher was told that the broker has it.
    pub acknowledged: bool,
}

/// What a link asked for during one call.
pub enum Action {
    /// A packet on a connection.
    Publish(Conn, &'static str, Option<NonZeroU16>, Vec<u8>),
    /// An acknowledgement.
    Acknowledge(Conn, NonZeroU16),
    /// The end of a connection.
    Close(Conn, Refusal),
    /// A message for this node: publication, version of interest that routed it, path, duplicate of a packet.
    Deliver(Delivered),
    /// A sync.
    Sync(u64),
    /// A mark for all lanes.
    Announce(Mark),
}

/// A message that came over a link.
pub struct Delivered {
    /// Index of the publication.
    pub publication: usize,
    /// The version of this node's interest that it was routed by.
    pub routed_by: Interest,
    /// Its QoS here.
    pub qos: Qos,
    /// Its path.
    pub path: Vec<u8>,
    /// The shard that routed it.
    pub shard: u8,
    /// All marks of its lane so far.
    pub marks: Marks,
    /// What the peer told besides.
    pub beside: Beside,
    /// Its place in the lane of the other cluster's node.
    pub origin: Option<Origin>,
}

/// The outlet of one call: collects what is asked, and changes the index at once.
pub struct Calls<'a> {
    /// What was asked for, in order.
    pub actions: Vec<Action>,
    routes: &'a mut BTreeSet<Filter>,
    shares: &'a mut BTreeMap<(Arc<str>, Filter), SharedSubscription>,
    pressure: &'a mut bool,
    durable: bool,
}

// === impl Side ===

impl Side {
    /// Calls the link, and says what it asked for. `durable`: syncs take time.
    pub fn call(&mut self, durable: bool, call: impl FnOnce(&mut Link<SimSpool>, &mut Calls<'_>)) -> Vec<Action> {
        let (routes, shares, pressure) = (&mut self.routes, &mut self.shares, &mut self.pressure);
        let mut calls = Calls { actions: Vec::new(), routes, shares, pressure, durable };
        call(&mut self.link, &mut calls);
        calls.actions
    }
}

// === impl Publication ===

impl Publication {
    /// It goes through the spool: it is not lost while a connection breaks.
    pub fn is_spooled(&self) -> bool {
        self.qos != Qos::AtMostOnce || self.stamp.is_some()
    }
}

// === impl Beside ===

impl Beside {
    /// As a link takes it.
    pub fn aside(&self) -> Aside<'_> {
        Aside { stamp: self.stamp, shares: &self.shares, shares_only: self.shares_only, origin: None }
    }
}

// === impl Calls ===

impl Outlet for Calls<'_> {
    fn publish(&mut self, conn: Conn, topic: &'static str, packet_id: Option<NonZeroU16>, payload: &[u8]) {
        self.actions.push(Action::Publish(conn, topic, packet_id, payload.to_vec()));
    }

    fn acknowledge(&mut self, conn: Conn, packet_id: NonZeroU16) {
        self.actions.push(Action::Acknowledge(conn, packet_id));
    }

    fn close(&mut self, conn: Conn, refusal: &Refusal) {
        self.actions.push(Action::Close(conn, refusal.clone()));
    }

    fn has_room(&self, _conn: Conn) -> bool {
        true
    }

    fn deliver(&mut self, message: &Delivery<'_>) -> bool {
        let Delivery { frame, layout, qos, path, shard, marks, aside, .. } = *message;
        let (publication, routed_by) = unpack(layout.payload(frame));
        let Aside { stamp, shares, shares_only, .. } = aside;
        self.actions.push(Action::Deliver(Delivered {
            publication,
            routed_by,
            qos,
            path: path.bytes().to_vec(),
            shard,
            marks: marks.clone(),
            beside: Beside { stamp, shares: shares.to_vec(), shares_only },
            origin: aside.origin.cloned(),
        }));
        true
    }

    fn subscribe(&mut self, filter: &Filter) {
        assert!(self.routes.insert(filter.clone()), "`{}` is added to the index twice", filter.as_str());
    }

    fn unsubscribe(&mut self, filter: &Filter) {
        assert!(self.routes.remove(filter), "`{}` is removed, and was not in the index", filter.as_str());
    }

    fn passed_on(&mut self, _token: u64) -> bool {
        true
    }

    fn sync(&mut self, token: u64) -> bool {
        self.actions.push(Action::Sync(token));
        !self.durable
    }

    fn share(&mut self, share: &SharedSubscription) {
        assert!(!share.is_empty(), "{share:?} has no member");
        self.shares.insert((share.group.clone(), share.filter.clone()), share.clone());
    }

    fn unshare(&mut self, group: &str, filter: &Filter) {
        let gone = self.shares.remove(&(group.into(), filter.clone()));
        assert!(gone.is_some(), "`{group}` with `{}` is removed, and was not in the index", filter.as_str());
    }

    fn control(&mut self, _node: &Arc<str>, _payload: &[u8]) {}

    fn passed(&mut self, _node: &Arc<str>, _shard: u8, _mark: &Mark) {}
    fn way(&mut self, _conn: Conn, _payload: &[u8]) {}

    fn announce(&mut self, mark: &Mark) {
        self.actions.push(Action::Announce(mark.clone()));
    }

    fn pressure(&mut self, full: bool) {
        assert_ne!(*self.pressure, full, "pressure is told when it changes");
        *self.pressure = full;
    }
}

// === messages ===

/// The packet of a publication on its way to a link, of which the route was looked up with this version of interest.
pub fn pack(publication: usize, message: &Publication, routed_by: Interest, version: Version, large: bool) -> Vec<u8> {
    let mut payload = (publication as u64).to_be_bytes().to_vec();
    payload.extend_from_slice(&routed_by.epoch.to_be_bytes());
    payload.extend_from_slice(&routed_by.number.to_be_bytes());
    let padding = if large && publication.is_multiple_of(5) { 20_000 } else { publication % 40 };
    payload.extend(std::iter::repeat_n(0x55, padding));
    let mut frame = Vec::new();
    let parts = publish::Parts {
        version,
        qos: message.qos,
        retain: false,
        dup: publication.is_multiple_of(3) && message.qos != Qos::AtMostOnce,
        packet_id: 7,
        topic: message.topic.as_bytes(),
        properties: if publication.is_multiple_of(2) { &[0x02, 0, 0, 0x0e, 0x10] } else { &[] },
        subscription_ids: &[],
        payload: &payload,
    };
    publish::encode(&mut frame, &parts);
    frame
}

fn unpack(payload: &[u8]) -> (usize, Interest) {
    let mut numbers = payload.chunks_exact(8).map(|n| u64::from_be_bytes(n.try_into().expect("chunks of 8")));
    let mut next = || numbers.next().expect("every payload of the simulation has three numbers");
    (next() as usize, Interest { epoch: next(), number: next() })
}

/// A path from its bytes.
pub fn path(bytes: &[u8]) -> Path<'_> {
    Path::parse(bytes).expect("paths of the simulation are paths")
}
