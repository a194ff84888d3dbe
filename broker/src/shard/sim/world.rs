//! The world of a schedule: nodes, clients and the network between them, one step after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tombolo_broker_api as api;

use super::client::{Around, Client, State};
use super::members::Parting;
use super::network::{End, Micros, Network};
use super::node::{Life, Seat};
use super::oracle::{Oracle, Weather};
use super::plan::{LinkChange, Plan, Step, off};
use super::trace::Trace;
use super::tuning::tuning;
use crate::auth::{Identity, Role};
use crate::clock::{self, Millis};
use crate::codec::connect::Connect;
use crate::random::Random;
use crate::shard::{Attach, AttachLink, ConnectionGuard, Control, DialRequest, LinkKey, Stream, Tuning};
use crate::transport::Transport;

/// When schedules begin, by the wall clock.
const BEGIN: u64 = 1_800_000_000_000_000;

/// Connections of clients that wait to be accepted, and the like.
pub(super) enum Event {
    Accept(usize, u32, Box<Connect>, End),
    Link(usize, u32, Box<AttachLink>),
    DialFailed(usize, u32, DialRequest),
    Back(usize, bool),
    Unlist(usize, Micros),
    List(usize),
    Open(Vec<(usize, usize)>),
    LinkChanged(usize, LinkChange, Micros),
    HearLink(usize),
}

/// A node, alive or not.
pub struct Node {
    pub life: Option<Life>,
    pub shards: usize,
    pub(super) frozen_until: Micros,
    /// It is in the list.
    pub(super) member: bool,
    /// It was killed, and will be taken out of the list.
    pub(super) condemned: bool,
    /// It is being emptied, and stops then.
    pub(super) leaving: Option<Parting>,
    /// Sessions are under way here or away, or were when it was looked at last.
    pub(super) moves: bool,
    /// When its life began.
    began: Micros,
    /// By how much its wall clock is off.
    pub(super) clock_off: i64,
    /// It was so far ahead that nobody followed it, in this life.
    pub(super) strayed: bool,
    /// Its last life, which outlives it in its data folder.
    pub(super) incarnation: u64,
    /// What has become of its link, as it has heard.
    pub(super) link_changes: Vec<LinkChange>,
    /// It has heard of that, and not had a turn since: it may stand still.
    pub(super) link_unread: bool,
    /// Connections of clients at it.
    pub guests: Arc<AtomicU64>,
    /// Messages of its link that wait, that came, and that came again, as last told.
    pub(super) link_counts: [u64; 3],
}

/// The world.
pub struct World {
    pub plan: Plan,
    pub now: Micros,
    pub random: Random,
    pub network: Network,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub oracle: Oracle,
    pub weather: Weather,
    pub trace: Trace,
    pub tuning: Arc<Tuning>,
    steps: VecDeque<Step>,
    events: BTreeMap<u64, Event>,
    due: BinaryHeap<Reverse<(Micros, u64)>>,
    count: u64,
    /// How far the clock of the runtime has come.
    clock: Micros,
    pub turns: u64,
    /// The node that had a turn last, until it was asked whom it dials.
    turned: Option<usize>,
    /// How many nodes were emptied.
    pub emptied: u64,
    /// How many nodes have left the list, and how many have joined it.
    pub left_list: u64,
    pub joined_list: u64,
    /// By how much the wall clocks of each cluster are off together.
    pub(super) leapt: [i64; 2],
    /// What has become of the link of a cluster.
    pub(super) link_changes: Vec<(usize, LinkChange)>,
    /// How often a link held publishers.
    pub(super) held: u64,
    /// What each cluster retained in the end, by topic the number of the message.
    pub kept: Vec<BTreeMap<String, usize>>,
}

// === impl World ===

