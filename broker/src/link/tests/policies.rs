//! Filters of both directions, spool policies, and changes at run time.

use std::time::Duration;

use tombolo_broker_api::{ByteSize, LinkState, Seconds, WhenFull};

use crate::codec::Qos;
use crate::link::{DropReason, Route, Settings, Taken};
use crate::router::Change;

use super::filter;
use super::pair::{Pair, route, settings};

#[test]
fn a_side_asks_only_for_what_its_clients_want_within_what_it_receives() {
    let receive = vec![route(&["plant/+/temp", "alarm/#"], &["alarm/test/#"])];
    let mut pair =
        Pair::with(settings("b"), Settings { receive, ..settings("a") }, &[], &["plant/#", "alarm/fire", "x"]);
    pair.connect();
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["alarm/fire", "plant/+/temp"]);
    pair.links[1].interest_changed(&filter("alarm/#"), Change::Added);
    pair.run();
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["alarm/#", "plant/+/temp"]);
    assert_eq!(pair.publish(0, Qos::AtLeastOnce, "alarm/test/1", "excepted"), Some(Taken::NotWanted));
    assert_eq!(pair.publish(0, Qos::AtLeastOnce, "alarm/water", "wanted"), Some(Taken::Yes));
    assert_eq!(pair.publish(0, Qos::AtLeastOnce, "x", "not received"), None);
    pair.run();
    assert_eq!(pair.payloads(1), ["wanted"]);
}

#[test]
fn a_side_sends_only_what_may_leave_at_the_qos_that_may_leave() {
    let low = Route { max_qos: Qos::AtMostOnce, ..route(&["q0/#"], &[]) };
    let send = Some(vec![low, route(&["free/#"], &["free/not"])]);
    let mut pair = Pair::with(Settings { send, ..settings("b") }, settings("a"), &[], &["#"]);
    pair.connect();
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["free/#", "q0/#"]);
    assert_eq!(pair.publish(0, Qos::ExactlyOnce, "free/not", ""), Some(Taken::NotWanted));
    assert_eq!(pair.publish(0, Qos::ExactlyOnce, "free/1", "f"), Some(Taken::Yes));
    assert_eq!(pair.publish(0, Qos::ExactlyOnce, "q0/1", "q"), Some(Taken::Yes));
    pair.run();
    let got: Vec<_> = pair.sides[1].delivered.iter().map(|message| (message.topic.as_str(), message.qos)).collect();
    assert_eq!(got, [("free/1", Qos::ExactlyOnce), ("q0/1", Qos::AtMostOnce)]);
}

#[test]
fn a_side_takes_only_what_it_receives_whatever_the_other_sends() {
    let low = Route { max_qos: Qos::AtLeastOnce, ..route(&["low/#"], &[]) };
    let receive = vec![low, route(&["ok"], &[])];
    let mut pair = Pair::with(settings("b"), Settings { receive, ..settings("a") }, &[], &["#"]);
    pair.connect();
    for topic in ["ok", "low/1", "evil"] {
        // As a remote that does not keep to the interest.
        let packet = super::packet(crate::codec::Version::V5, Qos::ExactlyOnce, topic, &[], b"");
        pair.links[0].forward(&super::local(&packet), pair.now);
    }
    pair.run();
    let got: Vec<_> = pair.sides[1].delivered.iter().map(|message| (message.topic.as_str(), message.qos)).collect();
    assert_eq!(got, [("ok", Qos::ExactlyOnce), ("low/1", Qos::AtLeastOnce)]);
    assert_eq!(pair.status(1).messages_dropped["NotAllowed"], 1);
}

/// A link whose spool holds some small messages and is not connected any more.
fn outage(when_full: WhenFull) -> Pair {
    let mut a = settings("b");
    a.spool.max_bytes = ByteSize(1000);
    a.spool.when_full = when_full;
    let mut pair = Pair::with(a, settings("a"), &[], &["#"]);
    let conn = pair.connect();
    pair.cut(conn);
    pair
}

/// Publishes numbers from 0 on; says how many were taken, and what the other side gets in the end.
fn through_an_outage(pair: &mut Pair, messages: usize) -> (usize, Vec<usize>) {
    let mut taken = 0;
    for number in 0..messages {
        let text = format!("{number:050}");
        taken +=
            usize::from(matches!(pair.publish(0, Qos::ExactlyOnce, "t", &text), Some(Taken::Yes | Taken::YesHold)));
        pair.turn();
    }
    assert!(pair.status(0).spool.bytes <= 1100 || pair.sides[0].pressure == [true]);
    pair.connect();
    (taken, pair.payloads(1).iter().map(|text| text.parse().expect("payloads are numbers")).collect())
}

#[test]
fn a_full_spool_that_drops_the_oldest_keeps_the_newest() {
    let mut pair = outage(WhenFull::DropOldest);
    let (taken, got) = through_an_outage(&mut pair, 100);
    assert_eq!(taken, 100);
    assert!(got.len() >= 8 && got == Vec::from_iter(100 - got.len()..100), "{got:?}");
    assert_eq!(pair.status(0).messages_dropped["SpoolOverwritten"], 100 - got.len() as u64);
}

