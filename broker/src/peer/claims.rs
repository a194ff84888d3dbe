//! Which client ids a shard has persistent sessions of, told to the other nodes: a snapshot, then changes.
//!
//! What is told is a keyed hash of eight bytes for each id. A message waits for its answer and is repeated, so that loss and
//! repetition do no harm; a receiver that fell too far behind gets a snapshot again, in pages in the order of the hashes.
//! What changes while pages are on their way is told after the last one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::clock::Millis;
use crate::digest::digest_under;

use super::bounds::Repeat;
use super::envelope::{CLAIMS, DIRECTORY, Lives};
use super::wire::{Garbled, Reader, Writer};

/// Changes that are remembered for those who have not heard of them; who is further behind gets a snapshot.
const LOG_MAX: usize = 32_768;
/// Changes in one message.
const CHANGES_MAX: usize = 6_000;
/// Hashes in one page.
const PAGE_MAX: usize = 7_000;

/// Changes of what is claimed.
pub const CHANGES: u8 = DIRECTORY | 0x01;
/// A page of all that is claimed.
pub const PAGE: u8 = DIRECTORY | 0x02;
/// What is known of somebody's claims.
pub const HAVE: u8 = DIRECTORY | CLAIMS | 0x03;

/// What one shard claims, and how much of it the other nodes have heard.
#[derive(Debug)]
pub struct Claims {
    shard: u8,
    life: u64,
    key: u64,
    held: BTreeSet<u64>,
    /// Sum of the hashes.
    sum: u64,
    /// Changes so far, which is the version.
    version: u64,
    /// The last of them.
    log: VecDeque<(u64, bool)>,
    nodes: BTreeMap<Arc<str>, Hearer>,
}

/// A node that is told.
#[derive(Debug)]
struct Hearer {
    life: u64,
    connected: bool,
    /// The version that it has; `None`: none.
    has: Option<u64>,
    /// A snapshot under way: the version at its beginning, and the hash of which the next page begins behind.
    snapshot: Option<(u64, Option<u64>)>,
    /// Something was said and not answered.
    waits: bool,
    repeat: Repeat,
}

/// What a receiver says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Have {
    /// Pages of the snapshot of this version, up to this hash.
    Page(u64, u64),
    /// A version, and the sum of its hashes.
    Version(u64, u64),
    /// Nothing.
    Nothing,
}

/// The hash by which a client id is claimed.
pub fn hash(key: u64, id: &str) -> u64 {
    digest_under(key, id.as_bytes())
}

// === impl Claims ===

impl Claims {
    /// No claims of this shard; `life` is the incarnation of the node, and `key` a random number.
    pub fn new(shard: u8, life: u64, key: u64) -> Self {
        let (held, log, nodes) = (BTreeSet::new(), VecDeque::new(), BTreeMap::new());
        Self { shard, life, key, held, sum: 0, version: 0, log, nodes }
    }

    /// The shard has a persistent session of this id now, or not any more. Told as often as you like.
    pub fn set(&mut self, id: &str, claimed: bool) {
        let hash = hash(self.key, id);
        let changed = if claimed { self.held.insert(hash) } else { self.held.remove(&hash) };
        if !changed {
            return;
        }
        self.sum = if claimed { self.sum.wrapping_add(hash) } else { self.sum.wrapping_sub(hash) };
        self.version += 1;
        self.log.push_back((hash, claimed));
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
    }

    /// How many ids are claimed.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// A connection with a node stands.
    pub fn node_connected(&mut self, node: &Arc<str>, life: u64, now: Millis) {
        let repeat = Repeat::now(now);
        let hearer = Hearer { life, connected: true, has: None, snapshot: None, waits: false, repeat };
        let known = self.nodes.entry(node.clone()).or_insert(hearer);
        if known.life != life {
            (known.life, known.has, known.snapshot) = (life, None, None);
        }
        (known.connected, known.waits, known.repeat) = (true, false, repeat);
    }

