//! The world: nodes, devices and the network, driven from event to event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::clock::Millis;
use crate::codec::Qos;
use crate::link::Version;
use crate::topic::Filter;

use super::client::Device;
use super::network::{Local, Record, Way};
use super::node::{Node, filters, name_of, publication};
use super::oracle::Oracle;
use super::plan::{Plan, Sabotage, TOPICS};
use super::table::Packet;
use crate::peer::{Address, Lane, address};
use crate::random::Random;

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A device connects to a node.
    Connect { device: usize, node: usize, clean: bool },
    /// Its CONNECT arrives.
    Arrive { conn: u64, clean: bool },
    /// It connects again, if it has no connection.
    Retry { device: usize },
    /// It goes away.
    Leave { device: usize },
    /// A packet arrives at a node, or at a device.
    ToNode { conn: u64, packet: Packet },
    /// At a device.
    ToDevice { conn: u64, packet: Packet },
    /// The node notices that a device is gone.
    Gone { conn: u64 },
    /// The device notices that its connection was closed.
    Closed { conn: u64 },
    /// The next record of a lane, or of interest, arrives.
    Lane { from: usize, to: usize, interest: bool },
    /// What a shard has for another arrives.
    Local { node: usize, life: u64, from: usize, to: usize },
    /// A shard puts its next mark.
    Mark { node: usize, life: u64, shard: usize },
    /// A node tells another what it wants.
    Tell { from: usize, to: usize },
    /// A stake is answered.
    Staked { node: usize, life: u64, shard: usize, token: u64, numbers: Vec<(Arc<str>, Version)> },
    /// A control payload arrives.
    Control { from: usize, to: usize, payload: Vec<u8> },
    /// A shard is woken.
    Alarm { node: usize, life: u64, shard: usize },
    /// Somebody publishes at a node.
    Publish { node: usize, shard: usize, topic: usize, qos: Qos },
    /// A device publishes.
    OwnPublish { device: usize, topic: usize },
    /// Two nodes are cut off from each other, or joined.
    Cut { one: usize, other: usize, cut: bool },
    /// A node notices what became of its connection with another.
    See { node: usize, life: u64, other: usize },
    /// A node that is cut off is not waited for any more.
    Suspend { node: usize, life: u64, other: usize },
    /// A node dies and lives anew.
    Restart { node: usize },
    /// A session whose client is away expires, or is offered to another node.
    Offline { pick: usize, offer: bool },
    /// Faults end.
    Calm,
}

/// A connection of a device.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// Whose.
    pub device: usize,
    /// At which node, in which life of it.
    pub node: (usize, u64),
    /// Both ends are open: the device's, the node's.
    pub open: [bool; 2],
    /// When the last packet arrives, by direction.
    pub last: [u64; 2],
}

/// All there is.
pub struct World {
    pub plan: Plan,
    pub random: Random,
    /// Milliseconds.
    pub now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    pub nodes: Vec<Node>,
    pub ways: BTreeMap<(usize, usize), Way>,
    pub devices: Vec<Device>,
    pub conns: BTreeMap<u64, Conn>,
    pub filters: Vec<Filter>,
    pub oracle: Oracle,
    messages: u32,
    /// Messages that devices publish: their topics.
    pub(super) own: BTreeMap<u32, &'static str>,
    pub calm: bool,
    /// What happened, for who reads a failure.
    pub trace: Vec<String>,
    pub handled: u64,
}

// === impl World ===

impl World {
    pub fn new(plan: Plan, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let nodes = (0..plan.nodes).map(|node| Node::new(&plan, node, 1, random.next() % (plan.skew + 1))).collect();
        let mut ways = BTreeMap::new();
        for from in 0..plan.nodes {
            (0..plan.nodes).filter(|to| *to != from).for_each(|to| drop(ways.insert((from, to), Way::default())));
        }
        let mut devices = Vec::new();
        for client in 0..plan.clients {
            let persistent = !random.chance(plan.ephemeral);
            for _ in 0..plan.devices {
                let filters = (0..1 + random.below(2)).map(|_| random.below(super::plan::FILTERS.len())).collect();
                devices.push(Device::new(format!("client-{client}"), persistent, filters));
            }
        }
        let mut world = Self {
            plan,
            random,
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            nodes,
            ways,
            devices,
            conns: BTreeMap::new(),
            filters: filters(),
            oracle: Oracle::default(),
            messages: 0,
            own: BTreeMap::new(),
            calm: false,
            trace: Vec::new(),
            handled: 0,
        };
        world.arrange();
        world
    }

