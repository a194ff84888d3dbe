//! Clusters that are to run on one address, as in local mode: which ports their nodes take, and which two of them want.

use std::collections::BTreeMap;

use super::problem::Report;
use super::{BROKER_CLUSTER, ObjectRef, Problem, ValidCluster};
use tombolo_crds::reasons;

/// Where a node, counted from 0, has a listener when all nodes have one address: at the port of the manifest plus its
/// number. None if there is no such port.
pub fn port_of(port: u16, ordinal: u16) -> Option<u16> {
    port.checked_add(ordinal)
}

/// Who has a port.
struct Holder<'a> {
    cluster: &'a ValidCluster,
    node: String,
    listener: &'a str,
}

/// Problems of clusters whose nodes all run on one address: ports that two listeners want, of one cluster or of two, and
/// ports above the last.
pub fn shared_address(clusters: &[ValidCluster]) -> Vec<Problem> {
    let mut taken: BTreeMap<u16, Holder> = BTreeMap::new();
    let mut found = Vec::new();
    for cluster in clusters {
        let object =
            ObjectRef { kind: BROKER_CLUSTER, namespace: cluster.namespace.clone(), name: cluster.name.clone() };
        let mut report = Report::new(&object);
        for listener in &cluster.listeners {
            let place = cluster.spec.listeners.iter().position(|spec| spec.name == listener.name).unwrap_or(0);
            let field = format!("spec.listeners[{place}].port");
            for ordinal in 0..cluster.nodes() {
                let node = cluster.node(ordinal);
                let Some(port) = port_of(listener.port, ordinal) else {
                    let message = format!(
                        "there is none for node {node}: on one address node i listens on port + i, and 65535 is the \
                         last; choose a lower one"
                    );
                    report.problem(field, reasons::PORT_TAKEN, message);
                    break;
                };
                let holder = Holder { cluster, node, listener: &listener.name };
                match taken.get(&port) {
                    None => _ = taken.insert(port, holder),
                    Some(other) => {
                        // What is wrong with one node is wrong with those behind it.
                        report.problem(field, reasons::PORT_TAKEN, clash(port, &holder, other));
                        break;
                    }
                }
            }
        }
        found.extend(report.problems);
    }
    found
}

fn clash(port: u16, one: &Holder, other: &Holder) -> String {
    if (one.cluster.nodes(), other.cluster.nodes()) == (1, 1) {
        let name = &other.cluster.name;
        return format!("port {port} is that of cluster `{name}`, too, and both run on one address; choose another");
    }
    format!(
        "port {port} of node {} is that of listener `{}` of node {}, too: on one address node i listens on port + i; \
         choose ports that are at least {} apart",
        one.node,
        other.listener,
        other.node,
        one.cluster.nodes().max(other.cluster.nodes())
    )
}
