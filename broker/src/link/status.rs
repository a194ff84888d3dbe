//! What a link says of itself.

use tombolo_broker_api as api;

use super::connection::{Connection, Phase};
use super::listener::Listener;
use super::marks::Version;
use super::outlet::{Conn, Now, Role};
use super::spool::Spool;
use super::state::Link;

// === impl Link ===

impl<S: Spool> Link<S> {
    /// The state of the link. `unix_seconds`: the wall clock now, for the time of the last error.
    pub fn status(&self, now: Now, unix_seconds: u64) -> api::LinkStatus {
        let up = |role| self.connections.iter().filter(move |c| c.phase == Phase::Up && c.role == role).count() as u32;
        let active = self.active_connection();
        api::LinkStatus {
            name: self.settings.name.as_ref().into(),
            remote_cluster: self.settings.remote_cluster.as_ref().into(),
            remote_cluster_id: self.remote_id.as_deref().map(Into::into),
            state: self.state(),
            ready: self.is_ready(now),
            in_sync: self.is_in_sync(),
            dialled: up(Role::Dialled),
            accepted: up(Role::Accepted),
            by_way: up(Role::DialledByWay),
            round_trip_micros: active.and_then(|c| c.pulse.round_trip()).map(|time| time.as_micros() as u64),
            filters_wanted: self.wanted.len() as u64,
            filters_served: self.served_len() as u64,
            spool: self.spool_status(now),
            messages_sent: self.counters.sent,
            messages_received: self.counters.received,
            messages_repeated: self.counters.repeated,
            messages_dropped: self.counters.by_reason(),
            last_error: self.last_error(now, unix_seconds),
        }
    }

    /// The state of a peer, as far as the link knows it: connected or not. `unix_seconds` as in [`status`](Self::status).
    pub fn peer_status(&self, now: Now, unix_seconds: u64) -> api::PeerStatus {
        let round_trip = self.active_connection().and_then(|connection| connection.pulse.round_trip());
        api::PeerStatus {
            node: self.settings.name.as_ref().into(),
            state: if self.is_connected() { api::PeerState::Connected } else { api::PeerState::Unreachable },
            ready: self.is_ready(now),
            round_trip_micros: round_trip.map(|time| time.as_micros() as u64),
            filters_told: self.wanted.len() as u64,
            filters_held: self.served_len() as u64,
            sessions_claimed: 0,
            outbox: self.spool_status(now),
            held_bytes: self.messages.held().bytes(),
            messages_let_go: self.messages.held().let_go(),
            messages_sent: self.counters.sent,
            messages_received: self.counters.received,
            messages_dropped: self.counters.by_reason(),
            last_error: self.last_error(now, unix_seconds),
        }
    }

    fn spool_status(&self, now: Now) -> api::SpoolStatus {
        api::SpoolStatus {
            messages: self.messages.messages(),
            bytes: self.messages.bytes(),
            oldest_seconds: self.messages.oldest().map_or(0, |came| now.saturating_sub(came).as_secs()),
        }
    }

    fn last_error(&self, now: Now, unix_seconds: u64) -> Option<api::LinkError> {
        self.last_error.as_ref().map(|trouble| api::LinkError {
            reason: trouble.reason.clone(),
            message: trouble.message.clone(),
            unix_seconds: unix_seconds.saturating_sub(now.saturating_sub(trouble.at).as_secs()),
        })
    }

    /// A heartbeat crossed and came back lately, and both sides hold the same interest.
    pub fn is_ready(&self, now: Now) -> bool {
        self.is_in_sync() && self.active_connection().is_some_and(|connection| connection.pulse.is_steady(now))
    }

    /// The version of what we want by which every shard of the node at the other end of the connection in use routes, as
    /// its lane says; the zero version while none stands.
    pub fn settled(&self) -> Version {
        self.active_connection().map(|connection| self.settled_at(&connection.node)).unwrap_or_default()
    }

    /// Nothing waits for the other side.
    #[cfg(test)]
    pub fn is_spool_empty(&self) -> bool {
        self.messages.messages() == 0
    }

    /// The place in the lane of messages behind all that was given to the link so far.
    pub fn end_of_lane(&self) -> u64 {
        self.messages.sealed() + u64::from(self.messages.has_open())
    }

    /// The place in the lane of messages up to which the other side has taken all.
    pub fn taken_of_lane(&self) -> u64 {
        self.messages.acknowledged()
    }

