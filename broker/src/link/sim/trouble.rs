//! What goes wrong and what changes: cuts, black holes, deaths, subscriptions, settings.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Qos;
use crate::link::Why;
use crate::router::Change;

use super::network::{End, Packet, Wire};
use super::node::Subscriber;
use super::plan::{FILTERS, Sabotage, TOPICS, filter, route};
use super::world::{Event, World};

// === impl World ===

impl World {
    /// A node looks at the time, and dials what it should.
    pub(super) fn tick(&mut self, node: usize) {
        let next = self.now + self.random.millis(200, 300);
        self.at(next, Event::Tick(node));
        if !self.nodes[node].up {
            return;
        }
        for link in 0..self.nodes[node].links.len() {
            self.call(node, link, |link, out, now| link.tick(out, now));
            self.dial(node, link);
        }
    }

    fn dial(&mut self, node: usize, link: usize) {
        let life = self.nodes[node].life;
        let ours = |end: &End| end.node == node && end.link == link && end.life == life;
        let stands = self.wires.iter().any(|wire| ours(&wire.ends[0]) && wire.is_dialling_or_open());
        let random = self.random.next();
        let side = &mut self.nodes[node].links[link];
        let ready = side.link.is_ready(self.now);
        let (remote, enabled) = (side.remote, side.link.settings().enabled);
        let Some((dialling, next)) = &mut side.dialling else { return };
        if ready {
            dialling.succeeded();
        }
        // Now and then a second connection is made before the first is given up.
        let beside = stands && !self.healed && random % 100 < 3;
        if !enabled || (stands && !beside) || self.now < *next {
            return;
        }
        *next = self.now + dialling.failed(random);
        if !self.nodes[remote].up {
            return;
        }
        let back =
            self.nodes[remote].links.iter().position(|other| other.remote == node).expect("links have two sides");
        let there = End { node: remote, life: self.nodes[remote].life, link: back, open: false };
        self.wires.push(Wire::new([End { node, life, link, open: false }, there]));
        let wire = self.wires.len() - 1;
        self.tell(|| format!("node {node} dials node {remote}: conn {wire}"));
        self.send_to(wire, 0, Packet::Connected);
        self.send_to(wire, 1, Packet::Connected);
    }

    /// A connection breaks: at once, behind some of what is on the way, or without anybody being told.
    pub(super) fn cut(&mut self) {
        let open: Vec<usize> = (0..self.wires.len()).filter(|wire| self.wires[*wire].is_open()).collect();
        if open.is_empty() {
            return;
        }
        let wire = *self.random.pick(&open);
        match self.random.below(4) {
            0 => {
                self.tell(|| format!("conn {wire} becomes a black hole"));
                (0..2).for_each(|to| self.wires[wire].swallow(to));
            }
            1 => {
                let to = self.random.below(2);
                self.tell(|| format!("conn {wire} becomes a black hole towards {to}"));
                self.wires[wire].swallow(to);
            }
            _ => {
                self.tell(|| format!("conn {wire} is cut"));
                for to in 0..2 {
                    let keep = self.random.below(self.wires[wire].on_the_way(to) + 1);
                    self.wires[wire].cut(to, keep);
                    self.send_to(wire, to, Packet::Closed);
                }
            }
        }
    }

    /// A node dies: what was not synced is gone.
    pub(super) fn restart(&mut self) {
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
        // What was not acknowledged to its publisher may be gone, and may come all the same.
        let lost: BTreeSet<usize> = (0..self.publications.len())
            .filter(|p| {
                self.publications[*p].node == node && !(self.plan.durable && self.publications[*p].acknowledged)
            })
            .collect();
        self.expected.values_mut().for_each(|expected| expected.retain(|publication| !lost.contains(publication)));
        self.expected_arrivals.retain(|(_, publication)| !lost.contains(publication));
        if !self.plan.durable {
            self.expected.retain(|(at, _), _| *at != node);
            self.nodes[node].subscribers.clear();
        }
        let after = self.now + self.random.millis(10, 1500);
        self.at(after, Event::Boot(node));
    }

    /// A node lives again.
    pub(super) fn boot(&mut self, node: usize) {
        self.tell(|| format!("node {node} lives again"));
        let here = &mut self.nodes[node];
        here.life += 1;
        here.up = true;
        here.syncs.clear();
        here.forwarded.clear();
        let (life, durable) = (here.life, here.durable.clone());
        for (id, session) in &mut here.subscribers {
            session.log.truncate(durable.logs.get(id).copied().unwrap_or(0));
        }
        here.arrivals.truncate(durable.arrivals);
        let filters: Vec<_> = here.plain_filters().into_iter().collect();
        self.nodes[node].links = self.sides(node, life, &filters);
        // All links first, and then their turns: what is synced in the turn of one is the whole node.
        let kept = if self.plan.durable { durable.links } else { Vec::new() };
        for (side, kept) in self.nodes[node].links.iter_mut().zip(kept) {
            side.call(true, |link, out| link.resume(out, kept));
        }
        self.begin_shards(node);
        let shares = self.shares(node);
        for side in &mut self.nodes[node].links {
            side.link.shares_replaced(shares.iter().cloned());
        }
        for link in 0..self.nodes[node].links.len() {
            self.call(node, link, |_, _, _| {});
        }
        if self.plan.sabotage == Some(Sabotage::ForgetTaken) {
            self.nodes[node].links.iter_mut().for_each(|side| side.link.forget_taken());
        }
        if self.healed {
            self.mend(node);
        }
    }

