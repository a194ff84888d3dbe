//! What a node keeps of a client id whose session moves, moved, or is looked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::clock::{Millis, Stamp};
use crate::message::Delivery;

use super::bounds::{DWELL_FORGET, Repeat, STREAM_QUIET, Settings};
use super::control::{Control, Export, Stream};
use super::envelope::{self, Lives};
use super::forward::Entry;
use super::had::{Entrance, Had};
use super::incoming::{Earlier, Wants};
use super::nodes::Nodes;
use super::order::{Held, Origin};
use super::outlet::{Outlet, Refusal, Serve, Session};
use super::stats::Stats;
use super::trail::{Since, Stay, Tag, Trail};

/// What all records of a shard have in common.
#[derive(Debug)]
pub struct Common {
    /// The nodes.
    pub nodes: Nodes,
    /// What is set.
    pub settings: Settings,
    /// Counters.
    pub stats: Stats,
    /// Sessions frozen or taken now, and bytes of their heads.
    pub load: (usize, usize),
    /// Look-ups under way.
    pub lookups: usize,
    /// Sessions that ended and are remembered.
    pub tombs: usize,
    /// The token of the next stake.
    pub token: u64,
    /// Sessions frozen so far; numbers the offers.
    pub offers: u64,
    /// Sessions that came, or left their groups, since the last stake was asked for.
    pub unstaked: Vec<Arc<str>>,
}

/// A call about one client id.
pub struct Cx<'a, O> {
    /// The shard.
    pub out: &'a mut O,
    /// What the records have in common.
    pub common: &'a mut Common,
    /// The client id.
    pub id: &'a Arc<str>,
    /// The time.
    pub now: Millis,
}

/// All that is kept of one client id. Sessions that never moved, and began when all nodes could be asked, have none.
#[derive(Debug)]
pub struct Record {
    /// What this node is to the session.
    pub role: Role,
    /// The stamp by which this node took the session; names the stream of its queue.
    pub epoch: Stamp,
    /// Who owned it.
    pub trail: Trail,
    /// What the session wants in its last stay here.
    pub wants: Wants,
    /// Earlier ones, as long as they are in the trail.
    pub earlier: Vec<Earlier>,
    /// Streams of those before that are still open.
    pub streams: Vec<Open>,
    /// Index of the last message of this node's own stream.
    pub index: u64,
    /// The queue, while this node is not the owner.
    pub log: VecDeque<Entry>,
    /// Bytes of the log.
    pub log_bytes: usize,
    /// Index of the last message that stood in the queue when the session was offered or given away.
    pub queued: u64,
    /// What is here and waits for what older owners have.
    pub held: Held,
    /// Until when.
    pub hold_until: Millis,
    /// The stake that will say since when messages come directly.
    pub staking: Option<u64>,
    /// What came meanwhile, with the tag that decides about it, unless it is decided.
    pub undecided: Vec<Undecided>,
    /// What it had over links, where it was before and by who had it before.
    pub had: Had,
    /// Messages for it are offered to this record.
    pub watched: bool,
    /// The client that is served as soon as all shards of this node know where its session is: what it subscribes to and
    /// what it publishes meet here from its first packet on.
    pub serving: Option<Waiting>,
    /// The look-up under way.
    pub lookup: Option<LookUp>,
    /// Nodes that could not be asked when the session began and may have another one of this name.
    pub unasked: BTreeSet<Arc<str>>,
    /// The stamp by which they are asked, and when next.
    pub settling: Option<(Stamp, Repeat)>,
    /// The session ended while nodes are still unasked: its last CONNECT, and until when it is remembered.
    pub tomb: Option<(Stamp, Millis)>,
    /// When it came here, and for how many milliseconds it stays.
    pub moved: Option<(Millis, u32)>,
    /// When the shard looks at it next, as its table of timers has it.
    pub scheduled: Option<Millis>,
}

/// A message of which it is not known yet whose it is.
#[derive(Debug)]
pub struct Undecided {
    /// What decides about it.
    pub tag: Arc<Tag>,
    /// It is this node's, whatever the tag says.
    pub given: bool,
    /// Where it came from another cluster.
    pub entrance: Option<Entrance>,
    /// The message.
    pub delivery: Delivery,
}

