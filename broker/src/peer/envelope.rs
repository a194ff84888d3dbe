//! Control payloads: whose life speaks to whose, about which client id, in parts where it is long.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Millis;
use crate::digest::digest_under;

use super::wire::{Garbled, Reader, Writer};

/// Bytes of the longest control payload.
pub const PAYLOAD_MAX: usize = 60 * 1024;

/// Bytes of the longest message, put together from its parts.
pub const MESSAGE_MAX: usize = 32 << 20;

/// Messages of which parts are missing that a shard keeps. At the bound the one that waited longest gives way, and is sent
/// again.
const INCOMPLETE_MAX: usize = 64;

/// Bytes of the parts of those messages.
const INCOMPLETE_BYTES_MAX: usize = 32 << 20;

/// After this time without a new part a message is forgotten.
const INCOMPLETE_FOR: Millis = Millis(30_000);

/// Part of a message.
const PART: u8 = 0x40;
/// Set in the kinds of what is said about the directory, and about no client id.
pub const DIRECTORY: u8 = 0x80;
/// Set besides in the kinds of what is said to those who claim.
pub const CLAIMS: u8 = 0x40;

/// Who on a node has to do with a control payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// The shard of this client id: [`super::Moves::control`].
    Client(&'a str),
    /// The node's directory: [`super::Directory::received`].
    Directory,
    /// What this shard claims: [`super::Claims::received`].
    Claims(u8),
}

/// Two lives of two nodes: what one of them says is void in any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// That of the sender.
    pub from: u64,
    /// That of the receiver, as the sender knows it.
    pub to: u64,
}

/// A payload, or the message put together from several.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The kind of the message.
    pub kind: u8,
    /// The client id.
    pub id: &'a str,
    /// The lives.
    pub lives: Lives,
    /// The body.
    pub body: &'a [u8],
}

/// Messages of which parts are missing.
#[derive(Debug, Default)]
pub struct Incomplete {
    messages: VecDeque<Partial>,
    bytes: usize,
}

#[derive(Debug)]
struct Partial {
    from: Arc<str>,
    lives: Lives,
    whole: u64,
    parts: Vec<Option<Box<[u8]>>>,
    missing: usize,
    bytes: usize,
    touched: Millis,
}

/// Who has to do with a payload.
///
/// # Errors
/// It cannot be read.
pub fn address(payload: &[u8]) -> Result<Address<'_>, Garbled> {
    let mut reader = Reader::new(payload);
    let kind = reader.u8()?;
    match (kind & DIRECTORY != 0, kind & CLAIMS != 0) {
        (false, _) => reader.text().map(Address::Client),
        (true, false) => Ok(Address::Directory),
        (true, true) => reader.u8().map(Address::Claims),
    }
}

/// The payloads of a message.
pub fn pack(id: &str, lives: Lives, kind: u8, body: &[u8]) -> Vec<Vec<u8>> {
    let head = 1 + 2 + id.len() + 16;
    if head + body.len() <= PAYLOAD_MAX {
        let mut out = begin(kind, id, lives);
        out.bytes.extend_from_slice(body);
        return vec![out.bytes];
    }
    let mut whole = Vec::with_capacity(1 + body.len());
    whole.push(kind);
    whole.extend_from_slice(body);
    let hash = whole_of(id, &whole);
    // With the longest client id a part is 66,000 bytes long, which a connection between nodes takes too.
    let pieces = whole.chunks(PAYLOAD_MAX.saturating_sub(head + 16).max(256));
    let count = u32::try_from(pieces.len()).expect("a message has fewer than 2^32 parts");
    let part = |(index, piece): (u32, &[u8])| {
        let mut out = begin(PART, id, lives);
        out.u64(hash);
        out.u32(index);
        out.u32(count);
        out.bytes.extend_from_slice(piece);
        out.bytes
    };
    (0..count).zip(pieces).map(part).collect()
}

/// The hash that tells which parts belong together, and whether all of them do.
fn whole_of(id: &str, bytes: &[u8]) -> u64 {
    digest_under(digest_under(0, id.as_bytes()), bytes)
}

fn begin(kind: u8, id: &str, lives: Lives) -> Writer {
    let mut out = Writer::default();
    out.u8(kind);
    out.text(id);
    out.u64(lives.from);
    out.u64(lives.to);
    out
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    /// Reads a payload about a client id.
    ///
    /// # Errors
    /// It is none.
    pub fn read(payload: &'a [u8]) -> Result<Self, Garbled> {
        let mut reader = Reader::new(payload);
        let (kind, id) = (reader.u8()?, reader.text()?);
        let lives = Lives { from: reader.u64()?, to: reader.u64()? };
        Ok(Self { kind, id, lives, body: reader.rest() })
    }

    /// Whether it is part of a message.
    pub const fn is_part(&self) -> bool {
        self.kind == PART
    }
}

// === impl Incomplete ===

impl Incomplete {
    /// Takes a part; the kind and the body of the message, if that was the last that was missing.
    ///
    /// # Errors
    /// It is no part of any message.
    pub fn take(
        &mut self,
        from: &Arc<str>,
        part: &Envelope<'_>,
        now: Millis,
    ) -> Result<Option<(u8, Vec<u8>)>, Garbled> {
        self.forget(|partial| partial.touched + INCOMPLETE_FOR <= now);
        let mut reader = Reader::new(part.body);
        let (whole, index, count) = (reader.u64()?, reader.u32()? as usize, reader.u32()? as usize);
        let bytes = reader.rest();
        if index >= count || count > MESSAGE_MAX / 256 || bytes.is_empty() {
            return Err(Garbled);
        }
        let is_this =
            |p: &Partial| p.whole == whole && p.from == *from && p.lives == part.lives && p.parts.len() == count;
        let mut partial = match self.messages.iter().position(is_this).and_then(|at| self.messages.remove(at)) {
            Some(partial) => partial,
            None => Partial {
                from: from.clone(),
                lives: part.lives,
                whole,
                parts: vec![None; count],
                missing: count,
                bytes: 0,
                touched: now,
            },
        };
        self.bytes -= partial.bytes;
        partial.touched = now;
        let place = partial.parts.get_mut(index).ok_or(Garbled)?;
        if place.is_none() {
            *place = Some(bytes.into());
            partial.bytes += bytes.len();
            partial.missing -= 1;
        }
        if partial.missing == 0 {
            let all: Vec<u8> = partial.parts.iter().flatten().flat_map(|part| part.iter().copied()).collect();
            let (kind, body) = all.split_first().ok_or(Garbled)?;
            return if whole_of(part.id, &all) == whole { Ok(Some((*kind, body.to_vec()))) } else { Err(Garbled) };
        }
        self.bytes += partial.bytes;
        self.messages.push_back(partial);
        while self.messages.len() > INCOMPLETE_MAX || self.bytes > INCOMPLETE_BYTES_MAX {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
        Ok(None)
    }

    /// A node is gone, or lives anew.
    pub fn forget_node(&mut self, node: &str) {
        self.forget(|partial| &*partial.from == node);
    }

    fn forget(&mut self, gone: impl Fn(&Partial) -> bool) {
        self.messages.retain(|partial| !gone(partial));
        self.bytes = self.messages.iter().map(|partial| partial.bytes).sum();
    }
}
