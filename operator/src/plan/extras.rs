//! Objects of kinds that a Kubernetes cluster may lack: a ServiceMonitor for Prometheus, a Certificate of cert-manager.

use serde_json::{Value, json};
use tombolo_crds::brokercluster::IssuerKind;
use tombolo_crds::common::Management;

use super::metadata::{self, Names, node_names, selector};
use crate::validate::ValidCluster;

/// A kind that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionalKind {
    /// Its kind.
    pub kind: &'static str,
    /// Its group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What its objects are called in addresses.
    pub plural: &'static str,
    /// Who brings it.
    pub vendor: &'static str,
}

/// What Prometheus' operator scrapes by.
pub const SERVICE_MONITOR: OptionalKind = OptionalKind {
    kind: "ServiceMonitor",
    group: "monitoring.coreos.com",
    version: "v1",
    plural: "servicemonitors",
    vendor: "Prometheus Operator",
};

/// What cert-manager makes a Secret from.
pub const CERTIFICATE: OptionalKind = OptionalKind {
    kind: "Certificate",
    group: "cert-manager.io",
    version: "v1",
    plural: "certificates",
    vendor: "cert-manager",
};

/// Every kind that may be missing.
pub const OPTIONAL_KINDS: [OptionalKind; 2] = [SERVICE_MONITOR, CERTIFICATE];

/// Label of the Service that is scraped, which no other Service of a cluster has.
pub const SERVICE_LABEL: (&str, &str) = ("tombolo.dev/service", "admin");

/// The objects of such kinds that a cluster asks for.
pub fn extras(cluster: &ValidCluster) -> Vec<(OptionalKind, Value)> {
    let monitor = service_monitor(cluster).map(|object| (SERVICE_MONITOR, object));
    monitor.into_iter().chain(certificate(cluster).map(|object| (CERTIFICATE, object))).collect()
}

fn service_monitor(cluster: &ValidCluster) -> Option<Value> {
    let monitoring = cluster.spec.monitoring.as_ref()?;
    match monitoring.service_monitor {
        Management::Managed => {}
        Management::Disabled => return None,
    }
    let mut metadata = metadata::child(cluster, &cluster.name);
    let labels = metadata.labels.get_or_insert_default();
    // Ours are what the operator finds it by.
    monitoring.labels.iter().for_each(|(key, value)| _ = labels.entry(key.clone()).or_insert_with(|| value.clone()));
    let mut scraped = selector(&cluster.name);
    scraped.insert(SERVICE_LABEL.0.to_owned(), SERVICE_LABEL.1.to_owned());
    Some(json!({
        "apiVersion": SERVICE_MONITOR.api_version(), "kind": SERVICE_MONITOR.kind, "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": scraped},
            "endpoints": [{"port": "admin", "path": "/metrics"}],
        },
    }))
}

fn certificate(cluster: &ValidCluster) -> Option<Value> {
    let issuer = cluster.spec.internode_tls.as_ref()?.issuer_ref.as_ref()?;
    let kind = match issuer.kind {
        IssuerKind::Issuer => "Issuer",
        IssuerKind::ClusterIssuer => "ClusterIssuer",
    };
    let name = Names::of(&cluster.name).internode;
    Some(json!({
        "apiVersion": CERTIFICATE.api_version(), "kind": CERTIFICATE.kind, "metadata": metadata::child(cluster, &name),
        "spec": {
            "secretName": name,
            "dnsNames": node_names(&cluster.name, &cluster.namespace),
            // Nodes dial each other and are dialled.
            "usages": ["digital signature", "server auth", "client auth"],
            "duration": "2160h0m0s",
            "renewBefore": "720h0m0s",
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": {"group": CERTIFICATE.group, "kind": kind, "name": issuer.name},
        },
    }))
}

// === impl OptionalKind ===

impl OptionalKind {
    /// The `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// The name of its CustomResourceDefinition.
    pub fn crd(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }
}
