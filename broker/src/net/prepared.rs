//! A configuration made ready to use: users to authenticate, TLS to accept with, and what links dial with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tombolo_broker_api::{Config, Dial, Link};

use super::dial::DialConfig;
use crate::auth::{Auth, Verifier};
use crate::config::{DialFiles, Loaded, Problem, Problems};
use crate::link::PACKET_MIN;
use crate::tls::{TlsError, client_config, server_config};

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
}

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
        if problems.is_empty() {
            Ok(Self { auth: Arc::new(Auth::new(&loaded, verifier)), listeners, links, loaded })
        } else {
            Err(Problems(problems))
        }
    }
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
