//! What changed between two looks at the nodes, a line each.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_broker_api::{LinkError, LinkState, LinkStatus, PeerState, PeerStatus, Status};

use crate::table::millis;
use crate::view::{Readiness, View, owner};

/// What was seen last, and which links and peers have been ready since they connected.
///
/// A link whose clients subscribe is briefly out of step with the other side, and so are two nodes. That is their daily
/// life, and nobody is told: a link is lost when its connection is.
#[derive(Default)]
pub struct Follow {
    views: Vec<View>,
    /// What each node said last.
    said: BTreeMap<NodeKey, Status>,
    links: BTreeSet<(NodeKey, String)>,
    peers: BTreeSet<(NodeKey, String)>,
}

/// Namespace and name of a node.
type NodeKey = (String, String);

// === impl Follow ===

impl Follow {
    /// Takes what is seen now; the lines to print, in the order of the nodes.
    pub fn changes(&mut self, now: &[View]) -> Vec<String> {
        let mut lines = Vec::new();
        let before = std::mem::replace(&mut self.views, now.to_vec());
        for gone in before.iter().map(key).filter(|gone| now.iter().all(|view| key(view) != *gone)) {
            self.forget(&gone);
            self.said.remove(&gone);
        }
        for view in now {
            let Some(after) = &view.status else {
                // What it said before still holds, but for whom it reaches.
                self.forget(&key(view));
                let answered = |before: &View| key(before) == key(view) && before.status.is_some();
                if before.iter().any(answered) {
                    lines.push(format!("{} does not answer", view.node));
                }
                continue;
            };
            let owner = owner(now, view);
            let said = self.said.insert(key(view), after.clone()).unwrap_or_default();
            listeners(owner, &said, after, &mut lines);
            configuration(view, &said, after, &mut lines);
            for peer in &after.peers {
                let before = said.peers.iter().find(|other| other.node == peer.node);
                let change = self.peer_change((key(view), peer.node.clone()), before, peer);
                lines.extend(change.map(|what| format!("peer {}/{}: {what}", view.node, peer.node)));
            }
            for peer in said.peers.iter().filter(|peer| !after.peers.iter().any(|other| other.node == peer.node)) {
                self.peers.remove(&(key(view), peer.node.clone()));
                lines.push(format!("peer {}/{}: removed", view.node, peer.node));
            }
            for link in &after.links {
                let before = said.links.iter().find(|other| other.name == link.name);
                let change = self.link_change((key(view), link.name.clone()), before, link);
                lines.extend(change.map(|what| format!("link {owner}/{}: {what}", link.name)));
            }
            for link in said.links.iter().filter(|link| !after.links.iter().any(|other| other.name == link.name)) {
                self.links.remove(&(key(view), link.name.clone()));
                lines.push(format!("link {owner}/{}: removed", link.name));
            }
        }
        lines
    }

    /// How much is in service, by what was seen last.
    pub fn readiness(&self) -> Readiness {
        let link_ready = |view: &View, link: &LinkStatus| self.links.contains(&(key(view), link.name.clone()));
        let peer_ready = |view: &View, peer: &PeerStatus| self.peers.contains(&(key(view), peer.node.clone()));
        Readiness::of(&self.views, link_ready, peer_ready)
    }

    /// A node is not known to reach anybody any more.
    fn forget(&mut self, node: &NodeKey) {
        self.links.retain(|(of, _)| of != node);
        self.peers.retain(|(of, _)| of != node);
    }

    fn peer_change(
        &mut self,
        key: (NodeKey, String),
        before: Option<&PeerStatus>,
        after: &PeerStatus,
    ) -> Option<String> {
        if after.ready {
            let round_trip = after.round_trip_micros.map(|micros| format!(", round trip {}", millis(micros)));
            return self.peers.insert(key).then(|| format!("ready{}", round_trip.unwrap_or_default()));
        }
        let why = told(&after.last_error);
        let what = match after.state {
            PeerState::Connected => return None,
            // What was never reached may still be about to start.
            PeerState::Unreachable if self.peers.remove(&key) => "lost",
            PeerState::Unreachable => return None,
            PeerState::Suspended => {
                self.peers.remove(&key);
                let already = before.filter(|before| before.state == PeerState::Suspended);
                if already.is_some_and(|before| told(&before.last_error) == why) {
                    return None;
                }
                "suspended"
            }
        };
        Some(why.map_or_else(|| what.to_owned(), |why| format!("{what}: {why}")))
    }

