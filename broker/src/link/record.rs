//! The records of a batch: messages, marks, and pieces of interest.

use crate::codec::{self, Version as Mqtt, frame, publish};
use crate::router::Path;

use super::marks::{Mark, Version};

/// First byte of a message; bit 0: a path stands before the packet.
pub const MESSAGE: u8 = 0x10;
/// First byte of a message with a path.
pub const MESSAGE_WITH_PATH: u8 = 0x11;
/// First byte of a mark.
const MARK: u8 = 0x20;
/// First byte of a page of a snapshot.
const PAGE: u8 = 0x30;
/// First byte of a delta.
const DELTA: u8 = 0x31;
/// Set in the first byte of a record that a reader may skip if it does not know it.
const MAY_SKIP: u8 = 0x80;

/// A filter that is *not* wanted, though another matches.
const EXCEPT: u8 = 0x01;
/// The entry takes its filter away.
const REMOVED: u8 = 0x80;

/// A record.
#[derive(Debug)]
pub enum Record<'a> {
    /// A message.
    Message {
        /// Clusters passed before the sender.
        path: Path<'a>,
        /// A PUBLISH of version 5.
        frame: &'a [u8],
        /// Its parts.
        layout: publish::Layout,
    },
    /// A mark.
    Mark(Mark),
    /// Part of a snapshot of interest.
    Page(Page<'a>),
    /// A change of interest.
    Delta(Delta<'a>),
    /// Something newer, which may be skipped.
    Unknown,
}

/// Part of a snapshot of interest.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The version that the whole snapshot is.
    pub version: Version,
    /// Its digest.
    pub digest: u64,
    /// Counts pages from 0.
    pub page: u32,
    /// The snapshot is whole with this one.
    pub last: bool,
    /// The filters.
    pub entries: Entries<'a>,
}

/// A change of interest from the version before to this one.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    /// The version after it.
    pub version: Version,
    /// The filters.
    pub entries: Entries<'a>,
}

/// Filters with their options, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

/// One filter of an interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The filter's text, not yet checked.
    pub filter: &'a str,
    /// It is not wanted, though another filter matches.
    pub except: bool,
    /// It is taken away; in a delta only.
    pub removed: bool,
}

/// What cannot be read as records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The batch ends within a record.
    #[error("the batch ends within a record")]
    Truncated,
    /// A record of a kind that must be known.
    #[error("a record is of a kind that must be known, and is not")]
    UnknownKind,
    /// A message that is no PUBLISH.
    #[error("a message is not a PUBLISH: {}", .0.what)]
    Publish(codec::Error),
    /// A name or filter that is not UTF-8, or a path that is none.
    #[error("a name, a filter or a path is not well formed")]
    Text,
}

/// Reads the records of a batch.
#[derive(Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

// === impl Records ===

impl<'a> Records<'a> {
    /// The records of a batch, without its head.
    pub const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next record; nothing at the end. After a fault nothing more can be read.
    pub fn next(&mut self) -> Option<Result<Record<'a>, Fault>> {
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(self.read(*kind))
    }

    fn read(&mut self, kind: u8) -> Result<Record<'a>, Fault> {
        match kind {
            MESSAGE => self.message(Path::EMPTY),
            MESSAGE_WITH_PATH => {
                let len = u16::from_be_bytes(self.array()?);
                let path = Path::parse(self.take(usize::from(len))?).ok_or(Fault::Text)?;
                self.message(path)
            }
            MARK => {
                let mut body = self.body()?;
                let version = body.version()?;
                let (cluster, node) = (body.name()?.into(), body.name()?.into());
                Ok(Record::Mark(Mark { cluster, node, version }))
            }
            PAGE => {
                let mut body = self.body()?;
                let (version, digest) = (body.version()?, u64::from_be_bytes(body.array()?));
                let page = u32::from_be_bytes(body.array()?);
                let [last] = body.array()?;
                Ok(Record::Page(Page { version, digest, page, last: last != 0, entries: Entries { rest: body.rest } }))
            }
            DELTA => {
                let mut body = self.body()?;
                let version = body.version()?;
                Ok(Record::Delta(Delta { version, entries: Entries { rest: body.rest } }))
            }
            MAY_SKIP..=u8::MAX => self.body().map(|_| Record::Unknown),
            0..MAY_SKIP => Err(Fault::UnknownKind),
        }
    }

    fn message(&mut self, path: Path<'a>) -> Result<Record<'a>, Fault> {
        let total = match frame::peek(self.rest, frame::LARGEST).map_err(Fault::Publish)? {
            frame::Peek::Frame { total, .. } => total,
            frame::Peek::Partial => return Err(Fault::Truncated),
        };
        let frame = self.take(total)?;
        let layout = publish::layout(frame, Mqtt::V5).map_err(Fault::Publish)?;
        Ok(Record::Message { path, frame, layout })
    }

    /// The body of a record that bears its length.
    fn body(&mut self) -> Result<Self, Fault> {
        let len = u32::from_be_bytes(self.array()?);
        Ok(Self { rest: self.take(len as usize)? })
    }

    fn version(&mut self) -> Result<Version, Fault> {
        Ok(Version { epoch: u64::from_be_bytes(self.array()?), number: u64::from_be_bytes(self.array()?) })
    }

    fn name(&mut self) -> Result<&'a str, Fault> {
        let [len] = self.array()?;
        std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| Fault::Text)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

