//! Who owned a session and since when, and whose duty a message for it is.
//!
//! Each shard of each node that lets a message enter the cluster knew, at that moment, some version of every node's
//! interest: the message's [`Tag`]. If it knew the interest of the new owner with the moved session in it, the new owner
//! takes the message directly; else the old one does, and forwards it. The entering shard decides, once, so there is
//! neither gap nor overlap, and a message bears nothing for it: the shard writes a mark into each of its lanes whenever it
//! takes up a new version, and who receives remembers the last mark of each lane.

use std::sync::Arc;

use crate::link::Version;

use super::wire::{Garbled, Reader, Writer};

/// By which versions of whose interest a shard of a node routes: the newest marks of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The node that lets the messages of this lane enter.
    pub origin: Arc<str>,
    /// The newest mark about each node.
    marks: Vec<(Arc<str>, Version)>,
}

/// From which version of its interest on a node takes what comes for a session directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// The session began there: from the first.
    Always,
    /// Not known yet: from none.
    Unknown,
    /// From these versions on. A node counts for each of the others, and for itself, on its own, so there is one for each, and
    /// one for those that were not in the cluster then ([`OTHERS`]).
    Versions(Arc<[(Arc<str>, Version)]>),
}

/// A time in which a node owned a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The node.
    pub node: Arc<str>,
    /// Its life.
    pub life: u64,
    /// When messages began to come to it directly.
    pub since: Since,
}

/// Who owned a session, oldest first; the last is the owner. A stay outlives its node: what was the duty of one that died
/// was perhaps taken and forwarded before, and a lane that is behind may still bring it to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    stays: Vec<Stay>,
}

/// The name of nodes that have no version of their own. Theirs is above all that was told to those that had left the cluster
/// before, and below what is told to those that join it later and begin with all that is wanted.
pub const OTHERS: &str = "";

/// Times of owning that a trail holds. A session that moves that often while a node can't be reached stays where it is
/// until the node is back or gone.
pub const TRAIL_MAX: usize = 64;

// === impl Tag ===

impl Tag {
    /// A lane without any mark.
    pub fn new(origin: Arc<str>) -> Self {
        Self { origin, marks: Vec::new() }
    }

    /// Takes a mark. Those of one lane come in order: what comes later is newer, even if the node counts anew.
    pub fn put(&mut self, about: &Arc<str>, version: Version) {
        match self.marks.iter_mut().find(|(node, _)| node == about) {
            Some((_, newest)) => *newest = version,
            None => self.marks.push((about.clone(), version)),
        }
    }

    /// The newest version of a node's interest that is marked; the zero version if none is.
    pub fn get(&self, node: &str) -> Version {
        self.marks.iter().find(|(about, _)| &**about == node).map(|(_, version)| *version).unwrap_or_default()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.origin);
        put_versions(out, &self.marks);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Garbled> {
        let origin = reader.name()?;
        Ok(Self { origin, marks: read_versions(reader)? })
    }
}

fn put_versions(out: &mut Writer, versions: &[(Arc<str>, Version)]) {
    out.count(versions.len());
    for (node, version) in versions {
        out.text(node);
        out.u64(version.epoch);
        out.u64(version.number);
    }
}

fn read_versions(reader: &mut Reader<'_>) -> Result<Vec<(Arc<str>, Version)>, Garbled> {
    reader.list(18, |reader| Ok((reader.name()?, Version { epoch: reader.u64()?, number: reader.u64()? })))
}

// === impl Stay ===

impl Stay {
    /// Whether who routed a message knew that it is for this stay.
    pub fn is_known(&self, tag: &Tag) -> bool {
        let versions = match &self.since {
            Since::Always => return true,
            Since::Unknown => return false,
            Since::Versions(versions) => versions,
        };
        let marked = tag.get(&self.node);
        let of = |name: &str| versions.iter().find(|(origin, _)| **origin == *name).map(|(_, version)| *version);
        match of(&tag.origin) {
            Some(version) => marked >= version,
            None => marked > of(OTHERS).unwrap_or_default(),
        }
    }
}

