//! The bytes of what nodes tell each other to become level; numbers are big endian.

use super::super::difference::{Entry, Item, ItemState, Wanted};
use super::super::digest::{BUCKETS, CELLS, Digest};
use crate::clock::{Millis, Stamp};
use crate::codec::Version;
use crate::codec::publish::Layout;

/// The first byte of every payload, which tells them from other control messages.
pub const PREFIX: u8 = 0x20;

/// Bytes of a payload at most, if all messages in it are small; a page of one message is as long as that.
pub const PAGE_BYTES: usize = 32 << 10;

/// Entries in a request.
pub const ENTRIES_MAX: usize = 1024;

/// Bytes of a piece of a message that is too large for a page.
pub const PIECE_BYTES: usize = 32 << 10;

/// Bytes of a page besides its records.
const PAGE_HEAD: usize = 2 + 8 + 8 + 8 + 9;

/// Bytes of a record besides frame or topic.
const RECORD_HEAD: usize = 1 + 16 + 8 + 1 + 4;

const DIGEST: u8 = 1;
const ASK_BUCKETS: u8 = 2;
const ASK_CELLS: u8 = 3;
const ASK_DIFFERENCE: u8 = 4;
const ASK_PIECE: u8 = 5;
const BUCKET_SUMS: u8 = 6;
const CELL_SUMS: u8 = 7;
const DIFFERENCE: u8 = 8;
const PIECE: u8 = 9;

const MESSAGE: u8 = 1;
const GONE: u8 = 2;
const LARGE: u8 = 3;

/// What a node wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The sums of all buckets.
    Buckets,
    /// The sums of the cells of one bucket.
    Cells {
        /// Which.
        bucket: u8,
    },
    /// What it lacks.
    Difference(Wanted),
    /// A piece of a large message.
    Piece {
        /// Which message.
        entry: Entry,
        /// Its first byte.
        offset: u32,
    },
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The sums of all buckets.
    Buckets(Vec<u64>),
    /// The sums of the cells of one bucket; none if they are too many to add up.
    Cells {
        /// Which bucket.
        bucket: u8,
        /// The sums.
        sums: Option<Vec<u64>>,
    },
    /// What it lacks of the topics within these hashes.
    Difference {
        /// The first hash that was asked about.
        from: u64,
        /// The last.
        to: u64,
        /// Where to go on; all up to `to` was told if there is none.
        next: Option<u64>,
        /// Messages and tombstones.
        records: Records<'a>,
    },
    /// A piece of a large message.
    Piece(Piece<'a>),
}

/// A piece of a large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Which message.
    pub entry: Entry,
    /// Its first byte.
    pub offset: u32,
    /// Bytes of the whole packet; 0 if the message is not there any more.
    pub total: u32,
    /// The version of the packet.
    pub version: Version,
    /// How long until it expires; `NEVER` if it does not.
    pub left: Millis,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// All that the sender has.
    Digest(Digest),
    /// A request, with a number that its answer repeats.
    Ask(u64, Ask),
    /// The answer to a request.
    Answer(u64, Answer<'a>),
}

/// Messages and tombstones that were not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<'a>(Reader<'a>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message.
    Message {
        /// Its stamp.
        stamp: Stamp,
        /// How long until it expires; `NEVER` if it does not.
        left: Millis,
        /// The version of the packet.
        version: Version,
        /// The PUBLISH packet.
        frame: &'a [u8],
    },
    /// A tombstone.
    Gone {
        /// Its stamp.
        stamp: Stamp,
        /// How long it is remembered.
        left: Millis,
        /// Its topic.
        topic: &'a str,
    },
    /// A message that is to be fetched in pieces.
    Large {
        /// Its topic's hash and stamp.
        entry: Entry,
        /// Bytes of its packet.
        total: u32,
    },
}

/// A payload that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reader<'a>(&'a [u8]);

// === impl Payload ===

