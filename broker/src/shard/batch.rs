//! Messages on their way from one shard to another: flat, copied once, looked up once.
//!
//! The publishing shard has routed already (and chosen members of shared subscriptions); the receiving shard only
//! appends to outputs. Nothing in a batch is counted or shared between cores.

use std::sync::Arc;

use super::link::passing::Receipt;
use super::moves::news::News;
use super::publication::Publication;
use crate::clock::{Millis, Stamp};
use crate::codec::Qos;
use crate::codec::publish::Layout;
use crate::link::{Mark, Origin};
use crate::message::Debt;
use crate::router::{Path, Receiver};

/// What one turn of a shard has for another one.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    receivers: Vec<Receiver>,
    /// Subscription identifiers: `(index of the receiver within its message, identifier)`.
    ids: Vec<(u32, u32)>,
    messages: Vec<Entry>,
    /// Stamps of messages that were retained: index of the message, stamp.
    stamps: Vec<(u32, Stamp)>,
    /// Where messages came from, each true from the message of this index on.
    lanes: Vec<(u32, Lane)>,
    /// Where messages of other clusters came from: index of the message, origin, whether it is a repeat.
    origins: Vec<(u32, Origin, bool)>,
    /// Messages that other nodes keep for members here: index of the message, what is owed.
    debts: Vec<(u32, Debt)>,
    notes: Vec<NoteAt>,
}

/// The other node that let a message enter the cluster, and the shard there that routed it; none: this node.
type Lane = Option<(Arc<str>, u8)>;

/// What stands between messages and is true of those behind it.
#[derive(Debug)]
pub enum Note {
    /// What the shard routed behind it is routed by this version, which its links' lanes must say.
    Mark(Mark),
    /// What sessions that move must know, at this place of the lane.
    News(News),
    /// Somebody waits until the peers have taken all before it.
    Receipt(Receipt),
}

struct Entry {
    layout: Layout,
    qos: Qos,
    frame_end: u32,
    path_end: u32,
    receivers_end: u32,
    ids_end: u32,
    expires_at: Option<Millis>,
}

struct NoteAt {
    before: u32,
    note: Note,
}

/// One message of a batch.
pub struct Item<'a> {
    /// The PUBLISH, with its layout.
    pub frame: &'a [u8],
    /// Its parts.
    pub layout: Layout,
    /// Its QoS.
    pub qos: Qos,
    /// Clusters that it passed.
    pub path: Path<'a>,
    /// Who gets it.
    pub receivers: &'a [Receiver],
    /// Subscription identifiers by index of receiver.
    pub ids: &'a [(u32, u32)],
    /// When it expires.
    pub expires_at: Option<Millis>,
    /// Since when it is the retained message of its topic.
    pub stamp: Option<Stamp>,
    /// The other node that let it enter, and the shard there that routed it; none: this node did.
    pub lane: Option<(&'a Arc<str>, u8)>,
    /// Where it came from, if from another cluster.
    pub origin: Option<&'a Origin>,
    /// It came by another node before.
    pub repeat: bool,
    /// What is owed to the node that sent it.
    pub debt: Option<&'a Debt>,
}

