//! The status of a BrokerCluster, from its pods, what their brokers say, and what could be applied.

use std::collections::BTreeMap;

use tombolo_broker_api::Status;
use tombolo_crds::brokercluster::{EvacuationCause, EvacuationStatus, NodeState, NodeStatus};
use tombolo_crds::common::Management;
use tombolo_crds::conditions::{
    AVAILABLE, CONFIG_APPLIED, MONITORING_READY, PROGRESSING, READY, RESOLVED_REFS, STORAGE_READY, TLS_READY,
};
use tombolo_crds::{BrokerCluster, BrokerClusterStatus, reasons};

use super::finding::{self, Finding, Truth, settled, text};
use crate::plan::rollout::{Cause, Decision, Evacuation, Facts, PodFacts, Progress};
use crate::plan::selector;
use crate::validate::Problem;

/// What was seen of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct ClusterSeen<'a> {
    /// The object, with the status that was written last.
    pub cluster: &'a BrokerCluster,
    /// What is wrong with it.
    pub problems: &'a [Problem],
    /// Its pods, when the decision was made.
    pub facts: &'a Facts,
    /// What was decided; none: nothing could be planned.
    pub decision: Option<&'a Decision>,
    /// Hash of the configuration that nodes should run; none: nothing could be planned.
    pub config_hash: Option<&'a str>,
    /// What each node said last, by ordinal.
    pub reports: &'a BTreeMap<u16, Report>,
    /// What kept child objects from being as they should be.
    pub fault: Option<&'a Fault>,
    /// Certificates of listeners with the time at which they expire, in seconds since 1970.
    pub certificates: &'a [(String, i64)],
    /// What keeps the certificate of the nodes from being there, if something does.
    pub internode: Option<&'a Fault>,
    /// What keeps metrics from being scraped, if something does.
    pub monitoring: Option<&'a Fault>,
    /// What keeps volumes from having their size, if something does.
    pub volumes: Option<&'a Fault>,
    /// The annotation that pauses is set.
    pub paused: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// What a node said when it was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// This.
    Said(Box<Status>),
    /// Nothing, for that reason.
    Silent(String),
}

/// Something went wrong between plan and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A word of `tombolo_crds::reasons`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// It does not mend itself.
    pub stalled: bool,
}

/// The status to write.
pub fn cluster_status(seen: &ClusterSeen) -> BrokerClusterStatus {
    let previous = seen.cluster.status.clone().unwrap_or_default();
    let generation = seen.cluster.metadata.generation.unwrap_or(0);
    if seen.paused {
        let observed = previous.observed_generation.unwrap_or(generation);
        let conditions =
            finding::paused(&previous.conditions, &tombolo_crds::conditions::BROKER_CLUSTER, observed, seen.now);
        return BrokerClusterStatus { observed_generation: Some(observed), conditions, ..previous };
    }
    let view = View { seen, generation };
    let count = |test: &dyn Fn(&PodFacts) -> bool| {
        i32::try_from(seen.facts.pods.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
    };
    let name = seen.cluster.metadata.name.clone().unwrap_or_default();
    let labels = selector(&name).into_iter().map(|(key, value)| format!("{key}={value}"));
    let revision = seen.facts.set.as_ref().map(|set| set.update_revision.as_str());
    BrokerClusterStatus {
        observed_generation: Some(generation),
        replicas: Some(count(&|_| true)),
        ready_replicas: Some(count(&|pod| pod.ready_since.is_some() && !pod.terminating)),
        updated_replicas: Some(count(&|pod| Some(pod.revision.as_str()) == revision)),
        selector: Some(labels.collect::<Vec<_>>().join(",")),
        version: view.version(),
        cluster_id: seen.cluster.metadata.uid.clone(),
        evacuation: seen.decision.and_then(|decision| decision.evacuation.as_ref()).map(|state| view.kept(state)),
        nodes: view.nodes(),
        conditions: settled(view.findings(), &previous.conditions, generation, seen.now),
    }
}

/// The state of an evacuation, as the status of its cluster keeps it.
///
/// `name` is that of the cluster. What cannot be read is no evacuation: it begins anew.
pub fn kept_evacuation(status: &BrokerClusterStatus, name: &str) -> Option<Evacuation> {
    let EvacuationStatus { pod, cause, start_time, deadline } = status.evacuation.as_ref()?;
    Some(Evacuation {
        ordinal: pod.strip_prefix(name)?.strip_prefix('-')?.parse().ok()?,
        cause: match cause {
            EvacuationCause::RollingUpdate => Cause::Update,
            EvacuationCause::ScaleDown => Cause::ScaleDown,
        },
        start: finding::seconds(start_time)?,
        deadline: finding::seconds(deadline)?,
    })
}

struct View<'a> {
    seen: &'a ClusterSeen<'a>,
    generation: i64,
}

