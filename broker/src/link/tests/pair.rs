//! Two links that speak to each other over connections that lose nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tombolo_broker_api as api;

use crate::clock::Stamp;
use crate::codec::{Qos, Version, publish};
use crate::link::marks::Mark;
use crate::link::{
    Conn, Delivery, Incoming, Limits, Link, Local, Now, Outlet, Refusal, Role, Route, Scope, Settings, Taken,
};
use crate::router::SharedSubscription;
use crate::topic::Filter;

use super::{filter, local, packet};

/// A packet between the two.
#[derive(Clone, Debug)]
pub enum Sent {
    /// A PUBLISH.
    Publish(&'static str, Option<NonZeroU16>, Vec<u8>),
    /// A PUBACK.
    Puback(NonZeroU16),
}

/// What one side did.
#[derive(Default)]
pub struct Side {
    /// Packets on their way to the other side, by connection.
    pub sent: BTreeMap<Conn, VecDeque<Sent>>,
    /// Why it closed connections.
    pub closed: Vec<(Conn, Refusal)>,
    /// Messages that it took: topic, QoS, payload, path, expiry.
    pub delivered: Vec<Message>,
    /// The other's filters in its index.
    pub routes: BTreeSet<String>,
    /// The other's shared subscriptions in its index, by group and filter.
    pub shares: BTreeMap<(String, String), SharedSubscription>,
    /// Control messages that came, with the node that sent them.
    pub controls: Vec<(String, Vec<u8>)>,
    /// Marks that its shards have not put into its lane yet.
    pub announced: Vec<Mark>,
    /// Marks that the other's lane has come to.
    pub passed: Vec<(Arc<str>, u8, Mark)>,
    /// Changes of pressure.
    pub pressure: Vec<bool>,
    /// No output is taken for QoS 0.
    pub no_room: bool,
}

/// A message as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its QoS.
    pub qos: Qos,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its path.
    pub path: Vec<String>,
    /// Its expiry in seconds.
    pub expiry: Option<u32>,
    /// Its property block.
    pub properties: Vec<u8>,
    /// The flags of its first byte.
    pub first: u8,
    /// The peer that sent it; nothing if it comes from a cluster.
    pub node: Option<String>,
    /// The shard that routed it.
    pub shard: u8,
    /// Its stamp.
    pub stamp: Option<Stamp>,
    /// The shared subscriptions that it is for.
    pub shares: Vec<u32>,
    /// It is for them alone.
    pub shares_only: bool,
}

/// Both sides.
pub struct Pair {
    /// The links; the first dials.
    pub links: [Link; 2],
    /// What they did.
    pub sides: [Side; 2],
    /// The time.
    pub now: Now,
    /// Shards put no marks into lanes by themselves.
    pub holds_marks: bool,
    /// Bytes of payloads that arrived, and packets, of both sides together.
    pub passed: (usize, usize),
    next_conn: u64,
    limits: Limits,
}

// === impl Side ===

impl Outlet for Side {
    fn publish(&mut self, conn: Conn, topic: &'static str, packet_id: Option<NonZeroU16>, payload: &[u8]) {
        self.sent.entry(conn).or_default().push_back(Sent::Publish(topic, packet_id, payload.to_vec()));
    }

    fn acknowledge(&mut self, conn: Conn, packet_id: NonZeroU16) {
        self.sent.entry(conn).or_default().push_back(Sent::Puback(packet_id));
    }

    fn close(&mut self, conn: Conn, refusal: &Refusal) {
        self.closed.push((conn, refusal.clone()));
    }

    fn has_room(&self, _conn: Conn) -> bool {
        !self.no_room
    }

    fn deliver(&mut self, message: &Delivery<'_>) -> bool {
        let Delivery { frame, layout, qos, path, from_peer, node, shard, place: _, marks: _, aside } = *message;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.delivered.push(Message {
            topic: text(layout.topic(frame)),
            qos,
            payload: layout.payload(frame).to_vec(),
            path: path.ids().map(text).collect(),
            expiry: layout.expiry(frame),
            properties: layout.properties(frame).to_vec(),
            first: frame[0],
            node: from_peer.then(|| node.to_string()),
            shard,
            stamp: aside.stamp,
            shares: aside.shares.to_vec(),
            shares_only: aside.shares_only,
        });
        true
    }

