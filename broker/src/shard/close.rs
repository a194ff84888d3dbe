//! The end of a connection, of its will, and of a session.

use std::hash::BuildHasher;
use std::task::Context;

use super::Shard;
use super::linger;
use super::output::Flushed;
use super::row::{Client, Custody, Role, Row, Will};
use crate::clock::Millis;
use crate::codec::disconnect::{self, Disconnect};
use crate::codec::{Reason, Version};
use crate::link::Why;
use crate::message::Message;
use crate::metrics::{Closed, Dropped};
use crate::router::{Receiver, ReceiverFlags};
use crate::store::Change;

// === impl Shard ===

impl Shard {
    /// Ends a connection from this side; a client of MQTT 5.0 is told why `[MQTT-3.14.4-1]`.
    pub(super) fn disconnect(&mut self, slot: u32, why: Closed, reason: Reason, what: &str) {
        self.disconnect_with(slot, why, &Disconnect { reason_string: Some(what), ..Disconnect::because(reason) });
    }

    /// The same, with what MQTT 5.0 is told as a whole.
    pub(super) fn disconnect_with(&mut self, slot: u32, why: Closed, packet: &Disconnect<'_>) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let Some(connection) = &mut row.connection else { return };
        if let Role::Client(client) = &row.role {
            let what = packet.reason_string.unwrap_or_default();
            tracing::debug!(client = %client.id, reason = %packet.reason, "A client is disconnected: {what}.");
        }
        // What was decided before goes out before the farewell.
        let mut cx = Context::from_waker(&connection.waker);
        let flushed = row.output.flush(&mut connection.transport, &mut cx, &mut self.core.pool);
        if let (Some(connection), Ok(_)) = (row.connection.take(), flushed)
            && let Some(mut last) = std::mem::take(&mut row.output).into_last()
        {
            let mut farewell = Vec::new();
            if row.version == Version::V5 {
                // Without the sentence if that is more than the client takes [MQTT-3.14.2-3], and by the reason code alone if
                // the rest is [MQTT-3.1.2-24]: that is shorter than the CONNACK that it took.
                let terse = Disconnect { reason_string: None, ..*packet };
                for packet in [packet, &terse, &Disconnect::because(packet.reason)] {
                    farewell.clear();
                    disconnect::encode(&mut farewell, row.version, packet);
                    if farewell.len() <= row.maximum_packet_size as usize {
                        break;
                    }
                }
            }
            last.append(&mut farewell);
            let keep = (connection.guard, self.farewells.clone());
            linger::answer_and_close(connection.transport, last, keep);
        }
        self.ended(slot, why);
    }

