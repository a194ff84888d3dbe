//! A node of the simulation: a small router with sessions, a queue towards each link, and the links.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use crate::codec::{Qos, Version, publish};
use crate::link::backoff::Dialling;
use crate::link::marks::{Mark, Version as Interest};
use crate::link::{Conn, Delivery, Link, Outlet, Refusal};
use crate::router::Path;
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
    /// Its subscribers.
    pub subscribers: BTreeMap<usize, Subscriber>,
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
    /// Messages and barriers on their way from other shards.
    pub queue: VecDeque<Queued>,
    /// When the last of them arrives.
    pub queue_last: Duration,
    /// When and whom to dial, if this side dials.
    pub dialling: Option<(Dialling, Duration)>,
    /// Publishers are held.
    pub pressure: bool,
    /// The remote's newest mark for this node's interest when the last call was over.
    pub marked: Interest,
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
    },
    /// A barrier.
    Barrier(u64),
    /// Another link of the node routes by a newer version.
    Routed(Mark),
}

/// A session that lives as long as it is subscribed.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// What it subscribed to.
    pub filter: Filter,
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
    /// A barrier.
    Barrier(u64),
    /// A mark for the other links.
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
    /// The packet.
    pub frame: Vec<u8>,
}

/// The outlet of one call: collects what is asked, and changes the index at once.
pub struct Calls<'a> {
    /// What was asked for, in order.
    pub actions: Vec<Action>,
    routes: &'a mut BTreeSet<Filter>,
    pressure: &'a mut bool,
    durable: bool,
    shards: bool,
}

// === impl Side ===

impl Side {
    /// Calls the link, and says what it asked for. `durable`: syncs take time. `shards`: barriers do.
    pub fn call(
        &mut self,
        durable: bool,
        shards: bool,
        call: impl FnOnce(&mut Link<SimSpool>, &mut Calls<'_>),
    ) -> Vec<Action> {
        let (routes, pressure) = (&mut self.routes, &mut self.pressure);
        let mut calls = Calls { actions: Vec::new(), routes, pressure, durable, shards };
        call(&mut self.link, &mut calls);
        calls.actions
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

    fn deliver(&mut self, message: &Delivery<'_>) {
        let (frame, layout) = (message.frame.to_vec(), message.layout);
        let (publication, routed_by) = unpack(layout.payload(&frame));
        let path = message.path.bytes().to_vec();
        self.actions.push(Action::Deliver(Delivered { publication, routed_by, qos: message.qos, path, frame }));
    }

    fn subscribe(&mut self, filter: &Filter) {
        assert!(self.routes.insert(filter.clone()), "`{}` is added to the index twice", filter.as_str());
    }

    fn unsubscribe(&mut self, filter: &Filter) {
        assert!(self.routes.remove(filter), "`{}` is removed, and was not in the index", filter.as_str());
    }

    fn sync(&mut self, token: u64) -> bool {
        self.actions.push(Action::Sync(token));
        !self.durable
    }

    fn barrier(&mut self, token: u64) -> bool {
        if self.shards {
            self.actions.push(Action::Barrier(token));
        }
        !self.shards
    }

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
