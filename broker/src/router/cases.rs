//! Cases that a random history seldom meets.

use super::twin::{LEVELS_MAX, parse, read};
use super::*;
use crate::topic::{Filter, Subscription};
use std::collections::BTreeSet;

fn client(slot: u32) -> Receiver {
    Receiver { slot, epoch: 0, shard: 0, flags: ReceiverFlags::new(Kind::Client, 1) }
}

fn peer(slot: u32) -> Receiver {
    Receiver { flags: ReceiverFlags::new(Kind::Peer, 2), ..client(slot) }
}

fn share(number: u32, online: u32, offline: u32) -> SharedSubscription {
    SharedSubscription { group: "g".into(), filter: Filter::parse("a/#", 8).unwrap(), number, online, offline }
}

#[test]
fn shapes_beyond_the_bound_match_all_the_same() {
    let index = Index::new(12);
    let filters: Vec<Subscription> = (0..512_u32)
        .map(|bits| {
            let levels: Vec<&str> = (0..9).map(|i| if bits >> i & 1 == 1 { "+" } else { "a" }).collect();
            parse(&(levels.join("/") + if bits % 3 == 0 { "/#" } else { "" }))
        })
        .collect();
    let mut route = Route::default();
    for round in 0..2 {
        for (slot, filter) in filters.iter().enumerate() {
            assert!(!index.subscribe(filter, SubscriptionEntry::new(client(slot as u32))));
        }
        let counts = index.counts();
        assert_eq!((counts.filters, counts.shapes, counts.unshaped), (512, 64, 512 - 64));
        index.lookup("a/a/a/a/a/a/a/a/a", &mut route);
        assert_eq!(route.receivers.len(), 512);
        index.lookup("a/a/a/a/a/a/a/a/b", &mut route);
        assert_eq!(route.receivers.len(), 256);
        // Forwards, then backwards: a place that became free is used, and nothing is looked for where it is not.
        let order: Vec<usize> = if round == 0 { (0..512).collect() } else { (0..512).rev().collect() };
        for (left, i) in order.into_iter().enumerate() {
            assert!(index.subscribe(&filters[i], SubscriptionEntry::new(client(i as u32))));
            assert!(index.unsubscribe(&filters[i], client(i as u32)));
            assert!(!index.unsubscribe(&filters[i], client(i as u32)));
            index.lookup("a/a/a/a/a/a/a/a/a", &mut route);
            assert_eq!(route.receivers.len(), 511 - left);
        }
        assert_eq!(index.counts(), Counts::default());
    }
}

#[test]
fn a_reader_that_lags_too_far_behind_gets_a_snapshot_with_each_filter_once() {
    let index = Index::new(13);
    let (mut wanted, mut cursor) = (BTreeSet::new(), 0);
    for i in 0..interest::CHANGES_MAX as u32 + 10 {
        index.subscribe(&parse(&format!("t/{i}/+")), SubscriptionEntry::new(client(1)));
        index.subscribe(&parse(&format!("$share/g/t/{i}/+")), SubscriptionEntry::new(client(2)));
    }
    assert!(matches!(index.interest_since(Audience::Links, cursor), Interest::Snapshot(..)));
    cursor = read(&index, Audience::Links, cursor, &mut wanted);
    assert_eq!(wanted.len(), interest::CHANGES_MAX + 10);
    assert_eq!(index.interest_since(Audience::Links, cursor), Interest::Changes(Vec::new(), cursor));
    index.unsubscribe(&parse("t/5/+"), client(1));
    assert_eq!(index.interest_end(Audience::Links), cursor, "a group still wants it");
    index.unsubscribe(&parse("$share/g/t/5/+"), client(2));
    let gone = Filter::parse("t/5/+", LEVELS_MAX).unwrap();
    assert_eq!(
        index.interest_since(Audience::Links, cursor),
        Interest::Changes(vec![(gone, Change::Removed)], index.interest_end(Audience::Links))
    );
}

