//! The brokers that are asked for their status, and with what.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::world::ClusterKey;
use crate::validate::Confidential;

/// A broker to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Number of its pod.
    pub ordinal: u16,
    /// The uid of its pod.
    pub uid: String,
    /// Where it serves its status over TLS.
    pub address: SocketAddr,
    /// The name that its certificate must have: that of the pod.
    pub name: String,
    /// What a request bears.
    pub token: Confidential,
    /// The authority of its certificate, in PEM.
    pub authority: Arc<Vec<u8>>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Targets {
    targets: Mutex<HashMap<ClusterKey, Vec<Target>>>,
    changed: Notify,
}

// === impl Targets ===

impl Targets {
    /// Those of a cluster from now on.
    pub fn set(&self, key: &ClusterKey, targets: Vec<Target>) {
        let mut all = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(key);
        if before.map_or(targets.is_empty(), |before| *before == targets) {
            return;
        }
        if targets.is_empty() {
            all.remove(key);
        } else {
            all.insert(key.clone(), targets);
        }
        drop(all);
        self.changed.notify_one();
    }

    /// All, as they are now.
    pub fn all(&self) -> Vec<(ClusterKey, Target)> {
        let all = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().flat_map(|(key, targets)| targets.iter().map(|target| (key.clone(), target.clone()))).collect()
    }

    /// Waits for a change.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
