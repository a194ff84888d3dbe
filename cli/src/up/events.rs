//! What changed between two looks at the nodes, a line each.

use std::collections::BTreeSet;

use tombolo_broker_api::{LinkState, LinkStatus, Status};

use crate::table::millis;
use crate::view::{Readiness, View};

/// What was seen last, and which links have been ready since they connected.
///
/// A link whose clients subscribe is briefly out of step with the other side. That is its daily life, and nobody is
/// told: a link is lost when its connection is.
#[derive(Default)]
pub struct Follow {
    views: Vec<View>,
    ready: BTreeSet<LinkKey>,
}

/// Namespace, node and name of a link.
type LinkKey = (String, String, String);

// === impl Follow ===

impl Follow {
    /// Takes what is seen now; the lines to print, in the order of the nodes.
    pub fn changes(&mut self, now: &[View]) -> Vec<String> {
        let nothing = Status::default();
        let mut lines = Vec::new();
        let before = std::mem::replace(&mut self.views, now.to_vec());
        for view in now {
            let Some(after) = &view.status else { continue };
            let same = |other: &&View| (&other.namespace, &other.node) == (&view.namespace, &view.node);
            let before = before.iter().find(same).and_then(|view| view.status.as_ref()).unwrap_or(&nothing);
            listeners(view, before, after, &mut lines);
            configuration(view, before, after, &mut lines);
            for link in &after.links {
                let before = before.links.iter().find(|other| other.name == link.name);
                let change = self.link_change(key(view, link), before, link);
                lines.extend(change.map(|what| format!("link {}/{}: {what}", view.cluster, link.name)));
            }
            for link in before.links.iter().filter(|link| !after.links.iter().any(|other| other.name == link.name)) {
                self.ready.remove(&key(view, link));
                lines.push(format!("link {}/{}: removed", view.cluster, link.name));
            }
        }
        lines
    }

    /// How much is in service, by what was seen last.
    pub fn readiness(&self) -> Readiness {
        Readiness::of(&self.views, |view, link| self.ready.contains(&key(view, link)))
    }

    fn link_change(&mut self, key: LinkKey, before: Option<&LinkStatus>, after: &LinkStatus) -> Option<String> {
        let why = after.last_error.as_ref().map(|error| format!("{}: {}", error.reason, error.message));
        if after.ready {
            let round_trip = after.round_trip_micros.map(|micros| format!(", round trip {}", millis(micros)));
            let text = || format!("ready with {}{}", after.remote_cluster, round_trip.unwrap_or_default());
            return self.ready.insert(key).then(text);
        }
        match after.state {
            LinkState::Connected if self.ready.contains(&key) => return None,
            LinkState::Disabled => {
                self.ready.remove(&key);
                let already = before.is_some_and(|before| before.state == LinkState::Disabled);
                return (!already).then(|| "disabled".to_owned());
            }
            LinkState::Disconnected | LinkState::Handshaking | LinkState::Connected => {}
        }
        if self.ready.remove(&key) {
            return Some(format!(
                "lost {}{}",
                after.remote_cluster,
                why.map(|why| format!(": {why}")).unwrap_or_default()
            ));
        }
        let told = |link: &LinkStatus| link.last_error.clone().map(|error| (error.reason, error.message));
        if before.and_then(told) != told(after) {
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

fn key(view: &View, link: &LinkStatus) -> LinkKey {
    (view.namespace.clone(), view.node.clone(), link.name.clone())
}

fn listeners(view: &View, before: &Status, after: &Status, lines: &mut Vec<String>) {
    for listener in after.listeners.iter().filter(|listener| {
        !before.listeners.iter().any(|other| {
            (&other.name, &other.address, &other.error) == (&listener.name, &listener.address, &listener.error)
        })
    }) {
        lines.push(match &listener.error {
            None => format!("listening: {} {} on {}", view.cluster, listener.name, listener.address),
            Some(error) => format!("not listening: {} {}: {error}", view.cluster, listener.name),
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
    use tombolo_broker_api::{LinkError, ListenerStatus};

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
            assert_eq!(follow.readiness(), Readiness { clusters: 1, links, ready: expected }, "{state:?} {ready}");
        }
    }
}
