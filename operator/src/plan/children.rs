//! The child objects of a BrokerCluster on Kubernetes, in the order in which they are applied.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, Secret, Service, ServiceAccount, ServicePort,
    ServiceSpec, VolumeResourceRequirements,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tombolo_broker_api::{Cluster, ClusterNode};
use tombolo_crds::brokercluster::{ExternalTrafficPolicy, Retention, ServiceType, Storage};
use tombolo_crds::common::Management;

use super::config::{Placement, Rendered, SecurePlacement, render};
use super::extras::SERVICE_LABEL;
use super::kept::KeptLinks;
use super::metadata::{self, Names, selector};
use super::pod;
use super::rollout::{Decision, HOLD};
use crate::validate::{ADMIN_PORT, CLUSTER_PORT, Confidential, SECURE_ADMIN_PORT, ValidCluster};

/// Annotation of the StatefulSet with a hash of the pod template that was applied last.
pub const TEMPLATE_HASH_ANNOTATION: &str = "tombolo.dev/template-hash";
/// Annotation of the Secret of the configuration with the hash of it, and of pods with the one they should run.
pub const CONFIG_HASH_ANNOTATION: &str = "tombolo.dev/config-hash";

/// What the child objects depend on beside the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The id that the nodes know the cluster by, and links with it. On Kubernetes it is the uid of the object
    /// (`ValidCluster::uid`): the API server makes it once, and a cluster that is deleted and made anew is another one.
    pub cluster_id: String,
    /// What the operator bears when it asks a node for its status; none: status is served in plain.
    pub admin_token: Option<Confidential>,
    /// `spec.replicas` of the StatefulSet.
    pub replicas: u16,
    /// Its partition: pods below it are not replaced.
    pub partition: u16,
    /// Nodes in the configuration.
    pub nodes: u16,
    /// Nodes that are being emptied.
    pub evacuating: Vec<u16>,
    /// The size in the claim template; none: what the spec asks for.
    pub claim_size: Option<String>,
    /// Links that are paused.
    pub kept: KeptLinks,
}

/// A child object.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// Whom the pods run as.
    ServiceAccount(Box<ServiceAccount>),
    /// The configuration.
    Secret(Box<Secret>),
    /// A way to the pods.
    Service(Box<Service>),
    /// Who may connect to the pods.
    NetworkPolicy(Box<NetworkPolicy>),
    /// How many pods may be missing.
    PodDisruptionBudget(Box<PodDisruptionBudget>),
    /// The pods.
    StatefulSet(Box<StatefulSet>),
}

/// The child objects of a cluster; the StatefulSet comes last, when all that its pods need is there.
pub fn children(cluster: &ValidCluster, instance: &Instance) -> Vec<Child> {
    let names = Names::of(&cluster.name);
    let mut children = vec![
        Child::ServiceAccount(Box::new(ServiceAccount {
            metadata: metadata::child(cluster, &names.cluster),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        })),
        Child::Secret(Box::new(config_secret(cluster, instance, &names))),
        Child::Service(Box::new(headless(cluster, &names))),
        Child::Service(Box::new(admin(cluster, &names))),
        Child::Service(Box::new(clients(cluster, &names))),
    ];
    match cluster.spec.network_policy {
        Management::Managed => children.push(Child::NetworkPolicy(Box::new(network_policy(cluster, &names)))),
        Management::Disabled => {}
    }
    match cluster.spec.disruption_budget {
        Management::Managed => children.push(Child::PodDisruptionBudget(Box::new(disruption_budget(cluster, &names)))),
        Management::Disabled => {}
    }
    children.push(Child::StatefulSet(Box::new(stateful_set(cluster, instance, &names))));
    children
}

/// The files that all nodes of the cluster read.
pub fn config(cluster: &ValidCluster, instance: &Instance) -> Rendered {
    let internode = |key: &str| PathBuf::from(pod::INTERNODE_DIR).join(key);
    let placement = Placement {
        // Each pod says its own.
        node_name: cluster.node(0),
        bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        admin_port: ADMIN_PORT,
        secure_admin: instance.admin_token.clone().map(|token| SecurePlacement {
            port: SECURE_ADMIN_PORT,
            certificate_file: internode("tls.crt"),
            key_file: internode("tls.key"),
            token,
        }),
        ordinal: 0,
        cluster: nodes(cluster, instance, &Names::of(&cluster.name)),
        data_dir: PathBuf::from(pod::DATA_DIR),
    };
    render(cluster, &placement).keeping(&instance.kept)
}

