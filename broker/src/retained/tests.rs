//! Tests of the store of retained messages, against a map that is searched one by one.

use super::*;
use crate::clock::{Millis, Stamp};
use crate::codec::publish::{self, Parts};
use crate::codec::{Qos, Version};
use crate::message::Message;
use crate::topic::Filter;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PLENTY: Limits = Limits { messages: 1_000_000, bytes: 1 << 30, tombstones: 0 };
const CLUSTER: Limits = Limits { tombstones: 1_000, ..PLENTY };
const NOW: Millis = Millis(1_000);

fn message(topic: &str, payload: &[u8], expires_at: Option<Millis>) -> Arc<Message> {
    let mut frame = Vec::new();
    let layout = publish::encode(
        &mut frame,
        &Parts {
            version: Version::V5,
            qos: Qos::AtMostOnce,
            retain: true,
            dup: false,
            packet_id: 0,
            topic: topic.as_bytes(),
            properties: &[],
            subscription_ids: &[],
            payload,
        },
    );
    Arc::new(Message::new(&frame, layout, expires_at))
}

/// A stamp that is later than all before.
fn later() -> Stamp {
    static TIME: AtomicU64 = AtomicU64::new(1);
    Stamp { time: TIME.fetch_add(1, Ordering::Relaxed), node: 1 }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, 32).unwrap()
}

fn topics(kept: &[Kept]) -> Vec<&str> {
    kept.iter().map(|kept| &*kept.topic).collect()
}

fn payload(kept: &Kept) -> &[u8] {
    kept.message.layout().payload(kept.message.frame())
}

#[test]
fn the_last_message_of_a_topic_is_kept_until_one_without_payload_comes() {
    let retained = Retained::new(PLENTY);
    let set = |payload: &[u8]| retained.set("a/b", message("a/b", payload, None), later(), NOW);
    assert_eq!(set(b""), Outcome::Absent);
    assert_eq!(set(b"1"), Outcome::Stored);
    assert_eq!(set(b"2"), Outcome::Replaced);
    let kept = retained.get("a/b", NOW).unwrap();
    assert_eq!((payload(&kept), kept.received_at), (&b"2"[..], NOW));
    assert_eq!(topics(&retained.matching(&filter("a/b"), NOW)), ["a/b"]);
    assert_eq!(set(b""), Outcome::Removed);
    assert!(retained.get("a/b", NOW).is_none());
    assert_eq!(retained.counts(), Counts::default());
}

#[test]
fn matching_shares_the_message_and_copies_nothing() {
    let retained = Retained::new(PLENTY);
    let message = message("a", b"payload", None);
    retained.set("a", Arc::clone(&message), later(), NOW);
    assert!(Arc::ptr_eq(&message, &retained.matching(&filter("#"), NOW)[0].message));
}

#[test]
fn wildcards_at_the_first_level_leave_dollar_topics_out_and_all_does_not() {
    let retained = Retained::new(PLENTY);
    for topic in ["$SYS/x", "a/x", "~/x"] {
        retained.set(topic, message(topic, b"p", None), later(), NOW);
    }
    assert_eq!(topics(&retained.matching(&filter("#"), NOW)), ["a/x", "~/x"]);
    assert_eq!(topics(&retained.matching(&filter("+/x"), NOW)), ["a/x", "~/x"]);
    assert_eq!(topics(&retained.matching(&filter("$SYS/#"), NOW)), ["$SYS/x"]);
    assert_eq!(topics(&retained.all(None, NOW, 10).messages), ["$SYS/x", "a/x", "~/x"]);
}

#[test]
fn a_message_that_has_expired_is_not_found_and_its_place_is_given_back() {
    let retained = Retained::new(Limits { messages: 2, ..PLENTY });
    retained.set("a", message("a", b"p", Some(Millis(2_000))), later(), NOW);
    retained.set("b", message("b", b"p", Some(Millis(3_000))), later(), NOW);
    assert_eq!(topics(&retained.matching(&filter("+"), Millis(1_999))), ["a", "b"]);
    assert_eq!(topics(&retained.matching(&filter("+"), Millis(2_000))), ["b"]);
    assert!(retained.get("a", Millis(2_000)).is_none());
    assert_eq!(retained.set("c", message("c", b"p", None), later(), Millis(1_999)), Outcome::TooManyMessages);
    assert_eq!(retained.set("c", message("c", b"p", None), later(), Millis(2_000)), Outcome::Stored);
    // A new message of a topic has the deadline of its own, not that of the one before.
    assert_eq!(retained.set("b", message("b", b"q", Some(Millis(9_000))), later(), Millis(2_500)), Outcome::Replaced);
    assert_eq!(retained.expire(Millis(3_000)), 0);
    assert_eq!((retained.expire(Millis(9_000)), retained.expire(Millis(9_000))), (1, 0));
    assert_eq!(topics(&retained.all(None, Millis(9_000), 10).messages), ["c"]);
}

