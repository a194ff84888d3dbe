//! Reads what a cluster's decision rests on: from the caches, and from the API server what no cache holds.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerState, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use tombolo_broker_api::EvacuationPhase;
use tombolo_crds::brokercluster::{EvacuationPolicy, UpdateStrategy};
use tombolo_crds::{BrokerCluster, ClusterLink, REPLACE_ANNOTATION, Secret};

use super::links;
use super::world::{ClusterKey, World};
use crate::observed::Observed;
use crate::plan::rollout::{Facts, HOLD, PodFacts, SetFacts};
use crate::plan::{Names, TEMPLATE_HASH_ANNOTATION, selector};
use crate::status::Report;

/// Everything about one cluster.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The cluster; none: links name one that does not exist.
    pub cluster: Option<BrokerCluster>,
    /// Its links.
    pub links: Vec<ClusterLink>,
    /// Cluster, links and the Secrets that they name.
    pub observed: Observed,
    /// Our own Secrets: authority, certificate of the nodes, token.
    pub own: OwnSecrets,
    /// The StatefulSet.
    pub set: Option<Arc<StatefulSet>>,
    /// The pods.
    pub pods: Vec<Arc<Pod>>,
    /// The claims of their volumes.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// What the nodes said.
    pub reports: BTreeMap<u16, Report>,
}

/// The Secrets that the operator makes once and keeps.
#[derive(Clone, Debug, Default)]
pub struct OwnSecrets {
    /// Key and certificate of the authority.
    pub authority: Option<Secret>,
    /// Certificate of the nodes.
    pub nodes: Option<Secret>,
    /// The token of admin.
    pub admin: Option<Secret>,
    /// The configuration, while a link is paused.
    pub config: Option<Secret>,
}

/// Reads it all.
///
/// # Errors
/// The API server can't be asked for a Secret.
pub async fn observe(world: &World, key: &ClusterKey) -> Result<Seen, kube::Error> {
    let ClusterKey { namespace, name } = key;
    let cluster = world.clusters.get(namespace, name).and_then(|cluster| cluster.as_ref().as_ref().ok().cloned());
    let links = world.links.select(namespace, |link| match link {
        Ok(link) => link.spec.cluster_ref.name == *name,
        Err(_) => false,
    });
    let links: Vec<_> = links.iter().filter_map(|link| link.as_ref().as_ref().ok().cloned()).collect();
    let named = secrets_named(cluster.as_ref(), &links);
    world.set_named(key, &named);
    let mut secrets = Vec::new();
    for secret in &named {
        secrets.extend(read_secret(world, namespace, secret).await?);
    }
    let names = Names::of(name);
    let own = match &cluster {
        None => OwnSecrets::default(),
        Some(_) => OwnSecrets {
            authority: read_secret(world, namespace, &names.authority).await?,
            nodes: read_secret(world, namespace, &names.internode).await?,
            admin: read_secret(world, namespace, &names.admin).await?,
            // Only a link that is paused is read from it.
            config: match links.iter().any(links::is_paused) {
                true => read_secret(world, namespace, &names.config).await?,
                false => None,
            },
        },
    };
    let labels = selector(name);
    let selected = |metadata: &ObjectMeta| {
        let own = metadata.labels.as_ref();
        labels.iter().all(|(key, value)| own.is_some_and(|own| own.get(key) == Some(value)))
    };
    let pods = world.pods.select(namespace, |pod| selected(&pod.metadata));
    let claims = world.claims.select(namespace, |claim| selected(&claim.metadata));
    let staying = links.iter().filter(|link| links::stays(link, &links)).cloned().collect();
    let observed = Observed { clusters: cluster.iter().cloned().collect(), links: staying, secrets };
    let set = world.sets.get(namespace, name);
    Ok(Seen { cluster, links, observed, own, set, pods, claims, reports: world.reports.of(key) })
}

/// The Secret as the API server has it now; asked for only if what is kept is older than what the watch told.
async fn read_secret(world: &World, namespace: &str, name: &str) -> Result<Option<Secret>, kube::Error> {
    if world.metadata_of("Secret").get(namespace, name).is_none() {
        world.forget_secret(namespace, name);
        return Ok(None);
    }
    if let Some(kept) = world.secret(namespace, name) {
        return Ok(Some(kept));
    }
    let read = Api::<Secret>::namespaced(world.client.clone(), namespace).get_opt(name).await?;
    if let Some(secret) = &read {
        world.keep_secret(namespace, name, secret.clone());
    }
    Ok(read)
}