    /// Ends a connection that the other side has left, or that is of no more use.
    pub(super) fn close(&mut self, slot: u32, why: Closed) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        if let Some(mut connection) = row.connection.take() {
            // Answers to what came last, for who has closed its sending half alone; what is not durable stays unsaid.
            if !row.output.is_empty() && !row.broken && !self.core.store.is_persistent() {
                let mut cx = Context::from_waker(&connection.waker);
                let flushed = row.output.flush(&mut connection.transport, &mut cx, &mut self.core.pool);
                // A socket that came from another thread may not be known to take anything yet.
                if let Ok(Flushed::Blocked) = flushed
                    && let Some(last) = std::mem::take(&mut row.output).into_last()
                {
                    let keep = (connection.guard, self.farewells.clone());
                    linger::answer_and_close(connection.transport, last, keep);
                }
            }
            self.ended(slot, why);
        }
    }

    /// A row has lost its connection.
    fn ended(&mut self, slot: u32, why: Closed) {
        let now = self.core.now;
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        row.output = super::output::Output::default();
        row.blocked = false;
        row.paused = false;
        let client = match &mut row.role {
            Role::Client(client) => client,
            Role::LinkConnection(connection) => {
                let link = connection.link;
                self.core.counters.close(why);
                // Other ends have a word of their own, from whoever brought them about.
                let trouble = match why {
                    Closed::ConnectionLost => Some((
                        "ConnectionLost",
                        "the connection ended without a word: the other side died, or the network between was cut",
                    )),
                    Closed::KeepAlive => Some((
                        Why::HeartbeatLost.name(),
                        "nothing came for one and a half times the keep alive: the network or the remote is gone",
                    )),
                    Closed::Disconnect
                    | Closed::SessionTakenOver
                    | Closed::Malformed
                    | Closed::ProtocolError
                    | Closed::PacketTooLarge
                    | Closed::ReceiveMaximumExceeded
                    | Closed::TopicInvalid
                    | Closed::TopicAliasInvalid
                    | Closed::NotAuthorized
                    | Closed::Administrative
                    | Closed::LinkProtocol
                    | Closed::Evacuated
                    | Closed::Shutdown => None,
                };
                if trouble.is_some() {
                    tracing::info!(
                        link = self.link_name(link),
                        reason = why.label(),
                        "A connection of a link has ended."
                    );
                }
                return self.link_connection_ended(slot, trouble);
            }
            Role::Link(_) => return,
        };
        self.core.counters.connections -= 1;
        self.core.counters.close(why);
        if let Some(presence) = &client.presence {
            presence.set(false);
            let me = Receiver { slot, epoch: row.epoch, shard: self.core.shard, flags: ReceiverFlags::default() };
            self.shared.index.presence_changed(me, client.subscriptions.keys());
            self.interest_changed = true;
        }
        client.aliases = None;
        if !self.waiting.is_empty() {
            self.forget_waiting(slot);
        }
        let Some(client) = self.core.rows.get_mut(slot as usize).and_then(Row::client_mut) else { return };
        // As if they had been sent: retained messages are for who is there.
        client.replays.clear();
        if !client.is_persistent() {
            self.end_session(slot);
            return;
        }
        client.ends_at = (client.expiry != u32::MAX).then(|| now + Millis(u64::from(client.expiry) * 1000));
        self.note_claim(slot);
        let Some(client) = self.core.rows.get_mut(slot as usize).and_then(Row::client_mut) else { return };
        match &client.will {
            Some(will) if will.delay == 0 => self.publish_will(slot),
            Some(will) => {
                // The will goes when its delay is over or the session ends, whichever is first [MQTT-3.1.3-9].
                let delay = Millis(u64::from(will.delay) * 1000);
                client.will_at = Some((now + delay).min(client.ends_at.unwrap_or(Millis::NEVER)));
                self.schedule(slot);
            }
            None => self.schedule(slot),
        }
    }

    /// Ends a session and all that belongs to it; a will that waits is published first.
    pub(super) fn end_session(&mut self, slot: u32) {
        self.publish_will(slot);
        self.bequeath(slot);
        self.count_session(-1);
        let Some(row) = self.remove_row(slot) else { return };
        let Role::Client(client) = row.role else { return };
        if let Some(flow) = &row.flow {
            self.core.counters.dropped[Dropped::SessionEnded as usize] += flow.queue.len() as u64;
        }
        self.core.store.write(Change::Ended { client_id: &client.id });
        if row.custody == Custody::Own {
            self.with_moves(|moves, out, now| moves.ended(out, &client.id, client.connected, now));
        }
    }

    /// Takes the row of a client's session out of the table, and its subscriptions out of the index.
    pub(super) fn remove_row(&mut self, slot: u32) -> Option<Row> {
        let row = self.core.rows.try_remove(slot as usize)?;
        self.timers.remove(&row, slot);
        let client = row.client()?;
        let receiver = Receiver { slot, epoch: row.epoch, shard: self.core.shard, flags: ReceiverFlags::default() };
        self.shared.index.unsubscribe_all(client.subscriptions.keys(), receiver);
        self.core.counters.subscriptions -= client.subscriptions.len() as u64;
        let hash = self.ids_hasher.hash_one(&*client.id);
        if let Ok(entry) = self.by_id.find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
        if let Some(claims) = &mut self.claims {
            claims.set(&client.id, false);
        }
        if !client.subscriptions.is_empty() {
            self.tell_links();
        }
        Some(row)
    }

    /// Publishes the will of a row, if it has one, and schedules what remains.
    pub(super) fn publish_will(&mut self, slot: u32) {
        let now = self.core.now;
        let Some(client) = self.core.rows.get_mut(slot as usize).and_then(Row::client_mut) else { return };
        client.will_at = None;
        if let Some(will) = client.will.take() {
            let Will { message, expiry, .. } = *will;
            if !self.may_publish(slot, message.layout().topic(message.frame())) {
                self.core.counters.drop_message(Dropped::NotAuthorized);
                self.schedule(slot);
                return;
            }
            let expires_at = expiry.map(|seconds| now + Millis(u64::from(seconds) * 1000));
            self.take_will(slot, Message::new(message.frame(), message.layout(), expires_at));
        }
        self.schedule(slot);
    }
}

// === impl Client ===

impl Client {
    /// When this row wants to be looked at for its will or its end.
    pub fn offline_due(&self) -> Millis {
        let earliest = [self.will_at, self.ends_at].into_iter().flatten().min();
        earliest.unwrap_or(Millis::NEVER)
    }
}
