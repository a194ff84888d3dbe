//! Single cases: expiry, tombstones and their bounds, nodes that are full, topics with one hash.

use super::super::super::store::{Limits, Outcome};
use super::super::super::{Digest, TOMBSTONE_AGE};
use super::super::wire;
use super::world::{PLENTY, Weather, World, message};
use crate::clock::{Millis, Stamp};
use crate::digest::digest;

/// Long enough for passes that follow each other with the longest pauses.
const LONG: Millis = Millis(2_000_000);

fn topics(world: &World, node: usize) -> Vec<String> {
    world.content(node).into_keys().collect()
}

#[test]
fn the_later_of_two_that_were_published_on_both_sides_of_a_cut_wins_at_both() {
    let mut world = World::new(1, &[PLENTY; 2]);
    world.cut(0, 1);
    world.publish(0, "a", b"earlier", None, 100);
    world.run(Millis(5));
    world.publish(1, "a", b"later", None, 100);
    world.publish(1, "b", b"earlier", None, 100);
    world.run(Millis(5));
    world.publish(0, "b", b"", None, 100);
    world.heal(0, 1);
    assert!(world.run_until(Millis(20_000), World::is_level));
    for node in 0..2 {
        assert_eq!(world.content(node)["a"].1, b"later");
        assert_eq!(topics(&world, node), ["a"]);
    }
}

#[test]
fn a_removal_reaches_a_node_that_was_away_and_what_it_still_holds_is_not_brought_back() {
    let mut world = World::new(1, &[PLENTY; 3]);
    world.publish(0, "a", b"1", None, 0);
    world.publish(0, "short", b"1", None, 0);
    world.run(Millis(5_000));
    world.cut(0, 2);
    world.cut(1, 2);
    world.publish(0, "a", b"", None, 100);
    world.publish(0, "short", b"2", Some(Millis(1_000)), 100);
    world.run(Millis(60_000));
    world.cut(0, 1);
    // Node 1 knows of it by levelling alone, and is the only one that node 2 meets.
    world.heal(1, 2);
    assert!(world.run_until(world.now + Millis(60_000), |world| world.content(2).is_empty()));
    assert!(topics(&world, 1).is_empty());
}

#[test]
fn a_node_that_was_away_for_longer_than_tombstones_last_brings_back_what_was_removed() {
    let mut world = World::new(1, &[PLENTY; 2]);
    for topic in ["a", "b"] {
        world.publish(0, topic, b"1", None, 0);
    }
    world.run(Millis(5_000));
    world.cut(0, 1);
    world.publish(0, "a", b"", None, 100);
    world.run(Millis(60_000));
    let tombstones = |world: &World| world.nodes[0].retained.digest().entries - world.content(0).len() as u64;
    assert_eq!(tombstones(&world), 1);
    world.now += TOMBSTONE_AGE;
    world.nodes[0].retained.expire(world.now);
    assert_eq!(tombstones(&world), 0);
    world.heal(0, 1);
    assert!(world.run_until(world.now + Millis(60_000), World::is_level));
    assert_eq!(topics(&world, 0), ["a", "b"]);
}

#[test]
fn tombstones_are_forgotten_by_all_nodes_and_none_reminds_another() {
    let mut world = World::new(1, &[PLENTY; 2]);
    for i in 0..100 {
        world.publish(0, &format!("t/{i}"), b"1", None, 0);
        world.publish(0, &format!("t/{i}"), b"", None, 0);
    }
    // By levelling, minutes later.
    world.run(Millis(300_000));
    world.join(PLENTY);
    assert!(world.run_until(world.now + Millis(60_000), World::is_level));
    assert_eq!(world.nodes[2].retained.digest().entries, 100);
    let forgotten = |world: &World| world.nodes.iter().all(|node| node.retained.digest() == Digest::default());
    world.run(TOMBSTONE_AGE);
    assert!(world.run_until(world.now + Millis(10_000), forgotten), "they remind each other");
}

