//! The sessions of a shard that move, and the searches for those that are elsewhere: events in, effects out.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::clock::{Millis, Stamp};
use crate::link::Version;
use crate::message::Delivery;

use super::bounds::{Repeat, SETTLE_BATCH, SETTLE_PAUSE, Settings};
use super::control::Control;
use super::envelope::{Envelope, Incomplete};
use super::had::Entrance;
use super::nodes::{Nodes, Reach};
use super::outlet::{Outlet, Verdict};
use super::record::{Answer, Common, Cx, Record};
use super::stats::Stats;
use super::trail::{Since, Tag};

/// All sessions of one shard that move, moved, or are looked for.
#[derive(Debug)]
pub struct Moves {
    common: Common,
    records: HashMap<Arc<str>, Box<Record>>,
    /// When records are to be looked at.
    timers: BTreeSet<(Millis, Arc<str>)>,
    /// Records that marks may bring further.
    unsettled: BTreeSet<Arc<str>>,
    /// Marks came since these were looked at.
    marked: bool,
    incomplete: Incomplete,
    /// What each stake under way is for.
    stakes: HashMap<u64, Vec<Arc<str>>>,
}

/// Where a message came from: the lane that it came by.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// The node that let it enter the cluster.
    pub node: &'a str,
    /// The shard there that routed it.
    pub shard: u8,
    /// Where it came from another cluster, if it did.
    pub entrance: Option<&'a Entrance>,
    /// It came to this node before, by another lane, and not for a member of a shared subscription.
    pub repeat: bool,
}

/// How much there is of what, for status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Look-ups under way.
    pub lookups: usize,
    /// Sessions on their way here or away.
    pub moves: usize,
    /// Rests of sessions that were given away, and sessions that wait for such rests.
    pub unsettled: usize,
    /// Client ids of which something is kept.
    pub records: usize,
    /// Of these, sessions that began while a node could not be asked.
    pub unasked: usize,
}

// === impl Pending ===

impl Pending {
    /// The same with another shard's added.
    pub fn add(&mut self, other: &Self) {
        let Self { lookups, moves, unsettled, records, unasked } = other;
        self.lookups += lookups;
        self.moves += moves;
        self.unsettled += unsettled;
        self.records += records;
        self.unasked += unasked;
    }
}

// === impl Moves ===

impl Moves {
    /// Nothing moves; `life` is the incarnation of this node, which has so many shards.
    pub fn new(me: Arc<str>, life: u64, shards: u8, settings: Settings) -> Self {
        let common = Common::new(Nodes::new(me, life, shards), settings);
        Self {
            common,
            records: HashMap::new(),
            timers: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            marked: false,
            incomplete: Incomplete::default(),
            stakes: HashMap::new(),
        }
    }

    /// Other settings.
    pub fn configure(&mut self, settings: Settings) {
        self.common.settings = settings;
    }

    /// A client connects whose session, if any, belongs to this shard. A node that is alone in its list need not ask.
    pub fn connect(&mut self, out: &mut impl Outlet, id: &str, stamp: Stamp, clean: bool, now: Millis) -> Verdict {
        // The ordinary case: the session is here, and nothing about it is in the air.
        if !self.records.contains_key(id) && (out.session(id).is_some() || self.common.nodes.others().next().is_none())
        {
            return Verdict::Local;
        }
        self.with(out, id, now, |record, cx| record.on_connect(cx, stamp, clean))
    }

    /// The client whose CONNECT waited is gone.
    pub fn left(&mut self, out: &mut impl Outlet, id: &str, now: Millis) {
        self.with_known(out, id, now, |record, cx| record.on_left(cx));
    }

    /// A session of the shard's table ended, by its own and not through [`Outlet::end`] or [`Outlet::discard`];
    /// `connected` is the stamp of its last CONNECT.
    pub fn ended(&mut self, out: &mut impl Outlet, id: &str, connected: Stamp, now: Millis) {
        self.with_known(out, id, now, |record, cx| {
            record.reset(cx);
            record.bury(cx, connected);
        });
    }

