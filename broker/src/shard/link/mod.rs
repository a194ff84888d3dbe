//! Links of a shard: made from the configuration, dialled, ticked, told of what local clients want.

pub(in crate::shard) mod config;
pub(in crate::shard) mod outlet;
pub(in crate::shard) mod packet;
pub(in crate::shard) mod passing;
pub(in crate::shard) mod pressure;
pub(in crate::shard) mod way;

use std::hash::BuildHasher;
use std::sync::Arc;

use tombolo_broker_api as api;

use crate::clock::Millis;
use crate::link::backoff::Dialling;
use crate::link::{Aside, Conn, Forward, Link, Local, Mark};
use crate::router::{Audience, Interest, Kind, Receiver, ReceiverFlags};
use crate::shard::batch::Note;
use crate::shard::deliver::Core;
use crate::shard::link::outlet::LinkOutlet;
use crate::shard::link::passing::Passing;
use crate::shard::link::way::Ways;
use crate::shard::moves::news::{News, Told};
use crate::shard::peer::{GoingBack, PeerRow};
use crate::shard::publication::Publication;
use crate::shard::row::{Role, Row};
use crate::shard::{Control, LinkKey, Shard};

/// Time between two ticks of a link.
const TICK: Millis = Millis(250);

/// A link in the table of its shard, with another cluster or with another node.
pub struct LinkRow {
    /// Which one it is.
    pub key: LinkKey,
    /// The protocol; taken out while it acts.
    pub link: Option<Box<Link>>,
    /// Its connections and their rows.
    pub connections: Vec<LinkConn>,
    /// The shard's list of links with something to do holds it.
    pub dirty: bool,
    /// What it joins this node with.
    pub target: Target,
    /// Which server is next, and after which pause.
    pub dialling: Dialling,
    /// Where dialling stands.
    pub dial: Dial,
    /// How far the log of what local clients want was read.
    pub interest_cursor: u64,
    /// The link was removed: it takes no more, sends what waits, and ends.
    pub draining: Option<Draining>,
    /// What it has given to other nodes of this cluster, and they have not taken yet.
    pub passing: Passing,
    /// Its ways by other nodes, and theirs by this one.
    pub ways: Ways,
}

/// How long a link that was removed goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// It ends at this time at the latest.
    pub until: Millis,
    /// It waits for a remote that is away; otherwise it ends when nothing can be sent.
    pub patient: bool,
}

/// What a link joins this node with.
pub enum Target {
    /// Another cluster, as configured.
    Cluster(Arc<api::Link>),
    /// Another node of this cluster.
    Peer(Box<PeerRow>),
}

/// A connection of a link, by its name and its row.
#[derive(Clone, Copy, Debug)]
pub struct LinkConn {
    /// Its name for the link.
    pub conn: Conn,
    /// Its row.
    pub slot: u32,
}

/// Where dialling stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// Somebody dials.
    UnderWay,
    /// A connection that we dialled stands.
    Stands,
    /// The next try.
    At(Millis),
}

/// "Dial this server for this link, and send what comes of it to this shard."
#[derive(Clone, Debug)]
pub struct DialRequest {
    /// The shard of the link.
    pub shard: u8,
    /// The link.
    pub link: LinkKey,
    /// Index of the server in its list.
    pub server: usize,
}

// === impl LinkRow ===

impl LinkRow {
    /// When the link wants to be ticked.
    pub fn next_tick(&self, now: Millis) -> Millis {
        match self.dial {
            Dial::At(at) if self.wants_to_dial() => (now + TICK).min(at.max(now + Millis(1))),
            Dial::At(_) | Dial::UnderWay | Dial::Stands => now + TICK,
        }
    }

    /// Whether a new connection is for it: not if it was removed, unless it waits for its remote.
    fn takes_connections(&self) -> bool {
        self.draining.is_none_or(|draining| draining.patient)
    }

    fn wants_to_dial(&self) -> bool {
        match &self.target {
            Target::Cluster(config) => config.enabled && config.dial.is_some() && self.takes_connections(),
            Target::Peer(peer) => peer.dials,
        }
    }

    /// The other node, if it is one.
    pub fn peer_mut(&mut self) -> Option<&mut PeerRow> {
        match &mut self.target {
            Target::Cluster(_) => None,
            Target::Peer(peer) => Some(peer),
        }
    }

    /// Who reads with it what is wanted here.
    pub fn audience(&self) -> Audience {
        match self.target {
            Target::Cluster(_) => Audience::Links,
            Target::Peer(_) => Audience::Peers,
        }
    }
}

