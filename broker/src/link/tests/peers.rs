//! Links between nodes of one cluster: who they are, what they tell each other, and by what they route.

use std::time::Duration;

use tombolo_broker_api::{self as api, PeerState};

use crate::clock::Stamp;
use crate::codec::{Qos, Version};
use crate::link::{Aside, Forward, Link, Local, Mark, Settings, Taken};
use crate::router::{Path, SharedSubscription};

use super::pair::{Pair, Side, identity, node, settings};
use super::{filter, local, packet};

const STAMP: Stamp = Stamp { time: 7 << 16, node: 3 };

/// A shared subscription of group `g`.
fn share(text: &str, number: u32, online: u32, offline: u32) -> SharedSubscription {
    SharedSubscription { group: "g".into(), filter: filter(text), number, online, offline }
}

/// What the other side holds of this side's shared subscriptions.
fn held(side: &Side) -> Vec<SharedSubscription> {
    side.shares.values().cloned().collect()
}

/// Forwards a message whether its topic is wanted or not.
fn forward(pair: &mut Pair, qos: Qos, topic: &str, shard: u8, aside: Aside<'_>) -> Taken {
    let packet = packet(Version::V5, qos, topic, &[], b"m");
    pair.links[0].forward(&Forward { shard, aside, ..local(&packet) }, pair.now)
}

fn link(own: Local, other: &str) -> Link {
    let settings = Settings::peer(other, &own, api::Spool::default(), Duration::from_secs(15));
    Link::new(own, settings, [])
}

#[test]
fn two_nodes_that_mean_each_other_are_ready_and_serve_all_even_what_begins_with_a_dollar() {
    let mut pair = Pair::peers(&["$SYS/#"], &["#", "$SYS/x", "a/+"]);
    assert_eq!(pair.links[0].peer_status(pair.now, 0).state, PeerState::Unreachable);
    pair.connect();
    assert_eq!(Vec::from_iter(&pair.sides[0].routes), ["#", "$SYS/x"]);
    assert_eq!(Vec::from_iter(&pair.sides[1].routes), ["$SYS/#"]);
    for topic in ["$SYS/x", "a/b"] {
        assert_eq!(pair.publish(0, Qos::ExactlyOnce, topic, topic), Some(Taken::Yes));
    }
    pair.run();
    assert_eq!(pair.payloads(1), ["$SYS/x", "a/b"]);
    let status = pair.links[0].peer_status(pair.now, 0);
    assert_eq!((status.node.as_str(), status.state, status.ready), ("n1", PeerState::Connected, true));
    assert_eq!((status.filters_told, status.filters_held, status.messages_sent), (1, 2, 2));
    assert_eq!((status.outbox.messages, status.last_error), (0, None));
}

#[test]
fn who_is_not_the_node_that_is_meant_is_refused_by_the_same_name_on_both_sides() {
    let foreign = Local { cluster_name: "other".into(), ..node("n1") };
    let other_id = Local { cluster_id: "id-2".into(), ..node("n1") };
    // Who dials, whom it means; who answers, whom that means.
    let table = [
        ("ClusterNameMismatch", link(node("n0"), "n1"), link(foreign, "n0")),
        ("ClusterIdMismatch", link(node("n0"), "n1"), link(other_id, "n0")),
        ("OwnNode", link(node("n0"), "n1"), link(node("n0"), "n1")),
        ("NodeMismatch", link(node("n0"), "n1"), link(node("n2"), "n0")),
        ("NodeMismatch", link(node("n0"), "n1"), link(node("n1"), "n2")),
        ("ClusterNameMismatch", link(node("n0"), "n1"), Link::new(identity("a"), settings("home"), [])),
        ("OwnCluster", Link::new(node("n1"), settings("home"), []), Link::new(node("n0"), settings("home"), [])),
    ];
    for (name, dials, answers) in table {
        let mut pair = Pair::of([dials, answers]);
        pair.connect();
        for side in [0, 1] {
            let status = pair.links[side].peer_status(pair.now, 0);
            assert_eq!(status.last_error.map(|error| error.reason).as_deref(), Some(name), "side {side}");
            assert_eq!(status.state, PeerState::Unreachable);
        }
    }
}

