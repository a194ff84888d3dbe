//! Looks at every status that is ever written, and at the end for what should be nowhere.

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