// === impl Entries ===

impl<'a> Entries<'a> {
    /// The next filter; nothing at the end.
    pub fn next(&mut self) -> Option<Result<Entry<'a>, Fault>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut reader = Records { rest: self.rest };
        let entry = Self::read(&mut reader);
        self.rest = reader.rest;
        Some(entry)
    }

    fn read(reader: &mut Records<'a>) -> Result<Entry<'a>, Fault> {
        let [options, high, low] = reader.array()?;
        let text = reader.take(usize::from(u16::from_be_bytes([high, low])))?;
        let filter = std::str::from_utf8(text).map_err(|_| Fault::Text)?;
        Ok(Entry { filter, except: options & EXCEPT != 0, removed: options & REMOVED != 0 })
    }
}

// === writing ===

/// Bytes of a mark's record.
pub fn mark_len(mark: &Mark) -> usize {
    1 + 4 + 16 + 2 + mark.cluster.len() + mark.node.len()
}

/// Appends a mark. Names have at most 255 bytes, which the handshake and the configuration see to.
pub fn put_mark(out: &mut Vec<u8>, mark: &Mark) {
    out.push(MARK);
    let at = begin(out);
    put_version(out, mark.version);
    for name in [&mark.cluster, &mark.node] {
        let len = u8::try_from(name.len()).expect("names are at most 255 bytes, checked where they come from");
        out.push(len);
        out.extend_from_slice(name.as_bytes());
    }
    end(out, at);
}

/// Appends the beginning of a page; [`put_entry`] and [`end`] with the returned place follow.
pub fn begin_page(out: &mut Vec<u8>, version: Version, digest: u64, page: u32, last: bool) -> usize {
    out.push(PAGE);
    let at = begin(out);
    put_version(out, version);
    out.extend_from_slice(&digest.to_be_bytes());
    out.extend_from_slice(&page.to_be_bytes());
    out.push(u8::from(last));
    at
}

/// Appends the beginning of a delta; [`put_entry`] and [`end`] with the returned place follow.
pub fn begin_delta(out: &mut Vec<u8>, version: Version) -> usize {
    out.push(DELTA);
    let at = begin(out);
    put_version(out, version);
    at
}

/// Appends a filter to a page or delta.
pub fn put_entry(out: &mut Vec<u8>, entry: Entry<'_>) {
    let options = if entry.except { EXCEPT } else { 0 } | if entry.removed { REMOVED } else { 0 };
    let len = u16::try_from(entry.filter.len()).expect("a filter has at most 65,535 bytes, or it would not parse");
    out.push(options);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(entry.filter.as_bytes());
}

/// Writes the length of the record that began at this place.
pub fn end(out: &mut [u8], at: usize) {
    let len = u32::try_from(out.len() - at - 4).expect("a record is at most a batch");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn begin(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len() - 4
}

fn put_version(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(&version.epoch.to_be_bytes());
    out.extend_from_slice(&version.number.to_be_bytes());
}
