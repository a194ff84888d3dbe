//! Ways of the links of a shard: opened where a link has no connection of its own, passed on by a node that has, taken at
//! the other cluster. See `link::way`.

use std::sync::Arc;
use std::time::Duration;

use tombolo_broker_api as api;

use crate::clock::Millis;
use crate::link::way::{Frame, OVERHEAD, WayId, What};
use crate::link::{Conn, Incoming, Limits, PUBLISH_MAX, Role, TOPIC_WAY};
use crate::shard::control::Control;
use crate::shard::link::{LinkConn, LinkRow, Target};
use crate::shard::{LinkKey, Shard, shard_of};

/// Ways that one link has at this node: as the end that opened it, as the other end, or between the two.
#[derive(Default)]
pub struct Ways {
    /// That which was opened here.
    own: Option<OwnWay>,
    /// When peers are asked for one.
    ask_at: Millis,
    /// Those that nodes of the remote have opened.
    taken: Vec<TakenWay>,
    /// Those that peers have opened and that lead over a connection of this node.
    carried: Vec<CarriedWay>,
}

/// A way that was opened here.
struct OwnWay {
    id: WayId,
    /// The peer that it leads by.
    peer: Arc<str>,
    /// Its name for the link; none until it stands.
    conn: Option<Conn>,
    /// Until when it must stand.
    until: Millis,
}

/// A way that a node of the remote has opened.
struct TakenWay {
    id: WayId,
    /// Its name for the link.
    conn: Conn,
    /// The connection that carries it.
    carrier: Conn,
}

/// A way that a peer has opened.
struct CarriedWay {
    id: WayId,
    /// The connection with the remote that carries it.
    carrier: Conn,
}

/// What happened on a connection of a link while that acted, to be looked at afterwards.
pub struct Heard {
    /// The link.
    slot: u32,
    /// The connection.
    conn: Conn,
    /// The frame that came; none: the connection has ended.
    payload: Option<Box<[u8]>>,
}

/// Time between two questions for a way.
const ASK_EVERY: Millis = Millis(1_000);

/// Time for a way to stand.
const OPEN_MAX: Millis = Millis(5_000);

/// Ways of one link that a node takes or passes on, each; as many as a cluster has nodes.
const WAYS_MAX: usize = 64;

/// Batches unacknowledged on a way, in each direction: all that it holds in the outputs of the node between is these.
const WINDOW: u16 = 32;

// === impl Shard ===

impl Shard {
    /// Looks whether a link needs a way, or has one that it needs no more.
    pub(in crate::shard) fn tick_ways(&mut self, slot: u32) {
        let (now, has_heard_all) = (self.core.now, self.has_heard_all());
        let Some(row) = self.link_row(slot) else { return };
        let (Some(link), Target::Cluster(config)) = (&row.link, &row.target) else { return };
        let needs = config.enabled && has_heard_all && link.carrier().is_none();
        let drains = row.draining.is_some();
        let cluster: Box<str> = config.remote_cluster.as_str().into();
        if let Some(own) = &row.ways.own {
            let late = own.conn.is_none() && own.until <= now;
            if !needs || late {
                self.end_own_way(slot, Some("LinkClosed: there is a better connection now"));
            }
            return;
        }
        let (due, first) = (row.ways.ask_at <= now, row.ways.ask_at == Millis(0));
        if needs && !due {
            return;
        }
        if let Some(row) = self.link_row_mut(slot) {
            // What is dialled, at first or when it broke, may stand soon.
            row.ways.ask_at = now + ASK_EVERY;
        }
        if needs && !first && !drains && !self.peers.is_empty() {
            self.ways_asked += 1;
            let way = WayId { opener: self.shared.local.node.as_ref().into(), cluster, number: self.ways_asked };
            let payload: Arc<[u8]> = Frame { way, back: false, what: What::Ask }.encode().into();
            for inbox in &self.shared.inboxes {
                inbox.send(Control::WayToPeers(Arc::clone(&payload)));
            }
        }
    }

    /// A frame came over a link that acts: it is looked at when that is done.
    pub(in crate::shard) fn hear_way(&mut self, slot: u32, conn: Conn, payload: &[u8]) {
        self.heard_ways.push(Heard { slot, conn, payload: Some(payload.into()) });
    }

    /// A connection of a link, which may be acting, is gone, and with it what it carried.
    pub(in crate::shard) fn end_ways_over(&mut self, slot: u32, conn: Conn) {
        self.heard_ways.push(Heard { slot, conn, payload: None });
    }

