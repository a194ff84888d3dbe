//! Who is in the list of the cluster: nodes that leave it for good, and nodes that join it, while all others run.

use super::network::Micros;
use super::node::{Life, name};
use super::plan::Sabotage;
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

    /// Those of one cluster.
    pub(super) fn members_of(&self, cluster: usize) -> Vec<usize> {
        self.members().into_iter().filter(|node| self.plan.cluster(*node) == cluster).collect()
    }

    /// One of the nodes leaves the list for good, unless too few would be left or another one is about to: emptied first, or
    /// killed and taken out so much later, of which the others hear within `spread`.
    pub(super) fn leave_list(&mut self, which: usize, killed: Option<(Micros, bool)>, spread: Micros) {
        let members = self.members();
        let node = members[which % members.len()];
        let is_going = |node: &usize| self.nodes[*node].leaving.is_some() || self.nodes[*node].condemned;
        let cluster = self.plan.cluster(node);
        let least = if self.plan.far > 0 { 1 } else { MEMBERS_MIN };
        if self.members_of(cluster).len() <= least || members.iter().any(is_going) || self.nodes[node].life.is_none() {
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
        let members = self.members_of(self.plan.cluster(node));
        let Some(life) = self.nodes[node].life.as_mut().filter(|_| members.contains(&node)) else { return };
        if self.plan.sabotage == Some(Sabotage::LoseLeft) {
            (0..self.weather.lives.len())
                .filter(|other| !members.contains(other))
                .for_each(|other| life.lose_left(other));
        }
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

/// So many nodes stay at least, of a cluster without a link.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tombolo_broker_api as api;

    use super::*;
    use crate::shard::moves::news::News;
    use crate::shard::sim::network::{End, Network};
    use crate::shard::sim::node::Seat;
    use crate::shard::sim::world::attach_link;
    use crate::shard::{Control, Tuning};

    fn life(members: &[usize], shards: usize) -> Life {
        let tuning = Arc::new(Tuning { mqtt: api::Mqtt::default(), cluster: api::ClusterTuning::default() });
        let seat = Seat { cluster: 0, node: 0, members, links: Vec::new() };
        Life::start(seat, shards, &tuning, 1, 1)
    }

    #[test]
    fn a_node_that_is_taken_out_and_put_in_again_while_it_is_dialled_has_one_connection() {
        let mut life = life(&[0, 1], 1);
        let network = Network::new(1);
        for members in [[0].as_slice(), &[0, 1]] {
            life.turn(0);
            life.set_list(0, members);
        }
        life.turn(0);
        let (ours, _theirs): (Vec<End>, Vec<End>) = (0..2).map(|_| network.connect([0, 1], 1 << 16)).unzip();
        for end in ours {
            assert!(life.requests.try_recv().is_ok(), "it dials twice");
            life.shared.inboxes[0].send(Control::AttachLink(attach_link(LinkKey::Peer(name(1)), end, true)));
        }
        life.turn(0);
        let row = life.shards[0].links.iter().find_map(|slot| life.shards[0].link_row(*slot));
        assert_eq!(row.map(|row| row.connections.len()), Some(1));
    }

    #[test]
    fn a_node_is_not_ready_before_each_shard_has_taken_the_list_of_the_others() {
        let mut alone = life(&[0], 2);
        for shard in 0..2 {
            assert!(!alone.is_ready(), "who else there is was not taken by shard {shard}");
            alone.turn(shard);
        }
        assert!(alone.is_ready(), "there is nobody to be met");
        let mut life = life(&[0, 1], 2);
        let home = life.shard_of("node-1");
        for shard in [1 - home, home] {
            assert!(!life.is_ready(), "the other node is known, and has no place yet");
            life.turn(shard);
        }
        assert!(!life.is_ready(), "the other node was not met");
    }

    #[test]
    fn news_of_a_connection_that_comes_behind_the_new_list_does_not_bring_the_node_back() {
        let mut life = life(&[0, 1], 2);
        let home = life.shard_of("node-1");
        let turn = |life: &mut Life, shard: usize| (0..3).for_each(|_| life.turn(shard));
        [home, 1 - home, home].iter().for_each(|shard| turn(&mut life, *shard));
        assert!(life.knows(1).is_some());
        // Its row has a connection, of which the other shard has not heard when it hears of the list.
        life.shards[home].spread(&News::Connected { node: name(1), life: 7, shards: 1 });
        life.set_list(0, &[0]);
        [1 - home, home, 1 - home].iter().for_each(|shard| turn(&mut life, *shard));
        assert_eq!(life.knows(1), None);
        // In the list again, it is one that was never met.
        life.shards[home].spread(&News::Connected { node: name(2), life: 7, shards: 1 });
        life.set_list(0, &[0, 1, 2]);
        [1 - home, home, 1 - home].iter().for_each(|shard| turn(&mut life, *shard));
        let moves = |shard: usize| life.shards[shard].moves.as_ref().expect("nothing moves now");
        assert!((0..2).all(|shard| moves(shard).knows("node-1") && moves(shard).reachable() == [name(2)]));
    }
}
