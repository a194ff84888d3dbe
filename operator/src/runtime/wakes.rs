//! Clusters to which something happened since somebody looked: a set, so that it never grows beyond their number.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::reconcile::world::ClusterKey;

/// Who must be looked at. Many add, one takes.
#[derive(Debug, Default)]
pub struct Wakes {
    keys: Mutex<HashSet<ClusterKey>>,
    added: Notify,
}

// === impl Wakes ===

impl Wakes {
    /// Something happened to it.
    pub fn add(&self, key: ClusterKey) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.added.notify_one();
    }

    /// All that were added since; waits for one.
    pub async fn take(&self) -> HashSet<ClusterKey> {
        loop {
            let keys = std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner));
            if !keys.is_empty() {
                return keys;
            }
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_is_added_often_is_taken_once() {
        let wakes = Wakes::default();
        for name in ["a", "b", "a", "a"] {
            wakes.add(ClusterKey::new("site", name));
        }
        assert_eq!(wakes.take().await.len(), 2);
        wakes.add(ClusterKey::new("site", "a"));
        assert_eq!(wakes.take().await.into_iter().collect::<Vec<_>>(), [ClusterKey::new("site", "a")]);
    }
}
