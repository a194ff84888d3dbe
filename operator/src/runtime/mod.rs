//! The running operator: waits for the CRDs and for the Lease, then watches, reconciles and asks brokers until it is
//! stopped or loses the Lease.

pub mod conditions;
pub mod health;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod optional;
pub mod poller;
pub mod queue;
pub mod wakes;
pub mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tombolo_crds::{API_VERSION, GROUP};

use crate::plan::extras::OPTIONAL_KINDS;
use crate::reconcile::reconcile;
use crate::reconcile::world::{ClusterKey, World};
use health::Health;
use http::Served;
use lease::{Candidate, Terms};
use metrics::Metrics;
use queue::{Ended, Queue};
use wakes::Wakes;
use watch::{Scopes, Watching};

/// What the program was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces to watch; none: all.
    pub namespaces: Vec<String>,
    /// Where health and metrics are served.
    pub bind: SocketAddr,
    /// Namespace of the Lease.
    pub lease_namespace: String,
    /// Name of the Lease.
    pub lease_name: String,
    /// How long it is valid.
    pub lease_terms: Terms,
    /// Who this process is, among those that want the Lease.
    pub identity: String,
    /// Image of clusters that state none.
    pub broker_image: String,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to stop.
    Stopped,
    /// Another process may lead by now.
    LeaseLost,
}

/// Passes at one time.
const PASSES_MAX: usize = 8;
/// Longest pass; the API server or a queue in front of it hangs then.
const PASS_MAX: Duration = Duration::from_secs(60);
/// Between two looks for CRDs that are missing.
const CRD_PERIOD: Duration = Duration::from_secs(2);
/// Time for passes under way when it stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Runs until `stop` is done or the Lease is lost.
///
/// # Errors
/// The address for health and metrics can't be had.
pub async fn run(client: Client, options: Options, stop: impl Future<Output = ()>) -> std::io::Result<Outcome> {
    let world = Arc::new(World::new(client.clone(), options.broker_image.clone()));
    let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
    let listener = http::bind(options.bind).await?;
    tracing::info!(address = %listener.local_addr()?, "Health and metrics are served.");
    let mut tasks = JoinSet::new();
    let served = Served { health: Arc::clone(&health), metrics: Arc::clone(&metrics), world: Arc::clone(&world) };
    tasks.spawn(http::serve(listener, served));
    let Options { lease_namespace, lease_name, identity, lease_terms, .. } = &options;
    let candidate = Candidate::new(client.clone(), lease_namespace, lease_name, identity, *lease_terms);
    let mut stop = std::pin::pin!(stop);
    let beginning = async {
        wait_for_crds(&client, &health).await;
        candidate.acquire().await
    };
    let since = tokio::select! {
        () = &mut stop => return Ok(Outcome::Stopped),
        since = beginning => since,
    };
    health.leads();
    tracing::info!(identity = options.identity, "This process leads.");
    let wakes = Arc::new(Wakes::default());
    let watching = Watching { world: Arc::clone(&world), wakes: Arc::clone(&wakes), health: Arc::clone(&health) };
    let scopes = Scopes::new(&options.namespaces);
    // Before the first pass, so that none says that something is missing which is there.
    for kind in OPTIONAL_KINDS {
        if let Ok(true) = optional::is_served(&client, &kind).await {
            world.optional.set_served(kind.kind, true);
        }
        tasks.spawn(optional::follow(watching.clone(), kind, scopes.clone()));
    }
    watching.start(&scopes, &mut tasks);
    tasks.spawn(poller::poll(Arc::clone(&world), Arc::clone(&wakes)));
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let work = Work { world, health, metrics };
    let mut working = tokio::spawn(work.run(wakes, stopped));
    let outcome = tokio::select! {
        () = &mut stop => Outcome::Stopped,
        () = candidate.hold(since) => Outcome::LeaseLost,
        // It ends only when it is told, or by a bug, which must not look like a quiet operator.
        _ = &mut working => Outcome::LeaseLost,
    };
    match outcome {
        // Whoever leads by now must not meet writes of ours.
        Outcome::LeaseLost => working.abort(),
        Outcome::Stopped => {
            drop(stopping);
            let _ = timeout(STOP_MAX, working).await;
            let _ = timeout(STOP_MAX, candidate.release()).await;
        }
    }
    Ok(outcome)
}

