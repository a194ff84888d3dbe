//! The simulation: sessions that move between small nodes, over a network that fails, from a seed.
//!
//! A failure prints the seed and what happened before. `SEED=n` with the name of the test runs that schedule alone, and
//! prints all that happened; `SCHEDULES=n` runs so many of each kind.

mod client;
mod cluster;
mod conns;
mod network;
mod node;
mod oracle;
mod plan;
mod table;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use tombolo_broker_api::WhenHomeDown;

use plan::{Plan, Sabotage};
use world::World;

fn schedules(default: u64) -> u64 {
    std::env::var("SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

thread_local! {
    /// A schedule runs on this thread: who started it prints its panic.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn run(plan: &Plan, seed: u64) -> Result<World, (String, Vec<String>)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() || std::env::var("SEED").is_ok() {
                before(panic);
            }
        }));
    });
    let mut world = World::new(plan.clone(), seed);
    QUIET.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    QUIET.set(false);
    match ended {
        Ok(()) => Ok(world),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
            Err((text, world.trace))
        }
    }
}

/// Runs so many schedules of a plan.
fn holds(name: &str, plan: &Plan, count: u64) {
    let first = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(0..schedules(count), |seed| seed..seed + 1);
    let (mut given, mut delivered, mut events) = (0, 0, 0);
    for seed in seeds.clone() {
        match run(plan, seed) {
            Ok(world) => {
                let shards = world.nodes.iter().flat_map(|node| &node.shards);
                given += shards.map(|shard| shard.moves.stats().given).sum::<u64>();
                delivered += world.devices.iter().map(|device| device.log.len()).sum::<usize>();
                events += world.handled;
            }
            Err((why, trace)) => {
                if first.is_some() {
                    trace.iter().for_each(|line| println!("{line}"));
                }
                panic!("{name}, SEED={seed}: {why}");
            }
        }
    }
    println!("{name}: {} schedules, {events} events, {given} moves, {delivered} messages", seeds.count());
    assert!(given > 0 && delivered > 0, "a simulation in which nothing moves proves nothing");
}

/// The first seed at which a broken rule is found.
fn finds(sabotage: Sabotage, plan: Plan) {
    let plan = Plan { sabotage: Some(sabotage), ..plan };
    let found = (0..2000).find_map(|seed| run(&plan, seed).err().map(|(why, _)| (seed, why)));
    println!("{sabotage:?} is found: {found:?}");
    assert!(found.is_some(), "{sabotage:?} is not found");
}

#[test]
fn sessions_roam_and_nothing_is_lost_or_doubled() {
    holds("calm", &Plan::calm(), 100);
}

#[test]
fn sessions_that_roam_through_a_stream_of_messages_get_them_in_order() {
    holds("in order", &Plan { messages: 500, connects: 20, own_messages: 0, ..Plan::calm() }, 100);
}

#[test]
fn nodes_are_cut_off_and_die_and_all_comes_to_rest() {
    holds("rough", &Plan::rough(), 100);
}

#[test]
fn a_device_that_roams_among_nodes_that_die_gets_and_sends_qos_2_once() {
    holds("one device", &Plan { devices: 1, own_messages: 10, ..Plan::rough() }, 100);
}

#[test]
fn a_fresh_session_wins_when_the_home_is_down() {
    holds("fresh", &Plan { when_home_down: WhenHomeDown::Fresh, ..Plan::rough() }, 100);
}

#[test]
fn a_rule_that_is_broken_is_found() {
    finds(Sabotage::NoDuty, Plan::rough());
}
