//! The status of a ClusterLink, from what the nodes of its cluster say about it.

use std::collections::BTreeMap;

use tombolo_broker_api::{LinkState, LinkStatus};
use tombolo_crds::clusterlink::{Backlog, RouteState, RouteStatus};
use tombolo_crds::conditions::{BACKLOG_HEALTHY, CONNECTED, FORWARDING, PROGRAMMED, READY};
use tombolo_crds::{ClusterLink, ClusterLinkStatus, reasons};

use super::cluster::{Fault, Report, resolved_refs, said};
use super::drain::Drain;
use super::finding::{self, Finding, Truth, settled, text};
use crate::validate::{Problem, ValidLink};

/// What was seen of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkSeen<'a> {
    /// The object, with the status that was written last.
    pub link: &'a ClusterLink,
    /// What is wrong with it.
    pub problems: &'a [Problem],
    /// What it became; none: it is left out.
    pub valid: Option<&'a ValidLink>,
    /// Nodes that its cluster should have.
    pub nodes: u16,
    /// What is wrong with its cluster, or with applying it.
    pub fault: Option<&'a Fault>,
    /// Hash of the configuration that nodes should run; none: nothing could be planned.
    pub config_hash: Option<&'a str>,
    /// What each node said last, by ordinal.
    pub reports: &'a BTreeMap<u16, Report>,
    /// It is deleted, and what waits for its remote leaves first.
    pub drain: Option<Drain>,
    /// The annotation that pauses is set.
    pub paused: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// A sample of the backlog is rewritten after this many seconds at the earliest.
const SAMPLE_SECONDS: i64 = 30;

/// The status to write.
pub fn link_status(seen: &LinkSeen) -> ClusterLinkStatus {
    let previous = seen.link.status.clone().unwrap_or_default();
    let generation = seen.link.metadata.generation.unwrap_or(0);
    if seen.paused {
        let observed = previous.observed_generation.unwrap_or(generation);
        let conditions =
            finding::paused(&previous.conditions, &tombolo_crds::conditions::CLUSTER_LINK, observed, seen.now);
        return ClusterLinkStatus { observed_generation: Some(observed), conditions, ..previous };
    }
    let view = View { seen, at_nodes: at_nodes(seen) };
    ClusterLinkStatus {
        observed_generation: Some(generation),
        remote_cluster_id: view.at_nodes.iter().find_map(|(_, link)| link.remote_cluster_id.clone()),
        protocol_version: previous.protocol_version,
        backlog: view.backlog(previous.backlog.as_ref()),
        routes: view.routes(),
        conditions: settled(view.findings(), &previous.conditions, generation, seen.now),
    }
}

/// The link as each node that said something sees it.
fn at_nodes<'a>(seen: &LinkSeen<'a>) -> Vec<(u16, &'a LinkStatus)> {
    let name = seen.link.metadata.name.as_deref().unwrap_or_default();
    let said = seen.reports.iter().filter_map(|(ordinal, report)| match report {
        Report::Said(status) => status.links.iter().find(|link| link.name == name).map(|link| (*ordinal, link)),
        Report::Silent(_) => None,
    });
    said.collect()
}

struct View<'a> {
    seen: &'a LinkSeen<'a>,
    at_nodes: Vec<(u16, &'a LinkStatus)>,
}

// === impl View ===

