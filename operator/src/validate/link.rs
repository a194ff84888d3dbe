//! A ClusterLink, or an entry of `spec.linkAccess`, by itself.

use tombolo_broker_api::{ByteSize, Route, Seconds, Spool, WhenFull};
use tombolo_crds::brokercluster::LinkAccess;
use tombolo_crds::clusterlink::{
    Direction, Limits, Queue, RemoteKind, RetainedMode, Route as RouteSpec, SessionsMode, SharedSubscriptions,
    WhenFull as WhenFullSpec,
};
use tombolo_crds::{ClusterLink, ClusterLinkSpec, reasons};

use super::filter;
use super::problem::Report;
use super::secrets::{Pem, Secrets};
use super::server::{self, Server};
use super::valid::{ValidDial, ValidDialTls, ValidLink};

/// What a link must know of the cluster that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    /// Its name.
    pub name: &'a str,
    /// Levels that a topic filter may have there.
    pub levels_max: u16,
}

/// Time that a link which is deleted has to send what waits.
pub const DRAIN_FOR: Seconds = Seconds(300);

/// Longest age of a waiting message: ten years.
const AGE_SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// The link with everything resolved but who may come in, which depends on the other links; none if it has a problem.
pub(super) fn check(link: &ClusterLink, home: Home, secrets: Secrets, report: &mut Report) -> Option<ValidLink> {
    let before = report.problems.len();
    let spec = &link.spec;
    let remote_cluster = &spec.remote.cluster_name;
    if remote_cluster == home.name {
        let message = format!("`{remote_cluster}` is this very cluster; name the other one");
        report.problem("spec.remote.clusterName", reasons::LINK_TO_ITSELF, message);
    }
    not_served_yet(spec, report);
    let (receive, send) = check_routes(spec, home.levels_max, report);
    let spool = check_queue(&spec.queue, report);
    let dial = check_dial(spec, home, secrets, report);
    if report.problems.len() > before {
        return None;
    }
    Some(ValidLink {
        name: link.metadata.name.clone().unwrap_or_default(),
        remote_cluster: remote_cluster.clone(),
        remote_cluster_id: spec.remote.cluster_id.clone(),
        enabled: spec.enabled,
        dial,
        accept_users: Vec::new(),
        accept_own: None,
        accept_any_user: false,
        receive,
        send,
        max_hops: spec.max_hops.unwrap_or(1),
        spool: Spool { drain_for: link.metadata.deletion_timestamp.as_ref().map(|_| DRAIN_FOR), ..spool? },
    })
}

/// An entry of `spec.linkAccess` as the link that it allows; `field` is its place.
pub(super) fn check_access(entry: &LinkAccess, field: &str, home: Home, report: &mut Report) -> Option<ValidLink> {
    let before = report.problems.len();
    if entry.cluster_name == home.name {
        let message = format!("`{}` is this very cluster; name the other one", entry.cluster_name);
        report.problem(format!("{field}.clusterName"), reasons::LINK_TO_ITSELF, message);
    }
    for (key, filters) in [("receive", &entry.receive), ("send", &entry.send)] {
        check_filters(&format!("{field}.{key}"), filters, home.levels_max, report);
    }
    if entry.receive.is_empty() && entry.send.is_empty() {
        let message = "nothing may cross; set receive (topic filters that may enter), send or both";
        report.problem(field, reasons::NOTHING_TO_CARRY, message);
    }
    let route = |filters: &[String]| -> Vec<Route> {
        let some = (!filters.is_empty()).then(|| Route { filters: filters.to_vec(), except: Vec::new(), max_qos: 2 });
        some.into_iter().collect()
    };
    (report.problems.len() == before).then(|| ValidLink {
        // No object can have an underscore in its name, so this is the name of no ClusterLink.
        name: format!("access_{}", entry.cluster_name),
        remote_cluster: entry.cluster_name.clone(),
        remote_cluster_id: entry.cluster_id.clone(),
        enabled: true,
        dial: None,
        accept_users: vec![entry.user.clone()],
        accept_own: None,
        accept_any_user: false,
        receive: route(&entry.receive),
        send: Some(route(&entry.send)),
        max_hops: 1,
        spool: Spool::default(),
    })
}

