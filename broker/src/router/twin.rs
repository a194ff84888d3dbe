//! The index and the cache against a plain slow twin: a list of subscriptions, matched one by one.

use super::team::number_of;
use super::*;
use crate::topic::{Filter, Subscription};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const LEVELS_MAX: u16 = 64;

/// One step of a history.
#[derive(Clone, Debug)]
enum Act {
    Subscribe {
        who: Receiver,
        filter: String,
        id: Option<u32>,
        /// Members on-line and off-line, if it is a peer in a group.
        members: (u32, u32),
    },
    Unsubscribe {
        who: Receiver,
        filter: String,
    },
    /// The session goes.
    Leave(Receiver),
    /// The session comes on-line or goes off-line; the peer is connected or is not.
    Presence(Receiver, bool),
    Publish(String),
    /// Readers of the logs catch up.
    Read,
}

/// A list of all subscriptions: by identity of the receiver and text of the subscription.
#[derive(Default)]
struct Twin {
    entries: BTreeMap<(u64, String), Entry>,
    /// Those that are off-line.
    away: BTreeSet<u64>,
}

struct Entry {
    subscription: Subscription,
    receiver: Receiver,
    id: Option<u32>,
    members: (u32, u32),
}

/// What a route says, in a form that can be compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plain {
    receivers: BTreeMap<u64, (ReceiverFlags, Vec<u32>)>,
    /// Number of each group and its members in order: flags, the identifier or 0, and how many are on-line and off-line.
    groups: Vec<(u32, Vec<PlainMember>)>,
}

type PlainMember = (u64, u8, u32, (u32, u32));

// === impl Twin ===

impl Twin {
    fn route(&self, topic: &str) -> Plain {
        let mut plain = Plain::default();
        let mut groups: BTreeMap<&str, Vec<PlainMember>> = BTreeMap::new();
        for ((key, text), entry) in &self.entries {
            let Entry { subscription, receiver, id, members: _ } = entry;
            if !subscription.filter().matches(topic) {
                continue;
            }
            let flags = receiver.flags.with_ids(id.is_some());
            if subscription.is_shared() {
                let member = (*key, flags.qos(), id.unwrap_or(0), self.members_of(entry));
                groups.entry(text).or_default().push(member);
                continue;
            }
            let entry = plain.receivers.entry(*key).or_insert_with(|| (flags, Vec::new()));
            entry.0 = entry.0.merge(flags);
            entry.1.extend(id);
        }
        plain.receivers.values_mut().for_each(|(_, ids)| ids.sort_unstable());
        let number = |text: &str| number(text);
        plain.groups = groups.into_iter().map(|(text, members)| (number(text), members)).collect();
        plain.groups.iter_mut().for_each(|(_, members)| members.sort_unstable());
        plain.groups.sort();
        plain
    }

    /// How many an entry stands for, on-line and off-line.
    fn members_of(&self, entry: &Entry) -> (u32, u32) {
        match (entry.receiver.flags.kind(), self.away.contains(&entry.receiver.key())) {
            (Kind::Peer, true) => (0, 0),
            (Kind::Peer, false) => entry.members,
            (Kind::Client | Kind::Link, true) => (0, 1),
            (Kind::Client | Kind::Link, false) => (1, 0),
        }
    }

    fn wanted(&self, audience: Audience) -> BTreeSet<Filter> {
        let wants = |entry: &&Entry| match (audience, entry.receiver.flags.kind()) {
            (Audience::Peers, Kind::Client) => !entry.subscription.is_shared(),
            (Audience::Links, Kind::Client | Kind::Peer) => true,
            (Audience::Peers, Kind::Peer | Kind::Link) | (Audience::Links, Kind::Link) => false,
        };
        self.entries.values().filter(wants).map(|entry| entry.subscription.filter().clone()).collect()
    }

    /// Members of this node by group: on-line and off-line.
    fn shares(&self) -> BTreeMap<String, (u32, u32)> {
        let mut shares: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for ((_, text), entry) in &self.entries {
            if entry.subscription.is_shared() && entry.receiver.flags.kind() != Kind::Peer {
                let (online, offline) = self.members_of(entry);
                let sum = shares.entry(text.clone()).or_default();
                *sum = (sum.0 + online, sum.1 + offline);
            }
        }
        shares
    }

