//! How messages go through a node of the simulation: into sessions, into the queues towards links, onto the disk.

use std::time::Duration;

use crate::clock::Stamp;
use crate::codec::{Qos, Version};
use crate::router::{Destination, Origin, Path, may_pass};

use super::node::{Beside, Delivered, Publication, Queued, pack, path};
use super::plan::TOPICS;
use super::store::Kept;
use super::world::{Event, World};
use crate::codec::publish;
use crate::link::Forward;

/// One message in a subscriber's log: publication, path.
pub type Got = (usize, Vec<u8>);

// === impl World ===

impl World {
    /// A client publishes.
    pub(super) fn publish(&mut self) {
        let node = self.random.below(self.nodes.len());
        let topic = *self.random.pick(&TOPICS);
        let publisher = self.random.below(3);
        let qos = *self.random.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        for _ in 0..self.plan.burst {
            if self.nodes[node].up && !self.nodes[node].links.iter().any(|side| side.pressure) {
                self.publish_one(node, publisher, qos, topic);
            }
        }
    }

    /// This client publishes this.
    pub(super) fn publish_one(&mut self, node: usize, publisher: usize, qos: Qos, topic: &'static str) {
        let before = self.publications.iter().filter(|p| (p.node, p.publisher) == (node, publisher)).count();
        let publication = self.publications.len();
        let sequence = before as u32;
        let stamped = self.plan.peers && publication.is_multiple_of(3);
        let stamp = stamped.then_some(Stamp { time: publication as u64, node: node as u64 });
        let message = Publication { node, publisher, sequence, qos, topic, stamp, waiting: 0, acknowledged: false };
        self.publications.push(message.clone());
        let version = if publication % 4 == 1 { Version::V4 } else { Version::V5 };
        let mut waiting = 0;
        let mut shares = self.choose_members(node, publication);
        let shard = publisher % self.nodes[node].shards.len();
        for link in 0..self.nodes[node].links.len() {
            let side = &self.nodes[node].links[link];
            let shares = shares.remove(&link).unwrap_or_default();
            let is_wanted = side.routes.iter().any(|filter| filter.matches(topic));
            if is_wanted || stamped || !shares.is_empty() {
                let remote = side.remote;
                let frame = pack(publication, &message, self.routed_by(node, link), version, self.plan.burst > 1);
                waiting += usize::from(message.is_spooled());
                let beside = Beside { stamp, shares, shares_only: false };
                self.sent_beside(publication, node, link, &beside);
                if self.plan.peers && self.plan.is_lossless() && message.is_spooled() {
                    self.expected_arrivals.insert((remote, publication));
                }
                let path = Vec::new();
                self.enqueue(node, link, shard, Queued::Message { publication, frame, version, path, beside });
            }
        }
        self.publications[publication].waiting = waiting;
        self.publications[publication].acknowledged = waiting == 0;
        self.expect(publication);
        self.tell(|| {
            format!("publication {publication} of {publisher} at node {node}, {topic}, {qos:?}, to {waiting} links")
        });
    }

    /// The version of the remote's interest by which a link routes now.
    pub(super) fn routed_by(&self, node: usize, link: usize) -> crate::link::Version {
        let sources = &self.nodes[node].links[link].link.sources;
        sources.first().map(|source| source.interest.version()).unwrap_or_default()
    }

    /// Who must get a publication: whom the remote of its node is known to serve.
    fn expect(&mut self, publication: usize) {
        let message = &self.publications[publication];
        if !message.is_spooled() || !self.plan.is_lossless() {
            return;
        }
        for side in &self.nodes[message.node].links {
            let remote = &self.nodes[side.remote];
            let Some(back) = remote.links.iter().position(|other| other.remote == message.node) else { continue };
            let settings = remote.links[back].link.settings();
            let leaves =
                side.link.settings().send.as_ref().is_none_or(|send| send.iter().any(|r| r.admits(message.topic)));
            let enters = settings.is_peer() || settings.receive.iter().any(|route| route.admits(message.topic));
            if !leaves || !enters {
                continue;
            }
            for (subscriber, session) in &remote.subscribers {
                let is_served = session.group.is_none() && session.established.contains(&back);
                if is_served && session.filter.matches(message.topic) {
                    self.expected.entry((side.remote, *subscriber)).or_default().insert(publication);
                }
            }
        }
    }