    /// A session without connection is to go to another node, which asks for it if it wants it.
    pub fn offer_away(&mut self, out: &mut impl Outlet, id: &str, to: &Arc<str>, now: Millis) {
        self.with(out, id, now, |_, cx| cx.say(to, &Control::Offer));
    }

    /// A control payload about a client id of this shard came.
    pub fn control(&mut self, out: &mut impl Outlet, from: &Arc<str>, payload: &[u8], now: Millis) {
        let Ok(envelope) = Envelope::read(payload) else {
            self.common.stats.garbled += 1;
            return;
        };
        let nodes = &self.common.nodes;
        // Of another life, of ours or theirs.
        if envelope.lives.to != nodes.life || nodes.life_of(from) != Some(envelope.lives.from) {
            return;
        }
        self.common.nodes.heard(from);
        let mut whole = None;
        if envelope.is_part() {
            match self.incomplete.take(from, &envelope, now) {
                Ok(Some(message)) => whole = Some(message),
                Ok(None) => return,
                Err(_) => {
                    self.common.stats.garbled += 1;
                    return;
                }
            }
        }
        let (kind, body) =
            whole.as_ref().map_or((envelope.kind, envelope.body), |(kind, body)| (*kind, body.as_slice()));
        let Ok(control) = Control::decode(kind, body, now) else {
            self.common.stats.garbled += 1;
            return;
        };
        let life = envelope.lives.from;
        self.with(out, envelope.id, now, |record, cx| record.on_control(cx, from, life, control));
    }

    /// A node is in the list. Tell of all of them before anything else.
    pub fn node_added(&mut self, node: Arc<str>) {
        self.common.nodes.add(node);
    }

    /// A connection with a node stands; `life` is its incarnation, and it has so many shards.
    pub fn node_connected(&mut self, out: &mut impl Outlet, node: &Arc<str>, life: u64, shards: u8, now: Millis) {
        let renewed = self.common.nodes.connected(node, life, shards);
        if renewed {
            self.incomplete.forget_node(node);
        }
        let mut unasked = 0;
        for id in self.ids() {
            self.with_known(out, &id, now, |record, cx| {
                if renewed {
                    record.on_lost_node(cx, node);
                }
                record.on_death(cx, node);
                record.on_reached(cx, node, now + Millis(SETTLE_PAUSE.0 * (unasked / SETTLE_BATCH)));
                unasked += u64::from(record.unasked.contains(node));
            });
        }
        self.marked = true;
    }

    /// No connection with it stands any more, and it is waited for; or it is not, any more (`Suspended`).
    pub fn node_lost(&mut self, out: &mut impl Outlet, node: &Arc<str>, suspended: bool, now: Millis) {
        let reach = if suspended { Reach::Suspended } else { Reach::Unreachable };
        let was = self.common.nodes.is_connected(node);
        if self.common.nodes.lost(node, reach) && was {
            for id in self.ids() {
                self.with_known(out, &id, now, |record, cx| record.on_lost_node(cx, node));
            }
        }
        self.marked = true;
    }

    /// A node is in the list no more: for those who remain it is dead.
    pub fn node_removed(&mut self, out: &mut impl Outlet, node: &Arc<str>, now: Millis) {
        if self.common.nodes.remove(node) {
            self.incomplete.forget_node(node);
            for id in self.ids() {
                self.with_known(out, &id, now, |record, cx| {
                    record.on_lost_node(cx, node);
                    record.on_death(cx, node);
                });
            }
            self.marked = true;
        }
    }

    /// A mark came by the queue that messages take: that shard of that node routes by this version of what `about` wants.
    /// For a shard of this node `origin` is this node, also for its own versions, which it counts by itself.
    pub fn mark(&mut self, origin: &str, shard: u8, about: &Arc<str>, version: Version) {
        self.common.nodes.mark(origin, shard, about, version);
        self.marked = true;
    }

    /// The answer to [`Outlet::stake`]: a version for each other node, and for this one.
    pub fn staked(&mut self, out: &mut impl Outlet, token: u64, versions: Vec<(Arc<str>, Version)>, now: Millis) {
        let since = Since::Versions(versions.into());
        for id in self.stakes.remove(&token).unwrap_or_default() {
            self.with_known(out, &id, now, |record, cx| record.on_staked(cx, token, &since));
        }
    }

