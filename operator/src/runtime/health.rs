//! Whether the operator can do its work, and what is missing for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What readiness is made of.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    missing_crds: BTreeSet<String>,
    /// CRDs that were there, by their kinds.
    vanished: BTreeMap<String, String>,
    connected: bool,
    leads: bool,
    /// By kind and scope: none: it has told everything; else what it waits for.
    watches: BTreeMap<(String, String), Option<String>>,
}

// === impl Health ===

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API server answered: these CRDs are not there.
    pub fn crds(&self, missing: impl IntoIterator<Item = String>) {
        let mut state = self.lock();
        state.connected = true;
        state.missing_crds = missing.into_iter().collect();
    }

    /// This process holds the lease.
    pub fn leads(&self) {
        self.lock().leads = true;
    }

    /// Whether this process holds the lease.
    pub fn is_leader(&self) -> bool {
        self.lock().leads
    }

    /// A watch was started.
    pub fn watch_begins(&self, kind: &str, scope: Option<&str>) {
        self.set(kind, scope, Some("it is being listed".to_owned()));
    }

    /// A watch has told everything that is there.
    pub fn watch_is_complete(&self, kind: &str, scope: Option<&str>) {
        self.set(kind, scope, None);
        self.lock().vanished.remove(kind);
    }

    /// The API server has a kind no longer, whose CRD has this name. What it told before still counts: with the CRD went the
    /// objects, one by one.
    pub fn crd_vanished(&self, kind: &str, crd: String) {
        self.lock().vanished.insert(kind.to_owned(), crd);
    }

    /// A watch was refused or broke; until it has told everything anew, what is known may be old.
    pub fn watch_failed(&self, kind: &str, scope: Option<&str>, error: &str) {
        // A watch that breaks now and then goes on from where it was; a refused one was never complete.
        let mut state = self.lock();
        if let Some(waits) = state.watches.get_mut(&place(kind, scope))
            && waits.is_some()
        {
            *waits = Some(error.to_owned());
        }
    }

    fn set(&self, kind: &str, scope: Option<&str>, waits: Option<String>) {
        self.lock().watches.insert(place(kind, scope), waits);
    }

    /// Whether every watch has told everything once.
    pub fn is_synced(&self) -> bool {
        let state = self.lock();
        !state.watches.is_empty() && state.watches.values().all(Option::is_none)
    }

    /// Whether it can do its work: leading, or waiting to lead.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub fn readiness(&self) -> Result<(), String> {
        let state = self.lock();
        if !state.connected {
            return Err("the API server has not answered yet".to_owned());
        }
        let missing: BTreeSet<&str> =
            state.missing_crds.iter().chain(state.vanished.values()).map(String::as_str).collect();
        if !missing.is_empty() {
            let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!(
                "the CRD {missing} is missing; install the CRDs: kubectl apply --server-side -f crds/"
            ));
        }
        match state.watches.iter().find_map(|(place, waits)| waits.as_ref().map(|waits| (place, waits))) {
            Some(((kind, scope), waits)) => Err(format!("the watch of {kind} in {scope} is not complete: {waits}")),
            None => Ok(()),
        }
    }
}

fn place(kind: &str, scope: Option<&str>) -> (String, String) {
    let scope = scope.map_or_else(|| "all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
    (kind.to_owned(), scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let health = Health::default();
        assert!(health.readiness().is_err_and(|why| why.contains("has not answered")));
        health.crds(["clusterlinks.tombolo.dev".to_owned()]);
        assert!(health.readiness().is_err_and(|why| why.contains("clusterlinks.tombolo.dev is missing")));
        health.crds([]);
        assert_eq!(health.readiness(), Ok(()), "who waits for the lease is ready");
        health.watch_begins("Pod", Some("a"));
        health.watch_failed("Pod", Some("a"), "403 Forbidden");
        assert!(!health.is_synced());
        assert!(health.readiness().is_err_and(|why| why.contains("Pod in namespace a") && why.contains("403")));
        health.watch_is_complete("Pod", Some("a"));
        health.watch_failed("Pod", Some("a"), "connection reset");
        assert_eq!((health.readiness(), health.is_synced()), (Ok(()), true));
        health.crd_vanished("ClusterLink", "clusterlinks.tombolo.dev".to_owned());
        assert!(health.readiness().is_err_and(|why| why.contains("clusterlinks.tombolo.dev is missing")));
        assert!(health.is_synced(), "that its objects are gone is known");
        health.watch_is_complete("ClusterLink", None);
        assert_eq!(health.readiness(), Ok(()));
    }
}
