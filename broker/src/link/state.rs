//! A link: connections come and go, what is to be sent and what is wanted stay.

use std::sync::Arc;

use crate::router::{Change, Path, SharedSubscription};
use crate::topic::Filter;

use super::batch::LANE_MESSAGES;
use super::connection::{Connection, Phase};
use super::counters::Counters;
use super::greeting::Speech;
use super::heartbeat::{Pulse, Urge};
use super::interest_out::InterestOut;
use super::lane_out::LaneOut;
use super::listener::Listener;
use super::lossy::Lossy;
use super::marks::{LIFE, Mark, Version};
use super::outlet::{Conn, DropReason, Limits, Now, Outlet, Role};
use super::policy::{Gate, Served};
use super::refusal::{Refusal, Why};
use super::settings::{Local, Settings};
use super::source::Source;
use super::spool::{MemorySpool, Spool};
use super::syncing::Syncing;

/// A link with one remote cluster, or with one other node of this one. See the module for how it is driven.
#[derive(Debug)]
pub struct Link<S = MemorySpool> {
    pub(super) local: Local,
    pub(super) settings: Settings,
    /// Who the remote said it is.
    pub(super) remote_id: Option<Arc<str>>,
    /// The path of a message that was published there.
    pub(super) remote_path: Vec<u8>,
    pub(super) connections: Vec<Connection>,
    /// The connection that we send on.
    pub(super) active: Option<Conn>,
    pub(super) connections_seen: u64,
    pub(super) messages: LaneOut<S>,
    pub(super) lossy: Lossy,
    pub(super) wanted: InterestOut,
    /// The nodes of the other side as they are told that.
    pub(super) listeners: Vec<Listener>,
    /// The nodes of the other side as they were heard.
    pub(super) sources: Vec<Source>,
    pub(super) served: Served,
    /// What may leave.
    pub(super) sends: Gate,
    /// What may enter.
    pub(super) receives: Gate,
    pub(super) syncing: Syncing,
    pub(super) counters: Counters,
    pub(super) last_error: Option<Trouble>,
    /// Publishers are held.
    pub(super) held: bool,
    pub(super) dirty: bool,
    /// What we speak.
    pub(super) speech: Speech,
    /// The path of the message being delivered.
    pub(super) scratch: Vec<u8>,
    /// The numbers of shared subscriptions that it is for.
    pub(super) scratch_shares: Vec<u32>,
}

/// Something that went wrong.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub reason: String,
    pub message: String,
    pub at: Now,
}

/// Connections of one link; more are refused.
const CONNECTIONS_MAX: usize = 128;

/// Time for a handshake.
const HANDSHAKE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

// === impl Link ===

impl Link<MemorySpool> {
    /// A link without connections and with an empty spool. `filters`: what the clients of this node want now.
    pub fn new(local: Local, settings: Settings, filters: impl IntoIterator<Item = Filter>) -> Self {
        Self::with_spool(local, settings, filters, MemorySpool::default())
    }
}

impl<S: Spool> Link<S> {
    /// The same with another kind of spool, which is empty.
    pub fn with_spool(local: Local, settings: Settings, filters: impl IntoIterator<Item = Filter>, spool: S) -> Self {
        let mut messages = LaneOut::new(LANE_MESSAGES, spool);
        messages.set_bound(settings.spool.max_bytes.0);
        Self {
            remote_id: None,
            remote_path: Vec::new(),
            connections: Vec::new(),
            active: None,
            connections_seen: 0,
            messages,
            lossy: Lossy::new(),
            wanted: InterestOut::new(settings.receives(), filters),
            listeners: Vec::new(),
            sources: Vec::new(),
            served: Served::default(),
            sends: Gate::new(settings.send.clone()),
            receives: Gate::new(settings.receives().map(<[_]>::to_vec)),
            syncing: Syncing::default(),
            counters: Counters::default(),
            last_error: None,
            held: false,
            dirty: false,
            speech: Speech::default(),
            scratch: Vec::new(),
            scratch_shares: Vec::new(),
            local,
            settings,
        }
    }