impl View<'_> {
    fn findings(&self) -> Vec<Finding> {
        let refs = resolved_refs(self.seen.problems);
        let parts = [self.programmed(), self.connected(), self.forwarding(), self.backlog_healthy()];
        let (ready, stalled) = self.ready(&parts);
        // A link that is switched off is neither on its way nor stuck.
        let kstatus = (ready.reason != reasons::DISABLED).then(|| finding::kstatus(&ready, stalled)).flatten();
        [ready].into_iter().chain(kstatus).chain([refs]).chain(parts).collect()
    }

    fn ready(&self, parts: &[Finding; 4]) -> (Finding, bool) {
        let [programmed, connected, forwarding, _] = parts;
        let no = |reason, message: String| Finding::new(READY, Truth::False, reason, message);
        if let Some(problem) = self.seen.problems.first() {
            return (no(problem.reason, said(self.seen.problems)), true);
        }
        if let Some(fault) = self.seen.fault {
            return (no(fault.reason, fault.message.clone()), fault.stalled);
        }
        if let Some(Drain::Waits { until, something }) = self.seen.drain {
            let what = if something { "what waits for the remote leaves first" } else { "its nodes are being told" };
            let message = format!("it is deleted; {what}, until {} at the latest", text(until));
            return (no(reasons::DRAINING, message), false);
        }
        if !self.seen.link.spec.enabled {
            return (no(reasons::DISABLED, "enabled is false: nothing crosses, what waits is kept".to_owned()), false);
        }
        for part in [programmed, connected, forwarding] {
            if !part.holds() {
                return (part.as_ready(), false);
            }
        }
        let message = format!("linked with {}", self.seen.link.spec.remote.cluster_name);
        (Finding::new(READY, Truth::True, forwarding.reason, message), false)
    }

    fn programmed(&self) -> Finding {
        let found = |truth, reason, message: String| Finding::new(PROGRAMMED, truth, reason, message);
        let (Some(wanted), Some(_)) = (self.seen.config_hash, self.seen.valid) else {
            let message = "it is left out of the configuration".to_owned();
            let reason = self.seen.problems.first().map(|problem| problem.reason);
            let reason = reason.or(self.seen.fault.map(|fault| fault.reason)).unwrap_or(reasons::INVALID);
            return found(Truth::False, reason, message);
        };
        if self.seen.nodes == 0 {
            return found(Truth::False, reasons::HIBERNATING, "the cluster has no nodes".to_owned());
        }
        for ordinal in 0..self.seen.nodes {
            match self.seen.reports.get(&ordinal) {
                Some(Report::Said(status)) if status.config_hash == wanted => {}
                Some(Report::Said(status)) => {
                    let message = match &status.config_error {
                        Some(error) => format!("node {ordinal} refuses the configuration: {error}"),
                        None => format!("node {ordinal} does not run the newest configuration yet"),
                    };
                    return found(Truth::False, reasons::CONFIG_PENDING, message);
                }
                Some(Report::Silent(why)) => {
                    let message = format!("node {ordinal} does not say what it runs: {why}");
                    return found(Truth::Unknown, reasons::NO_REPORT, message);
                }
                None => {
                    let message = format!("node {ordinal} was not asked yet");
                    return found(Truth::Unknown, reasons::NO_REPORT, message);
                }
            }
        }
        found(Truth::True, reasons::CONVERGED, "every node has it in its configuration".to_owned())
    }

    fn connected(&self) -> Finding {
        let found = |truth, reason, message: String| Finding::new(CONNECTED, truth, reason, message);
        if let Some(off) = self.switched_off(CONNECTED) {
            return off;
        }
        let connected = self.at_nodes.iter().filter(|(_, link)| link.state == LinkState::Connected);
        let (dialled, accepted) = connected
            .clone()
            .fold((0, 0), |(dialled, accepted), (_, link)| (dialled + link.dialled, accepted + link.accepted));
        if connected.count() == self.at_nodes.len() && !self.at_nodes.is_empty() {
            let message = format!("{dialled} connections dialled, {accepted} accepted");
            return found(Truth::True, reasons::LINK_ESTABLISHED, message);
        }
        if self.at_nodes.is_empty() {
            return found(Truth::Unknown, reasons::NO_REPORT, "no node has said how it stands".to_owned());
        }
        let away = self.at_nodes.iter().find(|(_, link)| link.state != LinkState::Connected);
        let error = away.and_then(|(_, link)| link.last_error.as_ref());
        let dials = self.seen.valid.is_some_and(|valid| valid.dial.is_some());
        let (reason, message) = match error {
            Some(error) => (reason_of(&error.reason), format!("{}: {}", error.reason, error.message)),
            None if dials => (reasons::REMOTE_UNREACHABLE, "no connection stands yet".to_owned()),
            None => (reasons::REMOTE_UNREACHABLE, "the remote has not connected yet".to_owned()),
        };
        found(Truth::False, reason, message)
    }

    fn forwarding(&self) -> Finding {
        let found = |truth, reason, message: &str| Finding::new(FORWARDING, truth, reason, message);
        if let Some(off) = self.switched_off(FORWARDING) {
            return off;
        }
        if self.at_nodes.is_empty() {
            return found(Truth::Unknown, reasons::NO_REPORT, "no node has said how it stands");
        }
        match self.at_nodes.iter().find(|(_, link)| !link.ready) {
            None => {
                let message = "a heartbeat crossed and came back, and both sides know what is wanted";
                found(Truth::True, reasons::HEARTBEAT_RETURNED, message)
            }
            Some((_, link)) if link.state != LinkState::Connected => {
                found(Truth::False, reasons::REMOTE_UNREACHABLE, "nothing crosses without a connection")
            }
            Some((_, link)) if link.round_trip_micros.is_some() && !link.in_sync => {
                found(Truth::False, reasons::SYNCING_INTEREST, "the sides tell each other what they want")
            }
            Some(_) => found(Truth::False, reasons::HEARTBEAT_LOST, "no heartbeat came back in time"),
        }
    }

    fn backlog_healthy(&self) -> Finding {
        let found = |truth, reason, message: String| Finding::new(BACKLOG_HEALTHY, truth, reason, message);
        let (Some(valid), false) = (self.seen.valid, self.at_nodes.is_empty()) else {
            return found(Truth::Unknown, reasons::NO_REPORT, "no node has said how it stands".to_owned());
        };
        let (bytes_max, age_max) = (valid.spool.max_bytes.0, valid.spool.max_age.0);
        let high = self.at_nodes.iter().find(|(_, link)| {
            link.spool.bytes.saturating_mul(10) >= bytes_max.saturating_mul(9) || link.spool.oldest_seconds >= age_max
        });
        match high {
            None => found(
                Truth::True,
                reasons::BACKLOG_WITHIN_BOUNDS,
                "what waits for the remote is within its bounds".to_owned(),
            ),
            Some((ordinal, _)) => {
                let message =
                    format!("what waits at node {ordinal} is near its bound of {bytes_max} bytes or {age_max} s");
                found(Truth::False, reasons::BACKLOG_HIGH, message)
            }
        }
    }

    fn switched_off(&self, kind: &'static str) -> Option<Finding> {
        let message = "enabled is false";
        (!self.seen.link.spec.enabled).then(|| Finding::new(kind, Truth::False, reasons::DISABLED, message))
    }

    /// A sample: the old one as long as it is young, or says the same.
    fn backlog(&self, previous: Option<&Backlog>) -> Option<Backlog> {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut now = Backlog { sample_time: Some(text(self.seen.now)), ..Backlog::default() };
        for (_, link) in &self.at_nodes {
            now.messages = now.messages.saturating_add(count(link.spool.messages));
            now.bytes = now.bytes.saturating_add(count(link.spool.bytes));
            now.oldest_seconds = now.oldest_seconds.max(count(link.spool.oldest_seconds));
        }
        let Some(previous) = previous else { return (!self.at_nodes.is_empty()).then_some(now) };
        let taken = previous.sample_time.as_deref().and_then(finding::seconds).unwrap_or(0);
        let same = Backlog { sample_time: previous.sample_time.clone(), ..now.clone() } == *previous;
        let young = (0..SAMPLE_SECONDS).contains(&(self.seen.now - taken));
        Some(if same || young || self.at_nodes.is_empty() { previous.clone() } else { now })
    }

    fn routes(&self) -> Vec<RouteStatus> {
        let spec = &self.seen.link.spec;
        let ready = !self.at_nodes.is_empty() && self.at_nodes.iter().all(|(_, link)| link.ready);
        let state = match (spec.enabled, ready) {
            (false, _) => RouteState::Suspended,
            (true, true) => RouteState::Forwarding,
            (true, false) => RouteState::Pending,
        };
        spec.routes.iter().map(|route| RouteStatus { name: route.name.clone(), state, message: None }).collect()
    }
}

/// The documented reason for what a broker names: those that somebody must act on by name, the rest as one.
fn reason_of(error: &str) -> &'static str {
    match error {
        "AuthenticationFailed" | "NotAuthorized" => reasons::AUTHENTICATION_FAILED,
        "ClusterIdMismatch" | "ClusterNameMismatch" => reasons::CLUSTER_ID_MISMATCH,
        "OwnCluster" => reasons::LOOP_DETECTED,
        "HeartbeatLost" => reasons::HEARTBEAT_LOST,
        "TlsCertificateExpired" => reasons::CERTIFICATE_EXPIRED,
        _ => reasons::REMOTE_UNREACHABLE,
    }
}
