//! Watches: what the API server tells goes into the caches, and says which clusters must be looked at.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::events::EventType;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Config, Event, ExponentialBackoff, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tombolo_crds::{BrokerCluster, ClusterLink, reasons};

use super::health::Health;
use super::wakes::Wakes;
use crate::reconcile::cache::{Cache, Listing};
use crate::reconcile::report::publish;
use crate::reconcile::world::{ClusterKey, World};

/// Where watched objects are.
#[derive(Clone, Debug)]
pub struct Scopes(Vec<Option<String>>);

/// What the watches need.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "a client has nothing to show")]
pub struct Watching {
    /// Where what is told is kept.
    pub world: Arc<World>,
    /// Who must be looked at.
    pub wakes: Arc<Wakes>,
    /// Which watches have told everything once.
    pub health: Arc<Health>,
}

pub(super) const OURS: &str = "app.kubernetes.io/managed-by=tombolo-operator";
/// Claims bear what selects pods, and nothing else: the labels of a claim template can never be changed.
const OUR_CLAIMS: &str = "app.kubernetes.io/name=tombolo-broker";
const INSTANCE: &str = "app.kubernetes.io/instance";
const PAGE: u32 = 500;
/// First pause of a watch that failed; it doubles with each further failure, and up to as much again comes by chance.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause, before chance: while it lasts the operator is blind, so it is shorter than what is usual.
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// Without a failure for so long, the next one is the first.
const PAUSE_FORGOTTEN: Duration = Duration::from_secs(30);

// === impl Scopes ===

impl Scopes {
    /// The whole Kubernetes cluster, or these namespaces.
    pub fn new(namespaces: &[String]) -> Self {
        if namespaces.is_empty() { Self(vec![None]) } else { Self(namespaces.iter().cloned().map(Some).collect()) }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Option<String>> {
        self.0.iter().cloned()
    }
}

// === impl Watching ===

impl Watching {
    /// Starts every watch; they go on until the set is dropped.
    pub fn start(&self, scopes: &Scopes, tasks: &mut JoinSet<()>) {
        for scope in scopes.each() {
            tasks.spawn(self.clone().clusters(scope.clone()));
            tasks.spawn(self.clone().links(scope.clone()));
            tasks.spawn(self.clone().sets(scope.clone()));
            tasks.spawn(self.clone().pods(scope.clone()));
            tasks.spawn(self.clone().claims(scope.clone()));
            let ours = || Config::default().labels(OURS).page_size(PAGE);
            // Those of releases are many and large, and nobody names them.
            let secrets = Config::default().fields("type!=helm.sh/release.v1").page_size(PAGE);
            tasks.spawn(self.clone().metadata::<Secret>("Secret", scope.clone(), secrets));
            tasks.spawn(self.clone().metadata::<Service>("Service", scope.clone(), ours()));
            tasks.spawn(self.clone().metadata::<ServiceAccount>("ServiceAccount", scope.clone(), ours()));
            tasks.spawn(self.clone().metadata::<NetworkPolicy>("NetworkPolicy", scope.clone(), ours()));
            tasks.spawn(self.clone().metadata::<PodDisruptionBudget>("PodDisruptionBudget", scope, ours()));
        }
    }

    async fn clusters(self, scope: Option<String>) {
        let api = api::<DeserializeGuard<BrokerCluster>>(&self.world.client, scope.as_deref());
        let stream = watcher(api, Config::default().page_size(PAGE));
        let watching = self.clone();
        self.follow("BrokerCluster", scope, stream, move |told| {
            let world = &watching.world;
            let cache = &world.clusters;
            let told_of = |metadata: &ObjectMeta| watching.wake(metadata, metadata.name.as_deref());
            match told {
                Told::Is(cluster) => {
                    let DeserializeGuard(mut cluster) = *cluster;
                    if let Ok(cluster) = &mut cluster {
                        cluster.metadata.managed_fields = None;
                    }
                    let metadata = metadata_of(&cluster).clone();
                    watching.complain::<BrokerCluster>(&cluster);
                    let before = put(cache, &metadata, cluster);
                    if before.is_none_or(|before| differs(metadata_of(&before), &metadata)) {
                        told_of(&metadata);
                    }
                }
                Told::Gone(metadata) => {
                    remove(cache, &metadata);
                    told_of(&metadata);
                }
                Told::Listed(listing) => {
                    cache.prune(listing).iter().for_each(|cluster| told_of(metadata_of(cluster)));
                }
            }
        })
        .await;
    }

