//! From outputs to sockets: once a turn for each row that has something to say.

use std::task::Context;

use super::Shard;
use super::deliver::Core;
use super::output::Flushed;
use super::row::Role;
use crate::metrics::Closed;

// === impl Core ===

impl Core {
    /// Writes what the socket takes. A connection that fails is found dead by its next read, which is due at once.
    pub fn flush(&mut self, slot: u32) {
        let Some(row) = self.rows.get_mut(slot as usize) else { return };
        let Some(connection) = &mut row.connection else { return };
        let before = row.output.len();
        let mut cx = Context::from_waker(&connection.waker);
        match row.output.flush(&mut connection.transport, &mut cx, &mut self.pool) {
            Ok(flushed) => row.blocked = flushed == Flushed::Blocked,
            Err(_) => {
                row.output = super::output::Output::default();
                row.broken = true;
                connection.waker.wake_by_ref();
            }
        }
        self.counters.bytes_sent += before.saturating_sub(row.output.len()) as u64;
    }
}

// === impl Shard ===

impl Shard {
    /// Writes every dirty row once.
    pub(super) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.core.dirty);
        for slot in dirty.drain(..) {
            let Some(row) = self.core.rows.get_mut(slot as usize) else { continue };
            row.dirty = false;
            if row.blocked {
                continue;
            }
            self.core.flush(slot);
            let row = self.core.rows.get(slot as usize);
            if row.is_some_and(|row| !row.blocked && row.flow.as_ref().is_some_and(|flow| !flow.queue.is_empty())) {
                // What a full output kept waiting; written in the next turn.
                self.core.pump(slot);
            }
        }
        if self.core.dirty.is_empty() {
            self.core.dirty = dirty;
        }
    }

    /// The socket of a row takes more again.
    pub(super) fn unblock(&mut self, slot: u32) {
        self.core.flush(slot);
        let Some(row) = self.core.rows.get(slot as usize) else { return };
        if row.blocked {
            return;
        }
        match &row.role {
            Role::Client(_) => self.core.pump(slot),
            Role::LinkConnection(connection) => {
                let (link, conn) = (connection.link, connection.conn);
                self.with_link(link, |link, _| link.writable(conn));
            }
            Role::Link(_) => {}
        }
    }

    /// Closes a row whose socket failed while it was written.
    pub(super) fn bury(&mut self, slot: u32) -> bool {
        let broken = self.core.rows.get(slot as usize).is_some_and(|row| row.broken);
        if broken {
            self.close(slot, Closed::ConnectionLost);
        }
        broken
    }

    /// Stops reading a row until others have room.
    pub(super) fn pause(&mut self, slot: u32) {
        if let Some(row) = self.core.rows.get_mut(slot as usize)
            && !row.paused
        {
            row.paused = true;
            self.paused.push(slot);
        }
    }

    /// Reads again from all rows that waited.
    pub(super) fn resume_paused(&mut self) {
        for slot in std::mem::take(&mut self.paused) {
            if let Some(row) = self.core.rows.get_mut(slot as usize) {
                row.paused = false;
                self.again.push(slot);
            }
        }
    }
}