impl<'a> Payload<'a> {
    /// Reads a payload. One of a kind that is not known is [`Malformed`], as a node of a later version may send it.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(payload);
        let [prefix, kind] = reader.array()?;
        if prefix != PREFIX {
            return Err(Malformed);
        }
        if kind == DIGEST {
            return Ok(Self::Digest(Digest { sum: reader.u64()?, entries: reader.u64()? }));
        }
        let id = reader.u64()?;
        Ok(match kind {
            ASK_BUCKETS => Self::Ask(id, Ask::Buckets),
            ASK_CELLS => Self::Ask(id, Ask::Cells { bucket: reader.u8()? }),
            ASK_DIFFERENCE => Self::Ask(id, Ask::Difference(reader.wanted()?)),
            ASK_PIECE => Self::Ask(id, Ask::Piece { entry: reader.entry()?, offset: reader.u32()? }),
            BUCKET_SUMS => Self::Answer(id, Answer::Buckets(reader.sums(BUCKETS)?)),
            CELL_SUMS => {
                let bucket = reader.u8()?;
                let sums = if reader.0.is_empty() { None } else { Some(reader.sums(CELLS)?) };
                Self::Answer(id, Answer::Cells { bucket, sums })
            }
            DIFFERENCE => {
                let (from, to) = (reader.u64()?, reader.u64()?);
                let next = match (reader.u8()?, reader.u64()?) {
                    (0, _) => None,
                    (_, next) => Some(next),
                };
                Self::Answer(id, Answer::Difference { from, to, next, records: Records(reader) })
            }
            PIECE => {
                let (entry, offset, total) = (reader.entry()?, reader.u32()?, reader.u32()?);
                let (version, left) = (reader.version()?, Millis(reader.u64()?));
                Self::Answer(id, Answer::Piece(Piece { entry, offset, total, version, left, bytes: reader.0 }))
            }
            _ => return Err(Malformed),
        })
    }
}

// === impl Records ===

