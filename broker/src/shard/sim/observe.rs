//! What is seen of a node after each of its turns, and what it says of the others.

use super::network::Micros;
use super::node::Glance;
use super::world::{Node, World};

// === impl World ===

impl World {
    /// Takes note of what a node says of the others.
    pub(super) fn observe(&mut self, node: usize) {
        let Self { now, nodes, weather, trace, plan, oracle, .. } = self;
        let now = *now;
        let Node { life, moves, .. } = &mut nodes[node];
        let Some(life) = life else { return };
        let handed_over = life.is_handed_over();
        if plan.sessions_move {
            let before = std::mem::replace(moves, !handed_over || !life.is_unmoved());
            if !*moves {
                weather.unmoved[node] = now;
                if before {
                    weather.unmoved_since[node].push(now);
                }
            }
        }
        for other in plan.members(plan.cluster(node)).filter(|other| *other != node) {
            let Some(Glance { connected, suspended, ready, is_empty }) = life.glance(other) else {
                if handed_over && !life.has_row_of(other) {
                    weather.empty[node][other] = now;
                }
                continue;
            };
            if suspended {
                if !weather.met[node][other] && weather.suspended[node][other] <= weather.since[node] {
                    oracle.gave_up(node, other, weather);
                }
                weather.suspended[node][other] = now;
            }
            let known = &mut weather.disconnected[node][other];
            if connected != (*known != Micros::MAX) {
                *known = if connected { now } else { Micros::MAX };
                weather.met[node][other] |= connected;
                trace.say(now, format_args!("node {node} sees {other} connected: {connected}"));
            }
            if ready && weather.disconnected[other][node] != Micros::MAX {
                weather.ready[node][other] = Some(now);
            }
            if is_empty && handed_over {
                weather.empty[node][other] = now;
            }
        }
        self.observe_link(node, handed_over);
    }
}
