//! What the nodes of a cluster must fulfil: pure checks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use tombolo_broker_api::{Cluster, Config};

use super::validate::not_a_name;
use super::{Problem, Problems, Server};

/// Nodes of a cluster: each keeps a connection with each other one.
const NODES_MAX: usize = 64;
/// Longest id of a cluster, in bytes: the greeting has one byte for its length.
const ID_BYTES_MAX: usize = 255;

/// Whether the cluster of a configuration has its node, by the name that `--node` may have put into it after it was
/// loaded.
///
/// # Errors
/// The name is no name, or is not among `cluster.nodes`. `file` is where the configuration came from.
pub fn check_node(file: &Path, config: &Config) -> Result<(), Problems> {
    let name = &config.node_name;
    let stranger = config.cluster.as_ref().filter(|cluster| !cluster.nodes.iter().any(|node| node.name == *name));
    let message = match (not_a_name(name), stranger) {
        (Some(message), _) => message,
        (None, Some(cluster)) => {
            let names: Vec<_> = cluster.nodes.iter().map(|node| &*node.name).collect();
            format!("`{name}` is not among cluster.nodes ({}); add it there, or start another node", names.join(", "))
        }
        (None, None) => return Ok(()),
    };
    Err(Problems(vec![Problem { file: file.to_owned(), position: None, field: "nodeName".to_owned(), message }]))
}

/// Field and message of everything that is wrong with `cluster`, whichever of its nodes this is.
pub(super) fn problems(cluster: &Cluster, config: &Config) -> Vec<(String, String)> {
    let Cluster { id, bind, certificate_file: _, key_file: _, ca_file: _, nodes, evacuating } = cluster;
    let mut found = Vec::new();
    let mut report = |field: &str, message: String| found.push((field.to_owned(), message));
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        report("cluster.id", format!("it must have 1 to {ID_BYTES_MAX} bytes and no control characters"));
    }
    if bind.port() == 0 {
        report("cluster.bind", "port 0 can't be dialled by others; choose one, such as 7883".to_owned());
    } else if let Some(who) = taken_by(*bind, config) {
        report("cluster.bind", format!("{bind} is taken by {who}; choose another port"));
    }
    if nodes.is_empty() || nodes.len() > NODES_MAX {
        report("cluster.nodes", format!("there are {}; a cluster has 1 to {NODES_MAX} nodes", nodes.len()));
    }
    let (mut names, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for (place, node) in nodes.iter().enumerate() {
        let at = format!("cluster.nodes[{place}]");
        if let Some(message) = not_a_name(&node.name) {
            report(&format!("{at}.name"), message);
        }
        if names.insert(&node.name, place).is_some() {
            report(&format!("{at}.name"), format!("`{}` is there already; each may occur once", node.name));
        }
        match Server::peer(&node.address) {
            Err(error) => report(&format!("{at}.address"), error.to_string()),
            Ok(server) => {
                if let Some(other) = addresses.insert((server.host.to_ascii_lowercase(), server.port), &node.name) {
                    let message =
                        format!("`{}` is the address of `{other}`, too; give each node its own", node.address);
                    report(&format!("{at}.address"), message);
                }
            }
        }
    }
    for (place, name) in evacuating.iter().enumerate() {
        if !names.contains_key(name) {
            let message = format!("`{name}` is not among cluster.nodes; only a node of the cluster can be emptied");
            report(&format!("cluster.evacuating[{place}]"), message);
        }
    }
    found
}

/// Who else of the configuration has an address, or all addresses with its port.
fn taken_by(bind: SocketAddr, config: &Config) -> Option<String> {
    let overlap = |other: SocketAddr| {
        other.port() == bind.port()
            && (other.ip() == bind.ip() || other.ip().is_unspecified() || bind.ip().is_unspecified())
    };
    let listener = config.listeners.iter().find(|listener| overlap(listener.bind));
    let listener = listener.map(|listener| format!("listener `{}`", listener.name));
    listener.or_else(|| overlap(config.admin.bind).then(|| "admin".to_owned()))
}
