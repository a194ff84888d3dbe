//! What this side wants: the minimal cover of its clients' filters, for a peer also their shared subscriptions, in
//! versions that every node of the other side is told alike, as a snapshot and then as changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::router::{Change, SharedSubscription};
use crate::topic::{Cover, Filter};

use super::batch::{BATCH_MAX, HEAD};
use super::interest_in::digest_of;
use super::marks::Version;
use super::record::{self, Entry};
use super::settings::Route;
use super::shares::{self, Difference, Key, Members, SharesOut};

/// What is wanted, and the versions that were made of it.
#[derive(Debug)]
pub struct InterestOut {
    /// Filters of what may be received at all; none: everything.
    receive: Option<Vec<Filter>>,
    /// The clients' filters, each within what may be received.
    cover: Cover,
    /// What is not wanted though the cover matches it.
    except: BTreeSet<Filter>,
    shares: SharesOut,
    /// What differs from the newest version: filter, and whether it is an exception; true if it came.
    untold: BTreeMap<(Filter, bool), bool>,
    /// The next version has no changes: who is told, is told everything.
    untold_all: bool,
    /// There is to be another version though nothing differs.
    staked: bool,
    /// The newest version.
    version: Version,
    /// Its digest.
    digest: u64,
    /// Changes that led to it, without a gap, the newest last; for nodes that are told less quickly than others.
    log: VecDeque<Vec<u8>>,
    log_bytes: usize,
}

/// A change that is about to be told.
enum Untold {
    Filter { filter: Filter, except: bool, came: bool },
    Share(Difference),
}

/// Changes that are told as such; beyond it a snapshot is shorter to keep.
const UNTOLD_MAX: usize = 65_536;

/// Bytes of changes that are kept; a node that lags further behind is told everything.
const LOG_BYTES_MAX: usize = 1 << 20;

/// Bytes of entries that go into one record, so that a record and its head are within a batch.
const ENTRIES_MAX: usize = BATCH_MAX - HEAD - 64;

// === impl InterestOut ===

impl InterestOut {
    /// What these filters of local clients come to within the routes, with nothing told yet.
    pub fn new(routes: Option<&[Route]>, filters: impl IntoIterator<Item = Filter>) -> Self {
        let mut interest = Self {
            receive: None,
            cover: Cover::default(),
            except: BTreeSet::new(),
            shares: SharesOut::default(),
            untold: BTreeMap::new(),
            untold_all: true,
            staked: false,
            version: Version::default(),
            digest: 0,
            log: VecDeque::new(),
            log_bytes: 0,
        };
        interest.replace(routes, filters);
        interest
    }

