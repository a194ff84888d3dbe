//! The simulation: whole links between small nodes, over a network that fails, from a seed.
//!
//! A failure prints the seed and what happened before. `SEED=n` with the name of the test runs that schedule alone;
//! `SCHEDULES=n` runs so many of each kind.

mod checks;
mod clusters;
mod detours;
mod marks;
mod network;
mod node;
mod plan;
mod routing;
mod sharing;
mod store;
mod trouble;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use tombolo_broker_api::{ByteSize, Seconds, Spool, WhenFull};

use clusters::{Clusters, Shape};
use plan::{Dials, Plan, Sabotage};
use world::World;

fn schedules(default: u64) -> u64 {
    std::env::var("SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

thread_local! {
    /// A schedule runs on this thread: who started it prints its panic.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn run(plan: &Plan, seed: u64) -> Result<World, String> {
    let mut world = World::new(plan.clone(), seed);
    caught(|| world.run()).map(|()| world)
}

/// Runs something that panics if a rule does not hold, and says why if it did.
fn caught(run: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    QUIET.set(true);
    let ended = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    ended.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Runs so many schedules of a plan.
fn holds(name: &str, plan: &Plan, count: u64) {
    let first = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(0..schedules(count), |seed| seed..seed + 1);
    let (mut delivered, mut batches) = (0, 0);
    for seed in seeds.clone() {
        match run(plan, seed) {
            Ok(world) => {
                delivered +=
                    world.nodes.iter().flat_map(|n| n.subscribers.values()).map(|s| s.log.len()).sum::<usize>();
                batches += world.batches;
            }
            Err(why) => panic!("{name}, SEED={seed}:\n{why}"),
        }
    }
    println!("{name}: {} schedules, {batches} batches, {delivered} messages in the logs", seeds.count());
    assert!(delivered > 0, "a simulation that delivers nothing proves nothing");
}

/// The first seed at which a broken rule is found.
fn finds(sabotage: Sabotage, plan: Plan) {
    let plan = Plan { sabotage: Some(sabotage), ..plan };
    let found = (0..2000).find_map(|seed| run(&plan, seed).err().map(|why| (seed, why)));
    let Some((seed, why)) = found else { panic!("{sabotage:?} is not found") };
    println!("{sabotage:?} is found by seed {seed}: {}", why.lines().last().unwrap_or_default());
}

#[test]
fn two_clusters_that_dial_each_other_lose_nothing_and_double_nothing() {
    holds("pair", &Plan::pair(), 1000);
}

#[test]
fn one_side_that_dials_is_enough_for_both_directions() {
    holds("one-sided", &Plan { links: vec![(0, 1, Dials::First)], ..Plan::pair() }, 600);
}

#[test]
fn a_store_in_memory_is_enough_while_no_node_dies() {
    holds("memory", &Plan { durable: false, restarts: 0, cuts: 8, ..Plan::pair() }, 600);
}

#[test]
fn a_node_in_memory_that_dies_is_linked_again() {
    holds("memory, deaths", &Plan { durable: false, restarts: 4, ..Plan::pair() }, 300);
}

#[test]
fn three_clusters_in_a_ring_get_each_message_once() {
    let links = vec![(0, 1, Dials::Both), (1, 2, Dials::First), (2, 0, Dials::First)];
    holds("ring", &Plan { clusters: 3, links, ..Plan::pair() }, 300);
}

#[test]
fn three_clusters_in_a_ring_with_transit_make_no_loop() {
    let links = vec![(0, 1, Dials::Both), (1, 2, Dials::First), (2, 0, Dials::First)];
    holds("ring with transit", &Plan { clusters: 3, links, max_hops: 3, reconfigurations: 0, ..Plan::pair() }, 300);
}

#[test]
fn a_small_spool_stays_small_whatever_its_policy() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Backpressure] {
        let spool = Spool {
            max_bytes: ByteSize(600),
            max_age: Seconds(2),
            when_full,
            max_bytes_qos0: ByteSize(300),
            ..Spool::default()
        };
        holds(&format!("small spool, {when_full:?}"), &Plan { spool, messages: 300, ..Plan::pair() }, 150);
    }
}

#[test]
fn bursts_fill_windows_and_batches() {
    let plan = Plan { messages: 20, burst: 60, ..Plan::pair() };
    holds("bursts", &plan, 60);
    holds("bursts, one-sided", &Plan { links: vec![(0, 1, Dials::First)], durable: false, restarts: 0, ..plan }, 60);
}

#[test]
fn long_schedules_hold_too() {
    let plan = Plan {
        active: Duration::from_secs(60),
        messages: 1000,
        subscriptions: 100,
        cuts: 30,
        restarts: 12,
        reconfigurations: 15,
        ..Plan::pair()
    };
    holds("long", &plan, 40);
}

#[test]
fn nodes_of_a_cluster_agree_on_their_groups_and_lose_no_stamp() {
    holds("two nodes", &Plan::cluster(2), 300);
    holds("three nodes", &Plan::cluster(3), 300);
    holds("four nodes, no trouble with nodes", &Plan { restarts: 0, ..Plan::cluster(4) }, 100);
    for when_full in [WhenFull::DropOldest, WhenFull::Backpressure] {
        let spool = Spool {
            max_bytes: ByteSize(900),
            max_age: Seconds(2),
            when_full,
            max_bytes_qos0: ByteSize(300),
            ..Spool::default()
        };
        holds("three nodes with small outboxes", &Plan { spool, messages: 300, ..Plan::cluster(3) }, 60);
    }
}

#[test]
fn nodes_of_a_cluster_in_memory_go_on_without_those_that_died() {
    let memory = Plan { durable: false, ..Plan::cluster(3) };
    holds("three nodes in memory", &Plan { restarts: 0, cuts: 8, ..memory.clone() }, 200);
    holds("three nodes in memory, deaths", &Plan { restarts: 4, ..memory }, 200);
}

#[test]
fn two_lanes_of_a_node_say_the_same_of_each_message() {
    // Many changes of interest among many messages, from as many shards as a node of the simulation may have.
    let plan = Plan { shards: 5, subscriptions: 60, messages: 300, ..Plan::cluster(3) };
    holds("marks of a cluster", &plan, 100);
    let links = vec![(0, 1, Dials::Both), (1, 2, Dials::First), (2, 0, Dials::First)];
    holds("marks of a ring", &Plan { clusters: 3, links, peers: false, ..plan }, 100);
}

/// Runs so many schedules of two clusters of several nodes.
fn clusters_hold(name: &str, shape: &Shape, count: u64) {
    let first = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(0..schedules(count), |seed| seed..seed + 1);
    let mut delivered = 0;
    for seed in seeds.clone() {
        let mut clusters = Clusters::new(shape.clone(), seed);
        if let Err(why) = caught(|| clusters.run()) {
            panic!("{name}, SEED={seed}:\n{why}");
        }
        delivered += clusters.delivered;
    }
    println!("{name}: {} schedules, {delivered} messages came to nodes", seeds.count());
    assert!(delivered > 0, "a simulation that delivers nothing proves nothing");
}

const SHAPE: Shape =
    Shape { nodes: [3, 3], both_dial: false, one_takes_all: false, messages: 60, cuts: 8, deaths: 2, forgetful: false };

#[test]
fn clusters_of_several_nodes_get_each_message_once_and_in_order() {
    clusters_hold("three and three", &SHAPE, 300);
    clusters_hold("both dial", &Shape { both_dial: true, ..SHAPE }, 200);
    clusters_hold("one node and three", &Shape { nodes: [1, 3], ..SHAPE }, 150);
    clusters_hold("four nodes and two, many deaths", &Shape { nodes: [4, 2], deaths: 6, ..SHAPE }, 150);
}

#[test]
fn a_node_that_takes_all_connections_is_enough() {
    clusters_hold("one takes all", &Shape { one_takes_all: true, ..SHAPE }, 200);
    clusters_hold("one takes all, no deaths", &Shape { one_takes_all: true, deaths: 0, cuts: 12, ..SHAPE }, 150);
}

#[test]
fn nodes_that_forget_what_they_had_are_found() {
    let shape = Shape { forgetful: true, ..SHAPE };
    let found = (0..200).find_map(|seed| {
        let mut clusters = Clusters::new(shape.clone(), seed);
        caught(|| clusters.run()).err()
    });
    let why = found.expect("a message comes twice where nodes do not know what they had");
    assert!(why.contains("behind"), "{why}");
}

#[test]
fn broken_rules_are_found() {
    let crashes = Plan { restarts: 4, ..Plan::pair() };
    finds(Sabotage::DurableTooEarly, crashes.clone());
    finds(Sabotage::ForgetTaken, crashes);
    finds(Sabotage::ResendWithHole, Plan::pair());
    finds(Sabotage::MarkTooEarly, Plan::pair());
    finds(Sabotage::MarkOfOneShard, Plan::pair());
    finds(Sabotage::MarkBehindBarrier, Plan::cluster(3));
    finds(Sabotage::ForgetInterest, Plan::pair());
}
