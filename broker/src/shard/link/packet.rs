//! Connections of a link: how they begin, what comes on them, how they end.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::codec::disconnect::{self, Disconnect};
use crate::codec::frame::Kind;
use crate::codec::{Error, Reason, Version, ack, ping, publish};
use crate::link::{self, Conn, Incoming, Limits};
use crate::metrics::Closed;
use crate::shard::Shard;
use crate::shard::control::{AttachLink, LinkKey};
use crate::shard::linger::answer_and_close;
use crate::shard::link::{Dial, LinkConn};
use crate::shard::read::Next;
use crate::shard::row::{Connection, LinkConnection, Role, Row};

// === impl Shard ===

impl Shard {
    /// Takes a connection of a link of this shard.
    pub(in crate::shard) fn attach_link(&mut self, attach: AttachLink) {
        let AttachLink {
            link,
            user,
            stream,
            leftover,
            guard,
            dialled,
            receive_maximum,
            maximum_packet_size,
            keep_alive,
        } = attach;
        let Some(link_slot) = self.link_of(&link) else {
            // The configuration changed while the connection was made; the remote tries again.
            tracing::debug!(?link, "A connection came for a link that is gone.");
            return;
        };
        if dialled && self.link_row(link_slot).is_some_and(|row| row.dial != Dial::UnderWay) {
            // The row was made anew while an earlier one dialled: the first that came through stands.
            tracing::debug!(?link, "A connection of a link came through that nobody waits for.");
            return;
        }
        let transport = match stream.attach() {
            Ok(transport) => transport,
            Err(error) => {
                tracing::warn!(?link, %error, "A connection of a link was lost on its way to its shard.");
                if dialled {
                    self.dial_later(link_slot);
                }
                return;
            }
        };
        if matches!(link, LinkKey::Cluster(_)) && !self.has_heard_all() {
            let what = "RemoteBusy: this node has not heard yet what is wanted at the others of its cluster";
            let mut out = Vec::new();
            let refusal = Disconnect { reason_string: Some(what), ..Disconnect::because(Reason::ServerBusy) };
            disconnect::encode(&mut out, Version::V5, &refusal);
            answer_and_close(transport, out, guard);
            return;
        }
        let link_epoch = self.core.rows.get(link_slot as usize).map_or(0, |row| row.epoch);
        self.connections_made += 1;
        let conn = Conn(self.connections_made);
        let role = LinkConnection { link: link_slot, link_epoch, conn, received: 0, user, keep_alive, dialled };
        let epoch = self.next_epoch();
        let now = self.core.now;
        let entry = self.core.rows.vacant_entry();
        let slot = entry.key() as u32;
        let mut row = Row::new(epoch, Version::V5, Role::LinkConnection(Box::new(role)), now);
        let waker = self.ready.waker(slot);
        row.connection = Some(Box::new(Connection { transport, tail: leftover, need: 0, waker, guard }));
        entry.insert(row);
        if let Some(row) = self.link_row_mut(link_slot) {
            row.connections.push(LinkConn { conn, slot });
        }
        if dialled {
            self.dialled(link_slot);
        }
        self.schedule(slot);
        self.again.push(slot);
        self.ready.nudge();
        let role = if dialled { link::Role::Dialled } else { link::Role::Accepted };
        let keep_alive = if keep_alive == 0 { Duration::MAX } else { Duration::from_secs(keep_alive.into()) };
        let limits = Limits { receive_maximum, maximum_packet_size, keep_alive };
        tracing::info!(?link, dialled, "A connection of a link stands.");
        self.with_link(link_slot, |link, out| link.connected(out, conn, role, limits, now.duration()));
    }

    /// Takes a packet that came on a link's connection.
    pub(in crate::shard) fn link_packet(&mut self, slot: u32, packet: &[u8]) -> Next {
        match self.try_link_packet(slot, packet) {
            Ok(next) => next,
            Err(error) => {
                self.disconnect(slot, Closed::LinkProtocol, error.reason, error.what);
                Next::Closed
            }
        }
    }