    /// Names the life in which versions are counted.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.version.epoch = epoch;
    }

    /// Other routes, or all filters anew. Only what differs is told, so nothing wanted is ever missing in between.
    pub fn replace(&mut self, routes: Option<&[Route]>, filters: impl IntoIterator<Item = Filter>) {
        self.receive = routes.map(distinct);
        let mut cover = Cover::default();
        for filter in filters {
            for part in within(self.receive.as_deref(), &filter) {
                cover.add(part);
            }
        }
        let except = routes.map(exceptions).unwrap_or_default();
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
        let parts: Vec<Filter> = within(self.receive.as_deref(), filter).collect();
        for part in parts {
            let delta = match change {
                Change::Added => self.cover.add(part),
                Change::Removed => self.cover.remove(&part),
            };
            delta.added.into_iter().for_each(|filter| self.note(filter, false, true));
            delta.removed.into_iter().for_each(|filter| self.note(filter, false, false));
        }
    }

    /// A shared subscription of local clients is so now.
    pub fn share_changed(&mut self, share: &SharedSubscription) {
        self.shares.change(share);
        self.bound_untold();
    }

    /// All shared subscriptions of local clients anew. Only what differs is told.
    pub fn shares_replaced(&mut self, shares: impl IntoIterator<Item = SharedSubscription>) {
        self.shares.replace(shares);
        self.bound_untold();
    }

    /// The next version is told as a whole to everybody.
    pub fn tell_all(&mut self) {
        self.untold_all = true;
        self.untold.clear();
    }

    /// There is to be another version, which contains what is wanted now, even if nothing differs.
    pub fn stake(&mut self) {
        self.staked = true;
    }

    /// True if the newest version lacks something.
    pub fn has_untold(&self) -> bool {
        self.untold_all || self.staked || !self.untold.is_empty() || self.shares.untold() > 0
    }

    /// Makes versions of what has changed.
    pub fn make(&mut self) {
        self.staked &= !self.untold_all;
        if std::mem::take(&mut self.untold_all) {
            self.untold.clear();
            self.shares.tell_all();
            self.log.clear();
            self.log_bytes = 0;
            self.version.number += 1;
            self.digest = self.sum();
        } else {
            self.make_changes();
        }
    }

    /// The records that lead from this version to the newest, in order, each at most a batch; a change that needs several
    /// records is as many versions. The newest version as a whole if the changes are not kept, or it is asked for so.
    pub fn tell(&self, from: Version, anew: bool) -> Vec<Vec<u8>> {
        let behind = self.version.number.saturating_sub(from.number);
        let kept = usize::try_from(behind).ok().filter(|behind| *behind <= self.log.len());
        match kept.filter(|_| !anew && from.epoch == self.version.epoch) {
            Some(behind) => self.log.range(self.log.len() - behind..).cloned().collect(),
            None => self.snapshot(),
        }
    }

    /// All whom it concerns were told this version: changes before it are not asked for again.
    pub fn told(&mut self, version: Version) {
        let behind = self.version.number.saturating_sub(version.number);
        while self.log.len() as u64 > behind || self.log_bytes > LOG_BYTES_MAX {
            let Some(change) = self.log.pop_front() else { break };
            self.log_bytes -= change.len();
        }
    }

    /// The newest version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its digest.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many filters and shared subscriptions are wanted.
    pub fn len(&self) -> usize {
        self.cover.len() + self.shares.len()
    }

    fn filters(&self) -> impl Iterator<Item = (&Filter, bool)> {
        let wanted = self.cover.iter().map(|filter| (filter, false));
        wanted.chain(self.except.iter().map(|filter| (filter, true)))
    }

    fn sum(&self) -> u64 {
        let digests = self.filters().map(|(filter, except)| digest_of(filter, except));
        let digests = digests.chain(self.shares.told().map(|(key, members)| shares::digest_of(key, members)));
        digests.fold(0, u64::wrapping_add)
    }

    /// The newest version as a whole. Nothing may be untold.
    fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut pages: Vec<Vec<Entry<'_>>> = vec![Vec::new()];
        let mut bytes = 0;
        let shares = self.shares.told().map(|(key, members)| share_entry(key, members, false));
        for entry in self.filters().map(plain_entry).chain(shares) {
            if bytes > 0 && bytes + entry.len() > ENTRIES_MAX {
                pages.push(Vec::new());
                bytes = 0;
            }
            bytes += entry.len();
            pages.last_mut().expect("there is always a page").push(entry);
        }
        let last = pages.len() - 1;
        let piece = |(index, page): (usize, Vec<Entry<'_>>)| {
            let mut out = Vec::new();
            let number = u32::try_from(index).expect("a snapshot has fewer than 2^32 pages");
            let at = record::begin_page(&mut out, self.version, self.digest, number, index == last);
            page.into_iter().for_each(|entry| record::put_entry(&mut out, entry));
            record::end(&mut out, at);
            out
        };
        pages.into_iter().enumerate().map(piece).collect()
    }

    fn make_changes(&mut self) {
        let plain = std::mem::take(&mut self.untold);
        let plain = plain.into_iter().map(|((filter, except), came)| Untold::Filter { filter, except, came });
        let mut changes: Vec<Untold> = plain.chain(self.shares.tell().into_iter().map(Untold::Share)).collect();
        // What came is told first: of two versions the earlier must not lack what both before and after have.
        changes.sort_by_key(|change| change.is_gone());
        let mut changes = changes.iter().peekable();
        // What was staked without a difference is a version of its own.
        let mut alone = std::mem::take(&mut self.staked);
        while std::mem::take(&mut alone) || changes.peek().is_some() {
            self.version.number += 1;
            let mut out = Vec::new();
            let at = record::begin_delta(&mut out, self.version);
            let begin = out.len();
            while let Some(change) =
                changes.next_if(|change| out.len() == begin || out.len() - begin + change.entry().len() <= ENTRIES_MAX)
            {
                record::put_entry(&mut out, change.entry());
                self.digest = change.digest(self.digest);
            }
            record::end(&mut out, at);
            self.log_bytes += out.len();
            self.log.push_back(out);
        }
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
        self.bound_untold();
    }

    fn bound_untold(&mut self) {
        if self.untold.len() + self.shares.untold() > UNTOLD_MAX {
            self.tell_all();
        }
    }
}

// === impl Untold ===

impl Untold {
    fn is_gone(&self) -> bool {
        match self {
            Self::Filter { came, .. } => !came,
            Self::Share(difference) => difference.now.is_none(),
        }
    }

    fn entry(&self) -> Entry<'_> {
        match self {
            Self::Filter { filter, except, came } => Entry { removed: !came, ..plain_entry((filter, *except)) },
            Self::Share(Difference { key, now, .. }) => share_entry(key, now.unwrap_or_default(), now.is_none()),
        }
    }

    /// The digest after this change.
    fn digest(&self, before: u64) -> u64 {
        match self {
            Self::Filter { filter, except, came: true } => before.wrapping_add(digest_of(filter, *except)),
            Self::Filter { filter, except, came: false } => before.wrapping_sub(digest_of(filter, *except)),
            Self::Share(Difference { key, told, now }) => {
                let hash = |members: &Option<Members>| members.map_or(0, |members| shares::digest_of(key, members));
                before.wrapping_sub(hash(told)).wrapping_add(hash(now))
            }
        }
    }
}

fn plain_entry((filter, except): (&Filter, bool)) -> Entry<'_> {
    Entry { filter: filter.as_str(), except, removed: false, share: None }
}

fn share_entry((group, filter): &Key, members: Members, removed: bool) -> Entry<'_> {
    Entry { filter: filter.as_str(), except: false, removed, share: Some(members.entry(group)) }
}

/// The filters of all routes, each once.
fn distinct(routes: &[Route]) -> Vec<Filter> {
    let all: BTreeSet<&Filter> = routes.iter().flat_map(|route| &route.filters).collect();
    all.into_iter().cloned().collect()
}

/// The parts of a filter that may be received.
fn within<'a>(receive: Option<&'a [Filter]>, filter: &'a Filter) -> impl Iterator<Item = Filter> + 'a {
    let whole = receive.is_none().then(|| filter.clone());
    let parts = receive.unwrap_or_default().iter().filter_map(move |allowed| allowed.intersect(filter));
    whole.into_iter().chain(parts)
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
