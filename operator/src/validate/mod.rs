//! Checks what neither schema nor CEL can see, and resolves what the manifests name.
//!
//! Each object is judged by itself: a link with a problem is left out and its cluster goes on without it; so is an
//! entry of `spec.linkAccess`. A cluster with a problem of its own is left out whole. Where two objects want what only
//! one can have, the older has it, then the one whose name comes first.

mod cluster;
mod filter;
mod link;
mod links;
mod password;
mod problem;
mod secrets;
mod server;
mod shared_address;
mod tuning;
mod valid;

pub use cluster::{ADMIN_PORT, CLUSTER_PORT, SECURE_ADMIN_PORT, internode_secret};
pub use link::DRAIN_FOR;
pub use problem::{ObjectRef, Problem};
pub use shared_address::{port_of, shared_address};
pub use valid::{
    Confidential, ValidCluster, ValidDial, ValidDialTls, ValidInternodeTls, ValidLink, ValidListener, ValidListenerTls,
};

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tombolo_broker_api::Mqtt;
use tombolo_crds::{BrokerCluster, ClusterLink, reasons};

use crate::observed::{DEFAULT_NAMESPACE, Observed};
use links::Candidate;
use problem::Report;
use secrets::Secrets;

/// The outcome of [`validate`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validated {
    /// Clusters without a problem of their own, sorted by namespace and name.
    pub clusters: Vec<ValidCluster>,
    /// What keeps objects from being used, sorted by object, then in the order of the checks.
    pub problems: Vec<Problem>,
    /// What somebody should know, though everything can be used.
    pub warnings: Vec<Problem>,
}

/// Checks everything. The order of the objects in `observed` does not matter.
pub fn validate(observed: &Observed) -> Validated {
    let mut outcome = Validated::default();
    let clusters = sorted(&observed.clusters, |cluster| &cluster.metadata);
    let links = sorted(&observed.links, |link| &link.metadata);
    report_repeats(BROKER_CLUSTER, clusters.iter().map(|cluster| &cluster.metadata), &mut outcome);
    report_repeats(CLUSTER_LINK, links.iter().map(|link| &link.metadata), &mut outcome);
    // Of two with one name, which was said above, the older counts.
    let mut names = BTreeSet::new();
    let links: Vec<_> = links.into_iter().filter(|link| names.insert(place(&link.metadata))).collect();
    let mut seen = BTreeSet::new();
    for cluster in clusters {
        if seen.insert(place(&cluster.metadata)) {
            let (namespace, name) = place(&cluster.metadata);
            let of_cluster =
                |link: &&ClusterLink| place(&link.metadata).0 == namespace && link.spec.cluster_ref.name == name;
            let links: Vec<_> = links.iter().copied().filter(of_cluster).collect();
            check_cluster(observed, cluster, &links, &mut outcome);
        }
    }
    for link in links {
        let (namespace, _) = place(&link.metadata);
        let cluster = &link.spec.cluster_ref.name;
        if !seen.contains(&(namespace, cluster.as_str())) {
            let object = object_ref(CLUSTER_LINK, &link.metadata);
            let mut report = Report::new(&object);
            let message =
                format!("there is no BrokerCluster `{cluster}` in namespace `{namespace}`; name one that exists");
            report.problem("spec.clusterRef.name", reasons::CLUSTER_NOT_FOUND, message);
            // What else is wrong with it is said at once.
            let home = link::Home { name: cluster, levels_max: Mqtt::default().max_topic_levels };
            link::check(link, home, Secrets { observed, namespace }, &mut report);
            outcome.take(report);
        }
    }
    outcome.clusters.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    outcome.problems.sort_by(|one, other| one.object.cmp(&other.object));
    outcome.warnings.sort_by(|one, other| one.object.cmp(&other.object));
    outcome
}

const BROKER_CLUSTER: &str = "BrokerCluster";
const CLUSTER_LINK: &str = "ClusterLink";

// === impl Validated ===

impl Validated {
    fn take(&mut self, report: Report) {
        self.problems.extend(report.problems);
        self.warnings.extend(report.warnings);
    }
}