impl World {
    pub fn new(plan: &Plan, steps: Vec<Step>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let nodes = plan.nodes;
        let tuning = tuning(plan, &mut random);
        let mut clients: Vec<Client> = (0..plan.clients)
            .map(|number| Client::new(number, &mut random, if plan.far > 0 { nodes } else { nodes - plan.absent }))
            .collect();
        clients.iter_mut().for_each(|client| client.node = plan.members(plan.cluster(client.home)).start);
        let node = |random: &mut Random, number: usize| Node {
            life: None,
            shards: 1 + random.below(plan.shards),
            frozen_until: 0,
            member: plan.is_there_at_first(number),
            condemned: false,
            leaving: None,
            moves: true,
            began: 0,
            clock_off: off(plan.skew, random),
            strayed: false,
            incarnation: 0,
            link_changes: Vec::new(),
            link_unread: false,
            guests: Arc::default(),
            link_counts: [0; 3],
        };
        Self {
            plan: plan.clone(),
            now: 0,
            network: Network::new(random.next()),
            nodes: (0..nodes).map(|number| node(&mut random, number)).collect(),
            clients,
            oracle: Oracle::new(plan),
            weather: Weather {
                lives: vec![0; nodes],
                alive: vec![false; nodes],
                since: vec![0; nodes],
                disconnected: vec![vec![Micros::MAX; nodes]; nodes],
                ready: vec![vec![None; nodes]; nodes],
                empty: vec![vec![0; nodes]; nodes],
                unmoved: vec![0; nodes],
                unmoved_since: vec![Vec::new(); nodes],
                met: vec![vec![false; nodes]; nodes],
                troubled: vec![vec![0; nodes]; nodes],
                suspended: vec![vec![0; nodes]; nodes],
                cluster: (0..nodes).map(|node| plan.cluster(node)).collect(),
                told: vec![vec![None; nodes]; nodes],
                lane: vec![None; nodes],
                turned: vec![Vec::new(); nodes],
                narrowed: [0; 2],
            },
            trace: Trace::default(),
            tuning: Arc::new(tuning),
            steps: steps.into(),
            events: BTreeMap::new(),
            due: BinaryHeap::new(),
            count: 0,
            clock: 0,
            turns: 0,
            turned: None,
            emptied: 0,
            left_list: 0,
            joined_list: 0,
            leapt: [0; 2].map(|_| off(plan.apart, &mut random)),
            link_changes: Vec::new(),
            held: 0,
            kept: Vec::new(),
            random,
        }
    }

    /// Plays the whole schedule.
    pub async fn play(&mut self) -> Result<(), String> {
        for node in self.members() {
            self.start(node);
        }
        self.until(self.plan.seconds * 1_000_000, |_| false).await?;
        self.finish().await
    }

    /// Goes on until that time, or until something is so; whether it is.
    pub async fn until(&mut self, end: Micros, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        loop {
            self.sync_clock().await;
            if done(self) {
                return Ok(true);
            }
            if self.now >= end {
                return Ok(false);
            }
            self.network.advance(self.now);
            self.happen();
            let mut acted = self.step_clients()?;
            acted |= self.dial();
            if let Some((node, shard)) = self.next_turn() {
                self.turn(node, shard);
                acted = true;
            }
            if !acted {
                self.now = self.next().max(self.now + 1).min(end);
            }
        }
    }

    /// The clock of the runtime follows, in whole milliseconds; what runs on it has its turn.
    async fn sync_clock(&mut self) {
        let at = self.now / 1000 * 1000;
        if at > self.clock {
            tokio::time::advance(Duration::from_micros(at - self.clock)).await;
            self.clock = at;
        }
        // Connections that linger have tasks of their own.
        if tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn next(&self) -> Micros {
        let nodes = self.nodes.iter().filter_map(|node| {
            let life = node.life.as_ref()?;
            let due = (0..life.shards.len()).map(|shard| life.due(shard).0).min()?;
            Some((node.began + due * 1000).max(node.frozen_until))
        });
        let others = [
            self.network.next(),
            self.due.peek().map(|Reverse((at, _))| *at),
            self.steps.front().map(|step| step.at),
            self.clients.iter().map(Client::due).min(),
        ];
        nodes.chain(others.into_iter().flatten()).min().unwrap_or(Micros::MAX)
    }

    fn next_turn(&mut self) -> Option<(usize, usize)> {
        let mut all = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.frozen_until <= self.now) {
            let Some(life) = &node.life else { continue };
            let now = Millis((self.clock - node.began) / 1000);
            all.extend((0..life.shards.len()).filter(|shard| life.wants_turn(*shard, now)).map(|shard| (at, shard)));
        }
        (!all.is_empty()).then(|| *self.random.pick(&all))
    }

    fn turn(&mut self, node: usize, shard: usize) {
        self.turns += 1;
        self.now += self.random.next() % 60;
        self.sabotage(node);
        clock::set_unix_micros(Some(self.wall(node)));
        let Some(life) = &mut self.nodes[node].life else { return };
        life.turn(shard);
        self.nodes[node].link_unread &= !life.has_links(shard);
        self.turned = Some(node);
        self.observe(node);
        self.stop_if_empty(node);
    }

