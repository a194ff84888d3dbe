//! The nodes of a cluster on this machine: each with its folder, its ports and what is rendered for it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use tombolo_broker_api::{Cluster, ClusterNode};
use tombolo_operator::plan::config::{Placement, Rendered, render};
use tombolo_operator::validate::{ValidCluster, port_of};

use super::kept::{CertificateFiles, Kept};
use crate::data_dir::DataDir;
use crate::ports;

/// Namespace and name of a node.
pub type Key = (String, String);

/// A node as it should be.
pub struct Planned {
    /// Namespace of its cluster.
    pub namespace: String,
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub node: String,
    /// Its files.
    pub rendered: Rendered,
    /// Its folder: `config` and `data` stand below it.
    pub folder: PathBuf,
}

/// Ports on which nodes reach each other: found once for each, and kept while it is planned.
#[derive(Debug, Default)]
pub struct ClusterPorts(BTreeMap<Key, u16>);

// === impl ClusterPorts ===

impl ClusterPorts {
    /// Gives each node of these clusters a port that nobody has and that no listener is to have; forgets those of others.
    ///
    /// # Errors
    /// None is free.
    pub fn assign(&mut self, clusters: &[ValidCluster], bind: IpAddr) -> Result<()> {
        let wanted: BTreeSet<Key> = clusters.iter().flat_map(nodes).map(|(key, _)| key).collect();
        self.0.retain(|key, _| wanted.contains(key));
        let mut taken: BTreeSet<u16> = self.0.values().copied().collect();
        taken.extend(clusters.iter().flat_map(|cluster| listeners(cluster).map(|(_, _, port)| port)));
        for key in wanted {
            if let Entry::Vacant(place) = self.0.entry(key) {
                let port = ports::free(among_nodes(bind), &taken)
                    .with_context(|| format!("{}: no port is free for the nodes of its cluster", place.key().1))?;
                taken.insert(port);
                place.insert(port);
            }
        }
        Ok(())
    }

    fn of(&self, key: &Key) -> u16 {
        self.0.get(key).copied().unwrap_or_default()
    }
}

/// The nodes of a cluster, with their numbers.
pub fn nodes(cluster: &ValidCluster) -> impl Iterator<Item = (Key, u16)> {
    (0..cluster.nodes()).map(|ordinal| ((cluster.namespace.clone(), cluster.node(ordinal)), ordinal))
}

/// Every listener of every node of a cluster: number of the node, place of the listener in the manifest, port.
pub fn listeners(cluster: &ValidCluster) -> impl Iterator<Item = (u16, usize, u16)> {
    (0..cluster.nodes()).flat_map(move |ordinal| {
        let ports = cluster.listeners.iter().enumerate();
        ports.filter_map(move |(at, listener)| Some((ordinal, at, port_of(listener.port, ordinal)?)))
    })
}

/// Plans the nodes of a cluster, and makes what it keeps.
///
/// # Errors
/// What is kept cannot be made.
pub fn plan(cluster: &ValidCluster, data_dir: &DataDir, bind: IpAddr, ports: &ClusterPorts) -> Result<Vec<Planned>> {
    let ValidCluster { namespace, name, .. } = cluster;
    let nodes: Vec<_> = nodes(cluster).collect();
    let Some((first, _)) = nodes.first() else { return Ok(Vec::new()) };
    let names: Vec<String> = nodes.iter().map(|((_, node), _)| node.clone()).collect();
    let first_data = data_dir.node(namespace, &first.1).join("data");
    let folder = data_dir.cluster(namespace, name);
    let kept = Kept::open(&folder, &names, cluster.internode_tls.as_ref(), &first_data)?;
    let address = |key: &Key| SocketAddr::new(among_nodes(bind), ports.of(key));
    let members: Vec<_> =
        nodes.iter().map(|(key, _)| ClusterNode { name: key.1.clone(), address: address(key).to_string() }).collect();
    let planned = nodes.into_iter().map(|(key, ordinal)| {
        let folder = data_dir.node(namespace, &key.1);
        let CertificateFiles { certificate, key: key_file, ca } = kept.files(&key.1);
        let placement = Placement {
            node_name: key.1.clone(),
            bind,
            admin_port: 0,
            secure_admin: None,
            ordinal,
            cluster: Cluster {
                id: kept.id.clone(),
                bind: address(&key),
                certificate_file: certificate,
                key_file,
                ca_file: ca,
                nodes: members.clone(),
                evacuating: Vec::new(),
            },
            data_dir: folder.join("data"),
        };
        let rendered = render(cluster, &placement);
        Planned { namespace: namespace.clone(), cluster: name.clone(), node: key.1, rendered, folder }
    });
    Ok(planned.collect())
}

