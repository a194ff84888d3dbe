//! Any bytes: a link reads them, or refuses them by name, and never falls over.

use proptest::prelude::*;

use crate::codec::Qos;
use crate::link::Incoming;
use crate::link::batch::{Head, TOPIC_BEAT, TOPIC_HELLO, TOPIC_LANE};
use crate::link::record::Records;

use super::pair::{Pair, Sent};

/// All packets that a side sent while two links met and spoke.
fn spoken() -> Vec<(&'static str, Vec<u8>)> {
    let mut pair = Pair::new(&["a/#", "b"], &["c", "+/d"]);
    let mut all = Vec::new();
    pair.dial(0);
    for round in 0..40 {
        if round == 30 {
            pair.publish(0, Qos::ExactlyOnce, "c", "message");
            pair.publish(0, Qos::AtMostOnce, "x/d", "lossy");
        }
        pair.turn();
        for sent in pair.sides[0].sent.values().flatten() {
            if let Sent::Publish(topic, _, payload) = sent {
                all.push((*topic, payload.clone()));
            }
        }
        pair.pass(0);
        pair.pass(1);
    }
    assert!(all.len() > 5);
    all
}

/// A link with one connection, handshake done.
fn listener() -> (Pair, crate::link::Conn) {
    let mut pair = Pair::new(&["a/#"], &["c"]);
    let conn = pair.connect();
    (pair, conn)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_payload_is_read_or_refused(
        topic in prop::sample::select(vec![TOPIC_HELLO, TOPIC_LANE, TOPIC_BEAT, "$LINK/v2/new"]),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut pair, conn) = listener();
        let incoming = Incoming { topic: topic.as_bytes(), packet_id: None, payload: &payload };
        pair.links[1].received(&mut pair.sides[1], conn, incoming, pair.now);
        pair.turn();
    }

    #[test]
    fn any_records_are_read_or_refused(records in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Records::new(&records);
        while let Some(Ok(_)) = reader.next() {}
    }

    #[test]
    fn changed_packets_are_read_or_refused(pick in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let spoken = spoken();
        let (topic, payload) = &spoken[pick.index(spoken.len())];
        let mut payload = payload.clone();
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let (mut pair, conn) = listener();
        let incoming = Incoming { topic: topic.as_bytes(), packet_id: None, payload: &payload };
        pair.links[1].received(&mut pair.sides[1], conn, incoming, pair.now);
        pair.turn();
    }
}

#[test]
fn a_batch_that_cannot_be_read_is_passed_over_once_and_the_lane_goes_on() {
    let (mut pair, conn) = listener();
    let mut batch = vec![0; 24];
    // The lane of messages has seen a few batches of the handshake: marks.
    Head { lane: 0, records: 1, sequence: 50, previous: 0 }.write(&mut batch);
    batch[20..].copy_from_slice(&[0x10, 0x30, 0x7f, 0]);
    for _ in 0..2 {
        let incoming = Incoming { topic: TOPIC_LANE.as_bytes(), packet_id: None, payload: &batch };
        pair.links[1].received(&mut pair.sides[1], conn, incoming, pair.now);
    }
    let status = pair.status(1);
    assert_eq!((status.messages_dropped["Malformed"], status.messages_repeated), (1, 1));
    assert_eq!(status.accepted, 1, "the connection stands");
}

#[test]
fn a_batch_behind_a_hole_is_refused() {
    let (mut pair, conn) = listener();
    let mut batch = vec![0; 20];
    Head { lane: 0, records: 0, sequence: 50, previous: 40 }.write(&mut batch);
    let incoming = Incoming { topic: TOPIC_LANE.as_bytes(), packet_id: None, payload: &batch };
    pair.links[1].received(&mut pair.sides[1], conn, incoming, pair.now);
    assert_eq!(pair.refusal(1), Some("ProtocolError"));
}