    /// A client subscribes, or one that did unsubscribes.
    pub(super) fn subscribe(&mut self) {
        let node = self.random.below(self.nodes.len());
        if !self.nodes[node].up {
            return;
        }
        let known: Vec<usize> = self.nodes[node].subscribers.keys().copied().collect();
        if self.random.chance(40) && !known.is_empty() {
            let subscriber = *self.random.pick(&known);
            let session = self.nodes[node].subscribers.remove(&subscriber).expect("it was listed just now");
            self.expected.remove(&(node, subscriber));
            self.tell(|| format!("subscriber {subscriber} of node {node} leaves {}", session.filter.as_str()));
            match &session.group {
                Some(group) => self.share_changed(node, &(group.clone(), session.filter)),
                None if !self.nodes[node].plain_filters().contains(&session.filter) => {
                    self.interest_changed(node, &session.filter, Change::Removed);
                }
                None => {}
            }
        } else {
            let text = self.random.pick(&FILTERS);
            let filter = filter(text);
            let subscriber = self.next_subscriber;
            self.next_subscriber += 1;
            let group: Option<Arc<str>> = (self.plan.peers && self.random.chance(40)).then(|| "g".into());
            self.tell(|| format!("subscriber {subscriber} of node {node} takes {} in {group:?}", filter.as_str()));
            let first = !self.nodes[node].plain_filters().contains(&filter);
            let (log, established) = Default::default();
            let session = Subscriber { filter: filter.clone(), group: group.clone(), log, established };
            self.nodes[node].subscribers.insert(subscriber, session);
            match group {
                Some(group) => self.share_changed(node, &(group, filter)),
                None if first => self.interest_changed(node, &filter, Change::Added),
                None => {}
            }
        }
        self.observe(node);
    }

    fn interest_changed(&mut self, node: usize, filter: &crate::topic::Filter, change: Change) {
        // Every link learns of it before any has a turn, as with a log that all read.
        self.nodes[node].links.iter_mut().for_each(|side| side.link.interest_changed(filter, change));
        for link in 0..self.nodes[node].links.len() {
            self.call(node, link, |_, _, _| {});
        }
    }

    /// The settings of a link change.
    pub(super) fn reconfigure(&mut self) {
        let node = self.random.below(self.nodes.len());
        if !self.nodes[node].up {
            return;
        }
        let link = self.random.below(self.nodes[node].links.len());
        let mut settings = self.nodes[node].links[link].link.settings().clone();
        match self.random.below(5) {
            _ if !settings.enabled => settings.enabled = true,
            1..=3 if settings.is_peer() => {}
            0 => settings.enabled = false,
            1 => settings.receive = vec![route(&["t/#", "x/y"], &[])],
            2 => settings.receive = vec![route(&["#"], &["x/#"])],
            3 => settings.send = Some(vec![route(&["t/#", "q"], &["t/2"])]),
            _ => settings.window = 1,
        }
        self.configure(node, link, settings);
    }

    fn configure(&mut self, node: usize, link: usize, settings: crate::link::Settings) {
        let old = self.nodes[node].links[link].link.settings().clone();
        let remote = self.nodes[node].links[link].remote;
        self.tell(|| format!("node {node} link {link} gets other settings: enabled {}", settings.enabled));
        if old.receive != settings.receive {
            for (subscriber, session) in &mut self.nodes[node].subscribers {
                session.established.remove(&link);
                forgive(&mut self.expected, &self.publications, (node, *subscriber), &session.log, remote);
            }
        }
        if old.send != settings.send {
            for (subscriber, session) in &self.nodes[remote].subscribers {
                forgive(&mut self.expected, &self.publications, (remote, *subscriber), &session.log, node);
            }
        }
        let filters = self.nodes[node].plain_filters();
        self.call(node, link, |link, out, now| link.configure(out, settings, filters, now));
    }

    /// No more trouble: all is as the plan says, and every topic is published to once more.
    pub(super) fn heal(&mut self) {
        self.tell(|| "no more trouble".to_owned());
        self.healed = true;
        for node in 0..self.nodes.len() {
            if self.nodes[node].up {
                self.mend(node);
            }
        }
    }

    fn mend(&mut self, node: usize) {
        for link in 0..self.nodes[node].links.len() {
            let settings = self.plan.settings(node, self.nodes[node].links[link].remote);
            self.configure(node, link, settings);
        }
    }

    /// Every topic is published to once more, everywhere.
    pub(super) fn publish_everything(&mut self) {
        for node in 0..self.nodes.len() {
            for topic in TOPICS {
                self.publish_one(node, 9, Qos::AtLeastOnce, topic);
            }
        }
    }

    /// True if a link was refused for another reason than those that trouble brings.
    pub(super) fn is_to_blame(why: &str) -> bool {
        [Why::ProtocolError, Why::BatchRefused, Why::OwnCluster, Why::ClusterIdMismatch].iter().any(|w| w.name() == why)
    }
}

/// What a subscriber did not get before a narrower filter came, it need not get.
fn forgive(
    expected: &mut std::collections::BTreeMap<(usize, usize), BTreeSet<usize>>,
    publications: &[super::node::Publication],
    subscriber: (usize, usize),
    log: &[super::routing::Got],
    from: usize,
) {
    if let Some(expected) = expected.get_mut(&subscriber) {
        expected.retain(|p| publications[*p].node != from || log.iter().any(|(got, _)| got == p));
    }
}

/// How long after the end of trouble all must be well.
pub const SETTLES_IN: Duration = Duration::from_secs(90);
