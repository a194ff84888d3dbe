//! Routes of a link: which topics cross it, and how.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Topics that cross a link.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Name, unique in the link.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// In: this side receives. Out: this side sends. Both.
    pub direction: Direction,
    /// Topic filters that cross.
    #[schemars(schema_with = "crate::common::filters")]
    pub filters: Vec<String>,
    /// Topic filters that don't, although a filter matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::filters_or_none")]
    pub except: Vec<String>,
    /// Highest QoS; what has more is lowered. Default: 2.
    #[serde(default = "two", rename = "maxQoS")]
    #[schemars(range(min = 0, max = 2))]
    pub max_qos: u8,
    /// Prefix of topics on the other side; the way back does the reverse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    /// Retained messages. Mirror: both sides are brought level when the link comes up. Forward: they cross as they are
    /// published. Ignore: they cross without the retain flag. Default: Forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<RetainedMode>,
}

fn two() -> u8 {
    2
}

/// A direction, seen from the BrokerCluster of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// From the remote to here.
    In,
    /// From here to the remote.
    Out,
    /// Both ways.
    Both,
}

/// Prefix of topics on the other side.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.add) || has(self.strip)").message("set add, strip or both")
)]
pub struct Prefix {
    /// Put before the topic of what arrives, such as `cloud/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[^+#]+/$"))]
    pub add: Option<String>,
    /// Taken from the topic of what arrives, before add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[^+#]+/$"))]
    pub strip: Option<String>,
}

/// What becomes of retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetainedMode {
    /// Both sides are brought level when the link comes up, and kept so.
    Mirror,
    /// They cross as they are published.
    Forward,
    /// They cross without the retain flag.
    Ignore,
}

// === impl Direction ===

impl Direction {
    /// This side receives.
    pub const fn is_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }

    /// This side sends.
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }
}
