//! Shared subscriptions: a group, its members, and whose turn it is.
//!
//! Each group has one counter for all shards, so that turns are fair whatever topics its messages have and whichever
//! shards they come from. A look-up takes a snapshot of the members that lives as long as the cached route does; it is
//! made once after a change, by the first who looks, and shared.
//!
//! Whether a member is on-line is a flag that its session owns and its entries share: the shard that publishes reads it
//! without asking the shard that owns the member. It may be a moment old. Then the message goes to a session that has
//! just gone, which queues it as any other.

use super::hash::Seed;
use super::receiver::Receiver;
use super::roster::{Listed, Roster};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether a session has a connection, as all shards see it.
#[derive(Clone, Debug)]
pub struct Presence(Arc<AtomicBool>);

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is, with the options of its subscription to the group.
    pub receiver: Receiver,
    /// Its Subscription Identifier for the group; 0: none.
    pub(super) id: u32,
    pub(super) presence: Option<Presence>,
}

/// One group within a route: one of its members gets each message `[MQTT-4.8.2-4]`.
#[derive(Clone, Debug)]
pub struct Group(Arc<Snapshot>);

#[derive(Debug)]
struct Snapshot {
    next: Arc<AtomicUsize>,
    members: Box<[Member]>,
}

/// A group within the index.
#[derive(Debug)]
pub(super) struct Team {
    pub name: Arc<str>,
    roster: Roster<Member>,
    next: Arc<AtomicUsize>,
    snapshot: OnceLock<Group>,
}

// === impl Presence ===

impl Presence {
    /// The flag of a session.
    pub fn new(online: bool) -> Self {
        Self(Arc::new(AtomicBool::new(online)))
    }

    /// Tells all shards that the session has, or has lost, its connection.
    pub fn set(&self, online: bool) {
        self.0.store(online, Ordering::Release);
    }

    /// Whether the session has a connection.
    pub fn is_online(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

// === impl Member ===

impl Member {
    /// Its Subscription Identifier for the group.
    pub fn id(&self) -> Option<u32> {
        (self.id != 0).then_some(self.id)
    }

    /// Whether it has a connection; one that came without a flag counts as on-line.
    pub fn is_online(&self) -> bool {
        self.presence.as_ref().is_none_or(Presence::is_online)
    }

    /// Whether anything differs that a cached route shows.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let presence = |member: &Self| member.presence.as_ref().map(|presence| Arc::as_ptr(&presence.0));
        self.receiver != other.receiver || self.id != other.id || presence(self) != presence(other)
    }
}

impl Listed for Member {
    fn receiver(&self) -> Receiver {
        self.receiver
    }
}

// === impl Group ===

impl Group {
    /// The members, at least one, in no order.
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// Bytes of the snapshot, divided among those that hold it besides the index. So a cache that keeps many old
    /// snapshots of a large group is charged for them, and one whose routes share a snapshot is not.
    pub(super) fn weight(&self) -> usize {
        let holders = Arc::strong_count(&self.0).saturating_sub(1).max(1);
        size_of_val(self.members()) / holders
    }

    /// Who gets the next message: the members that are on-line take turns; when none is, all do, and the message waits
    /// in the session of the one chosen.
    pub fn choose(&self) -> &Member {
        self.choose_where(Member::is_online)
    }

    /// Who gets the next message: those that `fit` take turns; when none does, all do.
    pub fn choose_where(&self, fit: impl Fn(&Member) -> bool) -> &Member {
        let members = self.members();
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (before, from) = members.split_at(turn % members.len());
        match from.iter().chain(before).position(fit) {
            None | Some(0) => &from[0],
            Some(passed_over) => {
                // Those passed over have had their turn: else the one behind them would be chosen in their place.
                self.0.next.fetch_add(passed_over, Ordering::Relaxed);
                &members[(turn % members.len() + passed_over) % members.len()]
            }
        }
    }
}

// === impl Team ===

impl Team {
    pub fn new(name: Arc<str>) -> Self {
        Self { name, roster: Roster::new(), next: Arc::new(AtomicUsize::new(0)), snapshot: OnceLock::new() }
    }

    /// Enters a member; gives back what stood there for the same receiver.
    pub fn put(&mut self, seed: &Seed, member: Member) -> Option<Member> {
        self.snapshot.take();
        self.roster.put(seed, member)
    }

    /// Strikes a member off.
    pub fn take(&mut self, seed: &Seed, receiver: Receiver) -> Option<Member> {
        self.snapshot.take();
        self.roster.take(seed, receiver)
    }

    pub fn is_empty(&self) -> bool {
        self.roster.all().is_empty()
    }

    /// The group as routes hold it. The team must have a member.
    pub fn group(&self) -> Group {
        let snapshot = || Group(Arc::new(Snapshot { next: Arc::clone(&self.next), members: self.roster.all().into() }));
        self.snapshot.get_or_init(snapshot).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::receiver::{Kind, ReceiverFlags};
    use super::*;

    fn team(presences: &[Presence]) -> Team {
        let seed = Seed::new(7);
        let mut team = Team::new("g".into());
        for (slot, presence) in presences.iter().enumerate() {
            let flags = ReceiverFlags::new(Kind::Client, 1);
            let receiver = Receiver { slot: slot as u32, epoch: 0, shard: 0, flags };
            team.put(&seed, Member { receiver, id: 0, presence: Some(presence.clone()) });
        }
        team
    }

    fn chosen(group: &Group, times: usize) -> Vec<usize> {
        let mut counts = vec![0; group.members().len()];
        for _ in 0..times {
            counts[group.choose().receiver.slot as usize] += 1;
        }
        counts
    }

    #[test]
    fn members_that_are_online_take_turns_and_the_others_get_nothing() {
        let presences: Vec<Presence> = (0..6).map(|i| Presence::new(i % 3 == 0)).collect();
        let group = team(&presences).group();
        assert_eq!(chosen(&group, 10), [5, 0, 0, 5, 0, 0]);
        presences[5].set(true);
        assert_eq!(chosen(&group, 30), [10, 0, 0, 10, 0, 10]);
    }

    #[test]
    fn when_none_is_online_all_take_turns() {
        let presences: Vec<Presence> = (0..4).map(|_| Presence::new(false)).collect();
        assert_eq!(chosen(&team(&presences).group(), 8), [2; 4]);
    }

    #[test]
    fn turns_go_on_when_the_group_changes() {
        let presences: Vec<Presence> = (0..3).map(|_| Presence::new(true)).collect();
        let mut team = team(&presences);
        let first = team.group().choose().receiver.slot;
        let seed = Seed::new(7);
        let again = team.group().members()[2].clone();
        team.put(&seed, again);
        assert_ne!(
            team.group().choose().receiver.slot,
            first,
            "the change must not give the same member the next turn"
        );
    }

    #[test]
    fn a_member_without_a_flag_counts_as_online() {
        let receiver = Receiver { slot: 1, epoch: 0, shard: 0, flags: ReceiverFlags::new(Kind::Link, 1) };
        assert!(Member { receiver, id: 0, presence: None }.is_online());
    }

    #[test]
    fn shards_that_choose_at_once_share_the_turns() {
        let presences: Vec<Presence> = (0..4).map(|_| Presence::new(true)).collect();
        let group = team(&presences).group();
        let counts: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(|| chosen(&group, 1000))).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).collect()
        });
        for member in 0..4 {
            assert_eq!(counts.iter().map(|count| count[member]).sum::<usize>(), 1000);
        }
    }
}