#[test]
fn the_same_subscription_again_voids_no_route() {
    let index = Index::new(14);
    let mut cache = Cache::new(LEVELS_MAX);
    let entry = SubscriptionEntry { subscription_id: Some(3), ..SubscriptionEntry::new(client(1)) };
    index.subscribe(&parse("#"), entry.clone());
    let at = cache.find(&index, b"a/b").unwrap();
    index.subscribe(&parse("#"), entry.clone());
    assert!(cache.still(&index, at, b"a/b"));
    index.subscribe(&parse("#"), SubscriptionEntry { subscription_id: Some(4), ..entry });
    assert!(!cache.still(&index, at, b"a/b"));
    index.subscribe(&parse("x/+"), SubscriptionEntry::new(client(2)));
    let at = cache.find(&index, b"a/b").unwrap();
    index.subscribe(&parse("x/#"), SubscriptionEntry::new(client(2)));
    assert!(cache.still(&index, at, b"a/b"), "a filter below another first level");
}

#[test]
fn a_topic_that_is_not_valid_is_refused_and_leaves_the_cache_as_it_was() {
    let index = Index::new(15);
    let mut cache = Cache::new(3);
    for bytes in [&b""[..], b"a/+", b"#", b"\xff", b"a\0b", b"1/2/3/4"] {
        assert!(cache.find(&index, bytes).is_err(), "{bytes:?}");
    }
    assert!((0..4096).all(|entry| !cache.still(&index, entry, b"")));
}

#[test]
fn old_snapshots_of_a_group_do_not_pile_up_in_a_cache() {
    let index = Index::new(22);
    let group = parse("$share/g/#");
    let mut cache = Cache::with_weight_max(LEVELS_MAX, 200_000);
    let mut held = std::collections::VecDeque::new();
    for slot in 0..1_000 {
        index.subscribe(&group, SubscriptionEntry::new(client(slot)));
        let topic = format!("topic/{slot}");
        let entry = cache.find(&index, topic.as_bytes()).unwrap();
        assert_eq!(cache.entry(entry).groups[0].members().len(), slot as usize + 1);
        held.push_back(entry);
    }
    let of = |entry: &usize| cache.entry(*entry).groups.first().map_or(0, |group| group.members().len());
    let members: usize = held.iter().map(of).sum();
    assert!(
        members * size_of::<Member>() <= 200_000 + 1_000 * size_of::<Member>(),
        "{members} members in old snapshots"
    );
}

#[test]
fn a_route_larger_than_the_cache_may_hold_is_still_kept_until_another_comes() {
    let index = Index::new(16);
    for slot in 0..1000 {
        index.subscribe(&parse("all"), SubscriptionEntry::new(client(slot)));
    }
    let mut cache = Cache::with_weight_max(LEVELS_MAX, 4_000);
    let large = cache.find(&index, b"all").unwrap();
    assert!(cache.still(&index, large, b"all"));
    assert_eq!(cache.entry(large).receivers.len(), 1000);
    let small = cache.find(&index, b"other").unwrap();
    assert!(cache.still(&index, small, b"other") && !cache.still(&index, large, b"all"));
}

#[test]
fn members_of_a_peer_that_come_and_go_void_no_route_and_are_seen_by_it() {
    let index = Index::new(23);
    let mut cache = Cache::new(LEVELS_MAX);
    let connected = Presence::new(true);
    index.subscribe(&parse("$share/g/a/#"), SubscriptionEntry::new(client(1)));
    assert!(!index.put_share(peer(2), &share(7, 0, 1), &connected));
    let at = cache.find(&index, b"a/b").unwrap();
    let chosen = |cache: &Cache| -> BTreeSet<u32> {
        let group = &cache.entry(at).groups[0];
        (0..20).map(|_| group.choose(false).receiver.slot).collect()
    };
    assert_eq!(chosen(&cache), [1].into(), "nobody is on-line at the peer");
    assert!(index.put_share(peer(2), &share(7, 9, 1), &connected));
    assert_eq!(chosen(&cache), [1, 2].into());
    connected.set(false);
    assert_eq!(chosen(&cache), [1].into(), "the peer is not connected");
    assert!(cache.still(&index, at, b"a/b"));
    connected.set(true);
    assert!(index.put_share(peer(2), &share(8, 9, 1), &connected));
    assert!(!cache.still(&index, at, b"a/b"), "a message must bear the new number");
    let at = cache.find(&index, b"a/b").unwrap();
    assert!(index.put_share(peer(2), &share(8, 0, 0), &connected));
    assert!(!cache.still(&index, at, b"a/b") && !index.drop_share(peer(2), "g", &share(8, 0, 0).filter));
}