    async fn links(self, scope: Option<String>) {
        let api = api::<DeserializeGuard<ClusterLink>>(&self.world.client, scope.as_deref());
        let stream = watcher(api, Config::default().page_size(PAGE));
        let watching = self.clone();
        self.follow("ClusterLink", scope, stream, move |told| {
            let cache = &watching.world.links;
            let told_of = |link: &Result<ClusterLink, _>| {
                if let Ok(link) = link {
                    watching.wake(&link.metadata, Some(&link.spec.cluster_ref.name));
                }
            };
            match told {
                Told::Is(link) => {
                    let DeserializeGuard(mut link) = *link;
                    if let Ok(link) = &mut link {
                        link.metadata.managed_fields = None;
                    }
                    watching.complain::<ClusterLink>(&link);
                    let before = put(cache, &metadata_of(&link).clone(), link.clone());
                    if before.as_ref().is_none_or(|before| differs(metadata_of(before), metadata_of(&link))) {
                        told_of(&link);
                        // One that was made anew may belong to another cluster.
                        before.iter().for_each(|before| told_of(before));
                    }
                }
                Told::Gone(metadata) => remove(cache, &metadata).iter().for_each(|link| told_of(link)),
                Told::Listed(listing) => cache.prune(listing).iter().for_each(|link| told_of(link)),
            }
        })
        .await;
    }

    async fn sets(self, scope: Option<String>) {
        let stream = watcher(
            api::<StatefulSet>(&self.world.client, scope.as_deref()),
            Config::default().labels(OURS).page_size(PAGE),
        );
        let watching = self.clone();
        self.follow("StatefulSet", scope, stream, move |told| {
            let cache = &watching.world.sets;
            let told_of = |metadata: &ObjectMeta| watching.wake(metadata, instance(metadata));
            match told {
                Told::Is(mut set) => {
                    set.metadata.managed_fields = None;
                    let metadata = set.metadata.clone();
                    let before = put(cache, &metadata, (*set).clone());
                    if before.is_none_or(|before| *before != *set) {
                        told_of(&metadata);
                    }
                }
                Told::Gone(metadata) => {
                    remove(cache, &metadata);
                    told_of(&metadata);
                }
                Told::Listed(listing) => cache.prune(listing).iter().for_each(|set| told_of(&set.metadata)),
            }
        })
        .await;
    }

    async fn pods(self, scope: Option<String>) {
        // What is decided rests on metadata and status.
        let trim = |pod: &mut Pod| pod.spec = None;
        self.children("Pod", scope, OURS, |world| &world.pods, trim).await;
    }

    async fn claims(self, scope: Option<String>) {
        self.children("PersistentVolumeClaim", scope, OUR_CLAIMS, |world| &world.claims, |_| ()).await;
    }

    /// Objects that wake the cluster that they are of, whatever is told of them.
    async fn children<K>(
        self,
        kind: &'static str,
        scope: Option<String>,
        labels: &str,
        cache: fn(&World) -> &Cache<K>,
        trim: fn(&mut K),
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let config = Config::default().labels(labels).page_size(PAGE);
        let stream = watcher(api::<K>(&self.world.client, scope.as_deref()), config);
        let watching = self.clone();
        self.follow(kind, scope, stream, move |told| {
            let cache = cache(&watching.world);
            let told_of = |metadata: &ObjectMeta| watching.wake(metadata, instance(metadata));
            match told {
                Told::Is(mut object) => {
                    object.meta_mut().managed_fields = None;
                    trim(&mut object);
                    let metadata = object.meta().clone();
                    put(cache, &metadata, *object);
                    told_of(&metadata);
                }
                Told::Gone(metadata) => {
                    remove(cache, &metadata);
                    told_of(&metadata);
                }
                Told::Listed(listing) => cache.prune(listing).iter().for_each(|object| told_of(object.meta())),
            }
        })
        .await;
    }

    async fn metadata<K>(self, kind: &'static str, scope: Option<String>, config: Config)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let stream = watcher(api::<PartialObjectMeta<K>>(&self.world.client, scope.as_deref()), config);
        let watching = self.clone();
        self.follow(kind, scope, stream, move |told| {
            let world = &watching.world;
            let cache = world.metadata_of(kind);
            let told_of = |metadata: &ObjectMeta| {
                watching.wake(metadata, instance(metadata));
                if kind == "Secret" {
                    let (namespace, name) = place(metadata);
                    world.who_names(namespace, name).into_iter().for_each(|key| watching.send(key));
                }
            };
            match told {
                Told::Is(object) => {
                    let PartialObjectMeta { metadata: mut object, .. } = *object;
                    object.managed_fields = None;
                    let changed = put(cache, &object.clone(), object.clone())
                        .is_none_or(|before| before.resource_version != object.resource_version);
                    if changed {
                        told_of(&object);
                    }
                }
                Told::Gone(metadata) => {
                    remove(cache, &metadata);
                    if kind == "Secret" {
                        let (namespace, name) = place(&metadata);
                        world.forget_secret(namespace, name);
                    }
                    told_of(&metadata);
                }
                Told::Listed(listing) => cache.prune(listing).iter().for_each(|object| told_of(object)),
            }
        })
        .await;
    }