// === impl Core ===

impl Core {
    /// Gives a publication to a link of this shard; for another node, `shares` are the numbers of its shared subscriptions
    /// of which a member gets it.
    pub fn deliver_to_link(&mut self, receiver: Receiver, shares: &[u32], publication: &mut Publication<'_>) {
        let slot = receiver.slot;
        let now = self.now.duration();
        let Some(Row { role: Role::Link(row), .. }) = self.rows.get_mut(slot as usize) else { return };
        if row.draining.is_some() {
            return self.orphan(receiver, shares, publication);
        }
        let shares_only = receiver.flags.as_member();
        let Some(link) = &mut row.link else {
            // A link that is acting is delivering what its own remote sent, which does not go back there: but for a member
            // of a shared subscription, if there is none here any more.
            if let Some(peer) = row.peer_mut().filter(|_| shares_only) {
                peer.going_back.push(GoingBack {
                    message: publication.kept_for_members(),
                    qos: publication.qos,
                    shares: shares.into(),
                });
            }
            return;
        };
        let Publication { frame, layout, qos, path, shard, passage, .. } = *publication;
        let aside = match row.target {
            Target::Peer(_) => Aside { stamp: passage.stamp, shares, shares_only, origin: passage.origin },
            // Another cluster gets the packet alone: it gives stamps of its own, and knows the message by its place in our
            // lane.
            Target::Cluster(_) => Aside::default(),
        };
        link.forward(&Forward { frame, layout, qos, path, shard, aside }, now);
        self.mark_link_dirty(slot);
    }

    /// Puts a link on the list of those with something to do at the end of the turn.
    pub fn mark_link_dirty(&mut self, slot: u32) {
        if let Some(Row { role: Role::Link(row), .. }) = self.rows.get_mut(slot as usize)
            && !row.dirty
        {
            row.dirty = true;
            self.dirty_links.push(slot);
        }
    }
}

// === impl Shard ===

