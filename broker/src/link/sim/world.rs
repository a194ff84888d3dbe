//! The world of one schedule: nodes, wires, time, and what happens next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::link::backoff::Dialling;
use crate::link::batch::{HEAD, LANE_MESSAGES, TOPIC_LANE};
use crate::link::greeting::{Speech, VERSION_MAX, VERSION_MIN};
use crate::link::{Incoming, Limits, Link, Mark, Role};

use super::network::{End, Packet, Wire, conn};
use super::node::{Action, Beside, Node, Publication, Side};
use super::plan::{Dials, Plan, Sabotage};
use super::sharing::Key;
use super::store::{Kept, SimSpool};
use crate::random::Random;

/// Everything.
pub struct World {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    events_seen: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) wires: Vec<Wire>,
    pub(super) publications: Vec<Publication>,
    /// The marks that stood before each publication in the first lane of its node that brought it: those of its shard.
    pub(super) classified: BTreeMap<usize, Vec<Mark>>,
    /// What each subscriber must have got in the end: `(node, subscriber)`, publications.
    pub(super) expected: BTreeMap<(usize, usize), BTreeSet<usize>>,
    /// Publications that must have come to a node by themselves: `(node, publication)`.
    pub(super) expected_arrivals: BTreeSet<(usize, usize)>,
    /// What publications left with: `(publication, from, to)`.
    pub(super) beside: BTreeMap<(usize, usize, usize), Vec<Beside>>,
    /// Which node in which life gave each number, and for what.
    pub(super) numbers: Vec<(usize, u64, Key)>,
    pub(super) next_subscriber: usize,
    /// Faults are over.
    pub(super) healed: bool,
    /// What happened, newest last, for a failure.
    pub(super) story: VecDeque<String>,
    /// Batches that were sent.
    pub(super) batches: u64,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A packet arrives at an end of a wire.
    Packet(usize, usize),
    /// The next thing in the queue from a shard to a link of a node in this life arrives.
    Queue(usize, usize, usize, u64),
    /// A shard of a node in this life hears of a mark.
    Mark(usize, usize, u64),
    /// The oldest sync of a node in this life is done.
    Synced(usize, u64),
    /// A node looks at the time.
    Tick(usize),
    /// A client publishes.
    Publish,
    /// A subscription comes or goes.
    Subscribe,
    /// A connection breaks or is swallowed.
    Cut,
    /// A node dies.
    Restart,
    /// It lives again.
    Boot(usize),
    /// A link's settings change.
    Reconfigure,
}

// === impl World ===

