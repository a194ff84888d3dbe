//! What differs between the configuration that runs and a new one, and what that asks for: a pure comparison.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_broker_api::{Cluster, ClusterNode, Config, Link, Listener};

use super::Loaded;

/// What must be done to go from one configuration to another. Names are those of listeners and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Listeners to open.
    pub listeners_added: Vec<String>,
    /// Listeners to close.
    pub listeners_removed: Vec<String>,
    /// Listeners whose address or protocol changed: close and open.
    pub listeners_rebound: Vec<String>,
    /// Listeners with another limit or certificate: new connections get the new one.
    pub listeners_updated: Vec<String>,
    /// Users came, went or have another password, or the rule for anonymous clients or the users of links changed.
    pub access: bool,
    /// `tuning.mqtt` or `tuning.cluster` changed: new connections get the new limits, peers go by them at once.
    pub limits: bool,
    /// Links to start.
    pub links_added: Vec<String>,
    /// Links to end.
    pub links_removed: Vec<String>,
    /// Links to replace or to change in place.
    pub links_changed: Vec<String>,
    /// Nodes of the cluster came, went or moved, or certificate, key or authority among them changed.
    pub peers_changed: bool,
    /// Keys whose change waits for a restart.
    pub restart_required: Vec<String>,
}

// === impl Changes ===

impl Changes {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares what runs with what is wanted. `hash` alone is no change.
pub fn diff(old: &Loaded, new: &Loaded) -> Changes {
    let listeners = Named::split(&old.config.listeners, &new.config.listeners, |listener: &Listener| &listener.name);
    let links = Named::split(&old.config.links, &new.config.links, |link: &Link| &link.name);
    let (rebound, same_address): (Vec<_>, Vec<_>) =
        listeners.kept.into_iter().partition(|(old, new)| (old.bind, old.protocol) != (new.bind, new.protocol));
    let updated = same_address
        .into_iter()
        .filter(|(before, after)| before != after || old.listeners.get(&before.name) != new.listeners.get(&after.name));
    let changed = links
        .kept
        .into_iter()
        .filter(|(before, after)| before != after || old.links.get(&before.name) != new.links.get(&after.name));
    Changes {
        listeners_added: listeners.added,
        listeners_removed: listeners.removed,
        listeners_rebound: rebound.into_iter().map(|(_, new)| new.name.clone()).collect(),
        listeners_updated: updated.map(|(_, new)| new.name.clone()).collect(),
        access: old.users != new.users
            || old.config.authentication != new.config.authentication
            || link_users(&old.config) != link_users(&new.config),
        limits: old.config.tuning.mqtt != new.config.tuning.mqtt
            || old.config.tuning.cluster != new.config.tuning.cluster,
        links_added: links.added,
        links_removed: links.removed,
        links_changed: changed.map(|(_, new)| new.name.clone()).collect(),
        peers_changed: peers_changed(old, new),
        restart_required: restart_required(&old.config, &new.config),
    }
}

/// Who may come in as which cluster.
fn link_users(config: &Config) -> BTreeSet<(&str, &str, bool, Vec<&str>)> {
    let entry = |link| {
        let Link { name, remote_cluster, accept, .. }: &Link = link;
        (&**name, &**remote_cluster, accept.any_user, accept.users.iter().map(String::as_str).collect())
    };
    config.links.iter().map(entry).collect()
}

/// What a node can take over while it runs. A cluster that comes or goes as a whole waits for a restart.
fn peers_changed(old: &Loaded, new: &Loaded) -> bool {
    match (&old.config.cluster, &new.config.cluster) {
        (Some(before), Some(after)) => {
            let Cluster { id: _, bind: _, certificate_file, key_file, ca_file, nodes, evacuating } = before;
            (certificate_file, key_file, ca_file) != (&after.certificate_file, &after.key_file, &after.ca_file)
                || old.cluster != new.cluster
                || by_name(nodes) != by_name(&after.nodes)
                || *evacuating != after.evacuating
        }
        (Some(_), None) | (None, Some(_)) | (None, None) => false,
    }
}

/// Nodes without their order, which means nothing.
fn by_name(nodes: &[ClusterNode]) -> BTreeMap<&str, &str> {
    nodes.iter().map(|node| (&*node.name, &*node.address)).collect()
}

fn restart_required(old: &Config, new: &Config) -> Vec<String> {
    let cluster = |config: &Config| config.cluster.as_ref().map(|cluster| (cluster.id.clone(), cluster.bind));
    let (before, after) = (cluster(old), cluster(new));
    let both = before.as_ref().zip(after.as_ref());
    let keys = [
        ("clusterName", old.cluster_name != new.cluster_name),
        ("nodeName", old.node_name != new.node_name),
        ("dataDir", old.data_dir != new.data_dir),
        ("admin.bind", old.admin != new.admin),
        ("cluster", before.is_some() != after.is_some()),
        ("cluster.id", both.is_some_and(|((before, _), (after, _))| before != after)),
        ("cluster.bind", both.is_some_and(|((_, before), (_, after))| before != after)),
        ("tuning.shards", old.tuning.shards != new.tuning.shards),
    ];
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

/// Two lists of named things, told apart by name.
struct Named<'a, T> {
    added: Vec<String>,
    removed: Vec<String>,
    kept: Vec<(&'a T, &'a T)>,
}

impl<'a, T> Named<'a, T> {
    fn split(old: &'a [T], new: &'a [T], name: impl Fn(&T) -> &String) -> Self {
        let find = |list: &'a [T], wanted: &T| list.iter().find(|item| name(item) == name(wanted));
        Self {
            added: new.iter().filter(|item| find(old, item).is_none()).map(|item| name(item).clone()).collect(),
            removed: old.iter().filter(|item| find(new, item).is_none()).map(|item| name(item).clone()).collect(),
            kept: new.iter().filter_map(|item| Some((find(old, item)?, item))).collect(),
        }
    }
}
