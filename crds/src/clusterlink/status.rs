//! What the operator saw of a ClusterLink.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::Conditions;

/// What the operator saw of the link.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLinkStatus {
    /// The metadata.generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Id of the remote cluster, as it said it.
    #[serde(default, rename = "remoteClusterID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub remote_cluster_id: Option<String>,
    /// Version of the link protocol that both sides speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub protocol_version: Option<String>,
    /// Messages that wait for the remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Backlog>,
    /// The routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub routes: Vec<RouteStatus>,
    /// What is true of the link, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::conditions")]
    pub conditions: Conditions,
}

/// Messages that wait for the remote: a sample, rewritten at most every 30 seconds; exact values are metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backlog {
    /// How many.
    #[serde(default)]
    pub messages: i64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: i64,
    /// Age of the oldest, in seconds.
    #[serde(default)]
    pub oldest_seconds: i64,
    /// When the sample was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::brokercluster::date_time")]
    pub sample_time: Option<String>,
}

/// A route of the link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Pending, Forwarding, Degraded or Suspended.
    pub state: RouteState,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Where a route stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteState {
    /// Not yet in use.
    Pending,
    /// In use.
    Forwarding,
    /// In use, with losses or delays.
    Degraded,
    /// The link is switched off.
    Suspended,
}
