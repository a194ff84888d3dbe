//! What a message looks like on the other side.

use std::time::Duration;

use crate::codec::{Qos, Version};
use crate::link::{DropReason, Settings, Taken};

use super::packet;
use super::pair::{Pair, settings};

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

#[test]
fn a_message_keeps_its_qos_payload_and_properties_and_bears_its_path() {
    // Content Type "j", User Property "k" = "v", twice.
    let properties = [3, 0, 1, b'j', 38, 0, 1, b'k', 0, 1, b'v', 38, 0, 1, b'k', 0, 1, b'w'];
    for (version, properties) in [(Version::V5, properties.as_slice()), (Version::V4, &[])] {
        let mut pair = Pair::new(&[], &["t/#"]);
        pair.connect();
        for qos in QOS {
            let taken = pair.forward(0, &packet(version, qos, "t/1", properties, b"hello"));
            assert_eq!(taken, Some(Taken::Yes));
        }
        pair.run();
        assert_eq!(pair.sides[1].delivered.len(), 3);
        for qos in QOS {
            let message = pair.sides[1].delivered.iter().find(|message| message.qos == qos).expect("each QoS crosses");
            assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("t/1", b"hello".as_slice()));
            assert_eq!((message.properties.as_slice(), &message.path), (properties, &vec!["id-a".to_owned()]));
            assert_eq!(message.first & 0x08, 0, "DUP is of the connection it came on [MQTT-3.3.1-3]");
        }
        let (a, b) = (pair.status(0), pair.status(1));
        assert_eq!((a.messages_sent, b.messages_received, a.spool.messages), (3, 3, 0));
    }
}

#[test]
fn a_topic_alias_stays_behind() {
    let mut pair = Pair::new(&[], &["#"]);
    pair.connect();
    let alias_and_type = [35, 0, 9, 3, 0, 1, b'j'];
    pair.forward(0, &packet(Version::V5, Qos::AtLeastOnce, "t", &alias_and_type, b""));
    pair.run();
    assert_eq!(pair.sides[1].delivered[0].properties, [3, 0, 1, b'j']);
}

#[test]
fn expiry_counts_down_by_the_time_in_the_spool_and_again_at_each_resend() {
    let mut pair = Pair::new(&[], &["#"]);
    let conn = pair.connect();
    let expiry = |seconds: u8| [2, 0, 0, 0, seconds];
    pair.cut(conn);
    for (seconds, name) in [(100, "long"), (4, "short"), (0, "none")] {
        let taken = pair.forward(0, &packet(Version::V5, Qos::AtLeastOnce, "t", &expiry(seconds), name.as_bytes()));
        let expected = if seconds == 0 { Taken::Dropped(DropReason::Expired) } else { Taken::Yes };
        assert_eq!(taken, Some(expected));
    }
    pair.now += Duration::from_millis(2_500);
    let conn = pair.dial(0);
    for _ in 0..3 {
        pair.turn();
        pair.pass(0);
        pair.pass(1);
    }
    pair.turn();
    // Sent, and lost on the way.
    pair.cut(conn);
    pair.now += Duration::from_secs(2);
    pair.connect();
    let delivered: Vec<_> = pair.sides[1].delivered.iter().map(|m| (m.payload.as_slice(), m.expiry)).collect();
    assert_eq!(delivered, [(b"long".as_slice(), Some(96))]);
    assert_eq!(pair.status(1).messages_dropped["Expired"], 1);
}

#[test]
fn what_no_packet_of_the_remote_holds_is_dropped_and_counted_and_holds_up_nothing() {
    let mut pair = Pair::new(&[], &["#"]);
    let conn = pair.connect();
    pair.cut(conn);
    let large = "x".repeat(200_000);
    // While nobody knows what the remote takes, it is spooled.
    for payload in ["before", &large, "after"] {
        assert_eq!(pair.publish(0, Qos::ExactlyOnce, "t", payload), Some(Taken::Yes));
    }
    pair.limit(64, 100_000);
    pair.connect();
    assert_eq!(pair.payloads(1), ["before", "after"]);
    for qos in QOS {
        assert_eq!(pair.publish(0, qos, "t", &large), Some(Taken::Dropped(DropReason::TooLarge)));
    }
    assert_eq!(pair.status(0).messages_dropped["TooLarge"], 4);
    assert_eq!(pair.status(0).spool.messages, 0);
}

#[test]
fn a_message_larger_than_a_batch_travels_alone() {
    let mut pair = Pair::new(&[], &["#"]);
    pair.connect();
    let large = "x".repeat(500_000);
    for payload in ["a", &large, "b"] {
        pair.publish(0, Qos::AtLeastOnce, "t", payload);
        pair.publish(0, Qos::AtMostOnce, "t", payload);
    }
    pair.run();
    assert_eq!(pair.payloads(1).len(), 6);
    let ordered: Vec<usize> =
        pair.sides[1].delivered.iter().filter(|m| m.qos != Qos::AtMostOnce).map(|m| m.payload.len()).collect();
    assert_eq!(ordered, [1, 500_000, 1]);
}

