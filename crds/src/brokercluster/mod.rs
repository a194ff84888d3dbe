//! BrokerCluster: a cluster of MQTT brokers.

mod access;
mod listener;
mod pod;
mod status;
mod storage;
mod update;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::common::{LocalRef, Management};

pub use access::{Anonymous, Authentication, LinkAccess};
pub use listener::{ClientAuth, ClientAuthMode, Listener, ListenerTls, Protocol, ProxyProtocol};
pub use pod::{ImagePullPolicy, Resources, Scheduling, Toleration, TopologySpread};
pub(crate) use status::date_time;
pub use status::{BrokerClusterStatus, EvacuationCause, EvacuationStatus, NodeState, NodeStatus};
pub use storage::{Engine, Persistence, Retention, RetentionPolicy, Storage};
pub use update::{Evacuation, EvacuationPolicy, Update, UpdateStrategy};

/// A cluster of MQTT brokers.
///
/// Its name is the name that links know it by.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tombolo.dev",
    version = "v1alpha1",
    kind = "BrokerCluster",
    plural = "brokerclusters",
    shortname = "bkc",
    category = "mqtt",
    namespaced,
    doc = "A cluster of MQTT brokers. Its name is the name that links know it by.",
    status = "BrokerClusterStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "ReadyNodes", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 45")
        .message("metadata.name must be at most 45 characters, so that the names of pods and Services fit; use a shorter name"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must begin with a lower case letter and hold only lower case letters, digits and '-', so that Services can bear it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storage) == has(oldSelf.storage)")
        .message("storage cannot be added or removed after creation; create a new BrokerCluster and link it")
        .field_path(".storage")
        .reason(Reason::FieldValueForbidden)
)]
pub struct BrokerClusterSpec {
    /// Number of nodes, at most 64: together they are one broker. 0 stops the cluster and keeps its volumes. Default: 1.
    #[serde(default = "one_replica")]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,

    /// Image of the broker. Default: the one that this operator was released with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// When the image is pulled: Always, IfNotPresent or Never. Default: as Kubernetes does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Secrets to pull the image with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<LocalRef>,

    /// Where clients connect. Default: MQTT on port 1883.
    #[serde(default = "plain_listener")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(l, self.exists_one(o, o.port == l.port))")
            .message("listener ports must be unique; give each listener its own port")
    )]
    pub listeners: Vec<Listener>,

    /// Who may connect. Default: nobody without a user name, and no users.
    #[serde(default)]
    pub authentication: Authentication,

    /// Remote clusters that may link with this one although it has no ClusterLink for them. What such a cluster may
    /// exchange is stated here; without an entry, and without a ClusterLink, no cluster is ever let in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["clusterName".into()]))]
    pub link_access: Vec<LinkAccess>,

    /// Settings of the broker, such as `mqtt: {maxPacketSize: 1MB}` or, among its nodes, `cluster: {suspendAfter: 30s}`;
    /// checked by the operator with the broker's own parser.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "crate::common::free_form")]
    pub config: Map<String, Value>,

    /// Volume of each node. Absent: nothing outlives the pod. Cannot be added or removed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// How sessions, their queues and retained messages are kept.
    #[serde(default)]
    pub persistence: Persistence,

    /// CPU and memory of each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// Where the pods run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,

    /// Patch over the pod template that the operator makes, merged as `kubectl patch` does. For what no field covers.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "crate::common::free_form")]
    pub pod_overrides: Map<String, Value>,

    /// How nodes are replaced.
    #[serde(default)]
    pub update: Update,

    /// The Service that clients connect to.
    #[serde(default)]
    pub service: Service,

    /// Whether the operator keeps a PodDisruptionBudget of one node: Managed or Disabled.
    #[serde(default)]
    pub disruption_budget: Management,

    /// Whether the operator keeps a NetworkPolicy that opens the listeners and closes the rest: Managed or Disabled.
    #[serde(default)]
    pub network_policy: Management,

    /// Certificates of the traffic between nodes and from the operator. Default: the operator makes its own.
    #[serde(default, rename = "internodeTLS", skip_serializing_if = "Option::is_none")]
    pub internode_tls: Option<InternodeTls>,

    /// Metrics for Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
}

/// The Service that clients connect to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Service {
    /// ClusterIP, NodePort or LoadBalancer. Default: ClusterIP.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Annotations of the Service, as load balancers want them.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::common::string_map")]
    pub annotations: std::collections::BTreeMap<String, String>,
    /// Class of the load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub load_balancer_class: Option<String>,
    /// Cluster spreads connections over all nodes; Local keeps the client's address. Default: as Kubernetes does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
}

/// Type of the Service that clients connect to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ServiceType {
    /// Reachable inside the Kubernetes cluster.
    #[default]
    ClusterIP,
    /// Reachable on a port of every Kubernetes node.
    NodePort,
    /// Reachable through the provider's load balancer.
    LoadBalancer,
}

/// Which pods a connection from outside may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ExternalTrafficPolicy {
    /// All of them.
    Cluster,
    /// Those of the Kubernetes node that it reached.
    Local,
}

/// Certificates of the traffic between nodes and from the operator.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretName) != has(self.issuerRef)")
        .message("set exactly one of secretName and issuerRef")
)]
pub struct InternodeTls {
    /// A `kubernetes.io/tls` Secret with `ca.crt`: an authority of this cluster's own, and a certificate that has the name
    /// of each node, such as `NAME-0`, as a DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// An issuer of cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Issuer or ClusterIssuer. Default: Issuer.
    #[serde(default)]
    pub kind: IssuerKind,
}

/// Kind of an issuer of cert-manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum IssuerKind {
    /// Of the same namespace.
    #[default]
    Issuer,
    /// Of the whole Kubernetes cluster.
    ClusterIssuer,
}

/// Metrics for Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Whether the operator keeps a ServiceMonitor: Managed or Disabled. Default: Disabled.
    #[serde(default = "disabled")]
    pub service_monitor: Management,
    /// Labels of the ServiceMonitor, by which Prometheus finds it.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::common::string_map")]
    pub labels: std::collections::BTreeMap<String, String>,
}

fn disabled() -> Management {
    Management::Disabled
}

fn one_replica() -> i32 {
    1
}

fn plain_listener() -> Vec<Listener> {
    vec![Listener::plain()]
}
