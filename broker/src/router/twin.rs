//! The index and the cache against a plain slow twin: a list of subscriptions, matched one by one.

use super::*;
use crate::topic::{Filter, Subscription};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LEVELS_MAX: u16 = 64;

/// One step of a history.
#[derive(Clone, Debug)]
enum Act {
    Subscribe {
        who: Receiver,
        filter: String,
        id: Option<u32>,
    },
    Unsubscribe {
        who: Receiver,
        filter: String,
    },
    /// The session goes.
    Leave(Receiver),
    Publish(String),
    /// A reader of the interest log catches up.
    Read,
}

/// A list of all subscriptions: by identity of the receiver and text of the subscription.
#[derive(Default)]
struct Twin(BTreeMap<(u64, String), (Subscription, Receiver, Option<u32>)>);

/// What a route says, in a form that can be compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plain {
    receivers: BTreeMap<u64, (ReceiverFlags, Vec<u32>)>,
    /// Members of each group in order: flags, and the identifier or 0.
    groups: Vec<Vec<(u64, u8, u32)>>,
}

// === impl Twin ===

impl Twin {
    fn route(&self, topic: &str) -> Plain {
        let mut plain = Plain::default();
        let mut groups: BTreeMap<String, Vec<(u64, u8, u32)>> = BTreeMap::new();
        for ((_, text), (subscription, receiver, id)) in &self.0 {
            if !subscription.filter().matches(topic) {
                continue;
            }
            let flags = receiver.flags.with_ids(id.is_some());
            if subscription.is_shared() {
                let member = (receiver.key(), flags.qos(), id.unwrap_or(0));
                groups.entry(text.clone()).or_default().push(member);
                continue;
            }
            let entry = plain.receivers.entry(receiver.key()).or_insert_with(|| (flags, Vec::new()));
            entry.0 = entry.0.merge(flags);
            entry.1.extend(id);
        }
        plain.receivers.values_mut().for_each(|(_, ids)| ids.sort_unstable());
        plain.groups = groups.into_values().collect();
        plain.groups.iter_mut().for_each(|members| members.sort_unstable());
        plain.groups.sort();
        plain
    }

    fn wanted(&self) -> BTreeSet<Filter> {
        let of_clients = self.0.values().filter(|(_, receiver, _)| receiver.flags.kind() == Kind::Client);
        of_clients.map(|(subscription, _, _)| subscription.filter().clone()).collect()
    }
}

impl From<&Route> for Plain {
    fn from(route: &Route) -> Self {
        let mut plain = Self::default();
        for (at, receiver) in route.receivers.iter().enumerate() {
            let before = plain.receivers.insert(receiver.key(), (receiver.flags, route.ids_of(at).collect()));
            assert!(before.is_none(), "each receiver once");
        }
        assert_eq!(plain.receivers.values().map(|(_, ids)| ids.len()).sum::<usize>(), route.ids.len());
        let member = |member: &Member| (member.receiver.key(), member.receiver.flags.qos(), member.id().unwrap_or(0));
        plain.groups = route.groups.iter().map(|group| group.members().iter().map(member).collect()).collect();
        plain.groups.iter_mut().for_each(|members| members.sort_unstable());
        plain.groups.sort();
        plain
    }
}

fn who(receivers: u32) -> impl Strategy<Value = Receiver> {
    (0..receivers, 0_u8..3, any::<bool>(), any::<bool>()).prop_map(|(slot, qos, no_local, retain)| {
        let kind = [Kind::Client, Kind::Client, Kind::Peer, Kind::Link][slot as usize % 4];
        let flags = ReceiverFlags::new(kind, qos).with_no_local(no_local).with_retain_as_published(retain);
        Receiver { slot, epoch: (slot % 2) as u16, shard: (slot % 3) as u8, flags }
    })
}

fn levels(wild: bool) -> impl Strategy<Value = String> {
    let level = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "a-long-level-name"]),
        1 => prop::sample::select(vec!["", "$d"]),
    ];
    // Some are deeper than what has a table of its shape.
    let depth = prop_oneof![9 => 1_usize..5, 1 => 15_usize..20];
    (depth, any::<u64>(), prop::collection::vec(level, 20)).prop_map(move |(depth, bits, names)| {
        let levels = names.iter().take(depth).enumerate();
        let levels = levels.map(|(i, name)| if wild && bits >> (2 * i) & 3 == 0 { "+" } else { name });
        let mut text = levels.collect::<Vec<_>>().join("/");
        if wild && bits >> 62 == 0 {
            text = if bits >> 60 & 3 == 0 { "#".into() } else { text + "/#" };
        }
        if text.is_empty() { "/".into() } else { text }
    })
}

fn filter() -> impl Strategy<Value = String> {
    (levels(true), 0_u8..6).prop_map(|(filter, share)| match share {
        0 => format!("$share/g/{filter}"),
        1 => format!("$share/h/{filter}"),
        _ => filter,
    })
}

