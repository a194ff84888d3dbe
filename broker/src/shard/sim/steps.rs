//! The steps of a plan as they happen to the world: what clients do, and what becomes of network and nodes.

use super::client::State;
use super::members::Parting;
use super::network::Micros;
use super::plan::{Deed, What};
use super::world::{Event, World};

/// Time that nodes take to find each other again.
const FOUND: Micros = 4_000_000;

// === impl World ===

impl World {
    /// A step of the plan.
    pub(super) fn begin(&mut self, what: What) {
        if !matches!(what, What::Client(..)) {
            self.trace.say(self.now, format_args!("{what:?}"));
        }
        match what {
            What::Client(client, deed) => {
                let client = &mut self.clients[client];
                if client.state == State::Away && client.wanted_from.is_none() {
                    client.wanted_from = Some(self.now);
                    if let Deed::Connect(connecting) = deed {
                        client.connecting = *connecting;
                        return;
                    }
                }
                client.todo.push_back(deed);
                client.wish.set();
            }
            What::Cut(one, other) => {
                self.trouble([(one, other)], 0);
                self.network.cut(one, other);
            }
            What::Shut(ways, length) => {
                self.trouble(ways.iter().copied(), length);
                ways.iter().for_each(|(from, to)| self.network.shut(*from, *to));
                self.later(length, Event::Open(ways));
            }
            What::Slow(one, other, delay) => self.network.slow_down(one, other, delay),
            What::Kill(node, length, silent) => {
                if self.nodes[node].life.is_some() {
                    self.trouble((0..self.nodes.len()).map(|other| (node, other)), length);
                    self.kill(node, silent);
                    self.later(length, Event::Back(node, silent));
                }
            }
            What::Evacuate(node, length) => self.evacuate(node, Parting::Restart(length)),
            What::Leave(which, killed, spread) => self.leave_list(which, killed, spread),
            What::Join(which, spread) => self.join_list(which, spread),
            What::Clock(node, off) => self.set_clock(node, off),
            What::Leap(cluster, off) => self.leapt[cluster] = off,
            What::Link(cluster, change, length, spread) => self.change_link(cluster, change, length, spread),
            What::Freeze(node, length) => {
                self.trouble((0..self.nodes.len()).map(|other| (node, other)), length);
                self.nodes[node].frozen_until = self.now + length;
            }
        }
    }

    /// Something stands between nodes for so long, and until they have found each other again.
    pub(super) fn trouble(&mut self, pairs: impl IntoIterator<Item = (usize, usize)>, length: Micros) {
        let until = self.now + length + FOUND;
        for (one, other) in pairs {
            for (from, to) in [(one, other), (other, one)] {
                let known = &mut self.weather.troubled[from][to];
                *known = until.max(*known);
            }
        }
    }

    pub(super) fn kill(&mut self, node: usize, silent: bool) {
        if silent {
            self.network.silence(node)
        } else {
            self.network.kill(node)
        }
        self.oracle.died(node, self.now, &self.weather);
        self.is_gone(node);
    }

    /// A node is no more.
    pub(super) fn is_gone(&mut self, node: usize) {
        self.nodes[node].life = None;
        self.nodes[node].leaving = None;
        self.weather.alive[node] = false;
        self.weather.unmoved_since[node].push(self.now);
        self.weather.lane[node] = None;
        for other in 0..self.nodes.len() {
            self.weather.ready[node][other] = None;
            self.weather.ready[other][node] = None;
            self.weather.disconnected[node][other] = Micros::MAX;
            self.weather.met[node][other] = false;
            self.weather.met[other][node] = false;
            // What it wanted is remembered; what others wanted it has to hear anew.
            self.weather.told[other][node] = None;
        }
    }
}
