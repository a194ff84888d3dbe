//! The folder of files that a broker node runs from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tombolo_broker_api::{
    Accept, Admin, Anonymous, Authentication, Cluster, Config, Dial, DialTls, Link, Listener, ListenerTls, SecureAdmin,
};
use tombolo_crds::brokercluster::Anonymous as AnonymousSpec;

use super::kept::KeptLinks;
use crate::validate::{Confidential, ValidCluster, ValidDial, ValidLink, ValidListener, port_of};

/// Name of the configuration among the files.
pub const CONFIG_FILE: &str = "broker.yaml";

const USERS_FILE: &str = "users.yaml";

/// Hexadecimal digits of `Config::hash`.
const HASH_DIGITS: usize = 16;

/// What differs from place to place: a laptop, a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Name of the node; on Kubernetes each pod overrides it.
    pub node_name: String,
    /// Address of every listener and of admin.
    pub bind: IpAddr,
    /// Port of admin; 0 takes a free one.
    pub admin_port: u16,
    /// Where admin is served over TLS, and the token that it asks for; on Kubernetes alone, where others share the network.
    pub secure_admin: Option<SecurePlacement>,
    /// Number of the node where all nodes have one address, so that each has ports of its own; 0 where each has an
    /// address.
    pub ordinal: u16,
    /// How the nodes reach and know each other: id, address, files of the certificate, and every node. A cluster of one
    /// node has it, too, so that it can grow without a restart.
    pub cluster: Cluster,
    /// Folder for what outlives the process.
    pub data_dir: PathBuf,
}

/// Where admin is served over TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct SecurePlacement {
    /// Its port.
    pub port: u16,
    /// Path of the certificate chain.
    pub certificate_file: PathBuf,
    /// Path of its key.
    pub key_file: PathBuf,
    /// What requests must bear.
    pub token: Confidential,
}

/// What [`render`] made.
#[derive(Clone, PartialEq)]
pub struct Rendered {
    /// Content by file name; flat, since the keys of a Secret are. `broker.yaml` is among them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The configuration in `broker.yaml`.
    pub config: Config,
}

/// Renders the files of a node. The same input gives the same bytes.
///
/// No name of a file is that of another: those of listeners and links begin and end differently, and between stands the
/// name of the object.
pub fn render(cluster: &ValidCluster, placement: &Placement) -> Rendered {
    let mut files = Files::default();
    let config = Config {
        hash: String::new(),
        cluster_name: cluster.name.clone(),
        node_name: placement.node_name.clone(),
        data_dir: placement.data_dir.clone(),
        listeners: cluster.listeners.iter().map(|listener| render_listener(listener, placement, &mut files)).collect(),
        admin: render_admin(placement, &mut files),
        authentication: render_authentication(cluster, &mut files),
        tuning: cluster.tuning.clone(),
        cluster: Some(placement.cluster.clone()),
        links: cluster.links.iter().map(|link| render_link(link, &mut files)).collect(),
    };
    sealed(files.0, config)
}

/// Puts the configuration among its files, with its hash over all of them.
fn sealed(mut files: BTreeMap<String, Vec<u8>>, config: Config) -> Rendered {
    files.insert(CONFIG_FILE.to_owned(), yaml(&config));
    let config = Config { hash: hash_of(&files), ..config };
    files.insert(CONFIG_FILE.to_owned(), yaml(&config));
    Rendered { files, config }
}

// === impl Rendered ===

impl Rendered {
    /// The same with paused links as they were.
    #[must_use]
    pub fn keeping(&self, kept: &KeptLinks) -> Self {
        let (mut files, mut config) = (self.files.clone(), Config { hash: String::new(), ..self.config.clone() });
        kept.replace(&mut config.links, &mut files);
        sealed(files, config)
    }

    /// The same with these nodes of the cluster being emptied.
    #[must_use]
    pub fn evacuating(&self, nodes: &[String]) -> Self {
        let mut config = Config { hash: String::new(), ..self.config.clone() };
        if let Some(cluster) = &mut config.cluster {
            cluster.evacuating = nodes.to_vec();
        }
        sealed(self.files.clone(), config)
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: BTreeMap<_, _> = self.files.iter().map(|(name, content)| (name, content.len())).collect();
        f.debug_struct("Rendered").field("files", &sizes).field("config", &self.config).finish()
    }
}

#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

// === impl Files ===

impl Files {
    fn put(&mut self, name: String, content: &Confidential) -> PathBuf {
        let path = PathBuf::from(&name);
        self.0.insert(name, content.reveal().to_owned());
        path
    }
}

fn render_admin(placement: &Placement, files: &mut Files) -> Admin {
    let secure = placement.secure_admin.as_ref().map(|secure| SecureAdmin {
        bind: SocketAddr::new(placement.bind, secure.port),
        certificate_file: secure.certificate_file.clone(),
        key_file: secure.key_file.clone(),
        token_file: files.put("admin.token".to_owned(), &secure.token),
    });
    Admin { bind: SocketAddr::new(placement.bind, placement.admin_port), secure }
}

