//! What must hold at any time, and what must hold in the end.

use std::collections::BTreeSet;

use crate::codec::Qos;
use crate::link::Version as Interest;
use crate::topic::{Cover, Filter};

use super::node::path;
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
                && node.links.iter().all(|side| {
                    side.queue.is_empty()
                        && side.link.is_ready(self.now)
                        && side.link.messages.is_settled()
                        && side.link.interest.is_settled()
                        && !side.pressure
                })
        })
    }

    /// After each call: who is served for certain, and what is within its bounds.
    pub(super) fn observe(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        let own = format!("id-{node}");
        for (index, side) in here.links.iter_mut().enumerate() {
            let marked = side.link.sources.first().map(|source| source.marks.get(&own, "node-0"));
            side.marked = marked.unwrap_or_default();
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

    /// A message came: not to where it has been, not too far, and not by an older interest than its lane was marked with.
    pub(super) fn check_delivery(
        &mut self,
        node: usize,
        link: usize,
        publication: usize,
        routed_by: Interest,
        bytes: &[u8],
    ) {
        let message = &self.publications[publication];
        let (own, first) = (format!("id-{node}"), format!("id-{}", message.node));
        let path = path(bytes);
        let ids: Vec<&[u8]> = path.ids().collect();
        let distinct: BTreeSet<&[u8]> = ids.iter().copied().collect();
        let fine = !path.contains(&own)
            && ids.first() == Some(&first.as_bytes())
            && distinct.len() == ids.len()
            && path.hops() <= usize::from(self.plan.max_hops);
        if !fine {
            self.fail(&format!("publication {publication} came to node {node} by {ids:?}"));
        }
        let marked = self.nodes[node].links[link].marked;
        if self.publications[publication].qos != Qos::AtMostOnce && routed_by < marked {
            self.fail(&format!("publication {publication} was routed by {routed_by:?}, behind the mark {marked:?}"));
        }
    }

    /// What a subscriber got last from a publisher by one way is newer than all before, so none came twice.
    pub(super) fn check_log(&mut self, node: usize, subscriber: usize) {
        let log = &self.nodes[node].subscribers[&subscriber].log;
        let Some(((last, way), before)) = log.split_last() else { return };
        let key = |publication: usize| {
            let message = &self.publications[publication];
            (message.node, message.publisher, message.qos == Qos::AtMostOnce)
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
            self.nodes[node].subscribers.values().for_each(|session| drop(cover.add(session.filter.clone())));
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
                format!("\n  node {index} up {} queue {} {status:?}", node.up, side.queue.len())
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
