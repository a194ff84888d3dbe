//! Sessions that move between nodes: the shard around `peer::Moves`.

pub(in crate::shard) mod forwarded;
pub(in crate::shard) mod news;
pub(in crate::shard) mod outlet;
pub(in crate::shard) mod parked;
pub(in crate::shard) mod stake;

use std::sync::Arc;

use crate::clock::Millis;
use crate::codec::Qos;
use crate::message::Delivery;
use crate::metrics::Dropped;
use crate::peer::{self, Address, Claims, Moves, Pending, Settings, Stats};
use crate::session::Limits;
use crate::shard::evacuate;
use crate::shard::link::LinkRow;
use crate::shard::moves::outlet::MovesOutlet;
use crate::shard::peer::debt;
use crate::shard::row::{Custody, Row};
use crate::shard::{Control, LinkKey, Shard, Tuning, shard_of};
use crate::store::Change;
use crate::tls;

// === impl Shard ===

impl Shard {
    /// Lets sessions move, after all that came before; `None` while they are doing so.
    pub(in crate::shard) fn with_moves<T>(
        &mut self,
        act: impl FnOnce(&mut Moves, &mut MovesOutlet<'_>, Millis) -> T,
    ) -> Option<T> {
        self.take_told();
        self.act_moves(act)
    }

    /// The same for what gathered itself.
    pub(in crate::shard) fn act_moves<T>(
        &mut self,
        act: impl FnOnce(&mut Moves, &mut MovesOutlet<'_>, Millis) -> T,
    ) -> Option<T> {
        let mut moves = self.moves.take()?;
        let now = self.core.now;
        let result = act(&mut moves, &mut MovesOutlet { shard: self }, now);
        self.moves = Some(moves);
        Some(result)
    }

    /// The nodes of the configuration, this one excepted. One that has left it and is connected goes with its row, which says
    /// so behind all else that it says (`News::Gone`).
    pub(in crate::shard) fn list_nodes(&mut self, others: &[Arc<str>]) {
        // First those that are new: something may have been told of them already.
        for node in others {
            self.act_moves(|moves, _, _| moves.node_added(Arc::clone(node)));
        }
        self.nodes = others.to_vec();
        self.nodes_listed = true;
        self.resume_paused();
        self.answer_settled();
        if self.claims.is_none() && !self.nodes.is_empty() {
            self.begin_claims();
        }
        self.take_told();
        let away = self.moves.iter().flat_map(|moves| moves.unreachable());
        let gone: Vec<Arc<str>> = away.filter(|node| !others.contains(node)).collect();
        gone.iter().for_each(|node| self.forget_node(node));
    }

    /// A node has left the list, and its row is gone.
    pub(in crate::shard) fn forget_node(&mut self, node: &Arc<str>) {
        if let Some(claims) = &mut self.claims {
            claims.node_removed(node);
        }
        self.act_moves(|moves, out, now| moves.node_removed(out, node, now));
        self.shared.evacuation.hear(node, false, self.core.now);
    }

    /// A node that is no longer alone tells the others which persistent sessions it has.
    fn begin_claims(&mut self) {
        let life = self.shared.local.incarnation;
        let mut claims = Box::new(Claims::new(self.core.shard, life, u64::from_be_bytes(tls::random())));
        for (_, row) in &self.core.rows {
            if let Some(client) = row.client().filter(|_| is_claimed(row)) {
                claims.set(&client.id, true);
            }
        }
        self.claims = Some(claims);
    }

    /// Whether the session of a row is claimed has changed, perhaps.
    pub(in crate::shard) fn note_claim(&mut self, slot: u32) {
        if let Some(claims) = &mut self.claims
            && let Some(row) = self.core.rows.get(slot as usize)
            && let Some(client) = row.client()
        {
            claims.set(&client.id, is_claimed(row));
        }
    }

    /// What the end of a turn, or time, brings to sessions that move.
    pub(in crate::shard) fn end_moves_turn(&mut self) {
        self.take_told();
        self.act_moves(|moves, out, now| moves.turn(out, now));
        self.take_told();
        if let Some(mut claims) = self.claims.take() {
            let now = self.core.now;
            claims.turn(|node, payload| self.say_to(node, payload), now);
            self.claims = Some(claims);
        }
    }

    /// When sessions that move have something to do, if nothing happens before.
    pub(in crate::shard) fn moves_due(&self) -> Option<Millis> {
        let moves = self.moves.as_ref().map(|moves| moves.due());
        let claims = self.claims.as_ref().map(|claims| claims.due());
        [moves, claims].into_iter().flatten().min().filter(|due| *due != Millis::NEVER)
    }

    /// Other settings for sessions that move.
    pub(in crate::shard) fn retune_moves(&mut self) {
        let settings = settings(&self.core.tuning);
        self.with_moves(|moves, _, _| moves.configure(settings));
    }

    /// Sends a control payload to another node. False: it could not be; it is said again later.
    pub(in crate::shard) fn say_to(&mut self, node: &Arc<str>, payload: &[u8]) -> bool {
        let home = shard_of(node.as_bytes(), self.shared.inboxes.len());
        if home != usize::from(self.core.shard) {
            self.shared.inboxes[home].send(Control::Say { node: Arc::clone(node), payload: payload.into() });
            return true;
        }
        let Some(slot) = self.link_of(&LinkKey::Peer(Arc::clone(node))) else { return false };
        self.with_link(slot, |link, out| link.control(out, payload)).unwrap_or(false)
    }

    /// Gives a control payload of a peer to whom it concerns.
    pub(in crate::shard) fn pass_said(&mut self, slot: u32, payload: Box<[u8]>) {
        let Some(node) = self.link_row_mut(slot).and_then(LinkRow::peer_mut).map(|peer| Arc::clone(&peer.node)) else {
            return;
        };
        let shards = self.shared.inboxes.len();
        match payload.first() {
            Some(&evacuate::PREFIX) => return self.hear_leaving(&node, &payload),
            Some(&debt::PREFIX) => return self.hear_debts(slot, &payload),
            Some(_) | None => {}
        }
        let home = match peer::address(&payload) {
            Ok(Address::Client(id)) => shard_of(id.as_bytes(), shards),
            Ok(Address::Claims(shard)) => usize::from(shard),
            Ok(Address::Directory) => {
                // What can't be read is of a newer version, or damaged: it is said again, or never understood.
                let answer = self.shared.directory_mut().received(&node, &payload);
                if let Ok(Some(answer)) = answer {
                    self.say_to(&node, &answer);
                }
                return;
            }
            Err(_) => return,
        };
        if home == usize::from(self.core.shard) {
            self.hear(&node, &payload);
        } else if let Some(inbox) = self.shared.inboxes.get(home) {
            inbox.send(Control::Said { node, payload });
        }
    }

    /// Takes a control payload of another node that is for this shard.
    pub(in crate::shard) fn hear(&mut self, node: &Arc<str>, payload: &[u8]) {
        match peer::address(payload) {
            Ok(Address::Client(_)) => {
                self.with_moves(|moves, out, now| moves.control(out, node, payload, now));
            }
            Ok(Address::Claims(_)) => {
                let now = self.core.now;
                if let Some(claims) = &mut self.claims {
                    // As above: what can't be read is answered by what is said next.
                    let _ = claims.received(node, payload, now);
                }
            }
            Ok(Address::Directory) | Err(_) => {}
        }
    }

    /// Appends a message to a session's queue and sends what may be sent. `admitted`: another node's queue had room for it,
    /// so it is not bounded again.
    pub(in crate::shard) fn append_delivery(&mut self, slot: u32, delivery: Delivery, admitted: bool) {
        let limits = self.queue_limits();
        let core = &mut self.core;
        let Some(row) = core.rows.get_mut(slot as usize) else { return };
        if delivery.qos == Qos::AtMostOnce && row.connection.is_none() {
            return;
        }
        let queue = &mut row.flow.get_or_insert_default().queue;
        if admitted {
            queue.admit(delivery);
        } else if queue.push(delivery, limits).is_err() {
            return core.counters.drop_message(Dropped::QueueFull);
        }
        if row.persistent
            && let (Some(delivery), Some(client)) = (queue.back(), row.role.client())
        {
            core.store.write(Change::Queued { client_id: &client.id, delivery });
        }
        core.pump(slot);
    }

    /// The bounds of a session's queue.
    pub(in crate::shard) fn queue_limits(&self) -> Limits {
        let mqtt = &self.core.tuning.mqtt;
        Limits { messages: mqtt.max_queued_messages as usize, bytes: mqtt.max_queued_bytes.0 as usize }
    }

    /// How much moves, for status.
    pub(in crate::shard) fn moves_report(&self) -> (Pending, Stats) {
        self.moves.as_ref().map(|moves| (moves.pending(), *moves.stats())).unwrap_or_default()
    }
}

/// What is set for sessions that move.
pub(in crate::shard) fn settings(tuning: &Tuning) -> Settings {
    Settings {
        when_home_down: tuning.cluster.when_home_down,
        keep: Millis::from(tuning.cluster.max_outbox_age),
        ..Settings::default()
    }
}

/// Whether other nodes are told that the session of a row is here.
fn is_claimed(row: &Row) -> bool {
    let ours = match row.custody {
        Custody::Own | Custody::Replaced | Custody::Frozen => true,
        Custody::Given => false,
    };
    ours && row.client().is_some_and(|client| client.is_persistent())
}
