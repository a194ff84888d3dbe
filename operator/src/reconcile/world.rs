//! What all reconciles share: the client, what the watches told, what was applied, and what brokers said.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::core::error_boundary::InvalidObject;
use tombolo_crds::{BrokerCluster, ClusterLink, Secret};

use super::cache::Cache;
use super::optional::Optional;
use super::targets::Targets;
use crate::status::Report;

/// A BrokerCluster and everything that belongs to it; it need not exist, links may name one that does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What all reconciles share.
#[allow(missing_debug_implementations, reason = "a client has nothing to show")]
pub struct World {
    /// Talks with the API server.
    pub client: Client,
    /// Image of clusters that state none.
    pub broker_image: String,
    /// Clusters, those that cannot be read too.
    pub clusters: Cache<Result<BrokerCluster, InvalidObject>>,
    /// Links, those that cannot be read too.
    pub links: Cache<Result<ClusterLink, InvalidObject>>,
    /// Our StatefulSets.
    pub sets: Cache<StatefulSet>,
    /// Our pods.
    pub pods: Cache<Pod>,
    /// The claims of their volumes.
    pub claims: Cache<PersistentVolumeClaim>,
    /// Metadata of our other child objects by kind, and of every Secret.
    pub metadata: BTreeMap<&'static str, Cache<ObjectMeta>>,
    /// What brokers said last.
    pub reports: Reports,
    /// Whom to ask.
    pub targets: Targets,
    /// Kinds that may be missing.
    pub optional: Optional,
    /// What was counted.
    pub counters: Counters,
    secrets: Mutex<HashMap<(String, String), Secret>>,
    applied: Mutex<HashMap<(&'static str, String, String), Applied>>,
    named: Mutex<HashMap<(String, String), HashSet<ClusterKey>>>,
}

/// An object as it was after it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Hash of what was sent.
    pub hash: u64,
    /// What stands for the object as the API server has it.
    pub print: String,
}

/// What brokers said last, by cluster and ordinal.
#[derive(Debug, Default)]
pub struct Reports(Mutex<HashMap<ClusterKey, BTreeMap<u16, Report>>>);

/// What is counted for `/metrics`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Writes to the API server that were needed: objects applied, status written, objects removed.
    pub writes: AtomicU64,
    /// Requests that failed.
    pub failures: AtomicU64,
}

/// Kinds whose metadata is watched.
pub const METADATA_KINDS: [&str; 7] =
    ["ServiceAccount", "Secret", "Service", "NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "Certificate"];

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever held it left it whole: each change below is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl ClusterKey ===

impl ClusterKey {
    /// The key of that cluster.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl World ===

impl World {
    /// Nothing is known yet.
    pub fn new(client: Client, broker_image: String) -> Self {
        Self {
            client,
            broker_image,
            clusters: Cache::default(),
            links: Cache::default(),
            sets: Cache::default(),
            pods: Cache::default(),
            claims: Cache::default(),
            metadata: METADATA_KINDS.into_iter().map(|kind| (kind, Cache::default())).collect(),
            reports: Reports::default(),
            targets: Targets::default(),
            optional: Optional::default(),
            counters: Counters::default(),
            secrets: Mutex::default(),
            applied: Mutex::default(),
            named: Mutex::default(),
        }
    }

    /// The watched metadata of a kind.
    pub fn metadata_of(&self, kind: &str) -> &Cache<ObjectMeta> {
        self.metadata.get(kind).expect("METADATA_KINDS has every kind of child that is no StatefulSet")
    }

    /// The content of a Secret as it was read last, if that is what the API server still has.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        let newest = self.metadata_of("Secret").get(namespace, name)?.resource_version.clone();
        let secrets = lock(&self.secrets);
        let kept = secrets.get(&(namespace.to_owned(), name.to_owned()))?;
        (kept.metadata.resource_version == newest).then(|| kept.clone())
    }

    /// Keeps what was read.
    pub fn keep_secret(&self, namespace: &str, name: &str, secret: Secret) {
        lock(&self.secrets).insert((namespace.to_owned(), name.to_owned()), secret);
    }

    /// Forgets the content of a Secret.
    pub fn forget_secret(&self, namespace: &str, name: &str) {
        lock(&self.secrets).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// What was applied last.
    pub fn applied(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Applied> {
        lock(&self.applied).get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Remembers what was applied; none: nothing is known any more.
    pub fn set_applied(&self, kind: &'static str, namespace: &str, name: &str, applied: Option<Applied>) {
        let place = (kind, namespace.to_owned(), name.to_owned());
        match applied {
            Some(applied) => _ = lock(&self.applied).insert(place, applied),
            None => _ = lock(&self.applied).remove(&place),
        }
    }

    /// The clusters that named a Secret when they were looked at last.
    pub fn who_names(&self, namespace: &str, secret: &str) -> Vec<ClusterKey> {
        let named = lock(&self.named);
        named.get(&(namespace.to_owned(), secret.to_owned())).into_iter().flatten().cloned().collect()
    }

    /// Remembers which Secrets a cluster and its links name.
    pub fn set_named(&self, key: &ClusterKey, secrets: &HashSet<String>) {
        let mut named = lock(&self.named);
        named.retain(|(namespace, secret), keys| {
            if namespace == &key.namespace && !secrets.contains(secret) {
                keys.remove(key);
            }
            !keys.is_empty()
        });
        for secret in secrets {
            named.entry((key.namespace.clone(), secret.clone())).or_default().insert(key.clone());
        }
    }

    /// Forgets everything about a cluster that is gone.
    pub fn forget(&self, key: &ClusterKey) {
        self.set_named(key, &HashSet::new());
        self.reports.forget(key);
        self.optional.set_asking(key, &[]);
        self.targets.set(key, Vec::new());
        let ours =
            |name: &str| name == key.name || name.strip_prefix(&key.name).is_some_and(|rest| rest.starts_with('-'));
        lock(&self.applied).retain(|(_, namespace, name), _| namespace != &key.namespace || !ours(name));
    }
}

// === impl Reports ===

impl Reports {
    /// What the nodes of a cluster said.
    pub fn of(&self, key: &ClusterKey) -> BTreeMap<u16, Report> {
        lock(&self.0).get(key).cloned().unwrap_or_default()
    }

    /// Keeps what a node said. True if it says something else than before, counters and times aside.
    pub fn put(&self, key: &ClusterKey, ordinal: u16, report: Report) -> bool {
        let mut reports = lock(&self.0);
        let before = reports.entry(key.clone()).or_default().insert(ordinal, report.clone());
        before.is_none_or(|before| !before.says_the_same(&report))
    }

    /// Forgets a node.
    pub fn remove(&self, key: &ClusterKey, ordinal: u16) {
        if let Some(reports) = lock(&self.0).get_mut(key) {
            reports.remove(&ordinal);
        }
    }

    fn forget(&self, key: &ClusterKey) {
        lock(&self.0).remove(key);
    }
}
