//! The sending half of a link: messages into lanes, batches onto the connection, acknowledgements back.

use std::num::NonZeroU16;

use tombolo_broker_api::WhenFull;

use crate::codec::Qos;
use crate::router::{Destination, Origin, Path, may_pass};

use super::batch::{LANE_INTEREST, LANE_MESSAGES, PUBLISH_MAX, TOPIC_CONTROL, TOPIC_LANE};
use super::chunk::message_len;
use super::listener::Listener;
use super::outlet::{Conn, DropReason, Forward, Now, Outlet, Taken};
use super::policy::Verdict;
use super::refusal::{Refusal, Why};
use super::settings::Scope;
use super::spool::Spool;
use super::state::Link;

/// Bytes beyond `maxBytes` that a spool with `Backpressure` takes from publishers that could not be held at once.
const OVERRUN_MAX: u64 = 16 << 20;

/// A batch below this many bytes is not sent while so many are unacknowledged.
const WORTH_BYTES: usize = 16 * 1024;
const EAGER: usize = 4;

/// The longest message that fits into any MQTT packet together with the record around it.
const MESSAGE_MAX: usize = crate::codec::frame::LARGEST - 1024;

// === impl Link ===

impl<S: Spool> Link<S> {
    /// Takes a message that a filter of the link matched. It is sent at the end of the turn, or later.
    pub fn forward(&mut self, message: &Forward<'_>, now: Now) -> Taken {
        let origin = if message.path == Path::EMPTY { Origin::Client } else { Origin::Link(message.path) };
        let to = match self.settings.scope {
            Scope::Cluster => Destination::Link {
                cluster: self.remote_id.as_deref().unwrap_or_default(),
                max_hops: self.settings.max_hops,
            },
            Scope::Peer(_) => Destination::Peer,
        };
        if !may_pass(to, origin) {
            return Taken::NotWanted;
        }
        let qos = match self.sends.judge(message.layout.topic(message.frame)) {
            Verdict::Passes(highest) => highest.min(message.qos),
            Verdict::Refused | Verdict::Malformed => return Taken::NotWanted,
        };
        let len = message_len(message);
        let taken = if message.layout.expiry(message.frame) == Some(0) {
            Taken::Dropped(DropReason::Expired)
        } else if len + PUBLISH_MAX > self.packet_max() || len > MESSAGE_MAX {
            Taken::Dropped(DropReason::TooLarge)
        } else if qos == Qos::AtMostOnce && message.aside.stamp.is_none() {
            self.forward_lossy(message, len, now)
        } else {
            self.forward_spooled(message, qos, len as u64, now)
        };
        match taken {
            Taken::Yes | Taken::YesHold => self.dirty = true,
            Taken::Dropped(reason) => self.counters.dropped(reason, 1),
            Taken::NotWanted => {}
        }
        taken
    }

    fn forward_lossy(&mut self, message: &Forward<'_>, len: usize, now: Now) -> Taken {
        if self.active.is_none() {
            Taken::Dropped(DropReason::NotConnected)
        } else if (self.lossy.bytes() + len) as u64 > self.settings.spool.max_bytes_qos0.0 {
            Taken::Dropped(DropReason::LossyFull)
        } else {
            self.lossy.message(message, now);
            Taken::Yes
        }
    }

    fn forward_spooled(&mut self, message: &Forward<'_>, qos: Qos, len: u64, now: Now) -> Taken {
        let max = self.settings.spool.max_bytes.0;
        match self.settings.spool.when_full {
            WhenFull::DropOldest => {
                while self.messages.bytes() + len > max {
                    let Some(messages) = self.messages.drop_oldest(now) else {
                        return Taken::Dropped(DropReason::SpoolFull);
                    };
                    self.counters.dropped(DropReason::SpoolOverwritten, u64::from(messages));
                }
            }
            WhenFull::DropNewest if self.messages.bytes() + len > max => return Taken::Dropped(DropReason::SpoolFull),
            WhenFull::Backpressure if self.messages.bytes() + len > max + OVERRUN_MAX => {
                return Taken::Dropped(DropReason::SpoolFull);
            }
            WhenFull::DropNewest | WhenFull::Backpressure => {}
        }
        self.messages.message(message, qos, now);
        if self.is_over() { Taken::YesHold } else { Taken::Yes }
    }

