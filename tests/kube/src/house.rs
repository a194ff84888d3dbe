//! A namespace of a test with an operator of its own that has the rights of the chart and no others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tombolo_tests::child::Child;
use tombolo_tests::{http, ports};

use crate::api_proxy::ApiProxy;
use crate::kubelet::{Kubelet, Runs};
use crate::plane::Plane;
use crate::tools;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Tells an operator for how many seconds its Lease is valid.
pub const LEASE_DURATION: &str = "TOMBOLO_LEASE_DURATION";

/// A namespace of a test.
pub struct House {
    /// The control plane.
    pub plane: Arc<Plane>,
    /// A client with every right.
    pub client: Client,
    /// Its name.
    pub namespace: String,
    /// What runs its pods.
    pub kubelet: Kubelet,
    token: String,
    kubeconfig: PathBuf,
}

/// A running operator.
pub struct Operator {
    /// The process.
    pub process: Child,
    /// Where it serves health and metrics.
    pub address: SocketAddr,
}

// === impl House ===

impl House {
    /// A new namespace.
    pub async fn build(plane: &Arc<Plane>, name: &str, runs: Runs) -> Self {
        let client = plane.admin().await;
        let namespace = format!("t-{name}");
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let object: Namespace = serde_json::from_value(object).expect("a namespace");
        Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("made");
        let chart = rendered(&[
            "--namespace",
            &namespace,
            "--set",
            &format!("watchNamespaces={{{namespace}}},crds.enabled=false"),
        ]);
        for object in chart {
            if ["ServiceAccount", "Role", "RoleBinding"].contains(&object["kind"].as_str().unwrap_or_default()) {
                apply(&client, &namespace, "tests", object).await;
            }
        }
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(86_400), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let token = accounts.create_token_request("tombolo", &PostParams::default(), &request).await.expect("a token");
        let token = token.status.expect("a token").token;
        let kubeconfig = plane.write(&format!("{namespace}.kubeconfig"), &plane.kubeconfig_of_token(&token));
        let kubelet = Kubelet::start(client.clone(), &namespace, plane.folder(), runs);
        Self { plane: Arc::clone(plane), client, namespace, kubelet, token, kubeconfig }
    }

    /// Starts an operator here.
    pub fn operator(&self, name: &str) -> Operator {
        self.operator_with(name, |_| {})
    }

    /// Starts an operator here, after `adjust` changed how.
    pub fn operator_with(&self, name: &str, adjust: impl FnOnce(&mut Command)) -> Operator {
        let address: SocketAddr = ([127, 0, 0, 1], ports::free()).into();
        let mut command = Command::new(binary("tombolo-operator"));
        command.env("KUBECONFIG", &self.kubeconfig).env("TOMBOLO_LOG", "info,tombolo_operator=debug");
        command.env("TOMBOLO_LEASE", "tombolo").args(["--bind", &address.to_string(), "--identity", name]);
        command.args(["--watch-namespaces", &self.namespace, "--lease-namespace", &self.namespace]);
        // No Deployment starts another one here when a busy machine is late to renew.
        command.env(LEASE_DURATION, "60");
        adjust(&mut command);
        let log = self.plane.folder().join(format!("operator-{}-{name}.log", self.namespace));
        Operator { process: Child::spawn(name, command, log), address }
    }

    /// A way to the API server on which things go wrong.
    pub fn proxy(&self) -> ApiProxy {
        ApiProxy::start(self.plane.kubeconfig_of_token(&self.token))
    }

    /// Starts an operator that has no other way to the API server than this.
    pub fn operator_through(&self, name: &str, proxy: &ApiProxy) -> Operator {
        let kubeconfig = self.kubeconfig_through(proxy);
        let operator = self.operator_with(name, |command| _ = command.env("KUBECONFIG", kubeconfig));
        proxy.victim(operator.process.id());
        operator
    }

