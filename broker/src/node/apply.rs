//! Brings a node from one configuration to the next: what can change while it runs, changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tombolo_broker_api as api;

use super::start::retained_limits;
use super::status::Node;
use crate::config::diff;
use crate::connection::{Door, Guests};
use crate::net::{ListenError, Listener, Prepared, PreparedCluster, peer_packet_max};
use crate::shard::{Control, Peer, Stays, Tuning, shard_of};

/// Holds what runs, and makes it follow the configuration.
pub struct Applier {
    node: Arc<Node>,
    shards: Vec<Handle>,
    running: Option<Arc<Prepared>>,
}

// === impl Applier ===

impl Applier {
    /// Nothing runs yet.
    pub fn new(node: Arc<Node>, shards: Vec<Handle>) -> Self {
        Self { node, shards, running: None }
    }

    /// Begins with a configuration.
    ///
    /// # Errors
    /// If one of its listeners can't be opened.
    pub async fn begin(&mut self, prepared: &Arc<Prepared>) -> Result<(), ListenError> {
        self.configure_evacuation(prepared);
        let links = prepared.loaded.config.links.iter();
        let begins = |link: &&api::Link| link.enabled && link.spool.drain_for.is_none();
        self.node.shared().awaited.begin(links.filter(begins).map(|link| link.name.as_str()));
        self.send_links(prepared);
        self.send_peers(prepared);
        if let Some(listener) = peer_listener(prepared) {
            self.open(&listener, prepared).await?;
        }
        for listener in &prepared.loaded.config.listeners {
            self.open(listener, prepared).await?;
        }
        self.running = Some(Arc::clone(prepared));
        self.node.set_ready();
        Ok(())
    }

    /// Follows the configuration for as long as the node runs.
    pub async fn follow(mut self, mut current: watch::Receiver<Arc<Prepared>>) {
        while current.changed().await.is_ok() {
            let next = current.borrow_and_update().clone();
            self.apply(next).await;
        }
    }

    async fn apply(&mut self, next: Arc<Prepared>) {
        let Some(running) = self.running.replace(Arc::clone(&next)) else { return };
        let changes = diff(&running.loaded, &next.loaded);
        let config = &next.loaded.config;
        if changes.limits {
            let tuning = Arc::new(Tuning { mqtt: config.tuning.mqtt.clone(), cluster: config.tuning.cluster.clone() });
            for inbox in &self.node.shared().inboxes {
                inbox.send(Control::Tuning(Arc::clone(&tuning)));
            }
            self.node.shared().retained.set_limits(retained_limits(config));
        }
        for name in changes.listeners_removed.iter().chain(&changes.listeners_rebound) {
            self.node.close_listener(name);
        }
        if let Some(listener) = peer_listener(&next) {
            self.node.update_listener(&listener, &door(&next, &listener));
        }
        for listener in &config.listeners {
            if self.node.update_listener(listener, &door(&next, listener)) {
                continue;
            }
            match self.open(listener, &next).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "A listener of the new configuration is missing.");
                    self.node.listener_failed(&listener.name, error.to_string());
                }
            }
        }
        if changes.access {
            self.drop_users(&running, &next);
        }
        if !(changes.links_added.is_empty() && changes.links_removed.is_empty() && changes.links_changed.is_empty()) {
            self.send_links(&next);
        }
        if changes.peers_changed {
            self.configure_evacuation(&next);
            self.send_peers(&next);
        }
        self.node.set_restart_required(&changes.restart_required);
    }

    async fn open(&self, listener: &api::Listener, prepared: &Arc<Prepared>) -> Result<(), ListenError> {
        let (shared, shards) = (Arc::clone(self.node.shared()), self.shards.clone());
        let opened = Listener::open(listener, shared, shards, door(prepared, listener)).await?;
        tracing::info!(listener = listener.name, address = %opened.address(), "A listener is open.");
        self.node.add_listener(&listener.name, opened);
        Ok(())
    }

    /// Gives each shard the links that live on it.
    fn send_links(&self, prepared: &Prepared) {
        let inboxes = &self.node.shared().inboxes;
        let mut links: Vec<Vec<api::Link>> = vec![Vec::new(); inboxes.len()];
        for link in &prepared.loaded.config.links {
            links[shard_of(link.remote_cluster.as_bytes(), inboxes.len())].push(link.clone());
        }
        for (inbox, links) in inboxes.iter().zip(links) {
            inbox.send(Control::Links(links));
        }
    }

    /// Tells the shards of the other nodes.
    fn send_peers(&self, prepared: &Prepared) {
        let of = |cluster: &PreparedCluster| {
            let peer = |node: &Arc<str>| Peer { node: Arc::clone(node), dials: cluster.dial.contains_key(&**node) };
            cluster.others.iter().map(peer).collect()
        };
        self.node.shared().set_peers(prepared.cluster.as_ref().map(of).unwrap_or_default());
    }

    /// Whether this node is to be emptied, and which others are; shards look by themselves.
    fn configure_evacuation(&self, prepared: &Prepared) {
        let config = &prepared.loaded.config;
        let all = config.cluster.iter().flat_map(|cluster| &cluster.evacuating);
        let (own, others): (Vec<&String>, Vec<&String>) = all.partition(|name| **name == config.node_name);
        let shared = self.node.shared();
        let others = others.into_iter().map(|name| Arc::from(name.as_str())).collect();
        shared.evacuation.configure(!own.is_empty(), others, shared.clock.now());
        shared.inboxes.iter().for_each(|inbox| inbox.ready().nudge());
    }

    /// Who was let in by a password that counts no more is disconnected.
    fn drop_users(&self, running: &Prepared, next: &Prepared) {
        let before: BTreeMap<_, _> = running.loaded.users.iter().collect();
        let changed: Vec<String> = before
            .into_iter()
            .filter(|(user, credential)| next.loaded.users.get(*user) != Some(credential))
            .map(|(user, _)| user.clone())
            .collect();
        let anonymous = next.loaded.config.authentication.anonymous == api::Anonymous::Allowed;
        let stays: Arc<Stays> = Arc::new(move |user| match user {
            Some(user) => !changed.iter().any(|changed| changed == user),
            None => anonymous,
        });
        for inbox in &self.node.shared().inboxes {
            inbox.send(Control::DropUsers(Arc::clone(&stays)));
        }
    }
}

