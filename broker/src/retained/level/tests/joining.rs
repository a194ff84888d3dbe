//! Nodes that join with nothing, and single differences among much: what it costs.

use super::super::pass::WINDOW;
use super::super::wire;
use super::world::{PLENTY, Weather, World, message};
use crate::clock::Millis;

const MANY: usize = 100_000;

/// So many messages at node 0, as if they were there from the start.
fn fill(world: &mut World, many: usize) -> usize {
    let mut bytes = 0;
    for i in 0..many {
        let topic = format!("site/{}/line/{}/sensor/{i}", i % 100, i / 100 % 100);
        let stamp = world.stamp(0);
        let message = message(&topic, b"21.5 degrees", None);
        bytes += message.frame().len();
        world.nodes[0].retained.set(&topic, message, stamp, world.now);
    }
    bytes
}

#[test]
fn a_node_with_nothing_gets_a_hundred_thousand_messages_in_bounded_bites() {
    let mut world = World::new(1, &[PLENTY]);
    let bytes = fill(&mut world, MANY);
    world.join(PLENTY);
    world.weather.delay = (5, 5);
    assert!(!world.leveller(1, 0).is_level());
    let end = Millis(20_000);
    assert!(world.run_until(end, |world| world.nodes[1].levellers[&0].is_level()));
    assert!(world.is_level());
    assert_eq!(world.content(1), world.content(0));
    // 50 bytes for each message beside its packet; windows of pages, each in its time; and never more than that.
    assert!(world.bytes < bytes + 50 * MANY, "{} bytes for {bytes}", world.bytes);
    let windows = world.bytes / (WINDOW * wire::PAGE_BYTES) + 1;
    assert!(world.now < Millis(2_000 + windows as u64 * 15), "{}", world.now);
    assert!(world.on_the_way_max <= WINDOW * wire::PAGE_BYTES, "{} on the way", world.on_the_way_max);
    let counts = world.leveller(1, 0).counts();
    assert_eq!((counts.passes, counts.brought, counts.refused, counts.failed), (1, MANY as u64, 0, 0));
    assert_eq!(world.leveller(0, 1).counts().brought, 0);
}

#[test]
fn a_node_that_joins_two_others_asks_one_at_a_time_and_gets_nothing_twice() {
    let mut world = World::new(1, &[PLENTY, PLENTY]);
    let bytes = fill(&mut world, 5_000);
    assert!(world.run_until(Millis(60_000), World::is_level));
    let before = world.bytes;
    world.join(PLENTY);
    assert!(world.run_until(world.now + Millis(60_000), World::is_level));
    assert!(world.bytes - before < bytes * 2, "{} bytes for {bytes}", world.bytes - before);
    assert_eq!(world.content(2), world.content(0));
}

#[test]
fn a_single_difference_among_a_hundred_thousand_costs_no_more_than_forty_kilobytes() {
    let mut world = World::new(1, &[PLENTY]);
    fill(&mut world, MANY);
    world.join(PLENTY);
    assert!(world.run_until(Millis(20_000), World::is_level));
    world.run(Millis(20_000));
    let before = world.bytes;
    world.publish(0, "site/7/line/7/sensor/707", b"", None, 100);
    world.publish(1, "new", b"1", None, 100);
    assert!(!world.is_level());
    let end = world.now + Millis(60_000);
    assert!(world.run_until(end, World::is_level));
    assert_eq!(world.content(1), world.content(0));
    assert!(world.bytes - before < 40_000, "{} bytes", world.bytes - before);
}

#[test]
fn a_pass_that_is_cut_off_goes_on_with_what_is_left() {
    let mut world = World::new(1, &[PLENTY]);
    let bytes = fill(&mut world, 20_000);
    world.join(PLENTY);
    world.weather = Weather { lost: 1, twice: 1, delay: (1, 20) };
    for _ in 0..5 {
        world.run(Millis(80));
        world.cut(0, 1);
        world.run(Millis(10));
        world.heal(0, 1);
    }
    assert!(world.leveller(1, 0).counts().failed > 0);
    assert!(world.run_until(Millis(120_000), World::is_level));
    assert_eq!(world.content(1), world.content(0));
    assert!(world.bytes < bytes * 3, "{} bytes for {bytes}", world.bytes);
}

#[test]
fn a_message_that_is_larger_than_a_page_comes_in_pieces() {
    let mut world = World::new(1, &[PLENTY]);
    let sizes = [1, wire::PAGE_BYTES - 200, wire::PAGE_BYTES, 3 * wire::PIECE_BYTES, 5_000_000];
    for (i, size) in sizes.iter().enumerate() {
        for copy in 0..3 {
            let payload: Vec<u8> = (0..*size).map(|at| (at * 31 + i + copy) as u8).collect();
            world.publish(0, &format!("large/{i}/{copy}"), &payload, Some(Millis(600_000)), 0);
        }
    }
    world.join(PLENTY);
    world.weather = Weather { lost: 10, twice: 10, delay: (1, 50) };
    assert!(world.run_until(Millis(590_000), World::is_level));
    assert_eq!(world.content(1), world.content(0));
    assert_eq!(world.content(1).len(), sizes.len() * 3);
    assert_eq!(world.leveller(1, 0).counts().malformed, 0);
    // They expire there as they do here.
    let end = Millis(610_000);
    world.run_until(end, |_| false);
    assert!(world.content(1).is_empty() && world.is_level());
}

#[test]
fn a_large_message_that_is_removed_while_it_is_fetched_does_not_come_back() {
    let mut world = World::new(1, &[PLENTY]);
    world.publish(0, "large", &vec![7; 40 * wire::PIECE_BYTES], None, 0);
    world.publish(0, "small", b"1", None, 0);
    world.join(PLENTY);
    world.weather.delay = (10, 10);
    assert!(world.run_until(Millis(60_000), |world| world.bytes > 10 * wire::PIECE_BYTES));
    world.publish(0, "large", b"", None, 100);
    assert!(world.run_until(Millis(120_000), World::is_level));
    assert_eq!(world.content(1).into_keys().collect::<Vec<_>>(), ["small"]);
}