// === impl View ===

impl View<'_> {
    fn findings(&self) -> Vec<Finding> {
        let parts = [
            self.resolved_refs(),
            self.available(),
            self.progressing(),
            self.config_applied(),
            self.tls_ready(),
            self.storage_ready(),
            self.monitoring_ready(),
        ];
        let (ready, stalled) = self.ready(&parts);
        let kstatus = finding::kstatus(&ready, stalled);
        [ready].into_iter().chain(kstatus).chain(parts).collect()
    }

    /// As its spec says; and, if not, whether it stays so until somebody acts.
    fn ready(&self, parts: &[Finding; 7]) -> (Finding, bool) {
        let [_, available, progressing, config_applied, tls_ready, storage_ready, _] = parts;
        let no = |reason, message: String| Finding::new(READY, Truth::False, reason, message);
        if let Some(problem) = self.seen.problems.first() {
            return (no(problem.reason, said(self.seen.problems)), true);
        }
        if let Some(fault) = self.seen.fault {
            return (no(fault.reason, fault.message.clone()), fault.stalled);
        }
        if !tls_ready.holds() {
            return (tls_ready.as_ready(), tls_ready.reason != reasons::CERTIFICATE_PENDING);
        }
        if self.seen.volumes.is_some_and(|fault| fault.stalled) {
            return (storage_ready.as_ready(), true);
        }
        if self.seen.decision.is_some_and(|decision| decision.progress == Progress::Hibernating) {
            let message = "replicas is 0: no node runs, volumes are kept";
            return (Finding::new(READY, Truth::True, reasons::HIBERNATING, message), false);
        }
        if progressing.holds() {
            return (progressing.as_ready(), false);
        }
        if config_applied.reason == reasons::CONFIG_INVALID {
            return (config_applied.as_ready(), true);
        }
        for part in [available, config_applied] {
            if !part.holds() {
                return (part.as_ready(), false);
            }
        }
        // Whether a volume is there at all, its pod has said above.
        if self.seen.volumes.is_some() {
            return (storage_ready.as_ready(), false);
        }
        let message = format!("{} serve clients with the newest configuration", nodes(self.seen.facts.wanted));
        (Finding::new(READY, Truth::True, reasons::CONVERGED, message), false)
    }

    fn resolved_refs(&self) -> Finding {
        resolved_refs(self.seen.problems)
    }

    fn available(&self) -> Finding {
        let wanted = usize::from(self.seen.facts.wanted);
        if wanted == 0 {
            return Finding::new(AVAILABLE, Truth::False, reasons::HIBERNATING, "replicas is 0: no node runs");
        }
        let serving = self.seen.facts.pods.iter().filter(|pod| {
            let listens = match self.seen.reports.get(&pod.ordinal) {
                Some(Report::Said(status)) => status.listeners.iter().any(|listener| listener.error.is_none()),
                // Ready says the same, a little later.
                Some(Report::Silent(_)) | None => true,
            };
            pod.ready_since.is_some() && !pod.terminating && listens
        });
        let serving = serving.count();
        let message = format!("{serving} of {} serve clients", nodes(self.seen.facts.wanted));
        if serving * 2 > wanted {
            Finding::new(AVAILABLE, Truth::True, reasons::QUORUM_READY, message)
        } else {
            Finding::new(AVAILABLE, Truth::False, reasons::WAITING_FOR_QUORUM, message)
        }
    }

    fn progressing(&self) -> Finding {
        let yes = |reason, message: String| Finding::new(PROGRESSING, Truth::True, reason, message);
        let Some(decision) = self.seen.decision else {
            let message = "nothing is changed while the spec has problems";
            return Finding::new(PROGRESSING, Truth::Unknown, reasons::INVALID, message);
        };
        let pod = |ordinal: u16| self.pod_name(ordinal);
        match decision.progress {
            Progress::Done => Finding::new(PROGRESSING, Truth::False, reasons::CONVERGED, "nothing is left to do"),
            Progress::Hibernating => {
                Finding::new(PROGRESSING, Truth::False, reasons::HIBERNATING, "no node is left to stop")
            }
            Progress::Rendering => {
                yes(reasons::ROLLING_UPDATE, "the pod template changed; its revision is awaited".to_owned())
            }
            Progress::Starting(ordinal) | Progress::Blocked(ordinal) if self.failing(ordinal) => {
                yes(reasons::POD_FAILING, format!("pod {} fails again and again; look at its events", pod(ordinal)))
            }
            Progress::Starting(ordinal) => {
                yes(reasons::WAITING_FOR_PODS, format!("pod {} is not ready yet", pod(ordinal)))
            }
            Progress::Blocked(ordinal) => {
                let message = format!("the next node is not touched before pod {} is ready", pod(ordinal));
                yes(reasons::WAITING_FOR_NODE, message)
            }
            Progress::Evacuating(ordinal, cause) => {
                let why = match cause {
                    Cause::Update => "it is replaced",
                    Cause::ScaleDown => "it is removed",
                };
                let message = format!("clients and sessions leave {}, then {why}", pod(ordinal));
                yes(reasons::EVACUATING_SESSIONS, message)
            }
            Progress::Replacing(ordinal, Cause::Update) => {
                yes(reasons::ROLLING_UPDATE, format!("pod {} is replaced", pod(ordinal)))
            }
            Progress::Replacing(ordinal, Cause::ScaleDown) => {
                yes(reasons::SCALING_DOWN, format!("pod {} is removed", pod(ordinal)))
            }
            Progress::WaitingForApproval(ordinal) => {
                let message = format!(
                    "pod {} is replaced once somebody agrees: kubectl annotate pod {} {}=true",
                    pod(ordinal),
                    pod(ordinal),
                    tombolo_crds::REPLACE_ANNOTATION
                );
                yes(reasons::WAITING_FOR_APPROVAL, message)
            }
        }
    }

    fn config_applied(&self) -> Finding {
        let found = |truth, reason, message: String| Finding::new(CONFIG_APPLIED, truth, reason, message);
        let Some(wanted) = self.seen.config_hash else {
            let message = "no configuration is made while the spec has problems".to_owned();
            return found(Truth::Unknown, reasons::INVALID, message);
        };
        if self.seen.facts.wanted == 0 {
            return found(Truth::True, reasons::HIBERNATING, "no node runs".to_owned());
        }
        let (mut silent, mut pending, mut restart) = (None, None, None);
        for ordinal in 0..self.seen.facts.wanted {
            match self.seen.reports.get(&ordinal) {
                Some(Report::Said(status)) => {
                    if let Some(error) = &status.config_error {
                        let message = format!("{} refuses the configuration: {error}", self.pod_name(ordinal));
                        return found(Truth::False, reasons::CONFIG_INVALID, message);
                    }
                    if status.config_hash != wanted {
                        pending = pending.or(Some(ordinal));
                    } else if !status.restart_required.is_empty() {
                        restart = restart.or(Some((ordinal, status.restart_required.join(", "))));
                    }
                }
                Some(Report::Silent(why)) => silent = silent.or(Some((ordinal, why.clone()))),
                None => silent = silent.or(Some((ordinal, "it was not asked yet".to_owned()))),
            }
        }
        match (pending, silent, restart) {
            (Some(ordinal), _, _) => {
                let message = format!("{} does not run the newest configuration yet", self.pod_name(ordinal));
                found(Truth::False, reasons::CONFIG_PENDING, message)
            }
            (None, Some((ordinal, why)), _) => {
                let message = format!("{} does not say what it runs: {why}", self.pod_name(ordinal));
                found(Truth::Unknown, reasons::NO_REPORT, message)
            }
            (None, None, Some((ordinal, keys))) => {
                let message = format!("{} takes over {keys} when it is restarted", self.pod_name(ordinal));
                found(Truth::False, reasons::RESTART_REQUIRED, message)
            }
            (None, None, None) => {
                found(Truth::True, reasons::CONVERGED, format!("every node runs configuration {wanted}"))
            }
        }
    }

    fn tls_ready(&self) -> Finding {
        let certificates = self.seen.certificates;
        if let Some((what, at)) = certificates.iter().find(|(_, at)| *at <= self.seen.now) {
            let message = format!("the certificate of {what} is not valid since {}; renew it", text(*at));
            return Finding::new(TLS_READY, Truth::False, reasons::CERTIFICATE_EXPIRED, message);
        }
        if let Some(fault) = self.seen.internode {
            return Finding::new(TLS_READY, Truth::False, fault.reason, fault.message.clone());
        }
        match certificates.iter().min_by_key(|(_, at)| at) {
            None => Finding::new(TLS_READY, Truth::True, reasons::NOT_USED, "no listener uses TLS"),
            Some((what, at)) => {
                let message = format!("certificates are valid, that of {what} until {}", text(*at));
                Finding::new(TLS_READY, Truth::True, reasons::CONVERGED, message)
            }
        }
    }

    /// A pod runs only once its volume is there.
    fn storage_ready(&self) -> Finding {
        let found = |truth, reason, message: &str| Finding::new(STORAGE_READY, truth, reason, message);
        if self.seen.cluster.spec.storage.is_none() {
            return found(Truth::True, reasons::NOT_USED, "the spec asks for no volumes");
        }
        if let Some(fault) = self.seen.volumes {
            return found(Truth::False, fault.reason, &fault.message);
        }
        let running = |ordinal| {
            let pod = self.seen.facts.pods.iter().find(|pod| pod.ordinal == ordinal);
            pod.is_some_and(|pod| pod.ready_since.is_some())
        };
        if (0..self.seen.facts.wanted).all(running) {
            found(Truth::True, reasons::CONVERGED, "every node has its volume, of the size that is asked for")
        } else {
            found(Truth::Unknown, reasons::WAITING_FOR_PODS, "a volume is known to be there once its node is ready")
        }
    }

    /// Whether Prometheus hears of it; clients are served either way.
    fn monitoring_ready(&self) -> Finding {
        let managed = self.seen.cluster.spec.monitoring.as_ref().map(|monitoring| monitoring.service_monitor);
        match (managed, self.seen.monitoring) {
            (None | Some(Management::Disabled), _) => {
                Finding::new(MONITORING_READY, Truth::True, reasons::NOT_USED, "the spec asks for no ServiceMonitor")
            }
            (Some(Management::Managed), Some(fault)) => {
                Finding::new(MONITORING_READY, Truth::False, fault.reason, fault.message.clone())
            }
            (Some(Management::Managed), None) => Finding::new(
                MONITORING_READY,
                Truth::True,
                reasons::CONVERGED,
                "a ServiceMonitor names the admin Service",
            ),
        }
    }

    fn failing(&self, ordinal: u16) -> bool {
        self.seen.facts.pods.iter().any(|pod| pod.ordinal == ordinal && pod.failing)
    }

    fn pod_name(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.seen.cluster.metadata.name.as_deref().unwrap_or_default())
    }

    /// That of all nodes, once it is the same.
    fn version(&self) -> Option<String> {
        let mut versions = self.seen.reports.values().filter_map(|report| match report {
            Report::Said(status) => Some(&status.version),
            Report::Silent(_) => None,
        });
        let first = versions.next()?;
        versions.all(|version| version == first).then(|| first.clone())
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let mut pods: Vec<_> = self.seen.facts.pods.iter().collect();
        pods.sort_by_key(|pod| pod.ordinal);
        pods.into_iter().map(|pod| self.node(pod)).collect()
    }

    fn node(&self, pod: &PodFacts) -> NodeStatus {
        use tombolo_broker_api::EvacuationPhase as Phase;
        let told = self.seen.decision.is_some_and(|decision| decision.evacuating.contains(&pod.ordinal));
        let report = self.seen.reports.get(&pod.ordinal);
        let state = match (pod.terminating, told, pod.evacuation, pod.ready_since, report) {
            (true, ..) => NodeState::Leaving,
            (false, true, Some(Phase::Empty), ..) => NodeState::Evacuated,
            (false, true, Some(Phase::Evacuating | Phase::TimedOut) | None, ..) => NodeState::Evacuating,
            (false, false, _, Some(_), Some(Report::Silent(_))) => NodeState::Lost,
            (false, false, _, Some(_), Some(Report::Said(_)) | None) => NodeState::Running,
            (false, false, _, None, _) => NodeState::Joining,
        };
        let version = match report {
            Some(Report::Said(status)) => Some(status.version.clone()),
            Some(Report::Silent(_)) | None => None,
        };
        NodeStatus { name: self.pod_name(pod.ordinal), state, version, revision: Some(pod.revision.clone()) }
    }

    fn kept(&self, state: &Evacuation) -> EvacuationStatus {
        debug_assert!(self.generation >= 0, "the API server counts from 1");
        EvacuationStatus {
            pod: self.pod_name(state.ordinal),
            cause: match state.cause {
                Cause::Update => EvacuationCause::RollingUpdate,
                Cause::ScaleDown => EvacuationCause::ScaleDown,
            },
            start_time: text(state.start),
            deadline: text(state.deadline),
        }
    }
}

