//! Schedules run from seeds, and what they prove.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use tombolo_broker_api::WhenFull;

use super::plan::{Connecting, Deed, Message, Mood, Plan, Sabotage, Step, What};
use super::world::World;
use crate::codec::Qos;
use crate::codec::subscribe::Options;
use crate::{bound, clock};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

thread_local! {
    /// A schedule runs on this thread: who started it prints its panic.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What is left of a schedule.
pub(super) struct Outcome {
    pub world: World,
    pub failure: Option<String>,
}

pub(super) fn run(plan: &Plan, steps: Vec<Step>, seed: u64) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    bound::make_small(plan.memory.unwrap_or(usize::MAX));
    let mut world = World::new(plan, steps, seed);
    world.trace.aloud = number("TRACE").is_some();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets needs nothing of the system");
    QUIET.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(world.play())));
    QUIET.set(false);
    clock::set_unix_micros(None);
    bound::make_small(usize::MAX);
    let failure = match ended {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    // Outside of a panic, and while the runtime is there.
    let _guard = runtime.enter();
    world.nodes.iter_mut().for_each(|node| node.life = None);
    Outcome { world, failure }
}

/// What failed, without its numbers: a failure of another kind is another one.
fn kind(outcome: &Outcome) -> Option<String> {
    let first = outcome.failure.as_ref()?.split(['[', '{']).next().unwrap_or_default();
    Some(first.chars().filter(|c| !c.is_ascii_digit()).collect())
}

