//! Who is in the list of the cluster: nodes that leave it for good, and nodes that join it, while all others run.

use super::network::Micros;
use super::node::{Life, name};
use super::world::{Event, World};
use crate::shard::{LinkKey, Peer, Shard};

/// What becomes of a node that is being emptied, once it is.
#[derive(Clone, Copy, Debug)]
pub enum Parting {
    /// It is away for so long.
    Restart(Micros),
    /// It leaves for good, of which the others hear within so long.
    ForGood(Micros),
}

// === impl World ===

impl World {
    /// The nodes of the list.
    pub(super) fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].member).collect()
    }

    /// One of the nodes leaves the list for good, unless too few would be left or another one is about to: emptied first, or
    /// killed and taken out so much later, of which the others hear within `spread`.
    pub(super) fn leave_list(&mut self, which: usize, killed: Option<(Micros, bool)>, spread: Micros) {
        let members = self.members();
        let node = members[which % members.len()];
        let is_going = |node: &usize| self.nodes[*node].leaving.is_some() || self.nodes[*node].condemned;
        if members.len() <= MEMBERS_MIN || members.iter().any(is_going) || self.nodes[node].life.is_none() {
            return;
        }
        self.trace.say(self.now, format_args!("node {node} leaves the list, killed {killed:?}"));
        match killed {
            None => self.evacuate(node, Parting::ForGood(spread)),
            Some((length, silent)) => {
                self.kill(node, silent);
                self.nodes[node].condemned = true;
                self.trouble((0..self.nodes.len()).map(|other| (node, other)), length + spread);
                self.later(length, Event::Unlist(node, spread));
            }
        }
    }

    /// A node that is gone is taken out of the list.
    pub(super) fn unlist(&mut self, node: usize, spread: Micros) {
        if self.nodes[node].member {
            self.trace.say(self.now, format_args!("node {node} is out of the list"));
            (self.nodes[node].member, self.nodes[node].condemned) = (false, false);
            self.left_list += 1;
            self.spread_list(node, spread);
        }
    }

    /// A node that is not in the list joins it: one that never was, or one that has left, with nothing of what it had.
    pub(super) fn join_list(&mut self, which: usize, spread: Micros) {
        let absent: Vec<usize> = (0..self.nodes.len()).filter(|node| !self.nodes[*node].member).collect();
        if absent.is_empty() {
            return;
        }
        let node = absent[which % absent.len()];
        self.trace.say(self.now, format_args!("node {node} joins the list"));
        self.nodes[node].member = true;
        self.joined_list += 1;
        self.trouble((0..self.nodes.len()).map(|other| (node, other)), spread);
        self.spread_list(node, spread);
        let at = self.random.next() % (spread + 1);
        self.later(at, Event::Back(node, true));
    }

    fn spread_list(&mut self, but: usize, spread: Micros) {
        for other in self.members().into_iter().filter(|other| *other != but) {
            let at = self.random.next() % (spread + 1);
            self.later(at, Event::List(other));
        }
    }

    /// A node hears of the list as it is now.
    pub(super) fn hear_list(&mut self, node: usize) {
        let members = self.members();
        let Some(life) = self.nodes[node].life.as_ref().filter(|_| members.contains(&node)) else { return };
        self.trace.say(self.now, format_args!("node {node} hears of the list {members:?}"));
        life.set_list(node, &members);
        for other in (0..self.nodes.len()).filter(|other| !members.contains(other)) {
            self.weather.ready[node][other] = None;
            self.weather.disconnected[node][other] = Micros::MAX;
        }
    }

    /// Whoever is about to leave has left, or stays; all hear of the list as it is.
    pub(super) fn settle_list(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].condemned {
                self.unlist(node, 0);
            }
        }
        (0..self.nodes.len()).for_each(|node| self.hear_list(node));
    }

    /// What a node still has of one that is not in the list.
    pub(super) fn remnants(&self) -> Option<String> {
        let members = self.members();
        members.iter().find_map(|node| {
            let life = self.nodes[*node].life.as_ref()?;
            let mut gone = (0..self.nodes.len()).filter(|other| !members.contains(other));
            gone.find_map(|other| Some(format!("node {node} has {} of node {other}", life.knows(other)?)))
        })
    }
}

/// So many nodes stay at least.
const MEMBERS_MIN: usize = 2;

// === impl Life ===

impl Life {
    /// These are the nodes of the cluster now.
    pub(super) fn set_list(&self, node: usize, members: &[usize]) {
        let others = members.iter().filter(|other| **other != node);
        let peers = others.map(|other| Peer { node: name(*other), dials: node < *other });
        self.shared.set_peers(peers.collect());
    }

    /// Whether it has a row for another node, even one that is on its way out.
    pub(super) fn has_row_of(&self, other: usize) -> bool {
        let key = LinkKey::Peer(name(other));
        let mut rows = self.shards.iter().flat_map(|shard| shard.links.iter().filter_map(|slot| shard.link_row(*slot)));
        rows.any(|row| row.key == key)
    }

    /// The first thing that it knows of another node.
    fn knows(&self, other: usize) -> Option<&'static str> {
        let name = name(other);
        let any = |holds: &dyn Fn(&Shard) -> bool| self.shards.iter().any(holds);
        let known = [
            ("a row", self.has_row_of(other)),
            ("claims", self.shared.directory().knows(&name)),
            ("a hearer of claims", any(&|shard| shard.claims.as_ref().is_some_and(|claims| claims.knows(&name)))),
            (
                "a place among the nodes that sessions move to",
                any(&|shard| shard.moves.as_ref().is_some_and(|moves| moves.knows(&name))),
            ),
            ("a receiver", any(&|shard| shard.peer_names.iter().any(|(known, _)| *known == name))),
            ("an evacuation", self.shared.evacuation.is_heard_of(&name)),
        ];
        known.into_iter().find(|(_, is)| *is).map(|(what, _)| what)
    }
}