/// Whether everything that the spec names is there.
pub(super) fn resolved_refs(problems: &[Problem]) -> Finding {
    let missing = [
        reasons::SECRET_NOT_FOUND,
        reasons::SECRET_KEY_MISSING,
        reasons::SECRET_INVALID,
        reasons::CLUSTER_NOT_FOUND,
        reasons::USER_NOT_FOUND,
    ];
    match problems.iter().find(|problem| missing.contains(&problem.reason)) {
        None => {
            let message = "everything that the spec names is there";
            Finding::new(RESOLVED_REFS, Truth::True, reasons::CONVERGED, message)
        }
        Some(problem) => {
            let message = format!("{}: {}", problem.field, problem.message);
            Finding::new(RESOLVED_REFS, Truth::of(false), problem.reason, message)
        }
    }
}

/// The problems of an object as one sentence for its status.
pub(super) fn said(problems: &[Problem]) -> String {
    let all: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect();
    all.join("; ")
}

fn nodes(count: u16) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

// === impl Report ===

impl Report {
    /// Whether conditions made of one are those made of the other: counters, sizes and times are left out.
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Said(one), Self::Said(other)) => essence(one) == essence(other),
            (Self::Silent(one), Self::Silent(other)) => one == other,
            (Self::Said(_), Self::Silent(_)) | (Self::Silent(_), Self::Said(_)) => false,
        }
    }
}

/// What of a node's status conditions are made of.
fn essence(status: &Status) -> Status {
    let mut kept = Status {
        uptime_seconds: 0,
        sessions: 0,
        connections: 0,
        subscriptions: 0,
        retained: 0,
        messages_received: 0,
        messages_sent: 0,
        messages_dropped: BTreeMap::new(),
        peers: Vec::new(),
        ..status.clone()
    };
    for listener in &mut kept.listeners {
        listener.connections = 0;
    }
    for link in &mut kept.links {
        // Whether anything waits at all, so that a backlog reaches the status; how much is a sample.
        link.spool.messages = link.spool.messages.min(1);
        (link.spool.bytes, link.spool.oldest_seconds) = (0, 0);
        link.round_trip_micros = link.round_trip_micros.map(|_| 0);
        (link.filters_wanted, link.filters_served) = (0, 0);
        (link.messages_sent, link.messages_received, link.messages_repeated) = (0, 0, 0);
        link.messages_dropped.clear();
        if let Some(error) = &mut link.last_error {
            error.unix_seconds = 0;
        }
    }
    if let Some(evacuation) = &mut kept.evacuation {
        *evacuation = tombolo_broker_api::EvacuationStatus { phase: evacuation.phase, ..Default::default() };
    }
    kept
}
