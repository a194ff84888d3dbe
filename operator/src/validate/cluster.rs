//! A BrokerCluster by itself: everything that its manifest names is found, read and understood.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, PodTemplateSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tombolo_broker_api::{ClientCertificate, Protocol, Seconds, Tuning};
use tombolo_crds::brokercluster::{
    ClientAuthMode, Engine, Evacuation, InternodeTls, Listener, Protocol as Spoken, ProxyProtocol,
};
use tombolo_crds::{BrokerCluster, BrokerClusterSpec, reasons};

use super::problem::Report;
use super::secrets::{Pem, Secrets};
use super::tuning;
use super::valid::{ValidCluster, ValidInternodeTls, ValidListener, ValidListenerTls};
use crate::observed::DEFAULT_NAMESPACE;

/// Longest name, so that those of pods and Services fit into a DNS label.
const NAME_BYTES_MAX: usize = 45;

/// Of the time that a pod has to stop, what is left at most for closing what is still open.
const FAREWELL_SECONDS: u64 = 20;

/// Port on which a pod serves health and metrics; no listener can have it.
pub const ADMIN_PORT: u16 = 9600;

/// Port on which a pod serves its status over TLS, to the operator; no listener can have it.
pub const SECURE_ADMIN_PORT: u16 = 9601;

/// Port on which a pod is reached by the other nodes of its cluster; no listener can have it.
pub const CLUSTER_PORT: u16 = 7883;

/// The cluster without its links; none if it has a problem.
pub(super) fn check(cluster: &BrokerCluster, secrets: Secrets, report: &mut Report) -> Option<ValidCluster> {
    let before = report.problems.len();
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let spec = &cluster.spec;
    check_name(&name, report);
    not_served_yet(cluster, report);
    let tuning = tuning::parse(&spec.config).map_err(|faults| {
        for (path, message) in faults {
            let field = if path.is_empty() { "spec.config".to_owned() } else { format!("spec.config.{path}") };
            report.problem(field, reasons::CONFIG_INVALID, message);
        }
    });
    let users = match &spec.authentication.users {
        None => Some(None),
        Some(users) => {
            secrets.users(report, "spec.authentication.users.secretRef.name", &users.secret_ref.name).map(Some)
        }
    };
    let internode_tls = check_internode_tls(&name, spec.internode_tls.as_ref(), secrets, report);
    let listeners = check_listeners(&spec.listeners, secrets, report);
    let affinity = spec.scheduling.as_ref().and_then(|scheduling| {
        embedded::<Affinity>(&scheduling.affinity, "spec.scheduling.affinity", "an affinity of a pod", report)
    });
    let overrides = embedded::<PodTemplateSpec>(&spec.pod_overrides, "spec.podOverrides", "a pod template", report);
    if report.problems.len() > before {
        return None;
    }
    Some(ValidCluster {
        namespace: cluster.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name,
        uid: cluster.metadata.uid.clone(),
        spec: spec.clone(),
        tuning: with_evacuation(tuning.ok()?, spec, overrides.as_ref()),
        users: users?,
        internode_tls,
        listeners,
        links: Vec::new(),
        affinity,
        pod_overrides: overrides,
    })
}

/// How a node is emptied, as `spec.update` says where `spec.config` says nothing of its own. Whatever either says, a node that
/// is told to stop knows when it is ended by force, and ends before.
fn with_evacuation(mut tuning: Tuning, spec: &BrokerClusterSpec, overrides: Option<&PodTemplateSpec>) -> Tuning {
    let stated = spec.config.get("cluster").and_then(|cluster| cluster.get("evacuation")).is_some();
    if !stated {
        let rate = |stated: Option<i32>, default: u32| stated.and_then(|rate| rate.try_into().ok()).unwrap_or(default);
        let (update, evacuation) = (&spec.update.evacuation, &mut tuning.cluster.evacuation);
        evacuation.disconnects_per_second = rate(update.connections_per_second, evacuation.disconnects_per_second);
        evacuation.moves_per_second = rate(update.sessions_per_second, evacuation.moves_per_second);
        evacuation.timeout = Seconds(u64::try_from(update.deadline_seconds).unwrap_or(evacuation.timeout.0));
    }
    let overridden = overrides.and_then(|template| template.spec.as_ref()?.termination_grace_period_seconds);
    let grace = u64::try_from(overridden.unwrap_or(spec.update.termination_grace_period_seconds)).unwrap_or(0);
    let stop = Seconds(grace.saturating_sub((grace / 4).min(FAREWELL_SECONDS)).max(1));
    let evacuation = &mut tuning.cluster.evacuation;
    evacuation.stop_timeout = Some(evacuation.stop_timeout.map_or(stop, |stated| stated.min(stop)));
    tuning
}