    fn subscribe(&mut self, filter: &Filter) {
        assert!(self.routes.insert(filter.as_str().to_owned()), "{} is in the index already", filter.as_str());
    }

    fn unsubscribe(&mut self, filter: &Filter) {
        assert!(self.routes.remove(filter.as_str()), "{} is not in the index", filter.as_str());
    }

    fn sync(&mut self, _token: u64) -> bool {
        true
    }

    fn passed_on(&mut self, _token: u64) -> bool {
        true
    }

    fn way(&mut self, _conn: Conn, _payload: &[u8]) {}

    fn announce(&mut self, mark: &Mark) {
        self.announced.push(mark.clone());
    }

    fn passed(&mut self, node: &Arc<str>, shard: u8, mark: &Mark) {
        self.passed.push((node.clone(), shard, mark.clone()));
    }

    fn share(&mut self, share: &SharedSubscription) {
        self.shares.insert((share.group.to_string(), share.filter.as_str().to_owned()), share.clone());
    }

    fn unshare(&mut self, group: &str, filter: &Filter) {
        let key = (group.to_owned(), filter.as_str().to_owned());
        assert!(self.shares.remove(&key).is_some(), "{key:?} is not in the index");
    }

    fn control(&mut self, node: &Arc<str>, payload: &[u8]) {
        self.controls.push((node.to_string(), payload.to_vec()));
    }

    fn pressure(&mut self, full: bool) {
        self.pressure.push(full);
    }
}

// === impl Pair ===

/// Who a cluster is.
pub fn identity(name: &str) -> Local {
    Local {
        cluster_name: name.into(),
        cluster_id: format!("id-{name}").into(),
        node: format!("{name}-0").into(),
        incarnation: 1,
        shards: 2,
    }
}

/// Who a node of the cluster `home` is.
pub fn node(name: &str) -> Local {
    Local { node: name.into(), ..identity("home") }
}

/// Settings of a link with this cluster, that receives and sends all.
pub fn settings(remote: &str) -> Settings {
    Settings {
        name: format!("to-{remote}").into(),
        scope: Scope::Cluster,
        remote_cluster: remote.into(),
        remote_cluster_id: None,
        enabled: true,
        receive: vec![route(&["#"], &[])],
        send: None,
        max_hops: 1,
        spool: api::Spool::default(),
        window: 8,
        heartbeat: Duration::from_secs(5),
    }
}

/// A route of any QoS.
pub fn route(filters: &[&str], except: &[&str]) -> Route {
    let parse = |texts: &[&str]| texts.iter().map(|text| filter(text)).collect();
    Route { filters: parse(filters), except: parse(except), max_qos: Qos::ExactlyOnce }
}

impl Pair {
    /// Clusters `a` and `b`, not connected, whose clients want these.
    pub fn new(a_wants: &[&str], b_wants: &[&str]) -> Self {
        Self::with(settings("b"), settings("a"), a_wants, b_wants)
    }

    /// The same with these settings.
    pub fn with(a: Settings, b: Settings, a_wants: &[&str], b_wants: &[&str]) -> Self {
        let link =
            |name, settings, wants: &[&str]| Link::new(identity(name), settings, wants.iter().map(|text| filter(text)));
        Self::of([link("a", a, a_wants), link("b", b, b_wants)])
    }

    /// Nodes `n0` and `n1` of one cluster, not connected, whose clients want these.
    pub fn peers(first_wants: &[&str], second_wants: &[&str]) -> Self {
        let link = |own, other, wants: &[&str]| {
            let settings = Settings::peer(other, &node(own), api::Spool::default(), Duration::from_secs(15));
            Link::new(node(own), settings, wants.iter().map(|text| filter(text)))
        };
        Self::of([link("n0", "n1", first_wants), link("n1", "n0", second_wants)])
    }

    /// These two.
    pub fn of(links: [Link; 2]) -> Self {
        Self {
            links,
            sides: Default::default(),
            now: Duration::from_secs(100),
            holds_marks: false,
            passed: (0, 0),
            next_conn: 0,
            limits: Limits { receive_maximum: 64, maximum_packet_size: 1 << 20, keep_alive: Duration::MAX },
        }
    }

