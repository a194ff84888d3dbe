//! What nodes say to each other about sessions that move: every message is idempotent and may be lost, repeated, delayed
//! and reordered.

use std::sync::Arc;

use crate::clock::{Millis, Stamp};

use super::forward::Forward;
use super::had::Had;
use super::head::SessionHead;
use super::trail::Trail;
use super::wire::{Garbled, Reader, Writer};

/// A message about one client id. `stamp` is that of the CONNECT that began the look-up.
#[derive(Debug)]
pub enum Control {
    /// Who has it? Repeated by the asker until it is answered, within the time of the look-up.
    Ask {
        /// The CONNECT.
        stamp: Stamp,
        /// What for.
        purpose: Purpose,
    },
    /// I don't have it, and promise not to take it by a CONNECT before yours.
    NoneHere {
        /// The ask.
        stamp: Stamp,
        /// Other nodes that claim it.
        homes: Vec<Arc<str>>,
    },
    /// I had it and gave it away, with the same promise.
    Elsewhere {
        /// The ask.
        stamp: Stamp,
        /// Who has it, as far as I know.
        owner: Arc<str>,
    },
    /// No.
    Denied {
        /// The ask.
        stamp: Stamp,
        /// A later stamp, to ask again with one that is later still.
        winner: Stamp,
        /// Why.
        why: Denial,
    },
    /// It is frozen here: say that you hold the head, and it is yours. Repeated until answered, within a time.
    Export(Box<Export>),
    /// I hold the head and will serve it if you give it. Repeated until answered.
    Take {
        /// The ask.
        stamp: Stamp,
        /// The offer.
        offer: u64,
    },
    /// It is yours; I shall never serve it again by myself.
    Given {
        /// The ask.
        stamp: Stamp,
    },
    /// It was not given to you and won't be.
    Kept {
        /// The ask.
        stamp: Stamp,
        /// The offer.
        offer: u64,
    },
    /// I shall not take it.
    Abort {
        /// The ask.
        stamp: Stamp,
    },
    /// Part of the queue of a session that was given. Repeated until answered.
    Forward(Forward),
    /// All up to this index is here.
    Forwarded {
        /// The stream.
        stream: Stamp,
        /// The index.
        index: u64,
        /// The sender's word was heard that it has caught up but for what may come from so many nodes.
        heard: Option<usize>,
        /// Who owned it, if that was asked and is known.
        trail: Option<Trail>,
    },
    /// Nothing can come by this stream any more. Repeated until answered.
    Drained {
        /// The stream.
        stream: Stamp,
        /// The owner's epoch, as known to the sender.
        epoch: Stamp,
    },
    /// You speak to the wrong owner, or know it by an old epoch.
    Moved {
        /// The stream.
        stream: Stamp,
        /// The owner.
        owner: Arc<str>,
        /// Its epoch.
        epoch: Stamp,
        /// Who owned it.
        trail: Trail,
    },
    /// I wait for nothing from this stream: forget it.
    Closed {
        /// The stream.
        stream: Stamp,
    },
    /// I have nothing of this stream any more: wait for it no longer.
    Dropped {
        /// The stream.
        stream: Stamp,
    },
    /// Its owner died: who waits for this stream? Repeated until all have answered.
    Seek {
        /// The stream.
        stream: Stamp,
    },
    /// Take this session, which has no connection: ask for it.
    Offer,
}

/// What a session is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Its client has connected.
    Serve = 0,
    /// It is to be ended, not to be given.
    End = 1,
    /// It was offered. Nobody waits for it, so it is given only while it has no connection.
    Offered = 2,
}

/// Why an ask was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Denial {
    /// A later CONNECT looks for it at this moment.
    LookUp = 1,
    /// It has a later connection, or was taken by one.
    Owner = 2,
    /// It moved a moment ago, or too much is moving.
    Busy = 3,
    /// The stamp is too far ahead of this node's clock.
    Clock = 4,
    /// What is in flight is more than can move.
    TooLarge = 5,
}