    /// A PUBACK came on a connection. `reason` is its reason code.
    pub fn acknowledged(&mut self, out: &mut impl Outlet, conn: Conn, packet_id: NonZeroU16, reason: u8, now: Now) {
        let Some(connection) = self.connection(conn) else { return };
        connection.pulse.heard(now);
        let node = connection.node.clone();
        let Some(batch) = connection.acknowledge(packet_id) else {
            let message = format!("PUBACK for packet id {packet_id}, which is not in use");
            self.refuse(out, conn, Refusal::new(Why::ProtocolError, message), now);
            return;
        };
        if reason >= 0x80 {
            let message = format!("the remote refused a batch with reason code 0x{reason:02x}");
            self.close(out, conn, &Refusal::new(Why::BatchRefused, message), now);
            return;
        }
        if batch.lane == LANE_INTEREST {
            if let Some(listener) = self.listener(&node) {
                listener.acknowledged(conn, batch.sequence);
            }
        } else if self.active_connection().is_none_or(|active| active.node == node) {
            let (active, sent) = (self.active == Some(conn), &mut self.counters.sent);
            self.messages.acknowledge(batch.sequence, active, |messages| *sent += u64::from(messages));
        }
        // Once the lane goes on at another node, what the one before still acknowledges is that one's repeat: the other
        // must not see a gap.
        self.dirty = true;
    }

    /// What [`Outlet::sync`] was asked for with this token is durable, and all before it.
    pub fn synced(&mut self, out: &mut impl Outlet, token: u64) {
        while let Some(group) = self.syncing.done(token) {
            self.messages.made_durable(group.sealed);
            if !group.taken.is_empty() {
                self.syncing.passing(token, group.taken);
                if out.passed_on(token) {
                    self.passed_on(out, token);
                }
            }
            for (mark, digest) in &group.applied {
                if let Some(source) = self.source(&mark.node) {
                    source.announced = (mark.version, *digest);
                }
                out.announce(mark);
            }
        }
        self.dirty = true;
    }

    /// What [`Outlet::passed_on`] was asked for with this token has come true, and all before it: what the batches brought
    /// outlives this node.
    pub fn passed_on(&mut self, out: &mut impl Outlet, token: u64) {
        while let Some(batch) = self.syncing.passed(token) {
            if let Some(lane) = self.source(&batch.node).and_then(|source| source.lane(batch.lane)) {
                lane.made_durable(batch.epoch, batch.sequence);
            }
            if self.connection(batch.conn).is_some() {
                out.acknowledge(batch.conn, batch.packet_id);
            }
        }
        self.dirty = true;
    }

    /// Sends a control message to a peer; they may be lost, repeated and reordered. False if it was not sent: no connection
    /// stands, its output is full, the message is larger than the peer takes, or the link is with a cluster.
    pub fn control(&mut self, out: &mut impl Outlet, payload: &[u8]) -> bool {
        let Some(active) = self.active.filter(|active| self.settings.is_peer() && out.has_room(*active)) else {
            return false;
        };
        if payload.len() + PUBLISH_MAX > self.packet_max() {
            return false;
        }
        out.publish(active, TOPIC_CONTROL, None, payload);
        true
    }

    /// The end of a turn: what gathered is made durable, sent, acknowledged.
    pub fn end_of_turn(&mut self, out: &mut impl Outlet, now: Now) {
        self.tell_interest(now);
        loop {
            if self.messages.seals_each_turn() || (self.has_window() && self.messages.is_drained()) {
                self.messages.seal(now);
            }
            self.sync(out);
            let sent = self.send(out, now);
            // What was made durable may leave room in the window for what is open.
            let more = self.messages.has_open() && self.messages.is_drained() && self.has_window();
            if !sent && !more {
                break;
            }
        }
        self.send_lossy(out, now);
        let held = match self.settings.spool.when_full {
            WhenFull::DropOldest | WhenFull::DropNewest => false,
            WhenFull::Backpressure => self.is_over() || (self.held && self.is_nearly_over()),
        };
        if held != self.held {
            self.held = held;
            out.pressure(held);
        }
        self.dirty = false;
    }

