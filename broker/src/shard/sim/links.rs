//! Two clusters of the simulation that are linked: how their nodes are configured, dialled and watched.

use std::sync::Arc;

use tombolo_broker_api as api;

use super::node::{Life, name};
use super::oracle::matches;
use super::plan::{LinkChange, Plan};
use super::world::World;
use crate::link::Link;
use crate::router::Audience;
use crate::shard::{Control, DialRequest, LinkKey, shard_of};

/// The names of the clusters.
pub const CLUSTERS: [&str; 2] = ["sim", "far"];

/// What each cluster receives of the other one.
const RECEIVED: [&[&str]; 2] = [&["t/#", "s/#", "p/#"], &["t/0/#", "t/1/+", "s/#", "p/#"]];

/// The same while it receives less.
const RECEIVED_NARROW: [&[&str]; 2] = [&["t/0/#", "s/#", "p/#"], &["t/0/0", "s/#", "p/#"]];

/// The room of what waits for the other cluster where that is little, in bytes, and the same for QoS 0.
pub const SMALL_SPOOL: u64 = 4_000;
const SMALL_LOSSY: u64 = 1_000;

/// How long it waits there, in seconds.
const SMALL_AGE: u64 = 6;

/// Whether a topic may enter this cluster from the other one even while that receives less.
pub fn always_enters(cluster: usize, topic: &str) -> bool {
    RECEIVED_NARROW[cluster].iter().any(|filter| matches(filter, topic))
}

/// Whether a topic may enter this cluster from the other one.
pub fn enters(cluster: usize, topic: &str) -> bool {
    RECEIVED[cluster].iter().any(|filter| matches(filter, topic))
}

// === impl Plan ===

impl Plan {
    /// The links of a cluster when this has become of them.
    pub(super) fn links_of(&self, cluster: usize, changes: &[LinkChange]) -> Vec<api::Link> {
        if self.far == 0 || changes.contains(&LinkChange::Delete) {
            return Vec::new();
        }
        let mut link = self.link(cluster);
        link.enabled = !changes.contains(&LinkChange::Pause);
        if changes.contains(&LinkChange::Narrow) {
            let filters = RECEIVED_NARROW[cluster].iter().map(|filter| (*filter).to_owned());
            link.receive[0].filters = filters.collect();
        }
        vec![link]
    }

    /// The link of a node of this cluster.
    fn link(&self, cluster: usize) -> api::Link {
        let remote = CLUSTERS[1 - cluster];
        let dials = cluster == 1 || !self.one_dials;
        let servers = self.members(1 - cluster).map(|node| format!("mqtt://{}", name(node))).collect();
        api::Link {
            name: remote.to_owned(),
            remote_cluster: remote.to_owned(),
            remote_cluster_id: None,
            enabled: true,
            dial: dials.then(|| api::Dial {
                servers,
                client_id_prefix: "sim".to_owned(),
                username_file: None,
                password_file: None,
                tls: None,
                keep_alive: api::Seconds(6),
                max_inflight: if self.small_links.is_some() { 2 } else { 32 },
                retry_interval: api::Seconds(3),
            }),
            accept: api::Accept::default(),
            receive: vec![api::Route {
                filters: RECEIVED[cluster].iter().map(|filter| (*filter).to_owned()).collect(),
                except: Vec::new(),
                max_qos: 2,
            }],
            send: None,
            max_hops: 1,
            spool: self.spool(),
        }
    }

    /// How much may wait for the other cluster.
    fn spool(&self) -> api::Spool {
        let usual = api::Spool::default();
        let Some(when_full) = self.small_links else { return usual };
        let (max_bytes, max_bytes_qos0) = (api::ByteSize(SMALL_SPOOL), api::ByteSize(SMALL_LOSSY));
        // Where publishers wait nothing is to be lost.
        let loses = when_full != api::WhenFull::Backpressure;
        let max_age = if loses { api::Seconds(SMALL_AGE) } else { usual.max_age };
        api::Spool { max_bytes, max_bytes_qos0, when_full, max_age, ..usual }
    }
}

// === impl Life ===

impl Life {
    /// Gives its shards the link with the other cluster, if there is one.
    pub(super) fn send_links(&self, links: Vec<api::Link>) {
        self.shared.inboxes[self.shard_of_links()].send(Control::Links(links));
    }

    /// Whether the link with the other cluster belongs to a shard.
    pub(super) fn has_links(&self, shard: usize) -> bool {
        self.shard_of_links() == shard
    }

    fn shard_of_links(&self) -> usize {
        let remote = usize::from(*self.shared.local.cluster_name == *CLUSTERS[0]);
        shard_of(CLUSTERS[remote].as_bytes(), self.shards.len())
    }

