//! Threads that subscribe and publish at once: what `subscribe` promises when it returns.

use super::*;
use crate::topic::Subscription;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

const ROUNDS: u32 = 2_000;

fn client(shard: u8, slot: u32) -> Receiver {
    Receiver { slot, epoch: 0, shard, flags: ReceiverFlags::new(Kind::Client, 0) }
}

fn parse(text: &str) -> Subscription {
    Subscription::parse(text, 16).unwrap()
}

/// Ends the noise also when an assertion fails, so that the test does.
struct Quiet<'a>(&'a AtomicBool);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn who_has_been_told_of_a_subscription_routes_by_it_on_every_shard() {
    let index = Index::new(17);
    let quiet = AtomicBool::new(false);
    thread::scope(|scope| {
        let _quiet = Quiet(&quiet);
        scope.spawn(|| {
            for i in (0_u32..).take_while(|_| !quiet.load(Ordering::Relaxed)) {
                let filter = parse(&format!("{}/+/noise", i % 7));
                index.subscribe(&filter, SubscriptionEntry::new(client(9, i % 5)));
                index.unsubscribe(&filter, client(9, i % 5));
            }
        });
        // Each shard is told a topic and tells whether it routes to the one that this test is about.
        let shards: Vec<_> = (0..2)
            .map(|_| {
                let (ask, asked) = mpsc::sync_channel::<String>(1);
                let (answer, answered) = mpsc::sync_channel(1);
                let index = &index;
                scope.spawn(move || {
                    let mut cache = Cache::new(16);
                    for topic in asked {
                        let entry = cache.find(index, topic.as_bytes()).unwrap();
                        let receivers = &cache.entry(entry).receivers;
                        answer.send(receivers.iter().any(|receiver| receiver.same(client(1, 0)))).unwrap();
                    }
                });
                (ask, answered)
            })
            .collect();
        for round in 0..ROUNDS {
            let topic = format!("{}/{}/state", round % 3, round % 50);
            let filter = match round % 4 {
                0 => "+/#".to_owned(),
                1 => format!("{}/+/state", round % 3),
                2 => format!("{}/{}/#", round % 3, round % 50),
                _ => topic.clone(),
            };
            for subscribed in [true, false] {
                let existed = match subscribed {
                    true => index.subscribe(&parse(&filter), SubscriptionEntry::new(client(1, 0))),
                    false => index.unsubscribe(&parse(&filter), client(1, 0)),
                };
                assert_eq!(existed, !subscribed);
                shards.iter().for_each(|(ask, _)| ask.send(topic.clone()).unwrap());
                for (_, answered) in &shards {
                    assert_eq!(answered.recv(), Ok(subscribed), "{filter}, {topic}");
                }
            }
        }
    });
}

#[test]
fn who_has_told_of_members_at_a_peer_has_them_chosen_on_every_shard() {
    let index = Index::new(28);
    let (connected, away) = (Presence::new(true), Presence::new(false));
    let peer = Receiver { flags: ReceiverFlags::new(Kind::Peer, 2), ..client(0, 7) };
    let group = parse("$share/g/a/+");
    let share = |number, online, offline| {
        let filter = group.filter().clone();
        SharedSubscription { group: "g".into(), filter, number, online, offline }
    };
    // A session here that is off-line: the peer is chosen while it has members on-line, and only then.
    index.subscribe(&group, SubscriptionEntry { presence: Some(away), ..SubscriptionEntry::new(client(1, 0)) });
    let quiet = AtomicBool::new(false);
    thread::scope(|scope| {
        let _quiet = Quiet(&quiet);
        scope.spawn(|| {
            // The group itself is made anew again and again.
            for slot in (0_u32..).take_while(|_| !quiet.load(Ordering::Relaxed)) {
                let entry = SubscriptionEntry {
                    presence: Some(Presence::new(false)),
                    ..SubscriptionEntry::new(client(2, slot))
                };
                index.subscribe(&group, entry);
                index.unsubscribe(&group, client(2, slot));
            }
        });
        let shards: Vec<_> = (0..2)
            .map(|_| {
                let (ask, asked) = mpsc::sync_channel::<()>(1);
                let (answer, answered) = mpsc::sync_channel(1);
                let index = &index;
                scope.spawn(move || {
                    let (mut cache, mut choices) = (Cache::new(16), Choices::default());
                    for () in asked {
                        let entry = cache.find(index, b"a/b").unwrap();
                        cache.entry(entry).choose(false, &mut choices);
                        let mut chosen = choices.others();
                        let peer = chosen.next().filter(|(receiver, _)| receiver.same(peer));
                        answer.send((peer.map(|(_, ids)| ids.to_vec()), chosen.count())).unwrap();
                    }
                });
                (ask, answered)
            })
            .collect();
        for round in 1..=ROUNDS {
            let number = round / 10 + 1;
            match round % 5 {
                0 => _ = index.drop_share(peer, "g", group.filter()),
                1 | 2 => _ = index.put_share(peer, &share(number, round, 0), &connected),
                3 => connected.set(false),
                _ => {
                    index.put_share(peer, &share(number, 0, 0), &connected);
                    connected.set(true);
                }
            }
            let expected = matches!(round % 5, 1 | 2).then(|| vec![number]);
            shards.iter().for_each(|(ask, _)| ask.send(()).unwrap());
            for (_, answered) in &shards {
                assert_eq!(answered.recv(), Ok((expected.clone(), 0)), "round {round}");
            }
        }
    });
}

#[test]
fn a_route_kept_in_a_cache_is_never_older_than_a_subscription_that_stands() {
    // One thread takes a number as a slot, subscribes, and only then publishes the number; others read the number,
    // then route: every slot up to it must be there.
    let index = Index::new(18);
    let done = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut cache = Cache::new(16);
                loop {
                    let subscribed = done.load(Ordering::Acquire);
                    let entry = cache.find(&index, b"a/b/c").unwrap();
                    let receivers = &cache.entry(entry).receivers;
                    assert!(receivers.len() >= subscribed as usize, "{} of {subscribed}", receivers.len());
                    if subscribed == ROUNDS {
                        break;
                    }
                }
            });
        }
        scope.spawn(|| {
            let filters = ["a/b/c", "a/b/+", "a/+/c", "+/b/c", "#"].map(parse);
            for slot in 0..ROUNDS {
                index.subscribe(&filters[slot as usize % filters.len()], SubscriptionEntry::new(client(0, slot)));
                done.store(slot + 1, Ordering::Release);
            }
        });
    });
}
