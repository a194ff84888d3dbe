//! Nodes with what they retain, outboxes that lose, and a network between them that does what networks do.

use super::super::super::store::{Limits, Outcome, Retained};
use super::super::wire::{self, Payload};
use super::super::{Brought, Leveller, Outlet};
use crate::clock::{Millis, Stamp, StampClock};
use crate::codec::publish::{self, Parts};
use crate::codec::{Qos, Version};
use crate::message::Message;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Limits that no test reaches but by intent.
pub const PLENTY: Limits = Limits { messages: 1_000_000, bytes: 1 << 30, tombstones: 100_000 };

/// Time between the ticks of a node.
const TICK: Millis = Millis(1_000);

/// Unix time when a world begins, in milliseconds.
const UNIX: u64 = 1_700_000_000_000;

/// What a node holds: stamp and payload by topic.
pub type Content = BTreeMap<String, (Stamp, Vec<u8>)>;

/// What the network does to control messages.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// So many of a hundred are lost.
    pub lost: usize,
    /// So many of a hundred come twice.
    pub twice: usize,
    /// The shortest and the longest way, in milliseconds; any in between, so that they overtake each other.
    pub delay: (u64, u64),
}

/// A network in which nothing goes wrong.
pub const CALM: Weather = Weather { lost: 0, twice: 0, delay: (1, 1) };

/// A node.
pub struct Node {
    pub retained: Retained,
    pub clock: StampClock,
    /// Levelling with each other node.
    pub levellers: BTreeMap<usize, Leveller>,
    /// Live messages for nodes that can't be reached.
    outbox: BTreeMap<usize, VecDeque<Live>>,
    /// When the last live message of each other node arrives: they do not overtake each other.
    arrival: BTreeMap<usize, Millis>,
}

/// A live message.
#[derive(Clone)]
pub struct Live {
    topic: String,
    message: Arc<Message>,
    stamp: Stamp,
}

/// All of them.
pub struct World {
    pub nodes: Vec<Node>,
    pub now: Millis,
    pub weather: Weather,
    pub random: Random,
    /// Pairs that reach each other, the lower number first.
    pub connected: BTreeSet<(usize, usize)>,
    mail: BTreeMap<(Millis, u64), Mail>,
    sent: u64,
    tick_at: Millis,
    /// Bytes of control messages so far.
    pub bytes: usize,
    /// Answers on their way to each node, in bytes, and the most that these ever were.
    on_the_way: BTreeMap<usize, usize>,
    pub on_the_way_max: usize,
}

enum Mail {
    Control { from: usize, to: usize, payload: Vec<u8> },
    Live { to: usize, live: Live },
}

struct Out<'a> {
    sent: Vec<Vec<u8>>,
    retained: &'a Retained,
    clock: &'a StampClock,
    now: Millis,
}

// === impl World ===

impl World {
    /// Nodes with these limits that reach each other.
    pub fn new(seed: u64, limits: &[Limits]) -> Self {
        let mut world = Self {
            nodes: Vec::new(),
            now: Millis(0),
            weather: CALM,
            random: Random::new(seed),
            connected: BTreeSet::new(),
            mail: BTreeMap::new(),
            sent: 0,
            tick_at: Millis(0),
            bytes: 0,
            on_the_way: BTreeMap::new(),
            on_the_way_max: 0,
        };
        limits.iter().for_each(|limits| world.join(*limits));
        world
    }

    /// Another node comes, with nothing.
    pub fn join(&mut self, limits: Limits) {
        let number = self.nodes.len();
        let others = 0..number;
        self.connected.extend(others.clone().map(|other| (other, number)));
        for other in others.clone() {
            self.nodes[other].levellers.insert(number, Leveller::new());
        }
        self.nodes.push(Node {
            retained: Retained::new(limits),
            clock: StampClock::new(number as u64),
            levellers: others.map(|other| (other, Leveller::new())).collect(),
            outbox: BTreeMap::new(),
            arrival: BTreeMap::new(),
        });
    }

    /// A stamp of a node, now.
    pub fn stamp(&mut self, node: usize) -> Stamp {
        self.nodes[node].clock.now(UNIX + self.now.0)
    }

