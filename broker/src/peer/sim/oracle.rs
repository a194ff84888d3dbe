//! What must be true: of every moment, and when all has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::Qos;

use super::network::Published;
use super::plan::Plan;
use super::world::{Event, World};

/// What is known from outside.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Sessions by their lives.
    pub lives: BTreeMap<u64, Life>,
    /// How often what devices published entered.
    pub entered: BTreeMap<u32, usize>,
}

/// A session from its beginning to its end, wherever it is.
#[derive(Debug, Default)]
pub struct Life {
    /// Client id.
    pub id: String,
    /// It ended as it should.
    pub ended: bool,
    /// It lost against another of its name.
    pub discarded: bool,
    /// A node died that had it, or was about to.
    pub bereft: bool,
    /// Shards that route by its filters, or did: filter, node, life, shard.
    settled: BTreeSet<(usize, usize, u64, usize)>,
    /// Messages that it must get, and the node, its life and the shard where each entered.
    pub expected: BTreeMap<u32, (usize, u64, usize)>,
    /// How often each message got a packet id.
    pub assigned: BTreeMap<u32, usize>,
}

// === impl Oracle ===

impl Oracle {
    pub fn began(&mut self, life: u64, id: String) {
        self.lives.insert(life, Life { id, ..Life::default() });
    }

    pub fn ended(&mut self, life: u64) {
        self.lives.get_mut(&life).expect("it began").ended = true;
    }

    pub fn discarded(&mut self, life: u64) {
        self.lives.get_mut(&life).expect("it began").discarded = true;
    }

    pub fn assigned(&mut self, life: u64, message: u32) {
        let state = self.lives.get_mut(&life).expect("it began");
        let times = state.assigned.entry(message).or_default();
        *times += 1;
        assert!(*times == 1, "{} got message {message} twice as two messages", state.id);
    }
}

// === impl World ===

impl World {
    /// Nodes where anything of a life is.
    fn holders(&self, life: u64) -> Vec<usize> {
        let has = |node: &usize| {
            let shards = self.nodes[*node].shards.iter();
            shards.flat_map(|shard| shard.table.rows.values()).any(|row| row.life == life)
        };
        (0..self.plan.nodes).filter(has).collect()
    }

    /// Nodes that own a life.
    fn owners(&self, life: u64) -> Vec<usize> {
        let owns = |node: &usize| {
            let rows = self.nodes[*node].shards.iter().flat_map(|shard| shard.table.rows.values());
            rows.into_iter().any(|row| row.life == life && !row.stripped)
        };
        (0..self.plan.nodes).filter(owns).collect()
    }

    /// A message enters: who must get it. Whoever is subscribed, if the shard where it enters routes by that: it marked it
    /// for all nodes that have the session, at some time since the subscription was made.
    pub fn expect(&mut self, node: usize, shard: usize, published: &Published) {
        let now = (node, self.nodes[node].life);
        let alive: Vec<u64> =
            self.oracle.lives.iter().filter(|(_, l)| !l.ended && !l.discarded && !l.bereft).map(|(l, _)| *l).collect();
        for life in alive {
            let holders = self.holders(life);
            let wanted = (0..self.filters.len()).filter(|filter| self.filters[*filter].matches(published.topic));
            let mut must = false;
            for filter in wanted.collect::<Vec<_>>() {
                let key = (filter, now.0, now.1, shard);
                let settled = !holders.is_empty() && holders.iter().all(|holder| self.routes_to(*holder, life, key));
                let state = self.oracle.lives.get_mut(&life).expect("it is alive");
                if settled {
                    state.settled.insert(key);
                }
                must |= state.settled.contains(&key);
            }
            if must {
                let expected = &mut self.oracle.lives.get_mut(&life).expect("it is alive").expected;
                expected.insert(published.number, (now.0, now.1, shard));
            }
        }
    }

    /// Whether a shard routes by a subscription that a node has: filter, the shard's node, the life of that, the shard.
    fn routes_to(&self, holder: usize, life: u64, (filter, node, _, shard): (usize, usize, u64, usize)) -> bool {
        let mut rows = self.nodes[holder].shards.iter().flat_map(|shard| shard.table.rows.values());
        let Some(row) = rows.find(|row| row.life == life && row.filters.contains(&filter)) else { return false };
        let lane = u8::try_from(shard).expect("few shards");
        let marked = self.nodes[node].marked.get(&(lane, holder)).is_some_and(|(of, interest)| {
            *of == self.nodes[holder].life && interest.wanted.contains(&(row.stay, filter))
        });
        holder == node || marked
    }

