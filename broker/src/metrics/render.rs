//! All metrics of a node as text: a pure function of counters, events and status.

use std::collections::BTreeMap;

use tombolo_broker_api::{LinkState, LinkStatus, Status};

use super::text::Text;
use super::{Closed, Counters, Dropped, Events, Refused, moves, peers};

/// Renders everything; gauges of clients and links come from `status`, rates from `counters` and `events`.
pub fn render(counters: &Counters, events: &Events, status: &Status) -> String {
    let mut text = Text::default();
    node(&mut text, status, events);
    clients(&mut text, counters, status);
    traffic(&mut text, counters);
    refusals(&mut text, events);
    listeners(&mut text, status);
    links(&mut text, &status.links);
    peers::render(&mut text, &status.peers);
    moves::render(&mut text, &status.session_moves);
    moves::render_evacuation(&mut text, status.evacuation.as_ref());
    text.finish()
}

fn node(text: &mut Text, status: &Status, events: &Events) {
    let labels = [
        ("version", &*status.version),
        ("cluster", &*status.cluster_name),
        ("cluster_id", &*status.cluster_id),
        ("node", &*status.node_name),
    ];
    text.gauge("tombolo_info", "Always 1; who this node is.").sample(&labels, 1);
    text.gauge("tombolo_uptime_seconds", "Seconds since the start.").value(status.uptime_seconds);
    text.gauge("tombolo_shards", "Threads that serve clients.").value(status.shards);
    let (taken, refused) = events.reloads();
    let mut reloads = text.counter("tombolo_config_reloads_total", "Changed configurations, by what became of them.");
    reloads.sample(&[("result", "taken")], taken);
    reloads.sample(&[("result", "refused")], refused);
    text.gauge("tombolo_config_refused", "1 while the newest configuration is refused and an older one runs.")
        .value(u8::from(status.config_error.is_some()));
    text.gauge("tombolo_config_restart_required", "Keys whose change waits for a restart.")
        .value(status.restart_required.len());
    let mut ends = text.gauge(
        "tombolo_certificate_expiry_timestamp_seconds",
        "Until when a file with certificates is good, in Unix seconds.",
    );
    for certificate in &status.certificates {
        ends.sample(&[("file", &certificate.file)], certificate.not_after);
    }
}

fn clients(text: &mut Text, counters: &Counters, status: &Status) {
    text.gauge("tombolo_connections", "Connected clients.").value(counters.connections);
    text.gauge("tombolo_sessions", "Sessions, on-line and off-line.").value(counters.sessions);
    text.gauge("tombolo_subscriptions", "Subscriptions of all sessions.").value(counters.subscriptions);
    text.gauge("tombolo_retained_messages", "Retained messages.").value(status.retained);
    text.gauge("tombolo_queued_messages", "Messages that wait in sessions.").value(counters.queued_messages);
    text.gauge("tombolo_queued_bytes", "Bytes of messages that wait in sessions.").value(counters.queued_bytes);
    let mut connected = text.counter("tombolo_clients_connected_total", "Clients let in, by protocol version.");
    for (version, count) in ["3.1.1", "5.0"].iter().zip(counters.connected) {
        connected.sample(&[("version", version)], count);
    }
    let mut closed = text.counter("tombolo_clients_closed_total", "Connections of clients that ended, by reason.");
    for why in Closed::ALL {
        closed.sample(&[("reason", why.label())], counters.closed[*why as usize]);
    }
}

fn traffic(text: &mut Text, counters: &Counters) {
    let mut packets = text.counter("tombolo_packets_total", "MQTT packets of clients, by direction.");
    packets.sample(&[("direction", "in")], counters.packets_received);
    packets.sample(&[("direction", "out")], counters.packets_sent);
    let mut bytes = text.counter("tombolo_bytes_total", "Bytes of MQTT packets of clients, by direction.");
    bytes.sample(&[("direction", "in")], counters.bytes_received);
    bytes.sample(&[("direction", "out")], counters.bytes_sent);
    let mut received = text.counter("tombolo_messages_received_total", "PUBLISH packets from clients, by QoS.");
    for (qos, count) in ["0", "1", "2"].iter().zip(counters.messages_received) {
        received.sample(&[("qos", qos)], count);
    }
    let mut sent = text.counter("tombolo_messages_sent_total", "PUBLISH packets to clients, by QoS.");
    for (qos, count) in ["0", "1", "2"].iter().zip(counters.messages_sent) {
        sent.sample(&[("qos", qos)], count);
    }
    let mut dropped =
        text.counter("tombolo_messages_dropped_total", "Messages that did not reach a receiver, by reason.");
    for why in Dropped::ALL {
        dropped.sample(&[("reason", why.label())], counters.dropped[*why as usize]);
    }
    text.counter("tombolo_shard_turns_total", "Turns in which a shard did something.").value(counters.turns);
}

