//! What the index costs, in nanoseconds and bytes; run with `cargo test --release -- --ignored --nocapture`.

use super::*;
use crate::topic::Subscription;
use std::hint::black_box;

const FILTERS: usize = 100_000;

fn client(slot: usize) -> Receiver {
    Receiver { slot: slot as u32, epoch: 0, shard: 0, flags: ReceiverFlags::new(Kind::Client, 0) }
}

fn parse(text: &str) -> Subscription {
    Subscription::parse(text, 128).unwrap()
}

/// Nanoseconds for each call: `count` calls again and again until they have taken a quarter of a second, since the
/// kernel's account moves in steps of milliseconds.
fn measure(what: &str, count: usize, mut call: impl FnMut(usize)) {
    let start = on_cpu();
    let mut rounds = 0;
    while on_cpu() - start < 250_000_000 {
        (0..count).for_each(&mut call);
        rounds += 1;
    }
    println!("{what:<64} {:>9.0} ns", (on_cpu() - start) as f64 / (rounds * count) as f64);
}

fn once(what: &str, count: usize, mut call: impl FnMut(usize)) {
    let start = on_cpu();
    (0..count).for_each(&mut call);
    println!("{what:<64} {:>9.0} ns", (on_cpu() - start) as f64 / count as f64);
}

/// Nanoseconds that this thread has run, so that whatever else the machine does is not counted.
fn on_cpu() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
#[ignore = "a measurement, not a proof"]
fn costs_with_a_hundred_thousand_filters() {
    let index = Index::new(19);
    let filters: Vec<Subscription> = (0..FILTERS).map(|i| parse(&format!("device/{i}/+/state/#"))).collect();
    let before = resident();
    once("subscribe, 100,000 filters of one shape", FILTERS, |i| {
        index.subscribe(&filters[i], SubscriptionEntry::new(client(i)));
    });
    println!("memory beside the filter's text: {} bytes a filter", (resident() - before) / FILTERS);
    let topics: Vec<String> = (0..FILTERS).map(|i| format!("device/{}/7/state/on", i * 7919 % FILTERS)).collect();
    let mut route = Route::default();
    measure("look-up, random over 100,000 filters", FILTERS, |i| index.lookup(&topics[i], &mut route));
    assert_eq!(route.receivers.len(), 1);
    measure("look-up, the same 1,000 topics", FILTERS, |i| index.lookup(&topics[i % 1000], &mut route));

    let mut cache = Cache::new(128);
    measure("cache, another topic each time, 100,000", FILTERS, |i| {
        black_box(cache.find(&index, topics[i].as_bytes()).unwrap());
    });
    measure("cache, the same 1,000 topics", FILTERS, |i| {
        black_box(cache.find(&index, topics[i % 1000].as_bytes()).unwrap());
    });
    let entry = cache.find(&index, topics[5].as_bytes()).unwrap();
    measure("cache, still the last topic", FILTERS, |_| {
        black_box(cache.still(&index, black_box(entry), topics[5].as_bytes()));
    });

    let shapes: Vec<Subscription> = (0..63_u32)
        .map(|bits| parse(&(0..6).map(|i| if bits >> i & 1 == 1 { "+" } else { "x" }).collect::<Vec<_>>().join("/")))
        .map(|filter| parse(&format!("{filter}/#")))
        .collect();
    for filter in &shapes {
        index.subscribe(filter, SubscriptionEntry::new(client(1)));
    }
    measure("look-up, the same 1,000 topics, 64 shapes", FILTERS, |i| index.lookup(&topics[i % 1000], &mut route));
    let deep: Vec<String> = topics.iter().map(|topic| format!("{topic}/and/more")).collect();
    measure("look-up, the same 1,000 topics of 7 levels, 64 shapes", FILTERS, |i| {
        index.lookup(&deep[i % 1000], &mut route);
    });
    for i in 0..10_000_usize {
        index.subscribe(&parse(&format!("+/+/+/+/{i}/+/+/+/{i}")), SubscriptionEntry::new(client(i)));
    }
    assert!(index.counts().unshaped > 9_000);
    measure("look-up, the same 1,000 topics, 64 shapes and a trie", FILTERS, |i| {
        index.lookup(&topics[i % 1000], &mut route);
    });

    once("interest, snapshot of 110,000 filters, each", 1, |_| {
        black_box(index.interest_since(Audience::Links, u64::MAX));
    });
    once("unsubscribe_all, 100,000 sessions of one filter", FILTERS, |i| {
        index.unsubscribe_all([&filters[i]], client(i));
    });
    for filter in &filters {
        index.subscribe(filter, SubscriptionEntry::new(client(7)));
    }
    once("unsubscribe_all, one session of 100,000 filters", 1, |_| {
        assert_eq!(index.unsubscribe_all(&filters, client(7)), FILTERS);
    });
}

