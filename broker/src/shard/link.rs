//! Links of a shard: made from the configuration, dialled, ticked, told of what local clients want.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use tombolo_broker_api as api;

use super::batch::Barrier;
use super::deliver::Core;
use super::link_outlet::LinkOutlet;
use super::publication::Publication;
use super::row::{Role, Row};
use super::{Control, Shard};
use crate::clock::Millis;
use crate::link::backoff::Dialling;
use crate::link::{Conn, Forward, Link, Mark};
use crate::router::{Interest, Kind, Receiver, ReceiverFlags};

/// Time between two ticks of a link.
const TICK: Millis = Millis(250);

/// A link in the table of its shard.
pub struct LinkRow {
    /// Its name.
    pub name: Arc<str>,
    /// The protocol; taken out while it acts.
    pub link: Option<Box<Link>>,
    /// Its connections and their rows.
    pub connections: Vec<LinkConn>,
    /// Barriers that shards have not passed yet: how many each waits for.
    pub barriers: HashMap<u64, usize>,
    /// The shard's list of links with something to do holds it.
    pub dirty: bool,
    /// Its configuration.
    pub config: Arc<api::Link>,
    /// Which server is next, and after which pause.
    pub dialling: Dialling,
    /// Where dialling stands.
    pub dial: Dial,
    /// How far the log of what local clients want was read.
    pub interest_cursor: u64,
    /// The link was removed: it takes no more, sends what waits, and ends at this time at the latest.
    pub draining: Option<Millis>,
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
    pub link: Arc<api::Link>,
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

    fn wants_to_dial(&self) -> bool {
        self.config.enabled && self.config.dial.is_some()
    }
}

// === impl Core ===

