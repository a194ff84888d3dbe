//! The metrics of the other nodes of the cluster, as this node sees them.

use tombolo_broker_api::{PeerState, PeerStatus};

use super::text::Text;

const STATES: [(&str, PeerState); 3] =
    [("unreachable", PeerState::Unreachable), ("suspended", PeerState::Suspended), ("connected", PeerState::Connected)];

/// Name, help, and how to read it; a gauge that is `None` has no sample.
type Gauge = (&'static str, &'static str, fn(&PeerStatus) -> Option<f64>);

const GAUGES: [Gauge; 9] = [
    ("tombolo_peer_ready", "1 when a heartbeat crossed and came back, and both hold the same of each other.", |peer| {
        Some(f64::from(u8::from(peer.ready)))
    }),
    ("tombolo_peer_round_trip_seconds", "Last heartbeat's way there and back.", |peer| {
        peer.round_trip_micros.map(|micros| micros as f64 / 1e6)
    }),
    ("tombolo_peer_filters_told", "Filters and shared subscriptions that the node was told of.", |peer| {
        Some(peer.filters_told as f64)
    }),
    ("tombolo_peer_filters_held", "Filters and shared subscriptions that the node told us of.", |peer| {
        Some(peer.filters_held as f64)
    }),
    ("tombolo_peer_sessions_claimed", "Persistent sessions that the node says it has.", |peer| {
        Some(peer.sessions_claimed as f64)
    }),
    ("tombolo_peer_outbox_messages", "Messages that wait for the node.", |peer| Some(peer.outbox.messages as f64)),
    ("tombolo_peer_outbox_bytes", "Bytes of messages that wait for the node.", |peer| Some(peer.outbox.bytes as f64)),
    ("tombolo_peer_outbox_oldest_seconds", "Age of the oldest message that waits for the node.", |peer| {
        Some(peer.outbox.oldest_seconds as f64)
    }),
    ("tombolo_peer_held_bytes", "Bytes that members of groups at the node have not acknowledged.", |peer| {
        Some(peer.held_bytes as f64)
    }),
];

/// Name, help, and how to read it.
type Counter = (&'static str, &'static str, fn(&PeerStatus) -> u64);

const COUNTERS: [Counter; 3] = [
    ("tombolo_peer_messages_sent_total", "Messages that the node acknowledged; QoS 0: that were written.", |peer| {
        peer.messages_sent
    }),
    ("tombolo_peer_messages_received_total", "Messages taken from the node.", |peer| peer.messages_received),
    (
        "tombolo_peer_messages_let_go_total",
        "Messages that are lost if the node dies, since too many were not acknowledged there.",
        |peer| peer.messages_let_go,
    ),
];

/// Appends the families of all peers.
pub fn render(text: &mut Text, peers: &[PeerStatus]) {
    let mut state = text.gauge("tombolo_peer_state", "1 for the state that the node is in, 0 for the others.");
    for peer in peers {
        for (label, value) in STATES {
            state.sample(&[("peer", &peer.node), ("state", label)], u8::from(peer.state == value));
        }
    }
    for (name, help, read) in GAUGES {
        let mut family = text.gauge(name, help);
        for peer in peers {
            if let Some(value) = read(peer) {
                family.sample(&[("peer", &peer.node)], value);
            }
        }
    }
    for (name, help, read) in COUNTERS {
        let mut family = text.counter(name, help);
        for peer in peers {
            family.sample(&[("peer", &peer.node)], read(peer));
        }
    }
    let mut dropped =
        text.counter("tombolo_peer_messages_dropped_total", "Messages for the node or from it that were dropped.");
    for peer in peers {
        for (reason, count) in &peer.messages_dropped {
            dropped.sample(&[("peer", &peer.node), ("reason", reason)], count);
        }
    }
}
