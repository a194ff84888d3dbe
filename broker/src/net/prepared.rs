//! A configuration made ready to use: users to authenticate, TLS to accept with, and what links dial with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tombolo_broker_api::{ClientCertificate, ClusterNode, Config, Dial, Link, Mqtt};

use super::dial::DialConfig;
use crate::auth::{Auth, Verifier};
use crate::clock::UnixSeconds;
use crate::config::{DialFiles, Loaded, Problem, Problems, Server};
use crate::link::{CONNECT_PROPERTY, PACKET_MIN, PEER_PROPERTY};
use crate::tls::{TlsError, client_config, ends, server_config};

/// Everything that connections in and out need of a configuration. Made when it was loaded, so that one that can't be
/// used is refused as a whole.
#[derive(Debug)]
pub struct Prepared {
    /// What it was made of.
    pub loaded: Loaded,
    /// Who may come in.
    pub auth: Arc<Auth>,
    /// TLS by listener, for those that speak it.
    pub listeners: BTreeMap<String, Arc<ServerConfig>>,
    /// How to dial, by link, for those that do.
    pub links: BTreeMap<String, Arc<DialConfig>>,
    /// How the nodes of the cluster reach each other; none for a node that is alone.
    pub cluster: Option<PreparedCluster>,
    /// Files with certificates, by name, and until when each is good.
    pub certificates: BTreeMap<PathBuf, UnixSeconds>,
}

/// How the nodes of the cluster reach each other.
#[derive(Debug)]
pub struct PreparedCluster {
    /// TLS for nodes that dial us: they need a certificate of the cluster's authority.
    pub server: Arc<ServerConfig>,
    /// How to dial, by node, for those whose names come behind ours: of each pair the first dials.
    pub dial: BTreeMap<String, Arc<DialConfig>>,
    /// Names of the other nodes.
    pub others: Vec<Arc<str>>,
}

/// Keep alive of the connection between two nodes, in seconds: three heartbeats go in each, and one that hears nothing
/// for as long is given up.
const PEER_KEEP_ALIVE: u16 = 6;

// === impl Prepared ===

impl Prepared {
    /// Builds all of it, or says everything that is wrong at once.
    pub fn new(loaded: Loaded, verifier: Arc<Verifier>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut listeners = BTreeMap::new();
        for (place, listener) in loaded.config.listeners.iter().enumerate() {
            let (Some(tls), Some(files)) = (&listener.tls, loaded.listeners.get(&listener.name)) else { continue };
            match server_config(files, tls.client_certificate) {
                Ok(config) => drop(listeners.insert(listener.name.clone(), config)),
                Err(error) => problems.push(problem(format!("listeners[{place}].tls"), error)),
            }
        }
        let mut links = BTreeMap::new();
        for (place, link) in loaded.config.links.iter().enumerate() {
            let (Some(dial), Some(files)) = (&link.dial, loaded.links.get(&link.name)) else { continue };
            match tls_of(files) {
                Ok(tls) => {
                    drop(links.insert(link.name.clone(), Arc::new(dialling(&loaded.config, link, dial, files, tls))))
                }
                Err(error) => problems.push(problem(format!("links[{place}].dial.tls"), error)),
            }
        }
        let cluster = PreparedCluster::new(&loaded).unwrap_or_else(|error| {
            problems.push(problem("cluster".to_owned(), error));
            None
        });
        if problems.is_empty() {
            let certificates = loaded.tls_files().flat_map(ends).map(|(file, end)| (file.to_owned(), end)).collect();
            Ok(Self { auth: Arc::new(Auth::new(&loaded, verifier)), listeners, links, cluster, certificates, loaded })
        } else {
            Err(Problems(problems))
        }
    }
}

// === impl PreparedCluster ===

impl PreparedCluster {
    fn new(loaded: &Loaded) -> Result<Option<Self>, TlsError> {
        let config = &loaded.config;
        let (Some(cluster), Some(files)) = (&config.cluster, &loaded.cluster) else { return Ok(None) };
        let server = server_config(files, ClientCertificate::Require)?;
        let client = client_config(files)?;
        let others = cluster.nodes.iter().filter(|node| node.name != config.node_name);
        let behind = others.clone().filter(|node| config.node_name < node.name);
        let dial = behind.filter_map(|node| {
            let server: Server = format!("mqtts://{}", node.address).parse().ok()?;
            Some((node.name.clone(), Arc::new(dialling_node(config, node, server, &client))))
        });
        Ok(Some(Self { server, dial: dial.collect(), others: others.map(|node| node.name.as_str().into()).collect() }))
    }
}

fn dialling_node(config: &Config, node: &ClusterNode, server: Server, tls: &Arc<ClientConfig>) -> DialConfig {
    let mqtt = &config.tuning.mqtt;
    DialConfig {
        servers: vec![server],
        property: PEER_PROPERTY,
        cluster_name: config.cluster_name.clone(),
        client_id: config.node_name.clone(),
        username: None,
        password: None,
        tls: Some(Arc::clone(tls)),
        server_name: Some(node.name.clone()),
        keep_alive: PEER_KEEP_ALIVE,
        receive_maximum: u16::MAX,
        maximum_packet_size: peer_packet_max(mqtt),
        connect_timeout: mqtt.connect_timeout.duration().min(PEER_CONNECT_MAX),
    }
}

/// Longest time for each step of dialling another node: it is near, and a client may wait for it.
const PEER_CONNECT_MAX: Duration = Duration::from_secs(3);

/// Largest packet that nodes take from each other, in bytes: a whole packet of a client within one of theirs.
pub fn peer_packet_max(mqtt: &Mqtt) -> u32 {
    u32::try_from(mqtt.max_packet_size.0).unwrap_or(u32::MAX).saturating_add(PACKET_MIN)
}

fn tls_of(files: &DialFiles) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let needed = files.servers.iter().any(|server| server.tls);
    needed.then(|| client_config(&files.tls)).transpose()
}

fn dialling(
    config: &Config,
    link: &Link,
    dial: &Dial,
    files: &DialFiles,
    tls: Option<Arc<ClientConfig>>,
) -> DialConfig {
    let mqtt = &config.tuning.mqtt;
    let packet_size = u32::try_from(mqtt.max_packet_size.0).unwrap_or(u32::MAX);
    DialConfig {
        servers: files.servers.clone(),
        property: CONNECT_PROPERTY,
        cluster_name: config.cluster_name.clone(),
        client_id: format!("{}:{}:{}", dial.client_id_prefix, link.name, config.node_name),
        username: files.username.clone(),
        password: files.password.clone(),
        tls,
        server_name: dial.tls.as_ref().and_then(|tls| tls.server_name.clone()),
        keep_alive: u16::try_from(dial.keep_alive.0).unwrap_or(u16::MAX),
        receive_maximum: mqtt.receive_maximum,
        maximum_packet_size: packet_size.max(PACKET_MIN),
        connect_timeout: mqtt.connect_timeout.duration(),
    }
}

fn problem(field: String, error: TlsError) -> Problem {
    let TlsError { file, what } = error;
    let file = if file.as_os_str().is_empty() { PathBuf::from("broker.yaml") } else { file };
    Problem { file, position: None, field, message: what }
}

#[cfg(test)]
mod tests;