    /// What the wall clock of a node says, in microseconds since 1970.
    fn wall(&self, node: usize) -> u64 {
        let off = self.nodes[node].clock_off + self.leapt[self.plan.cluster(node)];
        (BEGIN + self.now).saturating_add_signed(off)
    }

    /// Lets clients do what they can, and connects those that want it.
    fn step_clients(&mut self) -> Result<bool, String> {
        let mut acted = false;
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            if client.state == State::Away {
                if client.wanted_from.is_some_and(|from| from <= self.now) {
                    acted = true;
                    self.admit(at);
                }
            } else if client.wish.is_set() || client.due() <= self.now {
                acted = true;
                let (client, mut around) = self.client(at);
                client.step(&mut around)?;
            }
        }
        Ok(acted)
    }

    /// A client, and what is around it.
    pub fn client(&mut self, at: usize) -> (&mut Client, Around<'_>) {
        let around = Around {
            now: self.now,
            oracle: &mut self.oracle,
            weather: &self.weather,
            random: &mut self.random,
            trace: &mut self.trace,
            fresh: self.plan.fresh,
            expiring: self.plan.expiring,
            subscribe_timeout: self.tuning.cluster.subscribe_timeout.0 * 1_000_000,
        };
        (&mut self.clients[at], around)
    }

    /// A client dials its node; one that is not ready is not offered to it.
    fn admit(&mut self, at: usize) {
        let members = self.members_of(self.plan.cluster(self.clients[at].home));
        if !members.contains(&self.clients[at].home) {
            self.clients[at].home = *self.random.pick(&members);
        }
        let node = match self.plan.sessions_move {
            true if self.random.chance(60) => *self.random.pick(&members),
            true => self.clients[at].node,
            false => self.clients[at].home,
        };
        let is_ready = self.nodes[node].life.as_ref().is_some_and(Life::is_ready);
        // Some have not heard yet that it is not.
        let is_ready = is_ready && (self.nodes[node].leaving.is_none() || self.random.chance(20));
        if !is_ready || !self.network.is_open(self.nodes.len() + at, node) {
            self.clients[at].wanted_from = Some(self.now + 200_000 + self.random.next() % 100_000);
            return;
        }
        let (ours, theirs) = self.network.connect([self.nodes.len() + at, node], self.plan.capacity);
        let (client, mut around) = self.client(at);
        let connect = client.open(ours, node, &mut around);
        let life = self.weather.lives[node];
        self.later(300, Event::Accept(node, life, Box::new(connect), theirs));
    }

    /// Takes what the node that had a turn asks of its dialler.
    fn dial(&mut self) -> bool {
        let Some(node) = self.turned.take() else { return false };
        let mut acted = false;
        while let Some(request) = self.nodes[node].life.as_mut().and_then(|life| life.requests.try_recv().ok()) {
            acted = true;
            let Some(other) = self.dialled_by(node, &request) else { continue };
            let life = self.weather.lives[node];
            if !self.network.is_open(node, other) {
                self.later(3_000_000, Event::DialFailed(node, life, request));
            } else if self.nodes[other].life.is_none() {
                self.later(500, Event::DialFailed(node, life, request));
            } else {
                let (ours, theirs) = self.network.connect([node, other], self.plan.capacity.max(1 << 10));
                let accepted = attach_link(self.key(other, node), theirs, false);
                self.later(1_000, Event::Link(other, self.weather.lives[other], accepted));
                let dialled = attach_link(request.link, ours, true);
                self.later(2_000, Event::Link(node, life, dialled));
            }
        }
        acted
    }

    pub(super) fn later(&mut self, least: Micros, event: Event) {
        self.count += 1;
        let at = self.now + least + self.random.next() % 2_000;
        self.events.insert(self.count, event);
        self.due.push(Reverse((at, self.count)));
    }

    /// What is due, happens.
    fn happen(&mut self) {
        while let Some(Reverse((at, number))) = self.due.peek().copied()
            && at <= self.now
        {
            self.due.pop();
            if let Some(event) = self.events.remove(&number) {
                self.event(event);
            }
        }
        while self.steps.front().is_some_and(|step| step.at <= self.now) {
            let Some(step) = self.steps.pop_front() else { break };
            self.begin(step.what);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Accept(node, life, connect, end) => {
                if self.nodes[node].frozen_until > self.now {
                    // Nobody reads it before, and what its client has given up by then is never read.
                    let thaw = self.nodes[node].frozen_until - self.now;
                    return self.later(thaw, Event::Accept(node, life, connect, end));
                }
                if end.is_torn() {
                    return;
                }
                let Some(there) = self.nodes[node].life.as_ref().filter(|_| self.weather.lives[node] == life) else {
                    return end.tear();
                };
                let Some(guard) = ConnectionGuard::enter(&self.nodes[node].guests, 1000) else { return };
                let shard = there.shard_of(&connect.client_id);
                let attach = Attach {
                    stream: Stream::Here(Transport::Simulated(Box::new(end))),
                    connect: *connect,
                    assigned: false,
                    leftover: Vec::new(),
                    identity: Identity { user: None, role: Role::Client },
                    guard,
                    peer: ([127, 0, 0, 1], 1).into(),
                };
                there.shared.inboxes[shard].send(Control::Attach(Box::new(attach)));
            }
            Event::Link(node, life, attach) => {
                let Some(there) = self.nodes[node].life.as_ref().filter(|_| self.weather.lives[node] == life) else {
                    return;
                };
                let shard = there.shard_of(attach.link.name());
                there.shared.inboxes[shard].send(Control::AttachLink(attach));
            }
            Event::DialFailed(node, life, request) => {
                let Some(there) = self.nodes[node].life.as_ref().filter(|_| self.weather.lives[node] == life) else {
                    return;
                };
                let error = api::LinkError { reason: "Simulated".to_owned(), ..api::LinkError::default() };
                let failed = Control::DialFailed { link: request.link, error };
                there.shared.inboxes[usize::from(request.shard)].send(failed);
            }
            Event::Back(node, silent) => {
                if silent {
                    self.network.revive(node);
                }
                self.start(node);
            }
            Event::Unlist(node, spread) => self.unlist(node, spread),
            Event::List(node) => self.hear_list(node),
            Event::LinkChanged(cluster, change, spread) => self.restore_link(cluster, change, spread),
            Event::HearLink(node) => self.hear_link(node),
            Event::Open(ways) => {
                self.trace.say(self.now, format_args!("{ways:?} are open"));
                ways.into_iter().for_each(|(from, to)| self.network.open(from, to));
            }
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].life.is_some() || !self.nodes[node].member || self.nodes[node].condemned {
            return;
        }
        self.weather.lives[node] += 1;
        self.weather.alive[node] = true;
        self.weather.since[node] = self.now;
        let members = self.members_of(self.plan.cluster(node));
        let (shards, seed) = (self.nodes[node].shards, self.random.next());
        let incarnation = (self.wall(node) / 1000).max(self.nodes[node].incarnation + 1);
        self.nodes[node].incarnation = incarnation;
        self.nodes[node].began = self.clock;
        self.nodes[node].strayed = self.is_astray(node);
        let cluster = self.plan.cluster(node);
        self.nodes[node].link_changes = self.link_changes_of(cluster);
        let links = self.plan.links_of(cluster, &self.nodes[node].link_changes);
        let seat = Seat { cluster, node, members: &members, links };
        self.nodes[node].life = Some(Life::start(seat, shards, &self.tuning, incarnation, seed));
        self.trace.say(self.now, format_args!("node {node} starts, with {shards} shards"));
    }

    /// Everything that is broken is mended.
    pub fn heal(&mut self) {
        self.trace.say(self.now, format_args!("all is mended"));
        self.network.heal();
        self.steps.clear();
        self.call_back();
        self.nodes.iter_mut().for_each(|node| node.frozen_until = 0);
        self.settle_list();
        self.settle_links();
        self.settle_clocks();
        for node in self.members() {
            if self.nodes[node].life.is_none() {
                self.network.revive(node);
                self.start(node);
            }
        }
    }
}

pub(super) fn attach_link(link: LinkKey, end: End, dialled: bool) -> Box<AttachLink> {
    Box::new(AttachLink {
        link,
        user: None,
        stream: Stream::Here(Transport::Simulated(Box::new(end))),
        leftover: Vec::new(),
        guard: None,
        dialled,
        receive_maximum: u16::MAX,
        maximum_packet_size: 2 << 20,
        keep_alive: 6,
    })
}