#[test]
fn a_tombstone_that_is_about_to_be_forgotten_is_told_to_those_alone_who_hold_the_message() {
    let mut world = World::new(1, &[PLENTY; 2]);
    world.publish(0, "held", b"1", None, 0);
    world.run(Millis(1_000));
    world.cut(0, 1);
    world.publish(0, "held", b"", None, 100);
    world.publish(0, "unknown", b"", None, 100);
    world.now = Millis(TOMBSTONE_AGE.0 - 30_000);
    world.heal(0, 1);
    world.run(Millis(15_000));
    assert!(topics(&world, 1).is_empty());
    assert_eq!((world.nodes[0].retained.digest().entries, world.nodes[1].retained.digest().entries), (2, 1));
    assert!(world.run_until(world.now + Millis(60_000), World::is_level));
}

#[test]
fn of_more_tombstones_than_a_node_may_keep_all_nodes_keep_the_same() {
    let few = Limits { tombstones: 50, ..PLENTY };
    let mut world = World::new(1, &[few; 2]);
    for i in 0..120 {
        world.publish(i % 2, &format!("t/{i}"), b"", None, 50);
        world.run(Millis(1));
    }
    assert!(world.run_until(Millis(120_000), World::is_level));
    assert_eq!(world.nodes[0].retained.digest().entries, 50);
}

#[test]
fn messages_that_expire_a_little_earlier_at_one_node_make_no_difference() {
    let mut world = World::new(1, &[PLENTY; 2]);
    world.run(Millis(10_000));
    let stamp = world.stamp(0);
    for (node, expires_at) in [(0, 20_100), (1, 23_900)] {
        world.nodes[node].retained.set("a", message("a", b"1", Some(Millis(expires_at))), stamp, world.now);
    }
    let passes = |world: &mut World| world.leveller(0, 1).counts().passes + world.leveller(1, 0).counts().passes;
    let before = passes(&mut world);
    while world.now < Millis(40_000) {
        world.run(Millis(100));
        assert!(world.is_level(), "{}", world.now);
    }
    assert_eq!(world.nodes.iter().map(|node| node.retained.counts().messages).sum::<usize>(), 0);
    assert_eq!(passes(&mut world), before);
}

#[test]
fn a_node_that_is_full_gets_what_is_new_of_its_topics_and_is_not_sent_the_rest_again_and_again() {
    let small = Limits { messages: 100, ..PLENTY };
    let mut world = World::new(1, &[PLENTY, small]);
    for i in 0..5_000 {
        world.publish(0, &format!("t/{i}"), &[b'x'; 100], None, 100);
    }
    world.run(Millis(60_000));
    assert!(world.leveller(1, 0).is_level(), "as far as it can be");
    assert!(world.leveller(1, 0).counts().refused > 0);
    assert_eq!(world.content(1).len(), 100);
    // Its topics are kept up to date, and no others are brought.
    let known = topics(&world, 1);
    let before = world.bytes;
    for topic in &known[..10] {
        world.publish(0, topic, b"new", None, 100);
    }
    world.publish(0, &known[10], b"", None, 100);
    world.run(Millis(400_000));
    assert!(known[..10].iter().all(|topic| world.content(1)[topic].1 == b"new"));
    let bytes = world.bytes - before;
    assert!(bytes < 1_000_000, "{bytes} bytes");
    // One was removed: there is room for another one. Then it has rest.
    assert_eq!(world.content(1).len(), 100);
    world.run(LONG);
    let before = world.bytes;
    world.run(LONG);
    assert!(world.bytes - before < 500_000, "{} bytes in {LONG}", world.bytes - before);
}

