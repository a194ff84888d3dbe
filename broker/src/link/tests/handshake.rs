//! Who may link with whom, and what a refusal is called on both sides.

use std::time::Duration;

use tombolo_broker_api::LinkState;

use crate::codec::Qos;
use crate::link::batch::{TOPIC_HELLO, TOPIC_LANE};
use crate::link::greeting::Speech;
use crate::link::{Incoming, Settings};

use super::pair::{Pair, Sent, identity, settings};

/// Dials once, and says which refusal both sides saw last.
fn refusals(pair: &mut Pair) -> [Option<String>; 2] {
    pair.connect();
    [0, 1].map(|side| pair.status(side).last_error.map(|error| error.reason))
}

fn pair(a: Settings, b: Settings) -> Pair {
    Pair::with(a, b, &["x"], &["y"])
}

#[test]
fn two_sides_that_name_each_other_are_ready_after_a_few_packets() {
    let mut pair = Pair::new(&["from-b/#"], &["from-a", "other"]);
    assert_eq!(pair.status(0).state, LinkState::Disconnected);
    pair.connect();
    for side in [0, 1] {
        let status = pair.status(side);
        assert_eq!((status.state, status.ready, status.in_sync), (LinkState::Connected, true, true), "{side}");
        assert_eq!((status.dialled, status.accepted), if side == 0 { (1, 0) } else { (0, 1) });
        assert_eq!(status.last_error, None);
        assert_eq!((status.filters_wanted, status.filters_served), if side == 0 { (1, 2) } else { (2, 1) });
    }
    assert_eq!(pair.status(0).remote_cluster_id.as_deref(), Some("id-b"));
    assert!(pair.sides[1].routes.contains("from-b/#") && pair.sides[0].routes.contains("from-a"));
}

#[test]
fn each_refusal_has_the_same_name_on_both_sides() {
    let wrong_name = |s: Settings| Settings { remote_cluster: "elsewhere".into(), ..s };
    let pinned = |s: Settings| Settings { remote_cluster_id: Some("id-other".into()), ..s };
    let disabled = |s: Settings| Settings { enabled: false, ..s };
    let table = [
        ("UnknownCluster", settings("b"), wrong_name(settings("a"))),
        ("ClusterIdMismatch", pinned(settings("b")), settings("a")),
        ("ClusterIdMismatch", settings("b"), pinned(settings("a"))),
        ("LinkDisabled", settings("b"), disabled(settings("a"))),
        ("ClusterNameMismatch", wrong_name(settings("b")), settings("a")),
    ];
    for (name, a, b) in table {
        let mut pair = pair(a, b);
        assert_eq!(refusals(&mut pair), [Some(name.to_owned()), Some(name.to_owned())]);
        for side in [0, 1] {
            assert_ne!(pair.status(side).state, LinkState::Connected, "{name}");
            assert!(!pair.status(side).ready);
        }
    }
}

#[test]
fn releases_with_a_version_in_common_agree_whatever_else_one_of_them_can() {
    let can_more = |versions| Speech { versions, capabilities: u64::MAX };
    for theirs in [can_more((1, 1)), can_more((1, 2)), can_more((1, u8::MAX)), can_more((0, 1))] {
        for newer in [0, 1] {
            for mut pair in [Pair::new(&["#"], &["#"]), Pair::peers(&["#"], &["#"])] {
                pair.links[newer].speak(theirs);
                pair.connect();
                assert!(pair.status(0).ready && pair.status(1).ready, "side {newer} speaks {theirs:?}");
                pair.publish(0, Qos::AtLeastOnce, "t", "there");
                pair.publish(1, Qos::AtLeastOnce, "t", "back");
                pair.run();
                assert_eq!((pair.payloads(0), pair.payloads(1)), (vec!["back"], vec!["there"]));
            }
        }
    }
}

#[test]
fn releases_without_a_version_in_common_refuse_by_the_same_name_until_one_is_another() {
    let speech = |versions| Speech { versions, capabilities: 0 };
    for newer in [0, 1] {
        for mut pair in [Pair::new(&["#"], &["#"]), Pair::peers(&["#"], &["#"])] {
            pair.links[newer].speak(speech((2, 3)));
            let no = Some("NoCommonVersion".to_owned());
            assert_eq!(refusals(&mut pair), [no.clone(), no], "side {newer} is newer");
            for side in [0, 1] {
                let error = pair.status(side).last_error.expect("it was refused");
                assert!(error.message.contains("(2, 3)") && error.message.contains("(1, 1)"), "{}", error.message);
                assert_eq!(pair.status(side).state, LinkState::Disconnected);
            }
            // The other release is rolled back to, or follows.
            pair.links[newer].speak(speech((1, 3)));
            pair.connect();
            assert!(pair.status(0).ready && pair.status(1).ready);
        }
    }
}

