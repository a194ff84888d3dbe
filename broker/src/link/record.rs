//! The records of a batch: messages, marks, and pieces of interest.

use crate::clock::Stamp;
use crate::codec::{self, Version as Mqtt, frame, publish};
use crate::router::Path;

use super::aside::{self, Aside, AsideBytes};
use super::marks::{Mark, Version};
use super::origin::{Origin, Place};
use super::settings::SHARDS_MAX;

/// First byte of a message, with the bits of what stands before the packet.
const MESSAGE: u8 = 0x10;
/// The last of these.
const MESSAGE_LAST: u8 = 0x1f;
/// First byte of a mark.
const MARK: u8 = 0x20;
/// First byte of the shard that routed what follows.
const SHARD: u8 = 0x21;
/// First byte of the lane, and the batch in it, that the next message came from.
const ORIGIN: u8 = 0x22;
/// First byte of the next message's number in that batch, where the batch is that of the last origin.
const ORIGIN_NEXT: u8 = 0x23;
/// First byte of a page of a snapshot.
const PAGE: u8 = 0x30;
/// First byte of a delta.
const DELTA: u8 = 0x31;
/// Set in the first byte of a record that a reader may skip if it does not know it.
const MAY_SKIP: u8 = 0x80;

/// A filter that is *not* wanted, though another matches.
const EXCEPT: u8 = 0x01;
/// A shared subscription: its number, members and group follow the filter.
const SHARED: u8 = 0x02;
/// The entry takes its filter, or shared subscription, away.
const REMOVED: u8 = 0x80;

/// A record.
#[derive(Debug)]
pub enum Record<'a> {
    /// A message.
    Message {
        /// Clusters passed before the sender.
        path: Path<'a>,
        /// What the sender says besides.
        aside: AsideBytes<'a>,
        /// A PUBLISH of version 5.
        frame: &'a [u8],
        /// Its parts.
        layout: publish::Layout,
    },
    /// A mark.
    Mark(Mark),
    /// The shard that routed the messages and marks that follow in this batch.
    Shard(u8),
    /// Where the next message came from: a lane of another cluster's node.
    Origin {
        /// The cluster's id.
        cluster: &'a str,
        /// Its node.
        node: &'a str,
        /// The life of the lane.
        life: u64,
        /// The batch from which on the sender took all of it.
        from: u64,
        /// The message's place.
        place: Place,
    },
    /// The number of the next message in the batch of the last origin.
    OriginNext(u32),
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
    /// It is the filter of a shared subscription.
    pub share: Option<Share<'a>>,
}

/// A shared subscription of an interest, but for its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// The share name.
    pub group: &'a str,
    /// Its number at its node; with no meaning where it is taken away, as the members.
    pub number: u32,
    /// Members that are connected.
    pub online: u32,
    /// Members that are away.
    pub offline: u32,
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
    /// A shard that no node has.
    #[error("shard {0} is named, and no node has more than {SHARDS_MAX}")]
    Shard(u8),
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
            MESSAGE..=MESSAGE_LAST => self.message(kind),
            SHARD => {
                let [shard] = self.array()?;
                if shard < SHARDS_MAX { Ok(Record::Shard(shard)) } else { Err(Fault::Shard(shard)) }
            }
            MARK => {
                let mut body = self.body()?;
                let version = body.version()?;
                let (cluster, node) = (body.name()?.into(), body.name()?.into());
                Ok(Record::Mark(Mark { cluster, node, version }))
            }
            ORIGIN => {
                let mut body = self.body()?;
                let mut number = || body.array().map(u64::from_be_bytes);
                let (life, from, batch) = (number()?, number()?, number()?);
                let message = u32::from_be_bytes(body.array()?);
                let (cluster, node) = (body.name()?, body.name()?);
                Ok(Record::Origin { cluster, node, life, from, place: Place { batch, message } })
            }
            ORIGIN_NEXT => Ok(Record::OriginNext(u32::from_be_bytes(self.array()?))),
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

    fn message(&mut self, bits: u8) -> Result<Record<'a>, Fault> {
        let (mut path, mut aside) = (Path::EMPTY, AsideBytes::default());
        if bits & aside::PATH != 0 {
            let len = u16::from_be_bytes(self.array()?);
            path = Path::parse(self.take(usize::from(len))?).ok_or(Fault::Text)?;
        }
        if bits & aside::STAMP != 0 {
            let (time, node) = (u64::from_be_bytes(self.array()?), u64::from_be_bytes(self.array()?));
            aside.stamp = Some(Stamp { time, node });
        }
        if bits & aside::SHARES != 0 {
            let count = u32::from_be_bytes(self.array()?);
            aside.shares = self.take((count as usize).saturating_mul(4))?;
        }
        aside.shares_only = bits & aside::SHARES_ONLY != 0;
        let total = match frame::peek(self.rest, frame::LARGEST).map_err(Fault::Publish)? {
            frame::Peek::Frame { total, .. } => total,
            frame::Peek::Partial => return Err(Fault::Truncated),
        };
        let frame = self.take(total)?;
        let layout = publish::layout(frame, Mqtt::V5).map_err(Fault::Publish)?;
        Ok(Record::Message { path, aside, frame, layout })
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
        let [options] = reader.array()?;
        let filter = Self::text(reader)?;
        let share = if options & SHARED == 0 {
            None
        } else {
            let mut number = || reader.array().map(u32::from_be_bytes);
            let (number, online, offline) = (number()?, number()?, number()?);
            Some(Share { group: Self::text(reader)?, number, online, offline })
        };
        Ok(Entry { filter, except: options & EXCEPT != 0, removed: options & REMOVED != 0, share })
    }

    fn text(reader: &mut Records<'a>) -> Result<&'a str, Fault> {
        let len = u16::from_be_bytes(reader.array()?);
        std::str::from_utf8(reader.take(usize::from(len))?).map_err(|_| Fault::Text)
    }
}

