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
use super::random::Random;
use super::store::SimSpool;

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
    shape: Shape,
    random: Random,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    events_seen: u64,
    nodes: Vec<Member>,
    wires: Vec<Wire>,
    /// Wires that go by way of a third node: the wire, that which carries it, and that node.
    ways: Vec<(usize, usize, usize)>,
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
struct Member {
    cluster: usize,
    up: bool,
    life: u64,
    side: Side,
    seen: Seen,
    /// Publications that came, in order, in this life.
    log: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Packet(usize, usize),
    Tick(usize),
    Publish,
    Want,
    Cut,
    Death,
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

    fn side(&self, node: usize, cluster: usize, life: u64) -> Side {
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

    fn at(&mut self, time: Duration, event: Event) {
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

    fn call(&mut self, node: usize, call: impl FnOnce(&mut Link<SimSpool>, &mut Calls<'_>, Duration)) {
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
        let message = self.publications[publication].clone();
        assert_eq!(message.is_spooled(), origin.is_some(), "what is not of QoS 0 has an origin");
        for index in 0..self.nodes.len() {
            let forgetful = self.shape.forgetful;
            let member = &mut self.nodes[index];
            let mut is_new = || origin.is_none_or(|origin| member.seen.take(origin) || forgetful);
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
            if twice || last.is_some_and(|last| last > publication && message.is_spooled()) {
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

    fn send_to(&mut self, wire: usize, to: usize, packet: Packet) {
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
            let limits = Limits { receive_maximum: 16, maximum_packet_size: 1 << 20 };
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

    fn tick(&mut self, node: usize) {
        let next = self.now + self.random.millis(200, 300);
        self.at(next, Event::Tick(node));
        if !self.nodes[node].up {
            return;
        }
        self.call(node, |link, out, now| link.tick(out, now));
        self.dial(node);
        self.look_after_ways(node);
    }

    /// Wires of a node that stand at its end, and its other ends.
    fn open_wires(&self, node: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let life = self.nodes[node].life;
        self.wires.iter().enumerate().filter_map(move |(index, wire)| {
            let at = wire.ends.iter().position(|end| end.node == node && end.life == life && end.open)?;
            Some((index, wire.ends[1 - at].node))
        })
    }

    fn is_way(&self, wire: usize) -> bool {
        self.ways.iter().any(|(way, _, _)| *way == wire)
    }

    fn dial(&mut self, node: usize) {
        let member = &self.nodes[node];
        let life = member.life;
        let ours = |end: &End| end.node == node && end.life == life;
        let stands = (0..self.wires.len()).any(|wire| {
            !self.is_way(wire) && ours(&self.wires[wire].ends[0]) && self.wires[wire].is_dialling_or_open()
        });
        let alive: Vec<usize> =
            (0..self.nodes.len()).filter(|o| self.nodes[*o].cluster != member.cluster && self.nodes[*o].up).collect();
        let (random, ready) = (self.random.next(), member.side.link.is_ready(self.now));
        let one_takes_all = self.shape.one_takes_all;
        let Some((dialling, next)) = &mut self.nodes[node].side.dialling else { return };
        if ready {
            dialling.succeeded();
        }
        if stands || self.now < *next || alive.is_empty() {
            return;
        }
        *next = self.now + dialling.failed(random);
        let there = if one_takes_all { alive[0] } else { alive[random as usize % alive.len()] };
        self.open(node, there, None);
    }

    /// Opens a connection, directly or over one of a third node.
    fn open(&mut self, from: usize, to: usize, by: Option<(usize, usize)>) {
        let end = |node: usize| End { node, life: self.nodes[node].life, link: 0, open: false };
        self.wires.push(Wire::new([end(from), end(to)]));
        let wire = self.wires.len() - 1;
        if let Some((carrier, between)) = by {
            self.ways.push((wire, carrier, between));
        }
        self.tell(|| format!("node {from} dials node {to}: conn {wire}, by {by:?}"));
        self.send_to(wire, 0, Packet::Connected);
        self.send_to(wire, 1, Packet::Connected);
    }

    /// Opens a way if a node has no connection of its own, closes it if it has, and ends those whose carrier is gone.
    fn look_after_ways(&mut self, node: usize) {
        let open: Vec<(usize, usize)> = self.open_wires(node).collect();
        let has_own = open.iter().any(|(wire, _)| !self.is_way(*wire));
        let own_ways: Vec<usize> = (0..self.wires.len())
            .filter(|wire| self.is_way(*wire) && self.wires[*wire].ends[0].node == node)
            .filter(|wire| self.wires[*wire].ends[0].life == self.nodes[node].life)
            .filter(|wire| self.wires[*wire].is_dialling_or_open())
            .collect();
        if has_own {
            own_ways.iter().for_each(|wire| self.end_wire(*wire));
        } else if own_ways.is_empty() {
            let cluster = self.nodes[node].cluster;
            let peers =
                (0..self.nodes.len()).filter(|o| *o != node && self.nodes[*o].cluster == cluster && self.nodes[*o].up);
            let carriers: Vec<(usize, usize, usize)> = peers
                .flat_map(|peer| self.open_wires(peer).map(move |(wire, there)| (peer, wire, there)))
                .filter(|(_, wire, _)| !self.is_way(*wire))
                .collect();
            if !carriers.is_empty() {
                let (peer, wire, there) = *self.random.pick(&carriers);
                self.open(node, there, Some((wire, peer)));
            }
        }
        let over: Vec<usize> = self
            .ways
            .iter()
            .filter(|(way, carrier, between)| {
                let carried = self.open_wires(*between).any(|(wire, _)| wire == *carrier) && self.nodes[*between].up;
                !carried && self.wires[*way].is_open()
            })
            .map(|(way, _, _)| *way)
            .collect();
        over.into_iter().for_each(|way| self.end_wire(way));
    }

    fn end_wire(&mut self, wire: usize) {
        for to in 0..2 {
            let keep = self.random.below(self.wires[wire].on_the_way(to) + 1);
            self.wires[wire].cut(to, keep);
            self.send_to(wire, to, Packet::Closed);
        }
    }

    fn cut(&mut self) {
        let open: Vec<usize> = (0..self.wires.len()).filter(|wire| self.wires[*wire].is_open()).collect();
        if open.is_empty() {
            return;
        }
        let wire = *self.random.pick(&open);
        self.tell(|| format!("conn {wire} breaks"));
        match self.random.below(4) {
            0 => (0..2).for_each(|to| self.wires[wire].swallow(to)),
            1 => {
                let to = self.random.below(2);
                self.wires[wire].swallow(to);
            }
            _ => self.end_wire(wire),
        }
    }

    fn die(&mut self) {
        let node = self.random.below(self.nodes.len());
        if !self.nodes[node].up {
            return;
        }
        self.tell(|| format!("node {node} dies"));
        self.nodes[node].up = false;
        for wire in 0..self.wires.len() {
            let Some(end) = self.wires[wire].ends.iter().position(|end| end.node == node) else { continue };
            self.wires[wire].ends[end].open = false;
            if self.random.chance(60) {
                self.send_to(wire, 1 - end, Packet::Closed);
            } else {
                self.wires[wire].swallow(1 - end);
            }
        }
        let after = self.now + self.random.millis(10, 3000);
        self.at(after, Event::Boot(node));
    }

    fn boot(&mut self, node: usize) {
        self.tell(|| format!("node {node} lives again"));
        let (cluster, life) = (self.nodes[node].cluster, self.nodes[node].life + 1);
        let side = self.side(node, cluster, life);
        let (seen, log) = Default::default();
        self.nodes[node] = Member { cluster, up: true, life, side, seen, log };
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
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
