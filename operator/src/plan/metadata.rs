//! Names, labels and owners of the child objects of a BrokerCluster.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::rollout::HOLD;
use crate::validate::{ValidCluster, internode_secret};

/// Names of the child objects; each fits into a DNS label, since the name of a cluster has at most 45 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// ServiceAccount, StatefulSet, PodDisruptionBudget, NetworkPolicy, and the Service that clients connect to.
    pub cluster: String,
    /// The headless Service that gives each pod a name.
    pub nodes: String,
    /// The Service of metrics and status, and the Secret with the token that status asks for.
    pub admin: String,
    /// The Secret with the configuration.
    pub config: String,
    /// The Secret with the certificate of the nodes among themselves, where the manifest names none, made by the operator or,
    /// with an issuer, by cert-manager: `tls.crt` and
    /// `tls.key`, which all nodes share since they share the configuration, and `ca.crt`, an authority of this cluster
    /// alone. The certificate has the name of each node as a DNS name.
    pub internode: String,
    /// The Secret with the authority of that certificate, which no pod mounts.
    pub authority: String,
}

/// The labels that select the pods of a cluster: never a version, so that they outlive upgrades.
pub fn selector(cluster: &str) -> BTreeMap<String, String> {
    labels_of([
        ("app.kubernetes.io/name", "tombolo-broker"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/component", "broker"),
    ])
}

/// What the certificate of the nodes must name: every node that there can ever be, so that no change of their number needs
/// another one, and the ways to them.
pub fn node_names(cluster: &str, namespace: &str) -> Vec<String> {
    let nodes = (0..HOLD).map(|ordinal| format!("{cluster}-{ordinal}"));
    let ways = [format!("*.{cluster}-nodes.{namespace}.svc"), format!("{cluster}-admin.{namespace}.svc")];
    nodes.chain(ways).collect()
}

// === impl Names ===

impl Names {
    /// The names of the child objects of that cluster.
    pub fn of(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            nodes: format!("{cluster}-nodes"),
            admin: format!("{cluster}-admin"),
            config: format!("{cluster}-config"),
            internode: internode_secret(cluster),
            authority: format!("{cluster}-authority"),
        }
    }
}

/// Labels of every child object, pods included.
pub(super) fn labels(cluster: &ValidCluster) -> BTreeMap<String, String> {
    let mut labels = selector(&cluster.name);
    labels.extend(labels_of([
        ("app.kubernetes.io/part-of", "tombolo"),
        ("app.kubernetes.io/managed-by", "tombolo-operator"),
    ]));
    labels
}

/// Metadata of a child object.
pub(super) fn child(cluster: &ValidCluster, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels(cluster)),
        owner_references: cluster.uid.as_ref().map(|uid| {
            vec![OwnerReference {
                api_version: tombolo_crds::API_VERSION.to_owned(),
                kind: "BrokerCluster".to_owned(),
                name: cluster.name.clone(),
                uid: uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]
        }),
        ..ObjectMeta::default()
    }
}

/// A Secret beside the one of the configuration.
pub fn secret_child(cluster: &ValidCluster, name: &str, data: BTreeMap<String, ByteString>) -> Secret {
    Secret { metadata: child(cluster, name), type_: Some("Opaque".to_owned()), data: Some(data), ..Secret::default() }
}

fn labels_of<const N: usize>(labels: [(&str, &str); N]) -> BTreeMap<String, String> {
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