#[test]
fn the_limit_of_messages_holds_for_new_topics_alone() {
    let retained = Retained::new(Limits { messages: 1, ..PLENTY });
    assert_eq!(retained.set("a", message("a", b"1", None), later(), NOW), Outcome::Stored);
    assert_eq!(retained.set("b", message("b", b"1", None), later(), NOW), Outcome::TooManyMessages);
    assert_eq!(retained.set("a", message("a", b"2", None), later(), NOW), Outcome::Replaced);
    assert_eq!(retained.set("a", message("a", b"3", Some(Millis(9_000))), later(), NOW), Outcome::Replaced);
    retained.set_limits(PLENTY);
    assert_eq!(retained.set("b", message("b", b"1", None), later(), NOW), Outcome::Stored);
}

#[test]
fn a_message_that_exceeds_the_limit_of_bytes_is_refused_and_the_one_before_it_is_gone() {
    let retained = Retained::new(Limits { bytes: 2_000, ..PLENTY });
    assert_eq!(retained.set("a", message("a", &[1; 100], None), later(), NOW), Outcome::Stored);
    assert_eq!(retained.set("b", message("b", &[1; 2_000], None), later(), NOW), Outcome::TooManyBytes);
    assert_eq!(topics(&retained.all(None, NOW, 10).messages), ["a"]);
    assert_eq!(retained.set("a", message("a", &[1; 2_000], None), later(), NOW), Outcome::TooManyBytes);
    assert_eq!(retained.counts(), Counts::default());
}

