//! The pod of a broker node: a function of what needs a restart, and of nothing else.
//!
//! Neither the number of nodes nor links, users, certificates or listeners are in it, so that a change of those never
//! replaces a pod; of certificates, only which Secret holds that of the nodes.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tombolo_broker_api::Shards;
use tombolo_crds::brokercluster::{ImagePullPolicy, Scheduling, TopologySpread};

use super::metadata::{self, Names};
use crate::validate::{ADMIN_PORT, CLUSTER_PORT, SECURE_ADMIN_PORT, ValidCluster};

/// Image of a cluster that states none.
pub const DEFAULT_IMAGE: &str = concat!("ghcr.io/tombolo-mqtt/broker:", env!("CARGO_PKG_VERSION"));

/// Folder of the configuration in the pod.
const CONFIG_DIR: &str = "/etc/tombolo";
/// Folder of the nodes' certificate in the pod.
pub(super) const INTERNODE_DIR: &str = "/etc/tombolo-internode";
/// Folder of the data in the pod.
pub(super) const DATA_DIR: &str = "/var/lib/tombolo";
/// Name of the volume of the data, and of its claim.
pub const DATA_VOLUME: &str = "data";
const CONFIG_VOLUME: &str = "config";
const INTERNODE_VOLUME: &str = "internode";
const CONTAINER: &str = "broker";
const ADMIN_PORT_NAME: &str = "admin";
/// Name of the port where other nodes connect.
pub(super) const CLUSTER_PORT_NAME: &str = "cluster";
/// User and group that the broker runs as: nobody's.
const USER: i64 = 65_532;
/// Annotation with the settings that a running broker cannot take over.
const RESTART_ANNOTATION: &str = "tombolo.dev/restart-settings";

/// The pod template, overrides of the manifest included.
pub(super) fn template(cluster: &ValidCluster) -> PodTemplateSpec {
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(metadata::labels(cluster)),
            annotations: Some([(RESTART_ANNOTATION.to_owned(), restart_settings(cluster))].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(cluster)),
    };
    if let Some(overrides) = &cluster.pod_overrides {
        template.merge_from(overrides.clone());
    }
    template
}

fn restart_settings(cluster: &ValidCluster) -> String {
    match cluster.tuning.shards {
        Shards::Auto => "shards=auto".to_owned(),
        Shards::Count(count) => format!("shards={count}"),
    }
}

fn pod(cluster: &ValidCluster) -> PodSpec {
    let spec = &cluster.spec;
    let names = Names::of(&cluster.name);
    let scheduling = spec.scheduling.clone().unwrap_or_default();
    let Scheduling { node_selector, tolerations, affinity: _, topology_spread, priority_class_name } = scheduling;
    let secret = |name: &str, secret_name: String| Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret_name),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let internode = cluster.internode_tls.as_ref().map_or(names.internode, |tls| tls.secret_name.clone());
    let mut volumes = vec![secret(CONFIG_VOLUME, names.config), secret(INTERNODE_VOLUME, internode)];
    if spec.storage.is_none() {
        volumes.push(Volume {
            name: DATA_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    PodSpec {
        service_account_name: Some(names.cluster),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        containers: vec![container(cluster)],
        volumes: Some(volumes),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(spec.update.termination_grace_period_seconds),
        image_pull_secrets: some(
            spec.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }),
        ),
        node_selector: (!node_selector.is_empty()).then_some(node_selector),
        tolerations: some(tolerations.into_iter().map(|toleration| Toleration {
            key: toleration.key,
            operator: toleration.operator,
            value: toleration.value,
            effect: toleration.effect,
            toleration_seconds: toleration.toleration_seconds,
        })),
        affinity: cluster.affinity.clone(),
        topology_spread_constraints: spread(cluster, topology_spread),
        priority_class_name,
        ..PodSpec::default()
    }
}

fn container(cluster: &ValidCluster) -> Container {
    let spec = &cluster.spec;
    let pull = spec.image_pull_policy.map(|policy| match policy {
        ImagePullPolicy::Always => "Always",
        ImagePullPolicy::IfNotPresent => "IfNotPresent",
        ImagePullPolicy::Never => "Never",
    });
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(spec.image.clone().unwrap_or_else(|| DEFAULT_IMAGE.to_owned())),
        image_pull_policy: pull.map(str::to_owned),
        args: Some(vec![
            "--config".to_owned(),
            format!("{CONFIG_DIR}/{}", super::config::CONFIG_FILE),
            "--node".to_owned(),
            "$(POD_NAME)".to_owned(),
        ]),
        env: Some(vec![EnvVar {
            name: "POD_NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector { field_path: "metadata.name".to_owned(), api_version: None }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        ports: Some(vec![
            port(ADMIN_PORT_NAME, ADMIN_PORT),
            port("admin-tls", SECURE_ADMIN_PORT),
            port(CLUSTER_PORT_NAME, CLUSTER_PORT),
        ]),
        resources: spec.resources.as_ref().map(|resources| ResourceRequirements {
            requests: (!resources.requests.is_empty()).then(|| resources.requests.clone()),
            limits: (!resources.limits.is_empty()).then(|| resources.limits.clone()),
            claims: None,
        }),
        // A start reads what is stored, which may take minutes.
        startup_probe: Some(Probe { failure_threshold: Some(300), ..probe("/healthz", 1) }),
        readiness_probe: Some(Probe { failure_threshold: Some(2), ..probe("/readyz", 5) }),
        liveness_probe: Some(Probe { failure_threshold: Some(6), ..probe("/healthz", 10) }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount(CONFIG_VOLUME, CONFIG_DIR, true),
            mount(INTERNODE_VOLUME, INTERNODE_DIR, true),
            mount(DATA_VOLUME, DATA_DIR, false),
        ]),
        ..Container::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

fn spread(cluster: &ValidCluster, spread: TopologySpread) -> Option<Vec<TopologySpreadConstraint>> {
    let unsatisfiable = match spread {
        TopologySpread::Preferred => "ScheduleAnyway",
        TopologySpread::Required => "DoNotSchedule",
        TopologySpread::Disabled => return None,
    };
    let constraint = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: unsatisfiable.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(metadata::selector(&cluster.name)),
            match_expressions: None,
        }),
        ..TopologySpreadConstraint::default()
    };
    Some(vec![constraint("kubernetes.io/hostname"), constraint("topology.kubernetes.io/zone")])
}

fn some<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<_> = items.collect();
    (!items.is_empty()).then_some(items)
}