    /// None does any more.
    pub fn node_lost(&mut self, node: &str) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.connected = false;
        }
    }

    /// A node is out of the list.
    pub fn node_removed(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    /// Whether a node is told what is claimed.
    #[cfg(test)]
    pub fn knows(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// Whether a node has heard of all.
    pub fn is_level(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|known| known.has == Some(self.version))
    }

    /// Says what is to be said. `say` sends a control payload; false: it could not.
    pub fn turn(&mut self, mut say: impl FnMut(&Arc<str>, &[u8]) -> bool, now: Millis) {
        let oldest = self.version - self.log.len() as u64;
        for (node, known) in self.nodes.iter_mut().filter(|(_, known)| known.connected) {
            let level = known.has == Some(self.version) && known.snapshot.is_none();
            if level || known.waits && !known.repeat.is_due(now) {
                continue;
            }
            let from = known.has.filter(|has| *has >= oldest && known.snapshot.is_none());
            let mut out = Writer::default();
            out.u8(if from.is_some() { CHANGES } else { PAGE });
            out.u8(self.shard);
            out.u64(self.life);
            out.u64(known.life);
            out.u64(self.key);
            match from {
                Some(from) => {
                    let skip = usize::try_from(from - oldest).unwrap_or(usize::MAX);
                    let changes = self.log.iter().skip(skip).take(CHANGES_MAX);
                    out.u64(from);
                    out.count(changes.len());
                    for (hash, claimed) in changes {
                        out.u64(*hash);
                        out.u8(u8::from(*claimed));
                    }
                }
                None => {
                    let (version, after) = *known.snapshot.get_or_insert((self.version, None));
                    let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
                    let mut rest = self.held.range((begin, Bound::Unbounded));
                    let page: Vec<u64> = rest.by_ref().take(PAGE_MAX).copied().collect();
                    out.u64(version);
                    out.u8(u8::from(after.is_some()));
                    out.u64(after.unwrap_or_default());
                    out.u8(u8::from(rest.next().is_none()));
                    out.count(page.len());
                    page.iter().for_each(|hash| out.u64(*hash));
                }
            }
            known.waits = true;
            known.repeat.said(now);
            say(node, &out.bytes);
        }
    }

    /// When [`Claims::turn`] has something to do, if nothing happens before.
    pub fn due(&self) -> Millis {
        let waiting = self.nodes.values().filter(|known| known.connected && known.waits);
        waiting.map(|known| known.repeat.next).min().unwrap_or(Millis::NEVER)
    }

    /// An answer came.
    ///
    /// # Errors
    /// It is none.
    pub fn received(&mut self, from: &Arc<str>, payload: &[u8], now: Millis) -> Result<(), Garbled> {
        let mut reader = Reader::new(payload);
        let (kind, _shard) = (reader.u8()?, reader.u8()?);
        let lives = Lives { from: reader.u64()?, to: reader.u64()? };
        let have = match (kind, reader.u8()?) {
            (HAVE, 0) => Have::Nothing,
            (HAVE, 1) => Have::Page(reader.u64()?, reader.u64()?),
            (HAVE, 2) => Have::Version(reader.u64()?, reader.u64()?),
            _ => return Err(Garbled),
        };
        reader.end()?;
        let Some(known) = self.nodes.get_mut(from) else { return Ok(()) };
        if lives.to != self.life || lives.from != known.life {
            return Ok(());
        }
        match have {
            Have::Nothing => (known.has, known.snapshot) = (None, None),
            Have::Page(version, up_to) => match &mut known.snapshot {
                Some((ours, after)) if *ours == version && after.is_none_or(|after| after < up_to) => {
                    *after = Some(up_to);
                }
                // A copy of what was heard before.
                Some(_) | None => return Ok(()),
            },
            Have::Version(version, sum) => {
                if version > self.version || known.has.is_some_and(|has| version < has && known.snapshot.is_none()) {
                    return Ok(());
                }
                if known.snapshot.is_some_and(|(ours, _)| ours > version) {
                    return Ok(());
                }
                (known.has, known.snapshot) = (Some(version), None);
                if version == self.version && sum != self.sum {
                    known.has = None;
                }
            }
        }
        (known.waits, known.repeat) = (false, Repeat::now(now));
        Ok(())
    }
}