#[test]
fn a_session_that_comes_and_goes_voids_no_route_and_is_told() {
    let index = Index::new(24);
    let mut cache = Cache::new(LEVELS_MAX);
    let subscriptions = [parse("a/#"), parse("$share/g/a/#")];
    let presence = Presence::new(true);
    for subscription in &subscriptions {
        let entry = SubscriptionEntry { presence: Some(presence.clone()), ..SubscriptionEntry::new(client(1)) };
        index.subscribe(subscription, entry);
    }
    let at = cache.find(&index, b"a/b").unwrap();
    let number = cache.entry(at).groups[0].number();
    assert_eq!(index.shares_since(0), Shares::Changes(vec![share(number, 1, 0)], 1));
    presence.set(false);
    index.presence_changed(client(1), &subscriptions);
    index.presence_changed(client(1), &subscriptions);
    assert_eq!(index.shares_since(1), Shares::Changes(vec![share(number, 0, 1)], 2));
    assert!(cache.still(&index, at, b"a/b"));
    index.unsubscribe_all(&subscriptions, client(1));
    assert_eq!(index.shares_since(1), Shares::Changes(vec![share(number, 0, 0)], 3));
    assert_eq!(index.shares_end(), 3);
}

#[test]
fn a_group_has_the_same_number_whoever_is_in_it_and_whenever_it_comes_about() {
    let index = Index::new(25);
    let (group, connected) = (parse("$share/g/a/#"), Presence::new(true));
    let number = || {
        let mut route = Route::default();
        index.lookup("a", &mut route);
        route.groups.first().map(|group| (group.number(), route.local_group(group.number()).is_some()))
    };
    index.put_share(peer(2), &share(9, 1, 0), &connected);
    let first = number().expect("a peer is in it");
    assert!(first.0 != 0 && first.1);
    index.subscribe(&group, SubscriptionEntry::new(client(1)));
    assert_eq!(number(), Some(first));
    index.unsubscribe(&group, client(1));
    index.drop_share(peer(2), "g", group.filter());
    assert_eq!(number(), None);
    index.put_share(peer(2), &share(9, 1, 0), &connected);
    assert_eq!(number(), Some(first), "a message for a member that left finds those that are there now");
    index.subscribe(&parse("$share/h/a/#"), SubscriptionEntry::new(client(1)));
    let mut route = Route::default();
    index.lookup("a", &mut route);
    assert_ne!(route.groups[0].number(), route.groups[1].number());
}

#[test]
fn a_reader_of_shares_that_lags_too_far_behind_gets_those_that_have_members() {
    let index = Index::new(26);
    let (gone, stays) = (parse("$share/h/a/#"), parse("$share/g/a/#"));
    index.subscribe(&gone, SubscriptionEntry::new(client(1)));
    index.put_share(peer(2), &SharedSubscription { group: "h".into(), ..share(9, 1, 0) }, &Presence::new(true));
    index.unsubscribe(&gone, client(1));
    let presence = Presence::new(false);
    let entry = SubscriptionEntry { presence: Some(presence.clone()), ..SubscriptionEntry::new(client(3)) };
    index.subscribe(&stays, entry);
    for change in 0..interest::CHANGES_MAX as u32 + 1 {
        presence.set(change % 2 == 0);
        index.presence_changed(client(3), [&stays]);
    }
    let mut route = Route::default();
    index.lookup("a", &mut route);
    let of_stays = |group: &&Group| group.members().iter().any(|member| member.receiver.same(client(3)));
    let number = route.groups.iter().find(of_stays).expect("it stays").number();
    assert_eq!(index.shares_since(0), Shares::Snapshot(vec![share(number, 1, 0)], index.shares_end()));
}