    /// Looks at the frames that came over links.
    pub(in crate::shard) fn take_heard_ways(&mut self) {
        for Heard { slot, conn, payload } in std::mem::take(&mut self.heard_ways) {
            let Some(row) = self.link_row(slot) else { continue };
            match (&row.target, payload) {
                (Target::Cluster(_), Some(payload)) => self.way_from_remote(slot, conn, &payload),
                (Target::Cluster(_), None) => self.lose_carrier(slot, conn),
                (Target::Peer(peer), Some(payload)) => {
                    let node = Arc::clone(&peer.node);
                    let Some(frame) = Frame::decode(&payload) else { continue };
                    let shard = shard_of(frame.way.cluster.as_bytes(), self.shared.inboxes.len());
                    self.shared.inboxes[shard].send(Control::WayFromPeer { node, payload });
                }
                // Another control message says when a node can't be reached.
                (Target::Peer(_), None) => {}
            }
        }
    }

    /// Sends a frame to all peers of this shard.
    pub(in crate::shard) fn way_to_peers(&mut self, payload: &[u8]) {
        for at in 0..self.links.len() {
            let slot = self.links[at];
            if self.link_row(slot).is_some_and(|row| matches!(row.target, Target::Peer(_))) {
                self.write_to_peer(slot, payload, false);
            }
        }
    }

    /// Sends a frame to a peer of this shard; if that can't be, what it belongs to has ended.
    pub(in crate::shard) fn way_to_peer(&mut self, node: &Arc<str>, payload: &[u8]) {
        let Some(frame) = Frame::decode(payload) else { return };
        let slot = self.link_of(&LinkKey::Peer(Arc::clone(node)));
        let must_arrive = frame.must_arrive();
        let sent = slot.is_some_and(|slot| self.write_to_peer(slot, payload, must_arrive));
        if !sent && must_arrive {
            let what = What::Close("ConnectionLost: the node between the two can't be reached");
            // As if the peer had said so: to the end here from the other one.
            let payload = Frame { way: frame.way.clone(), back: !frame.back, what }.encode().into();
            let shard = shard_of(frame.way.cluster.as_bytes(), self.shared.inboxes.len());
            self.shared.inboxes[shard].send(Control::WayFromPeer { node: Arc::clone(node), payload });
        }
    }

    /// A frame came from a peer.
    pub(in crate::shard) fn way_from_peer(&mut self, node: &Arc<str>, payload: &[u8]) {
        let Some(frame) = Frame::decode(payload) else { return };
        let is = |row: &LinkRow| match &row.target {
            Target::Cluster(config) => *config.remote_cluster == *frame.way.cluster && row.draining.is_none(),
            Target::Peer(_) => false,
        };
        let Some(slot) = self.links.iter().copied().find(|slot| self.link_row(*slot).is_some_and(is)) else { return };
        if frame.back {
            if *frame.way.opener == *self.shared.local.node {
                self.own_way(slot, node, &frame);
            }
        } else if *frame.way.opener == **node {
            self.carry_for_peer(slot, node, &frame, payload);
        }
    }

    /// What a peer says to the node that opens a way, or has opened one: this one.
    fn own_way(&mut self, slot: u32, node: &Arc<str>, frame: &Frame<'_>) {
        let (now, name) = (self.core.now, Conn(self.connections_made + 1));
        let Some(row) = self.link_row_mut(slot) else { return };
        let open = row.link.as_ref().is_none_or(|link| link.carrier().is_some());
        match (&mut row.ways.own, frame.what) {
            (own @ None, What::Have) if !open => {
                let (id, peer) = (frame.way.clone(), Arc::clone(node));
                *own = Some(OwnWay { id: id.clone(), peer, conn: None, until: now + OPEN_MAX });
                let what = What::Open(packet_max(&self.core.tuning.mqtt));
                self.tell_peer(node, &Frame { way: id, back: false, what });
            }
            (Some(own), _) if own.id != frame.way || own.peer != *node => {}
            (Some(own), What::Opened(max)) if own.conn.is_none() => {
                own.conn = Some(name);
                self.connections_made += 1;
                tracing::info!(cluster = %frame.way.cluster, %node, "A link goes by way of another node.");
                self.way_stands(slot, name, Role::DialledByWay, max);
            }
            (Some(own), What::Publish { .. } | What::Puback(_)) => {
                if let Some(conn) = own.conn {
                    self.arrives(slot, conn, frame.what);
                }
            }
            (Some(_), What::Close(reason)) => {
                tracing::info!(cluster = %frame.way.cluster, %node, reason, "A link goes by way of another node no more.");
                self.end_own_way(slot, None);
            }
            (None, _) | (Some(_), What::Ask | What::Have | What::Open(_) | What::Opened(_)) => {}
        }
    }