#[test]
fn a_full_spool_that_drops_the_newest_keeps_the_oldest() {
    let mut pair = outage(WhenFull::DropNewest);
    let (taken, got) = through_an_outage(&mut pair, 100);
    assert!(taken >= 5 && got == Vec::from_iter(0..taken), "{got:?}");
    assert_eq!(pair.status(0).messages_dropped["SpoolFull"], 100 - taken as u64);
}

#[test]
fn a_full_spool_with_backpressure_holds_publishers_and_loses_nothing() {
    let mut pair = outage(WhenFull::Backpressure);
    let (taken, got) = through_an_outage(&mut pair, 100);
    assert_eq!((taken, got), (100, Vec::from_iter(0..100)));
    assert_eq!(pair.sides[0].pressure, [true, false]);
    assert!(!pair.links[0].holds_publishers());
}

#[test]
fn messages_that_grow_too_old_are_dropped_and_counted() {
    let mut a = settings("b");
    a.spool.max_age = Seconds(60);
    let mut pair = Pair::with(a, settings("a"), &[], &["#"]);
    let conn = pair.connect();
    pair.cut(conn);
    pair.publish(0, Qos::AtLeastOnce, "t", "old");
    pair.now += Duration::from_secs(61);
    pair.links[0].tick(&mut pair.sides[0], pair.now);
    pair.publish(0, Qos::AtLeastOnce, "t", "new");
    assert_eq!(pair.status(0).messages_dropped[DropReason::SpoolAged.name()], 1);
    pair.connect();
    assert_eq!(pair.payloads(1), ["new"]);
}

#[test]
fn a_disabled_link_keeps_its_spool_and_interest_and_goes_on_where_it_was() {
    let mut pair = Pair::new(&[], &["#"]);
    pair.connect();
    pair.links[0].configure(&mut pair.sides[0], Settings { enabled: false, ..settings("b") }, [], pair.now);
    assert_eq!(pair.status(0).state, LinkState::Disabled);
    pair.links[1].disconnected(&mut pair.sides[1], crate::link::Conn(1), pair.now);
    assert_eq!(pair.publish(0, Qos::AtLeastOnce, "t", "kept"), Some(Taken::Yes));
    pair.connect();
    assert_eq!(pair.refusal(0), Some("LinkDisabled"));
    assert_eq!(pair.payloads(1), Vec::<&str>::new());
    pair.links[0].configure(&mut pair.sides[0], settings("b"), [], pair.now);
    pair.connect();
    assert_eq!(pair.payloads(1), ["kept"]);
}

#[test]
fn a_filter_added_to_a_running_link_is_served_without_a_new_connection() {
    let receive = |filters: &[&str]| Settings { receive: vec![route(filters, &[])], ..settings("a") };
    let mut pair = Pair::with(settings("b"), receive(&["one"]), &[], &["#"]);
    let conn = pair.connect();
    pair.links[1].configure(&mut pair.sides[1], receive(&["one", "two"]), [filter("#")], pair.now);
    pair.run();
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["one", "two"]);
    assert!(pair.status(1).ready);
    pair.publish(0, Qos::AtLeastOnce, "two", "2");
    pair.run();
    assert_eq!(pair.payloads(1), ["2"]);
    assert!(pair.sides.iter().all(|side| side.closed.is_empty()), "{conn:?} still stands");
}

#[test]
fn what_clients_want_is_taken_up_with_other_settings_even_if_filters_are_the_same() {
    let mut pair = Pair::new(&[], &["old"]);
    pair.connect();
    let heartbeat = Duration::from_secs(9);
    let settings = Settings { heartbeat, ..settings("a") };
    pair.links[1].configure(&mut pair.sides[1], settings, [filter("new")], pair.now);
    pair.run();
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["new"]);
}

#[test]
fn interest_is_kept_through_an_outage_and_replaced_after_it() {
    let mut pair = Pair::new(&[], &["kept", "gone"]);
    let conn = pair.connect();
    pair.cut(conn);
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["gone", "kept"]);
    pair.links[1].interest_replaced([filter("kept"), filter("new")]);
    assert!(!pair.status(1).in_sync);
    pair.connect();
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["kept", "new"]);
    assert!(pair.status(1).ready);
}

#[test]
fn a_link_that_is_made_again_is_not_taken_for_the_one_before() {
    let mut pair = Pair::new(&[], &["#"]);
    pair.connect();
    for number in 0..5 {
        pair.publish(0, Qos::ExactlyOnce, "t", &format!("first {number}"));
        pair.run();
    }
    pair.links[0].shut(&mut pair.sides[0], pair.now);
    pair.links[1].disconnected(&mut pair.sides[1], crate::link::Conn(1), pair.now);
    pair.now += Duration::from_secs(1);
    pair.links[0] = crate::link::Link::new(super::pair::identity("a"), settings("b"), []);
    pair.connect();
    pair.publish(0, Qos::ExactlyOnce, "t", "second");
    pair.run();
    assert_eq!((pair.payloads(1).len(), pair.payloads(1)[5], pair.refusal(1)), (6, "second", None));
}

#[test]
fn a_link_that_is_shut_leaves_nothing_in_the_index() {
    let mut pair = Pair::new(&[], &["a", "b/#"]);
    pair.connect();
    pair.links[0].shut(&mut pair.sides[0], pair.now);
    assert!(pair.sides[0].routes.is_empty());
    assert_eq!(pair.refusal(0), Some("LinkClosed"));
}