fn check_name(name: &str, report: &mut Report) {
    if name.len() > NAME_BYTES_MAX {
        let message = format!("`{name}` has {} characters; use at most {NAME_BYTES_MAX}", name.len());
        report.problem("metadata.name", reasons::INVALID, message);
    }
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fine) || name.ends_with('-') {
        let message = format!(
            "`{name}` is not a name that Services can bear; use lower case letters, digits and `-`, a letter first"
        );
        report.problem("metadata.name", reasons::INVALID, message);
    }
}

/// What the schema knows and this release does not serve: said, so that nobody is deceived.
fn not_served_yet(cluster: &BrokerCluster, report: &mut Report) {
    let spec = &cluster.spec;
    let mut refuse = |field: &str, message: String| report.problem(field, reasons::NOT_YET_SUPPORTED, message);
    match spec.persistence.engine {
        Engine::Memory => {}
        engine @ (Engine::Local | Engine::Replicated) => {
            let message =
                format!("{engine:?}: this release keeps sessions and messages in memory; write engine: Memory");
            refuse("spec.persistence.engine", message);
        }
    }
    for (at, listener) in spec.listeners.iter().enumerate() {
        match listener.protocol {
            Spoken::Mqtt | Spoken::Mqtts => {}
            protocol @ (Spoken::Ws | Spoken::Wss) => {
                let message = format!("{}: this release serves MQTT and MQTTS; remove the listener", protocol.as_str());
                refuse(&format!("spec.listeners[{at}].protocol"), message);
            }
        }
        match listener.proxy_protocol {
            ProxyProtocol::Disabled => {}
            version @ (ProxyProtocol::V1 | ProxyProtocol::V2) => {
                let message = format!("{version:?}: this release does not read the PROXY protocol; write Disabled");
                refuse(&format!("spec.listeners[{at}].proxyProtocol"), message);
            }
        }
    }
    if spec.update.evacuation.takeover_wait_seconds != Evacuation::default().takeover_wait_seconds {
        let message = "a session moves as soon as its client is gone; takeoverWaitSeconds has no effect yet";
        report.warning("spec.update.evacuation.takeoverWaitSeconds", reasons::NOT_YET_SUPPORTED, message);
    }
}

/// The Secret with the certificate of the nodes, where the manifest names none.
pub fn internode_secret(cluster: &str) -> String {
    format!("{cluster}-internode")
}

/// The certificate that the manifest names for the nodes; none if it names none, or one with a problem, or asks an issuer that
/// has not made it yet.
fn check_internode_tls(
    cluster: &str,
    tls: Option<&InternodeTls>,
    secrets: Secrets,
    report: &mut Report,
) -> Option<ValidInternodeTls> {
    let InternodeTls { secret_name, issuer_ref } = tls?;
    let (field, secret_name) = match (secret_name, issuer_ref) {
        (Some(name), _) => ("spec.internodeTLS.secretName", name.clone()),
        (None, Some(_)) => ("spec.internodeTLS.issuerRef", internode_secret(cluster)),
        (None, None) => return None,
    };
    if issuer_ref.is_some() && secrets.observed.secret(secrets.namespace, &secret_name).is_none() {
        return None;
    }
    let secret_name = &secret_name;
    let (certificate, key) = secrets.identity(report, field, secret_name)?;
    let secret = secrets.find(report, field, secret_name, "the key ca.crt")?;
    let ca = secrets.pem(report, field, secret, "ca.crt", Pem::Certificate)?;
    Some(ValidInternodeTls { secret_name: secret_name.clone(), certificate, key, ca })
}