#[test]
fn a_link_to_oneself_is_refused_as_such() {
    let mut pair = pair(settings("a"), settings("a"));
    pair.links[1] = crate::link::Link::new(identity("a"), settings("a"), []);
    assert_eq!(refusals(&mut pair), [Some("OwnCluster".to_owned()), Some("OwnCluster".to_owned())]);
}

#[test]
fn a_remote_that_takes_only_small_packets_is_refused() {
    let mut pair = pair(settings("b"), settings("a"));
    pair.limit(10, 16_384);
    assert_eq!(refusals(&mut pair), [Some("PacketSizeTooSmall".to_owned()), Some("PacketSizeTooSmall".to_owned())]);
}

#[test]
fn batches_before_the_handshake_and_unknown_greetings_are_protocol_errors() {
    for (topic, payload) in [(TOPIC_LANE, vec![0; 40]), (TOPIC_HELLO, vec![9, 9]), (TOPIC_HELLO, vec![])] {
        let mut pair = pair(settings("b"), settings("a"));
        let conn = pair.dial(0);
        let incoming = Incoming { topic: topic.as_bytes(), packet_id: None, payload: &payload };
        pair.links[1].received(&mut pair.sides[1], conn, incoming, pair.now);
        assert_eq!(pair.refusal(1), Some("ProtocolError"));
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let mut pair = pair(settings("b"), settings("a"));
    pair.dial(0);
    pair.now += Duration::from_secs(11);
    for side in [0, 1] {
        pair.links[side].tick(&mut pair.sides[side], pair.now);
        assert_eq!(pair.refusal(side), Some("HandshakeTimeout"));
    }
}

#[test]
fn a_node_that_was_started_anew_ends_the_connections_of_its_earlier_life() {
    let mut pair = pair(settings("b"), settings("a"));
    pair.connect();
    let mut anew = identity("a");
    anew.incarnation = 2;
    pair.sides[0].routes.clear();
    pair.links[0] = crate::link::Link::new(anew, settings("b"), [super::filter("x")]);
    pair.connect();
    assert_eq!(pair.refusal(1), Some("StaleIncarnation"));
    assert_eq!(pair.status(1).accepted, 1);
    assert!(pair.status(1).ready && pair.status(0).ready);
}

#[test]
fn heartbeats_that_stay_away_end_the_connection() {
    let mut pair = pair(settings("b"), settings("a"));
    pair.connect();
    for _ in 0..5 {
        pair.now += Duration::from_secs(5);
        for side in [0, 1] {
            pair.links[side].tick(&mut pair.sides[side], pair.now);
        }
        pair.run();
        assert!(pair.status(0).ready && pair.status(1).ready);
    }
    pair.now += Duration::from_secs(16);
    pair.links[0].tick(&mut pair.sides[0], pair.now);
    assert_eq!(pair.refusal(0), Some("HeartbeatLost"));
    assert_eq!(pair.status(0).state, LinkState::Disconnected);
}

#[test]
fn the_connection_that_a_side_dialled_is_the_one_it_sends_on() {
    let mut pair = Pair::new(&["#"], &["#"]);
    let first = pair.connect();
    let second = pair.dial(1);
    pair.run();
    pair.publish(0, Qos::AtLeastOnce, "t", "to-b");
    pair.publish(1, Qos::AtLeastOnce, "t", "to-a");
    pair.turn();
    let batches = |pair: &Pair, side: usize, conn| {
        let sent = pair.sides[side].sent.get(&conn);
        sent.is_some_and(|sent| sent.iter().any(|s| matches!(s, Sent::Publish(TOPIC_LANE, Some(_), _))))
    };
    assert!(batches(&pair, 0, first) && !batches(&pair, 0, second));
    assert!(batches(&pair, 1, second) && !batches(&pair, 1, first));
    pair.run();
    assert_eq!((pair.payloads(0), pair.payloads(1)), (vec!["to-a"], vec!["to-b"]));
}
