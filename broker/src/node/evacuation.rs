//! How far a node is emptied, as status tells it and as a node that is to stop waits for it.

use std::time::Duration;

use tombolo_broker_api::{EvacuationPhase, EvacuationStatus, PeerState, Status};

use super::status::Node;
use crate::admin::Source;
use crate::clock::Millis;

/// How often a node that leaves looks whether it is empty.
const LOOK: Duration = Duration::from_millis(100);
/// A node that leaves and finds no other that takes its sessions for so long stops as it is: the whole cluster stops.
const FORLORN: Duration = Duration::from_secs(3);

// === impl Node ===

impl Node {
    /// Where the evacuation stands, of which the rest of the status is known.
    pub(super) fn evacuation(&self, status: &Status) -> Option<EvacuationStatus> {
        let shared = self.shared();
        let (since, unix) = shared.evacuation.since()?;
        let timeout = Millis::from(self.config().loaded.config.tuning.cluster.evacuation.timeout);
        let now = shared.clock.now();
        let until = shared.evacuation.leaves_by().map_or(since + timeout, |by| by.min(since + timeout));
        let outboxes = status.peers.iter().map(|peer| peer.outbox.messages);
        let spools = status.links.iter().map(|link| link.spool.messages);
        let left = EvacuationStatus {
            phase: EvacuationPhase::Evacuating,
            since_unix_seconds: unix.0,
            deadline_unix_seconds: unix.0 + until.since(since).0 / 1000,
            connections: status.connections,
            sessions: status.sessions,
            draining: status.session_moves.unsettled,
            waiting_messages: outboxes.chain(spools).sum(),
            moved: shared.evacuation.moved(),
        };
        Some(EvacuationStatus { phase: phase(&left, now >= until), ..left })
    }

    /// Empties the node, and returns when nothing is left, when `timeout` or `stopTimeout` is over, or when no other node takes
    /// what it has.
    pub async fn leave(&self) {
        let shared = self.shared();
        if self.config().cluster.as_ref().is_none_or(|cluster| cluster.others.is_empty()) {
            return;
        }
        let (now, config) = (shared.clock.now(), self.config());
        let evacuation = &config.loaded.config.tuning.cluster.evacuation;
        shared.evacuation.leave(now, now + Millis::from(evacuation.stop_timeout.unwrap_or(evacuation.timeout)));
        shared.inboxes.iter().for_each(|inbox| inbox.ready().nudge());
        let mut forlorn = Duration::ZERO;
        loop {
            let status = self.status().await;
            let Some(evacuation) = &status.evacuation else { return };
            match evacuation.phase {
                EvacuationPhase::Evacuating => {}
                EvacuationPhase::Empty => return tracing::info!("The node is empty."),
                EvacuationPhase::TimedOut => {
                    return tracing::warn!(
                        clients = evacuation.connections,
                        sessions = evacuation.sessions,
                        draining = evacuation.draining,
                        messages = evacuation.waiting_messages,
                        "The node stops though it is not empty: the time for it is over."
                    );
                }
            }
            let refuge = |peer: &tombolo_broker_api::PeerStatus| {
                peer.state == PeerState::Connected && !shared.evacuation.is_away(&peer.node, shared.clock.now())
            };
            forlorn = if status.peers.iter().any(refuge) { Duration::ZERO } else { forlorn + LOOK };
            if forlorn >= FORLORN {
                return tracing::warn!("The node stops as it is: no other node takes its sessions.");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn phase(left: &EvacuationStatus, late: bool) -> EvacuationPhase {
    let EvacuationStatus {
        phase: _,
        since_unix_seconds: _,
        deadline_unix_seconds: _,
        connections,
        sessions,
        draining,
        waiting_messages,
        moved: _,
    } = left;
    match [connections, sessions, draining, waiting_messages].into_iter().all(|count| *count == 0) {
        true => EvacuationPhase::Empty,
        false if late => EvacuationPhase::TimedOut,
        false => EvacuationPhase::Evacuating,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_empty_when_nothing_at_all_is_left_and_late_only_if_something_is() {
        let empty = EvacuationStatus { moved: 7, ..EvacuationStatus::default() };
        assert_eq!(phase(&empty, true), EvacuationPhase::Empty);
        let some: [fn(&mut EvacuationStatus); 4] = [
            |left| left.connections = 1,
            |left| left.sessions = 1,
            |left| left.draining = 1,
            |left| left.waiting_messages = 1,
        ];
        for put in some {
            let mut left = empty.clone();
            put(&mut left);
            assert_eq!(phase(&left, false), EvacuationPhase::Evacuating, "{left:?}");
            assert_eq!(phase(&left, true), EvacuationPhase::TimedOut, "{left:?}");
        }
    }
}
