//! What it costs that nodes tell each other what they want: bytes between them, and memory.

use std::time::Duration;

use crate::link::Version;
use crate::link::interest_in::InterestIn;
use crate::link::interest_out::InterestOut;
use crate::router::{Change, Index, Kind, Receiver, ReceiverFlags, SubscriptionEntry};
use crate::topic::Subscription;

use super::filter;
use super::interest::take;
use super::pair::Pair;

/// A filter like those of fleets, of the same length for each number below a million.
fn text(node: usize, number: usize) -> String {
    format!("site/{node:02}/dev/{number:06}/cmd/+")
}

/// Two nodes in sync that want so many filters each.
fn level(filters: usize) -> Pair {
    let texts = |node| (0..filters).map(|number| text(node, number)).collect::<Vec<_>>();
    let [one, two] = [texts(0), texts(1)];
    let strs = |texts: &'static [String]| texts.iter().map(String::as_str).collect::<Vec<_>>();
    let mut pair = Pair::peers(&strs(one.leak()), &strs(two.leak()));
    pair.connect();
    assert!(pair.links.iter().all(|link| link.is_in_sync()));
    assert_eq!(pair.sides[1].routes.len(), filters);
    pair
}

/// Bytes and packets that so many changes at the first node bring about, ten in each turn: half come, half go.
fn cost_of(pair: &mut Pair, changes: usize) -> (usize, usize) {
    let before = pair.passed;
    for change in 0..changes {
        let number = 900_000 + change / 2;
        let change = if change % 2 == 0 { Change::Added } else { Change::Removed };
        // Of what came in this turn nothing goes in it, or there would be nothing to tell.
        let number = if change == Change::Added { number } else { number - 900_000 };
        pair.links[0].interest_changed(&filter(&text(0, number)), change);
        if number % 5 == 4 && change == Change::Removed {
            pair.run();
        }
    }
    pair.run();
    assert!(pair.links.iter().all(|link| link.is_in_sync() || !link.has_untold()));
    (pair.passed.0 - before.0, pair.passed.1 - before.1)
}

#[test]
fn what_crosses_between_nodes_is_in_proportion_to_what_changes_and_not_to_what_is_wanted() {
    let few = cost_of(&mut level(200), 100);
    let many = cost_of(&mut level(5_000), 100);
    assert_eq!(few, many, "bytes and packets for 100 changes, with 200 filters and with 5,000");
    let twice = cost_of(&mut level(200), 200);
    assert_eq!(twice, (2 * few.0, 2 * few.1), "for 200 changes");
    // The text and little more: heads of batches, marks, acknowledgements.
    let each = few.0 / 100;
    assert!(each <= text(0, 0).len() + 40, "{each} bytes for a change of a filter of {} bytes", text(0, 0).len());
}

#[test]
fn what_crosses_while_nothing_changes_does_not_depend_on_what_is_wanted() {
    let idle = |filters| {
        let mut pair = level(filters);
        let before = pair.passed;
        for _ in 0..60 {
            pair.now += Duration::from_secs(1);
            (0..2).for_each(|side| pair.links[side].tick(&mut pair.sides[side], pair.now));
            pair.run();
        }
        (pair.passed.0 - before.0, pair.passed.1 - before.1)
    };
    let (few, many) = (idle(10), idle(5_000));
    assert_eq!(few, many, "bytes and packets in a minute, with 10 filters and with 5,000");
    assert!(few.0 < 60 * 200, "{} bytes in a minute", few.0);
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: usize = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("resident pages");
    pages * 4096
}

/// One node of twenty: what the others tell it, and what it takes to know. `make sim` prints it.
#[test]
#[ignore = "a measurement of memory, which other tests would disturb"]
fn a_node_of_twenty_knows_a_million_subscriptions_for_150_bytes_each() {
    const NODES: usize = 20;
    const EACH: usize = 50_000;
    const CHANGES: usize = EACH / 100;
    let index = Index::new(1);
    let mut held: Vec<InterestIn> = (1..NODES).map(|_| InterestIn::default()).collect();
    let receiver = |node: usize| {
        let flags = ReceiverFlags::new(Kind::Peer, 2);
        SubscriptionEntry::new(Receiver { slot: node as u32, epoch: 0, shard: 0, flags })
    };
    let (mut snapshots, mut changes, mut grown, mut own) = (0, 0, 0, 0);
    for node in 1..NODES {
        let before = resident();
        let mut wanted = InterestOut::new(None, (0..EACH).map(|number| filter(&text(node, number))));
        wanted.make();
        let pieces = wanted.tell(Version::default(), false);
        let told = wanted.version();
        wanted.told(told);
        own += resident() - before;
        snapshots += pieces.iter().map(Vec::len).sum::<usize>();
        let before = resident();
        let held = &mut held[node - 1];
        for piece in &pieces {
            take(held, piece).expect("it was told just now");
        }
        for filter in held.filters() {
            index.subscribe(&Subscription::Plain(filter.clone()), receiver(node));
        }
        grown += resident() - before;
        for number in 0..CHANGES {
            wanted.change(&filter(&text(node, number)), Change::Removed);
            wanted.change(&filter(&text(node, number + 900_000)), Change::Added);
        }
        wanted.make();
        let pieces = wanted.tell(told, false);
        changes += pieces.iter().map(Vec::len).sum::<usize>();
        pieces.iter().for_each(|piece| take(held, piece).expect("it was told just now"));
        assert_eq!(held.digest(), wanted.digest());
        // Memory given back would be taken for what comes next, and hide it.
        std::mem::forget((wanted, pieces));
    }
    let remote = (NODES - 1) * EACH;
    println!("{NODES} nodes, {EACH} filters of {} bytes at each; to one node, from the others:", text(0, 0).len());
    println!("  a snapshot             {:>6} bytes for each filter", snapshots / remote);
    println!("  2 changes in 100       {:>6} bytes for each change", changes / ((NODES - 1) * 2 * CHANGES));
    println!(
        "  memory                 {:>6} bytes for each remote filter, with its place in the index",
        grown / remote
    );
    println!("  memory for each peer   {:>6} bytes for each own filter, of what it was told", own / remote);
    assert!(grown / remote <= 150, "{} bytes for each remote filter", grown / remote);
}