    /// A node dies: sessions that it had, or was taking, and messages that it let enter or that were on their way to it,
    /// may be lost.
    pub fn oracle_death(&mut self, node: usize) {
        let holding: BTreeSet<u64> =
            self.oracle.lives.keys().copied().filter(|life| self.holders(*life).contains(&node)).collect();
        holding.iter().for_each(|life| self.lost_rest(*life, node));
        let owned: BTreeSet<u64> = self.nodes[node]
            .shards
            .iter()
            .flat_map(|shard| shard.table.rows.values())
            .filter(|row| !row.stripped)
            .map(|row| row.life)
            .collect();
        // What it was just giving away nobody else has yet.
        let giving: BTreeSet<u64> = holding.iter().copied().filter(|life| self.owners(*life).is_empty()).collect();
        for (life, state) in &mut self.oracle.lives {
            let id = &state.id;
            let searching = self.nodes[node].shards.iter().any(|shard| shard.moves.is_looking(id));
            state.bereft |= owned.contains(life) || giving.contains(life) || searching;
            let assigned = &state.assigned;
            state.expected.retain(|message, (at, ..)| assigned.contains_key(message) || *at != node);
        }
    }

    /// What a node had of a session is lost. Who routed to it alone, since it was cut off from the others that have the
    /// session, routes to nobody now.
    pub fn lost_rest(&mut self, life: u64, node: usize) {
        let left: Vec<usize> = self.holders(life).into_iter().filter(|holder| *holder != node).collect();
        let mut settled = self.oracle.lives[&life].settled.clone();
        settled.retain(|key| left.iter().all(|holder| self.routes_to(*holder, life, *key)));
        let state = self.oracle.lives.get_mut(&life).expect("it began");
        let assigned = &state.assigned;
        state.expected.retain(|message, _| assigned.contains_key(message));
        state.settled = settled;
    }

    /// A new session begins where the rest of one is that was given away: by a clean start, or while the node that took it
    /// can't be reached. If that one has not heard yet that it was given, nobody has it any more, and it never will.
    pub fn overwritten(&mut self, life: u64, node: usize) {
        self.lost_rest(life, node);
        if self.owners(life).is_empty() && !self.oracle.lives[&life].ended {
            self.oracle.discarded(life);
        }
    }

