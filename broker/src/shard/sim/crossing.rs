//! Schedules of two clusters that are linked, and what they prove.

use std::ops::Range;

use tombolo_broker_api::WhenFull;

use super::plan::{Deed, Message, Plan, Sabotage, Step, What};
use super::run::{finds, gather, holds, run, seeds};
use crate::codec::Qos;

#[test]
fn linked_clusters_give_each_other_what_they_promised_on_a_network_that_fails() {
    holds("linked 2:2", &Plan::linked(2, 2), 120);
}

#[test]
fn clusters_of_which_one_dials_give_each_other_what_they_promised() {
    holds("linked 3:1", &Plan { one_dials: true, ..Plan::linked(3, 1) }, 40);
    holds("linked 2:2, one dials", &Plan { one_dials: true, ..Plan::linked(2, 2) }, 40);
    holds("linked 1:1", &Plan { clients: 5, ..Plan::linked(1, 1) }, 40);
}

#[test]
fn nodes_of_linked_clusters_that_die_take_along_what_was_theirs_and_nothing_else() {
    holds("linked, deaths", &Plan { kills: 2, ..Plan::linked(2, 2) }, 120);
    holds("linked 3:1, deaths", &Plan { kills: 2, one_dials: true, ..Plan::linked(3, 1) }, 40);
}

#[test]
fn nodes_of_linked_clusters_that_are_emptied_take_nothing_along() {
    holds("linked, evacuations", &Plan { sessions_move: true, evacuations: 1, ..Plan::linked(2, 2) }, 140);
}

#[test]
fn links_with_little_room_hold_publishers_and_lose_nothing_or_count_what_they_lose() {
    let small = |when_full| Plan { small_links: Some(when_full), seconds: 12, ..Plan::linked(2, 2) };
    holds("linked, back-pressure", &small(WhenFull::Backpressure), 60);
    holds("linked, back-pressure, small buffers", &Plan { capacity: 1_000, ..small(WhenFull::Backpressure) }, 30);
    holds("linked, oldest dropped", &small(WhenFull::DropOldest), 40);
    holds("linked, newest dropped", &small(WhenFull::DropNewest), 40);
}

#[test]
fn small_bounds_of_linked_clusters_are_kept() {
    let small = |when_full| Plan { small: true, small_links: Some(when_full), ..Plan::linked(2, 2) };
    holds("linked, small bounds", &small(WhenFull::DropOldest), 30);
    holds("linked, small bounds, back-pressure", &small(WhenFull::Backpressure), 30);
}

#[test]
fn little_memory_of_what_came_over_links_costs_repeats_and_no_message() {
    let plan = Plan { memory: Some(1), sessions_move: true, ..Plan::linked(2, 2) };
    holds("linked, little memory", &plan, 40);
    assert!(go_to_and_fro(&plan, 0..10) > 0, "no bound was met");
}

#[test]
fn sessions_that_move_lose_nothing_of_lanes_that_go_on_at_other_nodes() {
    let plan = Plan { sessions_move: true, ..Plan::linked(2, 2) };
    go_to_and_fro(&Plan { memory: Some(16), ..plan.clone() }, seeds(18));
    // Each of two nodes left a message to the other, with the usual bounds.
    go_to_and_fro(&plan, 48..57);
}

/// Clients go to and fro between nodes that are slow to hear of each other, and lanes turn. So many messages came again.
fn go_to_and_fro(plan: &Plan, seeds: Range<u64>) -> usize {
    let mut repeated = 0;
    for seed in seeds {
        let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
        let mut steps = gather(plan, u16::MAX, "t/#", Qos::AtLeastOnce);
        steps.extend([(0, 1), (2, 3)].map(|(one, other)| Step { at: 900_000, what: What::Slow(one, other, 300_000) }));
        for round in 0..120 {
            let at = 1_000_000 + 100_000 * round;
            // Two of them stay, and publish all the time.
            let (mover, publisher) = (round as usize % (plan.clients - 2), plan.clients - 1 - round as usize % 2);
            let topic = if publisher % 2 == 0 { "t/0/0" } else { "t/1/1" };
            let message = Message { topic, qos: Qos::AtLeastOnce, retain: false, empty: false, padding: 0 };
            steps.push(step(at, mover, Deed::Tear(10_000)));
            steps.extend((0..4).map(|part| step(at + part * 25_000, publisher, Deed::Publish(2, message))));
            if round % 10 == 9 {
                let (near, far) = ((round / 10) as usize % 2, 2 + (round / 20) as usize % 2);
                steps.push(Step { at: at + 20_000, what: What::Cut(near, far) });
            }
        }
        let outcome = run(plan, steps, seed);
        assert_eq!(outcome.failure, None, "SEED={seed}");
        repeated += outcome.world.oracle.repeated;
    }
    repeated
}