impl Core {
    /// Gives a publication to a link of this shard.
    pub fn deliver_to_link(&mut self, slot: u32, publication: &mut Publication<'_>) {
        let now = self.now.duration();
        let Some(Row { role: Role::Link(row), .. }) = self.rows.get_mut(slot as usize) else { return };
        if row.draining.is_some() {
            return;
        }
        // A link that is acting is delivering what its own remote sent, which does not go back there.
        let Some(link) = &mut row.link else { return };
        link.forward(&Forward { frame: publication.frame, layout: publication.layout, path: publication.path }, now);
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
    pub(super) fn with_link<T>(
        &mut self,
        slot: u32,
        act: impl FnOnce(&mut Link, &mut LinkOutlet<'_>) -> T,
    ) -> Option<T> {
        let Some(Row { role: Role::Link(row), .. }) = self.core.rows.get_mut(slot as usize) else { return None };
        let mut link = row.link.take()?;
        let result = act(&mut link, &mut LinkOutlet { shard: self, slot });
        if let Some(Row { role: Role::Link(row), .. }) = self.core.rows.get_mut(slot as usize) {
            let dirty = link.is_dirty();
            row.link = Some(link);
            if dirty {
                self.core.mark_link_dirty(slot);
            }
        }
        for mark in std::mem::take(&mut self.marks) {
            self.mark_other_links(slot, &mark);
        }
        Some(result)
    }

    /// What time brings to a link, and dialling if it is due.
    pub(super) fn tick_link(&mut self, slot: u32) {
        let now = self.core.now;
        self.with_link(slot, |link, out| link.tick(out, now.duration()));
        if self.link_row(slot).and_then(|row| row.draining).is_some_and(|until| until <= now || self.is_drained(slot)) {
            self.remove_link(slot);
            return;
        }
        let shard = self.core.shard;
        let Some(row) = self.link_row_mut(slot) else { return };
        if let Dial::At(at) = row.dial
            && at <= now
            && row.wants_to_dial()
        {
            row.dial = Dial::UnderWay;
            let request = DialRequest { shard, link: Arc::clone(&row.config), server: row.dialling.server() };
            // With very many links some wait for their turn; at the end of the node nobody answers any more.
            if self.shared.dialler.try_send(request).is_err() {
                self.dial_later(slot);
            }
        }
    }

    /// Dialling for a link has failed.
    pub(super) fn dial_failed(&mut self, name: &str, error: api::LinkError) {
        let Some(slot) = self.link_named(name) else { return };
        let now = self.core.now;
        tracing::warn!(
            link = name,
            reason = error.reason,
            "The remote of a link could not be reached: {}.",
            error.message
        );
        self.with_link(slot, |link, _| link.failed(error.reason, error.message, now.duration()));
        self.dial_later(slot);
    }

    /// The next try comes after a pause.
    pub(super) fn dial_later(&mut self, slot: u32) {
        let now = self.core.now;
        let random = self.ids_hasher.hash_one((now.0, slot));
        if let Some(row) = self.link_row_mut(slot) {
            row.dial = Dial::At(now + Millis::from(row.dialling.failed(random)));
        }
        self.schedule(slot);
    }

    /// A connection that we dialled stands.
    pub(super) fn dialled(&mut self, slot: u32) {
        if let Some(row) = self.link_row_mut(slot) {
            row.dial = Dial::Stands;
        }
    }

    /// The handshake over a dialled connection succeeded: pauses begin anew when it breaks.
    pub(super) fn dialling_succeeded(&mut self, slot: u32) {
        if let Some(row) = self.link_row_mut(slot) {
            row.dialling.succeeded();
        }
    }

    /// Local clients' filters changed in this turn: links of all shards hear of it at its end.
    pub(super) fn tell_links(&mut self) {
        self.interest_changed = true;
    }

    /// Does for the links what waits for the end of a turn.
    pub(super) fn end_links_turn(&mut self) {
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
        }
    }

    /// Tells the links of this shard what local clients want now.
    pub(super) fn update_interest(&mut self) {
        for at in 0..self.links.len() {
            let slot = self.links[at];
            let Some(row) = self.link_row(slot) else { continue };
            if row.interest_cursor == self.shared.index.interest_end() {
                continue;
            }
            let interest = self.shared.index.interest_since(row.interest_cursor);
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

    /// A link of another shard routes by a newer version of its remote's interest.
    pub(super) fn mark_links(&mut self, mark: &Mark) {
        self.mark_other_links(u32::MAX, mark);
    }

    fn mark_other_links(&mut self, but: u32, mark: &Mark) {
        for at in 0..self.links.len() {
            let slot = self.links[at];
            if slot != but {
                self.with_link(slot, |link, out| link.routed(out, mark));
            }
        }
    }

    /// Tells links which of their barriers all shards have passed.
    pub(super) fn pass_barriers(&mut self) {
        for Barrier { slot, token } in std::mem::take(&mut self.core.barriers_passed) {
            let Some(row) = self.link_row_mut(slot) else { continue };
            let Some(left) = row.barriers.get_mut(&token) else { continue };
            *left -= 1;
            if *left == 0 {
                row.barriers.remove(&token);
                self.with_link(slot, |link, _| link.barrier_passed(token));
            }
        }
    }

    /// The state of a link.
    pub(super) fn link_status(&self, slot: u32, now: std::time::Duration, unix: u64) -> Option<api::LinkStatus> {
        self.link_row(slot)?.link.as_ref().map(|link| link.status(now, unix))
    }

    /// Whether nothing waits for a link's remote, or nothing can reach it.
    pub(super) fn is_drained(&self, slot: u32) -> bool {
        let now = self.core.now.duration();
        self.link_status(slot, now, 0).is_none_or(|status| status.spool.messages == 0 || !status.ready)
    }

    /// The row of a link by its name; one that was removed and still sends is no longer found.
    pub(super) fn link_named(&self, name: &str) -> Option<u32> {
        let named = |slot: &u32| self.link_row(*slot).is_some_and(|row| *row.name == *name && row.draining.is_none());
        self.links.iter().copied().find(named)
    }

    /// A link's row.
    pub(super) fn link_row(&self, slot: u32) -> Option<&LinkRow> {
        match &self.core.rows.get(slot as usize)?.role {
            Role::Link(row) => Some(row),
            Role::Client(_) | Role::LinkConnection(_) => None,
        }
    }

    /// A link's row.
    pub(super) fn link_row_mut(&mut self, slot: u32) -> Option<&mut LinkRow> {
        match &mut self.core.rows.get_mut(slot as usize)?.role {
            Role::Link(row) => Some(row),
            Role::Client(_) | Role::LinkConnection(_) => None,
        }
    }

    /// A link as a receiver in the index.
    pub(super) fn link_receiver(&self, slot: u32) -> Receiver {
        let epoch = self.core.rows.get(slot as usize).map_or(0, |row| row.epoch);
        let flags = ReceiverFlags::new(Kind::Link, 2).with_retain_as_published(true);
        Receiver { slot, epoch, shard: self.core.shard, flags }
    }
}
