//! A kubelet of the tests: it starts the real broker for each pod of a namespace, at an address of the loopback network that
//! is the pod's alone.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;
use tombolo_tests::child::Child;
use tombolo_tests::http;

use crate::house::binary;

/// Between two looks at the pods: this kubelet asks, so that its rights and watches are nobody's concern.
const PERIOD: Duration = Duration::from_millis(100);

/// What runs in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The broker that this workspace built.
    Brokers,
    /// Nothing; a pod is ready a moment after it was made.
    Nothing,
}

/// Runs the pods of a namespace until it is dropped.
pub struct Kubelet {
    task: JoinHandle<()>,
    broken: Arc<Mutex<Vec<String>>>,
}

/// The address of a pod: always the same for its name.
pub fn address(namespace: &str, pod: &str) -> Ipv4Addr {
    let mut hasher = DefaultHasher::new();
    (namespace, pod, std::process::id()).hash(&mut hasher);
    let [a, b, c, ..] = hasher.finish().to_be_bytes();
    Ipv4Addr::new(127, 16 + a % 200, b, 1 + c % 250)
}

struct Node {
    client: Client,
    namespace: String,
    folder: PathBuf,
    runs: Runs,
    /// By the uid of the pod.
    brokers: HashMap<String, Broker>,
    /// Images that cannot be pulled.
    broken: Arc<Mutex<Vec<String>>>,
}

struct Broker {
    process: Child,
    written: BTreeMap<String, Vec<u8>>,
    told_to_stop: bool,
}

// === impl Kubelet ===