    /// What a peer that opens a way, or has opened one, says to the node between: this one.
    fn carry_for_peer(&mut self, slot: u32, node: &Arc<str>, frame: &Frame<'_>, payload: &[u8]) {
        let Some(row) = self.link_row_mut(slot) else { return };
        let best = row.link.as_ref().and_then(|link| link.carrier());
        let known = row.ways.carried.iter().position(|carried| carried.id == frame.way);
        let back = |what| Frame { way: frame.way.clone(), back: true, what };
        match (frame.what, known, best) {
            (What::Ask, _, Some(_)) => self.tell_peer(node, &back(What::Have)),
            (What::Open(_), None, Some((carrier, max))) if row.ways.carried.len() < WAYS_MAX => {
                row.ways.carried.push(CarriedWay { id: frame.way.clone(), carrier });
                self.carry(slot, carrier, frame, payload);
                self.tell_peer(node, &back(What::Opened(max.saturating_sub(OVERHEAD))));
            }
            (What::Open(_), _, _) => {
                self.tell_peer(node, &back(What::Close("RemoteBusy: there is no connection that could carry it")));
            }
            (What::Publish { .. } | What::Puback(_) | What::Close(_), Some(at), _) => {
                let carrier = row.ways.carried[at].carrier;
                if let What::Close(_) = frame.what {
                    row.ways.carried.swap_remove(at);
                }
                self.carry(slot, carrier, frame, payload);
            }
            (What::Publish { .. } | What::Puback(_), None, _) => {
                self.tell_peer(node, &back(What::Close("ConnectionLost: the connection that carried it is gone")));
            }
            (What::Ask | What::Have | What::Opened(_) | What::Close(_), _, _) => {}
        }
    }

    /// A frame came from the remote: for the end of a way here, or for a peer.
    fn way_from_remote(&mut self, slot: u32, carrier: Conn, payload: &[u8]) {
        let Some(frame) = Frame::decode(payload) else { return };
        let Some(row) = self.link_row_mut(slot) else { return };
        if frame.back {
            let Some(at) = row.ways.carried.iter().position(|c| c.id == frame.way && c.carrier == carrier) else {
                return;
            };
            if let What::Close(_) = frame.what {
                row.ways.carried.swap_remove(at);
            }
            let node: Arc<str> = (&*frame.way.opener).into();
            self.payload_to_peer(&node, payload.into());
            return;
        }
        let known = row.ways.taken.iter().position(|taken| taken.id == frame.way && taken.carrier == carrier);
        match (frame.what, known) {
            (What::Open(max), None) if row.ways.taken.len() < WAYS_MAX => {
                self.connections_made += 1;
                let conn = Conn(self.connections_made);
                if let Some(row) = self.link_row_mut(slot) {
                    row.ways.taken.push(TakenWay { id: frame.way, conn, carrier });
                }
                self.way_stands(slot, conn, Role::AcceptedByWay, max.saturating_sub(OVERHEAD));
            }
            (What::Publish { .. } | What::Puback(_), Some(at)) => {
                let conn = row.ways.taken[at].conn;
                self.arrives(slot, conn, frame.what);
            }
            (What::Close(_), Some(at)) => {
                let conn = row.ways.taken.swap_remove(at).conn;
                self.disconnected(slot, conn);
            }
            (What::Open(_) | What::Publish { .. } | What::Puback(_), _) => {
                let what = What::Close("LinkClosed: there is no such way");
                let frame = Frame { way: frame.way, back: true, what };
                self.carry(slot, carrier, &frame, &frame.encode());
            }
            (What::Ask | What::Have | What::Opened(_) | What::Close(_), _) => {}
        }
    }

    /// What the link in `slot` writes on one of its ways.
    pub(in crate::shard) fn write_on_way(&mut self, slot: u32, conn: Conn, what: What<'_>) {
        let Some(row) = self.link_row_mut(slot) else { return };
        let ends = matches!(what, What::Close(_));
        if let Some(own) = row.ways.own.as_ref().filter(|own| own.conn == Some(conn)) {
            let (peer, frame) = (Arc::clone(&own.peer), Frame { way: own.id.clone(), back: false, what });
            if ends {
                row.ways.own = None;
            }
            self.tell_peer(&peer, &frame);
            return;
        }
        let Some(at) = row.ways.taken.iter().position(|taken| taken.conn == conn) else { return };
        let TakenWay { id, carrier, .. } = &row.ways.taken[at];
        let (carrier, frame) = (*carrier, Frame { way: id.clone(), back: true, what });
        if ends {
            row.ways.taken.swap_remove(at);
        }
        self.carry(slot, carrier, &frame, &frame.encode());
    }

