//! Shared subscriptions in the simulation: groups over all nodes of a cluster, of which one member gets each message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::router::SharedSubscription;
use crate::topic::Filter;

use super::node::{Beside, Delivered, Node, Queued, pack};
use super::world::World;
use crate::codec::{Qos, Version};

/// Share name and filter.
pub type Key = (Arc<str>, Filter);

// === impl Node ===

impl Node {
    /// What its clients want, but for shared subscriptions.
    pub fn plain_filters(&self) -> BTreeSet<Filter> {
        let plain = self.subscribers.values().filter(|session| session.group.is_none());
        plain.map(|session| session.filter.clone()).collect()
    }

    /// Its members of a group.
    fn members(&self, key: &Key) -> Vec<usize> {
        let is_member = |group: &Option<Arc<str>>, filter: &Filter| group.as_ref() == Some(&key.0) && *filter == key.1;
        let sessions = self.subscribers.iter().filter(|(_, session)| is_member(&session.group, &session.filter));
        sessions.map(|(id, _)| *id).collect()
    }

    fn keys(&self) -> BTreeSet<Key> {
        let sessions = self.subscribers.values();
        sessions.filter_map(|session| Some((session.group.clone()?, session.filter.clone()))).collect()
    }
}

// === impl World ===

impl World {
    /// A node's part of a group, with a number that it never had before its life.
    pub(super) fn share(&mut self, node: usize, key: &Key) -> SharedSubscription {
        let next = self.numbers.len() as u32;
        let life = self.nodes[node].life;
        let number = self.numbers.iter().position(|known| *known == (node, life, key.clone()));
        let number = number.map_or(next, |index| index as u32);
        if number == next {
            self.numbers.push((node, life, key.clone()));
        }
        let members = self.nodes[node].members(key);
        let online = members.iter().filter(|member| member.is_multiple_of(2)).count() as u32;
        let offline = members.len() as u32 - online;
        SharedSubscription { group: key.0.clone(), filter: key.1.clone(), number, online, offline }
    }

    /// All groups that have members at a node.
    pub(super) fn shares(&mut self, node: usize) -> Vec<SharedSubscription> {
        let keys = self.nodes[node].keys();
        keys.iter().map(|key| self.share(node, key)).collect()
    }

    /// A member came or went.
    pub(super) fn share_changed(&mut self, node: usize, key: &Key) {
        let share = self.share(node, key);
        for link in 0..self.nodes[node].links.len() {
            self.call(node, link, |link, _, _| link.share_changed(&share));
        }
    }

    /// Chooses a member of each group that wants a topic: gives it to those here, and says which numbers go over which
    /// link.
    pub(super) fn choose_members(&mut self, node: usize, publication: usize) -> BTreeMap<usize, Vec<u32>> {
        let topic = self.publications[publication].topic;
        let here = &self.nodes[node];
        let mut keys = here.keys();
        keys.extend(here.links.iter().flat_map(|side| side.shares.keys().cloned()));
        keys.retain(|(_, filter)| filter.matches(topic));
        let mut over: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for key in keys {
            if let Some((link, number)) = self.choose(node, &key, publication) {
                over.entry(link).or_default().push(number);
            }
        }
        over
    }

    /// One member of a group gets a publication: one here, or one over the link that is given back with its number.
    fn choose(&mut self, node: usize, key: &Key, publication: usize) -> Option<(usize, u32)> {
        let here = &self.nodes[node];
        let own = here.members(key);
        let share_of =
            |side: &super::node::Side| side.shares.get(key).map(|share| (share.number, share.online + share.offline));
        let others = here.links.iter().enumerate().filter_map(|(link, side)| Some((link, share_of(side)?)));
        let others: Vec<(usize, (u32, u32))> = others.collect();
        let weight: usize = others.iter().map(|(_, (_, weight))| *weight as usize).sum();
        if own.len() + weight == 0 {
            return None;
        }
        let mut turn = self.random.below(own.len() + weight);
        if turn < own.len() {
            self.give(node, own[turn], publication);
            return None;
        }
        turn -= own.len();
        let chosen = others.iter().find(|(_, (_, weight))| {
            let is = turn < *weight as usize;
            turn = turn.saturating_sub(*weight as usize);
            is
        });
        chosen.map(|(link, (number, _))| (*link, *number))
    }