impl<'a> Records<'a> {
    /// The next record; nothing at the end.
    pub fn next(&mut self) -> Option<Result<Record<'a>, Malformed>> {
        (!self.0.0.is_empty()).then(|| self.0.record())
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn record(&mut self) -> Result<Record<'a>, Malformed> {
        Ok(match self.u8()? {
            MESSAGE => {
                let (stamp, left, version) = (self.stamp()?, Millis(self.u64()?), self.version()?);
                let len = self.u32()?;
                Record::Message { stamp, left, version, frame: self.take(len as usize)? }
            }
            GONE => {
                let (stamp, left) = (self.stamp()?, Millis(self.u64()?));
                let len = u16::from_be_bytes(self.array()?);
                let topic = std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| Malformed)?;
                Record::Gone { stamp, left, topic }
            }
            LARGE => Record::Large { entry: self.entry()?, total: self.u32()? },
            _ => return Err(Malformed),
        })
    }

    fn wanted(&mut self) -> Result<Wanted, Malformed> {
        let (from, to) = (self.u64()?, self.u64()?);
        let [known_only] = self.array()?;
        let (oldest_tombstone, age_min) = (self.stamp()?, Millis(u64::from(self.u32()?)));
        let mut entries = Vec::with_capacity(self.0.len() / 24);
        while !self.0.is_empty() {
            entries.push(self.entry()?);
        }
        // They are looked up by halves.
        entries.sort_unstable();
        let wanted = Wanted { from, to, known_only: known_only != 0, oldest_tombstone, age_min, entries };
        if from <= to { Ok(wanted) } else { Err(Malformed) }
    }

    fn sums(&mut self, count: usize) -> Result<Vec<u64>, Malformed> {
        (0..count).map(|_| self.u64()).collect()
    }

    fn version(&mut self) -> Result<Version, Malformed> {
        match self.u8()? {
            4 => Ok(Version::V4),
            5 => Ok(Version::V5),
            _ => Err(Malformed),
        }
    }

    fn entry(&mut self) -> Result<Entry, Malformed> {
        Ok(Entry { hash: self.u64()?, stamp: self.stamp()? })
    }

    fn stamp(&mut self) -> Result<Stamp, Malformed> {
        Ok(Stamp { time: self.u64()?, node: self.u64()? })
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

// === writing ===

/// What the sender has.
pub fn digest(digest: Digest) -> Vec<u8> {
    let mut out = vec![PREFIX, DIGEST];
    out.extend_from_slice(&digest.sum.to_be_bytes());
    out.extend_from_slice(&digest.entries.to_be_bytes());
    out
}

/// A request.
pub fn ask(id: u64, ask: &Ask) -> Vec<u8> {
    match ask {
        Ask::Buckets => begin(ASK_BUCKETS, id),
        Ask::Cells { bucket } => {
            let mut out = begin(ASK_CELLS, id);
            out.push(*bucket);
            out
        }
        Ask::Difference(wanted) => {
            let mut out = begin(ASK_DIFFERENCE, id);
            out.extend_from_slice(&wanted.from.to_be_bytes());
            out.extend_from_slice(&wanted.to.to_be_bytes());
            out.push(u8::from(wanted.known_only));
            put_stamp(&mut out, wanted.oldest_tombstone);
            out.extend_from_slice(&u32::try_from(wanted.age_min.0).unwrap_or(u32::MAX).to_be_bytes());
            wanted.entries.iter().for_each(|entry| put_entry(&mut out, *entry));
            out
        }
        Ask::Piece { entry, offset } => {
            let mut out = begin(ASK_PIECE, id);
            put_entry(&mut out, *entry);
            out.extend_from_slice(&offset.to_be_bytes());
            out
        }
    }
}

/// The sums of all buckets.
pub fn buckets(id: u64, sums: &[u64; BUCKETS]) -> Vec<u8> {
    let mut out = begin(BUCKET_SUMS, id);
    sums.iter().for_each(|sum| out.extend_from_slice(&sum.to_be_bytes()));
    out
}

/// The sums of the cells of a bucket.
pub fn cells(id: u64, bucket: u8, sums: Option<&[u64; CELLS]>) -> Vec<u8> {
    let mut out = begin(CELL_SUMS, id);
    out.push(bucket);
    sums.into_iter().flatten().for_each(|sum| out.extend_from_slice(&sum.to_be_bytes()));
    out
}

/// A page of what the other node lacks, none of it larger than [`size_of`] says.
pub fn difference(id: u64, wanted: &Wanted, next: Option<u64>, items: &[Item], now: Millis) -> Vec<u8> {
    let mut out = begin(DIFFERENCE, id);
    out.extend_from_slice(&wanted.from.to_be_bytes());
    out.extend_from_slice(&wanted.to.to_be_bytes());
    out.push(u8::from(next.is_some()));
    out.extend_from_slice(&next.unwrap_or(0).to_be_bytes());
    for item in items {
        put_item(&mut out, item, now);
    }
    out
}

/// A piece of a large message.
pub fn piece(id: u64, piece: &Piece<'_>) -> Vec<u8> {
    let mut out = begin(PIECE, id);
    put_entry(&mut out, piece.entry);
    out.extend_from_slice(&piece.offset.to_be_bytes());
    out.extend_from_slice(&piece.total.to_be_bytes());
    out.push(byte_of(piece.version));
    out.extend_from_slice(&piece.left.0.to_be_bytes());
    out.extend_from_slice(piece.bytes);
    out
}

/// Bytes that an item takes in a page.
pub fn size_of(item: &Item) -> usize {
    match &item.state {
        ItemState::Message(message) if is_large(message.layout()) => RECORD_HEAD,
        ItemState::Message(message) => RECORD_HEAD + message.frame().len(),
        ItemState::Gone { .. } => RECORD_HEAD + item.topic.len(),
    }
}

/// Bytes of records that fit into a page.
pub const fn page_room() -> usize {
    PAGE_BYTES - PAGE_HEAD
}

fn is_large(layout: Layout) -> bool {
    RECORD_HEAD + layout.total() > page_room()
}

fn put_item(out: &mut Vec<u8>, item: &Item, now: Millis) {
    match &item.state {
        ItemState::Message(message) if is_large(message.layout()) => {
            out.push(LARGE);
            put_entry(out, item.entry);
            out.extend_from_slice(&len_of(message.frame()).to_be_bytes());
        }
        ItemState::Message(message) => {
            out.push(MESSAGE);
            put_stamp(out, item.entry.stamp);
            let left = message.expires_at().map_or(Millis::NEVER, |at| at.since(now));
            out.extend_from_slice(&left.0.to_be_bytes());
            out.push(byte_of(message.layout().version()));
            out.extend_from_slice(&len_of(message.frame()).to_be_bytes());
            out.extend_from_slice(message.frame());
        }
        ItemState::Gone { left } => {
            out.push(GONE);
            put_stamp(out, item.entry.stamp);
            out.extend_from_slice(&left.0.to_be_bytes());
            let len = u16::try_from(item.topic.len()).expect("a topic was read from a packet, where it has two bytes");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(item.topic.as_bytes());
        }
    }
}

/// Bytes of a packet.
pub fn len_of(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).expect("a packet is at most 268,435,460 bytes long")
}

fn begin(kind: u8, id: u64) -> Vec<u8> {
    let mut out = vec![PREFIX, kind];
    out.extend_from_slice(&id.to_be_bytes());
    out
}

fn put_entry(out: &mut Vec<u8>, entry: Entry) {
    out.extend_from_slice(&entry.hash.to_be_bytes());
    put_stamp(out, entry.stamp);
}

fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    out.extend_from_slice(&stamp.time.to_be_bytes());
    out.extend_from_slice(&stamp.node.to_be_bytes());
}

fn byte_of(version: Version) -> u8 {
    match version {
        Version::V4 => 4,
        Version::V5 => 5,
    }
}
