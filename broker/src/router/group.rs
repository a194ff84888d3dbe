//! A group of a shared subscription within a route, and whose turn it is.
//!
//! Each group has its turns counted once for all shards, so that they are fair whatever topics its messages have and
//! whichever shards they come from. A group of sessions of this node alone goes round. With other nodes in it, first the
//! node is chosen, this one or another, each as often as it has members; then, if it is this one, its sessions go round.

use super::member::{Member, SharedTally, Tally};
use super::receiver::Receiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One group within a route: one of its members gets each message `[MQTT-4.8.2-4]`.
#[derive(Clone, Debug)]
pub struct Group(Arc<Snapshot>);

/// The members as they were after the last change, shared by all routes since.
#[derive(Debug)]
struct Snapshot {
    number: u32,
    turns: Arc<Turns>,
    /// Sessions first, then peers.
    members: Box<[Member]>,
    /// How many sessions.
    sessions: usize,
}

/// Whose turn it is, and how many sessions there are: outlives all snapshots of a group.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Turns of sessions of this node.
    next: AtomicUsize,
    /// Turns of nodes.
    next_node: AtomicU64,
    /// The sessions of this node, on-line and off-line, as counted last.
    pub tally: SharedTally,
}

/// Who may be chosen: if nobody is of one rank, those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Members that are on-line, here or at a peer that is connected.
    Online,
    /// Members that are off-line, here or at a peer that is connected: the message waits in a session.
    Offline,
    /// Members at peers that are not connected: the message waits until they are.
    Away,
}

// === impl Group ===

impl Group {
    /// The group with these members, at least one; sessions may stand among peers.
    pub(super) fn new(number: u32, turns: Arc<Turns>, members: &[Member]) -> Self {
        let (peers, sessions): (Vec<&Member>, Vec<&Member>) = members.iter().partition(|member| member.is_peer());
        let count = sessions.len();
        let members = sessions.into_iter().chain(peers).cloned().collect();
        Self(Arc::new(Snapshot { number, turns, members, sessions: count }))
    }

    /// The members, at least one, in no order.
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// By what number this node knows the group, and other nodes ask it for a member of its own; never 0.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// Whether other nodes have members.
    pub fn spans_nodes(&self) -> bool {
        self.0.sessions < self.members().len()
    }

    /// Who gets the next message. Members that are on-line take turns, wherever they are; a peer has as many as it has
    /// members. When none is on-line, all do that can be reached, and the message waits in the session of the one chosen;
    /// when there is none either, those at nodes that are not connected. With `local_first`, a peer is chosen only if
    /// there is nobody here of that rank.
    #[inline]
    pub fn choose(&self, local_first: bool) -> &Member {
        let (sessions, peers) = self.parts();
        if peers.is_empty() { self.next_of(sessions) } else { self.choose_node(local_first) }
    }

    /// Who gets a message of which several nodes may choose a member, so that all of them choose at the same node while they know
    /// the same of the group: of those who would be chosen from otherwise, the node that draws the lot. `draw` gives a number
    /// for each node, none being this one; it is weighed by the members there.
    pub fn choose_drawn(&self, draw: impl Fn(Option<Receiver>) -> u64) -> &Member {
        let (sessions, peers) = self.parts();
        let tally = if sessions.is_empty() { Tally::default() } else { self.0.turns.tally.get() };
        let own = (!sessions.is_empty()).then_some(None);
        let nodes = || own.into_iter().chain(peers.iter().map(Some));
        let ranked = Rank::ALL.iter().find_map(|rank| {
            let weight = |node: &Option<&Member>| node.map_or(rank.of(tally), |peer| rank.weight(peer));
            // The node with the shortest time to wait, if each waits as by chance and its members shorten it.
            let wait = |node: &Option<&Member>| {
                let lot = (draw(node.map(|peer| peer.receiver)) as f64 + 1.0) / (u64::MAX as f64 + 2.0);
                -lot.ln() / weight(node) as f64
            };
            nodes().filter(|node| weight(node) > 0).min_by(|one, other| wait(one).total_cmp(&wait(other)))
        });
        match ranked {
            Some(Some(peer)) => peer,
            Some(None) => self.next_of(sessions),
            None => &self.members()[0],
        }
    }