impl Shard {
    /// Lets a link act; `None` if the row is no link, or it is acting already.
    pub(in crate::shard) fn with_link<T>(
        &mut self,
        slot: u32,
        act: impl FnOnce(&mut Link, &mut LinkOutlet<'_>) -> T,
    ) -> Option<T> {
        let Some(Row { role: Role::Link(row), .. }) = self.core.rows.get_mut(slot as usize) else { return None };
        let mut link = row.link.take()?;
        let result = act(&mut link, &mut LinkOutlet { shard: self, slot });
        if let Some(Row { role: Role::Link(row), .. }) = self.core.rows.get_mut(slot as usize) {
            let going_back = row.peer_mut().map(|peer| std::mem::take(&mut peer.going_back));
            for message in going_back.into_iter().flatten() {
                message.forward(&mut link, self.core.shard, self.core.now.duration());
            }
            let dirty = link.is_dirty();
            row.link = Some(link);
            if dirty {
                self.core.mark_link_dirty(slot);
            }
        }
        self.note_peer(slot);
        self.note_told(slot);
        self.take_heard_ways();
        for mark in std::mem::take(&mut self.marks) {
            self.mark_lanes(&mark);
        }
        Some(result)
    }

    /// How many bytes came on the connections of a link, and when the last did. One that is not read is not silent.
    fn received_on(&self, slot: u32) -> Vec<(Conn, u64, Millis)> {
        let connections = self.link_row(slot).into_iter().flat_map(|row| &row.connections);
        let rows = connections.filter_map(|connection| self.core.rows.get(connection.slot as usize));
        let received = rows.filter_map(|row| match &row.role {
            Role::LinkConnection(role) => {
                Some((role.conn, role.received, if row.paused { self.core.now } else { row.heard }))
            }
            Role::Client(_) | Role::Link(_) => None,
        });
        received.collect()
    }

    /// What time brings to a link, and dialling if it is due.
    pub(in crate::shard) fn tick_link(&mut self, slot: u32) {
        let now = self.core.now;
        let received = self.received_on(slot);
        self.with_link(slot, |link, out| {
            received.iter().for_each(|(conn, bytes, at)| link.note_received(*conn, *bytes, at.duration()));
            link.tick(out, now.duration());
        });
        let draining = self.link_row(slot).and_then(|row| row.draining);
        if draining.is_some_and(|draining| draining.until <= now || self.is_drained(slot, draining.patient)) {
            self.remove_link(slot);
            return;
        }
        self.tick_peer(slot);
        self.tick_ways(slot);
        self.tick_passing(slot);
        let (shard, has_heard_all) = (self.core.shard, self.has_heard_all());
        let Some(row) = self.link_row_mut(slot) else { return };
        if let Dial::At(at) = row.dial
            && at <= now
            && row.wants_to_dial()
        {
            if !has_heard_all && matches!(row.target, Target::Cluster(_)) {
                row.dial = Dial::At(now + TICK);
                return;
            }
            row.dial = Dial::UnderWay;
            let request = DialRequest { shard, link: row.key.clone(), server: row.dialling.server() };
            // With very many links some wait for their turn; at the end of the node nobody answers any more.
            if self.shared.dialler.try_send(request).is_err() {
                self.dial_later(slot);
            }
        }
    }

    /// Dialling for a link has failed.
    pub(in crate::shard) fn dial_failed(&mut self, link: &LinkKey, error: api::LinkError) {
        let Some(slot) = self.link_of(link) else { return };
        if self.link_row(slot).is_none_or(|row| row.dial != Dial::UnderWay) {
            // An earlier row of it dialled, and this one has a connection, or dials again soon.
            return;
        }
        let now = self.core.now;
        match link {
            LinkKey::Cluster(link) => {
                tracing::warn!(%link, reason = error.reason, "The remote of a link could not be reached: {}.", error.message);
            }
            LinkKey::Peer(node) => {
                tracing::warn!(%node, reason = error.reason, "Another node could not be reached: {}.", error.message);
            }
        }
        self.with_link(slot, |link, _| link.failed(error.reason, error.message, now.duration()));
        self.dial_later(slot);
    }

    /// The next try comes after a pause.
    pub(in crate::shard) fn dial_later(&mut self, slot: u32) {
        let now = self.core.now;
        let random = self.ids_hasher.hash_one((now.0, slot));
        if let Some(row) = self.link_row_mut(slot) {
            row.dial = Dial::At(now + Millis::from(row.dialling.failed(random)));
        }
        self.schedule(slot);
    }

    /// A connection that we dialled stands.
    pub(in crate::shard) fn dialled(&mut self, slot: u32) {
        if let Some(row) = self.link_row_mut(slot) {
            row.dial = Dial::Stands;
        }
    }

    /// The handshake over a dialled connection succeeded: pauses begin anew when it breaks.
    pub(in crate::shard) fn dialling_succeeded(&mut self, slot: u32) {
        if let Some(row) = self.link_row_mut(slot) {
            row.dialling.succeeded();
        }
    }

    /// Local clients' filters changed in this turn: links of all shards hear of it at its end.
    pub(in crate::shard) fn tell_links(&mut self) {
        self.interest_changed = true;
    }

    /// Does for the links what waits for the end of a turn.
    pub(in crate::shard) fn end_links_turn(&mut self) {
        if std::mem::take(&mut self.interest_changed) {
            let shards = self.shared.shards_with_links.load(std::sync::atomic::Ordering::Acquire);
            for (shard, inbox) in self.shared.inboxes.iter().enumerate() {
                if shard != usize::from(self.core.shard) && shards & 1 << shard != 0 {
                    inbox.send(Control::InterestChanged);
                }
            }
            self.update_interest();
        }
        let now = self.core.now.duration();
        // The end of a link's turn may bring marks to all of them, and marks bring nothing more.
        for _ in 0..2 {
            let mut dirty = std::mem::take(&mut self.core.dirty_links);
            for slot in dirty.drain(..) {
                if let Some(row) = self.link_row_mut(slot) {
                    row.dirty = false;
                }
                self.with_link(slot, |link, out| {
                    if link.is_dirty() {
                        link.end_of_turn(out, now);
                    }
                });
            }
            if self.core.dirty_links.is_empty() {
                self.core.dirty_links = dirty;
                break;
            }
        }
        if self.interest_changed || !self.core.dirty_links.is_empty() || !self.core.told.is_empty() {
            // What the links did has given them more to do.
            self.ready.nudge();
        }
    }

    /// Tells the links of this shard what local clients want now.
    pub(in crate::shard) fn update_interest(&mut self) {
        for at in 0..self.links.len() {
            let slot = self.links[at];
            self.update_shares(slot);
            let Some(row) = self.link_row(slot) else { continue };
            let audience = row.audience();
            if row.interest_cursor == self.shared.index.interest_end(audience) {
                continue;
            }
            let interest = self.shared.index.interest_since(audience, row.interest_cursor);
            let cursor = match interest {
                Interest::Changes(changes, cursor) => {
                    self.with_link(slot, |link, _| {
                        for (filter, change) in &changes {
                            link.interest_changed(filter, *change);
                        }
                    });
                    cursor
                }
                Interest::Snapshot(filters, cursor) => {
                    self.with_link(slot, |link, _| link.interest_replaced(filters));
                    cursor
                }
            };
            if let Some(row) = self.link_row_mut(slot) {
                row.interest_cursor = cursor;
            }
        }
    }

    /// What this shard routes from now on is routed by a newer version of somebody's interest: all lanes of the node are
    /// to say so, each behind what this shard routed before.
    pub(in crate::shard) fn mark_lanes(&mut self, mark: &Mark) {
        let own = self.core.shard;
        let shards = self.shared.shards_with_links.load(std::sync::atomic::Ordering::Acquire);
        for (to, batch) in self.core.outboxes.iter_mut().enumerate() {
            if to != usize::from(own) && (shards & 1 << to != 0 || !self.peers.is_empty()) {
                batch.note(Note::Mark(mark.clone()));
            }
        }
        self.mark_own_links(own, mark);
    }

    /// A mark of a shard for the lanes of this one, and for sessions that move.
    pub(in crate::shard) fn mark_own_links(&mut self, from: u8, mark: &Mark) {
        let Local { cluster_id, node, .. } = &self.shared.local;
        if mark.cluster == *cluster_id {
            let (origin, about, version) = (Arc::clone(node), Arc::clone(&mark.node), mark.version);
            self.core.told.push(Told::News(News::Mark { origin, shard: from, about, version }));
        }
        for at in 0..self.links.len() {
            let slot = self.links[at];
            self.with_link(slot, |link, _| link.marked(from, mark));
        }
    }

    /// A lane was added to the node: links announce once more by what it routes.
    pub(in crate::shard) fn announce_marks(&mut self) {
        for at in 0..self.links.len() {
            let slot = self.links[at];
            self.with_link(slot, |link, out| link.announce(out));
        }
        if let Some(mark) = self.own_mark.clone() {
            self.mark_lanes(&mark);
        }
    }

    /// The state of a link with another cluster.
    pub(in crate::shard) fn link_status(
        &self,
        slot: u32,
        now: std::time::Duration,
        unix: u64,
    ) -> Option<api::LinkStatus> {
        let row = self.link_row(slot)?;
        match row.target {
            Target::Cluster(_) => row.link.as_ref().map(|link| link.status(now, unix)),
            Target::Peer(_) => None,
        }
    }

    /// Whether nothing waits for a link's remote, or nothing can reach it, for which only a patient one waits.
    pub(in crate::shard) fn is_drained(&self, slot: u32, patient: bool) -> bool {
        let link = self.link_row(slot).and_then(|row| row.link.as_ref());
        let status = link.map(|link| link.status(self.core.now.duration(), 0));
        status.is_none_or(|status| status.spool.messages == 0 || !patient && !status.ready)
    }

    /// The row of a link; one that was removed and still sends is no longer found, unless it waits for its remote.
    pub(in crate::shard) fn link_of(&self, link: &LinkKey) -> Option<u32> {
        let is = |slot: &u32| self.link_row(*slot).is_some_and(|row| row.key == *link && row.takes_connections());
        self.links.iter().copied().find(is)
    }

    /// A link's row.
    pub(in crate::shard) fn link_row(&self, slot: u32) -> Option<&LinkRow> {
        match &self.core.rows.get(slot as usize)?.role {
            Role::Link(row) => Some(row),
            Role::Client(_) | Role::LinkConnection(_) => None,
        }
    }

    /// A link's row.
    pub(in crate::shard) fn link_row_mut(&mut self, slot: u32) -> Option<&mut LinkRow> {
        match &mut self.core.rows.get_mut(slot as usize)?.role {
            Role::Link(row) => Some(row),
            Role::Client(_) | Role::LinkConnection(_) => None,
        }
    }

    /// A link as a receiver in the index.
    pub(in crate::shard) fn link_receiver(&self, slot: u32) -> Receiver {
        let epoch = self.core.rows.get(slot as usize).map_or(0, |row| row.epoch);
        let kind = match self.link_row(slot).map(|row| &row.target) {
            Some(Target::Peer(_)) => Kind::Peer,
            Some(Target::Cluster(_)) | None => Kind::Link,
        };
        let flags = ReceiverFlags::new(kind, 2).with_retain_as_published(true);
        Receiver { slot, epoch, shard: self.core.shard, flags }
    }
}
