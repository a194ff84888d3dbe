//! How the nodes of a BrokerCluster are replaced.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How nodes are replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Update {
    /// RollingUpdate replaces one node after another, from the highest; Manual waits before each until its pod has the
    /// annotation `tombolo.dev/replace: "true"`. Default: RollingUpdate.
    pub strategy: UpdateStrategy,
    /// Seconds that a node must be ready before the next is replaced. Default: 10.
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
    /// How a node is emptied before it stops.
    pub evacuation: Evacuation,
    /// Seconds that a pod gets to stop; a node that was not emptied before, as when its Kubernetes node is drained, empties itself
    /// within them. Default: 120.
    #[schemars(range(min = 5, max = 3600))]
    pub termination_grace_period_seconds: i64,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            strategy: UpdateStrategy::RollingUpdate,
            min_ready_seconds: 10,
            evacuation: Evacuation::default(),
            termination_grace_period_seconds: 120,
        }
    }
}

/// Who decides that the next node is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateStrategy {
    /// The operator.
    #[default]
    RollingUpdate,
    /// Somebody, by an annotation on the pod.
    Manual,
}

/// How a node is emptied before it stops: in updates, when replicas falls, and when a Kubernetes node is drained.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.policy == 'Evacuate' || !has(self.connectionsPerSecond)")
        .message("connectionsPerSecond is only used with policy Evacuate; remove it or set policy: Evacuate"),
    validation = Rule::new("self.policy == 'Evacuate' || !has(self.sessionsPerSecond)")
        .message("sessionsPerSecond is only used with policy Evacuate; remove it or set policy: Evacuate")
)]
pub struct Evacuation {
    /// Evacuate moves connections and sessions at a bounded rate; Disconnect closes all at once. Default: Evacuate.
    #[serde(default)]
    pub policy: EvacuationPolicy,
    /// Connections told to go to another node, for each second. Default: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub connections_per_second: Option<i32>,
    /// Sessions moved to another node, for each second. Default: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub sessions_per_second: Option<i32>,
    /// Seconds that clients get to come back elsewhere before their sessions are moved. Default: 60.
    #[serde(default = "takeover_wait")]
    #[schemars(range(min = 0, max = 3600))]
    pub takeover_wait_seconds: i32,
    /// Seconds after which an update, or fewer replicas, stop the node although it is not empty. A node that is stopped without
    /// having been emptied before has terminationGracePeriodSeconds instead. Default: 900.
    #[serde(default = "deadline")]
    #[schemars(range(min = 30, max = 86400))]
    pub deadline_seconds: i32,
}

fn takeover_wait() -> i32 {
    60
}

fn deadline() -> i32 {
    900
}

impl Default for Evacuation {
    fn default() -> Self {
        Self {
            policy: EvacuationPolicy::Evacuate,
            connections_per_second: None,
            sessions_per_second: None,
            takeover_wait_seconds: takeover_wait(),
            deadline_seconds: deadline(),
        }
    }
}

/// What happens to connections and sessions of a node that is about to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EvacuationPolicy {
    /// They are moved at a bounded rate.
    #[default]
    Evacuate,
    /// They are closed at once.
    Disconnect,
}