    /// A message for a session that is watched: it goes on through [`Outlet::append`], now or later, or it is another node's.
    /// `shared`: it came by a shared subscription of which this member was chosen. QoS 0 is offered while the client is
    /// here: another node may have given it a copy of its own.
    pub fn offer(
        &mut self,
        out: &mut impl Outlet,
        id: &str,
        lane: Lane<'_>,
        delivery: Delivery,
        shared: bool,
        now: Millis,
    ) {
        let tag = self.common.nodes.tag(lane.node, lane.shard).cloned();
        let tag = tag.unwrap_or_else(|| Arc::new(Tag::new(lane.node.into())));
        let entrance = lane.entrance.cloned();
        self.with_known(out, id, now, |record, cx| {
            if lane.repeat {
                record.offer_again(cx, &tag, entrance, delivery);
            } else {
                record.offer(cx, &tag, entrance, delivery, shared);
            }
        });
    }

    /// The end of a turn of the shard: what marks and imports of the turn lead to, and what is due.
    pub fn turn(&mut self, out: &mut impl Outlet, now: Millis) {
        if std::mem::take(&mut self.marked) {
            for id in self.unsettled.clone() {
                self.with_known(out, &id, now, |_, _| ());
            }
        }
        let due: Vec<Arc<str>> =
            self.timers.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| id.clone()).collect();
        for id in due {
            self.with_known(out, &id, now, |record, cx| record.wake(cx));
        }
        if !self.common.unstaked.is_empty() {
            let token = self.common.token;
            self.common.token += 1;
            self.stakes.insert(token, std::mem::take(&mut self.common.unstaked));
            out.stake(token);
        }
    }

    /// When [`Moves::turn`] has something to do, if nothing happens before.
    pub fn due(&self) -> Millis {
        self.timers.first().map_or(Millis::NEVER, |(due, _)| *due)
    }

    /// Nodes with which a connection stands.
    pub fn reachable(&self) -> Vec<Arc<str>> {
        self.common.nodes.reachable_but(|_| false)
    }

    /// Nodes with which none stands.
    pub fn unreachable(&self) -> Vec<Arc<str>> {
        let others = self.common.nodes.others().filter(|(_, reach)| *reach != Reach::Connected);
        others.map(|(node, _)| node.clone()).collect()
    }

    /// Whether a node is in the list, as far as is known here.
    #[cfg(test)]
    pub fn knows(&self, node: &str) -> bool {
        self.common.nodes.contains(node)
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.common.stats
    }

    /// How much is under way.
    pub fn pending(&self) -> Pending {
        Pending {
            lookups: self.common.lookups,
            moves: self.common.load.0,
            unsettled: self.unsettled.len(),
            records: self.records.len(),
            unasked: self.records.values().filter(|record| !record.unasked.is_empty()).count(),
        }
    }

    /// Whether a node could not be asked when a session began here.
    #[cfg(test)]
    pub fn is_unasked(&self, id: &str, node: &str) -> bool {
        self.records.get(id).is_some_and(|record| record.unasked.contains(node))
    }

    /// All that is kept, for who reads a failure.
    #[cfg(test)]
    pub fn records(&self) -> impl std::fmt::Debug {
        &self.records
    }

    /// Whether it looks for a session, or takes it.
    #[cfg(test)]
    pub fn is_looking(&self, id: &str) -> bool {
        self.records.get(id).is_some_and(|record| record.lookup.is_some())
    }

    fn ids(&self) -> Vec<Arc<str>> {
        let mut ids: Vec<Arc<str>> = self.records.keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Does something with the record of a client id, if there is one.
    fn with_known<O: Outlet>(
        &mut self,
        out: &mut O,
        id: &str,
        now: Millis,
        act: impl FnOnce(&mut Record, &mut Cx<'_, O>),
    ) {
        if self.records.contains_key(id) {
            self.with(out, id, now, act);
        }
    }

    /// Does something with the record of a client id, be there one or not, and keeps it if there is something to keep.
    fn with<O: Outlet, R>(
        &mut self,
        out: &mut O,
        id: &str,
        now: Millis,
        act: impl FnOnce(&mut Record, &mut Cx<'_, O>) -> R,
    ) -> R {
        let common = &mut self.common;
        let (id, mut record) = self
            .records
            .remove_entry(id)
            .unwrap_or_else(|| (Arc::from(id), Box::new(Record::new(out.session(id), &common.nodes))));
        let before = weigh(&record);
        let mut cx = Cx { out, common, id: &id, now };
        let result = act(&mut record, &mut cx);
        record.review(&mut cx);
        common.count(before, weigh(&record));
        let due = record.due();
        if due != record.scheduled {
            if let Some(old) = record.scheduled {
                self.timers.remove(&(old, id.clone()));
            }
            if let Some(due) = due {
                self.timers.insert((due, id.clone()));
            }
            record.scheduled = due;
        }
        if record.is_unsettled() {
            self.unsettled.insert(id.clone());
        } else {
            self.unsettled.remove(&id);
        }
        if record.is_plain() {
            if let Some(due) = record.scheduled {
                self.timers.remove(&(due, id));
            }
        } else {
            self.records.insert(id, record);
        }
        result
    }
}

/// What a record counts for: a look-up, a tomb, the bytes of heads.
fn weigh(record: &Record) -> (bool, bool, Option<usize>) {
    (record.lookup.is_some(), record.tomb.is_some(), record.load())
}

// === impl Common ===

impl Common {
    fn count(&mut self, before: (bool, bool, Option<usize>), after: (bool, bool, Option<usize>)) {
        let changed = |count: usize, before: bool, after: bool| count + usize::from(after) - usize::from(before);
        self.lookups = changed(self.lookups, before.0, after.0);
        self.tombs = changed(self.tombs, before.1, after.1);
        self.load.0 = changed(self.load.0, before.2.is_some(), after.2.is_some());
        self.load.1 = self.load.1 + after.2.unwrap_or(0) - before.2.unwrap_or(0);
    }
}

// === impl Record ===

impl Record {
    fn on_control<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, life: u64, control: Control) {
        match control {
            Control::Ask { stamp, purpose } => self.on_ask(cx, from, stamp, purpose),
            Control::NoneHere { stamp, homes } => {
                self.on_settled(from, stamp);
                self.on_answer(cx, from, stamp, Answer::None(homes));
            }
            Control::Elsewhere { stamp, owner } => self.on_answer(cx, from, stamp, Answer::Elsewhere(owner)),
            Control::Denied { stamp, winner, why } => {
                self.on_overruled(cx, from, stamp, winner, why);
                self.on_denied(cx, stamp, winner, why);
            }
            Control::Export(export) => self.on_export(cx, from, export),
            Control::Take { stamp, offer } => self.on_take(cx, from, life, (stamp, offer)),
            Control::Given { stamp } => self.on_given(cx, from, stamp),
            Control::Kept { stamp, offer } => self.on_kept(cx, from, stamp, offer),
            Control::Abort { stamp } => self.on_abort(cx, from, stamp),
            Control::Forward(forward) => self.on_forward(cx, from, forward),
            Control::Forwarded { stream, index, heard, trail } => {
                self.on_forwarded(cx, from, (stream, index, heard), trail);
            }
            Control::Drained { stream, epoch } => self.on_drained(cx, from, stream, epoch),
            Control::Moved { stream, owner, epoch, trail } => self.on_moved(cx, from, (owner, epoch), trail, stream),
            Control::Closed { stream } => self.on_closed(cx, from, stream),
            Control::Dropped { stream } => self.on_dropped(cx, from, stream),
            Control::Seek { stream } => self.on_seek(cx, from, stream),
            Control::Offer => self.on_offer(cx),
        }
    }
}

// A record is said to be due at once when it must be looked at in this turn.
impl Record {
    /// A node can be reached: what waits for it goes on, what it has to be asked is asked at this time.
    fn on_reached<O: Outlet>(&mut self, cx: &Cx<'_, O>, node: &Arc<str>, at: Millis) {
        self.reach(node, cx.now);
        if self.unasked.contains(node) {
            let stamp = self.settling.map_or(Stamp::default(), |(stamp, _)| stamp);
            self.settling = Some((stamp, Repeat::now(at)));
        }
    }
}