/// Name of the listener where other nodes connect: no listener of a configuration can have it.
const PEER_LISTENER: &str = "cluster.bind";

/// Connections of other nodes at one time: two of each, while one takes the place of the other.
const PEER_CONNECTIONS_MAX: u32 = 128;

/// The listener where other nodes connect.
fn peer_listener(prepared: &Prepared) -> Option<api::Listener> {
    let cluster = prepared.loaded.config.cluster.as_ref()?;
    Some(api::Listener {
        name: PEER_LISTENER.to_owned(),
        protocol: api::Protocol::Mqtts,
        bind: cluster.bind,
        max_connections: PEER_CONNECTIONS_MAX,
        tls: None,
    })
}

/// What connections of a listener go by.
fn door(prepared: &Arc<Prepared>, listener: &api::Listener) -> Arc<Door> {
    let config = &prepared.loaded.config;
    let mqtt = &config.tuning.mqtt;
    let links = config.links.iter().map(|link| (link.name.as_str().into(), link.remote_cluster.clone()));
    let cluster = prepared.cluster.as_ref().filter(|_| listener.name == PEER_LISTENER);
    Arc::new(Door {
        auth: Arc::clone(&prepared.auth),
        tls: match cluster {
            Some(cluster) => Some(Arc::clone(&cluster.server)),
            None => prepared.listeners.get(&listener.name).cloned(),
        },
        timeout: mqtt.connect_timeout.duration(),
        packet_max: match cluster {
            Some(_) => peer_packet_max(mqtt) as usize,
            None => mqtt.max_packet_size.0 as usize,
        },
        client_id_max: usize::from(mqtt.max_client_id_bytes),
        receive_maximum: if cluster.is_some() { u16::MAX } else { mqtt.receive_maximum },
        links: links.collect(),
        guests: match cluster {
            Some(cluster) => Guests::Nodes { cluster: config.cluster_name.clone(), others: cluster.others.clone() },
            None => Guests::Clients,
        },
    })
}