/// What the schema knows and this release does not serve: said, so that nobody is deceived.
fn not_served_yet(spec: &ClusterLinkSpec, report: &mut Report) {
    let mut refuse = |field: &str, message: &str| report.problem(field, reasons::NOT_YET_SUPPORTED, message);
    match spec.remote.kind {
        RemoteKind::Tombolo => {}
        RemoteKind::Mqtt | RemoteKind::Emqx => {
            let message = format!("{}: this release links with clusters of Tombolo", spec.remote.kind.as_str());
            refuse("spec.remote.kind", &message);
        }
    }
    match spec.sessions.mode {
        SessionsMode::Disabled => {}
        SessionsMode::HandOver | SessionsMode::Replicate => {
            refuse("spec.sessions.mode", "sessions stay in their cluster in this release; write mode: Disabled");
        }
    }
    match spec.shared_subscriptions {
        SharedSubscriptions::PerCluster => {}
        SharedSubscriptions::Federated => {
            refuse("spec.sharedSubscriptions", "each cluster's members get a copy in this release; write PerCluster");
        }
    }
    if spec.transit {
        refuse("spec.transit", "messages of other clusters are not sent on in this release; write transit: false");
    }
    if let Some(Limits { messages_per_second: Some(_), .. } | Limits { bytes_per_second: Some(_), .. }) = &spec.limits {
        refuse("spec.limits", "the rate of a link is not limited in this release; remove limits");
    }
    let connections = spec.advanced.as_ref().and_then(|advanced| advanced.connections_per_node);
    if connections.is_some_and(|connections| connections > 1) {
        refuse("spec.advanced.connectionsPerNode", "a link has one connection in this release; write 1");
    }
    for (at, route) in spec.routes.iter().enumerate() {
        if route.prefix.is_some() {
            refuse(&format!("spec.routes[{at}].prefix"), "topics keep their names in this release; remove prefix");
        }
        match route.retained {
            None | Some(RetainedMode::Forward) => {}
            Some(RetainedMode::Mirror | RetainedMode::Ignore) => {
                let message = "retained messages cross as they are published in this release; write Forward";
                refuse(&format!("spec.routes[{at}].retained"), message);
            }
        }
    }
}

/// What may enter, and what may leave.
fn check_routes(spec: &ClusterLinkSpec, levels_max: u16, report: &mut Report) -> (Vec<Route>, Option<Vec<Route>>) {
    check_filters("spec.topics", &spec.topics, levels_max, report);
    for (at, route) in spec.routes.iter().enumerate() {
        check_filters(&format!("spec.routes[{at}].filters"), &route.filters, levels_max, report);
        for (place, except) in route.except.iter().enumerate() {
            if let Some(fault) = filter::fault_of_exception(except, levels_max) {
                report.problem(format!("spec.routes[{at}].except[{place}]"), reasons::FILTER_INVALID, fault);
            }
        }
    }
    if spec.topics.is_empty() && spec.routes.is_empty() && spec.direction != Direction::Out {
        let message = "the link carries nothing; name topics (what this side receives) or routes";
        report.problem("spec.topics", reasons::NOTHING_TO_CARRY, message);
    }
    let short =
        (!spec.topics.is_empty()).then(|| Route { filters: spec.topics.clone(), except: Vec::new(), max_qos: 2 });
    let routes = |wanted: fn(Direction) -> bool| spec.routes.iter().filter(move |route| wanted(route.direction));
    let receive = short.into_iter().chain(routes(Direction::is_in).map(made)).collect();
    let send: Vec<_> = routes(Direction::is_out).map(made).collect();
    let send = match spec.direction {
        Direction::In => Some(Vec::new()),
        Direction::Out | Direction::Both => (!send.is_empty()).then_some(send),
    };
    (receive, send)
}

fn made(route: &RouteSpec) -> Route {
    // No wildcard at the first level matches a topic that begins with `$` `[MQTT-4.7.2-1]`, and filters don't begin so.
    let except = route.except.iter().filter(|filter| !filter.starts_with('$')).cloned().collect();
    Route { filters: route.filters.clone(), except, max_qos: route.max_qos }
}

fn check_filters(field: &str, filters: &[String], levels_max: u16, report: &mut Report) {
    for (at, text) in filters.iter().enumerate() {
        if let Some(fault) = filter::fault(text, levels_max) {
            report.problem(format!("{field}[{at}]"), reasons::FILTER_INVALID, fault);
        }
    }
}