fn refusals(text: &mut Text, events: &Events) {
    text.counter("tombolo_connections_accepted_total", "Connections that listeners took.").value(events.accepted());
    text.counter("tombolo_accept_errors_total", "Errors of accepting, such as too many open files.")
        .value(events.accept_errors());
    let mut refused =
        text.counter("tombolo_connections_refused_total", "Connections that never became a client, by reason.");
    for why in Refused::ALL {
        refused.sample(&[("reason", why.label())], events.refused(*why));
    }
    text.counter("tombolo_password_hashes_total", "Slow password hashes that were computed.")
        .value(events.password_hashes());
}

fn listeners(text: &mut Text, status: &Status) {
    let mut up = text.gauge("tombolo_listener_up", "1 while the listener listens.");
    for listener in &status.listeners {
        up.sample(&[("listener", &listener.name)], u8::from(listener.error.is_none()));
    }
    let mut connections = text.gauge("tombolo_listener_connections", "Connections of the listener.");
    for listener in &status.listeners {
        connections.sample(&[("listener", &listener.name)], listener.connections);
    }
}

fn links(text: &mut Text, links: &[LinkStatus]) {
    let mut state = text.gauge("tombolo_link_state", "1 for the state the link is in, 0 for the others.");
    for link in links {
        for (label, value) in STATES {
            state.sample(&[("link", &link.name), ("state", label)], u8::from(link.state == value));
        }
    }
    for (name, help, read) in LINK_GAUGES {
        let mut family = text.gauge(name, help);
        for link in links {
            if let Some(value) = read(link) {
                family.sample(&[("link", &link.name), ("remote", &link.remote_cluster)], value);
            }
        }
    }
    for (name, help, read) in LINK_COUNTERS {
        let mut family = text.counter(name, help);
        for link in links {
            family.sample(&[("link", &link.name), ("remote", &link.remote_cluster)], read(link));
        }
    }
    let mut dropped = text.counter("tombolo_link_messages_dropped_total", "Messages that the link dropped, by reason.");
    for link in links {
        let reasons: &BTreeMap<String, u64> = &link.messages_dropped;
        for (reason, count) in reasons {
            dropped.sample(&[("link", &link.name), ("remote", &link.remote_cluster), ("reason", reason)], count);
        }
    }
}

const STATES: [(&str, LinkState); 4] = [
    ("disabled", LinkState::Disabled),
    ("disconnected", LinkState::Disconnected),
    ("handshaking", LinkState::Handshaking),
    ("connected", LinkState::Connected),
];

/// Name, help, and how to read it; a gauge that is `None` has no sample.
type LinkGauge = (&'static str, &'static str, fn(&LinkStatus) -> Option<f64>);

const LINK_GAUGES: [LinkGauge; 11] = [
    ("tombolo_link_ready", "1 when a heartbeat crossed and came back, and interest is in sync.", |link| {
        Some(f64::from(u8::from(link.ready)))
    }),
    ("tombolo_link_in_sync", "1 when both sides hold the same interest.", |link| {
        Some(f64::from(u8::from(link.in_sync)))
    }),
    ("tombolo_link_dialled", "Connections that we dialled and that stand.", |link| Some(f64::from(link.dialled))),
    ("tombolo_link_accepted", "Connections that the remote dialled and that stand.", |link| {
        Some(f64::from(link.accepted))
    }),
    ("tombolo_link_by_way", "Connections by way of another node that stand.", |link| Some(f64::from(link.by_way))),
    ("tombolo_link_round_trip_seconds", "Last heartbeat's way there and back.", |link| {
        link.round_trip_micros.map(|micros| micros as f64 / 1e6)
    }),
    ("tombolo_link_filters_wanted", "Filters that the remote was told we want.", |link| {
        Some(link.filters_wanted as f64)
    }),
    ("tombolo_link_filters_served", "Filters that the remote wants.", |link| Some(link.filters_served as f64)),
    ("tombolo_link_spool_messages", "Messages that wait for the remote.", |link| Some(link.spool.messages as f64)),
    ("tombolo_link_spool_bytes", "Bytes of messages that wait for the remote.", |link| Some(link.spool.bytes as f64)),
    ("tombolo_link_spool_oldest_seconds", "Age of the oldest message that waits for the remote.", |link| {
        Some(link.spool.oldest_seconds as f64)
    }),
];

