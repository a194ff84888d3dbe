//! Links of the simulation that are paused, deleted and made again, or receive less for a while, while messages cross.

use tombolo_broker_api as api;

use super::network::Micros;
use super::plan::LinkChange;
use super::world::{Event, World};
use crate::clock::AHEAD_MAX;
use crate::shard::link::{LinkRow, Target};

/// Of what is dropped, what was acknowledged to somebody.
const KEPT: [&str; 6] = ["queue_full", "packet_too_large", "SpoolOverwritten", "SpoolFull", "SpoolAged", "TooLarge"];

// === impl World ===

impl World {
    /// What has become of the link of a cluster.
    pub(super) fn link_changes_of(&self, cluster: usize) -> Vec<LinkChange> {
        self.link_changes.iter().filter(|(at, _)| *at == cluster).map(|(_, change)| *change).collect()
    }

    /// The link of a cluster is changed for so long, of which its nodes hear within `spread`.
    pub(super) fn change_link(&mut self, cluster: usize, change: LinkChange, length: Micros, spread: Micros) {
        self.link_changes.push((cluster, change));
        if change == LinkChange::Narrow {
            self.oracle.narrowed(cluster);
            self.weather.narrowed[cluster] = Micros::MAX;
        }
        self.spread_link(cluster, spread);
        self.later(length, Event::LinkChanged(cluster, change, spread));
    }

    /// It is as it was, but for other changes.
    pub(super) fn restore_link(&mut self, cluster: usize, change: LinkChange, spread: Micros) {
        if let Some(at) = self.link_changes.iter().position(|known| *known == (cluster, change)) {
            self.link_changes.remove(at);
            self.trace.say(self.now, format_args!("the link of cluster {cluster} is over with {change:?}"));
            self.spread_link(cluster, spread);
        }
    }

    fn spread_link(&mut self, cluster: usize, spread: Micros) {
        for node in self.plan.members(cluster) {
            let at = self.random.next() % (spread + 1);
            self.later(at, Event::HearLink(node));
        }
    }

    /// A node hears what has become of its link.
    pub(super) fn hear_link(&mut self, node: usize) {
        let cluster = self.plan.cluster(node);
        let changes = self.link_changes_of(cluster);
        let before = std::mem::replace(&mut self.nodes[node].link_changes, changes.clone());
        if let Some(life) = &self.nodes[node].life
            && before != changes
        {
            self.trace.say(self.now, format_args!("node {node} hears of its link: {changes:?}"));
            life.send_links(self.plan.links_of(cluster, &changes));
            self.nodes[node].link_unread = true;
            if changes.contains(&LinkChange::Delete) && !before.contains(&LinkChange::Delete) {
                self.oracle.unlinked(node, &self.weather);
                // What the others want it has to hear anew.
                self.weather.told.iter_mut().for_each(|told| told[node] = None);
            }
        }
        let is_narrow = |node: usize| self.nodes[node].link_changes.contains(&LinkChange::Narrow);
        if self.weather.narrowed[cluster] == Micros::MAX
            && !self.link_changes.contains(&(cluster, LinkChange::Narrow))
            && !self.plan.members(cluster).any(is_narrow)
        {
            self.weather.narrowed[cluster] = self.now;
        }
    }

    /// Whether a node has taken its link as it is, and may have heard by it what the other cluster wants.
    pub(super) fn has_heard(&self, node: usize) -> bool {
        let Some(life) = &self.nodes[node].life else { return false };
        let links = self.plan.links_of(self.plan.cluster(node), &self.nodes[node].link_changes);
        let expected = links.first();
        let mut rows = life.shards.iter().flat_map(|shard| shard.links.iter().filter_map(|slot| shard.link_row(*slot)));
        let is_so = |row: &LinkRow| matches!(&row.target, Target::Cluster(link) if Some(&**link) == expected);
        let has_read = !self.nodes[node].link_unread && rows.any(is_so);
        self.plan.link_changes == 0 || has_read && life.link().is_some_and(|link| link.in_sync)
    }

