//! What the other side wants, as its snapshots and changes say, kept until it says otherwise.

use std::collections::BTreeSet;

use crate::digest::digest;
use crate::topic::Filter;

use super::marks::Version;
use super::record::{Delta, Entries, Entry, Fault, Page, Share};
use super::shares::{self, Key, Members, Shares};
use crate::router::SharedSubscription;

/// What one node of the other side wants.
#[derive(Clone, Debug, Default)]
pub struct InterestIn {
    version: Version,
    digest: u64,
    filters: BTreeSet<Filter>,
    except: BTreeSet<Filter>,
    shares: Shares,
    /// Bytes of all their texts.
    bytes: usize,
    /// A snapshot of which pages are missing.
    coming: Option<Coming>,
}

#[derive(Clone, Debug)]
struct Coming {
    version: Version,
    next_page: u32,
    /// In the order in which they came: a set made of them at once takes half the memory of one that grew.
    filters: Vec<Filter>,
    except: BTreeSet<Filter>,
    shares: Shares,
    bytes: usize,
}

/// An entry of an interest, checked.
enum Piece {
    Filter { filter: Filter, except: bool, removed: bool },
    Share { key: Key, members: Members, removed: bool },
}

/// What changed when a version was taken up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Filters that are wanted now.
    pub added: Vec<Filter>,
    /// Filters that are not wanted any more.
    pub removed: Vec<Filter>,
    /// Shared subscriptions that are new, or have other members.
    pub shared: Vec<SharedSubscription>,
    /// Shared subscriptions that are gone.
    pub unshared: Vec<Key>,
}

/// Why a piece of interest was not taken up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterestFault {
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] Fault),
    /// A filter that is none.
    #[error("the remote wants `{0}`, which is not a topic filter")]
    Filter(String),
    /// A shared subscription that is none.
    #[error("the remote has a shared subscription of group `{0}`, which is no share name, or has no member")]
    Share(String),
    /// More filters than a link takes.
    #[error(
        "the remote wants more than {FILTERS_MAX} filters or {BYTES_MAX} bytes of them; let it want fewer, wider ones"
    )]
    TooMany,
    /// What was built is not what the sender has.
    #[error("interest differs from the remote's after version {0}")]
    Digest(u64),
}

/// Filters of one remote node that a link takes.
pub const FILTERS_MAX: usize = 1_000_000;

/// Bytes of the texts of those filters.
const BYTES_MAX: usize = 128 << 20;

/// Levels of a remote filter that a link takes: what any broker may allow its own clients.
const LEVELS_MAX: u16 = u16::MAX;

/// The hash of a filter in a digest: that of its text, every bit turned if it is an exception. The digest of an interest
/// is the sum of these, modulo 2^64, so that it can be kept up to date with each change.
pub fn digest_of(filter: &Filter, except: bool) -> u64 {
    let hash = digest(filter.as_str());
    if except { !hash } else { hash }
}

// === impl InterestIn ===

impl InterestIn {
    /// Takes a page. The snapshot replaces what was wanted when its last page is here, and not before.
    ///
    /// # Errors
    /// What is wrong with it; the interest stays as it was.
    pub fn page(&mut self, page: Page<'_>) -> Result<Option<Changed>, InterestFault> {
        if page.page == 0 {
            let (filters, except, shares) = Default::default();
            self.coming = Some(Coming { version: page.version, next_page: 0, filters, except, shares, bytes: 0 });
        }
        // A page without those before it: the sender finds by our heartbeats that we hold another version, and repeats.
        let Some(mut coming) = self.coming.take_if(|c| c.version == page.version && c.next_page == page.page) else {
            return Ok(None);
        };
        each(page.entries, |piece| {
            coming.bytes += piece.len();
            match piece {
                Piece::Filter { filter, except: false, .. } => coming.filters.push(filter),
                Piece::Filter { filter, except: true, .. } => drop(coming.except.insert(filter)),
                Piece::Share { key, members, .. } => drop(coming.shares.insert(key, members)),
            }
        })?;
        let count = coming.filters.len() + coming.except.len() + coming.shares.len();
        if count > FILTERS_MAX || coming.bytes > BYTES_MAX {
            return Err(InterestFault::TooMany);
        }
        if !page.last {
            coming.next_page += 1;
            self.coming = Some(coming);
            return Ok(None);
        }
        let shares = coming.shares.iter().map(|(key, members)| shares::digest_of(key, *members));
        let filters: BTreeSet<Filter> = coming.filters.into_iter().collect();
        let digest = sum(&filters, false).wrapping_add(sum(&coming.except, true));
        let digest = shares.fold(digest, u64::wrapping_add);
        if digest != page.digest {
            return Err(InterestFault::Digest(page.version.number));
        }
        let changed = Changed {
            added: filters.difference(&self.filters).cloned().collect(),
            removed: self.filters.difference(&filters).cloned().collect(),
            shared: coming
                .shares
                .iter()
                .filter(|(key, members)| self.shares.get(*key) != Some(*members))
                .map(|(key, members)| shares::join(key, *members))
                .collect(),
            unshared: self.shares.keys().filter(|key| !coming.shares.contains_key(*key)).cloned().collect(),
        };
        *self = Self {
            version: page.version,
            digest,
            filters,
            except: coming.except,
            shares: coming.shares,
            bytes: coming.bytes,
            coming: None,
        };
        Ok(Some(changed))
    }

