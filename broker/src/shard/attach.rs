//! A connection meets its session: one that was there, one that another connection holds, or a new one.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;

use super::Shard;
use super::control::{Attach, Tuning};
use super::moves::parked;
use super::row::{Client, Connection, Custody, Role, Row, Will};
use crate::auth::Identity;
use crate::clock::{self, Stamp};
use crate::codec::connack::{self, Connack};
use crate::codec::connect::{self, Connect};
use crate::codec::publish::{self, Parts};
use crate::codec::{Reason, Version};
use crate::message::Message;
use crate::metrics::{Closed, Refused};
use crate::router::{Receiver, ReceiverFlags};
use crate::store::Change;
use crate::transport::Transport;

/// A client's connection at the shard of its session.
pub type Arrival = Attach<Transport>;

// === impl Shard ===

impl Shard {
    /// Takes a connection whose CONNECT was accepted.
    pub(super) fn attach(&mut self, attach: Attach) {
        let Attach { stream, connect, assigned, leftover, identity, guard, peer } = attach;
        let stream = match stream.attach() {
            Ok(transport) => transport,
            Err(error) => {
                tracing::warn!(client = connect.client_id, %peer, %error, "A connection was lost on its way to its shard.");
                return;
            }
        };
        let arrival = Arrival { stream, connect, assigned, leftover, identity, guard, peer };
        if self.shared.evacuation.is_active() {
            return self.turn_away(arrival);
        }
        if !parked::takes(&arrival.connect, &accepted(&arrival.connect, assigned, &self.core.tuning)) {
            self.shared.board.events.refuse(Refused::PacketTooLarge);
            return parked::answer(arrival, Reason::PacketTooLarge);
        }
        let stamp = self.shared.stamps.now(clock::unix_micros());
        if assigned {
            // Nobody else can have a session of this name.
            self.meet(arrival, stamp);
        } else {
            self.arrive(arrival, stamp);
        }
    }

    /// A connection meets its session, which is here or nowhere.
    pub(super) fn meet(&mut self, arrival: Arrival, stamp: Stamp) {
        let existing = self.find(&arrival.connect.client_id);
        if existing.is_none() && !self.may_begin_session() {
            self.shared.board.events.refuse(Refused::MaxSessions);
            return parked::answer(arrival, Reason::QuotaExceeded);
        }
        let Arrival { stream: transport, connect, assigned, leftover, identity, guard, peer } = arrival;
        let now = self.core.now;
        let (slot, session_present) = match existing {
            Some(slot) => self.take_over(slot, &connect, &identity, stamp),
            None => (self.new_session(&connect, &identity, stamp), false),
        };
        let waker = self.ready.waker(slot);
        let core = &mut self.core;
        let Some(row) = core.rows.get_mut(slot as usize) else { return };
        let Role::Client(client) = &mut row.role else { return };
        row.version = connect.version;
        row.connection = Some(Box::new(Connection { transport, tail: leftover, need: 0, waker, guard: Some(guard) }));
        row.heard = now;
        row.blocked = false;
        row.broken = false;
        row.paused = false;
        row.last_route = None;
        client.identity = identity;
        client.connected = stamp;
        renew(client, &connect, &core.tuning);
        if client.presence.is_some() {
            let me = Receiver { slot, epoch: row.epoch, shard: core.shard, flags: ReceiverFlags::default() };
            self.shared.index.presence_changed(me, client.subscriptions.keys());
            self.interest_changed = true;
        }
        row.persistent = client.is_persistent();
        row.keeps = row.persistent || client.presence.is_some();
        row.window = client.receive_maximum.min(core.tuning.mqtt.max_inflight);
        row.maximum_packet_size = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
        if client.is_persistent() {
            core.store.write(Change::Session { client_id: &client.id, expiry_seconds: client.expiry });
        }
        core.counters.connections += 1;
        core.counters.connected[usize::from(connect.version == Version::V5)] += 1;
        tracing::debug!(client = %client.id, %peer, session_present, "A client has connected.");
        self.note_claim(slot);
        let answer = Connack { session_present, ..accepted(&connect, assigned, &self.core.tuning) };
        self.append(slot, |out| connack::encode(out, connect.version, &answer));
        if session_present {
            self.core.begin_resend(slot);
            self.core.pump(slot);
        }
        self.schedule(slot);
        // What came behind CONNECT raises no event any more.
        self.again.push(slot);
    }