    /// Follows one watch for ever: it begins anew after each failure, later and later.
    async fn follow<K, S>(self, kind: &'static str, scope: Option<String>, stream: S, mut tell: impl FnMut(Told<'_, K>))
    where
        K: Resource<DynamicType = ()>,
        S: Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    {
        self.health.watch_begins(kind, scope.as_deref());
        let mut stream = std::pin::pin!(stream.backoff(pause()));
        let mut listing = Listing::of(scope.clone());
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listing = Listing::of(scope.clone()),
                Ok(Event::InitApply(object)) => {
                    let (namespace, name) = place(object.meta());
                    listing.saw(namespace, name);
                    tell(Told::Is(Box::new(object)));
                }
                Ok(Event::InitDone) => {
                    tell(Told::Listed(&listing));
                    listing = Listing::of(scope.clone());
                    self.health.watch_is_complete(kind, scope.as_deref());
                }
                Ok(Event::Apply(object)) => tell(Told::Is(Box::new(object))),
                Ok(Event::Delete(object)) => tell(Told::Gone(Box::new(object.meta().clone()))),
                Err(error) => {
                    self.health.watch_failed(kind, scope.as_deref(), &error.to_string());
                    if is_gone(&error) {
                        self.health.crd_vanished(kind, format!("{}.{}", K::plural(&()), K::group(&())));
                    }
                    tracing::warn!(kind, scope, %error, "a watch was interrupted and begins anew");
                }
            }
        }
    }

    pub(super) fn wake(&self, metadata: &ObjectMeta, cluster: Option<&str>) {
        if let Some(cluster) = cluster {
            self.send(ClusterKey::new(place(metadata).0, cluster));
        }
    }

    fn send(&self, key: ClusterKey) {
        self.wakes.add(key);
    }

    /// An object of a future release is skipped, and that is said.
    fn complain<K>(&self, object: &Result<K, InvalidObject>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Send + Sync + 'static,
    {
        let Err(invalid) = object else { return };
        let (namespace, name) = place(&invalid.metadata);
        let kind = K::kind(&());
        tracing::warn!(%kind, namespace, name, error = %invalid.error, "an object can't be read and is skipped");
        let message = format!("this release of the operator does not understand it and skips it: {}", invalid.error);
        let (world, object) = (Arc::clone(&self.world), DeserializeGuard::<K>(Err(invalid.clone())));
        tokio::spawn(async move {
            publish(&world, &object, EventType::Warning, reasons::NOT_YET_SUPPORTED, &message).await;
        });
    }
}

/// How long a watch waits after each failure.
pub(super) fn pause() -> impl Backoff {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times();
    ResetTimerBackoff::new(ExponentialBackoff::from(pauses), PAUSE_FORGOTTEN)
}

/// What a watch told.
enum Told<'a, K> {
    /// The object is there, like this.
    Is(Box<K>),
    /// It was removed.
    Gone(Box<ObjectMeta>),
    /// The watch began anew, and this is all that is there.
    Listed(&'a Listing),
}

fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

fn put<T>(cache: &Cache<T>, metadata: &ObjectMeta, object: T) -> Option<Arc<T>> {
    let (namespace, name) = place(metadata);
    cache.put(namespace, name, object)
}

fn remove<T>(cache: &Cache<T>, metadata: &ObjectMeta) -> Option<Arc<T>> {
    let (namespace, name) = place(metadata);
    cache.remove(namespace, name)
}

/// Nothing is served where the objects were.
pub(super) fn is_gone(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => 0,
    };
    code == 404
}

pub(super) fn place(metadata: &ObjectMeta) -> (&str, &str) {
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The cluster that an object of ours belongs to.
pub(super) fn instance(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(INSTANCE).map(String::as_str)
}

fn metadata_of<K: Resource>(object: &Result<K, InvalidObject>) -> &ObjectMeta {
    match object {
        Ok(object) => object.meta(),
        Err(invalid) => &invalid.metadata,
    }
}

/// Whether more than status changed.
fn differs(before: &ObjectMeta, after: &ObjectMeta) -> bool {
    let of = |metadata: &ObjectMeta| {
        let ObjectMeta { uid, generation, annotations, labels, deletion_timestamp, .. } = metadata.clone();
        (uid, generation, annotations, labels, deletion_timestamp)
    };
    of(before) != of(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_fails_again_and_again_is_blind_for_sixteen_seconds_at_most() {
        let mut pauses = pause();
        let first = pauses.next().expect("a pause");
        assert!((PAUSE_MIN..=2 * PAUSE_MIN).contains(&first), "{first:?}");
        for pause in pauses.by_ref().take(50) {
            assert!(pause <= 2 * PAUSE_MAX, "{pause:?}");
        }
        pauses.reset();
        assert!(pauses.next().expect("a pause") <= 2 * PAUSE_MIN, "what it was told makes the next failure the first");
    }
}
