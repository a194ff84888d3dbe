//! What another node keeps for this one: a message that a member of a shared subscription here has not acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was taken from one other node for members here, by its places in that node's lane.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// The last batch of which something was taken.
    taken: u64,
    /// What is not settled: batch and number in it, and by how many it is held.
    open: BTreeMap<(u64, u32), u32>,
    /// Counts what was settled.
    settled: u64,
}

/// What is settled: all up to a place but for what is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The batch up to which it is told.
    pub upto: u64,
    /// What is not settled of those: batch and number in it, ascending.
    pub open: Vec<(u64, u32)>,
}

/// One message: settled when nobody holds it any more, because it was acknowledged, went elsewhere, or expired.
#[derive(Clone, Debug)]
pub struct Debt {
    _owed: Arc<Owed>,
}

#[derive(Debug)]
struct Owed {
    ledger: Arc<Ledger>,
    place: (u64, u32),
}

/// Messages that are not settled and are listed in an account; what lies behind is not told.
pub const LISTED_MAX: usize = 128;

// === impl Ledger ===

impl Ledger {
    /// Takes the message of this number in a batch.
    pub fn owe(self: &Arc<Self>, batch: u64, number: u32) -> Debt {
        let place = (batch, number);
        let mut open = self.lock();
        open.taken = open.taken.max(batch);
        *open.open.entry(place).or_default() += 1;
        Debt { _owed: Arc::new(Owed { ledger: Arc::clone(self), place }) }
    }

    /// How much was settled so far.
    pub fn settled(&self) -> u64 {
        self.lock().settled
    }

    /// What is settled.
    pub fn account(&self) -> Account {
        let open = self.lock();
        let mut listed: Vec<(u64, u32)> = open.open.keys().take(LISTED_MAX + 1).copied().collect();
        // Of a batch all is listed or nothing is told.
        let upto = match listed.get(LISTED_MAX) {
            Some((beyond, _)) => beyond.saturating_sub(1),
            None => open.taken,
        };
        listed.retain(|(batch, _)| *batch <= upto);
        Account { upto, open: listed }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Owed ===

impl Drop for Owed {
    fn drop(&mut self) {
        let mut open = self.ledger.lock();
        if let Some(count) = open.open.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                open.open.remove(&self.place);
                open.settled += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(upto: u64, open: &[(u64, u32)]) -> Account {
        Account { upto, open: open.to_vec() }
    }

    #[test]
    fn all_is_settled_but_for_what_somebody_holds() {
        let ledger = Arc::new(Ledger::default());
        assert_eq!(ledger.account(), account(0, &[]));
        let [first, again, other, second] =
            [(3, 0), (3, 0), (3, 1), (5, 7)].map(|(batch, number)| ledger.owe(batch, number));
        assert_eq!((ledger.account(), ledger.settled()), (account(5, &[(3, 0), (3, 1), (5, 7)]), 0));
        drop(first.clone());
        drop(again);
        assert_eq!(ledger.settled(), 0, "one of two is held");
        drop(second);
        drop(other);
        assert_eq!((ledger.account(), ledger.settled()), (account(5, &[(3, 0)]), 2), "what is behind it is settled");
        drop(first);
        assert_eq!(ledger.account(), account(5, &[]));
    }

    #[test]
    fn of_more_than_is_listed_the_account_tells_less() {
        let ledger = Arc::new(Ledger::default());
        let held: Vec<Debt> =
            (0..LISTED_MAX as u32).map(|number| ledger.owe(1 + u64::from(number / 100), number)).collect();
        assert_eq!((ledger.account().upto, ledger.account().open.len()), (2, LISTED_MAX));
        let one_more = ledger.owe(2, 999);
        assert_eq!((ledger.account().upto, ledger.account().open.len()), (1, 100), "of a batch all or nothing");
        drop((held, one_more));
        assert_eq!(ledger.account(), account(2, &[]));
    }
}
