//! A node that is being emptied: it takes no new clients, sends those that it has away at a bounded rate, and offers their
//! sessions to other nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Shard;
use super::attach::Arrival;
use super::moves::parked;
use super::row::Custody;
use crate::clock::{Millis, UnixSeconds};
use crate::codec::connack::Connack;
use crate::codec::disconnect::Disconnect;
use crate::codec::{Reason, Version};
use crate::metrics::{Closed, Refused};

/// What all shards of a node know of its evacuation, and of that of other nodes.
#[derive(Default)]
pub struct Evacuation {
    active: AtomicBool,
    /// Sessions that other nodes took since it began.
    moved: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The configuration says so.
    configured: bool,
    /// The node was told to stop, and ends then at the latest.
    leaving: Option<Millis>,
    since: Option<(Millis, UnixSeconds)>,
    /// Nodes that are being emptied by the configuration.
    away: BTreeSet<Arc<str>>,
    /// Nodes that say so themselves, and when they did last.
    said: BTreeMap<Arc<str>, Millis>,
    disconnects: Budget,
    offers: Budget,
}

/// What may be done by now, at a rate.
#[derive(Debug, Default)]
struct Budget {
    /// In thousandths.
    left: u64,
    at: Millis,
}

/// How far a shard has come with its rows.
#[derive(Debug, Default)]
pub struct Progress {
    /// When it looks again.
    due: Millis,
    /// The next row whose session is offered.
    next: usize,
    /// When the rows were begun to be gone through.
    round: Millis,
    /// The node that the last session was offered to, by its place.
    target: usize,
}

/// A control payload that begins so says whether a node is being emptied.
pub const PREFIX: u8 = 0x21;

/// Time between two looks at what may go.
const TICK: Millis = Millis(100);
/// A session is offered again after this time: an offer may be lost, or the node that got it had no room.
const ROUND: Millis = Millis(3_000);
/// Another node counts as being emptied for so long after it said so; it does at each look.
const SAID: Millis = Millis(3_000);
/// What may be done at once after a pause is what a rate allows in this many milliseconds.
const BURST: u64 = 250;

// === impl Budget ===

impl Budget {
    /// How many of `wanted` may be done now.
    fn take(&mut self, wanted: usize, per_second: u32, now: Millis) -> usize {
        let rate = u64::from(per_second);
        let most = (rate * BURST).max(1_000);
        self.left = now.since(self.at).0.saturating_mul(rate).saturating_add(self.left).min(most);
        self.at = now;
        let taken = (wanted as u64).min(self.left / 1_000);
        self.left -= taken * 1_000;
        taken as usize
    }
}

// === impl Evacuation ===

impl Evacuation {
    /// What the configuration says: whether this node is to be emptied, and which others are.
    pub fn configure(&self, wanted: bool, others: BTreeSet<Arc<str>>, now: Millis) {
        let mut state = self.lock();
        state.configured = wanted;
        state.away = others;
        self.review(&mut state, now);
    }

    /// The node was told to stop: it goes on until it is empty, and not beyond `until`.
    pub fn leave(&self, now: Millis, until: Millis) {
        let mut state = self.lock();
        state.leaving = Some(until);
        self.review(&mut state, now);
    }

    fn review(&self, state: &mut State, now: Millis) {
        let active = state.configured || state.leaving.is_some();
        if active && state.since.is_none() {
            state.since = Some((now, UnixSeconds::now()));
            self.moved.store(0, Ordering::Release);
            tracing::info!("The node is being emptied.");
        } else if !active && state.since.take().is_some() {
            tracing::info!("The node is no longer being emptied.");
        }
        self.active.store(active, Ordering::Release);
    }

    /// Whether the node is being emptied.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Since when it is, if it is.
    pub fn since(&self) -> Option<(Millis, UnixSeconds)> {
        self.lock().since
    }

    /// When the node ends at the latest, if it was told to stop.
    pub fn leaves_by(&self) -> Option<Millis> {
        self.lock().leaving
    }

