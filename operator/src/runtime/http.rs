//! Health, readiness and metrics of the operator over HTTP.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::conditions;
use super::health::Health;
use super::metrics::Metrics;
use crate::reconcile::world::World;

/// What is served.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "the world has nothing to show")]
pub struct Served {
    /// Whether it can work.
    pub health: Arc<Health>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What is known.
    pub world: Arc<World>,
}

/// Listens at that address.
///
/// # Errors
/// The address can't be had.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, served: Served) {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n"))
        .with_state(served);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "health and metrics are no longer served");
    }
}

async fn readiness(State(served): State<Served>) -> Response {
    match served.health.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")).into_response(),
    }
}

async fn metrics(State(served): State<Served>) -> Response {
    let mut text = String::new();
    served.metrics.render(&mut text);
    let world = &served.world;
    let mut one = |name: &str, kind: &str, help: &str, value: u64| {
        // A String takes everything.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    let leads = u64::from(served.health.is_leader());
    one("tombolo_operator_leader", "gauge", "Whether this process holds the Lease.", leads);
    let crds = u64::from(served.health.readiness().is_ok());
    one("tombolo_operator_ready", "gauge", "Whether it can do its work.", crds);
    let counts = [("clusters", world.clusters.len()), ("links", world.links.len())];
    for (what, count) in counts {
        let name = format!("tombolo_operator_{what}");
        one(&name, "gauge", "Objects that are watched.", count as u64);
    }
    let writes = world.counters.writes.load(Relaxed);
    one("tombolo_operator_writes_total", "counter", "Objects written or removed.", writes);
    let failures = world.counters.failures.load(Relaxed);
    one("tombolo_operator_api_failures_total", "counter", "Passes that the API server failed.", failures);
    conditions::render(&mut text, world);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