    /// The file that shows an operator this way.
    pub fn kubeconfig_through(&self, proxy: &ApiProxy) -> PathBuf {
        let cluster = json!({"server": format!("http://{}", proxy.address)});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}], "users": [{"name": "it", "user": {"token": self.token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        let file = format!("{}-{}.kubeconfig", self.namespace, proxy.address.port());
        self.plane.write(&file, &config.to_string())
    }

    /// Applies a manifest in this namespace, as a foreign manager.
    pub async fn apply(&self, manifest: &str) -> Vec<Value> {
        let mut applied = Vec::new();
        for object in serde_saphyr::from_multiple::<Value>(manifest).expect("YAML") {
            applied.push(apply(&self.client, &self.namespace, "gitops", object).await);
        }
        applied
    }

    /// Objects of a kind, such as `apps/v1/StatefulSet`.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// The object now.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let object = self.api(kind).get_opt(name).await.expect("the API server answers");
        object.map(|object| serde_json::to_value(object).expect("JSON"))
    }

    /// Waits until an object is as it should be.
    pub async fn until(&self, kind: &str, name: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let begun = Instant::now();
        loop {
            if let Some(object) = self.get(kind, name).await {
                if test(&object) {
                    return object;
                }
                last = object;
            }
            if begun.elapsed() > PATIENCE {
                let operators = std::fs::read_dir(self.plane.folder()).expect("the folder");
                for log in operators.flatten() {
                    let name = log.file_name().to_string_lossy().into_owned();
                    if name.starts_with(&format!("operator-{}", self.namespace)) {
                        let text = std::fs::read_to_string(log.path()).unwrap_or_default();
                        let lines: Vec<_> = text.lines().collect();
                        eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
                    }
                }
                panic!("{kind} {name} in vain awaited: {what}; it is {last:#}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a condition has that status and reason.
    pub async fn until_condition(&self, kind: &str, name: &str, condition: &str, status: &str, reason: &str) -> Value {
        let what = format!("{condition} {status} {reason}");
        self.until(kind, name, &what, |object| {
            is_observed(object)
                && conditions(object).any(|found| {
                    found["type"] == condition
                        && found["status"] == status
                        && (reason.is_empty() || found["reason"] == reason)
                })
        })
        .await
    }

    /// Waits until an object is ready.
    pub async fn until_ready(&self, kind: &str, name: &str) -> Value {
        self.until_condition(kind, name, "Ready", "True", "").await
    }
}

impl Operator {
    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        eventually("the operator is ready", async || {
            http::get(self.address, "/readyz").await.is_ok_and(|(code, _)| code == 200)
        })
        .await;
    }

    /// One of its metrics; it is waited for until it serves them.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        eventually("metrics are served", async || match http::get(self.address, "/metrics").await {
            Ok((_, served)) => {
                text = served;
                true
            }
            Err(_) => false,
        })
        .await;
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name} in {text}"))
    }
}

/// Status is about the newest spec.
pub fn is_observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// The conditions of an object.
pub fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut test: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !test().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Applies one object by server-side apply; what is refused panics with the reason.
pub async fn apply(client: &Client, namespace: &str, manager: &str, object: Value) -> Value {
    let sent = try_apply(client, namespace, manager, object.clone()).await;
    sent.unwrap_or_else(|error| panic!("{object:#} is refused: {error}"))
}

/// Applies one object by server-side apply, without force.
pub async fn try_apply(client: &Client, namespace: &str, manager: &str, object: Value) -> Result<Value, kube::Error> {
    let kind =
        format!("{}/{}", object["apiVersion"].as_str().expect("a version"), object["kind"].as_str().expect("a kind"));
    let resource = resource(&kind);
    let cluster_wide = [
        "CustomResourceDefinition",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ClusterRole",
        "ClusterRoleBinding",
        "APIService",
    ]
    .contains(&resource.kind.as_str());
    let api: Api<DynamicObject> = if cluster_wide {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let sent = api.patch(&name, &PatchParams::apply(manager), &Patch::Apply(object)).await?;
    Ok(serde_json::to_value(sent).expect("JSON"))
}

/// Objects of a kind that has no namespaces.
pub fn cluster_wide(client: &Client, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

fn resource(kind: &str) -> ApiResource {
    let parts: Vec<_> = kind.split('/').collect();
    let gvk = match parts.as_slice() {
        [group, version, kind] => GroupVersionKind::gvk(group, version, kind),
        [version, kind] => GroupVersionKind::gvk("", version, kind),
        _ => panic!("{kind} is no kind"),
    };
    let mut resource = ApiResource::from_gvk(&gvk);
    if resource.kind == "ValidatingAdmissionPolicy" {
        resource.plural = "validatingadmissionpolicies".to_owned();
    }
    resource
}

/// The chart, rendered by helm.
pub fn rendered(arguments: &[&str]) -> Vec<Value> {
    let output = helm(arguments);
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("YAML is text");
    let objects = serde_saphyr::from_multiple::<Value>(&text).expect("YAML");
    objects.into_iter().filter(|object| object.is_object()).collect()
}

/// `helm template tombolo charts/tombolo`, with these arguments.
pub fn helm(arguments: &[&str]) -> std::process::Output {
    let mut command = tools::command("helm");
    command
        .args(["template", "tombolo", "--kube-version", crate::plane::VERSION])
        .arg(root().join("charts/tombolo"))
        .args(arguments);
    tools::run(&mut command)
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/kube is two below").to_owned()
}

/// A program of the workspace, beside this one.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let path = own.with_file_name(name);
    assert!(path.is_file(), "{} is missing: run `make e2e-api`, which builds it", path.display());
    path
}