/// What a node is to a session.
#[derive(Debug)]
pub enum Role {
    /// Nothing.
    None,
    /// It serves it.
    Owner,
    /// It would give it to another node, and serves nobody meanwhile.
    Frozen(Frozen),
    /// It gave it away, and forwards what is left and what comes.
    Drain(Drain),
}

/// A session on offer.
#[derive(Debug)]
pub struct Frozen {
    /// To whom.
    pub to: Arc<str>,
    /// The ask.
    pub stamp: Stamp,
    /// Number of the offer.
    pub offer: u64,
    /// After this it goes on here.
    pub until: Millis,
    /// The export, as kind and body, the same at each repeat.
    pub export: (u8, Vec<u8>),
    /// What waited for older owners; the log has it too.
    pub held: Held,
    /// When it is said again.
    pub repeat: Repeat,
}

/// The rest of a session that was given away.
#[derive(Debug)]
pub struct Drain {
    /// The owner and its life; `None`: it died, and another one is sought.
    pub to: Option<(Arc<str>, u64)>,
    /// The owner's epoch.
    pub epoch: Stamp,
    /// Something was said and not answered.
    pub waits: bool,
    /// When it is said again.
    pub repeat: Repeat,
    /// From which nodes something may still come, as was said last when all that was here had been forwarded.
    pub behind: Option<Vec<Arc<str>>>,
    /// The owner heard so.
    pub heard: bool,
    /// Whether it is still chosen in shared subscriptions.
    pub groups: Groups,
    /// Nodes that know nothing of the stream, while an owner is sought.
    pub votes: BTreeSet<Arc<str>>,
    /// When it is given up.
    pub until: Millis,
}

/// What is left of a session in shared subscriptions: the choice of a member is no matter of who owned the session when, so
/// that each lane must have passed the version by which it is in none any more.
#[derive(Debug)]
pub enum Groups {
    /// It may be chosen.
    In,
    /// It was taken out, and it is not known yet by which version.
    Leaving,
    /// It was taken out by these versions.
    Left(Since),
}

/// An open stream of somebody who owned the session before.
#[derive(Debug)]
pub struct Open {
    /// The stream.
    pub stream: Stream,
    /// What its node has is all here.
    pub caught_up: bool,
    /// Nodes from which something may still come to it.
    pub behind: Vec<Arc<str>>,
    /// Nothing can come by it any more.
    pub drained: bool,
    /// When it was heard of last.
    pub heard: Millis,
    /// When its node is asked about it, if nothing is heard before.
    pub ask_at: Millis,
    /// What it has belongs behind what is still to come from others: its node is told when it may say it again. Where the
    /// first of it entered.
    pub refused: Option<Origin>,
}

/// The search for a session.
#[derive(Debug)]
pub struct LookUp {
    /// The stamp that it asks by.
    pub stamp: Stamp,
    /// The session is to end.
    pub clean: bool,
    /// The client that waits.
    pub client: Option<Waiting>,
    /// When the client has waited enough.
    pub deadline: Millis,
    /// It was denied once and asks by a later stamp.
    pub again: bool,
    /// Who has answered what.
    pub answers: BTreeMap<Arc<str>, Answer>,
    /// Nodes of which somebody said that they have the session; that is known of them also when who said it is lost.
    pub named: BTreeSet<Arc<str>>,
    /// The node, and its life, whose export is to be taken: it is asked to give it.
    pub taking: Option<(Arc<str>, u64)>,
    /// When those who have not answered are asked again.
    pub repeat: Repeat,
}

/// A client that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Its CONNECT.
    pub stamp: Stamp,
    /// It wants a new session.
    pub clean: bool,
}

/// What a node answered.
#[derive(Debug)]
pub enum Answer {
    /// It has none; others that claim it.
    None(Vec<Arc<str>>),
    /// It gave it away, to this node.
    Elsewhere(Arc<str>),
    /// It has it on offer.
    Export(Box<Export>),
}

// === impl Common ===

