//! Types of conditions in the status of our resources.
//!
//! A condition is an observation. Those with a positive name are good when `True`; `Reconciling` and `Stalled` follow
//! kstatus and are absent when not `True`.

/// The object does what its spec says. On every kind.
pub const READY: &str = "Ready";
/// The operator works on it, or waits for something that comes by itself.
pub const RECONCILING: &str = "Reconciling";
/// The operator cannot go on until somebody changes something.
pub const STALLED: &str = "Stalled";
/// The operator leaves the object alone, by annotation.
pub const PAUSED: &str = "Paused";
/// Every Secret and object that the spec names is there and readable.
pub const RESOLVED_REFS: &str = "ResolvedRefs";

/// BrokerCluster: at least one listener of a quorum of nodes serves clients.
pub const AVAILABLE: &str = "Available";
/// BrokerCluster: nodes are being added, replaced or removed.
pub const PROGRESSING: &str = "Progressing";
/// BrokerCluster: every node runs the newest configuration.
pub const CONFIG_APPLIED: &str = "ConfigApplied";
/// BrokerCluster: the certificates of listeners and nodes are there and valid.
pub const TLS_READY: &str = "TLSReady";
/// BrokerCluster: every volume is bound and has its size.
pub const STORAGE_READY: &str = "StorageReady";
/// BrokerCluster: the ServiceMonitor that the spec asks for is there.
pub const MONITORING_READY: &str = "MonitoringReady";
/// BrokerCluster: an upgrade waits for somebody's consent.
pub const UPGRADE_BLOCKED: &str = "UpgradeBlocked";

/// ClusterLink: every node has the link in its configuration.
pub const PROGRAMMED: &str = "Programmed";
/// ClusterLink: a connection stands and the handshake succeeded.
pub const CONNECTED: &str = "Connected";
/// ClusterLink: a heartbeat crossed and came back, and interest is in sync.
pub const FORWARDING: &str = "Forwarding";
/// ClusterLink: what waits for the remote is within its bounds.
pub const BACKLOG_HEALTHY: &str = "BacklogHealthy";

/// Condition types of a BrokerCluster that are always present.
pub const BROKER_CLUSTER: [&str; 8] =
    [READY, RESOLVED_REFS, AVAILABLE, PROGRESSING, CONFIG_APPLIED, TLS_READY, STORAGE_READY, MONITORING_READY];
/// Condition types of a ClusterLink that are always present.
pub const CLUSTER_LINK: [&str; 6] = [READY, RESOLVED_REFS, PROGRAMMED, CONNECTED, FORWARDING, BACKLOG_HEALTHY];