impl World {
    /// A world in which the schedule of this seed is about to happen.
    pub fn new(plan: Plan, seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            now: Duration::ZERO,
            events: BTreeMap::new(),
            events_seen: 0,
            nodes: Vec::new(),
            wires: Vec::new(),
            publications: Vec::new(),
            classified: BTreeMap::new(),
            expected: BTreeMap::new(),
            expected_arrivals: BTreeSet::new(),
            beside: BTreeMap::new(),
            numbers: Vec::new(),
            next_subscriber: 0,
            healed: false,
            story: VecDeque::new(),
            batches: 0,
            plan,
        };
        for cluster in 0..world.plan.clusters {
            let links = world.sides(cluster, 1, &[]);
            world.nodes.push(Node {
                up: true,
                life: 1,
                links,
                shards: Vec::new(),
                subscribers: BTreeMap::new(),
                arrivals: Vec::new(),
                durable: Kept::default(),
                syncs: VecDeque::new(),
                sync_last: Duration::ZERO,
                forwarded: Vec::new(),
            });
            world.begin_shards(cluster);
            world.at(Duration::ZERO, Event::Tick(cluster));
        }
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        let plan = self.plan.clone();
        let counts = [
            (plan.messages, Event::Publish),
            (plan.subscriptions, Event::Subscribe),
            (plan.cuts, Event::Cut),
            (plan.restarts, Event::Restart),
            (plan.reconfigurations, Event::Reconfigure),
        ];
        let end = plan.active.as_millis() as u64;
        for (count, event) in counts {
            for _ in 0..count {
                let at = self.random.millis(0, end);
                self.at(at, event);
            }
        }
    }

    /// The links of a cluster's node in this life, with the settings that it had in the last.
    pub(super) fn sides(&mut self, cluster: usize, life: u64, filters: &[crate::topic::Filter]) -> Vec<Side> {
        let plan = self.plan.clone();
        let mut sides = Vec::new();
        for (first, second, dials) in &plan.links {
            let (remote, dials) = match (*first == cluster, *second == cluster) {
                (true, _) => (*second, true),
                (_, true) => (*first, *dials == Dials::Both),
                (false, false) => continue,
            };
            let filters = filters.iter().cloned();
            let last = self.nodes.get(cluster).map(|node| node.links[sides.len()].link.settings().clone());
            let settings = last.unwrap_or_else(|| plan.settings(cluster, remote));
            let local = plan.local(cluster, life);
            let mut link = Link::with_spool(local, settings, filters, SimSpool::new(plan.durable));
            if life.is_multiple_of(2) {
                // Started again by the next release, which speaks more, and by this one the time after.
                link.speak(Speech { versions: (VERSION_MIN, VERSION_MAX + 1), capabilities: u64::MAX });
            }
            sides.push(Side {
                remote,
                link,
                routes: BTreeSet::new(),
                shares: BTreeMap::new(),
                queues: Vec::new(),
                gathered: Vec::new(),
                dialling: dials.then(|| (Dialling::new(1, Duration::from_secs(2)), Duration::ZERO)),
                pressure: false,
            });
        }
        sides
    }

    /// Puts an event at a time.
    pub(super) fn at(&mut self, time: Duration, event: Event) {
        self.events_seen += 1;
        self.events.insert((time, self.events_seen), event);
    }

    /// Lets the next thing happen; false when time is over.
    pub fn step(&mut self, until: Duration) -> bool {
        let Some((&(time, _), _)) = self.events.first_key_value() else { return false };
        if time > until {
            return false;
        }
        let ((time, _), event) = self.events.pop_first().expect("it was seen just now");
        self.now = time;
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Packet(wire, to) => self.packet(wire, to),
            Event::Queue(node, link, shard, life) => self.queue_arrives(node, link, shard, life),
            Event::Mark(node, shard, life) => self.mark_arrives(node, shard, life),
            Event::Synced(node, life) => self.synced(node, life),
            Event::Tick(node) => self.tick(node),
            Event::Publish => self.publish(),
            Event::Subscribe => self.subscribe(),
            Event::Cut if !self.healed => self.cut(),
            Event::Restart if !self.healed => self.restart(),
            Event::Reconfigure if !self.healed => self.reconfigure(),
            Event::Cut | Event::Restart | Event::Reconfigure => {}
            Event::Boot(node) => self.boot(node),
        }
    }

    /// Calls a link, does what it asks for, and ends the turn.
    pub(super) fn call(
        &mut self,
        node: usize,
        link: usize,
        call: impl FnOnce(&mut Link<SimSpool>, &mut super::node::Calls<'_>, Duration),
    ) {
        let durable = self.plan.durable && self.plan.sabotage != Some(Sabotage::DurableTooEarly);
        let now = self.now;
        let actions = self.nodes[node].links[link].call(durable, |link, calls| call(link, calls, now));
        self.act(node, link, actions);
        while self.nodes[node].links[link].link.is_dirty() {
            let actions = self.nodes[node].links[link].call(durable, |link, calls| link.end_of_turn(calls, now));
            self.act(node, link, actions);
        }
        self.observe(node);
    }

    fn act(&mut self, node: usize, link: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Publish(conn, topic, packet_id, payload) => {
                    self.batches += u64::from(packet_id.is_some());
                    self.send(node, link, conn.0 as usize, Packet::Publish { topic, packet_id, payload });
                }
                Action::Acknowledge(conn, id) => self.send(node, link, conn.0 as usize, Packet::Puback(id)),
                Action::Close(conn, refusal) => {
                    self.tell(|| format!("node {node} link {link} closes {conn:?}: {refusal}"));
                    self.send(node, link, conn.0 as usize, Packet::Closed);
                    self.close_end(node, link, conn.0 as usize);
                }
                Action::Deliver(message) => self.deliver(node, link, message),
                Action::Sync(token) => self.sync(node, link, token),
                Action::Announce(mark) => self.announce(node, link, &mark),
            }
        }
    }

    fn end_of(&self, node: usize, link: usize, wire: usize) -> usize {
        let life = self.nodes[node].life;
        let is = |end: &End| end.node == node && end.link == link && end.life == life;
        self.wires[wire].ends.iter().position(is).expect("a link names only connections of its own")
    }

    fn close_end(&mut self, node: usize, link: usize, wire: usize) {
        let end = self.end_of(node, link, wire);
        self.wires[wire].ends[end].open = false;
    }

    fn send(&mut self, node: usize, link: usize, wire: usize, packet: Packet) {
        let to = 1 - self.end_of(node, link, wire);
        let Some(packet) = self.sabotage_packet(packet) else { return };
        self.send_to(wire, to, packet);
    }

    pub(super) fn send_to(&mut self, wire: usize, to: usize, packet: Packet) {
        // Mostly quick, now and then slow.
        let delay = if self.random.chance(5) { self.random.millis(20, 400) } else { self.random.millis(1, 20) };
        if let Some(at) = self.wires[wire].send(to, packet, self.now, delay) {
            self.at(at, Event::Packet(wire, to));
        }
    }

    fn packet(&mut self, wire: usize, to: usize) {
        let Some(packet) = self.wires[wire].arrive(to) else { return };
        let end = self.wires[wire].ends[to];
        let node = &self.nodes[end.node];
        let alive = node.up && node.life == end.life;
        if let Packet::Connected = packet {
            if alive {
                self.wires[wire].ends[to].open = true;
                let role = if to == 0 { Role::Dialled } else { Role::Accepted };
                let limits = Limits { receive_maximum: 16, maximum_packet_size: 1 << 20, keep_alive: Duration::MAX };
                self.call(end.node, end.link, |link, out, now| link.connected(out, conn(wire), role, limits, now));
            }
            return;
        }
        if !alive || !end.open {
            return;
        }
        self.wires[wire].ends[to].open = !matches!(packet, Packet::Closed);
        self.call(end.node, end.link, |link, out, now| match packet {
            Packet::Connected => {}
            Packet::Publish { topic, packet_id, payload } => {
                let incoming = Incoming { topic: topic.as_bytes(), packet_id, payload: &payload };
                link.received(out, conn(wire), incoming, now);
            }
            Packet::Puback(packet_id) => link.acknowledged(out, conn(wire), packet_id, 0, now),
            Packet::Closed => link.disconnected(out, conn(wire), now),
        });
        if self.plan.sabotage == Some(Sabotage::ForgetInterest) && !self.wires[wire].ends[to].open {
            self.call(end.node, end.link, |link, out, _| link.forget_interest(out));
        }
    }

    /// With the rule against holes broken: loses batches of messages, and says that nothing stood before the others.
    fn sabotage_packet(&mut self, mut packet: Packet) -> Option<Packet> {
        if self.plan.sabotage == Some(Sabotage::ResendWithHole)
            && let Packet::Publish { topic: TOPIC_LANE, payload, .. } = &mut packet
            && payload[0] == LANE_MESSAGES
        {
            payload[12..HEAD].fill(0);
            if self.random.chance(10) {
                return None;
            }
        }
        Some(packet)
    }

    /// A line for the story that a failure prints.
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.story.len() == 200 {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>9.3} {}", self.now.as_secs_f64(), line()));
    }
}
