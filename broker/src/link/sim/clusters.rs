//! Two clusters of several nodes: any node of one may be connected with any of the other, or by way of a third; each message
//! comes once, and in order, to every node that lives.
//!
//! Between the nodes of one cluster all is ideal here, and of one moment: what one takes all have, what one wants all say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::codec::{Qos, Version, publish};
use crate::link::backoff::Dialling;
use crate::link::{Aside, Conn, Forward, Incoming, Limits, Link, Local, Mark, Origin, Role, Seen};
use crate::router::{Change, Path};
use crate::topic::{Cover, Filter};

use super::network::{End, Packet, Wire, conn};
use super::node::{Action, Calls, Publication, Side, pack};
use super::plan::{FILTERS, Plan, TOPICS, filter};
use super::store::SimSpool;
use crate::random::Random;

/// What a schedule is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Nodes of both clusters.
    pub nodes: [usize; 2],
    /// Nodes of the second dial too.
    pub both_dial: bool,
    /// Whoever dials comes to the first node that lives.
    pub one_takes_all: bool,
    /// Times at which messages are published.
    pub messages: usize,
    /// Cuts and black holes.
    pub cuts: usize,
    /// Deaths of nodes.
    pub deaths: usize,
    /// Nodes forget which messages of the other cluster they had: a broken rule.
    pub forgetful: bool,
}

/// Everything.
pub struct Clusters {
    pub(super) shape: Shape,
    pub(super) random: Random,
    pub(super) now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    events_seen: u64,
    pub(super) nodes: Vec<Member>,
    pub(super) wires: Vec<Wire>,
    /// Wires that go by way of a third node: the wire, that which carries it, and that node.
    pub(super) ways: Vec<(usize, usize, usize)>,
    publications: Vec<Publication>,
    /// Where and in which life of that node each publication was made.
    lives: Vec<u64>,
    wanted: [BTreeSet<Filter>; 2],
    /// Who must have what in the end, if it lives as long: node, life, publication.
    expected: Vec<(usize, u64, usize)>,
    healed: bool,
    story: VecDeque<String>,
    /// Messages that came to nodes.
    pub delivered: usize,
}

/// A node.
pub struct Member {
    /// Its cluster, 0 or 1.
    pub cluster: usize,
    /// False between its death and the next life.
    pub up: bool,
    /// Counts its lives.
    pub life: u64,
    /// Its link.
    pub side: Side,
    /// What it had of the other cluster.
    pub seen: Seen,
    /// Publications that came, in order, in this life.
    pub log: Vec<usize>,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A packet arrives at an end of a wire.
    Packet(usize, usize),
    /// A node looks at the time.
    Tick(usize),
    /// A client publishes.
    Publish,
    /// A cluster wants something more or less.
    Want,
    /// A connection breaks.
    Cut,
    /// A node dies.
    Death,
    /// It lives again.
    Boot(usize),
}

const ACTIVE: Duration = Duration::from_secs(10);
const SETTLES_IN: Duration = Duration::from_secs(120);

// === impl Clusters ===