#[test]
#[ignore = "a measurement, not a proof"]
fn costs_with_filters_of_peers() {
    for count in [FILTERS, 10 * FILTERS] {
        let index = Index::new(29);
        let peer = |node| Receiver { flags: ReceiverFlags::new(Kind::Peer, 2), ..client(node) };
        let before = resident();
        once(&format!("subscribe, {count} filters of 19 peers"), count, |i| {
            index.subscribe(&parse(&format!("device/{i:07}/cmd/+")), SubscriptionEntry::new(peer(i % 19)));
        });
        println!("memory with the filter's text of 20 bytes: {} bytes a filter", (resident() - before) / count);
    }
}

#[test]
#[ignore = "a measurement, not a proof"]
fn costs_with_many_subscribers_of_one_filter() {
    let index = Index::new(20);
    let (wide, all) = (parse("news/#"), parse("#"));
    once("subscribe, 100,000 sessions to one filter", FILTERS, |i| {
        index.subscribe(&wide, SubscriptionEntry::new(client(i)));
    });
    let mut route = Route::default();
    measure("look-up of 100,000 receivers", 100, |_| index.lookup("news/today", &mut route));
    for i in 0..FILTERS {
        index.subscribe(&all, SubscriptionEntry::new(client(i)));
    }
    measure("look-up of 100,000 receivers that two filters match", 100, |_| index.lookup("news/today", &mut route));
    assert_eq!(route.receivers.len(), FILTERS);
    once("unsubscribe, 100,000 sessions from one filter", FILTERS, |i| {
        index.unsubscribe(&wide, client(i));
    });

    for i in 0..10 {
        index.subscribe(&wide, SubscriptionEntry::new(client(i)));
    }
    measure("look-up of 100,000 receivers, and a filter of 10 of them", 100, |_| {
        index.lookup("news/today", &mut route)
    });
    assert_eq!(route.receivers.len(), FILTERS);

    let index = Index::new(21);
    let group = parse("$share/workers/jobs/+");
    for i in 0..1000 {
        index.subscribe(&group, SubscriptionEntry::new(client(i)));
    }
    measure("look-up of a group of 1,000", 10_000, |_| index.lookup("jobs/7", &mut route));
    measure("choice of a member of 1,000", 100_000, |_| {
        black_box(route.groups[0].choose(false));
    });
    let mut choices = Choices::default();
    measure("the same for a route", 100_000, |_| {
        route.choose(false, &mut choices);
        black_box(choices.others().count());
    });
    let Subscription::Shared { group: name, filter } = group else { panic!("it is shared") };
    let connected = Presence::new(true);
    for node in 0..2 {
        let peer = Receiver { flags: ReceiverFlags::new(Kind::Peer, 2), ..client(FILTERS + node) };
        let (group, filter) = (name.clone(), filter.clone());
        let share = SharedSubscription { group, filter, number: 1, online: 1000, offline: 0 };
        index.put_share(peer, &share, &connected);
        measure("members at a peer come and go", 10_000, |i| {
            index.put_share(peer, &SharedSubscription { online: i as u32, ..share.clone() }, &connected);
        });
        index.put_share(peer, &share, &connected);
    }
    index.lookup("jobs/7", &mut route);
    measure("the same for a route, of 1,000 at each of three nodes", 100_000, |_| {
        route.choose(false, &mut choices);
        black_box(choices.others().count());
    });
}