#[test]
fn qos_0_waits_for_room_within_its_bound_and_is_not_kept_for_an_outage() {
    let mut few = settings("b");
    few.spool.max_bytes_qos0 = tombolo_broker_api::ByteSize(200);
    let mut pair = Pair::with(few, settings("a"), &[], &["#"]);
    let conn = pair.connect();
    pair.sides[0].no_room = true;
    let mut taken = 0;
    for _ in 0..20 {
        match pair.publish(0, Qos::AtMostOnce, "t", "0123456789") {
            Some(Taken::Yes) => taken += 1,
            other => assert_eq!(other, Some(Taken::Dropped(DropReason::LossyFull))),
        }
    }
    pair.run();
    assert_eq!(pair.payloads(1).len(), 0);
    pair.sides[0].no_room = false;
    pair.links[0].writable(conn);
    pair.run();
    assert_eq!(pair.payloads(1).len(), taken);
    pair.cut(conn);
    assert_eq!(pair.publish(0, Qos::AtMostOnce, "t", "late"), Some(Taken::Dropped(DropReason::NotConnected)));
}

#[test]
fn a_message_never_returns_to_a_cluster_on_its_path_nor_goes_further_than_its_hops() {
    use crate::link::Forward;
    use crate::router::Path;
    let path = |ids: &[&str]| {
        let mut bytes = Vec::new();
        for id in ids {
            Path::EMPTY.extend(id, &mut bytes);
        }
        bytes
    };
    let far = |settings: Settings| Settings { max_hops: 3, ..settings };
    // Path at the sender, its hops, what becomes of it there, what the receiver makes of it.
    let table: [(&[&str], bool, Taken, Option<&str>); 6] = [
        (&[], false, Taken::Yes, None),
        (&["id-c"], false, Taken::NotWanted, None),
        (&["id-c"], true, Taken::Yes, None),
        (&["id-c", "id-d"], true, Taken::Yes, None),
        (&["id-c", "id-d", "id-e"], true, Taken::NotWanted, None),
        (&["id-b"], true, Taken::NotWanted, None),
    ];
    for (ids, is_far, taken, dropped) in table {
        let (a, b) = (settings("b"), settings("a"));
        let (a, b) = if is_far { (far(a), far(b)) } else { (a, b) };
        let mut pair = Pair::with(a, b, &[], &["#"]);
        pair.connect();
        let (bytes, packet) = (path(ids), packet(Version::V5, Qos::AtLeastOnce, "t", &[], b""));
        let path = Path::parse(&bytes).expect("it was built just now");
        let forward = Forward { path, ..super::local(&packet) };
        assert_eq!(pair.links[0].forward(&forward, pair.now), taken, "{ids:?}");
        pair.run();
        let delivered: Vec<_> = pair.sides[1].delivered.iter().map(|message| message.path.join(" ")).collect();
        let expected = if taken == Taken::Yes { vec![[ids, &["id-a"]].concat().join(" ")] } else { vec![] };
        assert_eq!((delivered, dropped), (expected, None));
    }
}

#[test]
fn a_receiver_checks_the_path_itself() {
    use crate::link::Forward;
    use crate::router::Path;
    // The sender lets three hops pass, the receiver one.
    let mut pair = Pair::with(Settings { max_hops: 3, ..settings("b") }, settings("a"), &[], &["#"]);
    pair.connect();
    let packet = packet(Version::V5, Qos::AtLeastOnce, "t", &[], b"");
    let mut bytes = Vec::new();
    Path::EMPTY.extend("id-c", &mut bytes);
    let path = Path::parse(&bytes).expect("it was built just now");
    pair.links[0].forward(&Forward { path, ..super::local(&packet) }, pair.now);
    pair.run();
    assert_eq!(pair.status(1).messages_dropped["TooManyHops"], 1);
    assert!(pair.sides[1].delivered.is_empty());
}

#[test]
#[ignore = "a measurement, not a proof"]
fn costs_of_a_message() {
    use std::time::{Duration, Instant};
    let packet = packet(Version::V5, Qos::AtLeastOnce, "site/1/dev/2", &[], &[0; 64]);
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..20 {
        let mut pair = Pair::new(&[], &["#"]);
        pair.connect();
        let (mut forward, mut rest) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..400 {
            let start = Instant::now();
            for _ in 0..500 {
                pair.links[0].forward(&super::local(&packet), pair.now);
            }
            forward += start.elapsed();
            let start = Instant::now();
            pair.run();
            rest += start.elapsed();
            pair.sides[1].delivered.clear();
        }
        best = (best.0.min(forward / 200_000), best.1.min(rest / 200_000));
    }
    println!("forward {:?}, run {:?}", best.0, best.1);
}
