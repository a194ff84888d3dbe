//! What was read before anything is decided: resources and the Secrets that they name.

use tombolo_crds::{BrokerCluster, ClusterLink, Secret};

/// Namespace of objects that state none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Everything a decision rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Clusters, in any order.
    pub clusters: Vec<BrokerCluster>,
    /// Links, in any order.
    pub links: Vec<ClusterLink>,
    /// Secrets, in any order; those that nobody names do no harm.
    pub secrets: Vec<Secret>,
}

// === impl Observed ===

impl Observed {
    /// The Secret of that name in that namespace.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|secret| {
            secret.metadata.name.as_deref() == Some(name)
                && secret.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE) == namespace
        })
    }
}

/// The content of a key; `stringData` wins over `data`, as the API server merges them.
pub fn secret_value<'s>(secret: &'s Secret, key: &str) -> Option<&'s [u8]> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes);
    text.or_else(|| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice()))
}

/// Every key of a Secret with its content, sorted.
pub fn secret_values(secret: &Secret) -> std::collections::BTreeMap<&str, &[u8]> {
    let data = secret.data.iter().flatten().map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()));
    let texts = secret.string_data.iter().flatten().map(|(key, text)| (key.as_str(), text.as_bytes()));
    data.chain(texts).collect()
}
