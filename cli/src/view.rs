//! What is shown of running nodes: their status beside where they were put.

use serde::{Deserialize, Serialize};
use tombolo_broker_api::{LinkState, LinkStatus, Status};

/// A running node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Namespace of its cluster.
    pub namespace: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
    /// Where its admin listener is: `127.0.0.1:40123`.
    pub admin: String,
    /// Process that it runs in.
    pub pid: u32,
    /// What it says about itself; none if it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// How much is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Clusters.
    pub clusters: usize,
    /// Links that are enabled, counted at each side.
    pub links: usize,
    /// Every listener listens and every enabled link is ready.
    pub ready: bool,
}

// === impl Readiness ===

impl Readiness {
    /// Of these nodes together; `is_ready` judges an enabled link.
    pub fn of(views: &[View], is_ready: impl Fn(&View, &LinkStatus) -> bool) -> Self {
        let mut readiness = Self { clusters: views.len(), links: 0, ready: !views.is_empty() };
        for view in views {
            let Some(status) = &view.status else {
                readiness.ready = false;
                continue;
            };
            readiness.ready &= status.listeners.iter().all(|listener| listener.error.is_none());
            for link in status.links.iter().filter(|link| link.state != LinkState::Disabled) {
                readiness.links += 1;
                readiness.ready &= is_ready(view, link);
            }
        }
        readiness
    }
}

impl std::fmt::Display for Readiness {
    /// `2 clusters, 1 links`: always the plural, as scripts wait for this text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} clusters, {} links", self.clusters, self.links)
    }
}