impl Clusters {
    /// The schedule of this seed, about to happen.
    pub fn new(shape: Shape, seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            now: Duration::ZERO,
            events: BTreeMap::new(),
            events_seen: 0,
            nodes: Vec::new(),
            wires: Vec::new(),
            ways: Vec::new(),
            publications: Vec::new(),
            lives: Vec::new(),
            wanted: Default::default(),
            expected: Vec::new(),
            healed: false,
            story: VecDeque::new(),
            delivered: 0,
            shape,
        };
        for cluster in 0..2 {
            for _ in 0..world.shape.nodes[cluster] {
                let node = world.nodes.len();
                let side = world.side(node, cluster, 1);
                let (seen, log) = Default::default();
                world.nodes.push(Member { cluster, up: true, life: 1, side, seen, log });
                world.at(Duration::ZERO, Event::Tick(node));
            }
        }
        let shape = world.shape.clone();
        let counts = [
            (shape.messages, Event::Publish),
            (16, Event::Want),
            (shape.cuts, Event::Cut),
            (shape.deaths, Event::Death),
        ];
        for (count, event) in counts {
            for _ in 0..count {
                let at = world.random.millis(0, ACTIVE.as_millis() as u64);
                world.at(at, event);
            }
        }
        world
    }

    pub(super) fn side(&self, node: usize, cluster: usize, life: u64) -> Side {
        let local = Local {
            cluster_name: format!("cluster-{cluster}").into(),
            cluster_id: format!("id-{cluster}").into(),
            node: format!("node-{node}").into(),
            incarnation: life,
            shards: 1,
        };
        let settings = Plan::pair().settings(cluster, 1 - cluster);
        let filters = self.wanted[cluster].iter().cloned();
        let dials = cluster == 0 || self.shape.both_dial;
        Side {
            remote: 1 - cluster,
            link: Link::with_spool(local, settings, filters, SimSpool::new(false)),
            routes: BTreeSet::new(),
            shares: BTreeMap::new(),
            queues: Vec::new(),
            gathered: Vec::new(),
            dialling: dials.then(|| (Dialling::new(1, Duration::from_secs(2)), Duration::ZERO)),
            pressure: false,
        }
    }

    /// Runs to the end; panics with the story if a rule does not hold.
    pub fn run(&mut self) {
        while self.step(ACTIVE) {}
        self.healed = true;
        self.tell(|| "no more trouble".to_owned());
        self.settle();
        for node in 0..self.nodes.len() {
            for topic in TOPICS {
                self.publish(node, 9, Qos::ExactlyOnce, topic);
            }
        }
        self.settle();
        self.check_end();
    }

    fn settle(&mut self) {
        let deadline = self.now + SETTLES_IN;
        while !self.is_settled() {
            if !self.step(deadline) {
                let states = self.nodes.iter().enumerate();
                let states: String = states
                    .map(|(index, node)| {
                        let status = node.side.link.status(self.now, 0);
                        format!("\n  node {index} routes {:?}, {status:?}", node.side.routes.len())
                    })
                    .collect();
                self.fail(&format!("it does not settle: {states}"));
            }
        }
    }

    /// All nodes are ready and have sent all, and route by exactly what the other cluster wants: what nodes wanted that
    /// have gone elsewhere is forgotten.
    fn is_settled(&self) -> bool {
        let covers = [0, 1].map(|cluster: usize| {
            let mut cover = Cover::default();
            self.wanted[cluster].iter().for_each(|filter| drop(cover.add(filter.clone())));
            cover.iter().cloned().collect::<BTreeSet<Filter>>()
        });
        self.nodes.iter().all(|node| {
            let link = &node.side.link;
            let settled = link.is_ready(self.now) && link.messages.is_settled() && link.is_settled();
            node.up && settled && node.side.routes == covers[1 - node.cluster]
        })
    }

    fn check_end(&self) {
        for (node, life, publication) in &self.expected {
            let (member, message) = (&self.nodes[*node], &self.publications[*publication]);
            let lived = member.life == *life && self.nodes[message.node].life == self.lives[*publication];
            if lived && !member.log.contains(publication) {
                self.fail(&format!("publication {publication} never came to node {node}"));
            }
        }
    }

    pub(super) fn at(&mut self, time: Duration, event: Event) {
        self.events_seen += 1;
        self.events.insert((time, self.events_seen), event);
    }

    fn step(&mut self, until: Duration) -> bool {
        if self.events.first_key_value().is_none_or(|((time, _), _)| *time > until) {
            return false;
        }
        let ((time, _), event) = self.events.pop_first().expect("it was seen just now");
        self.now = time;
        match event {
            Event::Packet(wire, to) => self.packet(wire, to),
            Event::Tick(node) => self.tick(node),
            Event::Publish => {
                let node = self.random.below(self.nodes.len());
                let qos = *self.random.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
                let (publisher, topic) = (self.random.below(2), *self.random.pick(&TOPICS));
                for _ in 0..1 + self.random.below(8) {
                    self.publish(node, publisher, qos, topic);
                }
            }
            Event::Want => self.want(),
            Event::Cut => self.cut(),
            Event::Death => self.die(),
            Event::Boot(node) => self.boot(node),
        }
        true
    }

    fn publish(&mut self, node: usize, publisher: usize, qos: Qos, topic: &'static str) {
        if !self.nodes[node].up {
            return;
        }
        let member = &self.nodes[node];
        let publication = self.publications.len();
        let message = Publication {
            node,
            publisher,
            sequence: publication as u32,
            qos,
            topic,
            stamp: None,
            waiting: 0,
            acknowledged: true,
        };
        self.publications.push(message.clone());
        self.lives.push(member.life);
        if !member.side.routes.iter().any(|filter| filter.matches(topic)) {
            return;
        }
        if message.is_spooled() {
            let others = self.nodes.iter().enumerate().filter(|(_, other)| other.cluster != member.cluster && other.up);
            let expected: Vec<_> = others.map(|(index, other)| (index, other.life, publication)).collect();
            self.expected.extend(expected);
        }
        self.tell(|| format!("publication {publication} at node {node}, {topic}, {qos:?}"));
        let frame = pack(publication, &message, Default::default(), Version::V5, false);
        let layout = publish::layout(&frame, Version::V5).expect("packets of the simulation are well formed");
        self.call(node, |link, _, now| {
            let aside = Aside::default();
            link.forward(&Forward { frame: &frame, layout, qos, path: Path::EMPTY, shard: 0, aside }, now);
        });
    }

    /// A cluster wants something more, or something less.
    fn want(&mut self) {
        let cluster = self.random.below(2);
        let text = *self.random.pick(&FILTERS);
        let wanted = filter(text);
        let change = if self.wanted[cluster].remove(&wanted) { Change::Removed } else { Change::Added };
        if change == Change::Added {
            self.wanted[cluster].insert(wanted.clone());
        }
        self.tell(|| format!("cluster {cluster}: {} is {change:?}", wanted.as_str()));
        for node in 0..self.nodes.len() {
            if self.nodes[node].cluster == cluster && self.nodes[node].up {
                self.call(node, |link, _, _| link.interest_changed(&wanted, change));
            }
        }
    }

    pub(super) fn call(&mut self, node: usize, call: impl FnOnce(&mut Link<SimSpool>, &mut Calls<'_>, Duration)) {
        let now = self.now;
        let actions = self.nodes[node].side.call(false, |link, calls| call(link, calls, now));
        self.act(node, actions);
        while self.nodes[node].side.link.is_dirty() {
            let actions = self.nodes[node].side.call(false, |link, calls| link.end_of_turn(calls, now));
            self.act(node, actions);
        }
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Publish(conn, topic, packet_id, payload) => {
                    self.send(node, conn, Packet::Publish { topic, packet_id, payload });
                }
                Action::Acknowledge(conn, id) => self.send(node, conn, Packet::Puback(id)),
                Action::Close(conn, refusal) => {
                    self.tell(|| format!("node {node} closes {conn:?}: {refusal}"));
                    self.send(node, conn, Packet::Closed);
                    let end = self.end_of(node, conn.0 as usize);
                    self.wires[conn.0 as usize].ends[end].open = false;
                }
                Action::Deliver(message) => self.deliver(node, message.publication, message.origin.as_ref()),
                Action::Announce(mark) => self.mark(node, &mark),
                Action::Sync(_) => {}
            }
        }
    }

    fn mark(&mut self, node: usize, mark: &Mark) {
        self.nodes[node].side.link.marked(0, mark);
    }

    /// A message came to a node, and so to all of its cluster.
    fn deliver(&mut self, node: usize, publication: usize, origin: Option<&Origin>) {
        let cluster = self.nodes[node].cluster;
        let Some(origin) = origin else { self.fail(&format!("{publication} has no origin")) };
        for index in 0..self.nodes.len() {
            let forgetful = self.shape.forgetful;
            let member = &mut self.nodes[index];
            let mut is_new = || member.seen.take(origin) || forgetful;
            if member.cluster != cluster || !member.up || !is_new() {
                continue;
            }
            let key = |p: &usize| {
                let message = &self.publications[*p];
                (message.node, self.lives[*p], message.publisher, message.is_spooled())
            };
            let last = member.log.iter().rev().find(|before| key(before) == key(&publication)).copied();
            let twice = member.log.contains(&publication);
            member.log.push(publication);
            self.delivered += 1;
            if twice || last.is_some_and(|last| last > publication) {
                self.fail(&format!("node {index} got {publication} by node {node} behind {last:?}"));
            }
        }
        self.tell(|| format!("publication {publication} comes to node {node}"));
    }

    fn end_of(&self, node: usize, wire: usize) -> usize {
        let life = self.nodes[node].life;
        let is = |end: &End| end.node == node && end.life == life;
        self.wires[wire].ends.iter().position(is).expect("a link names only connections of its own")
    }

    fn send(&mut self, node: usize, conn: Conn, packet: Packet) {
        let wire = conn.0 as usize;
        let to = 1 - self.end_of(node, wire);
        self.send_to(wire, to, packet);
    }

    pub(super) fn send_to(&mut self, wire: usize, to: usize, packet: Packet) {
        let delay = if self.random.chance(5) { self.random.millis(20, 400) } else { self.random.millis(1, 20) };
        if let Some(at) = self.wires[wire].send(to, packet, self.now, delay) {
            self.at(at, Event::Packet(wire, to));
        }
    }

    fn packet(&mut self, wire: usize, to: usize) {
        let Some(packet) = self.wires[wire].arrive(to) else { return };
        let end = self.wires[wire].ends[to];
        let node = &self.nodes[end.node];
        if !node.up || node.life != end.life {
            return;
        }
        if let Packet::Connected = packet {
            self.wires[wire].ends[to].open = true;
            let by_way = self.ways.iter().any(|(way, _, _)| *way == wire);
            let role = match (to, by_way) {
                (0, false) => Role::Dialled,
                (0, true) => Role::DialledByWay,
                (_, false) => Role::Accepted,
                (_, true) => Role::AcceptedByWay,
            };
            let limits = Limits { receive_maximum: 16, maximum_packet_size: 1 << 20, keep_alive: Duration::MAX };
            self.call(end.node, |link, out, now| link.connected(out, conn(wire), role, limits, now));
            return;
        }
        if !end.open {
            return;
        }
        self.wires[wire].ends[to].open = !matches!(packet, Packet::Closed);
        self.call(end.node, |link, out, now| match packet {
            Packet::Connected => {}
            Packet::Publish { topic, packet_id, payload } => {
                link.received(out, conn(wire), Incoming { topic: topic.as_bytes(), packet_id, payload: &payload }, now);
            }
            Packet::Puback(packet_id) => link.acknowledged(out, conn(wire), packet_id, 0, now),
            Packet::Closed => link.disconnected(out, conn(wire), now),
        });
    }

    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.story.len() == 200 {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>9.3} {}", self.now.as_secs_f64(), line()));
    }

    fn fail(&self, what: &str) -> ! {
        let story: Vec<&str> = self.story.iter().map(String::as_str).collect();
        panic!("{}\n{:.3} s: {what}", story.join("\n"), self.now.as_secs_f64());
    }
}