    /// All links are as they were.
    pub(super) fn settle_links(&mut self) {
        if self.plan.far > 0 {
            self.link_changes.clear();
            (0..self.nodes.len()).for_each(|node| self.hear_link(node));
        }
    }

    /// The wall clock of a node is off by so much.
    pub(super) fn set_clock(&mut self, node: usize, off: i64) {
        self.nodes[node].clock_off = off;
        self.nodes[node].strayed |= self.is_astray(node);
    }

    /// Whether a node is so far ahead that nobody follows it.
    pub(super) fn is_astray(&self, node: usize) -> bool {
        self.nodes[node].clock_off > AHEAD_MAX.cast_signed() / 2
    }

    /// Clocks that strayed are set right. Stamps never go back: a node that was ahead begins anew.
    pub(super) fn settle_clocks(&mut self) {
        for node in self.members() {
            if self.nodes[node].clock_off.unsigned_abs() > AHEAD_MAX / 2 {
                self.nodes[node].clock_off = 0;
            }
            if self.nodes[node].strayed && self.nodes[node].life.is_some() {
                self.kill(node, false);
            }
        }
    }

    /// Connections that nodes of the two clusters dial.
    pub(super) fn links(&self) -> usize {
        match (self.plan.far, self.plan.one_dials) {
            (0, _) => 0,
            (_, true) => self.members_of(1).len(),
            (_, false) => self.members().len(),
        }
    }

    /// Messages that were acknowledged and dropped, as nodes have counted them.
    pub(super) fn counted(&self) -> u64 {
        let lives = || self.nodes.iter().filter_map(|node| node.life.as_ref());
        let shards = lives().flat_map(|life| &life.shards).map(|shard| shard.core.counters.dropped_by_label());
        let peers = lives().flat_map(|life| {
            let others = (0..self.nodes.len()).filter_map(|other| life.peer(&super::node::name(other)));
            others.map(|peer| peer.messages_dropped)
        });
        let links = lives().filter_map(|life| life.link()).map(|link: api::LinkStatus| link.messages_dropped);
        let all = shards.chain(peers).chain(links).flatten();
        all.filter(|(why, _)| KEPT.contains(&&**why)).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tombolo_broker_api as api;

    use crate::clock::Millis;
    use crate::shard::link::Draining;
    use crate::shard::sim::network::Network;
    use crate::shard::sim::node::{Life, Seat};
    use crate::shard::sim::plan::Plan;
    use crate::shard::sim::world::attach_link;
    use crate::shard::{Control, Tuning};

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_made_again_while_it_drains_dials_anew() {
        let links = || Plan::linked(1, 1).links_of(0, &[]);
        let tuning = Arc::new(Tuning { mqtt: api::Mqtt::default(), cluster: api::ClusterTuning::default() });
        let seat = Seat { cluster: 0, node: 0, members: &[0], links: links() };
        let mut life = Life::start(seat, 1, &tuning, 1, 1);
        let tick = || tokio::time::advance(Duration::from_millis(300));
        life.turn(0);
        tick().await;
        life.turn(0);
        let link = life.requests.try_recv().expect("it dials").link;
        let slot = life.shards[0].link_of(&link).expect("it is there");
        let row = life.shards[0].link_row_mut(slot).expect("it is a link");
        // It is removed, has something to send, and what it dialled comes through.
        row.draining = Some(Draining { until: Millis::NEVER, patient: false });
        let (ours, _theirs) = Network::new(1).connect([0, 1], 1 << 16);
        life.shared.inboxes[0].send(Control::AttachLink(attach_link(link.clone(), ours, true)));
        life.send_links(links());
        life.turn(0);
        assert_eq!(life.shards[0].link_of(&link), Some(slot), "it goes on");
        tick().await;
        life.turn(0);
        assert!(life.requests.try_recv().is_ok(), "nobody dials, and nobody ever will");
    }
}
