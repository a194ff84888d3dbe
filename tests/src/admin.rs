//! The admin listener of a broker, as a reader of status and metrics.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tombolo_broker_api::{LinkStatus, PeerStatus, Status};

use crate::{http, wait};

/// Where a broker tells about itself.
#[derive(Clone, Copy, Debug)]
pub struct Admin(pub SocketAddr);

/// The text of `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Admin {
    /// The broker serves.
    pub async fn ready(self) -> bool {
        matches!(http::get(self.0, "/readyz").await, Ok((200, _)))
    }

    /// What `/v1/status` says.
    pub async fn status(self) -> Result<Status> {
        let (code, body) = http::get(self.0, "/v1/status").await?;
        ensure!(code == 200, "/v1/status answered {code}: {body}");
        serde_json::from_str(&body).context("/v1/status is no Status")
    }

    /// What `/metrics` says.
    pub async fn metrics(self) -> Result<Metrics> {
        let (code, body) = http::get(self.0, "/metrics").await?;
        ensure!(code == 200, "/metrics answered {code}: {body}");
        Ok(Metrics(body))
    }

    /// Awaits a status of which `holds` is true.
    pub async fn status_when(self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        wait::until(what, || async { self.status().await.ok().filter(|s| holds(s)) }).await
    }

    /// Awaits a state of the link `name`.
    pub async fn link_when(self, name: &str, what: &str, holds: impl Fn(&LinkStatus) -> bool) -> LinkStatus {
        let find = |status: Status| status.links.into_iter().find(|link| link.name == name && holds(link));
        let found = tokio::time::timeout(wait::PATIENCE, async {
            loop {
                if let Some(link) = self.status().await.ok().and_then(find) {
                    return link;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        match found.await {
            Ok(link) => link,
            Err(_) => {
                let links = self.status().await.map(|s| s.links);
                panic!("waited in vain for the link {name}: {what}. Links now: {links:#?}");
            }
        }
    }

    /// Awaits a link that is ready.
    pub async fn link_ready(self, name: &str) -> LinkStatus {
        self.link_when(name, "ready", |link| link.ready).await
    }

    /// Awaits a link whose last error has this reason.
    pub async fn link_failed(self, name: &str, reason: &str) -> LinkStatus {
        let is = |link: &LinkStatus| link.last_error.as_ref().is_some_and(|e| e.reason == reason);
        self.link_when(name, &format!("last error {reason}"), is).await
    }

    /// Awaits a state of the other node `name` of its cluster.
    pub async fn peer_when(self, name: &str, what: &str, holds: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
        let end = tokio::time::Instant::now() + wait::PATIENCE;
        loop {
            let peers = self.status().await.map(|status| status.peers);
            let find = |peers: &Vec<PeerStatus>| peers.iter().find(|peer| peer.node == name && holds(peer)).cloned();
            if let Some(peer) = peers.as_ref().ok().and_then(find) {
                return peer;
            }
            let late = tokio::time::Instant::now() >= end;
            assert!(!late, "waited in vain for the node {name}: {what}. Other nodes now: {peers:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Awaits another node of its cluster that is ready.
    pub async fn peer_ready(self, name: &str) -> PeerStatus {
        self.peer_when(name, "ready", |peer| peer.ready).await
    }

    /// Awaits a metric that reaches `at_least`; `series` is its name with its labels, such as `x_total{reason="y"}`.
    pub async fn metric_when(self, series: &str, at_least: f64) -> f64 {
        let what = format!("{series} ≥ {at_least}");
        let look = || async { self.metrics().await.ok().map(|m| m.value(series)).filter(|v| *v >= at_least) };
        wait::until(&what, look).await
    }
}

impl Metrics {
    /// The value of a series, 0 when it is not there.
    pub fn value(&self, series: &str) -> f64 {
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(value).unwrap_or(0.0)
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0
    }
}