/// Names of all Secrets that a cluster and its links name.
fn secrets_named(cluster: Option<&BrokerCluster>, links: &[ClusterLink]) -> HashSet<String> {
    let mut names = HashSet::new();
    if let Some(cluster) = cluster {
        let spec = &cluster.spec;
        names.extend(spec.authentication.users.iter().map(|users| users.secret_ref.name.clone()));
        names.extend(spec.internode_tls.iter().filter_map(|tls| tls.secret_name.clone()));
        if spec.internode_tls.as_ref().is_some_and(|tls| tls.issuer_ref.is_some()) {
            names.insert(Names::of(cluster.metadata.name.as_deref().unwrap_or_default()).internode);
        }
        for tls in spec.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
            names.insert(tls.secret_name.clone());
            names.extend(tls.client_auth.iter().map(|auth| auth.ca_secret_name.clone()));
        }
    }
    for remote in links.iter().map(|link| &link.spec.remote) {
        names.extend(remote.credentials.iter().map(|source| source.secret_ref.name.clone()));
        if let Some(tls) = &remote.tls {
            names.extend(tls.ca_secret_ref.iter().map(|reference| reference.name.clone()));
            names.extend(tls.client_certificate_secret_ref.iter().map(|reference| reference.name.clone()));
        }
    }
    names
}

/// What the rollout decides by. `template_hash` is that of the template that is about to be applied.
pub fn facts(seen: &Seen, template_hash: Option<&str>) -> Facts {
    let spec = seen.cluster.as_ref().map(|cluster| &cluster.spec);
    let update = spec.map(|spec| spec.update.clone()).unwrap_or_default();
    let set = seen.set.as_deref();
    let applied = set.and_then(|set| set.metadata.annotations.as_ref()?.get(TEMPLATE_HASH_ANNOTATION));
    let cluster = seen.cluster.as_ref().and_then(|cluster| cluster.metadata.name.as_deref()).unwrap_or_default();
    Facts {
        wanted: spec.and_then(|spec| u16::try_from(spec.replicas).ok()).unwrap_or(0),
        evacuate: match update.evacuation.policy {
            EvacuationPolicy::Evacuate => true,
            EvacuationPolicy::Disconnect => false,
        },
        manual: match update.strategy {
            UpdateStrategy::RollingUpdate => false,
            UpdateStrategy::Manual => true,
        },
        deadline_seconds: update.evacuation.deadline_seconds.into(),
        min_ready_seconds: update.min_ready_seconds.into(),
        set: set.map(set_facts),
        template_changed: set.is_some() && template_hash.is_some_and(|hash| applied.map(String::as_str) != Some(hash)),
        pods: seen.pods.iter().filter_map(|pod| pod_facts(cluster, pod, &seen.reports)).collect(),
    }
}

fn set_facts(set: &StatefulSet) -> SetFacts {
    let small = |number: i32| u16::try_from(number).unwrap_or(0);
    let spec = set.spec.as_ref();
    let rolling = spec.and_then(|spec| spec.update_strategy.as_ref()?.rolling_update.as_ref()?.partition);
    let status = set.status.as_ref();
    SetFacts {
        replicas: small(spec.and_then(|spec| spec.replicas).unwrap_or(1)),
        partition: rolling.map_or(HOLD, small),
        update_revision: status.and_then(|status| status.update_revision.clone()).unwrap_or_default(),
        observed: status.and_then(|status| status.observed_generation) == set.metadata.generation
            && status.is_some_and(|status| status.update_revision.is_some()),
    }
}

fn pod_facts(cluster: &str, pod: &Pod, reports: &BTreeMap<u16, Report>) -> Option<PodFacts> {
    let ordinal = ordinal(cluster, pod)?;
    let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let annotation = |key: &str| pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let status = pod.status.as_ref();
    let condition = |kind: &str| {
        let all = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        all.into_iter().find(|condition| condition.type_ == kind)
    };
    let ready = condition("Ready").filter(|ready| ready.status == "True");
    let since = ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0.as_second());
    let evacuation: Option<EvacuationPhase> = match reports.get(&ordinal) {
        Some(Report::Said(status)) => status.evacuation.as_ref().map(|evacuation| evacuation.phase),
        Some(Report::Silent(_)) | None => None,
    };
    Some(PodFacts {
        ordinal,
        revision: label("controller-revision-hash").unwrap_or_default(),
        ready_since: ready.map(|_| since.unwrap_or(0)),
        failing: ready.is_none() && is_failing(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        approved: annotation(REPLACE_ANNOTATION).is_some_and(|value| value == "true"),
        evacuation,
    })
}

/// The number at the end of a pod's name.
pub fn ordinal(cluster: &str, pod: &Pod) -> Option<u16> {
    pod.metadata.name.as_deref()?.strip_prefix(cluster)?.strip_prefix('-')?.parse().ok()
}

/// Whether it would not become ready by itself: no place for it, no image, or a container that ends again and again.
fn is_failing(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let conditions = status.conditions.iter().flatten();
    let no_place = conditions
        .into_iter()
        .any(|condition| condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable"));
    let waits = |state: &Option<ContainerState>| {
        let reason = state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.as_deref());
        [
            "CrashLoopBackOff",
            "ImagePullBackOff",
            "ErrImagePull",
            "ErrImageNeverPull",
            "InvalidImageName",
            "CreateContainerConfigError",
            "CreateContainerError",
        ]
        .into_iter()
        .any(|bad| reason == Some(bad))
    };
    let mut containers = status.container_statuses.iter().flatten();
    status.phase.as_deref() == Some("Failed") || no_place || containers.any(|container| waits(&container.state))
}
