//! From a socket to packets: read what is there, hand each whole packet over, keep the incomplete rest.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::Shard;
use super::row::{Connection, Role};
use crate::codec::frame::{self, Peek};
use crate::link;
use crate::metrics::Closed;

/// Bytes that one connection may bring in one turn; also the size of the thread's read buffer.
pub const READ_MAX: usize = 256 << 10;

/// What is to be done with the rest of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on with the next packet.
    Continue,
    /// This packet was not taken: keep it and all behind it until the row is resumed.
    Pause,
    /// The connection is gone.
    Closed,
}

enum Read {
    /// This many bytes are in the buffer, and the socket has no more.
    Some(usize),
    /// The buffer is full; there may be more.
    Full(usize),
    /// The other end closed, after this many bytes.
    End(usize),
}

// === impl Shard ===

impl Shard {
    /// Reads what a connection has and processes it.
    pub(super) fn readable(&mut self, slot: u32) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let is_deaf = row.is_deaf(&self.core.tuning.mqtt);
        let Some(connection) = &mut row.connection else { return };
        if row.paused || is_deaf {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        if connection.need > buffer.len() {
            self.read_large(slot, &mut buffer);
            self.buffer = buffer;
            return;
        }
        let kept = connection.tail.len();
        buffer[..kept].copy_from_slice(&connection.tail);
        connection.tail = Vec::new();
        let read = fill(connection, &mut buffer, kept);
        let (filled, ended) = match read {
            Read::Some(filled) => (filled, false),
            Read::Full(filled) => {
                self.again.push(slot);
                (filled, false)
            }
            Read::End(filled) => (filled, true),
        };
        if filled > kept {
            row.heard = self.core.now;
            row.role.received(filled - kept);
            self.core.counters.bytes_received += (filled - kept) as u64;
        }
        let (used, need) = self.process(slot, &buffer[..filled]);
        self.keep_rest(slot, &buffer[used..filled], need);
        self.buffer = buffer;
        if ended {
            self.lost(slot);
        }
    }

    /// Goes on with a packet that is longer than the read buffer: its bytes gather in `tail`.
    fn read_large(&mut self, slot: u32, buffer: &mut [u8]) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let Some(connection) = &mut row.connection else { return };
        let rest = connection.need - connection.tail.len();
        let room = rest.min(buffer.len());
        let (filled, ended) = match fill(connection, &mut buffer[..room], 0) {
            Read::Some(filled) => (filled, false),
            Read::Full(filled) => {
                self.again.push(slot);
                (filled, false)
            }
            Read::End(filled) => (filled, true),
        };
        if filled > 0 {
            row.heard = self.core.now;
            row.role.received(filled);
            self.core.counters.bytes_received += filled as u64;
        }
        connection.tail.extend_from_slice(&buffer[..filled]);
        if connection.tail.len() == connection.need {
            let whole = std::mem::take(&mut connection.tail);
            connection.need = 0;
            let (used, need) = self.process(slot, &whole);
            self.keep_rest(slot, &whole[used..], need);
        }
        if ended {
            self.lost(slot);
        }
    }

    /// The other end has closed. What it sent before comes first: a row that waits meets the end again when it is resumed.
    fn lost(&mut self, slot: u32) {
        if self.core.rows.get(slot as usize).is_some_and(|row| !row.paused) {
            self.close(slot, Closed::ConnectionLost);
        }
    }

    /// Takes whole packets from the front of `bytes`; gives the bytes used, and the length of the packet that the rest
    /// begins if that is known.
    pub(super) fn process(&mut self, slot: u32, bytes: &[u8]) -> (usize, usize) {
        let mut at = 0;
        let Some(row) = self.core.rows.get(slot as usize) else { return (bytes.len(), 0) };
        let epoch = row.epoch;
        let max = self.packet_max(&row.role);
        while at < bytes.len() {
            match frame::peek(&bytes[at..], max) {
                Ok(Peek::Partial) => return (at, 0),
                Ok(Peek::Frame { total, .. }) if total > bytes.len() - at => return (at, total),
                Ok(Peek::Frame { total, .. }) => {
                    self.core.counters.packets_received += 1;
                    match self.packet(slot, &bytes[at..at + total]) {
                        Next::Continue => at += total,
                        // Its length is told, since it may be longer than the read buffer it must not be copied to.
                        Next::Pause => return (at, total),
                        Next::Closed => return (bytes.len(), 0),
                    }
                }
                Err(error) => {
                    self.refuse_packet(slot, error);
                    return (bytes.len(), 0);
                }
            }
            if self.core.rows.get(slot as usize).is_none_or(|row| row.epoch != epoch || row.connection.is_none()) {
                return (bytes.len(), 0);
            }
        }
        (at, 0)
    }

    fn keep_rest(&mut self, slot: u32, rest: &[u8], need: usize) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let Some(connection) = &mut row.connection else { return };
        if rest.is_empty() {
            return;
        }
        connection.need = need;
        if need > READ_MAX {
            connection.tail.reserve_exact(need);
        }
        connection.tail.extend_from_slice(rest);
    }

    /// Largest packet taken from a row's connection, in bytes.
    fn packet_max(&self, role: &Role) -> usize {
        let configured = self.core.tuning.mqtt.max_packet_size.0 as usize;
        match role {
            Role::Client(_) => configured,
            // A link carries whole packets of clients within its own.
            Role::LinkConnection(_) | Role::Link(_) => configured + link::PACKET_MIN as usize,
        }
    }
}

/// Reads until the socket has no more or the buffer is full.
fn fill(connection: &mut Connection, buffer: &mut [u8], kept: usize) -> Read {
    let Connection { transport, waker, .. } = connection;
    let mut cx = Context::from_waker(waker);
    let mut filled = kept;
    loop {
        if filled == buffer.len() {
            return Read::Full(filled);
        }
        let mut free = ReadBuf::new(&mut buffer[filled..]);
        match Pin::new(&mut *transport).poll_read(&mut cx, &mut free) {
            Poll::Ready(Ok(())) if free.filled().is_empty() => return Read::End(filled),
            Poll::Ready(Ok(())) => filled += free.filled().len(),
            // A reset, or TLS that does not decrypt: the connection is lost either way.
            Poll::Ready(Err(_)) => return Read::End(filled),
            Poll::Pending => return Read::Some(filled),
        }
    }
}