fn check_listeners(listeners: &[Listener], secrets: Secrets, report: &mut Report) -> Vec<ValidListener> {
    let mut ports: BTreeMap<u16, usize> = BTreeMap::new();
    let mut valid = Vec::new();
    for (at, listener) in listeners.iter().enumerate() {
        let field = format!("spec.listeners[{at}]");
        if let Some(other) = ports.get(&listener.port) {
            let other = &listeners[*other].name;
            let message = format!("port {} is that of listener `{other}`, too; give each its own", listener.port);
            report.problem(format!("{field}.port"), reasons::PORT_TAKEN, message);
        }
        for (port, what) in [
            (ADMIN_PORT, "pods serve metrics"),
            (SECURE_ADMIN_PORT, "pods serve their status"),
            (CLUSTER_PORT, "nodes reach each other"),
        ] {
            if listener.port == port {
                let message = format!("port {port} is where {what}; choose another");
                report.problem(format!("{field}.port"), reasons::PORT_TAKEN, message);
            }
        }
        ports.entry(listener.port).or_insert(at);
        if listeners[..at].iter().any(|other| other.name == listener.name) {
            let message = format!("`{}` is the name of two listeners; rename one", listener.name);
            report.problem(format!("{field}.name"), reasons::DUPLICATE, message);
        }
        valid.extend(check_listener(&field, listener, secrets, report));
    }
    valid
}

fn check_listener(field: &str, listener: &Listener, secrets: Secrets, report: &mut Report) -> Option<ValidListener> {
    let protocol = match listener.protocol {
        Spoken::Mqtt => Protocol::Mqtt,
        Spoken::Mqtts => Protocol::Mqtts,
        // Said above.
        Spoken::Ws | Spoken::Wss => return None,
    };
    let tls = match &listener.tls {
        None => None,
        Some(tls) => {
            let identity = secrets.identity(report, &format!("{field}.tls.secretName"), &tls.secret_name);
            let clients = match &tls.client_auth {
                None => Some(None),
                Some(auth) => {
                    let at = format!("{field}.tls.clientAuth.caSecretName");
                    let secret = secrets.find(report, &at, &auth.ca_secret_name, "the key ca.crt");
                    let ca = secret.and_then(|secret| secrets.pem(report, &at, secret, "ca.crt", Pem::Certificate));
                    let demand = match auth.mode {
                        ClientAuthMode::Request => ClientCertificate::Request,
                        ClientAuthMode::Require => ClientCertificate::Require,
                    };
                    ca.map(|ca| Some((ca, demand)))
                }
            };
            let ((certificate, key), clients) = identity.zip(clients)?;
            Some(ValidListenerTls { certificate, key, clients })
        }
    };
    Some(ValidListener {
        name: listener.name.clone(),
        protocol,
        port: listener.port,
        max_connections: listener.max_connections,
        tls,
    })
}

/// A part of the manifest that is a type of Kubernetes; none if it is empty or has a problem.
fn embedded<T: DeserializeOwned + Serialize>(
    part: &Map<String, Value>,
    field: &str,
    what: &str,
    report: &mut Report,
) -> Option<T> {
    if part.is_empty() {
        return None;
    }
    let part = Value::Object(part.clone());
    let typed: T = match serde_json::from_value(part.clone()) {
        Ok(typed) => typed,
        Err(error) => {
            report.problem(field, reasons::INVALID, format!("is not {what}: {error}"));
            return None;
        }
    };
    // The types drop what they don't know.
    let kept = serde_json::to_value(&typed).unwrap_or_default();
    let mut lost = Vec::new();
    find_lost(field, &part, &kept, &mut lost);
    for path in &lost {
        report.problem(path.as_str(), reasons::INVALID, format!("is not a field of {what}; correct or remove it"));
    }
    lost.is_empty().then_some(typed)
}

fn find_lost(path: &str, part: &Value, kept: &Value, lost: &mut Vec<String>) {
    match (part, kept) {
        (Value::Object(part), Value::Object(kept)) => {
            for (key, value) in part {
                let path = format!("{path}.{key}");
                match kept.get(key) {
                    Some(kept) => find_lost(&path, value, kept, lost),
                    None if value.is_null() => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(part), Value::Array(kept)) => {
            for (at, (value, kept)) in part.iter().zip(kept).enumerate() {
                find_lost(&format!("{path}[{at}]"), value, kept, lost);
            }
        }
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
        ) => {}
    }
}