#[test]
fn stamp_and_shares_come_as_they_went_with_shard_node_and_path() {
    let asides = [
        Aside::default(),
        Aside { stamp: Some(STAMP), ..Aside::default() },
        Aside { shares: &[1, u32::MAX], ..Aside::default() },
        Aside { stamp: Some(STAMP), shares: &[9], shares_only: true, origin: None },
    ];
    let mut pair = Pair::peers(&[], &[]);
    pair.connect();
    let mut way = Vec::new();
    Path::EMPTY.extend("id-far", &mut way);
    for (count, aside) in (0_u8..).zip(asides) {
        for (shard, bytes) in [(count, [].as_slice()), (0, &way), (63, &[])] {
            let packet = packet(Version::V5, Qos::AtLeastOnce, "t", &[], b"m");
            let path = Path::parse(bytes).expect("it was built just now");
            pair.sides[1].delivered.clear();
            let taken = pair.links[0].forward(&Forward { path, shard, aside, ..local(&packet) }, pair.now);
            assert_eq!(taken, Taken::Yes);
            pair.run();
            let message = &pair.sides[1].delivered[0];
            let (shares, shares_only) = (&*message.shares, message.shares_only);
            let came = Aside { stamp: message.stamp, shares, shares_only, origin: None };
            assert_eq!((came, message.shard, message.node.as_deref()), (aside, shard, Some("n0")));
            let expected: &[&str] = if bytes.is_empty() { &[] } else { &["id-far"] };
            assert_eq!(message.path, expected, "between nodes nothing is added");
        }
    }
}

#[test]
fn a_stamped_message_of_qos_0_waits_for_the_peer_and_others_do_not() {
    let mut pair = Pair::peers(&[], &[]);
    let conn = pair.connect();
    pair.cut(conn);
    let stamped = Aside { stamp: Some(STAMP), ..Aside::default() };
    assert_eq!(forward(&mut pair, Qos::AtMostOnce, "kept", 0, stamped), Taken::Yes);
    assert!(matches!(forward(&mut pair, Qos::AtMostOnce, "lost", 0, Aside::default()), Taken::Dropped(_)));
    assert_eq!(pair.links[0].peer_status(pair.now, 0).outbox.messages, 1);
    pair.connect();
    let got: Vec<_> = pair.sides[1].delivered.iter().map(|m| (m.topic.as_str(), m.qos, m.stamp)).collect();
    assert_eq!(got, [("kept", Qos::AtMostOnce, Some(STAMP))]);
}

#[test]
fn another_cluster_can_give_no_stamp_and_choose_no_member() {
    for aside in [Aside { stamp: Some(STAMP), ..Aside::default() }, Aside { shares: &[1], ..Aside::default() }] {
        let mut pair = Pair::new(&[], &["#"]);
        pair.connect();
        assert_eq!(forward(&mut pair, Qos::AtLeastOnce, "evil", 0, aside), Taken::Yes);
        assert_eq!(forward(&mut pair, Qos::AtLeastOnce, "good", 0, Aside::default()), Taken::Yes);
        pair.run();
        let topics: Vec<_> = pair.sides[1].delivered.iter().map(|message| message.topic.as_str()).collect();
        assert_eq!((topics, pair.status(1).messages_dropped["Malformed"]), (vec!["good"], 1));
    }
}

#[test]
fn shared_subscriptions_are_told_changed_taken_back_and_replaced() {
    let mut pair = Pair::peers(&[], &["plain"]);
    pair.links[1].shares_replaced([share("a", 1, 2, 0), share("b/#", 2, 0, 1)]);
    let conn = pair.connect();
    assert_eq!(held(&pair.sides[0]), [share("a", 1, 2, 0), share("b/#", 2, 0, 1)]);
    assert_eq!(pair.links[1].peer_status(pair.now, 0).filters_told, 3);
    assert_eq!(pair.links[0].peer_status(pair.now, 0).filters_held, 3);
    let told = pair.links[1].told();
    for online in [3, 4, 5] {
        pair.links[1].share_changed(&share("a", 1, online, 1));
    }
    pair.links[1].share_changed(&share("b/#", 2, 0, 0));
    pair.links[1].share_changed(&share("c", 3, 1, 0));
    pair.run();
    assert_eq!(held(&pair.sides[0]), [share("a", 1, 5, 1), share("c", 3, 1, 0)]);
    assert_eq!(pair.links[1].told().number, told.number + 1, "changes that gathered are one version");
    pair.links[1].share_changed(&share("a", 1, 9, 9));
    pair.links[1].share_changed(&share("a", 1, 5, 1));
    assert!(!pair.links[1].has_untold(), "what changes back is as it was told");
    pair.cut(conn);
    pair.links[1].shares_replaced([share("c", 4, 1, 0)]);
    assert_eq!(held(&pair.sides[0]).len(), 2, "they are kept through an outage");
    pair.connect();
    assert_eq!(held(&pair.sides[0]), [share("c", 4, 1, 0)]);
    assert!(pair.links.iter().all(|link| link.is_ready(pair.now)));
    pair.links[0].shut(&mut pair.sides[0], pair.now);
    assert!(pair.sides[0].shares.is_empty() && pair.sides[0].routes.is_empty());
}

