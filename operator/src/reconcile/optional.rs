//! Which kinds that may be missing are served now, and which clusters ask for objects of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::core::Status;
use tokio::sync::Notify;

use super::world::ClusterKey;
use crate::plan::extras::OPTIONAL_KINDS;

/// Shared by all passes and by who looks for the kinds.
#[derive(Debug)]
pub struct Optional {
    state: Mutex<State>,
    asked: BTreeMap<&'static str, Notify>,
}

#[derive(Debug, Default)]
struct State {
    served: BTreeSet<&'static str>,
    asking: BTreeMap<&'static str, HashSet<ClusterKey>>,
}

/// Whether a refusal means that the kind is gone or going.
pub fn is_leaving(status: &Status) -> bool {
    status.code == 404 || status.code == 403 && status.message.contains("custom resource definition is terminating")
}

// === impl Optional ===

impl Default for Optional {
    fn default() -> Self {
        let asked = OPTIONAL_KINDS.iter().map(|kind| (kind.kind, Notify::new())).collect();
        Self { state: Mutex::default(), asked }
    }
}

impl Optional {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the API server has the kind.
    pub fn is_served(&self, kind: &str) -> bool {
        self.lock().served.contains(kind)
    }

    /// The API server has it from now on, or has it no longer.
    pub fn set_served(&self, kind: &'static str, served: bool) {
        let mut state = self.lock();
        if served {
            state.served.insert(kind);
        } else {
            state.served.remove(kind);
        }
    }

    /// A cluster asks for objects of these kinds, and of no others.
    pub fn set_asking(&self, key: &ClusterKey, kinds: &[&'static str]) {
        let mut state = self.lock();
        for kind in OPTIONAL_KINDS.map(|kind| kind.kind) {
            let asking = state.asking.entry(kind).or_default();
            if !kinds.contains(&kind) {
                asking.remove(key);
            } else if asking.insert(key.clone()) {
                self.asked[kind].notify_one();
            }
        }
    }

    /// Who asks for objects of a kind.
    pub fn who_asks(&self, kind: &str) -> Vec<ClusterKey> {
        self.lock().asking.get(kind).into_iter().flatten().cloned().collect()
    }

    /// Waits until somebody asks for objects of a kind.
    pub async fn asked(&self, kind: &str) {
        while self.who_asks(kind).is_empty() {
            self.asked[kind].notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_question_hears_of_one_that_was_asked_before() {
        let (optional, key) = (Optional::default(), ClusterKey::new("site", "edge"));
        optional.set_asking(&key, &["Certificate"]);
        optional.asked("Certificate").await;
        assert_eq!(optional.who_asks("Certificate"), std::slice::from_ref(&key));
        optional.set_asking(&key, &["ServiceMonitor"]);
        assert_eq!((optional.who_asks("Certificate").len(), optional.who_asks("ServiceMonitor").len()), (0, 1));
    }
}