    /// Speaks as a broker of another release does.
    #[cfg(test)]
    pub(super) fn speak(&mut self, speech: Speech) {
        self.speech = speech;
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes other settings, for the same remote cluster or node. `filters`: what the clients of this node want now. Spool,
    /// interest and marks stay; connections stay unless the link is disabled or another cluster is pinned.
    pub fn configure(
        &mut self,
        out: &mut impl Outlet,
        settings: Settings,
        filters: impl IntoIterator<Item = Filter>,
        now: Now,
    ) {
        let remote = |settings: &Settings| (settings.scope.clone(), settings.remote_cluster.clone());
        assert_eq!(remote(&settings), remote(&self.settings), "another remote is another link");
        if settings.send != self.settings.send {
            self.serve_within(out, settings.send.as_deref());
            self.sends = Gate::new(settings.send.clone());
            self.sends.set_except(self.except());
        }
        if settings.receive != self.settings.receive {
            self.receives = Gate::new(settings.receives().map(<[_]>::to_vec));
        }
        self.wanted.replace(settings.receives(), filters);
        for connection in &mut self.connections {
            connection.pulse.set_interval(settings.heartbeat_on(&connection.limits));
        }
        let is_foreign = self.remote_id.is_some()
            && settings.remote_cluster_id.is_some()
            && settings.remote_cluster_id != self.remote_id;
        self.messages.set_bound(settings.spool.max_bytes.0);
        self.settings = settings;
        self.dirty = true;
        if !self.settings.enabled {
            self.close_all(out, &Refusal::new(Why::LinkDisabled, "the link was disabled"), now);
        } else if is_foreign {
            self.close_all(out, &Refusal::new(Why::ClusterIdMismatch, "another cluster id was pinned"), now);
        }
    }

    /// A filter of local clients came or went; of equal filters only the first and the last count.
    pub fn interest_changed(&mut self, filter: &Filter, change: Change) {
        self.wanted.change(filter, change);
        self.dirty = true;
    }

    /// The log of changes overflowed: this is all that local clients want now.
    pub fn interest_replaced(&mut self, filters: impl IntoIterator<Item = Filter>) {
        self.wanted.replace(self.settings.receives(), filters);
        self.dirty = true;
    }

    /// A shared subscription of this node's clients is so now; without a member it is gone. For peers alone.
    pub fn share_changed(&mut self, share: &SharedSubscription) {
        self.wanted.share_changed(share);
        self.dirty = true;
    }

    /// These are all shared subscriptions of this node's clients. For peers alone.
    pub fn shares_replaced(&mut self, shares: impl IntoIterator<Item = SharedSubscription>) {
        self.wanted.shares_replaced(shares);
        self.dirty = true;
    }

    /// A version of what is wanted that contains what is wanted now and of which nobody has heard, even if nothing differs;
    /// each node of the other side is told it in its turn. For peers.
    pub fn stake(&mut self) -> Version {
        self.dirty = true;
        if self.connections_seen == 0 {
            // The link's life has no name yet: it will be a later one than this, and begins with all that is wanted.
            self.wanted.tell_all();
            let Version { epoch, number } = self.wanted.version();
            return Version { epoch: epoch.max(self.local.incarnation.wrapping_mul(LIFE)), number: number + 1 };
        }
        self.wanted.stake();
        self.wanted.make();
        self.wanted.version()
    }

    /// A shard of this node routes by a newer version of what some node wants, of this link's other side or another's:
    /// all that it routed before was given to [`forward`](Self::forward). See [`Outlet::announce`].
    pub fn marked(&mut self, shard: u8, mark: &Mark) {
        self.messages.mark(shard, mark);
        self.dirty = true;
    }

    /// A lane was added to this node: announces once more by what it routes, so that the new one bears all marks.
    pub fn announce(&self, out: &mut impl Outlet) {
        let Some(cluster) = &self.remote_id else { return };
        for source in self.sources.iter().filter(|source| source.held().0 != Version::default()) {
            out.announce(&Mark { cluster: cluster.clone(), node: source.node.clone(), version: source.held().0 });
        }
    }

    /// A connection stands: CONNECT and CONNACK are done, and its user may link.
    pub fn connected(&mut self, out: &mut impl Outlet, conn: Conn, role: Role, limits: Limits, now: Now) {
        if self.connections_seen == 0 {
            self.begin_life(now);
        }
        self.connections_seen += 1;
        let pulse = Pulse::new(self.settings.heartbeat_on(&limits), now);
        let connection = Connection::new(conn, role, limits, self.connections_seen, pulse, now);
        self.connections.push(connection);
        self.dirty = true;
        if self.connections.len() > CONNECTIONS_MAX {
            let message = format!("the link has {CONNECTIONS_MAX} connections already");
            self.refuse(out, conn, Refusal::new(Why::TooManyConnections, message), now);
        } else if role.is_ours() {
            self.say_hello(out, conn);
        }
    }

    /// Names this life of the link before anybody hears of it. No two links with one remote may ever have the same name,
    /// even if one is removed and made again while the node runs: the remote would take the batches of the second for
    /// repeats of the first.
    fn begin_life(&mut self, now: Now) {
        let made = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let epoch = Version::at(self.local.incarnation, made).epoch;
        self.messages.set_epoch(epoch);
        self.lossy.set_epoch(epoch);
        self.wanted.set_epoch(epoch);
    }

    /// A connection broke, or its other end left.
    pub fn disconnected(&mut self, out: &mut impl Outlet, conn: Conn, now: Now) {
        let before = self.connections.len();
        self.connections.retain(|connection| connection.conn != conn);
        if self.connections.len() < before {
            self.elect(out, now);
        }
    }

    /// A connection could not be made: for the status.
    pub fn failed(&mut self, reason: impl Into<String>, message: impl Into<String>, now: Now) {
        self.last_error = Some(Trouble { reason: reason.into(), message: message.into(), at: now });
    }

    /// So many bytes came on a connection, the last of them at this time, perhaps of a packet that is not whole yet: on a
    /// slow network a large one may take longer than silence is borne.
    pub fn note_received(&mut self, conn: Conn, bytes: u64, at: Now) {
        if let Some(connection) = self.connection(conn) {
            connection.pulse.received(bytes, at);
        }
    }

    /// What time brings: heartbeats, handshakes that take too long, messages that grew old. At least once a second.
    pub fn tick(&mut self, out: &mut impl Outlet, now: Now) {
        let late: Vec<Conn> = self
            .connections
            .iter()
            .filter(|c| c.phase != Phase::Up && now.saturating_sub(c.opened) > HANDSHAKE_MAX)
            .map(|c| c.conn)
            .collect();
        for conn in late {
            let message = format!("no handshake within {} s", HANDSHAKE_MAX.as_secs());
            self.refuse(out, conn, Refusal::new(Why::HandshakeTimeout, message), now);
        }
        let up = self.connections.iter_mut().filter(|connection| connection.phase == Phase::Up);
        let urges: Vec<_> = up.map(|connection| (connection.conn, connection.urge(now))).collect();
        for (conn, urge) in urges {
            match urge {
                Urge::Wait => {}
                Urge::Beat(number) => self.say_beat(out, conn, number, false),
                Urge::Lost => {
                    let message = "heartbeats are not answered: the network or the remote is gone";
                    self.close(out, conn, &Refusal::new(Why::HeartbeatLost, message), now);
                }
            }
        }
        self.forget_lost(out, now);
        let max_age = self.settings.spool.max_age.duration();
        while self.messages.oldest_droppable().is_some_and(|came| now.saturating_sub(came) > max_age) {
            let Some(messages) = self.messages.drop_oldest(now) else { break };
            self.counters.dropped(DropReason::SpoolAged, u64::from(messages));
            self.dirty = true;
        }
        // What waits for room on a connection goes on at a tick at the latest.
        self.dirty |= self.held || self.lossy.bytes() > 0;
    }

    /// True if [`end_of_turn`](Self::end_of_turn) has something to do.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Output of a connection that had no room was written: what waited for it may go on at the end of the turn.
    pub fn writable(&mut self, conn: Conn) {
        self.dirty |= self.active == Some(conn);
    }

    /// True while publishers whose messages match the link should not be read.
    pub fn holds_publishers(&self) -> bool {
        self.held
    }

    /// The link ends: closes its connections and takes the remote's filters out of the index. What is in the spool is lost.
    pub fn shut(&mut self, out: &mut impl Outlet, now: Now) {
        self.close_all(out, &Refusal::new(Why::LinkClosed, "the link was removed, or the node stops"), now);
        let gone = std::mem::take(&mut self.sources);
        self.unserve(out, &gone);
    }

    /// Sends messages on the best connection: one of this node before one by way of another, one that it dialled before
    /// one that it accepted, the newest of them. If that is another one than before, all that is not acknowledged is sent
    /// again over it. What is wanted is told to each node on the best connection with that one.
    pub(super) fn elect(&mut self, out: &mut impl Outlet, now: Now) {
        self.dirty = true;
        let up = || self.connections.iter().filter(|connection| connection.phase == Phase::Up);
        for listener in &mut self.listeners {
            listener.turn_to(up().filter(|connection| connection.node == listener.node).max_by_key(|c| c.rank()));
        }
        let Some(mut best) = up().max_by_key(|connection| connection.rank()) else {
            if self.active.take().is_some() {
                self.messages.pause();
                self.counters.dropped(DropReason::NotConnected, self.lossy.clear());
            }
            return;
        };
        // That one with another node is newer says nothing against the one in use.
        let in_use = up().find(|connection| Some(connection.conn) == self.active);
        if let Some(in_use) = in_use.filter(|c| c.role.rank() == best.role.rank() && c.node != best.node) {
            best = up().filter(|c| c.node == in_use.node).max_by_key(|c| c.rank()).unwrap_or(best);
        }
        let (conn, taken) = (best.conn, best.taken[0]);
        if self.active == Some(conn) {
            return;
        }
        let before = self.active.replace(conn);
        let sent = &mut self.counters.sent;
        self.messages.begin(taken, |messages| *sent += u64::from(messages));
        // The nodes at both ends hear where the lanes go now.
        for conn in before.into_iter().chain([conn]) {
            if let Some(number) = self.connection(conn).map(|connection| connection.pulse.beat(now)) {
                self.say_beat(out, conn, number, false);
            }
        }
    }

    /// Closes a connection, and says why in the status.
    pub(super) fn close(&mut self, out: &mut impl Outlet, conn: Conn, refusal: &Refusal, now: Now) {
        self.failed(refusal.why.name(), refusal.message.clone(), now);
        out.close(conn, refusal);
        self.disconnected(out, conn, now);
    }

    fn close_all(&mut self, out: &mut impl Outlet, refusal: &Refusal, now: Now) {
        let all: Vec<Conn> = self.connections.iter().map(|connection| connection.conn).collect();
        for conn in all {
            out.close(conn, refusal);
            self.disconnected(out, conn, now);
        }
    }

    /// The connection of this name.
    pub(super) fn connection(&mut self, conn: Conn) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.conn == conn)
    }

    /// The node of the remote cluster of this name.
    pub(super) fn source(&mut self, node: &str) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| &*source.node == node)
    }

    /// The node of the remote cluster of this name, as it is told what is wanted.
    pub(super) fn listener(&mut self, node: &str) -> Option<&mut Listener> {
        self.listeners.iter_mut().find(|listener| &*listener.node == node)
    }

    /// The remote said its id.
    pub(super) fn identify(&mut self, id: &Arc<str>) {
        if self.remote_id.as_ref() != Some(id) {
            self.remote_path.clear();
            Path::EMPTY.extend(id, &mut self.remote_path);
            self.remote_id = Some(id.clone());
        }
    }

    /// What no node of the remote wants, though a filter matches.
    pub(super) fn except(&self) -> std::collections::BTreeSet<Filter> {
        let mut wanting = self.sources.iter().filter(|source| source.interest.version().number > 0);
        let Some(first) = wanting.next() else { return Default::default() };
        let first = first.interest.except().clone();
        wanting.fold(first, |both, source| both.intersection(source.interest.except()).cloned().collect())
    }
}
