//! What another node keeps for this one: a message that a member of a shared subscription here has not acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was taken from one other node for members here, by its places in that node's lane.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// The last place of which something was taken.
    taken: u64,
    /// Places of which something is not settled, and how much.
    open: BTreeMap<u64, u32>,
}

/// One message of a place: settled when nobody holds it any more, because it was acknowledged, went elsewhere, or expired.
#[derive(Clone, Debug)]
pub struct Debt {
    _owed: Arc<Owed>,
}

#[derive(Debug)]
struct Owed {
    ledger: Arc<Ledger>,
    place: u64,
}

// === impl Ledger ===

impl Ledger {
    /// Takes a message of this place.
    pub fn owe(self: &Arc<Self>, place: u64) -> Debt {
        let mut open = self.lock();
        open.taken = open.taken.max(place);
        *open.open.entry(place).or_default() += 1;
        Debt { _owed: Arc::new(Owed { ledger: Arc::clone(self), place }) }
    }

    /// The place up to which all is settled.
    pub fn settled(&self) -> u64 {
        let open = self.lock();
        open.open.first_key_value().map_or(open.taken, |(first, _)| first.saturating_sub(1))
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
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_settled_up_to_the_first_place_of_which_somebody_holds_something() {
        let ledger = Arc::new(Ledger::default());
        assert_eq!(ledger.settled(), 0);
        let [first, again, second] = [ledger.owe(3), ledger.owe(3), ledger.owe(5)];
        assert_eq!(ledger.settled(), 2);
        drop(first.clone());
        drop(again);
        assert_eq!(ledger.settled(), 2, "one of two is held");
        drop(first);
        assert_eq!(ledger.settled(), 4);
        drop(second);
        assert_eq!(ledger.settled(), 5);
    }
}
