//! What the clients of this node want to receive: an ordered, bounded log of filters that came and went.

use crate::topic::Filter;
use std::collections::VecDeque;

/// Changes kept; a reader that lags further behind gets a snapshot.
pub(super) const CHANGES_MAX: usize = 65_536;

/// What happened to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its first client subscribed.
    Added,
    /// Its last client unsubscribed.
    Removed,
}

/// What a reader of the log learns. The number is the cursor to ask with next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All that changed since the reader's cursor, in order.
    Changes(Vec<(Filter, Change)>, u64),
    /// The log does not go back to the reader's cursor: all filters that are wanted now, each once.
    Snapshot(Vec<Filter>, u64),
}

/// The log. Changes are numbered from 0; a cursor is the number of the first change not yet seen.
#[derive(Debug)]
pub(super) struct Log {
    changes: VecDeque<(Filter, Change)>,
    max: usize,
    first: u64,
}

// === impl Log ===

impl Log {
    pub fn new(max: usize) -> Self {
        Self { changes: VecDeque::new(), max, first: 0 }
    }

    /// Appends a change; the oldest goes when there are too many.
    pub fn push(&mut self, filter: &Filter, change: Change) {
        if self.changes.len() == self.max {
            self.changes.pop_front();
            self.first += 1;
        }
        self.changes.push_back((filter.clone(), change));
    }

    /// The cursor of a reader that has seen everything.
    pub fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// Changes from `cursor` on; `None` if the log does not reach back so far, or the cursor is not of this log.
    pub fn since(&self, cursor: u64) -> Option<Vec<(Filter, Change)>> {
        let seen = usize::try_from(cursor.checked_sub(self.first)?).ok()?;
        (seen <= self.changes.len()).then(|| self.changes.range(seen..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_changes_that_it_has_not_seen_or_none_if_some_are_gone() {
        let filter = |text| Filter::parse(text, 8).unwrap();
        let mut log = Log::new(3);
        assert_eq!((log.end(), log.since(0)), (0, Some(vec![])));
        assert_eq!(log.since(1), None, "a cursor from the future is of another log");
        log.push(&filter("a"), Change::Added);
        log.push(&filter("b"), Change::Added);
        log.push(&filter("a"), Change::Removed);
        assert_eq!(log.since(1), Some(vec![(filter("b"), Change::Added), (filter("a"), Change::Removed)]));
        log.push(&filter("c"), Change::Added);
        assert_eq!(log.since(0), None);
        assert_eq!(log.since(3), Some(vec![(filter("c"), Change::Added)]));
        assert_eq!((log.end(), log.since(4)), (4, Some(vec![])));
    }
}
