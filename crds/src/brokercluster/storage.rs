//! What a BrokerCluster keeps, and where.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The volume of each node.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    )
    .message("storageClassName is immutable; create a new BrokerCluster and link it")
    .field_path(".storageClassName")
    .reason(Reason::FieldValueForbidden)
)]
pub struct Storage {
    /// Size of the volume, such as 20Gi. It can grow, never shrink.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("isQuantity(self)").message("size must be a Kubernetes quantity such as 10Gi"),
        validation = Rule::new(
            "!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0"
        )
        .message("storage can grow but never shrink; give a size that is not below the old one")
        .reason(Reason::FieldValueForbidden)
    )]
    pub size: String,
    /// Storage class. Default: that of the Kubernetes cluster. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of the volumes.
    #[serde(default)]
    pub retention_policy: RetentionPolicy,
}

/// What becomes of volumes that no node uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RetentionPolicy {
    /// When the BrokerCluster is deleted: Retain or Delete. Default: Retain.
    pub when_deleted: Retention,
    /// When replicas falls: Retain or Delete. Default: Retain.
    pub when_scaled: Retention,
}

/// Keep or delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// The volumes stay.
    #[default]
    Retain,
    /// The volumes go.
    Delete,
}

/// How sessions, their queues and retained messages are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Persistence {
    /// Memory (gone with the process), Local (on the node's volume) or Replicated (on several nodes). Default: Memory.
    pub engine: Engine,
}

/// What keeps sessions, their queues and retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// The memory of the process.
    #[default]
    Memory,
    /// The node's volume.
    Local,
    /// Several nodes.
    Replicated,
}