/// What stands next in a batch.
pub enum Step<'a> {
    /// A message.
    Message(Item<'a>),
    /// A note.
    Note(&'a Note),
}

// === impl Batch ===

impl Batch {
    /// Appends a message; its receivers follow by `receiver`.
    pub fn begin(&mut self, publication: &Publication<'_>) {
        if let Some(stamp) = publication.passage.stamp {
            self.stamps.push((self.messages.len() as u32, stamp));
        }
        let (lane, before) = (publication.passage.lane, self.lanes.last().and_then(|(_, lane)| lane.as_ref()));
        if lane != before.map(|(node, shard)| (node, *shard)) {
            self.lanes.push((self.messages.len() as u32, lane.map(|(node, shard)| (Arc::clone(node), shard))));
        }
        if let Some(origin) = publication.passage.origin {
            self.origins.push((self.messages.len() as u32, origin.clone(), publication.passage.repeat));
        }
        if let Some(debt) = publication.passage.debt {
            self.debts.push((self.messages.len() as u32, debt.clone()));
        }
        self.bytes.extend_from_slice(publication.frame);
        let frame_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(publication.path.bytes());
        self.messages.push(Entry {
            layout: publication.layout,
            qos: publication.qos,
            frame_end,
            path_end: self.bytes.len() as u32,
            receivers_end: self.receivers.len() as u32,
            ids_end: self.ids.len() as u32,
            expires_at: publication.expires_at,
        });
    }

    /// Adds a receiver to the message that was begun last.
    pub fn receiver(&mut self, receiver: Receiver, ids: impl IntoIterator<Item = u32>) {
        let Some(entry) = self.messages.len().checked_sub(1) else { return };
        let first = if entry == 0 { 0 } else { self.messages[entry - 1].receivers_end };
        let index = self.receivers.len() as u32 - first;
        self.receivers.push(receiver);
        self.ids.extend(ids.into_iter().map(|id| (index, id)));
        let entry = &mut self.messages[entry];
        entry.receivers_end = self.receivers.len() as u32;
        entry.ids_end = self.ids.len() as u32;
    }

    /// Appends a note behind all messages so far.
    pub fn note(&mut self, note: Note) {
        self.notes.push(NoteAt { before: self.messages.len() as u32, note });
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.notes.is_empty()
    }

    /// Bytes that it holds, for the bound of a lane.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.receivers.len() * size_of::<Receiver>() + self.messages.len() * size_of::<Entry>()
    }

    /// Empties it, keeping its memory unless that is more than `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        if self.bytes.capacity() > keep {
            *self = Self::default();
            return;
        }
        self.bytes.clear();
        self.receivers.clear();
        self.ids.clear();
        self.messages.clear();
        self.stamps.clear();
        self.lanes.clear();
        self.origins.clear();
        self.debts.clear();
        self.notes.clear();
    }

    /// All that is in it, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let mut message = 0;
        let mut note = 0;
        let mut stamps = self.stamps.iter().peekable();
        let mut lanes = self.lanes.iter().peekable();
        let mut lane = None;
        let mut origins = self.origins.iter().peekable();
        let mut debts = self.debts.iter().peekable();
        std::iter::from_fn(move || {
            if let Some(at) = self.notes.get(note)
                && at.before as usize <= message
            {
                note += 1;
                return Some(Step::Note(&at.note));
            }
            let entry = self.messages.get(message)?;
            let (frame_at, receivers_at, ids_at) = match message {
                0 => (0, 0, 0),
                _ => {
                    let before = &self.messages[message - 1];
                    (before.path_end as usize, before.receivers_end as usize, before.ids_end as usize)
                }
            };
            let stamp = stamps.next_if(|(index, _)| *index as usize == message).map(|(_, stamp)| *stamp);
            if let Some((_, from)) = lanes.next_if(|(index, _)| *index as usize == message) {
                lane = from.as_ref().map(|(node, shard)| (node, *shard));
            }
            let origin = origins.next_if(|(index, _, _)| *index as usize == message);
            let debt = debts.next_if(|(index, _)| *index as usize == message).map(|(_, debt)| debt);
            message += 1;
            Some(Step::Message(Item {
                frame: &self.bytes[frame_at..entry.frame_end as usize],
                layout: entry.layout,
                qos: entry.qos,
                path: Path::parse(&self.bytes[entry.frame_end as usize..entry.path_end as usize]).unwrap_or_default(),
                receivers: &self.receivers[receivers_at..entry.receivers_end as usize],
                ids: &self.ids[ids_at..entry.ids_end as usize],
                expires_at: entry.expires_at,
                stamp,
                lane,
                origin: origin.map(|(_, origin, _)| origin),
                repeat: origin.is_some_and(|(_, _, repeat)| *repeat),
                debt,
            }))
        })
    }
}