/// A cluster with its links; what is valid is added to the outcome, and what is wrong with any of them.
fn check_cluster(observed: &Observed, cluster: &BrokerCluster, links: &[&ClusterLink], outcome: &mut Validated) {
    let object = object_ref(BROKER_CLUSTER, &cluster.metadata);
    let (namespace, name) = place(&cluster.metadata);
    let secrets = Secrets { observed, namespace };
    let mut report = Report::new(&object);
    let valid = cluster::check(cluster, secrets, &mut report);
    outcome.take(report);
    let tuning = valid.as_ref().map(|valid| valid.tuning.mqtt.clone()).unwrap_or_default();
    let home = link::Home { name, levels_max: tuning.max_topic_levels };

    let objects: Vec<_> = links.iter().map(|link| object_ref(CLUSTER_LINK, &link.metadata)).collect();
    let mut remotes: BTreeMap<&str, String> = BTreeMap::new();
    let mut candidates = Vec::new();
    for (link, object) in links.iter().zip(&objects) {
        let mut report = Report::new(object);
        let found = link::check(link, home, secrets, &mut report);
        let remote = &link.spec.remote.cluster_name;
        claim(&mut remotes, remote, &object.name, "spec.remote.clusterName", &mut report);
        match found {
            Some(link_found) if report.problems.is_empty() => candidates.push(Candidate {
                link: link_found,
                manifest: Some(&link.spec),
                user_field: "spec.accept.user".to_owned(),
                report,
            }),
            Some(_) | None => outcome.take(report),
        }
    }
    for (at, entry) in cluster.spec.link_access.iter().enumerate() {
        let field = format!("spec.linkAccess[{at}]");
        let mut report = Report::new(&object);
        let found = link::check_access(entry, &field, home, &mut report);
        claim(&mut remotes, &entry.cluster_name, &field, &format!("{field}.clusterName"), &mut report);
        match found {
            Some(link) if report.problems.is_empty() => {
                candidates.push(Candidate { link, manifest: None, user_field: format!("{field}.user"), report });
            }
            Some(_) | None => outcome.take(report),
        }
    }
    // Without the cluster itself nothing is known of its users.
    if let Some(mut valid) = valid {
        valid.links = links::admit(&valid, &mut candidates);
        outcome.clusters.push(valid);
    }
    candidates.into_iter().for_each(|candidate| outcome.take(candidate.report));
}

/// One link for each remote: the first that names it has it.
fn claim<'a>(remotes: &mut BTreeMap<&'a str, String>, remote: &'a str, who: &str, field: &str, report: &mut Report) {
    match remotes.get(remote) {
        None => _ = remotes.insert(remote, who.to_owned()),
        Some(first) => {
            let message = format!("`{first}` is the link with `{remote}` already; keep one of the two");
            report.problem(field, reasons::REMOTE_NAMED_TWICE, message);
        }
    }
}

fn report_repeats<'a>(kind: &'static str, all: impl Iterator<Item = &'a ObjectMeta>, outcome: &mut Validated) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for metadata in all {
        let count = counts.entry(place(metadata)).or_default();
        *count += 1;
        if *count == 2 {
            let object = object_ref(kind, metadata);
            let mut report = Report::new(&object);
            report.problem("metadata.name", reasons::DUPLICATE, "there are two of this name; rename or remove one");
            outcome.take(report);
        }
    }
}

/// Oldest first, then by name; the API server writes times with a fixed width.
fn sorted<T>(objects: &[T], metadata: impl Fn(&T) -> &ObjectMeta) -> Vec<&T> {
    let mut sorted: Vec<_> = objects.iter().collect();
    sorted.sort_by_key(|object| {
        let metadata = metadata(object);
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        let (namespace, name) = place(metadata);
        (created, namespace.to_owned(), name.to_owned())
    });
    sorted
}

fn place(metadata: &ObjectMeta) -> (&str, &str) {
    let namespace = metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    (namespace, metadata.name.as_deref().unwrap_or_default())
}

fn object_ref(kind: &'static str, metadata: &ObjectMeta) -> ObjectRef {
    let (namespace, name) = place(metadata);
    ObjectRef { kind, namespace: namespace.to_owned(), name: name.to_owned() }
}
