//! What this side wants: the minimal cover of its clients' filters, told as a snapshot and then as changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::router::Change;
use crate::topic::{Cover, Filter};

use super::batch::{BATCH_MAX, HEAD};
use super::interest_in::digest_of;
use super::marks::Version;
use super::record::{self, Entry};
use super::settings::Route;

/// What is wanted, and how much of it the other side was told.
#[derive(Debug)]
pub struct InterestOut {
    /// Filters of what may be received at all.
    receive: Vec<Filter>,
    /// The clients' filters, each within what may be received.
    cover: Cover,
    /// What is not wanted though the cover matches it.
    except: BTreeSet<Filter>,
    /// What differs from what was told: filter, and whether it is an exception; true if it came.
    untold: BTreeMap<(Filter, bool), bool>,
    /// The next thing to tell is everything.
    untold_all: bool,
    /// The version told last.
    version: Version,
    /// Digest of what was told last.
    digest: u64,
}

/// Changes that are told as such; beyond it a snapshot is shorter to keep.
const UNTOLD_MAX: usize = 65_536;

/// Bytes of entries that go into one record, so that a record and its head are within a batch.
const ENTRIES_MAX: usize = BATCH_MAX - HEAD - 64;

// === impl InterestOut ===

impl InterestOut {
    /// What these filters of local clients come to within the routes, with nothing told yet.
    pub fn new(routes: &[Route], filters: impl IntoIterator<Item = Filter>) -> Self {
        let mut interest = Self {
            receive: Vec::new(),
            cover: Cover::default(),
            except: BTreeSet::new(),
            untold: BTreeMap::new(),
            untold_all: true,
            version: Version::default(),
            digest: 0,
        };
        interest.replace(routes, filters);
        interest
    }