    fn link_change(
        &mut self,
        key: (NodeKey, String),
        before: Option<&LinkStatus>,
        after: &LinkStatus,
    ) -> Option<String> {
        let why = told(&after.last_error);
        if after.ready {
            let round_trip = after.round_trip_micros.map(|micros| format!(", round trip {}", millis(micros)));
            let text = || format!("ready with {}{}", after.remote_cluster, round_trip.unwrap_or_default());
            return self.links.insert(key).then(text);
        }
        match after.state {
            LinkState::Connected if self.links.contains(&key) => return None,
            LinkState::Disabled => {
                self.links.remove(&key);
                let already = before.is_some_and(|before| before.state == LinkState::Disabled);
                return (!already).then(|| "disabled".to_owned());
            }
            LinkState::Disconnected | LinkState::Handshaking | LinkState::Connected => {}
        }
        if self.links.remove(&key) {
            return Some(format!(
                "lost {}{}",
                after.remote_cluster,
                why.map(|why| format!(": {why}")).unwrap_or_default()
            ));
        }
        if before.and_then(|link| told(&link.last_error)) != why {
            return why;
        }
        let state_before = before.map(|before| before.state);
        match (state_before, after.state) {
            (before, LinkState::Connected) if before != Some(LinkState::Connected) => {
                Some(format!("connected with {}", after.remote_cluster))
            }
            (Some(LinkState::Disabled), _) => Some("enabled".to_owned()),
            _ => None,
        }
    }
}

fn key(view: &View) -> NodeKey {
    (view.namespace.clone(), view.node.clone())
}

fn told(error: &Option<LinkError>) -> Option<String> {
    error.as_ref().map(|error| format!("{}: {}", error.reason, error.message))
}

fn listeners(owner: &str, before: &Status, after: &Status, lines: &mut Vec<String>) {
    for listener in after.listeners.iter().filter(|listener| {
        !before.listeners.iter().any(|other| {
            (&other.name, &other.address, &other.error) == (&listener.name, &listener.address, &listener.error)
        })
    }) {
        lines.push(match &listener.error {
            None => format!("listening: {owner} {} on {}", listener.name, listener.address),
            Some(error) => format!("not listening: {owner} {}: {error}", listener.name),
        });
    }
}