/// A hash of a pod template, to see whether it changed without knowing what the API server fills in.
pub fn template_hash(template: &PodTemplateSpec) -> String {
    let json = serde_json::to_vec(template).expect("objects of Kubernetes are written as JSON");
    let digits: String = Sha256::digest(json).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    digits
}

/// The pod template that the cluster asks for.
pub fn template(cluster: &ValidCluster) -> PodTemplateSpec {
    pod::template(cluster)
}

// === impl Instance ===

impl Instance {
    /// A cluster as its manifest wants it, with nothing under way.
    pub fn steady(cluster: &ValidCluster, cluster_id: &str) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            admin_token: None,
            replicas: cluster.nodes(),
            partition: HOLD,
            nodes: cluster.nodes(),
            evacuating: Vec::new(),
            claim_size: None,
            kept: KeptLinks::default(),
        }
    }

    /// A cluster on its way.
    pub fn decided(
        cluster_id: &str,
        admin_token: Confidential,
        decision: &Decision,
        claim_size: Option<String>,
        kept: KeptLinks,
    ) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            admin_token: Some(admin_token),
            replicas: decision.replicas,
            partition: decision.partition,
            nodes: decision.nodes,
            evacuating: decision.evacuating.clone(),
            claim_size,
            kept,
        }
    }
}

// === impl Child ===

impl Child {
    /// The object as it is sent, `apiVersion` and `kind` included.
    pub fn to_json(&self) -> Value {
        let json = match self {
            Self::ServiceAccount(object) => serde_json::to_value(object),
            Self::Secret(object) => serde_json::to_value(object),
            Self::Service(object) => serde_json::to_value(object),
            Self::NetworkPolicy(object) => serde_json::to_value(object),
            Self::PodDisruptionBudget(object) => serde_json::to_value(object),
            Self::StatefulSet(object) => serde_json::to_value(object),
        };
        json.expect("objects of Kubernetes are written as JSON")
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ServiceAccount(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::NetworkPolicy(object) => &object.metadata,
            Self::PodDisruptionBudget(object) => &object.metadata,
            Self::StatefulSet(object) => &object.metadata,
        }
    }
}

fn config_secret(cluster: &ValidCluster, instance: &Instance, names: &Names) -> Secret {
    let rendered = config(cluster, instance);
    Secret {
        metadata: ObjectMeta {
            annotations: Some([(CONFIG_HASH_ANNOTATION.to_owned(), rendered.config.hash)].into()),
            ..metadata::child(cluster, &names.config)
        },
        type_: Some("Opaque".to_owned()),
        data: Some(rendered.files.into_iter().map(|(name, content)| (name, ByteString(content))).collect()),
        ..Secret::default()
    }
}

/// All nodes, each at the name that the headless Service gives its pod.
fn nodes(cluster: &ValidCluster, instance: &Instance, names: &Names) -> Cluster {
    let node = |ordinal| {
        let name = cluster.node(ordinal);
        let address = format!("{name}.{}.{}.svc:{CLUSTER_PORT}", names.nodes, cluster.namespace);
        ClusterNode { name, address }
    };
    let file = |key: &str| PathBuf::from(pod::INTERNODE_DIR).join(key);
    Cluster {
        id: instance.cluster_id.clone(),
        bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), CLUSTER_PORT),
        certificate_file: file("tls.crt"),
        key_file: file("tls.key"),
        ca_file: file("ca.crt"),
        // A list without any node is refused by nodes that still end when the cluster is stopped.
        nodes: (0..instance.nodes.max(1)).map(node).collect(),
        evacuating: instance.evacuating.iter().map(|ordinal| cluster.node(*ordinal)).collect(),
    }
}

