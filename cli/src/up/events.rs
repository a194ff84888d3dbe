//! What changed between two looks at the nodes, a line each.

use tombolo_broker_api::{LinkState, LinkStatus, Status};

use crate::table::millis;
use crate::view::View;

/// The lines to print, nodes in the order of `new`.
pub fn changes(old: &[View], new: &[View]) -> Vec<String> {
    let nothing = Status::default();
    let mut lines = Vec::new();
    for view in new {
        let Some(after) = &view.status else { continue };
        let same = |other: &&View| (&other.namespace, &other.node) == (&view.namespace, &view.node);
        let before = old.iter().find(same).and_then(|view| view.status.as_ref()).unwrap_or(&nothing);
        listeners(view, before, after, &mut lines);
        configuration(view, before, after, &mut lines);
        for link in &after.links {
            let before = before.links.iter().find(|other| other.name == link.name);
            lines.extend(link_change(before, link).map(|what| format!("link {}/{}: {what}", view.cluster, link.name)));
        }
        for link in before.links.iter().filter(|link| !after.links.iter().any(|other| other.name == link.name)) {
            lines.push(format!("link {}/{}: removed", view.cluster, link.name));
        }
    }
    lines
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

fn link_change(before: Option<&LinkStatus>, after: &LinkStatus) -> Option<String> {
    let nothing = LinkStatus::default();
    let is_new = before.is_none();
    let before = before.unwrap_or(&nothing);
    let why = after.last_error.as_ref().map(|error| format!("{}: {}", error.reason, error.message));
    if after.ready && !before.ready {
        let round_trip = after.round_trip_micros.map(|micros| format!(", round trip {}", millis(micros)));
        return Some(format!("ready with {}{}", after.remote_cluster, round_trip.unwrap_or_default()));
    }
    if before.ready && !after.ready {
        return Some(match (after.state, why) {
            (LinkState::Disabled, _) => "disabled".to_owned(),
            (LinkState::Disconnected | LinkState::Handshaking | LinkState::Connected, why) => {
                format!("lost {}{}", after.remote_cluster, why.map(|why| format!(": {why}")).unwrap_or_default())
            }
        });
    }
    let same_error = before.last_error.as_ref().map(|error| (&error.reason, &error.message))
        == after.last_error.as_ref().map(|error| (&error.reason, &error.message));
    if !same_error && !after.ready {
        return why;
    }
    if after.state == before.state && !is_new {
        return None;
    }
    match after.state {
        LinkState::Disabled => Some("disabled".to_owned()),
        LinkState::Connected => Some(format!("connected with {}", after.remote_cluster)),
        LinkState::Disconnected if before.state == LinkState::Disabled => Some("enabled".to_owned()),
        LinkState::Disconnected | LinkState::Handshaking => None,
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
        let steps: [(View, &[&str]); 9] = [
            (view("1", None), &["listening: edge mqtt on 127.0.0.1:1883"]),
            (view("2", link(Disconnected, false, None)), &["configuration applied: edge-0"]),
            (
                view("2", link(Disconnected, false, Some("refused"))),
                &["link edge/to-cloud: RemoteUnreachable: refused"],
            ),
            (view("2", link(Disconnected, false, Some("refused"))), &[]),
            (view("2", link(Connected, false, Some("refused"))), &["link edge/to-cloud: connected with cloud"]),
            (view("2", link(Connected, true, Some("refused"))), &["link edge/to-cloud: ready with cloud"]),
            (
                view("2", link(Disconnected, false, Some("reset"))),
                &["link edge/to-cloud: lost cloud: RemoteUnreachable: reset"],
            ),
            (view("2", link(Disabled, false, Some("reset"))), &["link edge/to-cloud: disabled"]),
            (view("2", None), &["link edge/to-cloud: removed"]),
        ];
        let mut before = Vec::new();
        for (at, (after, expected)) in steps.into_iter().enumerate() {
            let after = vec![after];
            assert_eq!(changes(&before, &after), expected, "step {at}");
            before = after;
        }
    }

    #[test]
    fn a_refused_configuration_is_told_with_its_reason() {
        let before = vec![view("1", None)];
        let mut after = before.clone();
        after[0].status.as_mut().expect("set above").config_error = Some("no such file".into());
        assert_eq!(changes(&before, &after), ["configuration refused: edge-0: no such file; the one before goes on"]);
        assert!(changes(&after, &after.clone()).is_empty());
    }
}
