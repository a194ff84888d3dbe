//! Connections of devices with nodes: how they begin, what goes over them, how they end.

use crate::codec::Qos;
use crate::session::Arrival;

use super::table::{Effect, Packet, Parked};
use super::world::{Conn, Event, World};
use crate::peer::Verdict;

// === impl World ===

impl World {
    pub(super) fn drop_conn(&mut self, device: usize) {
        self.devices[device].up = false;
        if let Some(conn) = self.devices[device].conn.take() {
            let conn_state = self.conns.get_mut(&conn).expect("it exists");
            conn_state.open[0] = false;
            // The node notices soon, or late.
            let wait = if self.random.chance(50) { self.delay() } else { 3_000 + self.random.next() % 5_000 };
            self.after(wait, Event::Gone { conn });
        }
    }

    pub(super) fn connect(&mut self, device: usize, node: usize, clean: bool) {
        self.drop_conn(device);
        let clean = clean || !self.devices[device].persistent;
        let conn = self.conns.len() as u64 + 1;
        let life = self.nodes[node].life;
        self.conns.insert(conn, Conn { device, node: (node, life), open: [true, true], last: [self.now, self.now] });
        let device = &mut self.devices[device];
        (device.conn, device.node, device.wants, device.up) = (Some(conn), node, true, false);
        let wait = self.delay();
        self.conns.get_mut(&conn).expect("just made").last[1] = self.now + wait;
        self.after(wait, Event::Arrive { conn, clean });
    }

    pub(super) fn arrive(&mut self, conn: u64, clean: bool) {
        let Conn { device, node: (node, life), open, .. } = self.conns[&conn];
        if !self.is_alive(node, life) || !open[0] {
            return;
        }
        let (id, persistent) = (self.devices[device].id.clone(), self.devices[device].persistent);
        let shard = self.nodes[node].shard_of(&id);
        let parked = Parked { conn, persistent };
        let mut refused = false;
        self.in_shard(node, shard, |moves, table, now| {
            let stamp = table.clock.now(table.unix);
            match moves.connect(table, &id, stamp, clean, now) {
                Verdict::Local => {
                    if let Some(row) = table.rows.get(&id)
                        && !row.session.persistent
                        && !clean
                    {
                        let connected = row.session.connected;
                        table.end_row(&id);
                        moves.ended(table, &id, connected, now);
                    }
                    table.attach(&id, parked, stamp, clean);
                }
                Verdict::Waits => drop(table.parked.insert(id.clone(), parked)),
                Verdict::Refused(_) => refused = true,
            }
        });
        if refused {
            self.close(conn);
        }
    }

    /// The node closes a connection.
    pub(super) fn close(&mut self, conn: u64) {
        let wait = self.delay();
        let state = self.conns.get_mut(&conn).expect("it exists");
        if std::mem::replace(&mut state.open[1], false) {
            let time = state.last[0].max(self.now + wait);
            self.at(time, Event::Closed { conn });
        }
    }

    pub(super) fn gone(&mut self, conn: u64) {
        let Conn { device, node: (node, life), open, .. } = self.conns[&conn];
        if !self.is_alive(node, life) || !open[1] {
            return;
        }
        self.conns.get_mut(&conn).expect("it exists").open[1] = false;
        let id = self.devices[device].id.clone();
        let shard = self.nodes[node].shard_of(&id);
        self.in_shard(node, shard, |moves, table, now| {
            if table.parked.get(&id).is_some_and(|parked| parked.conn == conn) {
                table.parked.remove(&id);
                moves.left(table, &id, now);
            }
            let Some(row) = table.rows.get_mut(&id).filter(|row| row.conn == Some(conn)) else { return };
            row.conn = None;
            let session = row.session;
            if !session.persistent {
                table.end_row(&id);
                moves.ended(table, &id, session.connected, now);
            }
        });
    }

    pub(super) fn send_to_node(&mut self, conn: u64, packet: Packet) {
        let wait = self.delay();
        let state = self.conns.get_mut(&conn).expect("it exists");
        if state.open[0] {
            state.last[1] = state.last[1].max(self.now + wait);
            let time = state.last[1];
            self.at(time, Event::ToNode { conn, packet });
        }
    }

    pub(super) fn deliver_to_device(&mut self, conn: u64, packet: Packet) {
        let Conn { device, open, .. } = self.conns[&conn];
        if self.devices[device].conn != Some(conn) || !open[0] {
            return;
        }
        for answer in self.devices[device].receive(packet) {
            self.send_to_node(conn, answer);
        }
    }

    pub(super) fn take_at_node(&mut self, conn: u64, packet: Packet) {
        let Conn { device, node: (node, life), open, .. } = self.conns[&conn];
        if !self.is_alive(node, life) || !open[1] {
            return;
        }
        let id = self.devices[device].id.clone();
        let shard = self.nodes[node].shard_of(&id);
        let mut entered = None;
        self.in_shard(node, shard, |_, table, _| {
            let Some(row) = table.rows.get_mut(&id).filter(|row| row.conn == Some(conn)) else { return };
            let answer = match packet {
                Packet::Puback(id) => {
                    row.flow.outbound.puback(id);
                    None
                }
                Packet::Pubrec(id) => {
                    row.flow.outbound.pubrec(id, true);
                    Some(Packet::Pubrel(id))
                }
                Packet::Pubcomp(id) => {
                    row.flow.outbound.pubcomp(id);
                    None
                }
                Packet::Publish(id, number, _) => {
                    if row.flow.inbound.receive(id, 10) == Arrival::New {
                        entered = Some(number);
                    }
                    Some(Packet::Pubrec(id))
                }
                Packet::Pubrel(id) => {
                    row.flow.inbound.release(id);
                    Some(Packet::Pubcomp(id))
                }
                Packet::Subscribe(filter) => {
                    if row.filters.insert(filter) {
                        table.effects.push(Effect::InterestChanged);
                    }
                    Some(Packet::Suback(filter))
                }
                Packet::Connack(..) | Packet::Suback(_) => None,
            };
            table.effects.extend(answer.map(|answer| Effect::Send(conn, answer)));
            table.pump(&id);
        });
        if let Some(number) = entered {
            *self.oracle.entered.entry(number).or_default() += 1;
            self.enter(node, shard, number, self.own[&number], Qos::ExactlyOnce);
        }
    }

    // --- messages ---
}
