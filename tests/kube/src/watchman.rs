//! Looks at every status that is ever written, and at the end for what should be nowhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tombolo_crds::{conditions, kstatus};

use crate::plane::Plane;

/// A password of the tests: nobody may ever say it.
pub const PASSWORD: &str = "never-say-this-aloud";

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// Statuses.
    pub count: usize,
    /// What was wrong with them.
    pub faults: Vec<String>,
}

/// Watches until it is asked.
pub struct Watchman {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What `Ready` of each object of a namespace said, one after another.
pub struct Readiness {
    said: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    tasks: Vec<JoinHandle<()>>,
}

// === impl Readiness ===

impl Readiness {
    /// Begins.
    pub fn follow(client: &Client, namespace: &str) -> Self {
        let said = Arc::new(Mutex::new(BTreeMap::<String, Vec<String>>::new()));
        let tasks = ["BrokerCluster", "ClusterLink"].map(|kind| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("tombolo.dev", "v1alpha1", kind));
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
            let said = Arc::clone(&said);
            tokio::spawn(async move {
                let mut stream = std::pin::pin!(watcher(api, Config::default()).default_backoff().applied_objects());
                while let Some(object) = stream.next().await {
                    let Ok(object) = object else { continue };
                    let ready = object.data["status"]["conditions"].as_array().into_iter().flatten();
                    let Some(ready) = ready.into_iter().find(|condition| condition["type"] == "Ready") else {
                        continue;
                    };
                    let name = format!("{kind} {}", object.metadata.name.unwrap_or_default());
                    let word = |field: &str| ready[field].as_str().unwrap_or_default();
                    let now = format!("{} {}", word("status"), word("reason"));
                    let mut said = said.lock().expect("nobody panicked");
                    let turns = said.entry(name).or_default();
                    if turns.last() != Some(&now) {
                        turns.push(now);
                    }
                }
            })
        });
        Self { said, tasks: tasks.into() }
    }

    /// By object: each value that differs from the one before.
    pub fn turns(&self) -> BTreeMap<String, Vec<String>> {
        self.said.lock().expect("nobody panicked").clone()
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

// === impl Watchman ===

impl Watchman {
    /// Begins.
    pub async fn start(plane: &Plane) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = plane.admin().await;
        let kinds =
            [("BrokerCluster", &conditions::BROKER_CLUSTER[..]), ("ClusterLink", &conditions::CLUSTER_LINK[..])];
        let tasks = kinds.map(|(kind, always)| tokio::spawn(watch(client.clone(), kind, always, Arc::clone(&seen))));
        Self { seen, tasks: tasks.into() }
    }

    /// Ends, and looks for the password in events and logs.
    pub async fn end(self, plane: &Plane) -> Seen {
        self.tasks.iter().for_each(JoinHandle::abort);
        let mut seen = std::mem::take(&mut *self.seen.lock().expect("nobody panicked"));
        let events = Api::<Event>::all(plane.admin().await).list(&Default::default()).await.expect("events");
        for event in events {
            if serde_json::to_string(&event).expect("JSON").contains(PASSWORD) {
                seen.faults.push(format!("event {:?} says the password", event.metadata.name));
            }
        }
        for log in std::fs::read_dir(plane.folder()).expect("the folder").flatten() {
            let name = log.file_name().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(log.path()).unwrap_or_default();
            if name.starts_with("operator-") && text.contains(PASSWORD) {
                seen.faults.push(format!("{name} says the password"));
            }
            if name.starts_with("operator-") && text.contains("is forbidden") {
                let line = text.lines().find(|line| line.contains("is forbidden")).unwrap_or_default();
                seen.faults.push(format!("{name}: the chart gives too few rights: {line}"));
            }
        }
        seen
    }
}

async fn watch(client: Client, kind: &'static str, always: &'static [&'static str], seen: Arc<Mutex<Seen>>) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("tombolo.dev", "v1alpha1", kind));
    let api = Api::<DynamicObject>::all_with(client, &resource);
    let mut stream = std::pin::pin!(watcher(api, Config::default()).default_backoff().applied_objects());
    while let Some(object) = stream.next().await {
        let Ok(object) = object else { continue };
        let object = serde_json::to_value(object).expect("JSON");
        if object["status"].is_null() {
            continue;
        }
        let mut faults = kstatus::violations(&object, always);
        if object["status"].to_string().contains(PASSWORD) {
            faults.push("it says the password".to_owned());
        }
        let mut seen = seen.lock().expect("nobody panicked");
        seen.count += 1;
        let name = format!("{kind} {}/{}", object["metadata"]["namespace"], object["metadata"]["name"]);
        seen.faults.extend(faults.into_iter().map(|fault| format!("{name}: {fault}: {}", object["status"])));
    }
}