    /// The state of its link.
    pub fn link(&self) -> Option<api::LinkStatus> {
        let statuses = self.shards.iter().flat_map(|shard| {
            shard.links.iter().filter_map(|slot| shard.link_status(*slot, shard.core.now.duration(), 0))
        });
        statuses.last()
    }

    /// The node of the other cluster at which the lanes of its link end.
    fn lane(&self) -> Option<Arc<str>> {
        let mut rows = self.shards.iter().flat_map(|shard| shard.links.iter().filter_map(|slot| shard.link_row(*slot)));
        let row = rows.find(|row| row.audience() == Audience::Links)?;
        row.link.as_ref()?.goes_to().cloned()
    }

    /// The nodes of the other cluster, with their lives, that route by all that is wanted here, as its link has heard.
    fn routed_at(&self) -> Vec<(Arc<str>, u64)> {
        let rows = self.shards.iter().flat_map(|shard| shard.links.iter().filter_map(|slot| shard.link_row(*slot)));
        let end = self.shared.index.interest_end(Audience::Links);
        let current = rows.filter(|row| row.audience() == Audience::Links && row.interest_cursor == end);
        let links = current.filter_map(|row| row.link.as_ref());
        let of = |link: &Link| link.in_sync_with().map(|(node, life)| (Arc::clone(node), life)).collect::<Vec<_>>();
        links.flat_map(|link| of(link)).collect()
    }
}

// === impl World ===

impl World {
    /// The node that another one dials.
    pub(super) fn dialled_by(&self, node: usize, request: &DialRequest) -> Option<usize> {
        match &request.link {
            LinkKey::Peer(peer) => (0..self.nodes.len()).find(|other| name(*other) == *peer),
            LinkKey::Cluster(_) => self.plan.members(1 - self.plan.cluster(node)).nth(request.server),
        }
    }

    /// By what a node knows another one.
    pub(super) fn key(&self, node: usize, other: usize) -> LinkKey {
        let cluster = self.plan.cluster(other);
        match cluster == self.plan.cluster(node) {
            true => LinkKey::Peer(name(other)),
            false => LinkKey::Cluster(CLUSTERS[cluster].into()),
        }
    }

    /// Takes note of what a node says of its link; `handed_over`: its shards have given each other all that they had.
    pub(super) fn observe_link(&mut self, node: usize, handed_over: bool) {
        let Some(life) = self.nodes[node].life.as_ref().filter(|_| self.plan.far > 0) else { return };
        let Some(link) = life.link() else {
            let others = self.plan.members(1 - self.plan.cluster(node)).filter(|_| handed_over);
            others.for_each(|other| self.weather.empty[node][other] = self.now);
            return;
        };
        self.held += u64::from(life.shared.pressure.any());
        if self.plan.small_links.is_some_and(|when_full| when_full != api::WhenFull::Backpressure) {
            assert!(link.spool.bytes <= SMALL_SPOOL + 2_000, "{} bytes wait for the other cluster", link.spool.bytes);
        }
        let is_deleted = |node: usize| self.nodes[node].link_changes.contains(&LinkChange::Delete);
        // One that is deleted sends what it has, and takes nothing more.
        let takes: Vec<bool> = (0..self.nodes.len())
            .map(|other| !is_deleted(node) && !is_deleted(other) && self.has_heard(node) && self.has_heard(other))
            .collect();
        let (routed_at, lane) = (life.routed_at(), life.lane());
        let is_sent = handed_over && link.spool.messages == 0;
        let counts = [link.spool.messages, link.messages_received, link.messages_repeated];
        if self.nodes[node].link_counts != counts {
            self.nodes[node].link_counts = counts;
            self.trace.say(self.now, format_args!("the link of node {node}: waiting, received, repeated {counts:?}"));
        }
        if let Some(lane) = lane
            && let Some(before) = self.weather.lane[node].replace(Arc::clone(&lane))
            && before != lane
        {
            self.trace.say(self.now, format_args!("node {node} turns from {before} to {lane}"));
            self.weather.turned[node].push(self.now);
        }
        for other in self.plan.members(1 - self.plan.cluster(node)) {
            if is_sent {
                self.weather.empty[node][other] = self.now;
            }
            let is_routed = routed_at.contains(&(name(other), self.nodes[other].incarnation));
            if is_routed && self.weather.alive[other] && takes[other] {
                if self.weather.told[node][other].is_none() {
                    self.trace.say(self.now, format_args!("node {node} is routed for at {other}"));
                }
                self.weather.told[node][other] = Some(self.now);
            }
        }
    }

    /// Whether all links are ready.
    pub(super) fn is_linked(&self) -> bool {
        let mut lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        self.plan.far == 0 || lives.all(|life| life.link().is_some_and(|link| link.ready))
    }
}
