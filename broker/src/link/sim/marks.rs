//! Marks of a node of the simulation: from the link that took up a version to every shard, and from there to every lane.

use std::collections::VecDeque;
use std::time::Duration;

use crate::link::Mark;

use super::node::{Delivered, Queued};
use super::plan::Sabotage;
use super::world::{Event, World};

// === impl World ===

impl World {
    /// The shards of a node in this life, which have heard of nothing. Who goes on after a death says before anything else
    /// in all lanes by what it routes.
    pub(super) fn begin_shards(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        let shards = usize::from(self.plan.shards_of(node, here.life));
        here.shards = vec![Default::default(); shards];
        here.links.iter_mut().for_each(|side| side.queues = vec![(VecDeque::new(), Duration::ZERO); shards]);
        let marks: Vec<Mark> = here.links.iter().flat_map(|side| side.link.applied_marks()).collect();
        let tells = self.plan.local(node, here.life).shards;
        for side in &mut here.links {
            for mark in &marks {
                (0..tells).for_each(|shard| side.link.marked(shard, mark));
            }
        }
    }

    /// The shard that a link lives on.
    pub(super) fn shard_of(&self, node: usize, link: usize) -> usize {
        link % self.nodes[node].shards.len()
    }

    /// What a lane is told of which shard routed something.
    pub(super) fn label(&self, shard: usize) -> u8 {
        if self.plan.sabotage == Some(Sabotage::MarkOfOneShard) { 0 } else { shard as u8 }
    }

    /// A link of a node says that its node routes by a newer version.
    pub(super) fn announce(&mut self, node: usize, link: usize, mark: &Mark) {
        let own = self.shard_of(node, link);
        let life = self.nodes[node].life;
        for shard in (0..self.nodes[node].shards.len()).filter(|shard| *shard != own) {
            let at = self.now + self.delay();
            let (marks, last) = &mut self.nodes[node].shards[shard];
            *last = (*last).max(at);
            marks.push_back(mark.clone());
            let at = *last;
            self.at(at, Event::Mark(node, shard, life));
        }
        self.mark_lanes(node, own, mark);
    }

    /// A shard hears of a mark.
    pub(super) fn mark_arrives(&mut self, node: usize, shard: usize, life: u64) {
        if !self.nodes[node].up || self.nodes[node].life != life {
            return;
        }
        if let Some(mark) = self.nodes[node].shards[shard].0.pop_front() {
            self.mark_lanes(node, shard, &mark);
        }
    }

    /// What this shard routes from now on is routed by that version.
    fn mark_lanes(&mut self, node: usize, shard: usize, mark: &Mark) {
        for link in 0..self.nodes[node].links.len() {
            if self.plan.sabotage == Some(Sabotage::MarkTooEarly) {
                self.mark_lane(node, link, shard, mark);
            } else {
                self.enqueue(node, link, shard, Queued::Mark(mark.clone()));
            }
        }
    }

    /// A mark of a shard arrives at a link.
    pub(super) fn mark_lane(&mut self, node: usize, link: usize, shard: usize, mark: &Mark) {
        let label = self.label(shard);
        if self.plan.sabotage != Some(Sabotage::MarkBehindBarrier) {
            return self.call(node, link, |link, _, _| link.marked(label, mark));
        }
        let shards = self.nodes[node].shards.len();
        let gathered = &mut self.nodes[node].links[link].gathered;
        gathered.push((mark.clone(), shard));
        if gathered.iter().filter(|(other, _)| other == mark).count() == shards {
            gathered.retain(|(other, _)| other != mark);
            (0..shards as u8).for_each(|shard| self.call(node, link, |link, _, _| link.marked(shard, mark)));
        }
    }

    /// Two lanes of a node must say the same of each message: which marks of its shard stand before it.
    pub(super) fn check_marks(&mut self, node: usize, link: usize, message: &Delivered) {
        let told = &self.publications[message.publication];
        let is_first_hand = self.nodes[node].links[link].remote == told.node && !message.beside.shares_only;
        if !self.plan.remembers() || !told.is_spooled() || !is_first_hand {
            return;
        }
        let of_shard = message.marks.iter().filter(|(shard, _)| *shard == message.shard);
        let marks: Vec<Mark> = of_shard.map(|(_, mark)| mark).collect();
        let others = self.classified.entry(message.publication).or_insert_with(|| marks.clone()).clone();
        if others != marks {
            let publication = message.publication;
            self.fail(&format!("publication {publication} came to node {node} behind {marks:?}, elsewhere {others:?}"));
        }
    }
}