    /// Who gets the next message of the sessions of this node, those on-line first.
    pub fn choose_local(&self) -> Option<&Member> {
        let (sessions, _) = self.parts();
        (!sessions.is_empty()).then(|| self.next_of(sessions))
    }

    /// As [`choose`](Self::choose), but never `but`; `None` if there is nobody else.
    pub fn choose_other(&self, but: Receiver, local_first: bool) -> Option<&Member> {
        let chosen = self.choose(local_first);
        if !chosen.receiver.same(but) {
            return Some(chosen);
        }
        let others = || self.members().iter().filter(|member| !member.receiver.same(but));
        let ranked = Rank::ALL.iter().find_map(|rank| others().find(|member| rank.weight(member) > 0));
        ranked.or_else(|| others().next())
    }

    /// Bytes of the snapshot, divided among those that hold it besides the index. So a cache that keeps many old
    /// snapshots of a large group is charged for them, and one whose routes share a snapshot is not.
    pub(super) fn weight(&self) -> usize {
        let holders = Arc::strong_count(&self.0).saturating_sub(1).max(1);
        size_of_val(self.members()) / holders
    }

    /// Sessions and peers.
    fn parts(&self) -> (&[Member], &[Member]) {
        self.members().split_at(self.0.sessions)
    }

    /// Whose turn it is of `sessions`, at least one: those on-line go round; when none is, all do.
    fn next_of<'a>(&self, sessions: &'a [Member]) -> &'a Member {
        let next = &self.0.turns.next;
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let (before, from) = sessions.split_at(turn % sessions.len());
        match from.iter().chain(before).position(Member::is_online) {
            None | Some(0) => &from[0],
            Some(passed_over) => {
                // Those passed over have had their turn: else the one behind them would be chosen in their place.
                next.fetch_add(passed_over, Ordering::Relaxed);
                &sessions[(turn % sessions.len() + passed_over) % sessions.len()]
            }
        }
    }

    fn choose_node(&self, local_first: bool) -> &Member {
        let (sessions, peers) = self.parts();
        let turns = &self.0.turns;
        // This snapshot may be older than the tally: who is not in it cannot be chosen.
        let tally = if sessions.is_empty() { Tally::default() } else { turns.tally.get() };
        for rank in Rank::ALL {
            let own = rank.of(tally);
            if local_first && own > 0 {
                return self.next_of(sessions);
            }
            let total = own + peers.iter().map(|peer| rank.weight(peer)).sum::<u64>();
            if total == 0 {
                continue;
            }
            let mut place = spread(turns.next_node.fetch_add(1, Ordering::Relaxed), total);
            if place < own {
                return self.next_of(sessions);
            }
            place -= own;
            let mut last = None;
            for peer in peers {
                let weight = rank.weight(peer);
                if place < weight {
                    return peer;
                }
                place -= weight;
                last = Some(peer).filter(|_| weight > 0).or(last);
            }
            // Somebody went meanwhile: who stands last takes the turn.
            if let Some(peer) = last {
                return peer;
            }
        }
        &self.members()[0]
    }
}

// === impl Rank ===

impl Rank {
    const ALL: [Self; 3] = [Self::Online, Self::Offline, Self::Away];

    /// How many sessions of this node have the rank.
    fn of(self, tally: Tally) -> u64 {
        match self {
            Self::Online => u64::from(tally.online),
            Self::Offline => u64::from(tally.offline),
            Self::Away => 0,
        }
    }

