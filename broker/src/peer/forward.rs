//! Part of the queue of a session that was given away, as it goes on to the owner.

use std::sync::Arc;

use crate::clock::{Millis, Stamp};
use crate::link::LaneId;
use crate::message::Delivery;

use super::control::put_names;
use super::delivery;
use super::had::{self, Entrance};
use super::trail::Tag;
use super::wire::{Garbled, Reader, Writer};

/// Messages of a stream, in order of their indexes.
#[derive(Debug)]
pub struct Forward {
    /// The stream.
    pub stream: Stamp,
    /// The owner's epoch, as known to the sender.
    pub epoch: Stamp,
    /// The sender does not know since when the owner takes messages directly.
    pub wants_trail: bool,
    /// All that the sender has is here.
    pub caught_up: bool,
    /// Nodes from which something may still come to it; what comes from others from now on is the owner's. Nobody waits for
    /// those that are suspended.
    pub behind: Vec<Arc<str>>,
    /// The messages.
    pub entries: Vec<Entry>,
}

/// A message of a queue that is to be forwarded.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its index, from 1, growing.
    pub index: u64,
    /// By which versions it was routed; `None` if no later owner can have taken it directly.
    pub tag: Option<Arc<Tag>>,
    /// Where it came from another cluster, unless it is for a member of a group.
    pub entrance: Option<Entrance>,
    /// The message.
    pub delivery: Delivery,
}

/// Written for an entry that bears no tag, or did not come from another cluster.
const NONE: u32 = u32::MAX;

// === impl Forward ===

impl Forward {
    pub(super) fn write(&self, out: &mut Writer, now: Millis) {
        let Self { stream, epoch, wants_trail, caught_up, behind, entries } = self;
        out.stamp(*stream);
        out.stamp(*epoch);
        out.u8(u8::from(*wants_trail) | u8::from(*caught_up) << 1);
        put_names(out, behind);
        // Most messages have their tag in common with others.
        let mut tags: Vec<&Arc<Tag>> = Vec::new();
        let places: Vec<u32> = entries.iter().map(|entry| place_of(entry.tag.as_ref(), &mut tags)).collect();
        out.count(tags.len());
        tags.iter().for_each(|tag| tag.write(out));
        // So it is with their lane.
        let mut lanes: Vec<&Arc<LaneId>> = Vec::new();
        let of_entries = entries.iter().map(|entry| entry.entrance.as_ref().map(|entrance| &entrance.lane));
        let entrances: Vec<u32> = of_entries.map(|lane| place_of(lane, &mut lanes)).collect();
        out.count(lanes.len());
        lanes.iter().for_each(|lane| had::write_lane(out, lane));
        out.count(entries.len());
        for ((Entry { index, tag: _, entrance, delivery }, place), lane) in entries.iter().zip(places).zip(entrances) {
            out.u64(*index);
            out.u32(place);
            out.u32(lane);
            if let Some(Entrance { lane: _, place }) = entrance {
                had::write_place(out, *place);
            }
            delivery::write(out, delivery, now);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, now: Millis) -> Result<Self, Garbled> {
        let (stream, epoch, flags) = (reader.stamp()?, reader.stamp()?, reader.u8()?);
        if flags > 3 {
            return Err(Garbled);
        }
        let behind = reader.list(2, Reader::name)?;
        let tags = reader.list(6, |reader| Tag::read(reader).map(Arc::new))?;
        let lanes = reader.list(12, had::read_lane)?;
        let entries = reader.list(33, |reader| {
            let (index, place) = (reader.u64()?, reader.u32()?);
            let tag = nth(&tags, place)?;
            let lane = reader.u32()?;
            let entrance = match nth(&lanes, lane)? {
                Some(lane) => Some(Entrance { lane, place: had::read_place(reader)? }),
                None => None,
            };
            Ok(Entry { index, tag, entrance, delivery: delivery::read(reader, now)? })
        })?;
        Ok(Self { stream, epoch, wants_trail: flags & 1 != 0, caught_up: flags & 2 != 0, behind, entries })
    }
}

/// Where a thing that entries have in common stands in the list of all, to which it is added if it is not there.
fn place_of<'a, T>(one: Option<&'a Arc<T>>, all: &mut Vec<&'a Arc<T>>) -> u32 {
    let Some(one) = one else { return NONE };
    let at = all.iter().position(|known| Arc::ptr_eq(known, one)).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    });
    u32::try_from(at).unwrap_or(NONE)
}

/// The thing at a place of the list.
fn nth<T>(all: &[Arc<T>], place: u32) -> Result<Option<Arc<T>>, Garbled> {
    if place == NONE { Ok(None) } else { all.get(place as usize).cloned().map(Some).ok_or(Garbled) }
}