    /// A group bears the same number whenever it is told, and wherever.
    fn hear(&self, told: &BTreeMap<String, SharedSubscription>) {
        self.shares().keys().for_each(|text| assert_eq!(told[text].number, number(text), "the number of {text}"));
    }
}

fn number(text: &str) -> u32 {
    match Subscription::parse(text, 64).expect("it was one before") {
        Subscription::Shared { group, filter } => number_of(&group, &filter),
        Subscription::Plain(_) => unreachable!("no group has this name"),
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
        let member = |member: &Member| {
            let reached = member.reached();
            let id = member.words().get(usize::from(!member.is_peer())).copied().unwrap_or(0);
            (member.receiver.key(), member.receiver.flags.qos(), id, (reached.online, reached.offline))
        };
        let group = |group: &Group| (group.number(), group.members().iter().map(member).collect());
        plain.groups = route.groups.iter().map(group).collect();
        plain.groups.iter_mut().for_each(|(_, members)| members.sort_unstable());
        plain.groups.sort();
        for group in &route.groups {
            let by_number = route.local_group(group.number()).map(|found| found.members().as_ptr());
            assert_eq!(by_number, Some(group.members().as_ptr()));
        }
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
        6 => (who(receivers), filter(), prop::option::of(1_u32..9), (0_u32..3, 0_u32..3))
            .prop_map(|(who, filter, id, members)| Act::Subscribe { who, filter, id, members }),
        4 => (who(receivers), filter()).prop_map(|(who, filter)| Act::Unsubscribe { who, filter }),
        1 => who(receivers).prop_map(Act::Leave),
        1 => (who(receivers), any::<bool>()).prop_map(|(who, online)| Act::Presence(who, online)),
        8 => levels(false).prop_map(Act::Publish),
        1 => Just(Act::Read),
    ]
}

pub(super) fn parse(text: &str) -> Subscription {
    Subscription::parse(text, LEVELS_MAX).unwrap()
}

/// Makes one change to the index and to the twin.
fn change(index: &Index, twin: &mut Twin, presences: &mut BTreeMap<u64, Presence>, act: Act) {
    let mut presence_of = |who: Receiver| presences.entry(who.key()).or_insert_with(|| Presence::new(true)).clone();
    let share = |subscription: &Subscription, who: Receiver| match subscription {
        Subscription::Shared { group, filter } if who.flags.kind() == Kind::Peer => {
            Some((group.clone(), filter.clone()))
        }
        Subscription::Shared { .. } | Subscription::Plain(_) => None,
    };
    match act {
        Act::Subscribe { who, filter, id, members } => {
            let subscription = parse(&filter);
            let key = (who.key(), filter);
            let existed = match share(&subscription, who) {
                Some((group, filter)) => {
                    let (online, offline) = members;
                    let share = SharedSubscription { group, filter, number: id.unwrap_or(0), online, offline };
                    index.put_share(who, &share, &presence_of(who))
                }
                None => {
                    let presence = (who.flags.kind() == Kind::Client).then(|| presence_of(who));
                    index.subscribe(&subscription, SubscriptionEntry { receiver: who, subscription_id: id, presence })
                }
            };
            let gone = share(&subscription, who).is_some() && members == (0, 0);
            let entry = Entry { subscription, receiver: who, id, members };
            let before = if gone { twin.entries.remove(&key) } else { twin.entries.insert(key, entry) };
            assert_eq!(existed, before.is_some());
        }
        Act::Unsubscribe { who, filter } => {
            let subscription = parse(&filter);
            let existed = match share(&subscription, who) {
                Some((group, filter)) => index.drop_share(who, &group, &filter),
                None => index.unsubscribe(&subscription, who),
            };
            assert_eq!(existed, twin.entries.remove(&(who.key(), filter)).is_some());
        }
        Act::Leave(who) => {
            let own = twin.entries.extract_if(.., |(key, _), _| *key == who.key());
            let own: Vec<Subscription> = own.map(|(_, entry)| entry.subscription).collect();
            assert_eq!(index.unsubscribe_all(&own, who), own.len());
        }
        Act::Presence(who, online) if who.flags.kind() != Kind::Link => {
            presence_of(who).set(online);
            let own = twin.entries.iter().filter(|((key, _), _)| *key == who.key());
            index.presence_changed(who, own.map(|(_, entry)| &entry.subscription));
            if online {
                twin.away.remove(&who.key())
            } else {
                twin.away.insert(who.key())
            };
        }
        Act::Presence(..) | Act::Publish(_) | Act::Read => {}
    }
}

