//! What a link may do: identities, filters and bounds, read once from the configuration.

use std::sync::Arc;
use std::time::Duration;

use tombolo_broker_api as api;

use crate::codec::Qos;
use crate::topic::{Filter, TopicError};

use super::outlet::Limits;

/// Who we are: the same for every link of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Name of the cluster.
    pub cluster_name: Arc<str>,
    /// Id of the cluster, made once and kept; 1 to 255 bytes.
    pub cluster_id: Arc<str>,
    /// Name of the node.
    pub node: Arc<str>,
    /// Counts the lives of the node: greater at each start. Milliseconds since 1970 at the start, or one more than the
    /// last if the clock went back.
    pub incarnation: u64,
    /// Shards that route messages, 1 to [`SHARDS_MAX`].
    pub shards: u8,
}

/// What a link joins this node with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Another cluster.
    Cluster,
    /// Another node of this cluster, of this name.
    Peer(Arc<str>),
}

/// Filters of one route, with what they let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Topics that pass.
    pub filters: Vec<Filter>,
    /// Topics that don't, though a filter matches.
    pub except: Vec<Filter>,
    /// Highest QoS, 0 to 2.
    pub max_qos: Qos,
}

/// What a link may do. [`super::Link::configure`] takes a new one at any time.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of the link, for status and metrics; for a peer the name of the node.
    pub name: Arc<str>,
    /// What the link joins this node with.
    pub scope: Scope,
    /// Name of the remote cluster; for a peer that of this one.
    pub remote_cluster: Arc<str>,
    /// Its id, if pinned.
    pub remote_cluster_id: Option<Arc<str>>,
    /// False: no connection is kept, what is to be sent waits in the spool.
    pub enabled: bool,
    /// What this side receives; a peer receives all, whatever stands here.
    pub receive: Vec<Route>,
    /// What may leave; none: whatever the remote wants.
    pub send: Option<Vec<Route>>,
    /// Clusters that a message may cross. Between peers it crosses none.
    pub max_hops: u8,
    /// Bounds of the messages that wait.
    pub spool: api::Spool,
    /// Batches unacknowledged at one time, before the remote's Receive Maximum is looked at.
    pub window: u16,
    /// Time between two heartbeats, at most.
    pub heartbeat: Duration,
}

/// A filter in the configuration of a link that is not one.
#[derive(Debug, thiserror::Error)]
#[error("link `{link}`: `{filter}` is not a topic filter: {source}")]
pub struct SettingsError {
    link: String,
    filter: String,
    source: TopicError,
}

/// Most shards that a node may have.
pub const SHARDS_MAX: u8 = 64;

/// Longest cluster id or node name, in bytes.
pub(super) const NAME_MAX: usize = 255;

/// Window and heartbeat of a link that is only accepted here.
const WINDOW: u16 = 32;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Shortest time between two heartbeats, of links and of peers.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const PEER_HEARTBEAT_MIN: Duration = Duration::from_millis(100);

// === impl Settings ===

impl Settings {
    /// Reads the configuration of a link; heartbeats go three times in each keep alive.
    ///
    /// # Errors
    /// A filter that is none.
    pub fn new(link: &api::Link, max_levels: u16) -> Result<Self, SettingsError> {
        let routes = |routes: &[api::Route]| -> Result<Vec<Route>, SettingsError> {
            routes.iter().map(|route| Route::new(&link.name, route, max_levels)).collect()
        };
        let keep_alive = link.dial.as_ref().map_or(KEEP_ALIVE, |dial| dial.keep_alive.duration());
        Ok(Self {
            name: link.name.as_str().into(),
            scope: Scope::Cluster,
            remote_cluster: link.remote_cluster.as_str().into(),
            remote_cluster_id: link.remote_cluster_id.as_deref().map(Arc::from),
            enabled: link.enabled,
            receive: routes(&link.receive)?,
            send: link.send.as_deref().map(routes).transpose()?,
            max_hops: link.max_hops,
            spool: link.spool.clone(),
            window: link.dial.as_ref().map_or(WINDOW, |dial| dial.max_inflight).max(1),
            heartbeat: (keep_alive / 3).max(HEARTBEAT_MIN),
        })
    }

    /// Settings for the peer of this name: all passes both ways, and heartbeats go three times in each keep alive.
    pub fn peer(node: &str, local: &Local, spool: api::Spool, keep_alive: Duration) -> Self {
        Self {
            name: node.into(),
            scope: Scope::Peer(node.into()),
            remote_cluster: local.cluster_name.clone(),
            remote_cluster_id: Some(local.cluster_id.clone()),
            enabled: true,
            receive: Vec::new(),
            send: None,
            max_hops: 0,
            spool,
            window: WINDOW,
            heartbeat: (keep_alive / 3).max(PEER_HEARTBEAT_MIN),
        }
    }

    /// Time between two heartbeats on a connection: the other end bears silence for as long as the keep alive that was agreed,
    /// which may be shorter than this side's own.
    pub fn heartbeat_on(&self, limits: &Limits) -> Duration {
        let least = if self.is_peer() { PEER_HEARTBEAT_MIN } else { HEARTBEAT_MIN };
        self.heartbeat.min((limits.keep_alive / 3).max(least))
    }

    /// Whether the other side is a node of this cluster.
    pub fn is_peer(&self) -> bool {
        matches!(self.scope, Scope::Peer(_))
    }

    /// What may enter; none: everything.
    pub(super) fn receives(&self) -> Option<&[Route]> {
        match self.scope {
            Scope::Cluster => Some(&self.receive),
            Scope::Peer(_) => None,
        }
    }

    /// Whom our greetings call: a cluster, or a node of this one.
    pub(super) fn target(&self) -> &str {
        match &self.scope {
            Scope::Cluster => &self.remote_cluster,
            Scope::Peer(node) => node,
        }
    }
}

// === impl Route ===

impl Route {
    fn new(link: &str, route: &api::Route, max_levels: u16) -> Result<Self, SettingsError> {
        let parse = |filters: &[String]| -> Result<Vec<Filter>, SettingsError> {
            filters
                .iter()
                .map(|text| {
                    Filter::parse(text, max_levels).map_err(|source| SettingsError {
                        link: link.to_owned(),
                        filter: text.clone(),
                        source,
                    })
                })
                .collect()
        };
        Ok(Self {
            filters: parse(&route.filters)?,
            except: parse(&route.except)?,
            max_qos: Qos::from_u8(route.max_qos).unwrap_or(Qos::ExactlyOnce),
        })
    }

    /// True if the topic may pass.
    pub fn admits(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| filter.matches(topic))
            && !self.except.iter().any(|except| except.matches(topic))
    }
}