    /// Tells each node of the other side what is newly wanted, once that one has taken all before it: meanwhile changes
    /// gather.
    fn tell_interest(&mut self, now: Now) {
        if !self.listeners.iter().any(Listener::is_idle) {
            return;
        }
        if self.wanted.has_untold() {
            self.wanted.make();
        }
        let Self { wanted, listeners, .. } = self;
        for listener in listeners.iter_mut().filter(|listener| listener.is_idle() && !listener.is_told(wanted)) {
            listener.tell(wanted, now);
        }
        let connected = listeners.iter().filter(|listener| listener.conn.is_some());
        if let Some(least) = connected.map(Listener::told).min() {
            wanted.told(least);
        }
    }

    fn sync(&mut self, out: &mut impl Outlet) {
        if self.messages.is_behind() {
            self.syncing.sealed(self.messages.sealed());
        }
        if let Some(token) = self.syncing.ask()
            && out.sync(token)
        {
            self.synced(out, token);
        }
    }

    /// Sends what may be sent; true if anything was.
    fn send(&mut self, out: &mut impl Outlet, now: Now) -> bool {
        let window = usize::from(self.settings.window);
        let mut sent = false;
        for listener in &mut self.listeners {
            let Some(connection) = self.connections.iter_mut().find(|c| Some(c.conn) == listener.conn) else {
                continue;
            };
            let allowed = usize::from(connection.limits.receive_maximum);
            // Interest goes beside the window, not behind it.
            while connection.in_flight() < allowed.min(window + 1)
                && let Some(batch) = listener.lane.send(now)
            {
                let packet_id = connection.send(LANE_INTEREST, batch.sequence, batch.payload.len());
                out.publish(connection.conn, TOPIC_LANE, Some(packet_id), batch.payload);
                sent = true;
            }
        }
        let Some(active) = self.active else { return sent };
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.conn == active) else {
            return sent;
        };
        let allowed = usize::from(connection.limits.receive_maximum);
        let packet_max = connection.limits.maximum_packet_size as usize;
        while connection.in_flight() < allowed.min(window)
            && let Some(len) = self.messages.next_len()
        {
            if len + PUBLISH_MAX > packet_max {
                let messages = self.messages.drop_oldest(now).unwrap_or_default();
                self.counters.dropped(DropReason::TooLarge, u64::from(messages));
                if messages == 0 {
                    break;
                }
                continue;
            }
            let Some(batch) = self.messages.send(now) else { break };
            let packet_id = connection.send(LANE_MESSAGES, batch.sequence, batch.payload.len());
            out.publish(active, TOPIC_LANE, Some(packet_id), batch.payload);
            sent = true;
        }
        sent
    }

    fn send_lossy(&mut self, out: &mut impl Outlet, now: Now) {
        let Some(active) = self.active else { return };
        let packet_max = self.packet_max();
        while out.has_room(active) {
            let counters = &mut self.counters;
            let any = self.lossy.send(now, |payload, messages| {
                if payload.len() + PUBLISH_MAX > packet_max {
                    counters.dropped(DropReason::TooLarge, u64::from(messages));
                } else {
                    counters.sent += u64::from(messages);
                    out.publish(active, TOPIC_LANE, None, payload);
                }
            });
            if !any {
                break;
            }
        }
    }

    /// True if a batch of messages could be sent now: there is room in the window, and the batch is worth its room. A
    /// small one waits for an acknowledgement when some are under way, and grows.
    fn has_window(&self) -> bool {
        self.active_connection().is_some_and(|connection| {
            let window = self.settings.window.min(connection.limits.receive_maximum);
            let enough = if self.messages.open_len() < WORTH_BYTES { EAGER } else { usize::from(window) };
            connection.in_flight() < enough.min(usize::from(window))
        })
    }

    /// The Maximum Packet Size of the remote where it is known, in bytes.
    fn packet_max(&self) -> usize {
        self.active_connection().map_or(usize::MAX, |connection| connection.limits.maximum_packet_size as usize)
    }

    fn is_over(&self) -> bool {
        self.settings.spool.when_full == WhenFull::Backpressure
            && self.messages.bytes() >= self.settings.spool.max_bytes.0
    }

    /// Over three quarters: publishers that were held stay so, or they would be held and let go at each batch.
    fn is_nearly_over(&self) -> bool {
        self.messages.bytes() > self.settings.spool.max_bytes.0 / 4 * 3
    }
}
