//! Bytes on their way to one connection: small frames copied, large payloads shared, all written once a turn.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::message::Message;

/// Payloads of this size and above are shared between receivers instead of copied.
pub const SHARE_FROM: usize = 8 << 10;
/// Output of one connection that is written without waiting for the end of the turn, so that buffers stay in cache.
pub const FLUSH_AT: usize = 64 << 10;
/// Buffers above this are given back to the allocator; at least twice `FLUSH_AT`, or busy buffers would be.
const POOLED_MAX: usize = 128 << 10;
/// Capacity of a new buffer.
const NEW: usize = 1 << 10;
/// Memory of the buffers that a shard keeps: a fan-out to some thousands at once takes its buffers from here.
const POOL_BYTES_MAX: usize = 16 << 20;
/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

/// What waits to be written to one connection.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// How much of `bytes` is written.
    written: usize,
    shares: Option<Box<Shares>>,
}

#[derive(Default)]
struct Shares {
    /// In ascending order of `at`.
    queue: VecDeque<Share>,
    bytes: usize,
}

/// A payload that stands before byte `at` of the output.
struct Share {
    at: usize,
    message: Arc<Message>,
    /// First byte of the message's frame that is not written yet.
    from: usize,
}

/// Empty buffers that a shard's connections take turns with.
#[derive(Default)]
pub struct Pool {
    buffers: Vec<Vec<u8>>,
    /// Their capacities together.
    bytes: usize,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All is written.
    All,
    /// The socket takes no more for now; the waker is registered.
    Blocked,
}

// === impl Output ===

impl Output {
    /// Where encoders append; takes a buffer from the pool when there is none.
    #[inline]
    pub fn buffer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        }
        &mut self.bytes
    }

    /// Appends the payload of `message` without copying it; what is encoded next stands behind it.
    pub fn share_payload(&mut self, message: Arc<Message>) {
        let from = message.layout().payload_at();
        let length = message.frame().len() - from;
        let shares = self.shares.get_or_insert_default();
        shares.bytes += length;
        shares.queue.push_back(Share { at: self.bytes.len(), message, from });
    }

    /// Bytes that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written + self.shares.as_ref().map_or(0, |shares| shares.bytes)
    }

    /// Nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What waits, to be written by a connection's last task: nothing if it is more than such a task may hold.
    pub fn into_last(self) -> Option<Vec<u8>> {
        (self.shares.is_none() && self.len() <= FLUSH_AT).then(|| self.bytes[self.written..].to_vec())
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// Those of the socket; the connection is of no more use then.
    pub fn flush<W: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut W,
        cx: &mut Context<'_>,
        pool: &mut Pool,
    ) -> io::Result<Flushed> {
        while !self.is_empty() {
            let written = if self.shares.is_some() {
                self.write_shares(socket, cx)
            } else {
                Pin::new(&mut *socket).poll_write(cx, &self.bytes[self.written..])
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.advance(count),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.compact();
                    return Ok(Flushed::Blocked);
                }
            }
        }
        self.written = 0;
        self.bytes.clear();
        self.shares = None;
        pool.give(std::mem::take(&mut self.bytes));
        match Pin::new(socket).poll_flush(cx) {
            Poll::Ready(result) => result.map(|()| Flushed::All),
            // TLS records that are encrypted but not sent; the next wake comes back here.
            Poll::Pending => Ok(Flushed::Blocked),
        }
    }

    fn write_shares<W: AsyncWrite + Unpin>(&self, socket: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        let mut at = self.written;
        for share in self.shares.iter().flat_map(|shares| &shares.queue) {
            if count + 2 > SLICES_MAX {
                break;
            }
            if share.at > at {
                slices[count] = IoSlice::new(&self.bytes[at..share.at]);
                count += 1;
                at = share.at;
            }
            slices[count] = IoSlice::new(&share.message.frame()[share.from..]);
            count += 1;
        }
        let all = self.shares.as_ref().is_none_or(|shares| shares.queue.back().is_none_or(|last| last.at <= at));
        if all && count < SLICES_MAX && self.bytes.len() > at {
            slices[count] = IoSlice::new(&self.bytes[at..]);
            count += 1;
        }
        Pin::new(socket).poll_write_vectored(cx, &slices[..count])
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(shares) = &mut self.shares {
            let Some(share) = shares.queue.front_mut() else {
                self.shares = None;
                break;
            };
            let before = count.min(share.at - self.written);
            self.written += before;
            count -= before;
            if count == 0 {
                return;
            }
            let rest = share.message.frame().len() - share.from;
            let taken = count.min(rest);
            share.from += taken;
            shares.bytes -= taken;
            count -= taken;
            if taken < rest {
                return;
            }
            shares.queue.pop_front();
        }
        self.written += count;
    }

    /// Moves the rest down once more than half is written, so that a slow reader's buffer doesn't grow for ever.
    fn compact(&mut self) {
        if self.written * 2 <= self.bytes.len() {
            return;
        }
        self.bytes.drain(..self.written);
        for share in self.shares.iter_mut().flat_map(|shares| &mut shares.queue) {
            share.at -= self.written;
        }
        self.written = 0;
    }
}

// === impl Pool ===

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.buffers.pop() else { return Vec::with_capacity(NEW) };
        self.bytes -= buffer.capacity();
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if (1..=POOLED_MAX).contains(&capacity) && self.bytes + capacity <= POOL_BYTES_MAX {
            buffer.clear();
            self.bytes += capacity;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_a_wide_fan_out_are_used_again() {
        let mut pool = Pool::default();
        (0..2000).for_each(|_| pool.give(Vec::with_capacity(4 * NEW)));
        assert!((0..2000).all(|_| pool.take().capacity() == 4 * NEW));
        assert_eq!((pool.bytes, pool.take().capacity()), (0, NEW));
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_bytes_and_no_large_buffer() {
        let mut pool = Pool::default();
        pool.give(Vec::with_capacity(POOLED_MAX + 1));
        pool.give(Vec::new());
        assert!(pool.buffers.is_empty());
        (0..1000).for_each(|_| pool.give(Vec::with_capacity(POOLED_MAX)));
        assert_eq!((pool.buffers.len() * POOLED_MAX, pool.bytes), (POOL_BYTES_MAX, POOL_BYTES_MAX));
    }
}
