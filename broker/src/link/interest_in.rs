//! What the other side wants, as its snapshots and changes say, kept until it says otherwise.

use std::collections::BTreeSet;

use crate::topic::{self, Filter};

use super::marks::Version;
use super::record::{Delta, Entries, Fault, Page};

/// What one node of the other side wants.
#[derive(Clone, Debug, Default)]
pub struct InterestIn {
    version: Version,
    digest: u64,
    filters: BTreeSet<Filter>,
    except: BTreeSet<Filter>,
    /// Bytes of all their texts.
    bytes: usize,
    /// A snapshot of which pages are missing.
    coming: Option<Coming>,
}

#[derive(Clone, Debug)]
struct Coming {
    version: Version,
    next_page: u32,
    filters: BTreeSet<Filter>,
    except: BTreeSet<Filter>,
    bytes: usize,
}

/// What changed when a version was taken up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Filters that are wanted now.
    pub added: Vec<Filter>,
    /// Filters that are not wanted any more.
    pub removed: Vec<Filter>,
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
    let hash = topic::digest(filter.as_str());
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
            let (filters, except) = Default::default();
            self.coming = Some(Coming { version: page.version, next_page: 0, filters, except, bytes: 0 });
        }
        // A page without those before it: the sender finds by our heartbeats that we hold another version, and repeats.
        let Some(mut coming) = self.coming.take_if(|c| c.version == page.version && c.next_page == page.page) else {
            return Ok(None);
        };
        each(page.entries, |filter, except, _| {
            coming.bytes += filter.as_str().len();
            if except {
                coming.except.insert(filter)
            } else {
                coming.filters.insert(filter)
            };
        })?;
        if coming.filters.len() + coming.except.len() > FILTERS_MAX || coming.bytes > BYTES_MAX {
            return Err(InterestFault::TooMany);
        }
        if !page.last {
            coming.next_page += 1;
            self.coming = Some(coming);
            return Ok(None);
        }
        let digest = sum(&coming.filters, false).wrapping_add(sum(&coming.except, true));
        if digest != page.digest {
            return Err(InterestFault::Digest(page.version.number));
        }
        let changed = Changed {
            added: coming.filters.difference(&self.filters).cloned().collect(),
            removed: self.filters.difference(&coming.filters).cloned().collect(),
        };
        *self = Self {
            version: page.version,
            digest,
            filters: coming.filters,
            except: coming.except,
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
        let mut entries = Vec::new();
        each(delta.entries, |filter, except, removed| entries.push((filter, except, removed)))?;
        let more = entries.iter().filter(|(_, _, removed)| !removed);
        let (count, len) = more.fold((0, 0), |(count, len), (filter, _, _)| (count + 1, len + filter.as_str().len()));
        if self.filters.len() + self.except.len() + count > FILTERS_MAX || self.bytes + len > BYTES_MAX {
            return Err(InterestFault::TooMany);
        }
        let mut changed = Changed::default();
        for (filter, except, removed) in entries {
            let hash = digest_of(&filter, except);
            let set = if except { &mut self.except } else { &mut self.filters };
            let differs = if removed { set.remove(&filter) } else { set.insert(filter.clone()) };
            if differs {
                let len = filter.as_str().len();
                self.bytes = if removed { self.bytes.saturating_sub(len) } else { self.bytes + len };
                self.digest = if removed { self.digest.wrapping_sub(hash) } else { self.digest.wrapping_add(hash) };
                match (except, removed) {
                    (false, false) => changed.added.push(filter),
                    (false, true) => changed.removed.push(filter),
                    (true, false | true) => {}
                }
            }
        }
        self.version = delta.version;
        Ok(Some(changed))
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
}

fn sum(filters: &BTreeSet<Filter>, except: bool) -> u64 {
    filters.iter().fold(0, |sum, filter| sum.wrapping_add(digest_of(filter, except)))
}

fn each(mut entries: Entries<'_>, mut take: impl FnMut(Filter, bool, bool)) -> Result<(), InterestFault> {
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let filter = Filter::parse(entry.filter, LEVELS_MAX).map_err(|_| InterestFault::Filter(entry.filter.into()))?;
        take(filter, entry.except, entry.removed);
    }
    Ok(())
}