    /// The row of a client id.
    pub(super) fn find(&self, client_id: &str) -> Option<u32> {
        let hash = self.ids_hasher.hash_one(client_id);
        let rows = &self.core.rows;
        self.by_id
            .find(hash, |slot| {
                rows.get(*slot as usize).and_then(Row::client).is_some_and(|client| &*client.id == client_id)
            })
            .copied()
    }

    /// Whether the node has room for one more session; two shards may overshoot by one each.
    fn may_begin_session(&self) -> bool {
        self.shared.sessions.load(Ordering::Acquire) < u64::from(self.core.tuning.mqtt.max_sessions)
    }

    fn new_session(&mut self, connect: &Connect, identity: &Identity, stamp: Stamp) -> u32 {
        self.count_session(1);
        self.insert_row(&connect.client_id, connect.version, identity.clone(), stamp)
    }

    /// One session of this node more, or less.
    pub(super) fn count_session(&mut self, change: i64) {
        let sessions = &mut self.core.counters.sessions;
        *sessions = sessions.saturating_add_signed(change);
        if change > 0 {
            self.shared.sessions.fetch_add(change.unsigned_abs(), Ordering::AcqRel);
        } else {
            self.shared.sessions.fetch_sub(change.unsigned_abs(), Ordering::AcqRel);
        }
    }

    /// Puts the row of a session without connection into the table.
    pub(super) fn insert_row(&mut self, id: &str, version: Version, identity: Identity, epoch: Stamp) -> u32 {
        let client = Client::new(id.into(), identity, epoch);
        let hash = self.ids_hasher.hash_one(id);
        let row = Row::new(self.next_epoch(), version, Role::Client(Box::new(client)), self.core.now);
        let slot = self.core.rows.insert(row);
        let (slot, rows, hasher) = (slot as u32, &self.core.rows, &self.ids_hasher);
        self.by_id.insert_unique(hash, slot, |slot| {
            hasher.hash_one(rows.get(*slot as usize).and_then(Row::client).map_or("", |client| &client.id))
        });
        slot
    }

    /// A session of this client id exists: its connection, if any, is closed, and the session goes on or ends.
    fn take_over(&mut self, slot: u32, connect: &Connect, identity: &Identity, stamp: Stamp) -> (u32, bool) {
        const TAKEN_OVER: &str = "a newer connection uses the client id";
        let Some(row) = self.core.rows.get_mut(slot as usize) else {
            return (self.new_session(connect, identity, stamp), false);
        };
        let online = row.connection.is_some();
        if connect.clean_start || online && !row.client().is_some_and(Client::is_persistent) {
            self.replace_session(slot, TAKEN_OVER);
            return (self.new_session(connect, identity, stamp), false);
        }
        if online {
            // A will with a delay is cancelled when the session goes on [MQTT-3.1.3-9].
            if let Some(client) = row.client_mut() {
                client.will.take_if(|will| will.delay > 0);
            }
            self.disconnect(slot, Closed::SessionTakenOver, Reason::SessionTakenOver, TAKEN_OVER);
        }
        (slot, true)
    }

    /// Ends a session in favour of a new one of the same client id, here or elsewhere: its connection is told why, its will
    /// is published.
    pub(super) fn replace_session(&mut self, slot: u32, why: &str) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        row.custody = Custody::Replaced;
        let epoch = row.epoch;
        self.disconnect(slot, Closed::SessionTakenOver, Reason::SessionTakenOver, why);
        // One that ended with its connection is gone by now.
        if self.core.rows.get(slot as usize).is_some_and(|row| row.epoch == epoch) {
            self.end_session(slot);
        }
    }
}