// === impl Entry ===

impl Entry<'_> {
    /// Bytes that it takes.
    pub fn len(&self) -> usize {
        3 + self.filter.len() + self.share.map_or(0, |share| 12 + 2 + share.group.len())
    }
}

// === writing ===

/// Bytes that say which shard routed what follows.
pub const SHARD_LEN: usize = 2;

/// Appends the shard that routed what follows.
pub fn put_shard(out: &mut Vec<u8>, shard: u8) {
    out.extend_from_slice(&[SHARD, shard]);
}

/// Appends what stands before the packet of a message.
#[inline]
pub fn put_message(out: &mut Vec<u8>, path: Path<'_>, aside: &Aside<'_>) {
    let bits = aside.bits() | if path.bytes().is_empty() { 0 } else { aside::PATH };
    out.push(MESSAGE | bits);
    if bits != 0 {
        put_before(out, path.bytes(), aside);
    }
}

fn put_before(out: &mut Vec<u8>, path: &[u8], aside: &Aside<'_>) {
    if !path.is_empty() {
        let len = u16::try_from(path.len()).expect("a path has at most 255 clusters of 256 bytes, see `forward`");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(path);
    }
    aside.put(out);
}

/// Bytes of a mark's record, with its shard.
pub fn mark_len(mark: &Mark) -> usize {
    SHARD_LEN + 1 + 4 + 16 + 2 + mark.cluster.len() + mark.node.len()
}

/// Appends a mark. Names have at most 255 bytes, which the handshake and the configuration see to.
pub fn put_mark(out: &mut Vec<u8>, mark: &Mark) {
    out.push(MARK);
    let at = begin(out);
    put_version(out, mark.version);
    put_names(out, [&mark.cluster, &mark.node]);
    end(out, at);
}

fn put_names(out: &mut Vec<u8>, names: [&str; 2]) {
    for name in names {
        let len = u8::try_from(name.len()).expect("names are at most 255 bytes, checked where they come from");
        out.push(len);
        out.extend_from_slice(name.as_bytes());
    }
}

/// Bytes of an origin's record.
pub fn origin_len(origin: &Origin) -> usize {
    1 + 4 + 24 + 4 + 2 + origin.lane.cluster.len() + origin.lane.node.len()
}

/// Appends where the next message came from; in few bytes if that is the batch of `last`.
pub fn put_origin(out: &mut Vec<u8>, origin: &Origin, last: Option<&Origin>) {
    let Origin { lane, from, place } = origin;
    if last.is_some_and(|last| (&last.lane, last.from, last.place.batch) == (lane, *from, place.batch)) {
        out.push(ORIGIN_NEXT);
        out.extend_from_slice(&place.message.to_be_bytes());
        return;
    }
    out.push(ORIGIN);
    let at = begin(out);
    [lane.life, *from, place.batch].iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    out.extend_from_slice(&place.message.to_be_bytes());
    put_names(out, [&lane.cluster, &lane.node]);
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

/// Appends a filter, or a shared subscription, to a page or delta.
pub fn put_entry(out: &mut Vec<u8>, entry: Entry<'_>) {
    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
    out.push(bit(entry.except, EXCEPT) | bit(entry.share.is_some(), SHARED) | bit(entry.removed, REMOVED));
    put_text(out, entry.filter);
    if let Some(Share { group, number, online, offline }) = entry.share {
        [number, online, offline].iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        put_text(out, group);
    }
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

fn put_text(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("filters and share names have at most 65,535 bytes, or would not parse");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_version(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(&version.epoch.to_be_bytes());
    out.extend_from_slice(&version.number.to_be_bytes());
}