    /// How many of the rank are behind a member.
    fn weight(self, member: &Member) -> u64 {
        match self {
            Self::Online | Self::Offline => self.of(member.reached()),
            Self::Away => member.size(),
        }
    }
}

/// The place of a turn among `total`, at least one. Every place gets as many turns as any other, and turns in a row lie
/// far apart, whatever the total is: steps of the golden ratio round a circle.
fn spread(turn: u64, total: u64) -> u64 {
    let on_circle = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((u128::from(on_circle) * u128::from(total)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::super::hash::Seed;
    use super::super::receiver::{Kind, ReceiverFlags};
    use super::super::team::Team;
    use super::*;
    use crate::router::Presence;
    use crate::topic::Filter;
    use proptest::prelude::*;

    const PEERS_AT: u32 = 100;

    /// A group under test: sessions have slots from 0 on, peers from [`PEERS_AT`].
    struct Tested {
        seed: Seed,
        team: Team,
    }

    impl Tested {
        fn new() -> Self {
            let (seed, filter) = (Seed::new(7), Filter::parse("a/#", 8).unwrap());
            Self { team: Team::new("g".into(), &filter), seed }
        }

        fn of(sessions: &[Presence]) -> Self {
            let mut tested = Self::new();
            for (slot, presence) in sessions.iter().enumerate() {
                tested.session(slot as u32, presence);
            }
            tested
        }

        fn session(&mut self, slot: u32, presence: &Presence) {
            let member = Member::session(receiver(Kind::Client, slot), 0, Some(presence.clone()));
            self.team.put(&self.seed, member);
        }

        fn peer(&mut self, slot: u32, connected: bool, online: u32, offline: u32) {
            let receiver = receiver(Kind::Peer, PEERS_AT + slot);
            let member = Member::node(receiver, slot + 1, Tally { online, offline }, &Presence::new(connected));
            self.team.put(&self.seed, member);
        }

        fn remove(&mut self, kind: Kind, slot: u32) {
            self.team.take(&self.seed, receiver(kind, slot));
        }
    }

    fn receiver(kind: Kind, slot: u32) -> Receiver {
        Receiver { slot, epoch: 0, shard: 0, flags: ReceiverFlags::new(kind, 1) }
    }

    fn online(flags: &[bool]) -> Vec<Presence> {
        flags.iter().map(|online| Presence::new(*online)).collect()
    }

    fn online_flags(count: u32) -> Vec<Presence> {
        online(&vec![true; count as usize])
    }

    /// How often each session was chosen.
    fn chosen(group: &Group, times: usize) -> Vec<usize> {
        let mut counts = vec![0; group.members().len()];
        for _ in 0..times {
            counts[group.choose(false).receiver.slot as usize] += 1;
        }
        counts
    }

    #[test]
    fn members_that_are_online_take_turns_and_the_others_get_nothing() {
        let presences = online(&[true, false, false, true, false, false]);
        let group = Tested::of(&presences).team.group();
        assert_eq!(chosen(&group, 10), [5, 0, 0, 5, 0, 0]);
        presences[5].set(true);
        assert_eq!(chosen(&group, 30), [10, 0, 0, 10, 0, 10]);
    }

    #[test]
    fn when_none_is_online_all_take_turns() {
        assert_eq!(chosen(&Tested::of(&online(&[false; 4])).team.group(), 8), [2; 4]);
    }

    #[test]
    fn turns_go_on_when_the_group_changes() {
        let mut tested = Tested::of(&online(&[true; 3]));
        let first = tested.team.group().choose(false).receiver.slot;
        tested.session(2, &Presence::new(true));
        let second = tested.team.group().choose(false).receiver.slot;
        assert_ne!(second, first, "the change must not give the same member the next turn");
    }

    #[test]
    fn a_member_without_a_flag_counts_as_online() {
        assert!(Member::session(receiver(Kind::Client, 1), 0, None).is_online());
    }

    #[test]
    fn shards_that_choose_at_once_share_the_turns() {
        let group = Tested::of(&online(&[true; 4])).team.group();
        let counts: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(|| chosen(&group, 1000))).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).collect()
        });
        for member in 0..4 {
            assert_eq!(counts.iter().map(|count| count[member]).sum::<usize>(), 1000);
        }
    }

    #[test]
    fn the_nearest_rank_is_chosen_from() {
        // Sessions here; peers: connected, on-line, off-line; with `local_first` or without; who is chosen.
        type Case = (&'static [bool], &'static [(bool, u32, u32)], bool, &'static [u32]);
        let table: [Case; 10] = [
            (&[true, false], &[(true, 1, 0), (true, 0, 1), (false, 9, 9)], false, &[0, 100]),
            (&[true, false], &[(true, 1, 0)], true, &[0]),
            (&[false], &[(true, 1, 0)], true, &[100]),
            (&[false], &[(true, 0, 1), (false, 9, 9)], false, &[0, 100]),
            (&[false], &[(true, 0, 1), (false, 9, 9)], true, &[0]),
            (&[], &[(true, 0, 1), (false, 9, 9)], true, &[100]),
            (&[false, false], &[(false, 9, 9)], false, &[0, 1]),
            (&[], &[(false, 1, 0), (false, 0, 1)], false, &[100, 101]),
            (&[true, true], &[], false, &[0, 1]),
            (&[], &[(true, 5, 5)], false, &[100]),
        ];
        for (sessions, peers, local_first, expected) in table {
            let mut tested = Tested::of(&online(sessions));
            for (slot, (connected, online, offline)) in peers.iter().enumerate() {
                tested.peer(slot as u32, *connected, *online, *offline);
            }
            let group = tested.team.group();
            let mut slots: Vec<u32> = (0..50).map(|_| group.choose(local_first).receiver.slot).collect();
            slots.sort_unstable();
            slots.dedup();
            assert_eq!(slots, expected, "{sessions:?} {peers:?} {local_first}");
            let local = group.choose_local().map(|member| member.receiver.slot);
            assert_eq!(local.is_some(), !sessions.is_empty());
            assert!(local.is_none_or(|slot| sessions[slot as usize] || sessions.iter().all(|online| !online)));
        }
    }

    #[test]
    fn another_than_one_is_chosen_while_there_is_another() {
        let mut tested = Tested::of(&online(&[false, true, false]));
        let me = receiver(Kind::Client, 1);
        tested.peer(0, false, 3, 3);
        tested.peer(1, true, 3, 3);
        let mut expect = |slots: &[u32], remove: u32, kind| {
            let group = tested.team.group();
            for _ in 0..20 {
                let other = group.choose_other(me, false).map(|member| member.receiver.slot);
                assert!(other.map_or(slots.is_empty(), |slot| slots.contains(&slot)), "{other:?} of {slots:?}");
            }
            tested.remove(kind, remove);
        };
        expect(&[101], 101, Kind::Peer);
        expect(&[0, 2], 0, Kind::Client);
        expect(&[2], 2, Kind::Client);
        expect(&[100], 100, Kind::Peer);
        expect(&[], 1, Kind::Client);
    }

    #[test]
    fn nodes_that_know_the_same_of_a_group_draw_the_same_node_each_as_often_as_it_has_members() {
        // By node: how many are on-line there.
        let online = [1_u32, 2, 5];
        let lot = |message: u64, node: usize| Seed::new(message).bytes(&[node as u8]);
        let seen_by = |me: usize| {
            let mut tested = Tested::of(&online_flags(online[me]));
            for other in (0..online.len()).filter(|other| *other != me) {
                tested.peer(other as u32, true, online[other], 3);
            }
            tested.team.group()
        };
        let groups: Vec<Group> = (0..online.len()).map(seen_by).collect();
        let mut counts = [0; 3];
        for message in 0..800 {
            let drawn = groups.iter().enumerate().map(|(me, group)| {
                let node_of = |receiver: Receiver| receiver.slot.checked_sub(PEERS_AT).map(|slot| slot as usize);
                let draw = |peer: Option<Receiver>| lot(message, peer.and_then(node_of).unwrap_or(me));
                node_of(group.choose_drawn(draw).receiver).unwrap_or(me)
            });
            let drawn: Vec<usize> = drawn.collect();
            assert!(drawn.iter().all(|node| *node == drawn[0]), "message {message}: {drawn:?}");
            counts[drawn[0]] += 1;
        }
        for (node, count) in counts.iter().enumerate() {
            let due = 100 * online[node];
            assert!(u32::abs_diff(*count, due) < due / 3, "{counts:?}");
        }
    }

    #[test]
    fn a_lot_is_drawn_among_those_of_the_nearest_rank() {
        let mut tested = Tested::of(&online(&[false]));
        tested.peer(0, true, 0, 1);
        tested.peer(1, false, 9, 9);
        let drawn = |tested: &Tested, first: Option<u32>| {
            let group = tested.team.group();
            // Nobody waits less than who draws the greatest number.
            let is_first = |peer: Option<Receiver>| peer.map(|peer| peer.slot - PEERS_AT) == first;
            group.choose_drawn(|peer| if is_first(peer) { u64::MAX } else { 1 }).receiver.slot
        };
        assert_eq!([drawn(&tested, None), drawn(&tested, Some(0)), drawn(&tested, Some(1))], [0, 100, 0]);
        tested.session(1, &Presence::new(true));
        assert_eq!(drawn(&tested, Some(0)), 1);
        [0, 1].iter().for_each(|slot| tested.remove(Kind::Client, *slot));
        tested.remove(Kind::Peer, PEERS_AT);
        assert_eq!(drawn(&tested, None), 101);
    }

    #[test]
    fn a_group_that_is_held_longer_chooses_only_whom_it_has() {
        let mut tested = Tested::new();
        tested.peer(0, false, 1, 0);
        let old = tested.team.group();
        tested.session(0, &Presence::new(true));
        assert_eq!(old.choose(false).receiver.slot, PEERS_AT);
        assert!(old.choose_local().is_none());
        let old = tested.team.group();
        tested.remove(Kind::Client, 0);
        assert_eq!(old.choose(false).receiver.slot, PEERS_AT, "the session is gone");
        assert!(tested.team.group().choose_local().is_none());
    }

    proptest! {
        #[test]
        fn nodes_take_turns_by_their_members_and_not_in_bursts(
            sessions in 0_u32..20,
            peers in prop::collection::vec(0_u32..200, 1..8),
            before in 0_usize..1000,
        ) {
            let mut tested = Tested::of(&online(&vec![true; sessions as usize]));
            for (slot, online) in peers.iter().enumerate() {
                tested.peer(slot as u32, true, *online, 3);
            }
            let weights: Vec<u32> = std::iter::once(sessions).chain(peers).collect();
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let group = tested.team.group();
            let node = |group: &Group| group.choose(false).receiver.slot.checked_sub(PEERS_AT).map_or(0, |at| at + 1);
            (0..before).for_each(|_| { node(&group); });
            let turns: Vec<u32> = (0..total * 3).map(|_| node(&group)).collect();
            // Of any stretch of turns each node has its part, but for a few.
            for stretch in [turns.len(), turns.len() / 2, turns.len() / 5] {
                for from in (0..turns.len() - stretch).step_by(7).chain([turns.len() - stretch]) {
                    for (at, weight) in weights.iter().enumerate() {
                        let had = turns[from..from + stretch].iter().filter(|node| **node == at as u32).count();
                        let due = stretch as f64 * f64::from(*weight) / f64::from(total);
                        prop_assert!((had as f64 - due).abs() < 4.0, "{at}: {had} of {stretch}, due are {due}");
                    }
                }
            }
        }
    }
}