    /// Of every moment.
    pub fn check(&mut self) {
        let mut owners: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            for (shard, state) in node.shards.iter().enumerate() {
                for (id, _) in state.table.rows.iter().filter(|(_, row)| !row.stripped) {
                    owners.entry(id).or_default().push((number, shard));
                }
            }
        }
        for (id, all) in owners {
            for (place, one) in all.iter().enumerate() {
                for other in &all[place + 1..] {
                    let knows = |of: &(usize, usize), who: &(usize, usize)| {
                        self.nodes[of.0].shards[of.1].moves.is_unasked(id, &self.nodes[who.0].name)
                    };
                    let excused = knows(one, other) || knows(other, one);
                    assert!(excused, "{id} is owned by {} and {}", one.0, other.0);
                }
            }
        }
        if self.plan.devices == 1 {
            let twice = self.oracle.entered.iter().find(|(_, times)| **times > 1);
            assert!(twice.is_none(), "a QoS 2 publish of a client entered twice: {twice:?}");
        }
    }

    /// When all has come to rest.
    pub fn check_end(&mut self) {
        let undivided = self.plan.is_undivided();
        for (number, node) in self.nodes.iter().enumerate() {
            for shard in &node.shards {
                let pending = shard.moves.pending();
                let rest = (pending.lookups, pending.moves, pending.unsettled, pending.unasked);
                assert!(
                    rest == (0, 0, 0, 0),
                    "node {number} has not come to rest: {pending:?} {:?}",
                    shard.moves.records()
                );
                assert!(shard.moves.stats().garbled == 0);
                for other in (0..self.plan.nodes).filter(|other| *other != number) {
                    assert!(shard.claims.is_level(&super::node::name_of(other)), "the directory is not level");
                }
                let stripped = shard.table.rows.iter().find(|(_, row)| row.stripped || row.frozen || row.watched);
                assert!(stripped.is_none(), "a rest of {} stays at {number}", stripped.map_or("", |(id, _)| id));
            }
        }
        for (life, state) in &self.oracle.lives {
            let owners = self.holders(*life);
            assert!(undivided || owners.len() <= 1, "{} is at {owners:?}", state.id);
            assert!(!state.discarded || !undivided, "{} was discarded though nobody was cut off", state.id);
            if state.ended || state.discarded {
                assert!(owners.is_empty() || state.discarded, "{} ended and is at {owners:?}", state.id);
                continue;
            }
            if owners.is_empty() {
                assert!(state.bereft, "a session of {} is lost: life {life}", state.id);
                continue;
            }
            let missing: Vec<&u32> = state.expected.keys().filter(|m| !state.assigned.contains_key(*m)).collect();
            assert!(missing.is_empty(), "{}, life {life}, at {owners:?}, misses messages {missing:?}", state.id);
        }
        for device in &self.devices {
            assert!(device.up || !device.wants, "{} is not connected", device.id);
        }
        if self.plan.devices == 1 {
            self.check_devices();
        }
    }

    fn check_devices(&self) {
        assert!(!self.plan.is_undivided() || self.devices.iter().all(|device| !device.confused));
        for device in self.devices.iter().filter(|device| !device.confused) {
            let mut seen = BTreeSet::new();
            for (life, message, qos) in &device.log {
                let first = seen.insert((*life, *message));
                assert!(first || *qos != Qos::ExactlyOnce, "{} got {message} twice with QoS 2", device.id);
            }
            let life = self.oracle.lives.get(&device.life).filter(|l| !l.ended && !l.discarded && !l.bereft);
            for message in life.iter().flat_map(|life| life.assigned.keys()) {
                assert!(seen.contains(&(device.life, *message)), "{} never got {message}", device.id);
            }
            for message in &device.done {
                assert!(self.oracle.entered.get(message) == Some(&1), "{message} was acknowledged and did not enter");
            }
        }
        if self.plan.is_undivided() {
            self.check_order();
        }
    }

    /// Messages of one shard of a node come in the order of their numbers.
    fn check_order(&self) {
        for device in &self.devices {
            let mut newest: BTreeMap<(u64, usize, u64, usize), u32> = BTreeMap::new();
            let mut known = BTreeSet::new();
            for (life, message, _) in &device.log {
                let Some(entry) = self.oracle.lives.get(life).and_then(|l| l.expected.get(message)) else { continue };
                // A repeat of QoS 1 is no matter of order, and what devices publish enters later than it is numbered.
                if self.own.contains_key(message) || !known.insert((*life, *message)) {
                    continue;
                }
                let before = newest.insert((*life, entry.0, entry.1, entry.2), *message);
                assert!(before.is_none_or(|b| b < *message), "{} got {message} behind {before:?}", device.id);
            }
        }
    }

    // --- the schedule ---

    /// Puts all that the plan asks for at some time.
    pub fn arrange(&mut self) {
        let Plan { nodes, active, connects, clean, messages, own_messages, cuts, restarts, expiries, offers, .. } =
            self.plan.clone();
        for one in 0..nodes {
            (0..nodes).filter(|other| *other != one).for_each(|other| {
                self.at(1 + (one + other) as u64, Event::See { node: one, life: 1, other });
            });
        }
        let begin = 300;
        let time = |world: &mut Self| begin + world.random.next() % active;
        for device in 0..self.devices.len() {
            for _ in 0..connects {
                let at = time(self);
                let (node, clean) = (self.random.below(nodes), self.random.chance(clean));
                self.at(at, Event::Connect { device, node, clean });
            }
            if self.random.chance(50) {
                let at = time(self);
                self.at(at, Event::Leave { device });
            }
            for _ in 0..own_messages {
                let (at, topic) = (time(self), self.random.below(4));
                self.at(at, Event::OwnPublish { device, topic });
            }
        }
        for _ in 0..messages {
            let (at, node, shard, topic) =
                (time(self), self.random.below(nodes), self.random.below(2), self.random.below(4));
            let qos = if self.random.chance(50) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            self.at(at, Event::Publish { node, shard, topic, qos });
        }
        for _ in 0..cuts {
            let (at, one, other) = (time(self), self.random.below(nodes), self.random.below(nodes));
            let until = at + 100 + self.random.next() % 9_000;
            let alone = self.random.chance(40);
            for with in (0..nodes).filter(|with| *with != one && (alone || *with == other)) {
                self.at(at, Event::Cut { one, other: with, cut: true });
                self.at(until, Event::Cut { one, other: with, cut: false });
            }
        }
        for _ in 0..restarts {
            let (at, node) = (time(self), self.random.below(nodes));
            self.at(at, Event::Restart { node });
        }
        for offer in (0..expiries).map(|_| false).chain((0..offers).map(|_| true)) {
            let (at, pick) = (time(self), self.random.below(100));
            self.at(at, Event::Offline { pick, offer });
        }
        self.at(begin + active + 10_000, Event::Calm);
    }

    /// No more faults: all nodes meet, and one device of each client id comes and stays.
    pub fn calm_down(&mut self) {
        self.calm = true;
        for (one, other) in self.ways.keys().copied().collect::<Vec<_>>() {
            if one < other {
                self.cut(one, other, false);
            }
        }
        for device in 0..self.devices.len() {
            if device % self.plan.devices == 0 {
                self.devices[device].wants = true;
                self.after(3_000, Event::Retry { device });
            } else {
                self.after(1, Event::Leave { device });
            }
        }
    }
}