fn check_queue(queue: &Queue, report: &mut Report) -> Option<Spool> {
    let max_bytes = queue.max_bytes.parse::<ByteSize>().ok().filter(|bytes| bytes.0 >= 1024);
    if max_bytes.is_none() {
        let message = format!("`{}` is not a size of at least 1024 bytes, such as 256Mi or 4Gi", queue.max_bytes);
        report.problem("spec.queue.maxBytes", reasons::INVALID, message);
    }
    let max_age = queue.max_age.parse::<Seconds>().ok().filter(|age| (1..=AGE_SECONDS_MAX).contains(&age.0));
    if max_age.is_none() {
        let message = format!("`{}` is not an age from 1s to ten years, such as 6h or 1h30m", queue.max_age);
        report.problem("spec.queue.maxAge", reasons::INVALID, message);
    }
    let when_full = match queue.when_full {
        WhenFullSpec::DropOldest => WhenFull::DropOldest,
        WhenFullSpec::DropNewest => WhenFull::DropNewest,
        WhenFullSpec::Backpressure => WhenFull::Backpressure,
    };
    let (max_bytes, max_age) = max_bytes.zip(max_age)?;
    Some(Spool { max_bytes, max_age, when_full, ..Spool::default() })
}

/// How the remote is dialled; none if it is not, or if there is a problem.
fn check_dial(spec: &ClusterLinkSpec, home: Home, secrets: Secrets, report: &mut Report) -> Option<ValidDial> {
    let remote = &spec.remote;
    let mut servers = Vec::new();
    let mut tls = false;
    for (field, address) in remote.addresses() {
        let field = format!("spec.remote.{field}");
        match server::parse(address) {
            Ok(Server::Mqtt { url, tls: secured }) => {
                servers.push(url);
                tls |= secured;
            }
            Ok(Server::WebSocket) => {
                let message = "this release dials mqtt:// and mqtts://; change the address";
                report.problem(field, reasons::NOT_YET_SUPPORTED, message);
            }
            Err(fault) => report.problem(field, reasons::INVALID, fault),
        }
    }
    let credentials = remote.credentials.as_ref().and_then(|credentials| {
        secrets.credentials(report, "spec.remote.credentials.secretRef.name", &credentials.secret_ref.name)
    });
    let tls = match &remote.tls {
        None if tls => Some(ValidDialTls::default()),
        None => None,
        Some(options) => {
            let ca = options.ca_secret_ref.as_ref().and_then(|ca| {
                let key = ca.key.as_deref().unwrap_or("ca.crt");
                let field = "spec.remote.tls.caSecretRef";
                let secret = secrets.find(report, &format!("{field}.name"), &ca.name, &format!("the key {key}"))?;
                secrets.pem(report, &format!("{field}.key"), secret, key, Pem::Certificate)
            });
            let identity = options.client_certificate_secret_ref.as_ref().and_then(|identity| {
                secrets.identity(report, "spec.remote.tls.clientCertificateSecretRef.name", &identity.name)
            });
            Some(ValidDialTls { ca, identity, server_name: options.server_name.clone() })
        }
    };
    remote.addresses().next()?;
    if remote.credentials.is_none() {
        let message = "a link that dials needs a user at the remote; name a Secret with username and password";
        report.problem("spec.remote.credentials", reasons::INVALID, message);
    }
    let advanced = spec.advanced.as_ref();
    let retry_interval = advanced.and_then(|advanced| advanced.retry_interval.as_ref()).and_then(|text| {
        let seconds = text.parse::<Seconds>().ok().filter(|seconds| (1..=86_400).contains(&seconds.0));
        if seconds.is_none() {
            let message = format!("`{text}` is not a pause from 1s to 24h, such as 10s or 1m");
            report.problem("spec.advanced.retryInterval", reasons::INVALID, message);
        }
        seconds
    });
    let (username, password) = credentials?;
    Some(ValidDial {
        servers,
        client_id_prefix: remote.client_id_prefix.clone().unwrap_or_else(|| home.name.to_owned()),
        username,
        password,
        tls,
        keep_alive: advanced.and_then(|advanced| advanced.keep_alive_seconds).map(|seconds| Seconds(seconds.into())),
        max_inflight: advanced.and_then(|advanced| advanced.max_inflight),
        retry_interval,
    })
}
