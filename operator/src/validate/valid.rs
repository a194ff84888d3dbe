//! What needs no more checks: clusters with everything resolved that their manifests name.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Affinity, PodTemplateSpec};
use tombolo_broker_api::{ClientCertificate, Protocol, Route, Seconds, Spool, Tuning};
use tombolo_crds::BrokerClusterSpec;

/// A cluster from which a plan can be made.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCluster {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which is also the name that links know it by.
    pub name: String,
    /// The uid that the API server gave it; none in local mode.
    pub uid: Option<String>,
    /// Its spec, for what is taken over as it stands.
    pub spec: BrokerClusterSpec,
    /// `spec.config`, parsed.
    pub tuning: Tuning,
    /// Its users, if it names a Secret of users: name to password or hash.
    pub users: Option<BTreeMap<String, Confidential>>,
    /// The certificate of its nodes among themselves, if its manifest names one.
    pub internode_tls: Option<ValidInternodeTls>,
    /// Its listeners, in the order of the manifest.
    pub listeners: Vec<ValidListener>,
    /// Its links, sorted by name; those of `spec.linkAccess` are among them.
    pub links: Vec<ValidLink>,
    /// `spec.scheduling.affinity`, parsed.
    pub affinity: Option<Affinity>,
    /// `spec.podOverrides`, parsed.
    pub pod_overrides: Option<PodTemplateSpec>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidListener {
    /// Its name.
    pub name: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
    /// Connections at one time, if stated.
    pub max_connections: Option<u32>,
    /// Its certificate, with MQTTS.
    pub tls: Option<ValidListenerTls>,
}

/// Certificate and client authentication of a listener, in PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidListenerTls {
    /// The certificate chain.
    pub certificate: Confidential,
    /// Its private key.
    pub key: Confidential,
    /// Authorities of client certificates, and whether clients need one.
    pub clients: Option<(Confidential, ClientCertificate)>,
}

/// The certificate of the nodes among themselves, in PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidInternodeTls {
    /// The Secret that it stands in.
    pub secret_name: String,
    /// The certificate chain.
    pub certificate: Confidential,
    /// Its private key.
    pub key: Confidential,
    /// The authority of the certificates of all nodes.
    pub ca: Confidential,
}

/// A link with one remote cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidLink {
    /// Its name: that of the ClusterLink, or `access_REMOTE` for an entry of `spec.linkAccess`.
    pub name: String,
    /// Name of the remote cluster.
    pub remote_cluster: String,
    /// Id of the remote cluster, if it is pinned.
    pub remote_cluster_id: Option<String>,
    /// Whether it carries traffic.
    pub enabled: bool,
    /// How the remote is dialled, if it is.
    pub dial: Option<ValidDial>,
    /// Users of the cluster that may come in as the remote.
    pub accept_users: Vec<String>,
    /// A user of the link's own that may come in, too, with its password: the link's credential.
    pub accept_own: Option<(String, Confidential)>,
    /// Any user of the cluster that stands for no other remote may come in.
    pub accept_any_user: bool,
    /// What may enter.
    pub receive: Vec<Route>,
    /// What may leave; none: whatever the remote asks for.
    pub send: Option<Vec<Route>>,
    /// Links that a message may cross.
    pub max_hops: u8,
    /// Bounds of what waits.
    pub spool: Spool,
}

/// How a remote is dialled.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidDial {
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub servers: Vec<String>,
    /// Begin of the client id.
    pub client_id_prefix: String,
    /// The user at the remote.
    pub username: String,
    /// Its password.
    pub password: Confidential,
    /// TLS, with `mqtts://`.
    pub tls: Option<ValidDialTls>,
    /// Keep alive, if stated.
    pub keep_alive: Option<Seconds>,
    /// Batches under way, if stated.
    pub max_inflight: Option<u16>,
    /// Longest pause between two tries, if stated.
    pub retry_interval: Option<Seconds>,
}

/// TLS of a dialled link, in PEM.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidDialTls {
    /// Authorities of the remote's certificate; none: those that the system trusts.
    pub ca: Option<Confidential>,
    /// Our certificate chain and its key.
    pub identity: Option<(Confidential, Confidential)>,
    /// Name expected in the remote's certificate, if not the host.
    pub server_name: Option<String>,
}

/// Content of a Secret: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Confidential(Vec<u8>);

// === impl ValidCluster ===

impl ValidCluster {
    /// How many nodes its manifest asks for; 0: it is stopped.
    pub fn nodes(&self) -> u16 {
        // The schema has bounds far inside.
        u16::try_from(self.spec.replicas).unwrap_or(0)
    }

    /// Name of a node, counted from 0, as a StatefulSet names its pods.
    pub fn node(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }
}

// === impl Confidential ===

impl Confidential {
    /// Keeps these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the file that they are written to.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}