#[test]
fn a_long_answer_comes_in_pages_and_each_message_once() {
    let retained = Retained::new(PLENTY);
    for i in 0..10_000 {
        let topic = format!("device/{i:05}/{}", if i % 10 == 0 { "state" } else { "other" });
        retained.set(&topic, message(&topic, b"p", None), later(), NOW);
    }
    let wanted = filter("device/+/state");
    let (mut all, mut after, mut pages) = (Vec::new(), None::<Arc<str>>, 0);
    loop {
        let page = retained.page(&wanted, after.as_deref(), NOW, 7);
        assert!(page.messages.len() <= 7);
        // What comes and goes between pages neither repeats nor hides anything else.
        if let Some(last) = page.messages.last() {
            retained.remove(&last.topic, later(), NOW);
        }
        all.extend(page.messages);
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(pages > 1_000 / 7);
    assert_eq!(all.len(), 1_000);
    assert!(all.windows(2).all(|pair| pair[0].topic < pair[1].topic));
    assert_eq!(retained.matching(&filter("device/+/other"), NOW).len(), 9_000);
}

fn at(time: u64) -> Stamp {
    Stamp { time, node: 1 }
}

#[test]
fn the_later_stamp_wins_whichever_comes_first() {
    let retained = Retained::new(CLUSTER);
    let set = |payload: &[u8], time| retained.set("a", message("a", payload, None), at(time), NOW);
    assert_eq!((set(b"2", 20), set(b"1", 10), set(b"2", 20)), (Outcome::Stored, Outcome::Stale, Outcome::Stale));
    assert_eq!(retained.remove("a", at(15), NOW), Outcome::Stale);
    let kept = retained.get("a", NOW).unwrap();
    assert_eq!((payload(&kept), kept.stamp), (&b"2"[..], at(20)));
    // At the same time the greater node is later.
    assert_eq!(retained.set("a", message("a", b"3", None), Stamp { time: 20, node: 2 }, NOW), Outcome::Replaced);
}

#[test]
fn a_removal_is_remembered_also_where_there_was_nothing() {
    let retained = Retained::new(CLUSTER);
    let set = |time| retained.set("a", message("a", b"p", None), at(time), NOW);
    assert_eq!((retained.remove("a", at(20), NOW), set(10)), (Outcome::Absent, Outcome::Stale));
    assert_eq!(
        (set(30), retained.remove("a", at(40), NOW), set(35)),
        (Outcome::Stored, Outcome::Removed, Outcome::Stale)
    );
    assert_eq!(retained.counts(), Counts::default());
    assert_eq!(retained.digest().entries, 1);
    // Until it is forgotten.
    while retained.expire(NOW + TOMBSTONE_AGE) > 0 {}
    assert_eq!((retained.digest(), set(35)), (Digest::default(), Outcome::Stored));
}

#[test]
fn a_message_that_expires_is_remembered_as_gone_and_the_digest_does_not_change() {
    let retained = Retained::new(CLUSTER);
    retained.set("a", message("a", b"p", Some(Millis(2_000))), at(20), NOW);
    let before = (retained.digest(), retained.buckets());
    assert_eq!(retained.expire(Millis(2_000)), 1);
    assert_eq!((retained.digest(), retained.buckets()), before);
    assert_eq!(retained.counts(), Counts::default());
    assert_eq!(retained.set("a", message("a", b"p", None), at(10), Millis(2_000)), Outcome::Stale);
    assert_eq!(retained.remove("a", at(30), Millis(2_000)), Outcome::Absent);
}

#[test]
fn the_oldest_tombstones_give_way_and_a_node_that_is_alone_keeps_none() {
    let retained = Retained::new(Limits { tombstones: 2, ..PLENTY });
    let set = |topic, time| retained.set(topic, message(topic, b"p", None), at(time), NOW);
    for (topic, time) in [("b", 20), ("c", 30), ("a", 10), ("d", 40)] {
        assert_eq!(retained.remove(topic, at(time), NOW), Outcome::Absent);
    }
    assert_eq!((set("a", 5), set("b", 5)), (Outcome::Stored, Outcome::Stored));
    assert_eq!((set("c", 5), set("d", 5)), (Outcome::Stale, Outcome::Stale));
    retained.set_limits(PLENTY);
    assert_eq!((set("c", 5), set("d", 5)), (Outcome::Stored, Outcome::Stored));
    retained.remove("d", at(50), NOW);
    assert_eq!(retained.digest().entries, 3);
    // A topic that would not fit into what nodes tell each other leaves none either.
    retained.set_limits(CLUSTER);
    retained.remove(&"x".repeat(20_000), at(60), NOW);
    assert_eq!(retained.digest().entries, 3);
}

#[test]
fn a_message_that_finds_no_room_leaves_the_tombstone_that_is_there() {
    let retained = Retained::new(Limits { messages: 1, ..CLUSTER });
    retained.remove("a", at(20), NOW);
    retained.set("b", message("b", b"p", None), at(25), NOW);
    assert_eq!(retained.set("a", message("a", b"p", None), at(30), NOW), Outcome::TooManyMessages);
    retained.remove("b", at(35), NOW);
    assert_eq!(retained.set("a", message("a", b"p", None), at(15), NOW), Outcome::Stale);
    assert_eq!(retained.set("a", message("a", b"p", None), at(30), NOW), Outcome::Stored);
}

/// What nodes have heard: topic, stamp, payload (none removes).
fn events() -> impl Strategy<Value = Vec<(String, Stamp, Option<u8>)>> {
    let event = ("[abc]", 0_u64..20, 0_u64..3, prop::option::of(any::<u8>()));
    let event = event.prop_map(|(topic, time, node, payload)| (topic, Stamp { time, node }, payload));
    // No two stamps are equal.
    prop::collection::vec(event, 1..40).prop_map(|mut events| {
        events.sort_by_key(|(_, stamp, _)| *stamp);
        events.dedup_by_key(|(_, stamp, _)| *stamp);
        events
    })
}

proptest! {
    #[test]
    fn nodes_that_heard_the_same_in_any_order_and_number_hold_the_same_and_have_equal_digests(
        (events, shuffled) in events().prop_flat_map(|events| {
            let twice: Vec<_> = events.iter().chain(&events).cloned().collect();
            (Just(events), Just(twice).prop_shuffle())
        }),
    ) {
        let hear = |events: &[(String, Stamp, Option<u8>)]| {
            let retained = Retained::new(CLUSTER);
            for (topic, stamp, payload) in events {
                retained.set(topic, message(topic, payload.as_slice(), None), *stamp, NOW);
            }
            let all = retained.all(None, NOW, 100).messages;
            let all: Vec<_> = all.iter().map(|kept| (kept.topic.clone(), kept.stamp, payload(kept).to_vec())).collect();
            (all, retained.digest(), retained.buckets(), retained.counts())
        };
        let last: BTreeMap<&str, Option<u8>> = events.iter().map(|event| (&*event.0, event.2)).collect();
        let (all, digest, ..) = hear(&events);
        let expected: Vec<(&str, Vec<u8>)> =
            last.iter().filter_map(|(topic, payload)| Some((*topic, vec![(*payload)?]))).collect();
        prop_assert_eq!(all.iter().map(|(topic, _, payload)| (&**topic, payload.clone())).collect::<Vec<_>>(), expected);
        prop_assert_eq!(digest.entries, last.len() as u64);
        prop_assert_eq!(hear(&shuffled), hear(&events));
    }
}

#[derive(Clone, Debug)]
enum Act {
    Set { topic: String, payload: u8, expires_in: Option<u64> },
    Wait(u64),
    Expire,
    Ask(String),
}

fn act() -> impl Strategy<Value = Act> {
    let topic = prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("a-"), Just("$x"), Just("")], 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty());
    let filter = prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("$x"), Just("+")], 1..4);
    let filter = (filter, any::<bool>()).prop_map(|(levels, multi)| levels.join("/") + if multi { "/#" } else { "" });
    prop_oneof![
        4 => (topic, 0_u8..3, prop::option::of(0_u64..500))
            .prop_map(|(topic, payload, expires_in)| Act::Set { topic, payload, expires_in }),
        1 => (0_u64..200).prop_map(Act::Wait),
        1 => Just(Act::Expire),
        4 => filter.prop_map(Act::Ask),
        1 => Just(Act::Ask("#".into())),
    ]
}