/// Leaves out steps while the schedule still fails: halves first, single ones last.
fn shrink(plan: &Plan, seed: u64) -> (Vec<Step>, Outcome) {
    let mut steps = plan.steps(seed);
    let mut outcome = run(plan, steps.clone(), seed);
    let mut length = steps.len().div_ceil(2);
    let mut tries = 0;
    while length > 0 && tries < 1000 {
        let mut at = 0;
        while at < steps.len() && tries < 1000 {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + length).min(steps.len()));
            tries += 1;
            let other = run(plan, fewer.clone(), seed);
            if kind(&other) == kind(&outcome) {
                (steps, outcome) = (fewer, other);
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    (steps, outcome)
}

/// The seeds of so many schedules, or those that are asked for.
pub(super) fn seeds(count: u64) -> Range<u64> {
    let from = number("FROM").unwrap_or(0);
    let many = from..from + number("SCHEDULES").unwrap_or(count);
    number("SEED").map_or(many, |seed| seed..seed + 1)
}

/// Runs so many schedules of a plan.
pub(super) fn holds(name: &str, plan: &Plan, count: u64) {
    let seeds = seeds(count);
    let mut failures: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let (mut receipts, mut fulfilled, mut turns, mut emptied) = (0, 0, 0, 0);
    let (mut left, mut joined, mut held, mut missing) = (0, 0, 0, 0);
    let mut repeated = 0;
    for seed in seeds.clone() {
        let outcome = run(plan, plan.steps(seed), seed);
        if number("ALL").is_some()
            && let Some(kind) = kind(&outcome)
        {
            failures.entry(kind).or_default().push(seed);
        } else if let Some(failure) = outcome.failure {
            let (steps, fewer) = if number("SHRINK") == Some(0) {
                (plan.steps(seed), Outcome { world: outcome.world, failure: Some(failure.clone()) })
            } else {
                shrink(plan, seed)
            };
            let steps: String = steps.iter().map(|step| format!("{:>10} {:?}\n", step.at, step.what)).collect();
            let last = fewer.world.trace.last() + &fewer.world.dropped();
            let fewer = fewer.failure.unwrap_or_default();
            panic!(
                "{name}, SEED={seed}: {failure}\n\nthe fewest steps:\n{steps}\nwhat happened last:\n{last}\n{fewer}"
            );
        }
        receipts += outcome.world.oracle.receipts;
        fulfilled += outcome.world.oracle.fulfilled;
        turns += outcome.world.turns;
        emptied += outcome.world.emptied;
        left += outcome.world.left_list;
        joined += outcome.world.joined_list;
        held += outcome.world.held;
        missing += outcome.world.oracle.missing.len();
        repeated += outcome.world.oracle.repeated;
    }
    for (kind, seeds) in failures {
        println!("{} times, {:?}: {kind}", seeds.len(), &seeds[..seeds.len().min(8)]);
    }
    println!(
        "{name}: {} schedules, {turns} turns, {receipts} deliveries, {fulfilled} of them owed",
        seeds.clone().count()
    );
    assert!(receipts > 0, "a simulation that delivers nothing proves nothing");
    if let Some(when_full) = plan.small_links {
        println!("{name}: publishers were held in {held} turns, {missing} messages are missing");
        let met = if when_full == WhenFull::Backpressure { held > 0 } else { missing > 0 };
        assert!(met || count < 2, "a simulation that meets no bound proves nothing of it");
    }
    if plan.memory.is_some() {
        println!("{name}: {repeated} messages came again");
        assert!(repeated > 0 || count < 2, "a simulation that meets no bound proves nothing of it");
    }
    if plan.changes > 0 {
        println!("{name}: {left} nodes left the list, {emptied} of them emptied, {joined} joined it");
        assert!(
            left.min(emptied).min(joined) > 0 || count < 2,
            "a simulation of a list that stays proves nothing of it"
        );
    }
    if plan.evacuations > 0 {
        println!("{name}: {emptied} nodes were emptied");
        assert!(emptied > 0 || seeds.count() < 2, "a simulation in which no node is emptied proves nothing of it");
    }
}

/// The first seed at which a broken rule is found.
pub(super) fn finds(sabotage: Sabotage, plan: &Plan) {
    let plan = Plan { sabotage: Some(sabotage), ..plan.clone() };
    let fails = |plan: &Plan, seed| run(plan, plan.steps(seed), seed).failure;
    let honest = Plan { sabotage: None, ..plan.clone() };
    let found = (0..300).find_map(|seed| {
        let why = fails(&plan, seed)?;
        fails(&honest, seed).is_none().then_some((seed, why))
    });
    let Some((seed, why)) = found else { panic!("{sabotage:?} is not found") };
    println!("{sabotage:?} is found by seed {seed}: {}", why.lines().next().unwrap_or_default());
}

#[test]
fn a_cluster_keeps_what_it_promised_on_a_network_that_fails() {
    holds("usual", &Plan::usual(), 550);
}

#[test]
fn nodes_that_die_take_along_what_was_theirs_and_nothing_else() {
    holds("deaths", &Plan { kills: 2, ..Plan::usual() }, 700);
}

#[test]
fn five_nodes_are_one_broker_too() {
    holds("five nodes", &Plan { nodes: 5, clients: 9, cuts: 4, partitions: 3, kills: 1, ..Plan::usual() }, 60);
}

#[test]
fn sessions_follow_their_clients_with_all_that_is_theirs() {
    holds("sessions move", &Plan { sessions_move: true, unruly: false, ..Plan::usual() }, 300);
}

#[test]
fn sessions_that_move_between_nodes_that_die_are_at_one_of_them_or_none() {
    holds("sessions move, deaths", &Plan { sessions_move: true, kills: 2, unruly: false, ..Plan::usual() }, 200);
}

#[test]
fn nodes_that_are_emptied_before_they_stop_take_nothing_along() {
    let plan = Plan { sessions_move: true, evacuations: 2, unruly: false, ..Plan::usual() };
    holds("evacuations", &plan, 300);
}

fn members() -> Plan {
    Plan { nodes: 5, absent: 2, changes: 6, sessions_move: true, unruly: false, ..Plan::usual() }
}

#[test]
fn nodes_that_leave_the_list_take_along_what_was_in_their_memory_alone_and_nothing_of_them_stays() {
    holds("members", &members(), 280);
}

#[test]
fn clocks_that_are_wrong_by_less_than_a_minute_change_nothing() {
    let plan = Plan { sessions_move: true, kills: 1, unruly: false, skew: 29_000_000, jumps: 2, ..Plan::usual() };
    holds("clocks", &plan, 100);
}

#[test]
fn a_client_whose_session_cannot_be_reached_gets_a_new_one_and_the_older_is_discarded() {
    let plan = Plan { sessions_move: true, partitions: 3, kills: 1, unruly: false, fresh: true, ..Plan::usual() };
    holds("fresh", &plan, 100);
}

/// A node dies for ten seconds: how long its clients whose sessions last are without one, in microseconds.
fn without_session(fresh: bool) -> Vec<u64> {
    let plan = Plan { sessions_move: true, unruly: false, fresh, ..Plan::usual() };
    let mut times = Vec::new();
    for seed in 0..10 {
        let connecting = Connecting { node: 0, clean: false, will: None, receive_maximum: u16::MAX };
        let connect = |client| What::Client(client, Deed::Connect(Box::new(connecting.clone())));
        let mut steps: Vec<Step> = (0..plan.clients).map(|client| Step { at: 0, what: connect(client) }).collect();
        steps.push(Step { at: 3_000_000, what: What::Kill(0, 10_000_000, false) });
        // In the end all of them last no longer than their connections.
        let clients = World::new(&plan, Vec::new(), seed).clients;
        let Outcome { world, failure } = run(&plan, steps, seed);
        assert_eq!(failure, None, "SEED={seed}");
        for (at, lost) in world.oracle.sessions.iter().enumerate() {
            let next = world.oracle.sessions[at..].iter().skip(1).find(|session| session.client == lost.client);
            let lasts = clients.get(lost.client).is_some_and(|client| client.expiry > 60);
            times.extend(
                next.filter(|_| lasts && lost.ended.is_some_and(|at| (3_000_000..3_001_000).contains(&at)))
                    .map(|next| next.moved_at - 3_000_000),
            );
        }
    }
    times
}

#[test]
fn clients_of_a_node_that_is_away_wait_for_it_or_begin_anew_at_once() {
    let [wait, fresh] = [false, true].map(without_session);
    assert!(wait.iter().all(|time| *time >= 10_000_000), "{wait:?}");
    assert!(fresh.iter().all(|time| *time < 5_000_000), "{fresh:?}");
    assert!(!wait.is_empty() && wait.len() == fresh.len(), "{wait:?} {fresh:?}");
}

/// Each client connects, its session to be found again, and subscribes, one behind the other within the first half second.
pub(super) fn gather(plan: &Plan, receive_maximum: u16, filter: &'static str, qos: Qos) -> Vec<Step> {
    let connecting = Connecting { node: 0, clean: false, will: None, receive_maximum };
    let options = Options { qos, ..Options::default() };
    let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
    let both = |client| {
        let connect = Deed::Connect(Box::new(connecting.clone()));
        [step(0, client, connect), step(500_000, client, Deed::Subscribe(filter, options, false))]
    };
    (0..plan.clients).flat_map(both).collect()
}

/// Runs a schedule from these seeds: how many messages were owed, and what failed first.
fn owed_by(plan: &Plan, seeds: Range<u64>, steps: impl Fn(u64) -> Vec<Step>) -> (usize, Option<String>) {
    let (mut owed, mut failure) = (0, None);
    for seed in seeds {
        let outcome = run(plan, steps(seed), seed);
        failure = failure.or(outcome.failure.map(|failure| format!("SEED={seed}: {failure}")));
        owed += outcome.world.oracle.fulfilled;
    }
    (owed, failure)
}

/// A message for the group of those who were gathered by [`GROUP`].
const FOR_GROUP: Message = Message { topic: "s/0", qos: Qos::AtLeastOnce, retain: false, empty: false, padding: 0 };

const GROUP: &str = "$share/one/s/#";

/// A node is gone without a word while its clients are members of a group: the others have not noticed yet when they choose
/// members there. How many messages were owed, and what failed.
fn chosen_at_a_node_that(goes: impl Fn() -> What, sabotage: Option<Sabotage>) -> (usize, Option<String>) {
    let plan = Plan { sessions_move: false, unruly: false, sabotage, ..Plan::usual() };
    owed_by(&plan, 0..20, |_| {
        let mut steps = gather(&plan, u16::MAX, GROUP, Qos::AtLeastOnce);
        steps.push(Step { at: 2_000_000, what: goes() });
        let publish = |client| Step { at: 2_500_000, what: What::Client(client, Deed::Publish(10, FOR_GROUP)) };
        steps.extend((0..plan.clients).map(publish));
        steps
    })
}

#[test]
fn what_was_chosen_for_a_member_at_a_node_that_died_goes_to_another_member_when_it_is_back() {
    let (owed, failure) = chosen_at_a_node_that(|| What::Kill(0, 5_000_000, true), None);
    assert_eq!(failure, None);
    assert!(owed > 0, "nothing was owed");
}

#[test]
fn what_was_chosen_for_a_member_at_a_node_that_died_goes_to_another_member_when_it_leaves_the_list() {
    let (owed, failure) = chosen_at_a_node_that(|| What::Leave(0, Some((3_000_000, true)), 500_000), None);
    assert_eq!(failure, None);
    assert!(owed > 0, "nothing was owed");
}

#[test]
fn what_is_left_of_a_member_that_unsubscribed_elsewhere_passes_on_what_it_is_chosen_for() {
    let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
    let plan = Plan { sessions_move: true, unruly: false, ..Plan::usual() };
    let (owed, failure) = owed_by(&plan, 0..40, |_| {
        let mut steps = gather(&plan, u16::MAX, GROUP, Qos::AtLeastOnce);
        // As long as two nodes can't reach each other, one of them may not know where a session went.
        steps.push(Step { at: 1_500_000, what: What::Shut(vec![(1, 2), (2, 1)], 9_000_000) });
        // Some move, the others stay away.
        let pause = |client| if client < 3 { 100_000 } else { 9_000_000 };
        steps.extend((0..plan.clients).map(|client| step(2_000_000, client, Deed::Tear(pause(client)))));
        steps.extend((0..3).map(|client| step(6_000_000, client, Deed::Unsubscribe(GROUP))));
        steps.extend((0..3).map(|client| step(7_000_000, client, Deed::Publish(10, FOR_GROUP))));
        steps
    });
    assert_eq!(failure, None);
    assert!(owed > 0, "nothing was owed");
}

#[test]
fn what_a_member_at_a_node_that_died_had_not_acknowledged_goes_to_another_member() {
    let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
    let plan = Plan { sessions_move: false, unruly: false, ..Plan::usual() };
    let (owed, failure) = owed_by(&plan, 0..20, |seed| {
        let mut steps = gather(&plan, 5, GROUP, Qos::AtLeastOnce);
        // Some is sent to it and some waits in its queue when its node dies.
        steps.extend((0..plan.clients).map(|client| step(1_000_000, client, Deed::Mood(Mood::Late(5_000_000)))));
        steps.extend((0..plan.clients).map(|client| step(1_100_000, client, Deed::Publish(14, FOR_GROUP))));
        steps.push(Step { at: 3_000_000, what: What::Kill(0, 2_000_000, seed % 2 == 0) });
        steps
    });
    assert_eq!(failure, None);
    assert!(owed > 0, "nothing was owed");
}

#[test]
fn what_was_acknowledged_behind_a_slow_member_does_not_come_again_when_their_node_dies() {
    let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
    let plan = Plan { sessions_move: false, unruly: false, ..Plan::usual() };
    let mut behind = 0;
    for seed in 0..20 {
        let clients = World::new(&plan, Vec::new(), seed).clients;
        let home = clients[0].home;
        let publisher = clients.iter().position(|client| client.home != home).expect("not all are at one node");
        let mut steps = gather(&plan, 1, GROUP, Qos::AtLeastOnce);
        steps.push(step(1_000_000, 0, Deed::Mood(Mood::Never)));
        steps.extend((0..10).map(|at| step(1_100_000 + at * 50_000, publisher, Deed::Publish(2, FOR_GROUP))));
        steps.push(Step { at: 3_000_000, what: What::Kill(home, 2_000_000, seed % 2 == 0) });
        let outcome = run(&plan, steps, seed);
        assert_eq!(outcome.failure, None, "SEED={seed}");
        // What the slow one was sent goes to another member, and so does what waited in its queue.
        let (twice, sent) = (outcome.world.oracle.given_twice(), outcome.world.oracle.received_by(0, "s/0"));
        assert!(twice <= sent, "SEED={seed}: {twice} messages came to two members, and the slow one had {sent}");
        behind += clients.iter().skip(1).filter(|client| client.home == home).count();
    }
    assert!(behind > 0, "no other member was at the node that died");
}

#[test]
fn what_the_only_member_of_a_group_had_when_its_node_died_is_its_own_when_it_comes_back() {
    let step = |at, client, deed| Step { at, what: What::Client(client, deed) };
    let plan = Plan { sessions_move: false, unruly: false, ..Plan::usual() };
    for seed in 0..20 {
        let clients = World::new(&plan, Vec::new(), seed).clients;
        let home = clients[0].home;
        let publisher = clients.iter().position(|client| client.home != home).expect("not all are at one node");
        // The member is slow: some is sent to it, some is in its queue, and some comes while its node is away.
        let mut steps = gather(&plan, 5, "t/2/0", Qos::AtMostOnce);
        let options = Options { qos: Qos::AtLeastOnce, ..Options::default() };
        steps.push(step(600_000, 0, Deed::Subscribe(GROUP, options, false)));
        steps.push(step(1_000_000, 0, Deed::Mood(Mood::Late(5_000_000))));
        steps.extend([1_100_000, 3_500_000].map(|at| step(at, publisher, Deed::Publish(8, FOR_GROUP))));
        steps.push(Step { at: 3_000_000, what: What::Kill(home, 2_000_000, seed % 2 == 0) });
        steps.push(step(12_000_000, 0, Deed::Mood(Mood::Prompt)));
        steps.push(step(12_500_000, 0, Deed::Subscribe(GROUP, options, false)));
        let outcome = run(&plan, steps, seed);
        assert_eq!(outcome.failure, None, "SEED={seed}");
        assert_eq!(outcome.world.oracle.received_by(0, "s/0"), 16, "SEED={seed}");
    }
}

#[test]
fn small_buffers_hold_everybody_up_and_lose_nothing() {
    holds("small buffers", &Plan { capacity: 300, ..Plan::usual() }, 60);
}

#[test]
fn small_bounds_are_kept() {
    holds("small bounds", &Plan { small: true, ..Plan::usual() }, 60);
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    let plan = Plan { kills: 2, ..Plan::usual() };
    for seed in 0..5 {
        let hash = || run(&plan, plan.steps(seed), seed).world.trace.hash();
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}

#[test]
fn broken_rules_are_found() {
    let usual = Plan::usual();
    finds(Sabotage::DropBatch, &usual);
    finds(Sabotage::DoubleMessage, &usual);
    finds(Sabotage::ForgetInFlight, &usual);
    finds(Sabotage::SwapQueue, &usual);
    finds(Sabotage::ForgetReceived, &usual);
    finds(Sabotage::SettleAtOnce, &usual);
    finds(Sabotage::LeakSubscription, &usual);
    finds(Sabotage::LetGo, &Plan { kills: 2, ..usual.clone() });
    finds(Sabotage::HideRetained, &Plan { kills: 2, ..usual });
    let lost = |sabotage| chosen_at_a_node_that(|| What::Leave(0, Some((3_000_000, true)), 500_000), sabotage).1;
    assert!(lost(Some(Sabotage::LoseLeft)).is_some() && lost(None).is_none());
}