    /// Sessions that other nodes took since it began.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Acquire)
    }

    /// Another node took a session.
    pub fn count_moved(&self) {
        self.moved.fetch_add(1, Ordering::AcqRel);
    }

    /// Another node says whether it is being emptied.
    pub fn hear(&self, node: &Arc<str>, leaving: bool, now: Millis) {
        let said = &mut self.lock().said;
        if leaving {
            said.insert(Arc::clone(node), now);
        } else {
            said.remove(node);
        }
    }

    /// Whether another node is being emptied, so that no session is to go there. One that has stopped saying so is not.
    pub fn is_away(&self, node: &str, now: Millis) -> bool {
        let state = self.lock();
        state.away.contains(node) || state.said.get(node).is_some_and(|at| now.since(*at) < SAID)
    }

    /// Whether something that another node said of it is remembered.
    #[cfg(test)]
    pub fn is_heard_of(&self, node: &str) -> bool {
        self.lock().said.contains_key(node)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is of one field, or of two that are reviewed at the next change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shard ===

impl Shard {
    /// When this shard goes on with the evacuation of the node.
    pub(super) fn evacuation_due(&self) -> Option<Millis> {
        self.shared.evacuation.is_active().then_some(self.evacuating.due)
    }

    /// Goes on with the evacuation of the node, if it is under way and that is due.
    pub(super) fn evacuate(&mut self) {
        let now = self.core.now;
        if !self.shared.evacuation.is_active() || self.evacuating.due > now || self.stopping.is_some() {
            return;
        }
        self.evacuating.due = now + TICK;
        self.tell_leaving();
        self.send_clients_away();
        self.offer_sessions();
    }

    /// Tells the nodes whose rows are here that this one is being emptied: no session is to come here.
    fn tell_leaving(&mut self) {
        let nodes: Vec<Arc<str>> = self.nodes.clone();
        for node in nodes {
            if super::shard_of(node.as_bytes(), self.shared.inboxes.len()) == usize::from(self.core.shard) {
                self.say_to(&node, &[PREFIX, 1]);
            }
        }
    }

    /// Another node says something about its evacuation.
    pub(super) fn hear_leaving(&self, node: &Arc<str>, payload: &[u8]) {
        if let [PREFIX, leaving, ..] = payload {
            self.shared.evacuation.hear(node, *leaving != 0, self.core.now);
        }
    }

    fn send_clients_away(&mut self) {
        let rows = self.core.rows.iter();
        let online = rows.filter(|(_, row)| row.connection.is_some() && row.client().is_some());
        let online: Vec<u32> = online.map(|(slot, _)| slot as u32).collect();
        let rate = self.core.tuning.cluster.evacuation.disconnects_per_second;
        let many = self.shared.evacuation.lock().disconnects.take(online.len(), rate, self.core.now);
        let tuning = Arc::clone(&self.core.tuning);
        let reference = &*tuning.cluster.evacuation.server_reference;
        for slot in online.into_iter().take(many) {
            let because = if reference.is_empty() { Reason::ServerShuttingDown } else { Reason::UseAnotherServer };
            let packet = Disconnect {
                reason_string: Some("the node is being emptied; connect to another one"),
                server_reference: (!reference.is_empty()).then_some(reference),
                ..Disconnect::because(because)
            };
            self.disconnect_with(slot, Closed::Evacuated, &packet);
        }
    }

    fn offer_sessions(&mut self) {
        let now = self.core.now;
        let refuges = self.refuges();
        let Some(count) = std::num::NonZeroUsize::new(refuges.len()) else { return };
        if self.evacuating.next == 0 {
            if now.since(self.evacuating.round) < ROUND && self.evacuating.round != Millis(0) {
                return;
            }
            self.evacuating.round = now;
        }
        let from = self.evacuating.next;
        let rows = self.core.rows.iter().skip_while(|(slot, _)| *slot < from);
        let away = rows.filter(|(_, row)| row.connection.is_none() && row.custody == Custody::Own);
        let away = away.filter_map(|(slot, row)| Some((slot, row.client()?.id.clone())));
        let rate = self.core.tuning.cluster.evacuation.moves_per_second;
        let most = rate as usize;
        let mut offered: Vec<(usize, Box<str>)> = away.take(most + 1).collect();
        let many = self.shared.evacuation.lock().offers.take(offered.len(), rate, now);
        self.evacuating.next = offered.get(many).map_or(0, |(slot, _)| *slot);
        offered.truncate(many);
        for (_, id) in offered {
            self.evacuating.target = (self.evacuating.target + 1) % count;
            let to = Arc::clone(&refuges[self.evacuating.target]);
            self.with_moves(|moves, out, now| moves.offer_away(out, &id, &to, now));
        }
    }

    /// Nodes that sessions may go to.
    pub(super) fn refuges(&self) -> Vec<Arc<str>> {
        let Some(moves) = &self.moves else { return Vec::new() };
        let now = self.core.now;
        let stays = |node: &Arc<str>| self.nodes.contains(node) && !self.shared.evacuation.is_away(node, now);
        moves.reachable().into_iter().filter(stays).collect()
    }

    /// Refuses a connection that comes while the node is being emptied.
    pub(super) fn turn_away(&self, arrival: Arrival) {
        self.shared.board.events.refuse(Refused::Evacuating);
        let reference = &self.core.tuning.cluster.evacuation.server_reference;
        let mut refusal = Connack::refusal(Reason::ServerUnavailable);
        if arrival.connect.version == Version::V5 && !reference.is_empty() {
            refusal = Connack::refusal(Reason::UseAnotherServer);
            refusal.properties.server_reference = Some(reference.clone());
        }
        parked::refuse(arrival, refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_what_its_rate_allows_and_a_quarter_second_of_it_at_once() {
        let mut budget = Budget::default();
        let mut taken = budget.take(1_000, 100, Millis(60_000));
        assert_eq!(taken, 25, "a pause does not add up");
        for tick in 1..=100 {
            taken += budget.take(1_000, 100, Millis(60_000 + tick * 100));
        }
        assert_eq!(taken, 25 + 1_000);
        let mut slow = Budget::default();
        let first = slow.take(5, 1, Millis(10_000));
        let within = (1..10).map(|tick| slow.take(5, 1, Millis(10_000 + tick * 100))).sum::<usize>();
        assert_eq!((first, within, slow.take(5, 1, Millis(11_000))), (1, 0, 1));
    }

    #[test]
    fn it_is_active_while_the_configuration_or_a_signal_wants_it() {
        let evacuation = Evacuation::default();
        evacuation.configure(true, BTreeSet::new(), Millis(1));
        assert!(evacuation.is_active() && evacuation.since().is_some_and(|(since, _)| since == Millis(1)));
        evacuation.configure(false, BTreeSet::new(), Millis(2));
        assert!(!evacuation.is_active() && evacuation.since().is_none());
        evacuation.leave(Millis(3), Millis(9));
        evacuation.configure(false, ["b".into()].into(), Millis(4));
        assert!(evacuation.is_active() && evacuation.since().is_some_and(|(since, _)| since == Millis(3)));
        assert!(evacuation.is_away("b", Millis(4)) && !evacuation.is_away("d", Millis(4)));
    }

    #[test]
    fn another_node_is_away_until_it_says_otherwise_or_nothing_for_a_while() {
        let (evacuation, at) = (Evacuation::default(), Millis(10_000));
        evacuation.hear(&"c".into(), true, at);
        assert!(evacuation.is_away("c", at) && evacuation.is_away("c", at + TICK + TICK));
        evacuation.hear(&"c".into(), false, at);
        assert!(!evacuation.is_away("c", at));
        evacuation.hear(&"c".into(), true, at);
        assert!(!evacuation.is_away("c", at + SAID), "its evacuation was cancelled");
    }
}