    /// Names the life in which versions are counted.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.version.epoch = epoch;
    }

    /// Other routes, or all filters anew. Only what differs is told, so nothing wanted is ever missing in between.
    pub fn replace(&mut self, routes: &[Route], filters: impl IntoIterator<Item = Filter>) {
        self.receive = distinct(routes);
        let mut cover = Cover::default();
        for filter in filters {
            for part in within(&self.receive, &filter) {
                cover.add(part);
            }
        }
        let except = exceptions(routes);
        let old: BTreeSet<Filter> = self.cover.iter().cloned().collect();
        let new: BTreeSet<Filter> = cover.iter().cloned().collect();
        self.cover = cover;
        for (gone, come, is_except) in [(&old, &new, false), (&self.except.clone(), &except, true)] {
            come.difference(gone).for_each(|filter| self.note(filter.clone(), is_except, true));
            gone.difference(come).for_each(|filter| self.note(filter.clone(), is_except, false));
        }
        self.except = except;
    }

    /// A filter of local clients came or went.
    pub fn change(&mut self, filter: &Filter, change: Change) {
        let parts: Vec<Filter> = within(&self.receive, filter).collect();
        for part in parts {
            let delta = match change {
                Change::Added => self.cover.add(part),
                Change::Removed => self.cover.remove(&part),
            };
            delta.added.into_iter().for_each(|filter| self.note(filter, false, true));
            delta.removed.into_iter().for_each(|filter| self.note(filter, false, false));
        }
    }

    /// The next thing to tell is everything: the other side does not hold what it was told.
    pub fn tell_all(&mut self) {
        self.untold_all = true;
        self.untold.clear();
    }

    /// True if something was not told.
    pub fn has_untold(&self) -> bool {
        self.untold_all || !self.untold.is_empty()
    }

    /// Tells it: records in order, each at most a batch. A change that needs several records is as many versions.
    pub fn tell(&mut self) -> Vec<Vec<u8>> {
        if self.untold_all { self.tell_snapshot() } else { self.tell_changes() }
    }

    /// The version told last.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Digest of the version told last.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many filters are wanted.
    pub fn len(&self) -> usize {
        self.cover.len()
    }

    fn tell_snapshot(&mut self) -> Vec<Vec<u8>> {
        self.untold_all = false;
        self.untold.clear();
        self.version.number += 1;
        let entries = || {
            let wanted = self.cover.iter().map(|filter| (filter, false));
            wanted.chain(self.except.iter().map(|filter| (filter, true)))
        };
        self.digest = entries().fold(0, |sum: u64, (filter, except)| sum.wrapping_add(digest_of(filter, except)));
        let mut pages: Vec<Vec<(&Filter, bool)>> = vec![Vec::new()];
        let mut bytes = 0;
        for (filter, except) in entries() {
            let len = 3 + filter.as_str().len();
            if bytes > 0 && bytes + len > ENTRIES_MAX {
                pages.push(Vec::new());
                bytes = 0;
            }
            bytes += len;
            pages.last_mut().expect("there is always a page").push((filter, except));
        }
        let last = pages.len() - 1;
        let piece = |(index, page): (usize, Vec<(&Filter, bool)>)| {
            let mut out = Vec::new();
            let number = u32::try_from(index).expect("a snapshot has fewer than 2^32 pages");
            let at = record::begin_page(&mut out, self.version, self.digest, number, index == last);
            for (filter, except) in page {
                record::put_entry(&mut out, Entry { filter: filter.as_str(), except, removed: false });
            }
            record::end(&mut out, at);
            out
        };
        pages.into_iter().enumerate().map(piece).collect()
    }

    fn tell_changes(&mut self) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut changes: Vec<_> = std::mem::take(&mut self.untold).into_iter().collect();
        // What came is told first: of two versions the earlier must not lack what both before and after have.
        changes.sort_by_key(|(_, came)| !came);
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while let Some(((filter, except), came)) =
                changes.next_if(|((filter, _), _)| bytes == 0 || bytes + 3 + filter.as_str().len() <= ENTRIES_MAX)
            {
                bytes += 3 + filter.as_str().len();
                let digest = digest_of(&filter, except);
                self.digest = if came { self.digest.wrapping_add(digest) } else { self.digest.wrapping_sub(digest) };
                entries.push((filter, except, came));
            }
            self.version.number += 1;
            let mut out = Vec::new();
            let at = record::begin_delta(&mut out, self.version);
            for (filter, except, came) in &entries {
                record::put_entry(&mut out, Entry { filter: filter.as_str(), except: *except, removed: !came });
            }
            record::end(&mut out, at);
            pieces.push(out);
        }
        pieces
    }

    /// Something differs from before: what differs twice is as it was told.
    fn note(&mut self, filter: Filter, except: bool, came: bool) {
        if self.untold_all {
            return;
        }
        let key = (filter, except);
        if self.untold.remove(&key).is_none() {
            self.untold.insert(key, came);
        }
        if self.untold.len() > UNTOLD_MAX {
            self.tell_all();
        }
    }
}

/// The filters of all routes, each once.
fn distinct(routes: &[Route]) -> Vec<Filter> {
    let all: BTreeSet<&Filter> = routes.iter().flat_map(|route| &route.filters).collect();
    all.into_iter().cloned().collect()
}

/// The parts of a filter that may be received.
fn within<'a>(receive: &'a [Filter], filter: &'a Filter) -> impl Iterator<Item = Filter> + 'a {
    receive.iter().filter_map(move |allowed| allowed.intersect(filter))
}

/// The exceptions that hold whichever route admits a topic: those that no other route lets through.
fn exceptions(routes: &[Route]) -> BTreeSet<Filter> {
    let holds = |index: usize, except: &Filter| {
        routes.iter().enumerate().filter(|(other, _)| *other != index).all(|(_, route)| {
            route.except.iter().any(|theirs| theirs.covers(except))
                || route.filters.iter().all(|filter| filter.intersect(except).is_none())
        })
    };
    let excepts = routes.iter().enumerate().flat_map(|(index, route)| route.except.iter().map(move |e| (index, e)));
    excepts.filter(|(index, except)| holds(*index, except)).map(|(_, except)| except.clone()).collect()
}