    /// Takes a change, if it follows the version that is held.
    ///
    /// # Errors
    /// What is wrong with it; the interest stays as it was.
    pub fn delta(&mut self, delta: Delta<'_>) -> Result<Option<Changed>, InterestFault> {
        let next = Version { number: self.version.number.wrapping_add(1), ..self.version };
        if delta.version != next {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        each(delta.entries, |piece| pieces.push(piece))?;
        let more = pieces.iter().filter(|piece| !piece.is_removed());
        let (count, len) = more.fold((0, 0), |(count, len), piece| (count + 1, len + piece.len()));
        if self.len() + self.except.len() + count > FILTERS_MAX || self.bytes + len > BYTES_MAX {
            return Err(InterestFault::TooMany);
        }
        let mut changed = Changed::default();
        pieces.into_iter().for_each(|piece| self.change(piece, &mut changed));
        self.version = delta.version;
        Ok(Some(changed))
    }

    fn change(&mut self, piece: Piece, changed: &mut Changed) {
        let len = piece.len();
        let (before, after) = match piece {
            Piece::Filter { filter, except, removed } => {
                let hash = digest_of(&filter, except);
                let set = if except { &mut self.except } else { &mut self.filters };
                let was = if removed { set.remove(&filter) } else { !set.insert(filter.clone()) };
                match (was, removed, except) {
                    (false, false, false) => changed.added.push(filter),
                    (true, true, false) => changed.removed.push(filter),
                    (true, false, false) | (false, true, false) | (_, _, true) => {}
                }
                (was.then_some(hash), (!removed).then_some(hash))
            }
            Piece::Share { key, removed: false, members } => {
                let before = self.shares.insert(key.clone(), members);
                if before != Some(members) {
                    changed.shared.push(shares::join(&key, members));
                }
                let hash = |members| shares::digest_of(&key, members);
                (before.map(hash), Some(hash(members)))
            }
            Piece::Share { key, removed: true, .. } => {
                let before = self.shares.remove(&key).map(|members| shares::digest_of(&key, members));
                if before.is_some() {
                    changed.unshared.push(key);
                }
                (before, None)
            }
        };
        self.digest = self.digest.wrapping_sub(before.unwrap_or(0)).wrapping_add(after.unwrap_or(0));
        self.bytes = match (before.is_some(), after.is_some()) {
            (false, true) => self.bytes + len,
            (true, false) => self.bytes.saturating_sub(len),
            (true, true) | (false, false) => self.bytes,
        };
    }

    /// The version held.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The digest of what is held.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The filters held.
    pub fn filters(&self) -> &BTreeSet<Filter> {
        &self.filters
    }

    /// What is not wanted although a filter matches.
    pub fn except(&self) -> &BTreeSet<Filter> {
        &self.except
    }

    /// The shared subscriptions held.
    pub fn shares(&self) -> impl Iterator<Item = SharedSubscription> + '_ {
        self.shares.iter().map(|(key, members)| shares::join(key, *members))
    }

    /// How many filters and shared subscriptions are held.
    pub fn len(&self) -> usize {
        self.filters.len() + self.shares.len()
    }
}

// === impl Piece ===

impl Piece {
    /// Bytes of its texts.
    fn len(&self) -> usize {
        match self {
            Self::Filter { filter, .. } => filter.as_str().len(),
            Self::Share { key: (group, filter), .. } => group.len() + filter.as_str().len(),
        }
    }

    fn is_removed(&self) -> bool {
        match self {
            Self::Filter { removed, .. } | Self::Share { removed, .. } => *removed,
        }
    }
}

fn sum(filters: &BTreeSet<Filter>, except: bool) -> u64 {
    filters.iter().fold(0, |sum, filter| sum.wrapping_add(digest_of(filter, except)))
}

fn each(mut entries: Entries<'_>, mut take: impl FnMut(Piece)) -> Result<(), InterestFault> {
    while let Some(entry) = entries.next() {
        let Entry { filter, except, removed, share } = entry?;
        let filter = Filter::parse(filter, LEVELS_MAX).map_err(|_| InterestFault::Filter(filter.into()))?;
        take(match share {
            None => Piece::Filter { filter, except, removed },
            Some(Share { group, number, online, offline }) => {
                let is_name = !group.is_empty() && !group.contains(['/', '+', '#', '\0']);
                if !is_name || (!removed && online == 0 && offline == 0) {
                    return Err(InterestFault::Share(group.into()));
                }
                Piece::Share { key: (group.into(), filter), members: Members { number, online, offline }, removed }
            }
        });
    }
    Ok(())
}
