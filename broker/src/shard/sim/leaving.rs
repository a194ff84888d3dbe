//! Nodes of the simulation that are emptied: they stop when nothing is left in them, and nothing may be lost by that.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::members::Parting;
use super::node::{Life, name};
use super::world::{Event, World};
use crate::shard::row::Custody;

// === impl World ===

impl World {
    /// A node is to be emptied, and to stop then.
    pub(super) fn evacuate(&mut self, node: usize, parting: Parting) {
        if let Some(life) = &self.nodes[node].life {
            life.set_leaving(true);
            self.nodes[node].leaving = Some(parting);
        }
        // It sends them away, and what they have not acknowledged goes to others before they hear of it.
        for client in self.clients.iter().filter(|client| client.node == node && client.expiry == 0) {
            client.session.into_iter().for_each(|session| self.oracle.sessions[session].ends_at = Some(self.now));
        }
    }

    /// Nodes that are being emptied are not, any more.
    pub(super) fn call_back(&mut self) {
        for node in &mut self.nodes {
            if node.leaving.take().is_some()
                && let Some(life) = &node.life
            {
                life.set_leaving(false);
            }
        }
    }

    /// Stops a node that is to be emptied, if it is empty. What it had is elsewhere: it takes nothing along.
    pub(super) fn stop_if_empty(&mut self, node: usize) {
        let Some(parting) = self.nodes[node].leaving else { return };
        let guests = self.nodes[node].guests.load(Ordering::Acquire);
        if guests > 0 || !self.nodes[node].life.as_ref().is_some_and(|life| life.is_empty(self.nodes.len())) {
            return;
        }
        self.trace.say(self.now, format_args!("node {node} is empty, and stops"));
        self.emptied += 1;
        for at in 0..self.clients.len() {
            if let Some(session) = self.clients[at].session
                && let Some(home) = self.home_of(&self.clients[at].id())
            {
                self.oracle.moved(session, home, self.now, &self.weather);
            }
        }
        let (Parting::Restart(length) | Parting::ForGood(length)) = parting;
        self.trouble((0..self.nodes.len()).map(|other| (node, other)), length);
        // Who has just begun may lack what it retained.
        self.oracle.retained_may_go(node, self.now, &self.weather);
        // What it said last arrives.
        self.is_gone(node);
        match parting {
            Parting::Restart(length) => self.later(length, Event::Back(node, false)),
            Parting::ForGood(spread) => self.unlist(node, spread),
        }
    }

    /// The node that has a client's session.
    fn home_of(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| {
            let rows = node.life.iter().flat_map(|life| &life.shards).flat_map(|shard| &shard.core.rows);
            rows.into_iter()
                .any(|(_, row)| row.custody != Custody::Given && row.client().is_some_and(|client| &*client.id == id))
        })
    }
}

// === impl Life ===

impl Life {
    fn set_leaving(&self, leaving: bool) {
        self.shared.evacuation.configure(leaving, BTreeSet::new(), self.shared.clock.now());
        self.shared.inboxes.iter().for_each(|inbox| inbox.ready().nudge());
    }

    /// Whether nothing is left, as a node that stops looks at it.
    fn is_empty(&self, nodes: usize) -> bool {
        let unsettled = || self.shards.iter().map(|shard| shard.moves_report().0.unsettled).sum::<usize>();
        let others = (0..nodes).filter_map(|other| self.peer(&name(other)));
        self.shared.sessions.load(Ordering::Acquire) == 0
            && unsettled() == 0
            && self.shards.iter().all(|shard| shard.core.rows.iter().all(|(_, row)| row.output.is_empty()))
            && others.map(|peer| peer.outbox.messages).sum::<u64>() == 0
            && self.link().is_none_or(|link| link.spool.messages == 0)
            && self.is_handed_over()
    }
}
