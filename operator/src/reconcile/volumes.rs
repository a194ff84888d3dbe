//! Grows volumes: what is seen of claims, and the writes that the plan asks for.

use std::sync::atomic::Ordering::Relaxed;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tombolo_crds::reasons;

use super::apply::{ApplyError, FIELD_MANAGER, is_gone};
use super::observe::Seen;
use super::world::{ClusterKey, World};
use crate::plan::DATA_VOLUME;
use crate::plan::rollout::{Decision, Progress};
use crate::plan::volumes::{ClaimFacts, VolumeFacts, VolumePlan, volumes};
use crate::status::Fault;
use crate::validate::ValidCluster;

/// What is to be done about the volumes of a cluster.
pub fn plan(seen: &Seen, valid: &ValidCluster, decision: &Decision) -> VolumePlan {
    let template = seen.set.as_ref().and_then(|set| {
        let claims = set.spec.as_ref()?.volume_claim_templates.as_ref()?;
        let data = claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(DATA_VOLUME))?;
        asked(data)
    });
    let moving = matches!(decision.progress, Progress::Evacuating(..) | Progress::Replacing(..));
    volumes(&VolumeFacts {
        wanted: valid.spec.storage.as_ref().map(|storage| storage.size.clone()),
        nodes: valid.nodes(),
        template,
        calm: decision.evacuation.is_none() && decision.released.is_none() && !moving,
        claims: seen.claims.iter().filter_map(|claim| claim_facts(&valid.name, claim)).collect(),
    })
}

/// What is awaited, for the status.
pub fn awaited(plan: &VolumePlan) -> Option<Fault> {
    let message = plan.awaited.clone()?;
    Some(Fault { reason: reasons::VOLUME_RESIZING, message, stalled: false })
}

/// Lets claims ask for more; once all do, the StatefulSet is removed without its pods, and the next pass makes it anew.
///
/// # Errors
/// The API server refuses that a volume grows, or could not be asked.
pub async fn carry_out(world: &World, key: &ClusterKey, seen: &Seen, plan: &VolumePlan) -> Result<(), ApplyError> {
    for claim in &plan.grow {
        grow(world, key, claim, &plan.size).await?;
    }
    let Some(set) = seen.set.as_ref().filter(|set| plan.remake_set && set.metadata.deletion_timestamp.is_none()) else {
        return Ok(());
    };
    // One that changed since is looked at anew first.
    let newest = world.sets.get(&key.namespace, &key.name);
    let Some(newest) = newest.filter(|newest| newest.metadata.uid == set.metadata.uid) else { return Ok(()) };
    let preconditions =
        Preconditions { uid: newest.metadata.uid.clone(), resource_version: newest.metadata.resource_version.clone() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::orphan() };
    match Api::<StatefulSet>::namespaced(world.client.clone(), &key.namespace).delete(&key.name, &params).await {
        Ok(_) => {
            world.counters.writes.fetch_add(1, Relaxed);
            tracing::info!(cluster = %key, size = plan.size, "The StatefulSet is made anew for larger volumes; pods go on.");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn grow(world: &World, key: &ClusterKey, claim: &ClaimFacts, size: &str) -> Result<(), ApplyError> {
    let patch = json!({
        "metadata": {"uid": claim.uid},
        "spec": {"resources": {"requests": {"storage": size}}},
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let claims = Api::<PersistentVolumeClaim>::namespaced(world.client.clone(), &key.namespace);
    match claims.patch(&claim.name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {
            world.counters.writes.fetch_add(1, Relaxed);
            Ok(())
        }
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        Err(kube::Error::Api(status)) if is_refusal(status.code, &status.message) => {
            let message = refusal(claim, size, &status.message);
            Err(ApplyError::Fault(Fault { reason: reasons::VOLUME_EXPANSION_REFUSED, message, stalled: true }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Somebody has to act; that our own rights are too few is said as it is for every other write.
fn is_refusal(code: u16, message: &str) -> bool {
    code == 422 || code == 403 && !message.contains("cannot patch resource")
}

fn refusal(claim: &ClaimFacts, size: &str, said: &str) -> String {
    let name = &claim.name;
    let class = claim.class.as_deref().filter(|class| !class.is_empty());
    match class {
        // What admission says when a class does not allow it names no class.
        Some(class) if said.contains("storageclass") => format!(
            "claim {name} can't grow to {size}: StorageClass {class} does not allow it; set allowVolumeExpansion: true \
             there if its volumes can grow, or create a new BrokerCluster and link it"
        ),
        None if said.contains("storageclass") => {
            format!("claim {name} can't grow to {size}: its volume is of no StorageClass; create a new BrokerCluster")
        }
        _ => format!("claim {name} can't grow to {size}: {said}"),
    }
}

fn asked(claim: &PersistentVolumeClaim) -> Option<String> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(requests.get("storage")?.0.clone())
}

fn claim_facts(cluster: &str, claim: &PersistentVolumeClaim) -> Option<ClaimFacts> {
    let name = claim.metadata.name.as_deref()?;
    let node = name.strip_prefix(DATA_VOLUME)?.strip_prefix('-')?;
    let status = claim.status.as_ref();
    let growing = ["Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"];
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut said =
        conditions.filter(|condition| growing.contains(&condition.type_.as_str()) && condition.status == "True");
    if claim.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(ClaimFacts {
        name: name.to_owned(),
        ordinal: node.strip_prefix(cluster)?.strip_prefix('-')?.parse().ok()?,
        uid: claim.metadata.uid.clone(),
        bound: status.and_then(|status| status.phase.as_deref()) == Some("Bound"),
        asked: asked(claim)?,
        has: status.and_then(|status| Some(status.capacity.as_ref()?.get("storage")?.0.clone())),
        class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
        note: said.next_back().map(|condition| match condition.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{} ({message})", condition.type_),
            _ => condition.type_.clone(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_class_and_rights_that_lack_are_no_refusal() {
        let claim = ClaimFacts { name: "data-a-0".to_owned(), class: Some("fast".to_owned()), ..ClaimFacts::default() };
        let admission = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                         support resize";
        assert!(is_refusal(403, admission));
        let message = refusal(&claim, "2Gi", admission);
        assert!(message.contains("StorageClass fast") && message.contains("allowVolumeExpansion"), "{message}");
        let quota = "exceeded quota: storage";
        assert!(refusal(&claim, "2Gi", quota).ends_with(quota));
        assert!(!is_refusal(403, "User \"x\" cannot patch resource \"persistentvolumeclaims\""));
        assert!(!is_refusal(503, "later"));
    }
}