/// Plays a history to the index, with live caches and readers of its logs, and to the twin.
fn play(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let index = Index::new(11);
    let (mut twin, mut presences) = (Twin::default(), BTreeMap::new());
    // A cache that must drop entries again and again, beside one that never does.
    let mut caches = [Cache::new(LEVELS_MAX), Cache::with_weight_max(LEVELS_MAX, 600)];
    let mut readers = [Reader::default(), Reader::default()];
    for act in acts {
        match &act {
            Act::Publish(topic) => {
                let expected = twin.route(topic);
                let mut route = Route::default();
                index.lookup(topic, &mut route);
                prop_assert_eq!(&Plain::from(&route), &expected, "looked up: {}", topic);
                prop_assert_eq!(route.is_empty(), expected == Plain::default());
                for cache in &mut caches {
                    let entry = cache.find(&index, topic.as_bytes()).unwrap();
                    prop_assert_eq!(&Plain::from(cache.entry(entry)), &expected, "cached: {}", topic);
                    prop_assert!(cache.still(&index, entry, topic.as_bytes()));
                }
            }
            Act::Read => {
                readers[1].read(&index);
                readers[1].agrees(&twin);
            }
            Act::Subscribe { .. } | Act::Unsubscribe { .. } | Act::Leave(_) | Act::Presence(..) => {
                change(&index, &mut twin, &mut presences, act);
                readers[0].read(&index);
                readers[0].agrees(&twin);
                twin.hear(&readers[0].shares);
            }
        }
        prop_assert_eq!(index.counts().subscriptions, twin.entries.len());
    }
    for (_, entry) in std::mem::take(&mut twin.entries) {
        prop_assert!(index.unsubscribe(&entry.subscription, entry.receiver));
    }
    prop_assert_eq!(index.counts(), Counts::default());
    readers[1].read(&index);
    readers[1].agrees(&twin);
    Ok(())
}

/// What one has read of all logs.
#[derive(Default)]
struct Reader {
    wanted: [BTreeSet<Filter>; 2],
    cursors: [u64; 2],
    shares: BTreeMap<String, SharedSubscription>,
    shares_cursor: u64,
}

// === impl Reader ===

impl Reader {
    fn read(&mut self, index: &Index) {
        for audience in Audience::ALL {
            let cursor = &mut self.cursors[audience as usize];
            *cursor = read(index, audience, *cursor, &mut self.wanted[audience as usize]);
        }
        let (shares, cursor) = match index.shares_since(self.shares_cursor) {
            Shares::Changes(shares, cursor) => (shares, cursor),
            Shares::Snapshot(shares, cursor) => {
                self.shares.clear();
                (shares, cursor)
            }
        };
        assert_eq!(cursor, index.shares_end());
        self.shares_cursor = cursor;
        for share in shares {
            let text = format!("$share/{}/{}", share.group, share.filter);
            if share.is_empty() {
                self.shares.remove(&text)
            } else {
                self.shares.insert(text, share)
            };
        }
    }

    fn agrees(&self, twin: &Twin) {
        for audience in Audience::ALL {
            assert_eq!(self.wanted[audience as usize], twin.wanted(audience), "{audience:?}");
        }
        let told = self.shares.iter().map(|(text, share)| (text.clone(), (share.online, share.offline)));
        assert_eq!(told.collect::<BTreeMap<_, _>>(), twin.shares());
    }
}

pub(super) fn read(index: &Index, audience: Audience, cursor: u64, wanted: &mut BTreeSet<Filter>) -> u64 {
    let cursor = match index.interest_since(audience, cursor) {
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
    assert_eq!(cursor, index.interest_end(audience));
    cursor
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn routes_interest_and_shares_are_those_of_a_plain_list(acts in prop::collection::vec(act(5), 1..150)) {
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