// === impl Trail ===

impl Trail {
    /// A session that began at this node.
    pub fn begun(node: Arc<str>, life: u64) -> Self {
        Self { stays: vec![Stay { node, life, since: Since::Always }] }
    }

    /// The stays, oldest first.
    pub fn stays(&self) -> &[Stay] {
        &self.stays
    }

    /// Whether the session began where it is.
    pub fn is_plain(&self) -> bool {
        matches!(self.stays.as_slice(), [Stay { since: Since::Always, .. }])
    }

    /// Where the duty for a message is: the *last* stay of which its entering shard knew; none if it knew of none of them,
    /// then somebody who is settled took it.
    pub fn duty(&self, tag: &Tag) -> Option<&Stay> {
        self.duty_place(tag).map(|place| &self.stays[place])
    }

    /// The same, counted from the oldest stay.
    pub fn duty_place(&self, tag: &Tag) -> Option<usize> {
        self.stays.iter().rposition(|stay| stay.is_known(tag))
    }

    /// Whether a message that comes to `node` from the router is for it to take.
    pub fn accepts(&self, node: &str, tag: &Tag) -> bool {
        self.duty(tag).is_some_and(|stay| &*stay.node == node)
    }

    /// The node takes over.
    pub fn push(&mut self, stay: Stay) {
        self.stays.push(stay);
    }

    /// The first version of the last stay becomes known.
    pub fn settle_last(&mut self, since: Since) {
        if let Some(last) = self.stays.last_mut() {
            last.since = since;
        }
    }

    /// The oldest stay is over for everybody. The next keeps its first version, or a lane that is behind would give it what
    /// the oldest took.
    pub fn forget_oldest(&mut self) {
        self.stays.remove(0);
    }

    /// Where a node's last stay is, counted from the oldest.
    pub fn last_of(&self, node: &str) -> Option<usize> {
        self.stays.iter().rposition(|stay| &*stay.node == node)
    }

    /// Whether a lane has passed beyond the stays up to this place: nothing that is still to come by it is theirs.
    pub fn is_passed(&self, place: usize, tag: &Tag) -> bool {
        self.stays.iter().skip(place + 1).any(|stay| stay.is_known(tag))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.count(self.stays.len());
        for stay in &self.stays {
            out.text(&stay.node);
            out.u64(stay.life);
            match &stay.since {
                Since::Always => out.u8(0),
                Since::Unknown => out.u8(1),
                Since::Versions(versions) => {
                    out.u8(2);
                    put_versions(out, versions);
                }
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Garbled> {
        let stays = reader.list(11, |reader| {
            let (node, life) = (reader.name()?, reader.u64()?);
            let since = match reader.u8()? {
                0 => Since::Always,
                1 => Since::Unknown,
                2 => Since::Versions(read_versions(reader)?.into()),
                3..=u8::MAX => return Err(Garbled),
            };
            Ok(Stay { node, life, since })
        })?;
        if stays.len() > TRAIL_MAX + 1 { Err(Garbled) } else { Ok(Self { stays }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_left_before_a_session_came_did_not_route_by_that_and_one_that_joined_later_does() {
        let (first, second): (Arc<str>, Arc<str>) = ("first".into(), "second".into());
        let version = |made, number| Version { number, ..Version::at(9, made) };
        let versions =
            [(second.clone(), version(0, 4)), ("third".into(), version(10, 7)), (OTHERS.into(), Version::at(9, 50))];
        let mut trail = Trail::begun(first.clone(), 1);
        trail.push(Stay { node: second.clone(), life: 9, since: Since::Versions(versions.into()) });
        for (origin, marked, taker) in [
            ("third", version(10, 6), &first),
            ("third", version(10, 7), &second),
            ("left", version(20, 30), &first),
            ("joined", version(60, 1), &second),
            ("unknown", Version::default(), &first),
        ] {
            let mut tag = Tag::new(origin.into());
            tag.put(&second, marked);
            assert_eq!(trail.duty(&tag).map(|stay| &stay.node), Some(taker), "{origin}");
        }
    }
}