    fn lose_carrier(&mut self, slot: u32, carrier: Conn) {
        let Some(row) = self.link_row_mut(slot) else { return };
        let taken: Vec<_> = row.ways.taken.extract_if(.., |taken| taken.carrier == carrier).collect();
        let carried: Vec<_> = row.ways.carried.extract_if(.., |carried| carried.carrier == carrier).collect();
        taken.iter().for_each(|taken| self.disconnected(slot, taken.conn));
        for CarriedWay { id, .. } in carried {
            let node: Arc<str> = (&*id.opener).into();
            let what = What::Close("ConnectionLost: the connection that carried it is gone");
            self.tell_peer(&node, &Frame { way: id, back: true, what });
        }
    }

    /// A peer can't be reached any more: ways by it have ended, and those that it opened.
    pub(in crate::shard) fn end_ways_of(&mut self, node: &Arc<str>) {
        for slot in self.links.clone() {
            let Some(row) = self.link_row_mut(slot) else { continue };
            let by_it = row.ways.own.as_ref().is_some_and(|own| own.peer == *node);
            let its: Vec<_> = row.ways.carried.extract_if(.., |carried| *carried.id.opener == **node).collect();
            for CarriedWay { id, carrier } in its {
                let what = What::Close("ConnectionLost: the node that opened it can't be reached");
                let frame = Frame { way: id, back: false, what };
                self.carry(slot, carrier, &frame, &frame.encode());
            }
            if by_it {
                self.end_own_way(slot, None);
            }
        }
    }

    /// The way that was opened here ends; `reason` is told to the other end, unless that has ended it.
    fn end_own_way(&mut self, slot: u32, reason: Option<&str>) {
        let Some(own) = self.link_row_mut(slot).and_then(|row| row.ways.own.take()) else { return };
        if let Some(reason) = reason {
            self.tell_peer(&own.peer, &Frame { way: own.id, back: false, what: What::Close(reason) });
        }
        if let Some(conn) = own.conn {
            self.disconnected(slot, conn);
        }
    }

    fn way_stands(&mut self, slot: u32, conn: Conn, role: Role, maximum_packet_size: u32) {
        let now = self.core.now.duration();
        let limits = Limits { receive_maximum: WINDOW, maximum_packet_size, keep_alive: Duration::MAX };
        self.with_link(slot, |link, out| link.connected(out, conn, role, limits, now));
    }

    fn arrives(&mut self, slot: u32, conn: Conn, what: What<'_>) {
        let now = self.core.now.duration();
        self.with_link(slot, |link, out| match what {
            What::Publish { topic, packet_id, payload } => {
                link.received(out, conn, Incoming { topic: topic.as_bytes(), packet_id, payload }, now);
            }
            What::Puback(packet_id) => link.acknowledged(out, conn, packet_id, 0, now),
            What::Ask | What::Have | What::Open(_) | What::Opened(_) | What::Close(_) => {}
        });
    }

    fn disconnected(&mut self, slot: u32, conn: Conn) {
        let now = self.core.now.duration();
        self.with_link(slot, |link, out| link.disconnected(out, conn, now));
    }

    /// Sends a frame on a connection of a link of this shard, as it is.
    fn carry(&mut self, slot: u32, carrier: Conn, frame: &Frame<'_>, payload: &[u8]) {
        let row = self.link_row(slot);
        let known = row.and_then(|row| row.connections.iter().find(|known| known.conn == carrier)).copied();
        if let Some(LinkConn { slot, .. }) = known
            && (frame.must_arrive() || self.has_output_room(slot))
        {
            self.write_link_packet(slot, TOPIC_WAY, None, payload);
        }
    }

    /// Sends a frame to the peer in `slot`; whether it was sent.
    fn write_to_peer(&mut self, slot: u32, payload: &[u8], must_arrive: bool) -> bool {
        let Some(row) = self.link_row(slot) else { return false };
        let Some((conn, max)) = row.link.as_ref().and_then(|link| link.carrier()) else { return false };
        let Some(slot) = row.connections.iter().find(|known| known.conn == conn).map(|known| known.slot) else {
            return false;
        };
        let sent = payload.len() + PUBLISH_MAX <= max as usize && (must_arrive || self.has_output_room(slot));
        if sent {
            self.write_link_packet(slot, TOPIC_WAY, None, payload);
        }
        sent
    }

    fn tell_peer(&self, node: &Arc<str>, frame: &Frame<'_>) {
        self.payload_to_peer(node, frame.encode().into());
    }

    fn payload_to_peer(&self, node: &Arc<str>, payload: Box<[u8]>) {
        let shard = shard_of(node.as_bytes(), self.shared.inboxes.len());
        self.shared.inboxes[shard].send(Control::WayToPeer { node: Arc::clone(node), payload });
    }
}

fn packet_max(mqtt: &api::Mqtt) -> u32 {
    u32::try_from(mqtt.max_packet_size.0).unwrap_or(u32::MAX)
}