impl Common {
    /// Nothing moves yet.
    pub fn new(nodes: Nodes, settings: Settings) -> Self {
        Self {
            nodes,
            settings,
            stats: Stats::default(),
            load: (0, 0),
            lookups: 0,
            tombs: 0,
            token: 0,
            offers: 0,
            unstaked: Vec::new(),
        }
    }
}

// === impl Cx ===

impl<O: Outlet> Cx<'_, O> {
    /// Says something to a node, if it can be reached.
    pub fn say(&mut self, to: &Arc<str>, control: &Control) {
        let (kind, body) = control.encode(self.now);
        self.say_encoded(to, kind, &body);
    }

    /// The same, encoded before.
    pub fn say_encoded(&mut self, to: &Arc<str>, kind: u8, body: &[u8]) {
        let nodes = &self.common.nodes;
        let Some(life) = nodes.life_of(to).filter(|_| nodes.is_connected(to)) else { return };
        for payload in envelope::pack(self.id, Lives { from: nodes.life, to: life }, kind, body) {
            if !self.out.control(to, &payload) {
                return;
            }
        }
    }

    /// This node.
    pub fn me(&self) -> Arc<str> {
        self.common.nodes.me.clone()
    }
}

// === impl Groups ===

impl Groups {
    /// Whether a lane can bring nothing more by a shared subscription.
    pub fn is_passed(&self, me: &Arc<str>, tag: &Tag) -> bool {
        match self {
            Self::In | Self::Leaving => false,
            Self::Left(since) => Stay { node: me.clone(), life: 0, since: since.clone() }.is_known(tag),
        }
    }
}

// === impl Open ===

impl Open {
    /// A stream that was just opened.
    pub fn new(stream: Stream, now: Millis) -> Self {
        Self {
            stream,
            caught_up: false,
            behind: Vec::new(),
            drained: false,
            heard: now,
            ask_at: now + STREAM_QUIET,
            refused: None,
        }
    }

    /// It was heard of.
    pub fn hear(&mut self, now: Millis) {
        (self.heard, self.ask_at) = (now, now + STREAM_QUIET);
    }
}

// === impl Record ===

impl Record {
    /// What is true of a client id of which nothing is kept.
    pub fn new(session: Option<Session>, nodes: &Nodes) -> Self {
        Self {
            role: if session.is_some() { Role::Owner } else { Role::None },
            epoch: session.map_or(Stamp::default(), |session| session.epoch),
            trail: Trail::begun(nodes.me.clone(), nodes.life),
            wants: Wants::default(),
            earlier: Vec::new(),
            streams: Vec::new(),
            index: 0,
            log: VecDeque::new(),
            log_bytes: 0,
            queued: 0,
            held: Held::default(),
            hold_until: Millis(0),
            staking: None,
            undecided: Vec::new(),
            had: Had::default(),
            watched: false,
            serving: None,
            lookup: None,
            unasked: BTreeSet::new(),
            settling: None,
            tomb: None,
            moved: None,
            scheduled: None,
        }
    }

    /// Whether nothing need be kept.
    pub fn is_plain(&self) -> bool {
        let Self { role, trail, streams, held, staking, lookup, unasked, tomb, moved, serving, .. } = self;
        let role = match role {
            Role::None => true,
            Role::Owner => trail.is_plain() && streams.is_empty() && held.is_empty() && staking.is_none(),
            Role::Frozen(_) | Role::Drain(_) => false,
        };
        role && serving.is_none() && lookup.is_none() && unasked.is_empty() && tomb.is_none() && moved.is_none()
    }

    /// Whether marks may bring it further.
    pub fn is_unsettled(&self) -> bool {
        match &self.role {
            Role::None | Role::Frozen(_) => false,
            Role::Owner => self.trail.stays().len() > 1 || !self.streams.is_empty() || self.serving.is_some(),
            Role::Drain(_) => true,
        }
    }

    /// Bytes of a head that this record keeps, if it keeps one.
    pub fn load(&self) -> Option<usize> {
        let frozen = if let Role::Frozen(frozen) = &self.role { Some(frozen.export.1.len()) } else { None };
        let answers = self.lookup.iter().flat_map(|lookup| lookup.answers.values());
        let exports = answers.filter_map(|answer| match answer {
            Answer::Export(export) => Some(export.head.weight()),
            Answer::None(_) | Answer::Elsewhere(_) => None,
        });
        exports.chain(frozen).reduce(|sum, len| sum + len)
    }