proptest! {
    #[test]
    fn retained_messages_are_those_of_a_plain_map(
        acts in prop::collection::vec(act(), 1..80),
        max in 1_usize..6,
        tombstones in 0_usize..4,
    ) {
        let retained = Retained::new(Limits { tombstones, ..PLENTY });
        let mut twin: BTreeMap<String, (u8, Option<Millis>)> = BTreeMap::new();
        let mut now = NOW;
        for act in acts {
            match act {
                Act::Set { topic, payload, expires_in } => {
                    let expires_at = expires_in.map(|length| now + Millis(length));
                    let bytes = if payload == 0 { &[][..] } else { &[payload] };
                    retained.set(&topic, message(&topic, bytes, expires_at), later(), now);
                    match payload {
                        0 => twin.remove(&topic),
                        _ => twin.insert(topic, (payload, expires_at)),
                    };
                }
                Act::Wait(length) => now += Millis(length),
                Act::Expire => while retained.expire(now) > 0 {},
                Act::Ask(text) => {
                    let filter = filter(&text);
                    let slow: Vec<(&str, u8)> = twin
                        .iter()
                        .filter(|(topic, (_, at))| filter.matches(topic) && at.is_none_or(|at| at > now))
                        .map(|(topic, (payload, _))| (topic.as_str(), *payload))
                        .collect();
                    let found = retained.matching(&filter, now);
                    let fast: Vec<(&str, u8)> = found.iter().map(|kept| (&*kept.topic, payload(kept)[0])).collect();
                    prop_assert_eq!(&fast, &slow);
                    let (mut paged, mut after) = (0, None::<Arc<str>>);
                    loop {
                        let page = retained.page(&filter, after.as_deref(), now, max);
                        paged += page.messages.len();
                        after = page.next;
                        if after.is_none() { break }
                    }
                    prop_assert_eq!(paged, slow.len());
                }
            }
        }
        now += Millis(1_000);
        while retained.expire(now) > 0 {}
        twin.retain(|_, (_, at)| at.is_none());
        prop_assert_eq!(retained.counts().messages, twin.len());
        for topic in twin.keys() {
            prop_assert_eq!(retained.remove(topic, later(), now), Outcome::Removed);
        }
        prop_assert_eq!(retained.counts(), Counts::default());
    }
}

/// Prints what the operations cost with a million topics; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a proof"]
fn nanoseconds_with_a_million_topics() {
    let retained = Retained::new(Limits { bytes: 4 << 30, ..PLENTY });
    let topic = |i: usize| format!("site/{}/line/{}/sensor/{}", i % 100, i / 100 % 100, i / 10_000);
    let order: Vec<usize> = (0..1_000_000).map(|i| i * 611_953 % 1_000_000).collect();
    let messages: Vec<Arc<Message>> = order.iter().map(|i| message(&topic(*i), b"21.5", None)).collect();
    for what in ["set, new", "set, again"] {
        let start = std::time::Instant::now();
        for (i, message) in order.iter().zip(&messages) {
            let layout = message.layout();
            let topic = std::str::from_utf8(layout.topic(message.frame())).unwrap();
            assert_eq!(layout.topic(message.frame()).len(), topic.len(), "{i}");
            retained.set(topic, Arc::clone(message), later(), NOW);
        }
        println!("{what}: {} ns", start.elapsed().as_nanos() / 1_000_000);
    }
    for text in ["site/7/line/7/sensor/7", "site/7/line/7/#", "site/7/line/+/sensor/7", "site/+/line/7/sensor/7", "#"] {
        let start = std::time::Instant::now();
        let found = retained.matching(&filter(text), NOW).len();
        println!("{text}: {found} found in {} µs", start.elapsed().as_micros());
    }
}