fn act(receivers: u32) -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (who(receivers), filter(), prop::option::of(1_u32..9))
            .prop_map(|(who, filter, id)| Act::Subscribe { who, filter, id }),
        4 => (who(receivers), filter()).prop_map(|(who, filter)| Act::Unsubscribe { who, filter }),
        1 => who(receivers).prop_map(Act::Leave),
        8 => levels(false).prop_map(Act::Publish),
        1 => Just(Act::Read),
    ]
}

fn parse(text: &str) -> Subscription {
    Subscription::parse(text, LEVELS_MAX).unwrap()
}

/// Plays a history to the index, with a live cache and a reader of the interest, and to the twin.
fn play(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let index = Index::new(11);
    let mut twin = Twin::default();
    // A cache that must drop entries again and again, beside one that never does.
    let mut caches = [Cache::new(LEVELS_MAX), Cache::with_weight_max(LEVELS_MAX, 600)];
    let (mut wanted, mut cursor) = (BTreeSet::new(), 0);
    for act in acts {
        match act {
            Act::Subscribe { who, filter, id } => {
                let subscription = parse(&filter);
                let entry = SubscriptionEntry { receiver: who, subscription_id: id, presence: None };
                let existed = index.subscribe(&subscription, entry);
                let before = twin.0.insert((who.key(), filter), (subscription, who, id));
                prop_assert_eq!(existed, before.is_some());
            }
            Act::Unsubscribe { who, filter } => {
                let existed = index.unsubscribe(&parse(&filter), who);
                prop_assert_eq!(existed, twin.0.remove(&(who.key(), filter)).is_some());
            }
            Act::Leave(who) => {
                let own = twin.0.extract_if(.., |(key, _), _| *key == who.key());
                let own: Vec<Subscription> = own.map(|(_, (subscription, _, _))| subscription).collect();
                prop_assert_eq!(index.unsubscribe_all(&own, who), own.len());
            }
            Act::Publish(topic) => {
                let expected = twin.route(&topic);
                let mut route = Route::default();
                index.lookup(&topic, &mut route);
                prop_assert_eq!(&Plain::from(&route), &expected, "looked up: {}", topic);
                prop_assert_eq!(route.is_empty(), expected == Plain::default());
                for cache in &mut caches {
                    let entry = cache.find(&index, topic.as_bytes()).unwrap();
                    prop_assert_eq!(&Plain::from(cache.entry(entry)), &expected, "cached: {}", topic);
                    prop_assert!(cache.still(&index, entry, topic.as_bytes()));
                }
            }
            Act::Read => {
                cursor = read(&index, cursor, &mut wanted);
                prop_assert_eq!(&wanted, &twin.wanted());
            }
        }
        prop_assert_eq!(index.counts().subscriptions, twin.0.len());
    }
    for (_, (subscription, receiver, _)) in twin.0 {
        prop_assert!(index.unsubscribe(&subscription, receiver));
    }
    prop_assert_eq!(index.counts(), Counts::default());
    read(&index, cursor, &mut wanted);
    prop_assert!(wanted.is_empty());
    Ok(())
}

fn read(index: &Index, cursor: u64, wanted: &mut BTreeSet<Filter>) -> u64 {
    let cursor = match index.interest_since(cursor) {
        Interest::Changes(changes, cursor) => {
            for (filter, change) in changes {
                let new = match change {
                    Change::Added => wanted.insert(filter.clone()),
                    Change::Removed => wanted.remove(&filter),
                };
                assert!(new, "{filter} was {change:?} twice");
            }
            cursor
        }
        Interest::Snapshot(filters, cursor) => {
            *wanted = filters.into_iter().collect();
            cursor
        }
    };
    assert_eq!(cursor, index.interest_end());
    cursor
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn routes_and_interest_are_those_of_a_plain_list(acts in prop::collection::vec(act(5), 1..150)) {
        play(acts)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn routes_of_many_receivers_are_those_of_a_plain_list(acts in prop::collection::vec(act(60), 500..1500)) {
        play(acts)?;
    }
}

fn client(slot: u32) -> Receiver {
    Receiver { slot, epoch: 0, shard: 0, flags: ReceiverFlags::new(Kind::Client, 1) }
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
    assert!(matches!(index.interest_since(cursor), Interest::Snapshot(..)));
    cursor = read(&index, cursor, &mut wanted);
    assert_eq!(wanted.len(), interest::CHANGES_MAX + 10);
    assert_eq!(index.interest_since(cursor), Interest::Changes(Vec::new(), cursor));
    index.unsubscribe(&parse("t/5/+"), client(1));
    assert_eq!(index.interest_end(), cursor, "a group still wants it");
    index.unsubscribe(&parse("$share/g/t/5/+"), client(2));
    let gone = Filter::parse("t/5/+", LEVELS_MAX).unwrap();
    assert_eq!(index.interest_since(cursor), Interest::Changes(vec![(gone, Change::Removed)], cursor + 1));
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
