//! Which persistent sessions the other nodes have, as they say: what decides when one of them can't be reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;

use super::claims::{self, CHANGES, HAVE, Have, PAGE};
use super::envelope::Lives;
use super::outlet::Claim;
use super::wire::{Garbled, Reader, Writer};

/// The claims of all other nodes. One for a node, shared by its shards: written when claims come, read when a client
/// connects whose session may be at a node that can't be reached.
#[derive(Debug)]
pub struct Directory {
    life: u64,
    nodes: BTreeMap<Arc<str>, Claimant>,
}

/// A node that claims.
#[derive(Debug)]
struct Claimant {
    life: u64,
    /// By its shards.
    shards: Vec<Heard>,
}

/// What was heard of one shard.
#[derive(Debug, Default)]
struct Heard {
    key: u64,
    /// `None`: nothing whole yet.
    version: Option<u64>,
    held: HashSet<u64>,
    sum: u64,
    coming: Option<Coming>,
}

/// A snapshot of which pages are missing.
#[derive(Debug)]
struct Coming {
    version: u64,
    after: Option<u64>,
    held: HashSet<u64>,
}

// === impl Directory ===

impl Directory {
    /// Nothing is known; `life` is the incarnation of this node.
    pub fn new(life: u64) -> Self {
        Self { life, nodes: BTreeMap::new() }
    }

    /// A connection with a node stands: what it claimed in another life is void.
    pub fn node_connected(&mut self, node: &Arc<str>, life: u64, shards: u8) {
        let shards = usize::from(shards);
        let fresh = || Claimant { life, shards: (0..shards).map(|_| Heard::default()).collect() };
        let known = self.nodes.entry(node.clone()).or_insert_with(fresh);
        if known.life != life || known.shards.len() != shards {
            *known = fresh();
        }
    }

    /// A node is out of the list, and so is what it claims.
    pub fn node_removed(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    /// Whether anything is kept of a node.
    #[cfg(test)]
    pub fn knows(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// What a node says of a client id, as far as was heard.
    pub fn claims(&self, node: &str, id: &str) -> Claim {
        let Some(known) = self.nodes.get(node) else { return Claim::Unknown };
        if known.shards.iter().any(|heard| heard.held.contains(&claims::hash(heard.key, id))) {
            return Claim::Yes;
        }
        let whole = !known.shards.is_empty() && known.shards.iter().all(|heard| heard.version.is_some());
        if whole { Claim::No } else { Claim::Unknown }
    }

    /// How many client ids a node claims, as far as was heard.
    pub fn count(&self, node: &str) -> usize {
        self.nodes.get(node).map_or(0, |known| known.shards.iter().map(|heard| heard.held.len()).sum())
    }

    /// Claims came; gives the answer to send back, if there is one.
    ///
    /// # Errors
    /// They can't be read.
    pub fn received(&mut self, from: &Arc<str>, payload: &[u8]) -> Result<Option<Vec<u8>>, Garbled> {
        let mut reader = Reader::new(payload);
        let (kind, shard) = (reader.u8()?, reader.u8()?);
        let lives = Lives { from: reader.u64()?, to: reader.u64()? };
        let Some(known) = self.nodes.get_mut(from) else { return Ok(None) };
        if lives.to != self.life || lives.from != known.life {
            return Ok(None);
        }
        let heard = known.shards.get_mut(usize::from(shard)).ok_or(Garbled)?;
        heard.key = reader.u64()?;
        let have = match kind {
            CHANGES => heard.changes(&mut reader)?,
            PAGE => heard.page(&mut reader)?,
            _ => return Err(Garbled),
        };
        let mut out = Writer::default();
        out.u8(HAVE);
        out.u8(shard);
        out.u64(self.life);
        out.u64(lives.from);
        match have {
            Have::Nothing => out.u8(0),
            Have::Page(version, up_to) => {
                out.u8(1);
                out.u64(version);
                out.u64(up_to);
            }
            Have::Version(version, sum) => {
                out.u8(2);
                out.u64(version);
                out.u64(sum);
            }
        }
        Ok(Some(out.bytes))
    }
}

// === impl Heard ===

impl Heard {
    fn changes(&mut self, reader: &mut Reader<'_>) -> Result<Have, Garbled> {
        let from = reader.u64()?;
        let changes = reader.list(9, |reader| Ok((reader.u64()?, reader.flag()?)))?;
        reader.end()?;
        let Some(version) = self.version else { return Ok(Have::Nothing) };
        // Those that are known already are passed over; a gap is told by what is said to be had.
        let known = version.checked_sub(from).and_then(|known| usize::try_from(known).ok());
        if let Some(known) = known.filter(|known| *known < changes.len()) {
            for (hash, claimed) in changes.iter().skip(known) {
                self.put(*hash, *claimed);
            }
            self.version = Some(from + changes.len() as u64);
        }
        Ok(Have::Version(self.version.unwrap_or_default(), self.sum))
    }

    fn page(&mut self, reader: &mut Reader<'_>) -> Result<Have, Garbled> {
        let version = reader.u64()?;
        let (follows, after) = (reader.flag()?, reader.u64()?);
        let last = reader.flag()?;
        let page = reader.list(8, Reader::u64)?;
        reader.end()?;
        if !page.is_sorted_by(|one, next| one < next) {
            return Err(Garbled);
        }
        // Copies of pages that are old begin nothing anew.
        let newest = self.coming.as_ref().map(|coming| coming.version).max(self.version);
        let begins = self.coming.as_ref().is_none_or(|coming| coming.version != version);
        if !follows && begins && newest.is_none_or(|newest| newest <= version) {
            self.coming = Some(Coming { version, after: None, held: HashSet::new() });
        }
        let follows = follows.then_some(after);
        let coming = self.coming.as_mut().filter(|coming| coming.version == version && coming.after == follows);
        let Some(coming) = coming else {
            // A copy of an old page, or one of those before it is missing: the sender repeats the one that is awaited.
            return Ok(match (&self.coming, self.version) {
                (Some(Coming { version, after: Some(after), .. }), _) => Have::Page(*version, *after),
                (Some(_) | None, Some(version)) => Have::Version(version, self.sum),
                (Some(_) | None, None) => Have::Nothing,
            });
        };
        coming.held.extend(&page);
        coming.after = page.last().copied().or(coming.after);
        if !last {
            return Ok(Have::Page(version, coming.after.unwrap_or_default()));
        }
        self.held = std::mem::take(&mut coming.held);
        self.sum = self.held.iter().fold(0, |sum, hash| sum.wrapping_add(*hash));
        (self.version, self.coming) = (Some(version), None);
        Ok(Have::Version(version, self.sum))
    }

    fn put(&mut self, hash: u64, claimed: bool) {
        let changed = if claimed { self.held.insert(hash) } else { self.held.remove(&hash) };
        if changed {
            self.sum = if claimed { self.sum.wrapping_add(hash) } else { self.sum.wrapping_sub(hash) };
        }
    }
}
