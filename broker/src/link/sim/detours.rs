//! Connections between the nodes of two clusters: dialled, by way of others, broken; and nodes that die.

use super::clusters::{Clusters, Event, Member};
use super::network::{End, Packet, Wire};

// === impl Clusters ===

impl Clusters {
    pub(super) fn tick(&mut self, node: usize) {
        let next = self.now + self.random.millis(200, 300);
        self.at(next, Event::Tick(node));
        if !self.nodes[node].up {
            return;
        }
        self.call(node, |link, out, now| link.tick(out, now));
        self.dial(node);
        self.look_after_ways(node);
    }

    /// Wires of a node that stand at its end, and its other ends.
    fn open_wires(&self, node: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let life = self.nodes[node].life;
        self.wires.iter().enumerate().filter_map(move |(index, wire)| {
            let at = wire.ends.iter().position(|end| end.node == node && end.life == life && end.open)?;
            Some((index, wire.ends[1 - at].node))
        })
    }

    fn is_way(&self, wire: usize) -> bool {
        self.ways.iter().any(|(way, _, _)| *way == wire)
    }

    fn dial(&mut self, node: usize) {
        let member = &self.nodes[node];
        let life = member.life;
        let ours = |end: &End| end.node == node && end.life == life;
        let stands = (0..self.wires.len()).any(|wire| {
            !self.is_way(wire) && ours(&self.wires[wire].ends[0]) && self.wires[wire].is_dialling_or_open()
        });
        let alive: Vec<usize> =
            (0..self.nodes.len()).filter(|o| self.nodes[*o].cluster != member.cluster && self.nodes[*o].up).collect();
        let (random, ready) = (self.random.next(), member.side.link.is_ready(self.now));
        let one_takes_all = self.shape.one_takes_all;
        let Some((dialling, next)) = &mut self.nodes[node].side.dialling else { return };
        if ready {
            dialling.succeeded();
        }
        if stands || self.now < *next || alive.is_empty() {
            return;
        }
        *next = self.now + dialling.failed(random);
        let there = if one_takes_all { alive[0] } else { alive[random as usize % alive.len()] };
        self.open(node, there, None);
    }

    /// Opens a connection, directly or over one of a third node.
    fn open(&mut self, from: usize, to: usize, by: Option<(usize, usize)>) {
        let end = |node: usize| End { node, life: self.nodes[node].life, link: 0, open: false };
        self.wires.push(Wire::new([end(from), end(to)]));
        let wire = self.wires.len() - 1;
        if let Some((carrier, between)) = by {
            self.ways.push((wire, carrier, between));
        }
        self.tell(|| format!("node {from} dials node {to}: conn {wire}, by {by:?}"));
        self.send_to(wire, 0, Packet::Connected);
        self.send_to(wire, 1, Packet::Connected);
    }

    /// Opens a way if a node has no connection of its own, closes it if it has, and ends those whose carrier is gone.
    fn look_after_ways(&mut self, node: usize) {
        let open: Vec<(usize, usize)> = self.open_wires(node).collect();
        let has_own = open.iter().any(|(wire, _)| !self.is_way(*wire));
        let own_ways: Vec<usize> = (0..self.wires.len())
            .filter(|wire| self.is_way(*wire) && self.wires[*wire].ends[0].node == node)
            .filter(|wire| self.wires[*wire].ends[0].life == self.nodes[node].life)
            .filter(|wire| self.wires[*wire].is_dialling_or_open())
            .collect();
        if has_own {
            own_ways.iter().for_each(|wire| self.end_wire(*wire));
        } else if own_ways.is_empty() {
            let cluster = self.nodes[node].cluster;
            let peers =
                (0..self.nodes.len()).filter(|o| *o != node && self.nodes[*o].cluster == cluster && self.nodes[*o].up);
            let carriers: Vec<(usize, usize, usize)> = peers
                .flat_map(|peer| self.open_wires(peer).map(move |(wire, there)| (peer, wire, there)))
                .filter(|(_, wire, _)| !self.is_way(*wire))
                .collect();
            if !carriers.is_empty() {
                let (peer, wire, there) = *self.random.pick(&carriers);
                self.open(node, there, Some((wire, peer)));
            }
        }
        let over: Vec<usize> = self
            .ways
            .iter()
            .filter(|(way, carrier, between)| {
                let carried = self.open_wires(*between).any(|(wire, _)| wire == *carrier) && self.nodes[*between].up;
                !carried && self.wires[*way].is_open()
            })
            .map(|(way, _, _)| *way)
            .collect();
        over.into_iter().for_each(|way| self.end_wire(way));
    }

    fn end_wire(&mut self, wire: usize) {
        for to in 0..2 {
            let keep = self.random.below(self.wires[wire].on_the_way(to) + 1);
            self.wires[wire].cut(to, keep);
            self.send_to(wire, to, Packet::Closed);
        }
    }

    pub(super) fn cut(&mut self) {
        let open: Vec<usize> = (0..self.wires.len()).filter(|wire| self.wires[*wire].is_open()).collect();
        if open.is_empty() {
            return;
        }
        let wire = *self.random.pick(&open);
        self.tell(|| format!("conn {wire} breaks"));
        match self.random.below(4) {
            0 => (0..2).for_each(|to| self.wires[wire].swallow(to)),
            1 => {
                let to = self.random.below(2);
                self.wires[wire].swallow(to);
            }
            _ => self.end_wire(wire),
        }
    }

    pub(super) fn die(&mut self) {
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
        let after = self.now + self.random.millis(10, 3000);
        self.at(after, Event::Boot(node));
    }

    pub(super) fn boot(&mut self, node: usize) {
        self.tell(|| format!("node {node} lives again"));
        let (cluster, life) = (self.nodes[node].cluster, self.nodes[node].life + 1);
        let side = self.side(node, cluster, life);
        let (seen, log) = Default::default();
        self.nodes[node] = Member { cluster, up: true, life, side, seen, log };
    }
}