    /// A message came over a link.
    pub(super) fn deliver(&mut self, node: usize, link: usize, message: Delivered) {
        self.check_delivery(node, link, &message);
        self.check_marks(node, link, &message);
        if self.plan.peers {
            self.check_beside(node, link, &message);
            self.deliver_to_groups(node, link, &message);
        }
        let Delivered { publication, qos, path: bytes, beside, .. } = message;
        let told = self.publications[publication].clone();
        let mut got = Vec::new();
        for (subscriber, session) in &mut self.nodes[node].subscribers {
            if session.group.is_none() && !beside.shares_only && session.filter.matches(told.topic) {
                session.log.push((publication, bytes.clone()));
                got.push(*subscriber);
            }
        }
        self.tell(|| format!("publication {publication} comes to node {node} for {got:?}"));
        for subscriber in got {
            self.check_log(node, subscriber);
        }
        if self.plan.peers {
            return;
        }
        for other in (0..self.nodes[node].links.len()).filter(|other| *other != link) {
            let side = &self.nodes[node].links[other];
            let cluster = side.link.remote_id.clone().unwrap_or_else(|| "".into());
            let to = Destination::Link { cluster: &cluster, max_hops: self.plan.max_hops };
            if may_pass(to, Origin::Link(path(&bytes))) && side.routes.iter().any(|filter| filter.matches(told.topic)) {
                assert_eq!(qos, told.qos, "no route of a transit plan lowers the QoS");
                let frame = pack(publication, &told, self.routed_by(node, other), Version::V5, false);
                let (path, beside, shard) = (bytes.clone(), Beside::default(), self.shard_of(node, link));
                let version = Version::V5;
                self.enqueue(node, other, shard, Queued::Message { publication, frame, version, path, beside });
            }
        }
    }

    /// The time from one shard to another: mostly none.
    pub(super) fn delay(&mut self) -> Duration {
        if self.random.chance(20) { self.random.millis(1, 60) } else { Duration::ZERO }
    }

    /// Puts something into the queue that leads from a shard to a link.
    pub(super) fn enqueue(&mut self, node: usize, link: usize, shard: usize, queued: Queued) {
        let delay = if shard == self.shard_of(node, link) { Duration::ZERO } else { self.delay() };
        let life = self.nodes[node].life;
        let (queue, last) = &mut self.nodes[node].links[link].queues[shard];
        *last = (*last).max(self.now + delay);
        queue.push_back(queued);
        let at = *last;
        self.at(at, Event::Queue(node, link, shard, life));
    }

    /// The next thing in that queue arrives.
    pub(super) fn queue_arrives(&mut self, node: usize, link: usize, shard: usize, life: u64) {
        if !self.nodes[node].up || self.nodes[node].life != life {
            return;
        }
        let Some(queued) = self.nodes[node].links[link].queues[shard].0.pop_front() else { return };
        match queued {
            Queued::Message { publication, frame, version, path: bytes, beside } => {
                let layout = publish::layout(&frame, version).expect("packets of the simulation are well formed");
                let path = if bytes.is_empty() { Path::EMPTY } else { path(&bytes) };
                let message = &self.publications[publication];
                if message.is_spooled() && message.node == node {
                    let message = &mut self.publications[publication];
                    message.waiting -= 1;
                    if message.waiting == 0 {
                        self.nodes[node].forwarded.push(publication);
                    }
                }
                let shard = self.label(shard);
                self.call(node, link, |link, _, now| {
                    let qos = layout.qos();
                    link.forward(&Forward { frame: &frame, layout, qos, path, shard, aside: beside.aside() }, now);
                });
            }
            Queued::Mark(mark) => self.mark_lane(node, link, shard, &mark),
        }
        if !self.plan.durable {
            self.acknowledge_forwarded(node);
        }
    }

    fn acknowledge_forwarded(&mut self, node: usize) {
        for publication in std::mem::take(&mut self.nodes[node].forwarded) {
            self.publications[publication].acknowledged = true;
        }
    }

    /// A link wants all of its node durable: it will be, as it is now, after a while.
    pub(super) fn sync(&mut self, node: usize, link: usize, token: u64) {
        if !self.plan.durable {
            return;
        }
        let delay = if self.random.chance(10) { self.random.millis(10, 200) } else { self.random.millis(0, 8) };
        let here = &mut self.nodes[node];
        let kept = Kept {
            links: here.links.iter().map(|side| side.link.keep()).collect(),
            arrivals: here.arrivals.len(),
            logs: here.subscribers.iter().map(|(id, session)| (*id, session.log.len())).collect(),
        };
        let forwarded = std::mem::take(&mut here.forwarded);
        let at = here.sync_last.max(self.now + delay);
        here.sync_last = at;
        here.syncs.push_back((link, token, kept, forwarded));
        let life = here.life;
        self.at(at, Event::Synced(node, life));
    }

    /// It is.
    pub(super) fn synced(&mut self, node: usize, life: u64) {
        let here = &mut self.nodes[node];
        if !here.up || here.life != life {
            return;
        }
        let Some((link, token, kept, forwarded)) = here.syncs.pop_front() else { return };
        here.durable = kept;
        for publication in forwarded {
            self.publications[publication].acknowledged = true;
        }
        self.call(node, link, |link, out, _| link.synced(out, token));
    }
}