/// A session on offer to one who asked.
#[derive(Debug)]
pub struct Export {
    /// The ask.
    pub stamp: Stamp,
    /// Number of the offer: the session is what it was then.
    pub offer: u64,
    /// The sender's epoch: the stamp by which it took the session. It names the stream of its queue too.
    pub epoch: Stamp,
    /// Index before the first message of the queue.
    pub cut: u64,
    /// Index of its last.
    pub queued: u64,
    /// Streams of those before that are still open.
    pub streams: Vec<Stream>,
    /// Who owned it.
    pub trail: Trail,
    /// Nodes that could not be asked when it began, and may have another session of this name.
    pub unasked: Vec<Arc<str>>,
    /// Milliseconds for which it stays where it is after a move.
    pub dwell: u32,
    /// What it had over links.
    pub had: Had,
    /// The session.
    pub head: SessionHead,
}

/// An open stream: the rest of the queue of a node that gave the session away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The node.
    pub node: Arc<str>,
    /// Its life.
    pub life: u64,
    /// The epoch by which it owned.
    pub id: Stamp,
    /// All up to this index was taken.
    pub index: u64,
    /// Index of the last message that stood in the queue when the session was given away.
    pub queued: u64,
}

const ASK: u8 = 1;
const NONE_HERE: u8 = 2;
const ELSEWHERE: u8 = 3;
const DENIED: u8 = 4;
const EXPORT: u8 = 5;
const TAKE: u8 = 6;
const GIVEN: u8 = 7;
const KEPT: u8 = 8;
const ABORT: u8 = 9;
const FORWARD: u8 = 10;
const FORWARDED: u8 = 11;
const DRAINED: u8 = 12;
const MOVED: u8 = 13;
const CLOSED: u8 = 14;
const SEEK: u8 = 15;
const OFFER: u8 = 16;
const DROPPED: u8 = 17;

/// Written where it was not heard that the sender has caught up.
const UNHEARD: u32 = u32::MAX;

// === impl Control ===

impl Control {
    /// Its kind and its body.
    pub fn encode(&self, now: Millis) -> (u8, Vec<u8>) {
        let mut out = Writer::default();
        let kind = match self {
            Self::Ask { stamp, purpose } => {
                out.stamp(*stamp);
                out.u8(*purpose as u8);
                ASK
            }
            Self::NoneHere { stamp, homes } => {
                out.stamp(*stamp);
                put_names(&mut out, homes);
                NONE_HERE
            }
            Self::Elsewhere { stamp, owner } => {
                out.stamp(*stamp);
                out.text(owner);
                ELSEWHERE
            }
            Self::Denied { stamp, winner, why } => {
                out.stamp(*stamp);
                out.stamp(*winner);
                out.u8(*why as u8);
                DENIED
            }
            Self::Export(export) => {
                export.write(&mut out, now);
                EXPORT
            }
            Self::Take { stamp, offer } => {
                out.u64(*offer);
                stamped(&mut out, *stamp, TAKE)
            }
            Self::Given { stamp } => stamped(&mut out, *stamp, GIVEN),
            Self::Kept { stamp, offer } => {
                out.u64(*offer);
                stamped(&mut out, *stamp, KEPT)
            }
            Self::Abort { stamp } => stamped(&mut out, *stamp, ABORT),
            Self::Forward(forward) => {
                forward.write(&mut out, now);
                FORWARD
            }
            Self::Forwarded { stream, index, heard, trail } => {
                out.stamp(*stream);
                out.u64(*index);
                out.u32(heard.map_or(UNHEARD, |behind| behind as u32));
                out.u8(u8::from(trail.is_some()));
                if let Some(trail) = trail {
                    trail.write(&mut out);
                }
                FORWARDED
            }
            Self::Drained { stream, epoch } => {
                out.stamp(*stream);
                out.stamp(*epoch);
                DRAINED
            }
            Self::Moved { stream, owner, epoch, trail } => {
                out.stamp(*stream);
                out.text(owner);
                out.stamp(*epoch);
                trail.write(&mut out);
                MOVED
            }
            Self::Closed { stream } => stamped(&mut out, *stream, CLOSED),
            Self::Dropped { stream } => stamped(&mut out, *stream, DROPPED),
            Self::Seek { stream } => stamped(&mut out, *stream, SEEK),
            Self::Offer => OFFER,
        };
        (kind, out.bytes)
    }