    /// A message is published at a node, and goes to the others live. Those that can't be reached get it later, but for
    /// so many of a hundred, which their outboxes lose. An empty payload removes.
    pub fn publish(
        &mut self,
        node: usize,
        topic: &str,
        payload: &[u8],
        expires_in: Option<Millis>,
        lost: usize,
    ) -> Stamp {
        let stamp = self.stamp(node);
        let message = message(topic, payload, expires_in.map(|length| self.now + length));
        self.nodes[node].retained.set(topic, Arc::clone(&message), stamp, self.now);
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let live = Live { topic: topic.to_owned(), message: Arc::clone(&message), stamp };
            if self.random.chance(lost) {
                continue;
            }
            if self.connected.contains(&pair(node, to)) {
                self.send_live(node, to, live);
            } else {
                self.nodes[node].outbox.entry(to).or_default().push_back(live);
            }
        }
        stamp
    }

    /// Two nodes do not reach each other any more.
    pub fn cut(&mut self, one: usize, other: usize) {
        if self.connected.remove(&pair(one, other)) {
            for (node, from) in [(one, other), (other, one)] {
                let now = self.now;
                self.leveller(node, from).disconnected(now);
            }
        }
    }

    /// They do again.
    pub fn heal(&mut self, one: usize, other: usize) {
        if self.connected.insert(pair(one, other)) {
            for (from, to) in [(one, other), (other, one)] {
                let waiting = self.nodes[from].outbox.remove(&to).unwrap_or_default();
                waiting.into_iter().for_each(|live| self.send_live(from, to, live));
            }
        }
    }

    /// Time passes.
    pub fn run(&mut self, length: Millis) {
        let end = self.now + length;
        self.run_until(end, |_| false);
    }

    /// Time passes until something is so; false if it is not so at `end`.
    pub fn run_until(&mut self, end: Millis, is_so: impl Fn(&Self) -> bool) -> bool {
        loop {
            if is_so(self) {
                return true;
            }
            let mail_at = self.mail.first_key_value().map_or(Millis::NEVER, |((at, _), _)| *at);
            let at = mail_at.min(self.tick_at);
            if at > end {
                self.now = end;
                return false;
            }
            self.now = at.max(self.now);
            if self.tick_at <= at {
                self.tick_at = at + TICK;
                self.tick();
            } else if let Some((_, mail)) = self.mail.pop_first() {
                self.arrive(mail);
            }
        }
    }

    /// All nodes hold the same, messages and tombstones.
    pub fn is_level(&self) -> bool {
        let first = self.nodes[0].retained.digest();
        self.nodes.iter().all(|node| node.retained.digest() == first)
    }

    /// What a node holds.
    pub fn content(&self, node: usize) -> Content {
        let (mut content, mut after) = (Content::new(), None::<Arc<str>>);
        loop {
            let page = self.nodes[node].retained.all(after.as_deref(), self.now, 1024);
            for kept in page.messages {
                let payload = kept.message.layout().payload(kept.message.frame()).to_vec();
                content.insert(kept.topic.to_string(), (kept.stamp, payload));
            }
            after = page.next;
            if after.is_none() {
                return content;
            }
        }
    }

    /// A control message comes that nobody sent.
    pub fn deliver(&mut self, from: usize, to: usize, payload: &[u8]) {
        self.act(to, from, |leveller, out, retained, now| leveller.received(out, payload, retained, now));
    }

    pub fn leveller(&mut self, node: usize, with: usize) -> &mut Leveller {
        self.nodes[node].levellers.get_mut(&with).unwrap()
    }

    fn tick(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].retained.expire(self.now);
            for with in 0..self.nodes.len() {
                if self.connected.contains(&pair(node, with)) {
                    self.act(node, with, |leveller, out, retained, now| leveller.tick(out, retained, false, now));
                }
            }
        }
    }

    fn arrive(&mut self, mail: Mail) {
        match mail {
            Mail::Live { to, live } => {
                let node = &self.nodes[to];
                node.clock.merge(live.stamp, UNIX + self.now.0);
                node.retained.set(&live.topic, live.message, live.stamp, self.now);
            }
            Mail::Control { from, to, payload } => {
                if let Ok(Payload::Answer(..)) = Payload::decode(&payload) {
                    *self.on_the_way.entry(to).or_default() -= payload.len();
                }
                if self.connected.contains(&pair(from, to)) {
                    self.act(to, from, |leveller, out, retained, now| leveller.received(out, &payload, retained, now));
                }
            }
        }
    }

    fn act(&mut self, node: usize, with: usize, act: impl FnOnce(&mut Leveller, &mut Out<'_>, &Retained, Millis)) {
        let now = self.now;
        let Node { retained, levellers, clock, .. } = &mut self.nodes[node];
        let mut out = Out { sent: Vec::new(), retained, clock, now };
        act(levellers.get_mut(&with).unwrap(), &mut out, retained, now);
        for payload in out.sent {
            self.send_control(node, with, &payload);
        }
    }

    fn send_control(&mut self, from: usize, to: usize, payload: &[u8]) {
        assert!(payload.len() <= 60 << 10, "a control message of {} bytes", payload.len());
        assert_eq!(payload[0], wire::PREFIX);
        self.bytes += payload.len();
        let copies = if self.random.chance(self.weather.twice) { 2 } else { 1 };
        for _ in 0..copies {
            if self.random.chance(self.weather.lost) {
                continue;
            }
            if let Ok(Payload::Answer(..)) = Payload::decode(payload) {
                let bytes = self.on_the_way.entry(to).or_default();
                *bytes += payload.len();
                self.on_the_way_max = self.on_the_way_max.max(*bytes);
            }
            let (shortest, longest) = self.weather.delay;
            let delay = shortest + self.random.next() % (longest - shortest + 1);
            self.post(self.now + Millis(delay), Mail::Control { from, to, payload: payload.to_vec() });
        }
    }

    fn send_live(&mut self, from: usize, to: usize, live: Live) {
        let at = self.now + Millis(1 + self.random.next() % 50);
        let arrival = self.nodes[to].arrival.entry(from).or_default();
        *arrival = at.max(*arrival);
        let at = *arrival;
        self.post(at, Mail::Live { to, live });
    }

    fn post(&mut self, at: Millis, mail: Mail) {
        self.sent += 1;
        self.mail.insert((at, self.sent), mail);
    }
}

// === impl Out ===

impl Outlet for Out<'_> {
    fn send(&mut self, payload: &[u8]) -> bool {
        self.sent.push(payload.to_vec());
        true
    }

    fn apply(&mut self, brought: &Brought<'_>) -> Outcome {
        self.clock.merge(brought.stamp, UNIX + self.now.0);
        self.retained.bring(brought, self.now)
    }
}

/// A retained message.
pub fn message(topic: &str, payload: &[u8], expires_at: Option<Millis>) -> Arc<Message> {
    let mut frame = Vec::new();
    let layout = publish::encode(
        &mut frame,
        &Parts {
            version: Version::V5,
            qos: Qos::AtLeastOnce,
            retain: true,
            dup: false,
            packet_id: 1,
            topic: topic.as_bytes(),
            properties: &[],
            subscription_ids: &[],
            payload,
        },
    );
    Arc::new(Message::new(&frame, layout, expires_at))
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}