/// Where nodes reach each other when their listeners are on `bind`: nobody else needs to, and all addresses are none to
/// dial.
pub fn among_nodes(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => bind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;
    use crate::source::Source;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn clusters(port: u16, replicas: u16) -> Vec<ValidCluster> {
        let text = format!(
            "apiVersion: tombolo.dev/v1alpha1\nkind: BrokerCluster\nmetadata: {{name: edge}}\nspec: {{replicas: \
             {replicas}, listeners: [{{name: mqtt, protocol: MQTT, port: {port}}}]}}\n"
        );
        check(&[Source { file: "a.yaml".into(), text }], &[]).expect("no mistake").clusters
    }

    #[test]
    fn a_node_keeps_its_port_while_it_is_planned_and_no_listener_is_to_have_it() {
        let mut ports = ClusterPorts::default();
        ports.assign(&clusters(1883, 2), LOOPBACK).expect("ports are free");
        let before = ports.0.clone();
        // Listeners that take the ports that would be next.
        let next = before.values().max().expect("two ports") + 1;
        ports.assign(&clusters(next, 4), LOOPBACK).expect("ports are free");
        assert_eq!(ports.0.len(), 4);
        assert!(before.iter().all(|(key, port)| ports.of(key) == *port), "{before:?}, then {ports:?}");
        assert!(ports.0.values().all(|port| !(next..next + 4).contains(port)), "{ports:?} without {next} to +3");
        let distinct: BTreeSet<_> = ports.0.values().collect();
        assert_eq!(distinct.len(), 4);
        ports.assign(&clusters(1883, 1), LOOPBACK).expect("nothing to find");
        assert_eq!(ports.0.len(), 1);
    }

    #[test]
    fn all_nodes_are_told_the_same_of_each_other_and_each_has_its_own_ports_and_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data_dir = DataDir::open(folder.path()).expect("free");
        let clusters = clusters(1883, 3);
        let mut ports = ClusterPorts::default();
        ports.assign(&clusters, LOOPBACK).expect("ports are free");
        let all = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let planned = plan(&clusters[0], &data_dir, all, &ports).expect("planned");
        let first = planned[0].rendered.config.cluster.clone().expect("nodes");
        for (ordinal, plan) in (0_u16..).zip(&planned) {
            let config = &plan.rendered.config;
            let cluster = config.cluster.as_ref().expect("nodes");
            assert_eq!((&cluster.id, &cluster.nodes, &cluster.ca_file), (&first.id, &first.nodes, &first.ca_file));
            let own = &cluster.nodes[usize::from(ordinal)];
            assert_eq!((&own.name, &own.address), (&plan.node, &cluster.bind.to_string()));
            assert!(cluster.bind.ip().is_loopback(), "{}", cluster.bind);
            assert_eq!(config.listeners[0].bind, SocketAddr::new(all, 1883 + ordinal));
            assert!(config.data_dir.starts_with(&plan.folder) && cluster.certificate_file.exists());
        }
        assert_eq!(planned.len(), 3);
        let folders: BTreeSet<_> = planned.iter().map(|plan| &plan.folder).collect();
        assert_eq!(folders.len(), 3);
    }
}