    /// The version of what we want that the other side was told last, or is being told.
    pub fn told(&self) -> Version {
        self.wanted.version()
    }

    /// The life of the node at the other end of the connection in use, and how many shards it has; none while none stands.
    /// For peers.
    pub fn remote_life(&self) -> Option<(u64, u8)> {
        let connection = self.active_connection()?;
        let source = self.sources.iter().find(|source| source.node == connection.node)?;
        Some((source.incarnation, source.shards))
    }

    /// The node at the other end of the connection in use has told all that it wants in this life of it. For peers.
    pub fn has_heard(&self) -> bool {
        let source = self.active_connection().and_then(|c| self.sources.iter().find(|source| source.node == c.node));
        source.is_some_and(|source| source.interest.version().is_of(source.incarnation))
    }

    /// The node of the other side at which our lanes end now.
    #[cfg(test)]
    pub fn goes_to(&self) -> Option<&std::sync::Arc<str>> {
        self.active_connection().map(|connection| &connection.node)
    }

    /// Something that we want was not told yet: the next version, or a later one, will have it.
    pub fn has_untold(&self) -> bool {
        self.wanted.has_untold()
    }

    #[cfg(test)]
    /// All nodes of the other side that are connected have taken what they were told.
    pub(super) fn is_settled(&self) -> bool {
        self.listeners.iter().all(|listener| listener.conn.is_none() || listener.lane.is_settled())
    }

    /// The connection of this node's own over which another node would have its way, and the largest packet that the
    /// other end takes, in bytes; nothing if there is none.
    pub fn carrier(&self) -> Option<(Conn, u32)> {
        let direct = self.connections.iter().filter(|c| c.phase == Phase::Up && c.role.is_direct());
        direct.max_by_key(|connection| connection.rank()).map(|c| (c.conn, c.limits.maximum_packet_size))
    }

    /// A connection stands, and its handshake is done.
    pub fn is_connected(&self) -> bool {
        self.active.is_some()
    }

    /// The remote routes by what we want now: its lane is marked with our version, its digest is ours.
    pub fn is_in_sync(&self) -> bool {
        self.is_connected() && self.listened().all(|(listener, connection)| self.is_in_sync_at(listener, connection))
    }

    /// The nodes of the remote that route by what we want now, with their lives.
    #[cfg(test)]
    pub fn in_sync_with(&self) -> impl Iterator<Item = (&std::sync::Arc<str>, u64)> {
        let in_sync = self.listened().filter(|(listener, connection)| self.is_in_sync_at(listener, connection));
        in_sync.map(|(listener, connection)| (&listener.node, connection.incarnation))
    }

    fn is_in_sync_at(&self, listener: &Listener, connection: &Connection) -> bool {
        let told = (self.wanted.version(), self.wanted.digest());
        let is_marked = !connection.brings || self.settled_at(&connection.node) == told.0;
        listener.is_told(&self.wanted) && connection.held == told && is_marked
    }

    /// The remote routes by what we want now, by what it says of its lanes; by its heartbeats where those lead to another
    /// node of ours.
    #[cfg(test)]
    pub(super) fn is_marked(&self) -> bool {
        let told = (self.wanted.version(), self.wanted.digest());
        let marked = |c: &Connection| self.settled_at(&c.node) == told.0 || (!c.brings && c.held == told);
        self.is_connected() && self.listened().all(|(listener, c)| listener.is_told(&self.wanted) && marked(c))
    }

    /// The nodes of the other side that are connected, with the connections over which they are told.
    fn listened(&self) -> impl Iterator<Item = (&Listener, &Connection)> {
        let connection = |conn| self.connections.iter().find(move |connection| Some(connection.conn) == conn);
        self.listeners.iter().filter_map(move |listener| Some((listener, connection(listener.conn)?)))
    }

    fn settled_at(&self, node: &str) -> Version {
        let source = self.sources.iter().find(|source| &*source.node == node);
        let marked = source.map(|source| source.marks.get_all(source.shards, &self.local.cluster_id, &self.local.node));
        marked.unwrap_or_default()
    }

    fn state(&self) -> api::LinkState {
        if !self.settings.enabled {
            api::LinkState::Disabled
        } else if self.active.is_some() {
            api::LinkState::Connected
        } else if self.connections.is_empty() {
            api::LinkState::Disconnected
        } else {
            api::LinkState::Handshaking
        }
    }

    /// The connection in use.
    pub(super) fn active_connection(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| Some(connection.conn) == self.active)
    }
}