impl Kubelet {
    /// Starts it.
    pub fn start(client: Client, namespace: &str, folder: &Path, runs: Runs) -> Self {
        let broken = Arc::new(Mutex::new(Vec::new()));
        let folder = folder.join(format!("pods-{namespace}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let namespace = namespace.to_owned();
        let mut node = Node { client, namespace, folder, runs, brokers: HashMap::new(), broken: Arc::clone(&broken) };
        let task = tokio::spawn(async move {
            loop {
                // The control plane may be busy; the next look mends it.
                if let Err(error) = node.turn().await {
                    eprintln!("kubelet: {error}");
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
        Self { task, broken }
    }

    /// From now on that image cannot be pulled.
    pub fn breaks(&self, image: &str) {
        self.broken.lock().expect("nobody panicked").push(image.to_owned());
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Node ===

impl Node {
    async fn turn(&mut self) -> Result<(), kube::Error> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let all = pods.list(&Default::default()).await?.items;
        let alive: Vec<_> = all.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        self.brokers.retain(|uid, _| alive.contains(uid));
        for pod in all {
            match self.pod(&pods, &pod).await {
                // Somebody else changed or removed it meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    async fn pod(&mut self, pods: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let spec = pod.spec.as_ref().expect("a pod has a spec");
        if pod.metadata.deletion_timestamp.is_some() {
            if let Some(broker) = self.brokers.get_mut(&uid) {
                if !broker.told_to_stop {
                    broker.told_to_stop = true;
                    broker.process.signal(Signal::TERM);
                }
                if broker.process.ended().is_none() {
                    return Ok(());
                }
            }
            self.brokers.remove(&uid);
            let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            return pods.delete(&name, &now).await.map(|_| ());
        }
        if spec.node_name.is_none() {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                "target": {"kind": "Node", "name": "tests"},
            });
            let _: serde_json::Value =
                pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
            return Ok(());
        }
        let image = spec.containers[0].image.clone().unwrap_or_default();
        if self.broken.lock().expect("nobody panicked").contains(&image) {
            return self.say(pods, pod, "Pending", Some("ImagePullBackOff"), false).await;
        }
        let ready = match self.runs {
            Runs::Nothing => true,
            Runs::Brokers => self.broker(pod, &name, &uid).await?,
        };
        self.say(pods, pod, "Running", None, ready).await
    }

    /// Starts it, or gives it what changed; true: it is ready.
    async fn broker(&mut self, pod: &Pod, name: &str, uid: &str) -> Result<bool, kube::Error> {
        let folder = self.folder.join(uid);
        let Some(files) = self.files(pod, name, &folder).await? else { return Ok(false) };
        let ip = address(&self.namespace, name);
        if !self.brokers.contains_key(uid) {
            write(&folder, &files);
            let mut command = Command::new(binary("tombolo-broker"));
            command.arg("--config").arg(folder.join("config/broker.yaml")).args(["--node", name]);
            let process = Child::spawn(name, command, self.folder.join(format!("{name}.log")));
            self.brokers.insert(uid.to_owned(), Broker { process, written: files, told_to_stop: false });
            return Ok(false);
        }
        let broker = self.brokers.get_mut(uid).expect("looked at above");
        if let Some(status) = broker.process.ended() {
            panic!("the broker of {name} ended with {status}:\n{}", broker.process.output());
        }
        if broker.written != files {
            write(&folder, &files);
            broker.written = files;
        }
        Ok(http::get((ip, 9600).into(), "/readyz").await.is_ok_and(|answer| answer.0 == 200))
    }

    /// What the pod's volumes hold, addresses and paths as they are on this machine; none while a Secret is missing.
    async fn files(
        &self,
        pod: &Pod,
        name: &str,
        folder: &Path,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let mut files = BTreeMap::new();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let Some(secret) = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_ref()) else { continue };
            let Some(secret) = secrets.get_opt(secret).await? else { return Ok(None) };
            for (key, content) in secret.data.into_iter().flatten() {
                let content = if key == "broker.yaml" {
                    let text = String::from_utf8(content.0).expect("YAML is text");
                    self.placed(&text, name, folder).into_bytes()
                } else {
                    content.0
                };
                files.insert(format!("{}/{key}", volume.name), content);
            }
        }
        Ok(Some(files))
    }

    fn placed(&self, text: &str, name: &str, folder: &Path) -> String {
        let own = address(&self.namespace, name).to_string();
        let text = text.replace("0.0.0.0", &own);
        let text = text.replace("/etc/tombolo-internode", &folder.join("internode").display().to_string());
        let text = text.replace("/var/lib/tombolo", &folder.join("data").display().to_string());
        // Names of Services and of pods behind a headless one; what DNS would say.
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let mut placed = String::new();
        let mut rest = text.as_str();
        while let Some(begin) = rest.find(is_name) {
            placed.push_str(&rest[..begin]);
            rest = &rest[begin..];
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let parts: Vec<_> = rest[..end].split('.').collect();
            match parts.as_slice() {
                [service, namespace, "svc"] => {
                    placed.push_str(&address(namespace, &format!("{service}-0")).to_string());
                }
                // Of the own namespace, in an address.
                [service] if placed.ends_with("://") && service.contains(|c: char| c.is_ascii_alphabetic()) => {
                    placed.push_str(&address(&self.namespace, &format!("{service}-0")).to_string());
                }
                [pod, _, namespace, "svc"] => placed.push_str(&address(namespace, pod).to_string()),
                _ => placed.push_str(&rest[..end]),
            }
            rest = &rest[end..];
        }
        placed + rest
    }

    async fn say(
        &self,
        pods: &Api<Pod>,
        pod: &Pod,
        phase: &str,
        waits: Option<&str>,
        ready: bool,
    ) -> Result<(), kube::Error> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let truth = if ready { "True" } else { "False" };
        let said = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let same = said.is_some_and(|said| said.status == truth) && status.phase.as_deref() == Some(phase);
        if same && waits.is_none() {
            return Ok(());
        }
        let now = jiff::Timestamp::now().to_string();
        let state = match waits {
            Some(reason) => json!({"waiting": {"reason": reason, "message": "the tests say so"}}),
            None => json!({"running": {"startedAt": now}}),
        };
        let ip = address(&self.namespace, &name).to_string();
        let container = json!({
            "name": "broker", "ready": ready, "started": true, "restartCount": 0, "image": "", "imageID": "",
            "state": state,
        });
        let patch = json!({"status": {
            "phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "containerStatuses": [container],
            "conditions": [{"type": "Ready", "status": truth, "lastTransitionTime": now}],
        }});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(|_| ())
    }
}

/// Each file at once, as the kubelet does: never half of one.
fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let whole = path.with_extension("new");
        std::fs::write(&whole, content).expect("written");
        std::fs::rename(&whole, &path).expect("renamed");
    }
}
