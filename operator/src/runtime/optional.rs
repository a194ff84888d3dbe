//! Looks for kinds that may be missing, and watches our objects of those that are there.
//!
//! Discovery is open to every account, so that no right over CustomResourceDefinitions is needed. While a kind is missing it is
//! looked for only if a cluster asks for it.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use tokio::time::sleep;

use super::watch::{OURS, Scopes, Watching, instance, is_gone, pause, place};
use crate::plan::extras::OptionalKind;
use crate::reconcile::cache::Listing;

/// Between two looks for a kind that is missing and asked for.
const PERIOD: Duration = Duration::from_secs(3);

/// Whether the API server has the kind.
///
/// # Errors
/// The API server does not answer.
pub async fn is_served(client: &Client, kind: &OptionalKind) -> Result<bool, kube::Error> {
    match client.list_api_group_resources(&kind.api_version()).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == kind.plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Follows a kind for ever.
pub async fn follow(watching: Watching, kind: OptionalKind, scopes: Scopes) {
    let optional = &watching.world.optional;
    loop {
        match is_served(&watching.world.client, &kind).await {
            Ok(true) => {
                tracing::info!(kind = kind.kind, "A kind that may be missing is there.");
                say(&watching, &kind, true);
                let mut all: futures::stream::FuturesUnordered<_> =
                    scopes.each().map(|scope| watch(watching.clone(), kind, scope)).collect();
                // It is gone everywhere when it is gone somewhere.
                let _ = all.next().await;
                say(&watching, &kind, false);
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(kind = kind.kind, %error, "nobody says whether a kind is there"),
        }
        optional.asked(kind.kind).await;
        sleep(PERIOD).await;
    }
}

fn say(watching: &Watching, kind: &OptionalKind, served: bool) {
    let world = &watching.world;
    world.optional.set_served(kind.kind, served);
    if !served {
        world.metadata_of(kind.kind).prune(&Listing::of(None));
    }
    world.optional.who_asks(kind.kind).into_iter().for_each(|key| watching.wakes.add(key));
}

/// Watches our objects of a kind; returns when the API server has it no longer.
async fn watch(watching: Watching, kind: OptionalKind, scope: Option<String>) {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(kind.group, kind.version, kind.kind), kind.plural);
    let client = watching.world.client.clone();
    let api: Api<PartialObjectMeta<DynamicObject>> = match &scope {
        None => Api::all_with(client, &resource),
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
    };
    let mut stream = std::pin::pin!(watcher(api, Config::default().labels(OURS)).backoff(pause()));
    let cache = watching.world.metadata_of(kind.kind);
    let wake = |metadata: &ObjectMeta| watching.wake(metadata, instance(metadata));
    let is = |object: PartialObjectMeta<DynamicObject>| {
        let mut metadata = object.metadata;
        metadata.managed_fields = None;
        let (namespace, name) = place(&metadata);
        let before = cache.put(namespace, name, metadata.clone());
        if before.is_none_or(|before| before.resource_version != metadata.resource_version) {
            wake(&metadata);
        }
    };
    let mut listing = Listing::of(scope.clone());
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listing = Listing::of(scope.clone()),
            Ok(Event::InitApply(object)) => {
                let (namespace, name) = place(&object.metadata);
                listing.saw(namespace, name);
                is(object);
            }
            Ok(Event::InitDone) => cache.prune(&listing).iter().for_each(|metadata| wake(metadata)),
            Ok(Event::Apply(object)) => is(object),
            Ok(Event::Delete(object)) => {
                let (namespace, name) = place(&object.metadata);
                cache.remove(namespace, name);
                wake(&object.metadata);
            }
            Err(error) if is_gone(&error) => return,
            Err(error) => tracing::warn!(kind = kind.kind, scope, %error, "a watch was interrupted and begins anew"),
        }
    }
}