#[test]
fn a_peer_that_holds_other_shared_subscriptions_than_it_was_told_is_told_again() {
    let mut pair = Pair::peers(&[], &[]);
    pair.links[1].shares_replaced([share("a", 1, 1, 0)]);
    pair.connect();
    let versions = pair.links[1].told();
    // It starts anew without memory of any of it, and says so in its greeting.
    let anew = Local { incarnation: 2, ..node("n0") };
    let settings = pair.links[0].settings().clone();
    pair.links[0] = Link::new(anew, settings, []);
    pair.sides[0] = Side::default();
    pair.connect();
    assert_eq!(held(&pair.sides[0]), [share("a", 1, 1, 0)]);
    assert!(
        pair.links[1].told() == versions && pair.links[1].is_ready(pair.now),
        "it is told the same version as a whole"
    );
}

#[test]
fn a_version_is_settled_when_every_shard_of_the_peer_has_marked_it() {
    let mut pair = Pair::peers(&[], &["a"]);
    pair.holds_marks = true;
    pair.connect();
    let told = pair.links[1].told();
    let [mark] = pair.sides[0].announced.as_slice() else { panic!("{:?}", pair.sides[0].announced) };
    assert_eq!((mark.version, &*mark.cluster, &*mark.node), (told, "id-home", "n1"));
    let mark = mark.clone();
    pair.links[0].marked(1, &mark);
    pair.run();
    assert!(pair.links[1].settled() < told && !pair.links[1].is_in_sync());
    pair.links[0].marked(0, &mark);
    pair.run();
    assert!(pair.links[1].settled() == told && pair.links[1].is_in_sync());
    pair.links[1].interest_changed(&filter("b"), crate::router::Change::Added);
    assert!(pair.links[1].has_untold());
    pair.run();
    assert!(pair.links[1].settled() == told && pair.links[1].told() > told && !pair.links[1].is_in_sync());
    pair.cut(crate::link::Conn(1));
    assert!(!pair.links[1].is_connected() && pair.links[1].settled() == Default::default());
}

#[test]
fn a_lane_that_is_added_bears_the_marks_of_all_that_is_routed_by() {
    let mut pair = Pair::peers(&[], &["a"]);
    pair.connect();
    let mut side = Side::default();
    pair.links[0].announce(&mut side);
    let expected = Mark { cluster: "id-home".into(), node: "n1".into(), version: pair.links[1].told() };
    assert_eq!(side.announced, [expected]);
}

#[test]
fn control_messages_cross_as_they_are_and_are_not_kept() {
    let mut pair = Pair::peers(&[], &[]);
    assert!(!pair.links[0].control(&mut pair.sides[0], b"before"));
    let conn = pair.connect();
    assert!(pair.links[0].control(&mut pair.sides[0], b"there"));
    assert!(pair.links[1].control(&mut pair.sides[1], b"back"));
    pair.run();
    assert_eq!(pair.sides[1].controls, [("n0".to_owned(), b"there".to_vec())]);
    assert_eq!(pair.sides[0].controls, [("n1".to_owned(), b"back".to_vec())]);
    pair.sides[0].no_room = true;
    assert!(!pair.links[0].control(&mut pair.sides[0], b"no room"));
    pair.sides[0].no_room = false;
    assert!(!pair.links[0].control(&mut pair.sides[0], &vec![0; 2 << 20]), "larger than the peer takes");
    pair.cut(conn);
    assert!(!pair.links[0].control(&mut pair.sides[0], b"after"));
    let mut clusters = Pair::new(&[], &[]);
    clusters.connect();
    assert!(!clusters.links[0].control(&mut clusters.sides[0], b"between clusters"));
}

#[test]
fn a_stake_is_told_even_if_nothing_differs_and_is_marked_by_the_other_side() {
    let mut pair = Pair::peers(&["a"], &[]);
    // Before anybody was reached it is the next version, with all that is wanted.
    let first = pair.links[0].stake();
    let conn = pair.connect();
    assert!(pair.links[0].told() >= first, "{first:?} was told");
    let before = pair.links[0].told();
    let second = pair.links[0].stake();
    assert!(second > before, "{second:?} is a version of its own");
    pair.run();
    assert_eq!(pair.links[0].settled(), second, "the other side routes by it");
    // It is known at once while nobody can be told, too.
    pair.cut(conn);
    let third = pair.links[0].stake();
    assert!(third > second);
    pair.connect();
    assert_eq!(pair.links[0].settled(), third);
    let second = third;
    let passed = pair.sides[0].passed.iter().filter(|(_, _, mark)| &*mark.node == "n0" && mark.version == second);
    let passed: Vec<_> = passed.map(|(node, shard, _)| (&**node, *shard)).collect();
    assert_eq!(passed, [("n1", 0), ("n1", 1)], "each of its shards says so in its lane");
}