    /// Other limits for connections to come.
    pub fn limit(&mut self, receive_maximum: u16, maximum_packet_size: u32) {
        self.limits = Limits { receive_maximum, maximum_packet_size, ..self.limits };
    }

    /// Side `dialler` dials; nothing was said yet.
    pub fn dial(&mut self, dialler: usize) -> Conn {
        self.next_conn += 1;
        let conn = Conn(self.next_conn);
        for (side, role) in [(1 - dialler, Role::Accepted), (dialler, Role::Dialled)] {
            self.links[side].connected(&mut self.sides[side], conn, role, self.limits, self.now);
        }
        conn
    }

    /// The first dials, and both speak until nobody has anything to say.
    pub fn connect(&mut self) -> Conn {
        let conn = self.dial(0);
        self.run();
        conn
    }

    /// Both sides lose this connection, and what was on its way.
    pub fn cut(&mut self, conn: Conn) {
        for side in 0..2 {
            self.sides[side].sent.remove(&conn);
            self.links[side].disconnected(&mut self.sides[side], conn, self.now);
        }
    }

    /// One packet of this side arrives; false if there is none.
    pub fn pass(&mut self, from: usize) -> bool {
        let Some((conn, sent)) =
            self.sides[from].sent.iter_mut().find_map(|(conn, sent)| Some((*conn, sent.pop_front()?)))
        else {
            return false;
        };
        let (to, now) = (1 - from, self.now);
        self.passed.1 += 1;
        match sent {
            Sent::Publish(topic, packet_id, payload) => {
                self.passed.0 += payload.len();
                let incoming = Incoming { topic: topic.as_bytes(), packet_id, payload: &payload };
                self.links[to].received(&mut self.sides[to], conn, incoming, now);
            }
            Sent::Puback(packet_id) => self.links[to].acknowledged(&mut self.sides[to], conn, packet_id, 0, now),
        }
        true
    }

    /// The end of a turn of both; their shards put marks into their lanes.
    pub fn turn(&mut self) {
        for side in 0..2 {
            self.links[side].end_of_turn(&mut self.sides[side], self.now);
            if !self.holds_marks {
                for mark in std::mem::take(&mut self.sides[side].announced) {
                    (0..2).for_each(|shard| self.links[side].marked(shard, &mark));
                }
            }
            self.links[side].end_of_turn(&mut self.sides[side], self.now);
        }
    }

    /// All packets arrive, and all they bring about.
    pub fn run(&mut self) {
        loop {
            self.turn();
            let passed = [self.pass(0), self.pass(1)];
            if passed == [false; 2] {
                break;
            }
        }
    }

    /// A client of this side publishes, if the other side wants it.
    pub fn publish(&mut self, side: usize, qos: Qos, topic: &str, payload: &str) -> Option<Taken> {
        self.forward(side, &packet(Version::V5, qos, topic, &[], payload.as_bytes()))
    }

    /// The same with a whole packet.
    pub fn forward(&mut self, side: usize, packet: &(Vec<u8>, publish::Layout)) -> Option<Taken> {
        let topic = std::str::from_utf8(packet.1.topic(&packet.0)).expect("the tests publish UTF-8");
        let wanted = self.sides[side].routes.iter().any(|text| filter(text).matches(topic));
        wanted.then(|| self.links[side].forward(&local(packet), self.now))
    }

    /// Payloads that this side took.
    pub fn payloads(&self, side: usize) -> Vec<&str> {
        let texts = self.sides[side].delivered.iter().map(|message| std::str::from_utf8(&message.payload));
        texts.map(|text| text.expect("the tests publish UTF-8")).collect()
    }

    /// The status of this side's link.
    pub fn status(&self, side: usize) -> api::LinkStatus {
        self.links[side].status(self.now, 1_700_000_000)
    }

    /// Why this side closed a connection last.
    pub fn refusal(&self, side: usize) -> Option<&'static str> {
        self.sides[side].closed.last().map(|(_, refusal)| refusal.why.name())
    }
}