    /// Something happens so many milliseconds from now.
    pub fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + millis, event);
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((time, self.sequence)));
        self.events.insert(self.sequence, event);
    }

    /// A delay of the network.
    pub fn delay(&mut self) -> u64 {
        let longest = self.plan.delay;
        // Mostly short, seldom long: so that things overtake each other.
        let bound = if self.random.chance(20) { longest } else { longest / 6 };
        self.random.next() % (bound + 1)
    }

    /// Runs until nothing more happens in this schedule.
    pub fn run(&mut self) {
        let end = self.plan.active + 150_000;
        while let Some(Reverse((time, sequence))) = self.queue.pop() {
            if time > end {
                break;
            }
            self.now = time.max(self.now);
            let Some(event) = self.events.remove(&sequence) else { continue };
            self.handled += 1;
            assert!(self.handled < 3_000_000, "it never comes to rest");
            self.happen(event);
            self.check();
        }
        self.check_end();
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.push(format!("{:>7} {}", self.now, what()));
        if self.trace.len() > 60_000 {
            self.trace.drain(..30_000);
        }
    }

    pub(super) fn is_alive(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life == life
    }

    fn happen(&mut self, event: Event) {
        match &event {
            Event::Alarm { .. } | Event::Lane { .. } | Event::Local { .. } | Event::Tell { .. } => {}
            Event::Control { from, to, payload } => {
                let (from, to, text) = (*from, *to, describe(payload, self.now));
                self.note(|| format!("{from}->{to} {text}"));
            }
            other => {
                let text = format!("{other:?}");
                self.note(|| text);
            }
        }
        match event {
            Event::Connect { device, node, clean } => self.connect(device, node, clean),
            Event::Arrive { conn, clean } => self.arrive(conn, clean),
            Event::Retry { device } => {
                if self.devices[device].wants && self.devices[device].conn.is_none() {
                    let home = self.devices[device].node;
                    let node = if self.random.chance(70) { home } else { self.random.below(self.plan.nodes) };
                    let clean = !self.devices[device].persistent;
                    self.connect(device, node, clean);
                }
            }
            Event::Leave { device } => {
                self.devices[device].wants = false;
                self.drop_conn(device);
            }
            Event::ToNode { conn, packet } => self.take_at_node(conn, packet),
            Event::ToDevice { conn, packet } => self.deliver_to_device(conn, packet),
            Event::Gone { conn } => self.gone(conn),
            Event::Closed { conn } => {
                let device = self.conns[&conn].device;
                if self.devices[device].conn == Some(conn) {
                    (self.devices[device].conn, self.devices[device].up) = (None, false);
                    let wait = 200 + self.random.next() % 2000;
                    self.after(wait, Event::Retry { device });
                }
            }
            Event::Lane { from, to, interest } => self.lane_arrives(from, to, interest),
            Event::Local { node, life, from, to } => {
                if self.is_alive(node, life) {
                    self.local_arrives(node, from, to);
                }
            }
            Event::Mark { node, life, shard } => {
                if self.is_alive(node, life) {
                    self.put_mark(node, shard);
                }
            }
            Event::Tell { from, to } => self.tell(from, to),
            Event::Staked { node, life, shard, token, numbers } => {
                if self.is_alive(node, life) {
                    self.in_shard(node, shard, |moves, table, now| moves.staked(table, token, numbers, now));
                }
            }
            Event::Control { from, to, payload } => self.control_arrives(from, to, &payload),
            Event::Alarm { node, life, shard } => {
                if self.is_alive(node, life) {
                    self.nodes[node].shards[shard].alarm = None;
                    self.in_shard(node, shard, |_, _, _| ());
                }
            }
            Event::Publish { node, shard, topic, qos } => {
                let shard = shard % self.nodes[node].shards.len();
                self.messages += 1;
                self.enter(node, shard, self.messages, TOPICS[topic], qos);
            }
            Event::OwnPublish { device, topic } => {
                self.messages += 1;
                let number = self.messages;
                if let (Some(packet), Some(conn)) = (self.devices[device].publish(number), self.devices[device].conn) {
                    self.own.insert(number, TOPICS[topic]);
                    self.send_to_node(conn, packet);
                }
            }
            Event::Cut { one, other, cut } => self.cut(one, other, cut),
            Event::See { node, life, other } => {
                if self.is_alive(node, life) {
                    self.see(node, other);
                }
            }
            Event::Suspend { node, life, other } => {
                let lost = !self.ways[&(node, other)].seen && self.ways[&(node, other)].cut;
                if self.is_alive(node, life) && lost {
                    let name = name_of(other);
                    self.in_shards(node, |moves, table, now| moves.node_lost(table, &name, true, now));
                }
            }
            Event::Restart { node } => self.restart(node),
            Event::Offline { pick, offer } => self.offline(pick, offer),
            Event::Calm => self.calm_down(),
        }
    }

    // --- devices ---
    /// A message enters the cluster at a shard.
    pub(super) fn enter(&mut self, node: usize, shard: usize, number: u32, topic: &'static str, qos: Qos) {
        let bytes = if self.plan.large && self.random.chance(10) { 150_000 } else { 0 };
        let published = Arc::new(publication(number, topic, qos, bytes));
        self.expect(node, shard, &published);
        let peers = self.nodes[node].wanting(topic, &self.filters);
        self.note(|| format!("message {number} of {topic} enters at {node}.{shard}, goes to {peers:?} too"));
        let origin = self.nodes[node].name.clone();
        let lane = u8::try_from(shard).expect("few shards");
        for (to, id, slot) in self.nodes[node].matching(topic, &self.filters) {
            let delivery = published.delivery.clone();
            let local = Local::Message { id, slot, origin: origin.clone(), shard: lane, delivery };
            self.push_local(node, shard, to, local);
        }
        for to in peers {
            self.push_lane(node, to, Record::Message(lane, published.clone()));
        }
    }

    pub fn push_local(&mut self, node: usize, from: usize, to: usize, local: Local) {
        let life = self.nodes[node].life;
        let wait = self.random.next() % 5;
        let mark = matches!(local, Local::Mark(..));
        let (queue, last) = &mut self.nodes[node].shards[to].inbox[from];
        *last = (*last).max(self.now + wait);
        let time = *last;
        if mark && self.plan.sabotage == Some(Sabotage::MarkOvertakes) {
            queue.push_front(local);
        } else {
            queue.push_back(local);
        }
        self.at(time, Event::Local { node, life, from, to });
    }

    fn local_arrives(&mut self, node: usize, from: usize, to: usize) {
        let Some(local) = self.nodes[node].shards[to].inbox[from].0.pop_front() else { return };
        let sabotage = self.plan.sabotage;
        match &local {
            Local::Message { id, slot, origin, shard, delivery } => {
                let row = self.nodes[node].shards[to].table.rows.get(id).filter(|row| row.slot == *slot);
                let state = row.map(|row| (row.life, row.watched, row.frozen, row.stripped));
                let (text, number) = (format!("{id} {state:?}, by {origin}.{shard}"), super::table::number(delivery));
                self.note(|| format!("message {number} comes to {node} for {text}"));
            }
            Local::Mark(origin, shard, about, version) => {
                let text = format!("{node}.{to} hears that {origin}.{shard} routes by {about} {}", version.number);
                self.note(|| text);
            }
        }
        self.in_shard(node, to, |moves, table, now| match local {
            Local::Mark(origin, shard, about, version) => moves.mark(&origin, shard, &about, version),
            Local::Message { id, slot, origin, shard, delivery } => {
                let Some(row) = table.rows.get(&id).filter(|row| row.slot == slot) else { return };
                let offered = row.watched && (sabotage != Some(Sabotage::NoDuty) || row.stripped || row.frozen);
                if offered {
                    let lane = Lane { node: &origin, shard, entrance: None, repeat: false };
                    moves.offer(table, &id, lane, delivery, false, now);
                } else {
                    assert!(!row.stripped && !row.frozen, "an unwatched session that is not served");
                    table.enqueue(&id, delivery);
                }
            }
        });
    }

    fn control_arrives(&mut self, from: usize, to: usize, payload: &[u8]) {
        let way = &self.ways[&(to, from)];
        if way.cut || !way.seen {
            return;
        }
        let name = name_of(from);
        match address(payload).expect("what nodes send can be read") {
            Address::Client(id) => {
                let shard = self.nodes[to].shard_of(id);
                self.in_shard(to, shard, |moves, table, now| moves.control(table, &name, payload, now));
            }
            Address::Claims(shard) => {
                let claims = &mut self.nodes[to].shards[usize::from(shard)].claims;
                claims.received(&name, payload, Millis(self.now)).expect("what nodes send can be read");
                self.in_shard(to, usize::from(shard), |_, _, _| ());
            }
            Address::Directory => {
                let answer = self.nodes[to].directory.borrow_mut().received(&name, payload);
                if let Some(answer) = answer.expect("what nodes send can be read") {
                    self.send_control(to, from, answer);
                }
            }
        }
    }
}

/// A control payload in words.
fn describe(payload: &[u8], now: u64) -> String {
    use crate::peer::control::Control;
    use crate::peer::envelope::Envelope;
    match address(payload) {
        Ok(Address::Client(id)) => {
            let control = Envelope::read(payload).and_then(|e| Control::decode(e.kind, e.body, Millis(now)));
            let text = control.map_or("part".to_owned(), |control| format!("{control:?}"));
            let mut end = text.len().min(700);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            format!("{id} {}", &text[..end])
        }
        Ok(Address::Claims(_) | Address::Directory) | Err(_) => "directory".to_owned(),
    }
}