fn configuration(view: &View, before: &Status, after: &Status, lines: &mut Vec<String>) {
    // The first configuration is part of starting.
    if after.config_hash != before.config_hash && !before.config_hash.is_empty() {
        lines.push(format!("configuration applied: {}", view.node));
    }
    match &after.config_error {
        Some(error) if before.config_error.as_ref() != Some(error) => {
            lines.push(format!("configuration refused: {}: {error}; the one before goes on", view.node));
        }
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use tombolo_broker_api::ListenerStatus;

    use super::*;

    fn view(hash: &str, link: Option<LinkStatus>) -> View {
        let listener = ListenerStatus { name: "mqtt".into(), address: "127.0.0.1:1883".into(), ..Default::default() };
        let status = Status {
            config_hash: hash.into(),
            listeners: vec![listener],
            links: link.into_iter().collect(),
            ..Status::default()
        };
        View { cluster: "edge".into(), node: "edge-0".into(), status: Some(status), ..View::default() }
    }

    fn link(state: LinkState, ready: bool, error: Option<&str>) -> Option<LinkStatus> {
        let last_error = error.map(|message| LinkError {
            reason: "RemoteUnreachable".into(),
            message: message.into(),
            unix_seconds: 0,
        });
        let (name, remote_cluster) = ("to-cloud".into(), "cloud".into());
        Some(LinkStatus { name, remote_cluster, state, ready, last_error, ..LinkStatus::default() })
    }

    #[test]
    fn each_change_is_told_once() {
        use LinkState::{Connected, Disabled, Disconnected};
        let steps: [(View, &[&str]); 11] = [
            (view("1", None), &["listening: edge mqtt on 127.0.0.1:1883"]),
            (view("2", link(Disconnected, false, None)), &["configuration applied: edge-0"]),
            (
                view("2", link(Disconnected, false, Some("refused"))),
                &["link edge/to-cloud: RemoteUnreachable: refused"],
            ),
            (view("2", link(Disconnected, false, Some("refused"))), &[]),
            (view("2", link(Connected, false, Some("refused"))), &["link edge/to-cloud: connected with cloud"]),
            (view("2", link(Connected, true, Some("refused"))), &["link edge/to-cloud: ready with cloud"]),
            (view("2", link(Connected, false, Some("refused"))), &[]),
            (view("2", link(Connected, true, Some("refused"))), &[]),
            (
                view("2", link(Disconnected, false, Some("reset"))),
                &["link edge/to-cloud: lost cloud: RemoteUnreachable: reset"],
            ),
            (view("2", link(Disabled, false, Some("reset"))), &["link edge/to-cloud: disabled"]),
            (view("2", None), &["link edge/to-cloud: removed"]),
        ];
        let mut follow = Follow::default();
        for (at, (after, expected)) in steps.into_iter().enumerate() {
            assert_eq!(follow.changes(&[after]), expected, "step {at}");
        }
    }

    #[test]
    fn a_refused_configuration_is_told_with_its_reason() {
        let mut follow = Follow::default();
        let mut view = view("1", None);
        follow.changes(std::slice::from_ref(&view));
        view.status.as_mut().expect("set above").config_error = Some("no such file".into());
        let told = ["configuration refused: edge-0: no such file; the one before goes on"];
        assert_eq!(follow.changes(std::slice::from_ref(&view)), told);
        assert!(follow.changes(&[view]).is_empty());
    }

    #[test]
    fn everything_is_ready_while_each_enabled_link_has_been_since_it_connected() {
        use LinkState::{Connected, Disabled, Disconnected};
        let mut follow = Follow::default();
        for (state, ready, links, expected) in [
            (Disconnected, false, 1, false),
            (Connected, false, 1, false),
            (Connected, true, 1, true),
            (Connected, false, 1, true),
            (Disconnected, false, 1, false),
            (Connected, false, 1, false),
            (Disabled, false, 0, true),
        ] {
            follow.changes(&[view("1", link(state, ready, None))]);
            assert_eq!(
                follow.readiness(),
                Readiness { clusters: 1, nodes: 1, links, ready: expected },
                "{state:?} {ready}"
            );
        }
    }

    #[test]
    fn what_becomes_of_another_node_is_told_once() {
        use PeerState::{Connected, Suspended, Unreachable};
        let error = LinkError { reason: "RemoteUnreachable".into(), message: "refused".into(), unix_seconds: 0 };
        let other = LinkError { reason: "TlsFailed".into(), ..error.clone() };
        let mut follow = Follow::default();
        let mut tell = |state, ready, error: Option<&LinkError>| {
            let peer =
                PeerStatus { node: "edge-1".into(), state, ready, last_error: error.cloned(), ..Default::default() };
            let status = Status { peers: vec![peer], ..Status::default() };
            let view = View { cluster: "edge".into(), node: "edge-0".into(), status: Some(status), ..View::default() };
            follow.changes(&[view]).join("|")
        };
        for (at, (state, ready, error, expected)) in [
            (Unreachable, false, None, ""),
            (Unreachable, false, Some(&error), ""),
            (Connected, false, Some(&error), ""),
            (Connected, true, None, "peer edge-0/edge-1: ready"),
            (Connected, false, None, ""),
            (Connected, true, None, ""),
            (Unreachable, false, Some(&error), "peer edge-0/edge-1: lost: RemoteUnreachable: refused"),
            (Suspended, false, Some(&error), "peer edge-0/edge-1: suspended: RemoteUnreachable: refused"),
            (Suspended, false, Some(&error), ""),
            (Suspended, false, Some(&other), "peer edge-0/edge-1: suspended: TlsFailed: refused"),
            (Connected, true, None, "peer edge-0/edge-1: ready"),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(tell(state, ready, error), expected, "step {at}");
        }
    }

    #[test]
    fn a_node_that_does_not_answer_is_told_and_what_it_listens_on_not_told_again() {
        let mut follow = Follow::default();
        let there = view("1", link(LinkState::Connected, true, None));
        assert_eq!(follow.changes(std::slice::from_ref(&there)).len(), 2);
        let silent = View { status: None, ..there.clone() };
        assert_eq!(follow.changes(std::slice::from_ref(&silent)), ["edge-0 does not answer"]);
        assert!(follow.changes(&[silent]).is_empty() && !follow.readiness().ready);
        assert_eq!(follow.changes(&[there]), ["link edge/to-cloud: ready with cloud"]);
        assert!(follow.readiness().ready);
    }
}
