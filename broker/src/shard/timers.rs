//! Deadlines of rows: keep alive, will delay, session expiry, heartbeats of links.
//!
//! A row stands in the set once, at its earliest deadline; what is due is computed when that time comes, so that a
//! packet costs no more than a note of when it came.

use std::collections::BTreeSet;

use super::Shard;
use super::row::{Custody, Role, Row};
use crate::clock::Millis;
use crate::codec::{Reason, ping};
use crate::metrics::Closed;

/// Deadlines of clients are rounded up to this, so that many of them share a wake-up.
const GRAIN: u64 = 500;

/// The earliest deadline of each row that has one, with slot and epoch: never more entries than rows.
#[derive(Default)]
pub struct Timers {
    set: BTreeSet<(Millis, u32, u16)>,
}

// === impl Timers ===

impl Timers {
    /// When the next deadline is.
    pub fn next(&self) -> Option<Millis> {
        self.set.first().map(|(at, _, _)| *at)
    }

    /// Rows that have one.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Forgets a row that is going.
    pub fn remove(&mut self, row: &Row, slot: u32) {
        self.set.remove(&(row.due, slot, row.epoch));
    }

    fn pop_due(&mut self, now: Millis) -> Option<(u32, u16)> {
        let (at, slot, epoch) = *self.set.first()?;
        if at > now {
            return None;
        }
        self.set.pop_first();
        Some((slot, epoch))
    }
}

// === impl Shard ===

impl Shard {
    /// Has a row looked at when its next deadline comes.
    pub(super) fn schedule(&mut self, slot: u32) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let due = due(row, self.core.now);
        // A deadline that moves away is found too early, and put where it belongs then.
        if due < row.due {
            self.timers.set.remove(&(row.due, slot, row.epoch));
            row.due = due;
            self.timers.set.insert((due, slot, row.epoch));
        }
    }

    /// Does what is due.
    pub(super) fn run_timers(&mut self) {
        let now = self.core.now;
        while let Some((slot, epoch)) = self.timers.pop_due(now) {
            let Some(row) = self.core.rows.get_mut(slot as usize) else { continue };
            if row.epoch != epoch {
                continue;
            }
            row.due = Millis::NEVER;
            self.expire(slot, now);
            self.schedule(slot);
        }
    }

    fn expire(&mut self, slot: u32, now: Millis) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        if row.paused {
            // We don't read it: its silence is ours.
            row.heard = now;
        }
        if row.custody != Custody::Own {
            return;
        }
        let heard = row.heard;
        match &mut row.role {
            Role::Client(client) if row.connection.is_some() => {
                if client.keep_alive > 0 && now >= silence_ends(heard, client.keep_alive) {
                    let what = "nothing came for one and a half times the keep alive [MQTT-3.1.2-22]";
                    self.disconnect(slot, Closed::KeepAlive, Reason::KeepAliveTimeout, what);
                }
            }
            Role::Client(client) => {
                if client.ends_at.is_some_and(|at| at <= now) {
                    self.end_session(slot);
                    self.tell_links();
                } else if client.will_at.is_some_and(|at| at <= now) {
                    self.publish_will(slot);
                }
            }
            Role::LinkConnection(connection) if connection.keep_alive > 0 => {
                if now >= silence_ends(heard, connection.keep_alive) {
                    self.close(slot, Closed::KeepAlive);
                } else if connection.dialled {
                    self.append(slot, |out| out.extend_from_slice(&ping::PINGREQ));
                }
            }
            Role::LinkConnection(_) => {}
            Role::Link(_) => self.tick_link(slot),
        }
    }
}

/// When a row wants to be looked at.
fn due(row: &Row, now: Millis) -> Millis {
    if row.custody != Custody::Own {
        return Millis::NEVER;
    }
    let exact = match (&row.role, &row.connection) {
        (Role::Client(client), Some(_)) if client.keep_alive > 0 => silence_ends(row.heard, client.keep_alive),
        (Role::Client(_), Some(_)) => return Millis::NEVER,
        (Role::Client(client), None) => client.offline_due(),
        // Pings at half the keep alive, and the look at the silence with them.
        (Role::LinkConnection(connection), Some(_)) if connection.keep_alive > 0 => {
            now + Millis(u64::from(connection.keep_alive) * 500)
        }
        (Role::LinkConnection(_), _) => return Millis::NEVER,
        (Role::Link(link), _) => return link.next_tick(now),
    };
    if exact == Millis::NEVER { exact } else { Millis(exact.0.next_multiple_of(GRAIN)) }
}

fn silence_ends(heard: Millis, keep_alive: u16) -> Millis {
    heard + Millis(u64::from(keep_alive) * 1500)
}