/// Name, help, and how to read it.
type LinkCounter = (&'static str, &'static str, fn(&LinkStatus) -> u64);

const LINK_COUNTERS: [LinkCounter; 3] = [
    ("tombolo_link_messages_sent_total", "Messages that the remote acknowledged; QoS 0: that were written.", |link| {
        link.messages_sent
    }),
    ("tombolo_link_messages_received_total", "Messages taken from the remote.", |link| link.messages_received),
    ("tombolo_link_messages_repeated_total", "Messages from the remote that were known already.", |link| {
        link.messages_repeated
    }),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tombolo_broker_api::{CertificateStatus, ListenerStatus, PeerState, PeerStatus};

    use super::*;

    fn example() -> String {
        let mut counters = Counters { connections: 7, ..Counters::default() };
        counters.drop_message(Dropped::OutputFull);
        counters.close(Closed::KeepAlive);
        let events = Events::default();
        events.refuse(Refused::ConnectTimeout);
        let link = LinkStatus {
            name: "to-cloud".into(),
            remote_cluster: "deployment-cloud".into(),
            state: LinkState::Connected,
            ready: true,
            round_trip_micros: Some(1500),
            messages_sent: 5,
            messages_dropped: BTreeMap::from([("spool_full".into(), 2)]),
            ..LinkStatus::default()
        };
        let peer = PeerStatus { node: "edge-1".into(), state: PeerState::Suspended, ..PeerStatus::default() };
        let listener = ListenerStatus { name: "mqtt".into(), connections: 7, ..ListenerStatus::default() };
        let certificate = CertificateStatus { file: "tls.crt".into(), not_after: 1_893_456_000 };
        let status = Status {
            certificates: vec![certificate],
            links: vec![link],
            listeners: vec![listener],
            peers: vec![peer],
            ..Status::default()
        };
        render(&counters, &events, &status)
    }

    #[test]
    fn what_was_counted_can_be_read() {
        let text = example();
        for line in [
            "tombolo_connections 7",
            "tombolo_messages_dropped_total{reason=\"output_full\"} 1",
            "tombolo_clients_closed_total{reason=\"keep_alive\"} 1",
            "tombolo_connections_refused_total{reason=\"connect_timeout\"} 1",
            "tombolo_listener_connections{listener=\"mqtt\"} 7",
            "tombolo_certificate_expiry_timestamp_seconds{file=\"tls.crt\"} 1893456000",
            "tombolo_link_state{link=\"to-cloud\",state=\"connected\"} 1",
            "tombolo_link_state{link=\"to-cloud\",state=\"disconnected\"} 0",
            "tombolo_link_ready{link=\"to-cloud\",remote=\"deployment-cloud\"} 1",
            "tombolo_link_round_trip_seconds{link=\"to-cloud\",remote=\"deployment-cloud\"} 0.0015",
            "tombolo_peer_state{peer=\"edge-1\",state=\"suspended\"} 1",
            "tombolo_peer_ready{peer=\"edge-1\"} 0",
            "tombolo_link_messages_dropped_total{link=\"to-cloud\",remote=\"deployment-cloud\",reason=\"spool_full\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_family_is_named_once_and_its_samples_follow_it() {
        let text = example();
        let mut seen = BTreeSet::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().expect("a name");
                assert!(family.starts_with("tombolo_") && seen.insert(family), "{family} twice");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                assert_eq!(name, family);
            }
        }
    }
}