    /// When it must be looked at.
    pub fn due(&self) -> Option<Millis> {
        let role = match &self.role {
            Role::None => None,
            Role::Owner => {
                let asks = self.streams.iter().map(|open| open.ask_at).min();
                let refused = self.staking.is_none() && self.streams.iter().any(|open| open.refused.is_some());
                let held = (refused || !self.held.is_empty()).then_some(self.hold_until);
                let had = self.had.due().filter(|_| self.watched && !self.is_unsettled());
                asks.into_iter().chain(held).chain(had).min()
            }
            Role::Frozen(frozen) => Some(frozen.until.min(frozen.repeat.next)),
            Role::Drain(drain) => Some(drain.until.min(drain.repeat.next)),
        };
        let lookup = self.lookup.as_ref().map(|lookup| lookup.deadline.min(lookup.repeat.next));
        let settling = self.settling.as_ref().map(|(_, repeat)| repeat.next);
        let tomb = self.tomb.map(|(_, until)| until);
        let quiet = self.moved.map(|(at, _)| at + DWELL_FORGET);
        [role, lookup, settling, tomb, quiet].into_iter().flatten().min()
    }

    /// An owner looks whether those before are settled; a drain, whether there is something to say.
    pub fn review<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        match &self.role {
            Role::None | Role::Frozen(_) => {}
            Role::Owner => {
                self.serve_if_known(cx);
                self.close_drained(cx);
                self.go_on(cx);
                self.prune(cx);
            }
            Role::Drain(_) => self.progress(cx),
        }
    }

    /// Serves the client that waits, once all shards of this node route by the session's being here.
    fn serve_if_known<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let last = self.trail.stays().last();
        let is_known = |tag: &Tag| last.is_none_or(|stay| stay.is_known(tag));
        if let Some(client) = self.serving.take_if(|_| cx.common.nodes.own_lanes(is_known)) {
            cx.out.serve(cx.id, Serve::Present(client.stamp));
        }
    }

    /// Forgets stays that are over for this node, and its watch when all are.
    fn prune<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        if self.staking.is_some() {
            return;
        }
        let me = &cx.common.nodes.me;
        while let [oldest, _, ..] = self.trail.stays()
            && (oldest.node == *me || self.streams.iter().all(|open| open.stream.node != oldest.node))
            && cx.common.nodes.all_lanes(|tag| self.trail.is_passed(0, tag))
        {
            self.trail.forget_oldest();
        }
        if self.watched && !self.is_unsettled() && self.held.is_empty() && self.had.is_over(cx.out, cx.now) {
            self.watched = false;
            self.serving = None;
            cx.out.unwatch(cx.id);
        }
    }

    /// Nothing is left of what the record knew of a session: it ended, or a new one begins.
    pub fn reset<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let nodes = &cx.common.nodes;
        self.trail = Trail::begun(nodes.me.clone(), nodes.life);
        self.streams.clear();
        self.wants = Wants::default();
        self.earlier.clear();
        self.had = Had::default();
        cx.common.stats.messages_dropped += (self.log.len() + self.held.len() + self.undecided.len()) as u64;
        let is_drain = matches!(self.role, Role::Drain(_));
        let log = self.log.drain(..).map(|entry| entry.delivery).filter(|_| is_drain);
        let undecided = self.undecided.drain(..).map(|undecided| undecided.delivery);
        let held = std::mem::take(&mut self.held).into_deliveries();
        // What came by a shared subscription is not this session's alone.
        for delivery in log.chain(held).chain(undecided).filter(|delivery| delivery.group != 0) {
            cx.out.bequeath(cx.id, delivery);
        }
        (self.index, self.log_bytes, self.queued) = (0, 0, 0);
        self.staking = None;
        if self.serving.take().is_some() {
            cx.common.stats.overtaken += 1;
            cx.out.refuse(cx.id, Refusal::TakenOver);
        }
        self.moved = None;
        self.watched = false;
        self.role = Role::None;
    }
}