fn headless(cluster: &ValidCluster, names: &Names) -> Service {
    Service {
        metadata: metadata::child(cluster, &names.nodes),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            // A node must be found by its peers before it is ready.
            publish_not_ready_addresses: Some(true),
            selector: Some(selector(&cluster.name)),
            ports: Some(vec![port("admin", ADMIN_PORT), port(pod::CLUSTER_PORT_NAME, CLUSTER_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn admin(cluster: &ValidCluster, names: &Names) -> Service {
    Service {
        metadata: admin_metadata(cluster, names),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector(&cluster.name)),
            ports: Some(vec![port("admin", ADMIN_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// With what a ServiceMonitor finds it by.
fn admin_metadata(cluster: &ValidCluster, names: &Names) -> ObjectMeta {
    let mut metadata = metadata::child(cluster, &names.admin);
    let (key, value) = SERVICE_LABEL;
    metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    metadata
}

fn clients(cluster: &ValidCluster, names: &Names) -> Service {
    let service = &cluster.spec.service;
    let type_ = match service.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let external = service.external_traffic_policy.map(|policy| match policy {
        ExternalTrafficPolicy::Cluster => "Cluster".to_owned(),
        ExternalTrafficPolicy::Local => "Local".to_owned(),
    });
    Service {
        metadata: ObjectMeta {
            annotations: (!service.annotations.is_empty()).then(|| service.annotations.clone()),
            ..metadata::child(cluster, &names.cluster)
        },
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            load_balancer_class: service.load_balancer_class.clone(),
            external_traffic_policy: external,
            selector: Some(selector(&cluster.name)),
            ports: Some(cluster.listeners.iter().map(|listener| port(&listener.name, listener.port)).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// Clients from everywhere reach the listeners; metrics and status are for the namespaces of the Kubernetes cluster; the
/// nodes are for each other alone.
fn network_policy(cluster: &ValidCluster, names: &Names) -> NetworkPolicy {
    let tcp = |number: u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    let every_namespace =
        NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    let own_pods = NetworkPolicyPeer { pod_selector: Some(pods(cluster)), ..NetworkPolicyPeer::default() };
    NetworkPolicy {
        metadata: metadata::child(cluster, &names.cluster),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods(cluster)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    ports: Some(cluster.listeners.iter().map(|listener| tcp(listener.port)).collect()),
                    from: None,
                },
                NetworkPolicyIngressRule {
                    ports: Some(vec![tcp(ADMIN_PORT), tcp(SECURE_ADMIN_PORT)]),
                    from: Some(vec![every_namespace]),
                },
                NetworkPolicyIngressRule { ports: Some(vec![tcp(CLUSTER_PORT)]), from: Some(vec![own_pods]) },
            ]),
            egress: None,
        }),
    }
}

fn disruption_budget(cluster: &ValidCluster, names: &Names) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata::child(cluster, &names.cluster),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(pods(cluster)),
            // A node that is not ready must not keep a Kubernetes node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

fn stateful_set(cluster: &ValidCluster, instance: &Instance, names: &Names) -> StatefulSet {
    let spec = &cluster.spec;
    let template = pod::template(cluster);
    let hash = template_hash(&template);
    StatefulSet {
        metadata: ObjectMeta {
            annotations: Some([(TEMPLATE_HASH_ANNOTATION.to_owned(), hash)].into()),
            ..metadata::child(cluster, &names.cluster)
        },
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::from(instance.replicas)),
            service_name: Some(names.nodes.clone()),
            selector: pods(cluster),
            template,
            pod_management_policy: Some("Parallel".to_owned()),
            min_ready_seconds: Some(spec.update.min_ready_seconds),
            // Never `OnDelete`: without an operator, pods are still made anew, and nothing else happens.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(i32::from(instance.partition)),
                    max_unavailable: None,
                }),
            }),
            volume_claim_templates: spec.storage.as_ref().map(|storage| {
                let size = instance.claim_size.as_ref().unwrap_or(&storage.size);
                vec![claim(cluster, storage, size)]
            }),
            persistent_volume_claim_retention_policy: spec.storage.as_ref().map(|storage| {
                let word = |retention: Retention| match retention {
                    Retention::Retain => "Retain".to_owned(),
                    Retention::Delete => "Delete".to_owned(),
                };
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(word(storage.retention_policy.when_deleted)),
                    when_scaled: Some(word(storage.retention_policy.when_scaled)),
                }
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// Its labels are those of the selector alone, because a claim template can never be changed.
fn claim(cluster: &ValidCluster, storage: &Storage, size: &str) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(pod::DATA_VOLUME.to_owned()),
            labels: Some(selector(&cluster.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.to_owned()))].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn pods(cluster: &ValidCluster) -> LabelSelector {
    LabelSelector { match_labels: Some(selector(&cluster.name)), match_expressions: None }
}
