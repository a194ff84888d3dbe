//! What must hold at any time, and what must hold in the end.

use std::collections::BTreeSet;

use crate::topic::{Cover, Filter};

use super::node::{Delivered, path};
use super::trouble::SETTLES_IN;
use super::world::World;

// === impl World ===

impl World {
    /// Runs the schedule to its end; panics with the story if a rule does not hold.
    pub fn run(&mut self) {
        let active = self.plan.active;
        while self.step(active) {}
        self.heal();
        self.settle();
        self.publish_everything();
        self.settle();
        self.check_end();
    }

    fn settle(&mut self) {
        let deadline = self.now + SETTLES_IN;
        while !self.is_settled() {
            if !self.step(deadline) {
                let state = self.describe();
                self.fail(&format!("it does not settle: {state}"));
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.up
                && node.syncs.is_empty()
                && node.shards.iter().all(|(marks, _)| marks.is_empty())
                && node.links.iter().all(|side| {
                    side.queues.iter().all(|(queue, _)| queue.is_empty())
                        && side.link.is_ready(self.now)
                        && side.link.messages.is_settled()
                        && side.link.is_settled()
                        && !side.pressure
                })
        })
    }

    /// After each call: who is served for certain, and what is within its bounds.
    pub(super) fn observe(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        for (index, side) in here.links.iter().enumerate() {
            if side.link.is_marked() {
                for session in here.subscribers.values_mut() {
                    session.established.insert(index);
                }
            }
        }
        let over = here.links.iter().find(|side| {
            let spool = &side.link.settings().spool;
            let lossy = side.link.lossy.bytes() as u64 > spool.max_bytes_qos0.0;
            lossy || side.link.messages.bytes() > spool.max_bytes.0 + self.plan.overrun()
        });
        if let Some(side) = over {
            let bytes = side.link.messages.bytes();
            self.fail(&format!("the spool of node {node} holds {bytes} bytes"));
        }
    }

    /// A message came: not to where it has been, not too far, and not by an older interest than its shard had marked.
    pub(super) fn check_delivery(&mut self, node: usize, link: usize, delivered: &Delivered) {
        let Delivered { publication, routed_by, shard, .. } = *delivered;
        let message = &self.publications[publication];
        let own = self.plan.local(node, 1);
        let first = self.plan.local(message.node, 1).cluster_id;
        let path = path(&delivered.path);
        let ids: Vec<&[u8]> = path.ids().collect();
        let distinct: BTreeSet<&[u8]> = ids.iter().copied().collect();
        let fine = !path.contains(&own.cluster_id)
            && ids.first() == Some(&first.as_bytes())
            && distinct.len() == ids.len()
            && path.hops() <= usize::from(self.plan.max_hops);
        // A peer's path is that of the message where it entered the cluster.
        if !(fine || self.plan.peers && ids.is_empty()) {
            self.fail(&format!("publication {publication} came to node {node} by {ids:?}"));
        }
        let marked = delivered.marks.get(shard, &own.cluster_id, &own.node);
        if self.publications[publication].is_spooled() && routed_by < marked {
            let link = format!("link {link} of node {node}");
            self.fail(&format!("publication {publication} was routed by {routed_by:?}, behind {marked:?} on {link}"));
        }
    }

    /// What a subscriber got last from a publisher by one way is newer than all before, so none came twice.
    pub(super) fn check_log(&mut self, node: usize, subscriber: usize) {
        let log = &self.nodes[node].subscribers[&subscriber].log;
        let Some(((last, way), before)) = log.split_last() else { return };
        let key = |publication: usize| {
            let message = &self.publications[publication];
            (message.node, message.publisher, message.is_spooled())
        };
        let same = before.iter().rev().find(|(got, by)| key(*got) == key(*last) && by == way);
        if let Some((earlier, _)) = same
            && self.publications[*earlier].sequence >= self.publications[*last].sequence
        {
            let message = format!("subscriber {subscriber} of node {node} got {last} behind {earlier}");
            self.fail(&message);
        }
    }

    fn check_end(&mut self) {
        if self.plan.peers {
            self.check_sharing();
        }
        for ((node, subscriber), expected) in self.expected.clone() {
            let log = &self.nodes[node].subscribers[&subscriber].log;
            let got: BTreeSet<usize> = log.iter().map(|(publication, _)| *publication).collect();
            let missing: Vec<usize> = expected.difference(&got).copied().collect();
            if !missing.is_empty() {
                self.fail(&format!("subscriber {subscriber} of node {node} never got {missing:?}"));
            }
        }
        for node in 0..self.nodes.len() {
            let mut cover = Cover::default();
            self.nodes[node].plain_filters().into_iter().for_each(|filter| drop(cover.add(filter)));
            let wanted: Vec<Filter> = cover.iter().cloned().collect();
            for side in &self.nodes[node].links {
                let there = self.nodes[side.remote].links.iter().find(|back| back.remote == node);
                let routes: Vec<Filter> = there.map(|t| t.routes.iter().cloned().collect()).unwrap_or_default();
                if self.plan.receive == "#" && routes != wanted {
                    self.fail(&format!("node {node} wants {wanted:?} and is served {routes:?}"));
                }
                let trouble =
                    side.link.last_error.as_ref().map(|trouble| (trouble.reason.clone(), trouble.message.clone()));
                if let Some((reason, message)) = trouble.filter(|(reason, _)| Self::is_to_blame(reason)) {
                    self.fail(&format!("a link of node {node} saw {reason}: {message}"));
                }
            }
        }
    }

    fn describe(&self) -> String {
        let sides = self.nodes.iter().enumerate().flat_map(|(index, node)| {
            node.links.iter().map(move |side| {
                let status = side.link.status(self.now, 0);
                let queued: usize = side.queues.iter().map(|(queue, _)| queue.len()).sum();
                format!("\n  node {index} up {} queued {queued} {status:?}", node.up)
            })
        });
        sides.collect()
    }

    /// Ends the schedule with its story.
    pub(super) fn fail(&self, what: &str) -> ! {
        let story: Vec<&str> = self.story.iter().map(String::as_str).collect();
        panic!("{}\n{:.3} s: {what}", story.join("\n"), self.now.as_secs_f64());
    }
}