    fn give(&mut self, node: usize, member: usize, publication: usize) {
        self.tell(|| format!("publication {publication} is for member {member} of node {node}"));
        if let Some(session) = self.nodes[node].subscribers.get_mut(&member) {
            session.log.push((publication, Vec::new()));
        }
    }

    /// A message for members of groups came from a peer. Where a group has none here any more, another one is chosen.
    pub(super) fn deliver_to_groups(&mut self, node: usize, link: usize, message: &Delivered) {
        let publication = message.publication;
        for number in &message.beside.shares {
            let Some((owner, _, key)) = self.numbers.get(*number as usize).cloned() else {
                self.fail(&format!("publication {publication} came for number {number}, which nobody gave"))
            };
            if owner != node {
                self.fail(&format!("number {number} came to node {node}, and node {owner} gave it"));
            }
            let members = self.nodes[node].members(&key);
            if !members.is_empty() {
                let member = *self.random.pick(&members);
                self.give(node, member, publication);
            } else if !message.beside.shares_only
                && let Some((other, number)) = self.choose(node, &key, publication)
            {
                let beside = Beside { stamp: None, shares: vec![number], shares_only: true };
                let told = self.publications[publication].clone();
                let frame = pack(publication, &told, self.routed_by(node, other), Version::V5, false);
                self.sent_beside(publication, node, other, &beside);
                let shard = self.shard_of(node, link);
                let path = Vec::new();
                self.enqueue(
                    node,
                    other,
                    shard,
                    Queued::Message { publication, frame, version: Version::V5, path, beside },
                );
            }
        }
    }

    /// A message leaves for a peer: it must come with all of this.
    pub(super) fn sent_beside(&mut self, publication: usize, node: usize, link: usize, beside: &Beside) {
        let to = self.nodes[node].links[link].remote;
        self.beside.entry((publication, node, to)).or_default().push(beside.clone());
    }

    /// A message came from a peer: with what it left with, and once.
    pub(super) fn check_beside(&mut self, node: usize, link: usize, message: &Delivered) {
        let publication = message.publication;
        let from = self.nodes[node].links[link].remote;
        let sent = self.beside.get(&(publication, from, node)).cloned().unwrap_or_default();
        if !sent.contains(&message.beside) {
            self.fail(&format!(
                "publication {publication} came to node {node} with {:?}, sent {sent:?}",
                message.beside
            ));
        }
        let arrival = (publication, from);
        let arrivals = &mut self.nodes[node].arrivals;
        arrivals.push(arrival);
        let times = arrivals.iter().filter(|other| **other == arrival).count();
        if times > sent.len() && self.plan.remembers() {
            self.fail(&format!("publication {publication} came from node {from} to node {node} {times} times"));
        }
    }

    /// In the end all that had to come has come, each group got each message at most once, and all hold the same groups.
    pub(super) fn check_sharing(&mut self) {
        for (node, publication) in self.expected_arrivals.clone() {
            let from = self.publications[publication].node;
            if !self.nodes[node].arrivals.contains(&(publication, from)) {
                self.fail(&format!("publication {publication} of node {from} never came to node {node}"));
            }
        }
        let mut got: BTreeSet<(Key, usize)> = BTreeSet::new();
        for session in self.nodes.iter().flat_map(|node| node.subscribers.values()) {
            let Some(group) = &session.group else { continue };
            for (publication, _) in &session.log {
                let is_new = got.insert(((group.clone(), session.filter.clone()), *publication));
                // One of QoS 0 that is sent on is not kept until it is durable where it came from.
                let counts = self.publications[*publication].qos != Qos::AtMostOnce && self.plan.remembers();
                if !is_new && counts {
                    self.fail(&format!("publication {publication} came to two members of {group}"));
                }
            }
        }
        for node in 0..self.nodes.len() {
            let own = self.shares(node);
            for remote in (0..self.nodes.len()).filter(|remote| *remote != node) {
                let side = self.nodes[remote].links.iter().find(|side| side.remote == node);
                let held: Vec<SharedSubscription> =
                    side.map(|s| s.shares.values().cloned().collect()).unwrap_or_default();
                if held != own {
                    self.fail(&format!("node {node} has {own:?}, and node {remote} holds {held:?}"));
                }
            }
        }
    }
}
