//! Counts connections at their listener, from accept until the socket is dropped, wherever that happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A connection's place among the `maxConnections` of its listener; dropping it frees the place.
pub struct ConnectionGuard {
    count: Arc<AtomicU64>,
}

// === impl ConnectionGuard ===

impl ConnectionGuard {
    /// Takes a place, unless `max` are taken.
    pub fn enter(count: &Arc<AtomicU64>, max: u64) -> Option<Self> {
        let taken = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < max).then_some(taken + 1));
        taken.ok().map(|_| Self { count: Arc::clone(count) })
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_guard_is_dropped() {
        let count = Arc::new(AtomicU64::new(0));
        let first = ConnectionGuard::enter(&count, 1).expect("one place is free");
        assert!(ConnectionGuard::enter(&count, 1).is_none());
        drop(first);
        assert!(ConnectionGuard::enter(&count, 1).is_some());
    }
}
