//! What is shown of running nodes: their status beside where they were put.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tombolo_broker_api::{LinkState, LinkStatus, PeerStatus, Status};

/// A running node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Namespace of its cluster.
    pub namespace: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
    /// Where its admin listener is: `127.0.0.1:40123`.
    pub admin: String,
    /// Process that it runs in.
    pub pid: u32,
    /// What it says about itself; none if it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// How much is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Clusters.
    pub clusters: usize,
    /// Nodes of all of them.
    pub nodes: usize,
    /// Links that are enabled, counted at each side.
    pub links: usize,
    /// Every listener listens, every node is ready with all others of its cluster, and every enabled link is ready.
    pub ready: bool,
}

/// Whose the things of a node are, for people: those of its cluster while it is the only node, else its own.
pub fn owner<'v>(views: &[View], view: &'v View) -> &'v str {
    let siblings = views.iter().filter(|other| other.is_sibling_of(view)).count();
    if siblings > 1 { &view.node } else { &view.cluster }
}

// === impl View ===

impl View {
    /// Whether both are of one cluster, or the same.
    fn is_sibling_of(&self, other: &Self) -> bool {
        (&self.namespace, &self.cluster) == (&other.namespace, &other.cluster)
    }
}

// === impl Readiness ===

impl Readiness {
    /// Of these nodes together; `link_ready` judges an enabled link, `peer_ready` another node as one sees it.
    ///
    /// A link of a cluster is ready when it is at each of its nodes; one that has no connection of its own goes by way of
    /// another.
    pub fn of(
        views: &[View],
        link_ready: impl Fn(&View, &LinkStatus) -> bool,
        peer_ready: impl Fn(&View, &PeerStatus) -> bool,
    ) -> Self {
        let mut ready = !views.is_empty();
        let mut links: BTreeMap<_, bool> = BTreeMap::new();
        for view in views {
            let Some(status) = &view.status else {
                ready = false;
                continue;
            };
            ready &= status.listeners.iter().all(|listener| listener.error.is_none());
            let others = views.iter().filter(|other| other.is_sibling_of(view)).count() - 1;
            ready &= status.peers.len() >= others && status.peers.iter().all(|peer| peer_ready(view, peer));
            for link in status.links.iter().filter(|link| link.state != LinkState::Disabled) {
                *links.entry((&view.namespace, &view.cluster, &link.name)).or_insert(true) &= link_ready(view, link);
            }
        }
        let clusters: BTreeSet<_> = views.iter().map(|view| (&view.namespace, &view.cluster)).collect();
        ready &= links.values().all(|ready| *ready);
        Self { clusters: clusters.len(), nodes: views.len(), links: links.len(), ready }
    }
}

impl std::fmt::Display for Readiness {
    /// `2 clusters, 1 links`, and where they are of several nodes `2 clusters of 6 nodes, 1 links`: always the plural, as
    /// scripts wait for this text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} clusters", self.clusters)?;
        if self.nodes > self.clusters {
            write!(f, " of {} nodes", self.nodes)?;
        }
        write!(f, ", {} links", self.links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, peers: &[bool], links: &[bool]) -> View {
        let peer = |ready: &bool| PeerStatus { ready: *ready, ..PeerStatus::default() };
        let link = |ready: &bool| LinkStatus { ready: *ready, ..LinkStatus::default() };
        let (peers, links) = (peers.iter().map(peer).collect(), links.iter().map(link).collect());
        let status = Status { peers, links, ..Status::default() };
        View { cluster: "edge".into(), node: name.into(), status: Some(status), ..View::default() }
    }

    #[test]
    fn a_cluster_is_ready_when_every_node_is_with_every_other_and_with_every_remote() {
        let all = [true, true];
        for (what, views, ready) in [
            ("nothing", vec![], false),
            ("one node alone", vec![node("0", &[], &[])], true),
            ("a link that is not ready", vec![node("0", &[], &[false])], false),
            ("nodes that know nothing of each other", vec![node("0", &[], &[]), node("1", &[], &[])], false),
            ("nodes with each other", vec![node("0", &[true], &[]), node("1", &[true], &[])], true),
            (
                "a node that lacks one",
                vec![node("0", &all, &[]), node("1", &[true, false], &[]), node("2", &all, &[])],
                false,
            ),
            ("a link at one of two nodes", vec![node("0", &[true], &[true]), node("1", &[true], &[false])], false),
            ("a link at both", vec![node("0", &[true], &[true]), node("1", &[true], &[true])], true),
            (
                "a node that does not answer",
                vec![node("0", &[true], &[]), View { status: None, ..node("1", &[], &[]) }],
                false,
            ),
        ] {
            assert_eq!(Readiness::of(&views, |_, link| link.ready, |_, peer| peer.ready).ready, ready, "{what}");
        }
    }

    #[test]
    fn nodes_are_told_where_a_cluster_has_several_and_a_link_counts_once() {
        let text = |views: &[View]| Readiness::of(views, |_, _| true, |_, _| true).to_string();
        assert_eq!(text(&[node("0", &[], &[true])]), "1 clusters, 1 links");
        assert_eq!(text(&[node("0", &[true], &[true]), node("1", &[true], &[true])]), "1 clusters of 2 nodes, 1 links");
    }
}