/// Waits, and says what is missing in readiness instead of ending again and again.
async fn wait_for_crds(client: &Client, health: &Health) {
    let mut said = Vec::new();
    loop {
        match missing_crds(client).await {
            Ok(missing) => {
                health.crds(missing.clone());
                if missing.is_empty() {
                    return;
                }
                if said != missing {
                    tracing::warn!(?missing, "CRDs are missing; they are waited for");
                    said = missing;
                }
            }
            Err(error) => tracing::warn!(%error, "the API server does not answer yet"),
        }
        sleep(CRD_PERIOD).await;
    }
}

async fn missing_crds(client: &Client) -> Result<Vec<String>, kube::Error> {
    let served = match client.list_api_group_resources(API_VERSION).await {
        Ok(list) => list,
        Err(kube::Error::Api(status)) if status.code == 404 => APIResourceList::default(),
        Err(error) => return Err(error),
    };
    let plurals = ["brokerclusters", "clusterlinks"].into_iter();
    let missing = plurals.filter(|plural| !served.resources.iter().any(|resource| resource.name == *plural));
    Ok(missing.map(|plural| format!("{plural}.{GROUP}")).collect())
}

/// The loop that takes keys from the queue.
struct Work {
    world: Arc<World>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

// === impl Work ===

impl Work {
    async fn run(self, wakes: Arc<Wakes>, mut stopped: tokio::sync::oneshot::Receiver<()>) {
        let mut queue = Queue::default();
        let mut passes: JoinSet<(ClusterKey, Ended)> = JoinSet::new();
        loop {
            // Nothing is decided before everything is known: what was not told yet is not missing.
            let synced = self.health.is_synced();
            while synced && passes.len() < PASSES_MAX {
                let Some(key) = queue.take(Instant::now()) else { break };
                passes.spawn(pass(Arc::clone(&self.world), Arc::clone(&self.metrics), key));
            }
            self.metrics.depth(queue.depth(Instant::now()));
            let room = passes.len() < PASSES_MAX;
            let now = Instant::now();
            let next = if synced { queue.next() } else { Some(now + Duration::from_millis(50)) };
            tokio::select! {
                _ = &mut stopped => break,
                keys = wakes.take() => keys.into_iter().for_each(|key| queue.add(key, Instant::now())),
                Some(ended) = passes.join_next() => {
                    if let Ok((key, ended)) = ended {
                        queue.end(&key, ended, Instant::now());
                    }
                }
                () = sleep_until(next.unwrap_or(now)), if room && next.is_some() => {}
            }
        }
        while passes.join_next().await.is_some() {}
    }
}

async fn pass(world: Arc<World>, metrics: Arc<Metrics>, key: ClusterKey) -> (ClusterKey, Ended) {
    let begun = Instant::now();
    let now = jiff::Timestamp::now().as_second();
    // In a task of its own, so that a bug in one object's pass is a failure of that object alone.
    let (shared, named) = (Arc::clone(&world), key.clone());
    let passing = tokio::spawn(async move { reconcile(&shared, &named, now).await });
    let abort = passing.abort_handle();
    let outcome = timeout(PASS_MAX, passing).await;
    let spread = f64::from(begun.elapsed().subsec_nanos() % 1_000) / 1_000.0;
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(cluster = %key, %error, "a pass failed and is tried again");
        Ended::Failed(spread)
    };
    let ended = match outcome {
        Ok(Ok(Ok(wake))) => {
            let seconds = wake.map(|at| u64::try_from(at - now).unwrap_or(0).clamp(1, 30 * 86_400));
            Ended::Well(seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)))
        }
        Ok(Ok(Err(error))) => {
            world.counters.failures.fetch_add(1, Relaxed);
            failed(&error)
        }
        Ok(Err(bug)) => failed(&bug),
        Err(_) => {
            abort.abort();
            failed(&"it took too long")
        }
    };
    metrics.passed(matches!(ended, Ended::Well(_)), begun.elapsed());
    (key, ended)
}