    /// The message of this kind and body.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(kind: u8, body: &[u8], now: Millis) -> Result<Self, Garbled> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let control = match kind {
            ASK => Self::Ask { stamp: reader.stamp()?, purpose: Purpose::of(reader.u8()?).ok_or(Garbled)? },
            NONE_HERE => Self::NoneHere { stamp: reader.stamp()?, homes: reader.list(2, Reader::name)? },
            ELSEWHERE => Self::Elsewhere { stamp: reader.stamp()?, owner: reader.name()? },
            DENIED => Self::Denied {
                stamp: reader.stamp()?,
                winner: reader.stamp()?,
                why: Denial::of(reader.u8()?).ok_or(Garbled)?,
            },
            EXPORT => Self::Export(Box::new(Export::read(reader, now)?)),
            TAKE => Self::Take { offer: reader.u64()?, stamp: reader.stamp()? },
            GIVEN => Self::Given { stamp: reader.stamp()? },
            KEPT => Self::Kept { offer: reader.u64()?, stamp: reader.stamp()? },
            ABORT => Self::Abort { stamp: reader.stamp()? },
            FORWARD => Self::Forward(Forward::read(reader, now)?),
            FORWARDED => {
                let (stream, index, heard) = (reader.stamp()?, reader.u64()?, reader.u32()?);
                let heard = (heard != UNHEARD).then_some(heard as usize);
                let trail = if reader.flag()? { Some(Trail::read(reader)?) } else { None };
                Self::Forwarded { stream, index, heard, trail }
            }
            DRAINED => Self::Drained { stream: reader.stamp()?, epoch: reader.stamp()? },
            MOVED => Self::Moved {
                stream: reader.stamp()?,
                owner: reader.name()?,
                epoch: reader.stamp()?,
                trail: Trail::read(reader)?,
            },
            CLOSED => Self::Closed { stream: reader.stamp()? },
            SEEK => Self::Seek { stream: reader.stamp()? },
            OFFER => Self::Offer,
            DROPPED => Self::Dropped { stream: reader.stamp()? },
            0 | 18..=u8::MAX => return Err(Garbled),
        };
        reader.end()?;
        Ok(control)
    }
}

fn stamped(out: &mut Writer, stamp: Stamp, kind: u8) -> u8 {
    out.stamp(stamp);
    kind
}

/// Appends names of nodes.
pub(super) fn put_names(out: &mut Writer, names: &[Arc<str>]) {
    out.count(names.len());
    names.iter().for_each(|name| out.text(name));
}

// === impl Purpose ===

impl Purpose {
    fn of(code: u8) -> Option<Self> {
        [Self::Serve, Self::End, Self::Offered].into_iter().find(|purpose| *purpose as u8 == code)
    }
}

// === impl Denial ===

impl Denial {
    fn of(code: u8) -> Option<Self> {
        [Self::LookUp, Self::Owner, Self::Busy, Self::Clock, Self::TooLarge].into_iter().find(|why| *why as u8 == code)
    }
}

// === impl Export ===

impl Export {
    fn write(&self, out: &mut Writer, now: Millis) {
        let Self { stamp, offer, epoch, cut, queued, streams, trail, unasked, dwell, had, head } = self;
        out.stamp(*stamp);
        out.u64(*offer);
        out.stamp(*epoch);
        out.u64(*cut);
        out.u64(*queued);
        out.count(streams.len());
        for Stream { node, life, id, index, queued } in streams {
            out.text(node);
            out.u64(*life);
            out.stamp(*id);
            out.u64(*index);
            out.u64(*queued);
        }
        trail.write(out);
        put_names(out, unasked);
        out.u32(*dwell);
        had.write(out);
        head.write(out, now);
    }

    fn read(reader: &mut Reader<'_>, now: Millis) -> Result<Self, Garbled> {
        Ok(Self {
            stamp: reader.stamp()?,
            offer: reader.u64()?,
            epoch: reader.stamp()?,
            cut: reader.u64()?,
            queued: reader.u64()?,
            streams: reader.list(42, |reader| {
                let (node, life) = (reader.name()?, reader.u64()?);
                Ok(Stream { node, life, id: reader.stamp()?, index: reader.u64()?, queued: reader.u64()? })
            })?,
            trail: Trail::read(reader)?,
            unasked: reader.list(2, Reader::name)?,
            dwell: reader.u32()?,
            had: Had::read(reader)?,
            head: SessionHead::read(reader, now)?,
        })
    }
}