// === impl Client ===

impl Client {
    /// A session that begins; `renew` fills in what CONNECT says.
    fn new(id: Box<str>, identity: Identity, epoch: Stamp) -> Self {
        Self {
            id,
            identity,
            subscriptions: hashbrown::HashMap::default(),
            will: None,
            expiry: 0,
            keep_alive: 0,
            receive_maximum: u16::MAX,
            problem_information: true,
            aliases: None,
            replays: VecDeque::new(),
            presence: None,
            will_at: None,
            ends_at: None,
            epoch,
            connected: epoch,
        }
    }
}

/// Takes over what a CONNECT says about the connection and the session.
fn renew(client: &mut Client, connect: &Connect, tuning: &Tuning) {
    client.will = connect.will.as_ref().map(|will| Box::new(Will::new(will, connect.version)));
    client.expiry = tuning.granted_expiry(connect.properties.session_expiry);
    client.keep_alive = tuning.granted_keep_alive(connect);
    client.receive_maximum = connect.properties.receive_maximum;
    client.problem_information = connect.properties.request_problem_information;
    client.aliases = None;
    client.will_at = None;
    client.ends_at = None;
    if let Some(presence) = &client.presence {
        presence.set(true);
    }
}

/// What CONNACK tells a client that is let in, of whose session nothing is known yet.
fn accepted(connect: &Connect, assigned: bool, tuning: &Tuning) -> Connack {
    let mut properties = connack::Properties::default();
    if connect.version == Version::V5 {
        let mqtt = &tuning.mqtt;
        let (expiry, keep_alive) =
            (tuning.granted_expiry(connect.properties.session_expiry), tuning.granted_keep_alive(connect));
        properties.session_expiry = (expiry != connect.properties.session_expiry).then_some(expiry);
        properties.receive_maximum = (mqtt.receive_maximum != u16::MAX).then_some(mqtt.receive_maximum);
        properties.maximum_packet_size = u32::try_from(mqtt.max_packet_size.0).ok();
        properties.topic_alias_maximum = (mqtt.topic_alias_maximum > 0).then_some(mqtt.topic_alias_maximum);
        properties.server_keep_alive = (keep_alive != connect.keep_alive).then_some(keep_alive);
        properties.assigned_client_id = assigned.then(|| connect.client_id.clone());
    }
    Connack { session_present: false, reason: Reason::Success, properties }
}

// === impl Will ===

impl Will {
    fn new(will: &connect::Will, version: Version) -> Self {
        let mut frame = Vec::new();
        let layout = publish::encode(
            &mut frame,
            &Parts {
                version,
                qos: will.qos,
                retain: will.retain,
                dup: false,
                packet_id: 1,
                topic: will.topic.as_bytes(),
                properties: &will.properties,
                subscription_ids: &[],
                payload: &will.payload,
            },
        );
        Self { expiry: layout.expiry(&frame), message: Message::new(&frame, layout, None), delay: will.delay }
    }
}

// === impl Tuning ===

impl Tuning {
    /// The session expiry that a client gets, which asked for `seconds`.
    pub fn granted_expiry(&self, seconds: u32) -> u32 {
        let longest = u32::try_from(self.mqtt.session_expiry_interval.0).unwrap_or(u32::MAX);
        seconds.min(longest)
    }

    /// The keep alive that a client gets; only MQTT 5.0 has words to give another one than it asked for
    /// `[MQTT-3.1.2-21]`.
    pub fn granted_keep_alive(&self, connect: &Connect) -> u16 {
        let longest = self.mqtt.max_keep_alive;
        if longest == 0 || connect.version == Version::V4 {
            return connect.keep_alive;
        }
        if connect.keep_alive == 0 { longest } else { connect.keep_alive.min(longest) }
    }
}
