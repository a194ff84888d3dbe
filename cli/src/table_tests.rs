//! Tests of the table: what it shows, and how it keeps to the width.

use tombolo_broker_api::{LinkError, ListenerStatus, SpoolStatus};

use super::*;

fn view() -> View {
    let listener = |name: &str, address: &str, error: Option<&str>| ListenerStatus {
        name: name.into(),
        address: address.into(),
        connections: 1,
        error: error.map(Into::into),
    };
    let error = LinkError { reason: "RemoteUnreachable".into(), message: "connection refused".into(), unix_seconds: 0 };
    let links = vec![
        LinkStatus {
            name: "to-cloud".into(),
            remote_cluster: "cloud".into(),
            state: LinkState::Connected,
            ready: true,
            dialled: 1,
            round_trip_micros: Some(460),
            messages_sent: 12_345,
            last_error: Some(error.clone()),
            ..LinkStatus::default()
        },
        LinkStatus {
            name: "to-plant".into(),
            remote_cluster: "plant".into(),
            spool: SpoolStatus { messages: 7, bytes: 70, oldest_seconds: 3 },
            last_error: Some(error),
            ..LinkStatus::default()
        },
    ];
    let status = Status {
        listeners: vec![listener("mqtt", "127.0.0.1:1883", None), listener("tls", "", Some("no certificate"))],
        connections: 1,
        messages_received: 1_000_000,
        messages_dropped: [("expired".to_owned(), 2), ("full".to_owned(), 3)].into(),
        links,
        ..Status::default()
    };
    View {
        namespace: "default".into(),
        cluster: "edge".into(),
        node: "edge-0".into(),
        admin: "127.0.0.1:40000".into(),
        pid: 1,
        status: Some(status),
    }
}

#[test]
fn nodes_and_links_stand_in_aligned_columns() {
    let silent = View { status: None, node: "edge-1".into(), ..view() };
    let expected = [
        "CLUSTER  NODE    LISTENERS                               CLIENTS  SESSIONS  SUBSCRIPTIONS  RETAINED         IN  OUT  DROPPED  ADMIN",
        "edge     edge-0  mqtt 127.0.0.1:1883, tls NOT LISTENING        1         0              0         0  1,000,000    0        5  http://127.0.0.1:40000",
        "edge     edge-1  does not answer                               -         -              -         -          -    -        -  http://127.0.0.1:40000",
        "",
        "LINK             REMOTE  STATE              READY  ROUND TRIP  WANTED  SERVED    SPOOL    SENT  RECEIVED  DROPPED",
        "edge-0/to-cloud  cloud   connected (1 out)  yes        0.4 ms       0       0        0  12,345         0        0",
        "edge-0/to-plant  plant   disconnected       no              -       0       0  7 (3 s)       0         0        0",
        "edge-0/to-plant: RemoteUnreachable: connection refused",
    ];
    assert_eq!(render(&[view(), silent], 200), expected);
}

#[test]
fn the_other_nodes_are_counted_and_those_that_lack_are_named() {
    let peer = |node: &str, state, ready, reason: Option<&str>| {
        let last_error =
            reason.map(|reason| LinkError { reason: reason.into(), message: "refused".into(), unix_seconds: 0 });
        PeerStatus { node: node.into(), state, ready, last_error, ..PeerStatus::default() }
    };
    let mut views = [view(), View { node: "edge-1".into(), status: Some(Status::default()), ..view() }];
    views[0].status = Some(Status {
        peers: vec![
            peer("edge-1", PeerState::Connected, true, Some("RemoteUnreachable")),
            peer("edge-2", PeerState::Suspended, false, Some("RemoteUnreachable")),
            peer("edge-3", PeerState::Unreachable, false, None),
        ],
        ..Status::default()
    });
    let lines = render(&views, 200);
    assert!(lines[0].contains("DROPPED   PEERS  ADMIN"), "{}", lines[0]);
    assert!(lines[1].contains("  1 of 3  http"), "{}", lines[1]);
    assert!(lines[2].ends_with("0          http://127.0.0.1:40000"), "{}", lines[2]);
    assert_eq!(lines[3..], ["edge-0/edge-2: suspended: RemoteUnreachable: refused", "edge-0/edge-3: not reached"]);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [1, 20, 79] {
        assert!(render(&[view()], width).iter().all(|line| line.chars().count() <= width), "{width}");
    }
    let narrow = render(&[view()], 80);
    assert_eq!(narrow[0], "CLUSTER  LISTENERS                               CLIENTS         IN  OUT");
    assert_eq!(narrow[3], "LINK           STATE              READY    SPOOL    SENT  RECEIVED  DROPPED");
    assert_eq!(render(&[view()], 10)[0], "CLUSTER  …");
}

#[test]
fn without_links_there_is_no_table_of_links() {
    let mut alone = view();
    alone.status.as_mut().expect("set above").links.clear();
    assert_eq!(render(&[alone], 200).len(), 2);
}
