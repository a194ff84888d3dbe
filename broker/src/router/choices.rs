//! The members that were chosen for one message, of each group one: a peer chosen by several of them stands once.

use super::member::{Member, Words};
use super::receiver::Receiver;
use std::ops::Range;

/// Who gets a message by groups, besides the receivers of its route. Reused for one message after another, so that it
/// seldom allocates.
#[derive(Debug, Default)]
pub struct Choices {
    /// Sessions of this node, with the numbers of their groups and their Subscription Identifiers.
    sessions: Vec<(Receiver, Words)>,
    /// Peers with the numbers of the groups that chose them, one by one.
    shares: Vec<(Receiver, u32)>,
    /// The same peers, each once.
    peers: Vec<ChosenPeer>,
    /// The numbers of all peers, in the order of these.
    numbers: Vec<u32>,
}

#[derive(Debug)]
struct ChosenPeer {
    receiver: Receiver,
    /// Its part of the numbers.
    numbers: Range<usize>,
    /// It is among the receivers of the route too.
    is_receiver: bool,
}

// === impl Choices ===

impl Choices {
    /// Those who are not among the receivers of the route, each with the number of its group and its Subscription Identifier
    /// if it has one; a peer with the numbers of its groups, of which one member each gets the message and nobody else there.
    pub fn others(&self) -> impl Iterator<Item = (Receiver, &[u32])> {
        let sessions = self.sessions.iter().map(|(receiver, words)| (*receiver, words.as_slice()));
        let peers = self.peers.iter().filter(|peer| !peer.is_receiver);
        sessions.chain(peers.map(|peer| (peer.receiver, &self.numbers[peer.numbers.clone()])))
    }

    /// For a peer among the receivers of the route: the numbers of its groups of which one member gets the message too.
    #[inline]
    pub fn shares_of(&self, receiver: Receiver) -> &[u32] {
        let chosen = self.peers.iter().find(|peer| peer.receiver.same(receiver));
        chosen.map_or(&[], |peer| &self.numbers[peer.numbers.clone()])
    }

    pub(super) fn clear(&mut self) {
        self.sessions.clear();
        self.shares.clear();
        self.peers.clear();
        self.numbers.clear();
    }

    /// Enters who was chosen in one group.
    #[inline]
    pub(super) fn push(&mut self, member: &Member) {
        if member.is_peer() {
            self.shares.push((member.receiver, member.kept_words().number()));
        } else {
            self.sessions.push((member.receiver, member.kept_words()));
        }
    }

    /// Makes one of each peer that several groups chose; `receivers` are the peers among the receivers of the route.
    #[inline]
    pub(super) fn unite(&mut self, receivers: &[Receiver]) {
        if !self.shares.is_empty() {
            self.unite_peers(receivers);
        }
    }

    fn unite_peers(&mut self, receivers: &[Receiver]) {
        self.shares.sort_unstable_by_key(|(receiver, number)| (receiver.key(), *number));
        for of_one in self.shares.chunk_by(|(one, _), (next, _)| one.same(*next)) {
            let receiver = of_one[0].0;
            let from = self.numbers.len();
            self.numbers.extend(of_one.iter().map(|(_, number)| number));
            let is_receiver = receivers.iter().any(|other| other.same(receiver));
            self.peers.push(ChosenPeer { receiver, numbers: from..self.numbers.len(), is_receiver });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Index, Kind, Presence, ReceiverFlags, Route, SharedSubscription, SubscriptionEntry};
    use super::*;
    use crate::topic::Subscription;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn receiver(kind: Kind, slot: u32) -> Receiver {
        Receiver { slot, epoch: 0, shard: 0, flags: ReceiverFlags::new(kind, 1) }
    }

    /// An index with subscriptions of clients and peers, each given as what, in which group or none, and of whom.
    fn index(subscriptions: &[(bool, usize, u32)]) -> Index {
        let index = Index::new(27);
        for (at, (is_peer, group, slot)) in subscriptions.iter().enumerate() {
            let texts = ["a/#", "$share/g/a/#", "$share/h/a/+", "$share/i/+/b"];
            let subscription = Subscription::parse(texts[*group], 8).unwrap();
            match (is_peer, &subscription) {
                (true, Subscription::Shared { group, filter }) => {
                    let number = at as u32 + 100;
                    let (group, filter) = (group.clone(), filter.clone());
                    let share = SharedSubscription { group, filter, number, online: slot + 1, offline: 0 };
                    index.put_share(receiver(Kind::Peer, slot + 10), &share, &Presence::new(true));
                }
                (true, Subscription::Plain(_)) => {
                    index.subscribe(&subscription, SubscriptionEntry::new(receiver(Kind::Peer, slot + 10)));
                }
                (false, _) => {
                    let id = (slot % 2 == 0).then_some(at as u32 + 1);
                    let entry = SubscriptionEntry::new(receiver(Kind::Client, *slot));
                    index.subscribe(&subscription, SubscriptionEntry { subscription_id: id, ..entry });
                }
            }
        }
        index
    }

    proptest! {
        #[test]
        fn choices_are_those_of_each_group_with_one_copy_for_each_peer(
            subscriptions in prop::collection::vec((any::<bool>(), 0_usize..4, 0_u32..4), 0..20),
            local_first: bool,
        ) {
            // Two alike, since to choose takes turns.
            let (index, twin) = (index(&subscriptions), index(&subscriptions));
            let (mut route, mut other) = (Route::default(), Route::default());
            let mut choices = Choices::default();
            for _ in 0..10 {
                index.lookup("a/b", &mut route);
                twin.lookup("a/b", &mut other);
                route.choose(local_first, &mut choices);
                let mut sessions = BTreeMap::new();
                let mut peers: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
                for group in &other.groups {
                    let member = group.choose(local_first);
                    let key = member.receiver.key();
                    if member.is_peer() {
                        prop_assert!(peers.entry(key).or_default().insert(member.words()[0]));
                    } else {
                        prop_assert_eq!(member.words()[0], group.number());
                        *sessions.entry((key, member.words().to_vec())).or_insert(0) += 1;
                    }
                }
                for receiver in &route.receivers {
                    let own = peers.remove(&receiver.key()).unwrap_or_default();
                    prop_assert!(choices.shares_of(*receiver).iter().eq(&own));
                    prop_assert!(!receiver.flags.as_member());
                }
                for (receiver, ids) in choices.others() {
                    if receiver.flags.kind() == Kind::Peer {
                        prop_assert!(receiver.flags.as_member());
                        let expected = peers.remove(&receiver.key());
                        prop_assert!(expected.is_some_and(|expected| expected.iter().eq(ids)), "a peer stands once");
                    } else {
                        let count = sessions.get_mut(&(receiver.key(), ids.to_vec())).unwrap();
                        *count -= 1;
                        prop_assert!(*count >= 0 && receiver.flags.as_member());
                    }
                }
                prop_assert!(peers.is_empty() && sessions.values().all(|left| *left == 0));
            }
        }
    }
}
