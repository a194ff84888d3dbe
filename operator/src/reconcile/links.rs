//! Links that come and go: a finalizer holds one whose waiting messages are to leave before it is removed.

use std::sync::atomic::Ordering::Relaxed;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tombolo_crds::clusterlink::DeletionPolicy;
use tombolo_crds::{API_VERSION, ClusterLink, DRAIN_FINALIZER, PAUSED_ANNOTATION};

use super::apply::is_gone;
use super::world::World;

/// Who writes the finalizer, and nothing else.
const FIELD_MANAGER: &str = "tombolo-operator/links";

/// Whether the annotation that pauses is set.
pub fn is_paused(object: &impl ResourceExt) -> bool {
    object.annotations().get(PAUSED_ANNOTATION).is_some_and(|value| value == "true")
}

/// When it was deleted, if it is held until it is drained.
pub fn drains_since(link: &ClusterLink) -> Option<i64> {
    let deleted = link.metadata.deletion_timestamp.as_ref()?;
    is_held(link).then(|| deleted.0.as_second())
}

/// Whether a link belongs into the configuration: one that is deleted only while it drains, and nobody takes its place.
pub fn stays(link: &ClusterLink, all: &[ClusterLink]) -> bool {
    if link.metadata.deletion_timestamp.is_none() {
        return true;
    }
    let remote = &link.spec.remote.cluster_name;
    let replaces =
        |other: &ClusterLink| other.metadata.deletion_timestamp.is_none() && other.spec.remote.cluster_name == *remote;
    is_held(link) && !is_paused(link) && !all.iter().any(replaces)
}

/// Sees to it that links are held which are to be drained, and no others.
///
/// # Errors
/// The API server could not be asked.
pub async fn hold(world: &World, links: &[ClusterLink]) -> Result<(), kube::Error> {
    for link in links.iter().filter(|link| link.metadata.deletion_timestamp.is_none()) {
        let wanted = match link.spec.deletion_policy {
            DeletionPolicy::Drain => true,
            DeletionPolicy::Delete => false,
        };
        if is_held(link) != wanted {
            write(world, link, wanted).await?;
        }
    }
    Ok(())
}

/// Lets a link that is deleted go.
///
/// # Errors
/// The API server could not be asked.
pub async fn let_go(world: &World, link: &ClusterLink) -> Result<(), kube::Error> {
    if drains_since(link).is_some() { write(world, link, false).await } else { Ok(()) }
}

fn is_held(link: &ClusterLink) -> bool {
    link.finalizers().iter().any(|finalizer| finalizer == DRAIN_FINALIZER)
}

async fn write(world: &World, link: &ClusterLink, held: bool) -> Result<(), kube::Error> {
    let (namespace, name) = (link.namespace().unwrap_or_default(), link.name_any());
    let mut metadata = json!({"name": name, "namespace": namespace, "uid": link.uid()});
    if held {
        metadata["finalizers"] = json!([DRAIN_FINALIZER]);
    }
    let patch = json!({"apiVersion": API_VERSION, "kind": "ClusterLink", "metadata": metadata});
    let links = Api::<ClusterLink>::namespaced(world.client.clone(), &namespace);
    match links.patch_metadata(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await {
        Ok(_) => {
            world.counters.writes.fetch_add(1, Relaxed);
            Ok(())
        }
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        Err(error) => Err(error),
    }
}