fn clocks() -> Plan {
    let (hours, seconds) = (5 * 3_600_000_000, 29_000_000);
    Plan { skew: seconds, jumps: 2, apart: hours, expiring: true, ..Plan::linked(2, 2) }
}

#[test]
fn clusters_whose_clocks_are_hours_apart_give_each_other_what_they_promised() {
    holds("linked, clocks", &Plan { kills: 1, ..clocks() }, 60);
    holds("linked, clocks, sessions move", &Plan { sessions_move: true, ..clocks() }, 60);
}

#[test]
fn nodes_whose_clocks_stray_by_hours_lose_nothing_that_was_acknowledged() {
    holds("linked, strays", &Plan { strays: 2, expiring: true, ..Plan::linked(2, 2) }, 60);
}

#[test]
fn clusters_whose_clocks_leap_by_hours_give_each_other_what_they_promised() {
    holds("linked, leaps", &Plan { leaps: 2, sessions_move: true, ..clocks() }, 60);
}

#[test]
fn nodes_that_join_and_leave_linked_clusters_take_along_what_was_in_their_memory_alone() {
    let plan = Plan { absent: 1, changes: 5, sessions_move: true, ..Plan::linked(3, 3) };
    holds("linked, members", &plan, 60);
    holds("linked, members, one dials", &Plan { one_dials: true, ..plan }, 60);
}

#[test]
fn links_that_are_paused_deleted_made_again_and_narrowed_give_what_they_promised() {
    let plan = Plan { link_changes: 3, ..Plan::linked(2, 2) };
    holds("linked, links change", &plan, 60);
    holds("linked, links change, one dials", &Plan { one_dials: true, ..plan.clone() }, 40);
    holds("linked, links change, sessions move", &Plan { sessions_move: true, ..plan }, 40);
}

#[test]
fn a_group_gets_what_is_sent_again_to_another_node_once() {
    let plan = Plan { sessions_move: false, unruly: false, ..Plan::linked(2, 2) };
    let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
    let message = Message { topic: "s/0", qos: Qos::AtLeastOnce, retain: false, empty: false, padding: 0 };
    let (mut twice, mut turned) = (0, 0);
    for seed in 0..40 {
        let mut steps = gather(&plan, u16::MAX, "$share/one/s/#", Qos::AtLeastOnce);
        // Messages cross, and what acknowledges them does not, until lanes go on at other nodes.
        steps.push(Step { at: 3_000_000, what: What::Shut(vec![(0, 2), (1, 3)], 30_000_000) });
        steps.extend((0..plan.clients).map(|client| step(3_001_000, client, Deed::Publish(10, message))));
        let outcome = run(&plan, steps, seed);
        assert_eq!(outcome.failure, None, "SEED={seed}");
        twice += outcome.world.oracle.given_twice();
        turned += outcome.world.weather.turned.iter().map(Vec::len).sum::<usize>();
    }
    assert!(turned > 0, "no lane went on at another node");
    assert_eq!(twice, 0, "so many messages went to two members of a group");
}

#[test]
fn what_is_retained_crosses_with_its_flag() {
    let plan = Plan::linked(2, 1);
    let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
    let mut retained = 0;
    for seed in 0..20 {
        let mut steps = gather(&plan, u16::MAX, "t/#", Qos::ExactlyOnce);
        for (client, qos) in (0..plan.clients).zip([Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].iter().cycle())
        {
            let topic = ["t/0/0", "t/0/1", "t/1/0", "t/1/1"][client % 4];
            let message = Message { topic, qos: *qos, retain: true, empty: false, padding: 0 };
            steps.push(step(8_000_000 + client as u64 * 500_000, client, Deed::Publish(1, message)));
        }
        let outcome = run(&plan, steps, seed);
        assert_eq!(outcome.failure, None, "SEED={seed}");
        let [near, far] = &outcome.world.kept[..] else { panic!("SEED={seed}: two clusters") };
        assert_eq!(near, far, "SEED={seed}: both retain what was retained in one of them");
        retained += near.len();
    }
    assert!(retained > 40, "{retained} were retained");
}

#[test]
fn broken_rules_of_links_are_found() {
    let deaths = Plan { kills: 2, ..Plan::linked(2, 2) };
    finds(Sabotage::ForgetSeen, &deaths);
    finds(Sabotage::JoinEarly, &deaths);
}