fn render_listener(listener: &ValidListener, placement: &Placement, files: &mut Files) -> Listener {
    let ValidListener { name, protocol, port, max_connections, tls } = listener;
    let mut file = |end: &str, content: &Confidential| files.put(format!("listener-{name}.{end}"), content);
    let tls = tls.as_ref().map(|tls| ListenerTls {
        certificate_file: file("tls.crt", &tls.certificate),
        key_file: file("tls.key", &tls.key),
        client_ca_file: tls.clients.as_ref().map(|(ca, _)| file("client-ca.crt", ca)),
        client_certificate: tls.clients.as_ref().map(|(_, demand)| *demand).unwrap_or_default(),
    });
    Listener {
        name: name.clone(),
        protocol: *protocol,
        // Above the last port nothing is placed: `validate::shared_address` refuses it.
        bind: SocketAddr::new(placement.bind, port_of(*port, placement.ordinal).unwrap_or(*port)),
        max_connections: max_connections.unwrap_or(CONNECTIONS_MAX),
        tls,
    }
}

/// Connections of a listener that states no bound, as its field says.
const CONNECTIONS_MAX: u32 = 1_000_000;

fn render_authentication(cluster: &ValidCluster, files: &mut Files) -> Authentication {
    let anonymous = match cluster.spec.authentication.anonymous {
        AnonymousSpec::Refused => Anonymous::Refused,
        AnonymousSpec::Allowed => Anonymous::Allowed,
    };
    let users_file = cluster.users.as_ref().map(|users| {
        // Each name and password as a string of JSON, which YAML reads alike: no password looks like a number.
        let line = |text: &str| serde_json::Value::from(text).to_string();
        let password = |password: &Confidential| line(&String::from_utf8_lossy(password.reveal()));
        let lines: String =
            users.iter().map(|(user, secret)| format!("{}: {}\n", line(user), password(secret))).collect();
        // A comment alone would be no map.
        let lines = if lines.is_empty() { "{}\n" } else { &lines };
        let text = format!("# User names with their passwords or hashes, from the Secret of users.\n{lines}");
        files.put(USERS_FILE.to_owned(), &Confidential::new(text))
    });
    Authentication { anonymous, users_file }
}

fn render_link(link: &ValidLink, files: &mut Files) -> Link {
    let ValidLink {
        name,
        remote_cluster,
        remote_cluster_id,
        enabled,
        dial,
        accept_users,
        accept_own,
        accept_any_user,
        receive,
        send,
        max_hops,
        spool,
    } = link;
    let mut users = accept_users.clone();
    let mut password_files = BTreeMap::new();
    if let Some((user, password)) = accept_own {
        if !users.contains(user) {
            users.push(user.clone());
        }
        password_files.insert(user.clone(), files.put(format!("link-{name}.password"), password));
    }
    Link {
        name: name.clone(),
        remote_cluster: remote_cluster.clone(),
        remote_cluster_id: remote_cluster_id.clone(),
        enabled: *enabled,
        dial: dial.as_ref().map(|dial| render_dial(name, dial, files)),
        accept: Accept { users, password_files, any_user: *accept_any_user },
        receive: receive.clone(),
        send: send.clone(),
        max_hops: *max_hops,
        spool: spool.clone(),
    }
}

fn render_dial(link: &str, dial: &ValidDial, files: &mut Files) -> Dial {
    let ValidDial { servers, client_id_prefix, username, password, tls, keep_alive, max_inflight, retry_interval } =
        dial;
    let mut file = |end: &str, content: &Confidential| files.put(format!("link-{link}.{end}"), content);
    let tls = tls.as_ref().map(|tls| DialTls {
        ca_file: tls.ca.as_ref().map(|ca| file("ca.crt", ca)),
        certificate_file: tls.identity.as_ref().map(|(certificate, _)| file("tls.crt", certificate)),
        key_file: tls.identity.as_ref().map(|(_, key)| file("tls.key", key)),
        server_name: tls.server_name.clone(),
    });
    Dial {
        username_file: Some(file("username", &Confidential::new(username.as_str()))),
        password_file: Some(file("password", password)),
        servers: servers.clone(),
        client_id_prefix: client_id_prefix.clone(),
        tls,
        keep_alive: keep_alive.unwrap_or(tombolo_broker_api::Seconds(15)),
        max_inflight: max_inflight.unwrap_or(32),
        retry_interval: retry_interval.unwrap_or(tombolo_broker_api::Seconds(10)),
    }
}

fn yaml(config: &Config) -> Vec<u8> {
    let yaml = serde_saphyr::to_string(config).expect("a configuration holds only what YAML can write");
    format!("# Rendered from a BrokerCluster and its links; changes here are lost.\n{yaml}").into_bytes()
}

/// The begin of a SHA-256 over the name, length and content of each file.
fn hash_of(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    let mut digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(HASH_DIGITS);
    digits
}
