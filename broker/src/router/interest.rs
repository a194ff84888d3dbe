//! What is wanted here, as others read it: ordered, bounded logs of filters and shared subscriptions that changed.

use super::shared_subscription::SharedSubscription;
use crate::topic::Filter;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Changes kept; a reader that lags further behind gets a snapshot.
pub(super) const CHANGES_MAX: usize = 65_536;

/// Who reads what is wanted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Other nodes of the cluster: a filter is wanted while a client of this node subscribes to it outside of groups. Of
    /// groups they are told apart, see [`Shares`]: what goes to one member must not come to every node.
    Peers = 0,
    /// Other clusters: a filter is wanted while a client of this node or a peer stands behind it, in a group or not.
    Links = 1,
}

/// What happened to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first that wants it subscribed.
    Added,
    /// The last that wanted it unsubscribed.
    Removed,
}

/// What a reader of the log of filters learns. The number is the cursor to ask with next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All that changed since the reader's cursor, in order.
    Changes(Vec<(Filter, Change)>, u64),
    /// The log does not go back to the reader's cursor: all filters that are wanted now, each once.
    Snapshot(Vec<Filter>, u64),
}

/// What a reader of the log of shared subscriptions learns. The number is the cursor to ask with next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shares {
    /// Those that changed since the reader's cursor, each once as it was after the last change; one without members is
    /// gone.
    Changes(Vec<SharedSubscription>, u64),
    /// The log does not go back to the reader's cursor: all that have members now.
    Snapshot(Vec<SharedSubscription>, u64),
}

/// What began and ceased to be wanted, by audience.
pub(super) type Changes = [Option<Change>; Audience::ALL.len()];

/// The log of filters that all audiences read, each what concerns it.
#[derive(Debug)]
pub(super) struct InterestLog {
    log: Log<(Filter, Changes)>,
    /// The cursors of readers that have seen everything, by audience.
    ends: [u64; Audience::ALL.len()],
    /// Readers with cursors before these have missed something, by audience.
    kept_from: [u64; Audience::ALL.len()],
}

/// A log. Changes are numbered from 0; a cursor is the number of the first change not yet seen.
#[derive(Debug)]
pub(super) struct Log<T> {
    changes: VecDeque<T>,
    max: usize,
    first: u64,
}

// === impl Audience ===

impl Audience {
    /// All that there are, each at the place of its number.
    pub(super) const ALL: [Self; 2] = [Self::Peers, Self::Links];
}

// === impl Shares ===

impl Shares {
    /// Changes in order, of which the last of each shared subscription counts.
    pub(super) fn last_of(mut changes: Vec<SharedSubscription>, end: u64) -> Self {
        let mut seen: HashSet<(Arc<str>, Filter)> = HashSet::new();
        changes.reverse();
        changes.retain(|share| seen.insert((Arc::clone(&share.group), share.filter.clone())));
        changes.reverse();
        Self::Changes(changes, end)
    }
}

// === impl InterestLog ===

impl InterestLog {
    pub fn new(max: usize) -> Self {
        Self { log: Log::new(max), ends: Default::default(), kept_from: Default::default() }
    }

    pub fn push(&mut self, filter: &Filter, changes: Changes) {
        let dropped = self.log.push((filter.clone(), changes));
        for audience in Audience::ALL {
            let at = audience as usize;
            if changes[at].is_some() {
                self.ends[at] = self.log.end();
            }
            if dropped.as_ref().is_some_and(|(_, changes)| changes[at].is_some()) {
                self.kept_from[at] = self.log.first;
            }
        }
    }

    /// The cursor of a reader that has seen everything.
    pub fn end(&self, audience: Audience) -> u64 {
        self.ends[audience as usize]
    }

    /// Changes from `cursor` on; `None` if some of them are gone, or the cursor is not of this log.
    pub fn since(&self, audience: Audience, cursor: u64) -> Option<Vec<(Filter, Change)>> {
        let at = audience as usize;
        if cursor < self.kept_from[at] || cursor > self.ends[at] {
            return None;
        }
        let changes = self.log.since(cursor.max(self.log.first))?;
        Some(changes.filter_map(|(filter, changes)| Some((filter.clone(), changes[at]?))).collect())
    }
}

// === impl Log ===

impl<T> Log<T> {
    pub fn new(max: usize) -> Self {
        Self { changes: VecDeque::new(), max, first: 0 }
    }

    /// Appends a change; the oldest goes when there are too many, and is given back.
    pub fn push(&mut self, change: T) -> Option<T> {
        let mut dropped = None;
        if self.changes.len() == self.max {
            dropped = self.changes.pop_front();
            self.first += 1;
        }
        self.changes.push_back(change);
        dropped
    }

    /// The cursor of a reader that has seen everything.
    pub fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// Changes from `cursor` on; `None` if the log does not reach back so far, or the cursor is not of this log.
    pub fn since(&self, cursor: u64) -> Option<impl Iterator<Item = &T>> {
        let seen = usize::try_from(cursor.checked_sub(self.first)?).ok()?;
        (seen <= self.changes.len()).then(|| self.changes.range(seen..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_changes_that_it_has_not_seen_or_none_if_some_are_gone() {
        let mut log = Log::new(3);
        let since = |log: &Log<char>, cursor| log.since(cursor).map(|changes| changes.copied().collect::<Vec<char>>());
        assert_eq!((log.end(), since(&log, 0)), (0, Some(vec![])));
        assert_eq!(since(&log, 1), None, "a cursor from the future is of another log");
        log.push('a');
        log.push('b');
        log.push('c');
        assert_eq!(since(&log, 1), Some(vec!['b', 'c']));
        assert_eq!(log.push('d'), Some('a'));
        assert_eq!(since(&log, 0), None);
        assert_eq!(since(&log, 3), Some(vec!['d']));
        assert_eq!((log.end(), since(&log, 4)), (4, Some(vec![])));
    }

    #[test]
    fn an_audience_misses_nothing_by_changes_that_do_not_concern_it() {
        let filter = |text: &str| Filter::parse(text, 8).unwrap();
        let mut log = InterestLog::new(3);
        let added = Some(Change::Added);
        let (peers, links) = (Audience::Peers, Audience::Links);
        log.push(&filter("own/1"), [added, added]);
        for i in 0..3 {
            log.push(&filter(&format!("of/peer/{i}")), [None, added]);
        }
        assert_eq!((log.end(peers), log.end(links)), (1, 4));
        assert_eq!(log.since(peers, 0), None);
        assert_eq!(log.since(links, 0), None);
        assert_eq!(log.since(peers, 1), Some(vec![]));
        assert_eq!(log.since(peers, 2), None, "a cursor that was never given");
        log.push(&filter("own/2"), [added, None]);
        log.push(&filter("of/peer/3"), [None, added]);
        assert_eq!(log.since(peers, 1), Some(vec![(filter("own/2"), Change::Added)]));
        assert_eq!(log.since(links, 4), Some(vec![(filter("of/peer/3"), Change::Added)]));
        assert_eq!(log.since(links, 2), None);
    }

    #[test]
    fn a_shared_subscription_that_changed_often_is_told_once() {
        let share = |group: &str, number, online| SharedSubscription {
            group: group.into(),
            filter: Filter::parse("a/#", 8).unwrap(),
            number,
            online,
            offline: 0,
        };
        let changes = vec![share("g", 1, 1), share("h", 2, 1), share("g", 1, 2), share("h", 2, 0), share("h", 3, 1)];
        assert_eq!(Shares::last_of(changes, 5), Shares::Changes(vec![share("g", 1, 2), share("h", 3, 1)], 5));
    }
}