#[test]
fn two_nodes_that_cannot_become_equal_spend_little_on_trying_even_if_both_change_all_the_time() {
    let small = Limits { messages: 2_000, ..PLENTY };
    let mut world = World::new(1, &[PLENTY, small]);
    for i in 0..20_000 {
        world.publish(0, &format!("t/{i}"), b"1", None, 100);
    }
    world.run(Millis(120_000));
    let before = world.bytes;
    for i in 0..4_000 {
        world.publish(0, &format!("t/{i}"), b"2", None, 0);
        world.run(Millis(1_000));
    }
    // One side asks for what the other has of its 2,000, telling most of the 20,000: 8 bytes in each millisecond.
    let rate = (world.bytes - before) / 4_000;
    assert!(rate < 10_000, "{rate} bytes in a second");
    assert!(world.leveller(0, 1).counts().passes > 3);
}

#[test]
fn a_message_that_the_limit_of_bytes_refuses_is_counted_and_not_asked_for_without_end() {
    let small = Limits { bytes: 200_000, ..PLENTY };
    let mut world = World::new(1, &[PLENTY, small]);
    world.publish(0, "much", &[1; 500_000], None, 100);
    world.publish(0, "large", &[1; 190_000], None, 100);
    world.publish(0, "small", b"1", None, 100);
    world.run(LONG);
    assert!(world.leveller(1, 0).counts().refused > 0);
    assert!(topics(&world, 1).contains(&"small".to_owned()));
    let before = world.bytes;
    world.run(LONG);
    assert!(world.bytes - before < 100_000, "{} bytes in {LONG}", world.bytes - before);
}

#[test]
fn topics_with_one_hash_are_told_apart() {
    let pairs = [
        ("8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"),
        ("gMPflVXtwGDXbIhP73TX", "LtHf1prlU1bCeYZEdqWf"),
        ("7mohtcOFVz", "c1E51sSEyx"),
    ];
    for (one, other) in pairs {
        assert_eq!(digest(one), digest(other));
        // Each at one node, the later at either; and both at one of them.
        for (first, second) in [((0, one), (1, other)), ((1, one), (0, other)), ((0, one), (0, other))] {
            let mut world = World::new(1, &[PLENTY; 2]);
            world.publish(first.0, first.1, b"1", None, 100);
            world.run(Millis(10));
            world.publish(second.0, second.1, b"2", None, 100);
            assert!(world.run_until(Millis(120_000), World::is_level));
            assert_eq!(world.content(0).len(), 2);
            assert_eq!(world.content(0), world.content(1));
            // To remove one of them removes one of them.
            world.publish(0, one, b"", None, 100);
            assert!(world.run_until(world.now + Millis(120_000), World::is_level));
            assert_eq!(topics(&world, 1), [other]);
        }
    }
}

#[test]
fn what_a_stamp_of_far_ahead_says_is_equal_everywhere_too() {
    let mut world = World::new(1, &[PLENTY; 2]);
    let ahead = Stamp { time: u64::MAX - 1, node: u64::MAX };
    let outcome = world.nodes[0].retained.set("a", message("a", b"1", None), ahead, world.now);
    assert_eq!(outcome, Outcome::Stored);
    world.publish(1, "a", b"2", None, 0);
    assert!(world.run_until(Millis(20_000), World::is_level));
    assert_eq!(world.content(1)["a"].1, b"1");
}

#[test]
fn what_is_no_payload_of_ours_is_counted_and_changes_nothing() {
    let mut world = World::new(1, &[PLENTY; 2]);
    world.publish(0, "a", b"1", None, 0);
    world.weather = Weather { lost: 100, twice: 0, delay: (1, 1) };
    world.run(Millis(2_500));
    let before = world.nodes[0].retained.digest();
    for payload in [&[][..], b"x", &[wire::PREFIX], &[wire::PREFIX, 200], &[wire::PREFIX, 4, 1]] {
        world.deliver(1, 0, payload);
    }
    assert_eq!(world.leveller(0, 1).counts().malformed, 5);
    assert_eq!(world.nodes[0].retained.digest(), before);
}