    fn try_link_packet(&mut self, slot: u32, packet: &[u8]) -> Result<Next, Error> {
        let Some(Row { role: Role::LinkConnection(connection), .. }) = self.core.rows.get(slot as usize) else {
            return Ok(Next::Closed);
        };
        let (link, conn, dialled) = (connection.link, connection.conn, connection.dialled);
        let now = self.core.now.duration();
        match Kind::of(packet[0])? {
            Kind::Publish => {
                let layout = publish::layout(packet, Version::V5)?;
                let topic = layout.topic(packet);
                if !topic.starts_with(link::TOPIC_PREFIX.as_bytes()) {
                    let what = "the user of a link may publish nothing but the link's own batches";
                    return Err(Error { reason: Reason::NotAuthorized, what });
                }
                if self.congested {
                    self.pause(slot);
                    return Ok(Next::Pause);
                }
                let packet_id = NonZeroU16::new(layout.packet_id(packet));
                let incoming = Incoming { topic, packet_id, payload: layout.payload(packet) };
                self.with_link(link, |link, out| link.received(out, conn, incoming, now));
            }
            Kind::Puback => {
                let ack = ack::decode(packet, Version::V5)?;
                if let Some(packet_id) = NonZeroU16::new(ack.packet_id) {
                    let reason = ack.reason.code();
                    self.with_link(link, |link, out| link.acknowledged(out, conn, packet_id, reason, now));
                    if dialled {
                        self.dialling_succeeded(link);
                    }
                }
            }
            Kind::Pingreq if !dialled => {
                ping::check(packet, Kind::Pingreq, Version::V5)?;
                self.append(slot, |out| out.extend_from_slice(&ping::PINGRESP));
            }
            Kind::Pingresp if dialled => ping::check(packet, Kind::Pingresp, Version::V5)?,
            Kind::Disconnect => {
                let left = disconnect::decode(packet, Version::V5)?;
                // The sentence begins with the name of the refusal, if the remote is one of us.
                let sentence = left.reason_string.unwrap_or("the remote has left");
                let (reason, message) = sentence.split_once(": ").unwrap_or((left.reason.name(), sentence));
                let (reason, message) = (reason.to_owned(), message.to_owned());
                if left.reason.is_error() {
                    tracing::warn!(link, "The remote of a link has closed it: {reason}: {message}.");
                    self.with_link(link, |link, _| link.failed(reason, message, now));
                }
                self.close(slot, Closed::Disconnect);
                return Ok(Next::Closed);
            }
            Kind::Connect
            | Kind::Connack
            | Kind::Pubrec
            | Kind::Pubrel
            | Kind::Pubcomp
            | Kind::Subscribe
            | Kind::Suback
            | Kind::Unsubscribe
            | Kind::Unsuback
            | Kind::Pingreq
            | Kind::Pingresp
            | Kind::Auth => {
                let what = "the user of a link may send nothing but the link's own batches";
                return Err(Error { reason: Reason::NotAuthorized, what });
            }
        }
        Ok(Next::Continue)
    }

    /// The connection of a row that belongs to a link is gone.
    pub(in crate::shard) fn link_connection_ended(&mut self, slot: u32, trouble: Option<(&str, &str)>) {
        let Some(row) = self.core.rows.try_remove(slot as usize) else { return };
        self.timers.remove(&row, slot);
        let Role::LinkConnection(connection) = row.role else { return };
        let is_same =
            self.core.rows.get(connection.link as usize).is_some_and(|row| row.epoch == connection.link_epoch);
        if !is_same {
            return;
        }
        if let Some(row) = self.link_row_mut(connection.link) {
            row.connections.retain(|known| known.slot != slot);
        }
        let now = self.core.now.duration();
        self.end_ways_over(connection.link, connection.conn);
        self.with_link(connection.link, |link, out| {
            if let Some((reason, message)) = trouble {
                link.failed(reason, message, now);
            }
            link.disconnected(out, connection.conn, now);
        });
        if connection.dialled {
            self.dial_later(connection.link);
        }
    }

    /// Closes the connections of a link that were dialled, or those that came in: their terms have changed.
    pub(in crate::shard) fn drop_connections(&mut self, link: u32, were_dialled: bool) {
        let Some(row) = self.link_row(link) else { return };
        let slots: Vec<u32> = row.connections.iter().map(|known| known.slot).collect();
        for slot in slots {
            let Some(Row { role: Role::LinkConnection(connection), .. }) = self.core.rows.get(slot as usize) else {
                continue;
            };
            if connection.dialled == were_dialled {
                let what = "the configuration of the link has changed";
                self.disconnect(slot, Closed::Administrative, Reason::Success, what);
            }
        }
    }
}
