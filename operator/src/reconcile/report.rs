//! Writes status if more than time differs, and an event if the summary of an object changed.

use std::fmt::Debug;
use std::sync::atomic::Ordering::Relaxed;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tombolo_crds::conditions::{READY, STALLED};
use tombolo_crds::{BrokerCluster, BrokerClusterStatus, ClusterLink, ClusterLinkStatus};

use super::apply::is_gone;
use super::world::World;

/// Who writes status.
pub const STATUS_MANAGER: &str = "tombolo-operator/status";
/// Longest note of an event, in bytes: the API takes a KiB.
const NOTE_BYTES_MAX: usize = 1_000;

/// Writes the status of a cluster, if it differs.
///
/// # Errors
/// The API server could not be asked.
pub async fn report_cluster(
    world: &World,
    cluster: &BrokerCluster,
    status: BrokerClusterStatus,
) -> Result<(), kube::Error> {
    if cluster.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let before = cluster.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let known = world.clusters.get(&namespace, &name);
    let written = write(world, cluster, &status).await?;
    announce(world, cluster, before, &status.conditions).await;
    if let Some(written) = written {
        world.clusters.replace(&namespace, &name, known.as_ref(), Ok(written));
    }
    Ok(())
}

/// Writes the status of a link, if it differs.
///
/// # Errors
/// The API server could not be asked.
pub async fn report_link(world: &World, link: &ClusterLink, status: ClusterLinkStatus) -> Result<(), kube::Error> {
    if link.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let before = link.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let (namespace, name) = (link.namespace().unwrap_or_default(), link.name_any());
    let known = world.links.get(&namespace, &name);
    let written = write(world, link, &status).await?;
    announce(world, link, before, &status.conditions).await;
    if let Some(written) = written {
        world.links.replace(&namespace, &name, known.as_ref(), Ok(written));
    }
    Ok(())
}

/// None: the object is gone.
async fn write<K>(world: &World, object: &K, status: &impl Serialize) -> Result<Option<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // Whoever has that name by now gets no status that is about another one.
        "metadata": {"name": name, "namespace": namespace, "uid": object.uid()},
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let api = Api::<K>::namespaced(world.client.clone(), &namespace);
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(mut written) => {
            world.counters.writes.fetch_add(1, Relaxed);
            written.meta_mut().managed_fields = None;
            Ok(Some(written))
        }
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One event when what `Ready` says changed. An event that can't be written is no failure of the object.
async fn announce<K>(world: &World, object: &K, before: &[Condition], after: &[Condition])
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let summary = |conditions: &[Condition]| {
        let ready = conditions.iter().find(|condition| condition.type_ == READY);
        ready.map(|ready| (ready.status.clone(), ready.reason.clone()))
    };
    let Some(ready) = after.iter().find(|condition| condition.type_ == READY) else { return };
    if summary(before) == summary(after) {
        return;
    }
    let stalled = after.iter().any(|condition| condition.type_ == STALLED);
    let type_ = if stalled { EventType::Warning } else { EventType::Normal };
    publish(world, object, type_, &ready.reason, &ready.message).await;
}

/// Writes an event about an object.
pub async fn publish<K>(world: &World, object: &K, type_: EventType, reason: &str, message: &str)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let mut note = message.to_owned();
    while note.len() > NOTE_BYTES_MAX {
        note.pop();
    }
    let event =
        Event { type_, reason: reason.to_owned(), note: Some(note), action: "Reconcile".to_owned(), secondary: None };
    let reporter = Reporter { controller: "tombolo-operator".to_owned(), instance: None };
    let recorder = Recorder::new(world.client.clone(), reporter);
    if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(%error, reason, "an event could not be written");
    }
}
