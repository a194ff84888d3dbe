//! Writes child objects: what changed by server-side apply, and what is no longer wanted is removed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions};
use kube::core::Status;
use serde_json::{Value, json};
use tombolo_crds::reasons;

use super::world::{Applied, ClusterKey, METADATA_KINDS, World};
use crate::plan::extras::{CERTIFICATE, SERVICE_MONITOR};
use crate::plan::{CONFIG_HASH_ANNOTATION, selector};
use crate::status::Fault;

/// Who writes child objects.
pub const FIELD_MANAGER: &str = "tombolo-operator/children";

/// Objects of a kind that is watched.
const KINDS: [(&str, &str, &str); 8] = [
    ("ServiceAccount", "", "v1"),
    ("Secret", "", "v1"),
    ("Service", "", "v1"),
    ("NetworkPolicy", "networking.k8s.io", "v1"),
    ("PodDisruptionBudget", "policy", "v1"),
    ("StatefulSet", "apps", "v1"),
    (SERVICE_MONITOR.kind, SERVICE_MONITOR.group, SERVICE_MONITOR.version),
    (CERTIFICATE.kind, CERTIFICATE.group, CERTIFICATE.version),
];

/// What went wrong: a fault for the status, or something to try again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The object can't be as the spec asks for it; tried again when something changes.
    #[error("{}", .0.message)]
    Fault(Fault),
    /// The API server could not be asked.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Applies child objects in their order, and stops at the first that can't be. With `try_first` nothing is written when the
/// StatefulSet would be refused.
///
/// # Errors
/// An object is refused, belongs to somebody else, or can't be written now.
pub async fn apply(
    world: &World,
    key: &ClusterKey,
    owner: &str,
    children: &[Value],
    try_first: bool,
) -> Result<(), ApplyError> {
    let changed: Vec<_> = children.iter().filter(|child| !is_applied(world, key, child)).collect();
    for child in &changed {
        refuse_foreign(world, key, owner, child).await?;
    }
    // The last is the one that can be refused for what the spec says: then it is tried before anything is written.
    if let Some(set) = changed.iter().find(|child| try_first && kind_of(child) == "StatefulSet") {
        send(world, key, set, true).await?;
    }
    for child in changed {
        let before = Kept::of(world, key, child);
        let applied = send(world, key, child, false).await?;
        keep(world, key, child, &before, applied);
    }
    Ok(())
}

