//! Nodes that publish, remove, are cut off and heal, with a network that loses, repeats and reorders: many seeds.

use super::world::{Content, PLENTY, Weather, World};
use crate::clock::{Millis, Stamp};
use crate::random::Random;
use std::collections::BTreeMap;

/// The last thing that happened to each topic: stamp, payload, and when it expires.
type Last = BTreeMap<String, (Stamp, Vec<u8>, Option<Millis>)>;

/// A world with what should be in it.
fn storm(seed: u64) -> (World, Last) {
    let mut random = Random::new(seed);
    let nodes = 2 + random.below(2);
    let mut world = World::new(seed ^ 0xABCD, &vec![PLENTY; nodes]);
    world.weather = Weather { lost: random.below(40), twice: random.below(40), delay: (1, 1 + random.next() % 4_000) };
    let topics = 1 + random.below(60);
    let mut last = Last::new();
    for _ in 0..20 + random.below(150) {
        let (one, other) = (random.below(nodes), random.below(nodes));
        match random.below(20) {
            0 if one != other => world.cut(one, other),
            1 if one != other => world.heal(one, other),
            2 => world.run(Millis(random.next() % 30_000)),
            _ => {
                let topic = format!("t/{}", random.below(topics));
                let payload = if random.chance(30) { Vec::new() } else { random.next().to_be_bytes().to_vec() };
                let expires_in = random.chance(15).then(|| Millis(1 + random.next() % 60_000));
                let stamp = world.publish(one, &topic, &payload, expires_in, 30);
                let entry = (stamp, payload, expires_in.map(|length| world.now + length));
                let before = last.entry(topic).or_insert_with(|| entry.clone());
                if before.0 < stamp {
                    *before = entry;
                }
                world.run(Millis(random.next() % 200));
            }
        }
    }
    (world, last)
}

fn heal_all(world: &mut World) {
    for other in 0..world.nodes.len() {
        (0..other).for_each(|one| world.heal(one, other));
    }
}

fn expected(last: &Last, now: Millis) -> Content {
    let there =
        last.iter().filter(|(_, (_, payload, expires_at))| !payload.is_empty() && expires_at.is_none_or(|at| at > now));
    there.map(|(topic, (stamp, payload, _))| (topic.clone(), (*stamp, payload.clone()))).collect()
}

#[test]
fn after_any_storm_all_nodes_hold_the_last_of_each_topic_and_nothing_that_was_removed() {
    for seed in 0..300 {
        let (mut world, last) = storm(seed);
        heal_all(&mut world);
        let end = world.now + Millis(900_000);
        assert!(world.run_until(end, World::is_level), "seed {seed}: still different");
        // What expires at about the same time is gone at each of them.
        world.run(Millis(120_000));
        let expected = expected(&last, world.now);
        for node in 0..world.nodes.len() {
            assert_eq!(world.content(node), expected, "seed {seed}, node {node}");
        }
        assert!(world.is_level(), "seed {seed}: different again");
        world.weather.lost = 0;
        world.run(Millis(30_000));
        let told = world.nodes.iter().flat_map(|node| node.levellers.values());
        assert!(
            told.into_iter().all(|leveller| leveller.is_level()),
            "seed {seed}: some do not know that they are level"
        );
    }
}

#[test]
fn while_messages_are_on_their_way_all_the_time_little_is_compared_and_what_was_lost_comes_nevertheless() {
    let mut world = World::new(1, &[PLENTY; 2]);
    for i in 0..20_000 {
        world.publish(0, &format!("t/{i}"), b"first", None, 0);
    }
    world.run(Millis(60_000));
    assert!(world.is_level());
    let lost: Vec<String> = (0..20).map(|i| format!("lost/{i}")).collect();
    for topic in &lost {
        world.publish(0, topic, b"x", None, 100);
    }
    let before = world.bytes;
    for i in 0..30_000 {
        world.publish(0, &format!("t/{}", i * 7 % 20_000), format!("{i}").as_bytes(), None, 0);
        world.run(Millis(4));
    }
    let found = world.content(1);
    assert!(lost.iter().all(|topic| found.contains_key(topic)));
    let live = 30_000 * 30;
    assert!(world.bytes - before < live, "{} bytes in two minutes", world.bytes - before);
}