/// Removes our objects that are no longer wanted.
///
/// # Errors
/// The API server could not be asked.
pub async fn prune(world: &World, key: &ClusterKey, owner: &str, wanted: &[Value]) -> Result<(), kube::Error> {
    let labels = selector(&key.name);
    for kind in METADATA_KINDS {
        let ours = world.metadata_of(kind).select(&key.namespace, |object| {
            let own = object.labels.as_ref();
            is_owned(object, owner)
                && labels.iter().all(|(key, value)| own.is_some_and(|own| own.get(key) == Some(value)))
        });
        for object in ours {
            let name = object.name.as_deref().unwrap_or_default();
            let kept = wanted.iter().any(|child| kind_of(child) == kind && child["metadata"]["name"] == name);
            if kept || object.deletion_timestamp.is_some() {
                continue;
            }
            let preconditions = Preconditions { uid: object.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let removed = api(world, &key.namespace, kind).delete(name, &params).await;
            match removed {
                Ok(_) => {
                    world.counters.writes.fetch_add(1, Relaxed);
                    world.set_applied(kind, &key.namespace, name, None);
                }
                // Gone already, or another object by now.
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Tells the kubelet of each pod at once that there is a new configuration: it looks at the volumes of a pod that changed.
///
/// # Errors
/// The API server could not be asked.
pub async fn nudge(world: &World, namespace: &str, pods: &[&Pod], hash: &str) -> Result<(), kube::Error> {
    for pod in pods {
        let annotations = pod.metadata.annotations.as_ref();
        let told = annotations.and_then(|annotations| annotations.get(CONFIG_HASH_ANNOTATION));
        if told.is_some_and(|told| told == hash) || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid, "annotations": {CONFIG_HASH_ANNOTATION: hash}},
        });
        let pods = Api::<Pod>::namespaced(world.client.clone(), namespace);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match pods.patch(name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => _ = world.counters.writes.fetch_add(1, Relaxed),
            Err(kube::Error::Api(status)) if is_gone(&status) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The object that a patch names by its uid is gone, or another one has its name: a uid that differs is refused as a change of
/// it, and where there is no object, a server-side apply would have to make one.
pub(super) fn is_gone(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    match status.code {
        404 => true,
        409 => status.message.contains("uid mismatch"),
        422 => causes.any(|cause| cause.field == "metadata.uid"),
        _ => false,
    }
}

fn kind_of(child: &Value) -> &'static str {
    let kind = child["kind"].as_str().unwrap_or_default();
    KINDS.iter().find(|known| known.0 == kind).map(|known| known.0).expect("the plan makes objects of KINDS alone")
}

fn name_of(child: &Value) -> &str {
    child["metadata"]["name"].as_str().unwrap_or_default()
}

fn api(world: &World, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (kind, group, version) = KINDS.iter().find(|known| known.0 == kind).expect("a kind of KINDS");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(world.client.clone(), namespace, &resource)
}

/// As the API server has it now, as far as the watches have told.
fn current(world: &World, namespace: &str, kind: &str, name: &str) -> Option<ObjectMeta> {
    match kind {
        "StatefulSet" => world.sets.get(namespace, name).map(|set| set.metadata.clone()),
        kind => world.metadata_of(kind).get(namespace, name).map(|object| (*object).clone()),
    }
}

/// Nothing was changed since we applied exactly this.
fn is_applied(world: &World, key: &ClusterKey, child: &Value) -> bool {
    let (kind, name) = (kind_of(child), name_of(child));
    let applied = world.applied(kind, &key.namespace, name);
    let print = current(world, &key.namespace, kind, name).map(|object| print(&object));
    applied.is_some_and(|applied| applied.hash == hash(child) && Some(applied.print) == print)
}

/// What changes when somebody changes what we wrote, and not with each status: the generation where there is one.
fn print(object: &ObjectMeta) -> String {
    let ObjectMeta { uid, generation, resource_version, labels, annotations, owner_references, .. } = object;
    let version = match generation {
        Some(generation) => format!("g{generation}"),
        None => resource_version.clone().unwrap_or_default(),
    };
    let owners = owner_references.iter().flatten().map(|owner| owner.uid.as_str()).collect::<Vec<_>>();
    let deleted = object.deletion_timestamp.is_some();
    format!("{uid:?} {version} {labels:?} {annotations:?} {owners:?} {deleted}")
}

fn hash(child: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    child.to_string().hash(&mut hasher);
    hasher.finish()
}

fn is_owned(object: &ObjectMeta, owner: &str) -> bool {
    object
        .owner_references
        .iter()
        .flatten()
        .any(|reference| reference.uid == owner && reference.controller == Some(true))
}

/// An object of somebody else is left as it is, and said. What no watch told of may be there without our labels, so that it
/// is asked for.
async fn refuse_foreign(world: &World, key: &ClusterKey, owner: &str, child: &Value) -> Result<(), ApplyError> {
    let (kind, name) = (kind_of(child), name_of(child));
    let object = match current(world, &key.namespace, kind, name) {
        Some(object) => Some(object),
        None => api(world, &key.namespace, kind).get_metadata_opt(name).await?.map(|object| object.metadata),
    };
    let Some(object) = object else { return Ok(()) };
    let controlled = object.owner_references.iter().flatten().find(|reference| reference.controller == Some(true));
    let message = match controlled {
        Some(reference) if reference.uid == owner => return Ok(()),
        Some(reference) => format!("it belongs to {} {}", reference.kind, reference.name),
        None => "nobody's controller made it".to_owned(),
    };
    Err(ApplyError::Fault(Fault {
        reason: reasons::NAME_TAKEN,
        message: format!("{kind} {name} exists and is not ours: {message}; remove it or choose another name"),
        stalled: true,
    }))
}

async fn send(world: &World, key: &ClusterKey, child: &Value, dry_run: bool) -> Result<DynamicObject, ApplyError> {
    let (kind, name) = (kind_of(child), name_of(child));
    let params = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER).force() };
    let sent = api(world, &key.namespace, kind).patch(name, &params, &Patch::Apply(child)).await;
    match sent {
        Ok(object) => {
            if !dry_run {
                world.counters.writes.fetch_add(1, Relaxed);
            }
            Ok(object)
        }
        Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => {
            let message = format!("{kind} {name} is refused: {}", status.message);
            Err(ApplyError::Fault(Fault { reason: reasons::CHILD_REFUSED, message, stalled: true }))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the caches hold of a child object before it is written.
struct Kept {
    set: Option<Arc<StatefulSet>>,
    metadata: Option<Arc<ObjectMeta>>,
}

// === impl Kept ===

impl Kept {
    fn of(world: &World, key: &ClusterKey, child: &Value) -> Self {
        let (kind, name) = (kind_of(child), name_of(child));
        match kind {
            "StatefulSet" => Self { set: world.sets.get(&key.namespace, name), metadata: None },
            kind => Self { set: None, metadata: world.metadata_of(kind).get(&key.namespace, name) },
        }
    }
}

/// What was written is known at once, without waiting for the watch.
fn keep(world: &World, key: &ClusterKey, child: &Value, before: &Kept, object: DynamicObject) {
    let (kind, name) = (kind_of(child), name_of(child));
    let mut metadata = object.metadata.clone();
    metadata.managed_fields = None;
    let applied = Applied { hash: hash(child), print: print(&metadata) };
    world.set_applied(kind, &key.namespace, name, Some(applied));
    if kind == "StatefulSet" {
        let set = serde_json::to_value(&object).and_then(serde_json::from_value::<StatefulSet>);
        if let Ok(mut set) = set {
            set.metadata = metadata;
            world.sets.replace(&key.namespace, name, before.set.as_ref(), set);
        }
    } else {
        world.metadata_of(kind).replace(&key.namespace, name, before.metadata.as_ref(), metadata);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    #[test]
    fn another_object_of_that_name_is_told_from_a_mistake_and_from_a_conflict() {
        let refused = |code: u16, field: &str| -> Status {
            let details = json!({"causes": [{"reason": "FieldValueInvalid", "message": "", "field": field}]});
            from_value(json!({"status": "Failure", "code": code, "details": details})).expect("a Status")
        };
        assert!(is_gone(&refused(422, "metadata.uid")) && is_gone(&refused(404, "")));
        assert!(!is_gone(&refused(422, "spec.replicas")), "a mistake of ours is no other object");
        assert!(!is_gone(&refused(409, "metadata.uid")), "who was overtaken tries again");
        let message =
            "Operation cannot be fulfilled on pods \"a\": uid mismatch: no existing object was found".to_owned();
        assert!(is_gone(&Status { message, ..refused(409, "") }), "an apply to what is gone");
    }
}
