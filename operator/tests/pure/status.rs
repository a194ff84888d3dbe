//! Status: what is seen makes conditions that tools read rightly, whatever is seen.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tombolo_broker_api::{EvacuationPhase, LinkError, LinkState, LinkStatus, ListenerStatus, SpoolStatus, Status};
use tombolo_crds::brokercluster::Storage;
use tombolo_crds::kstatus::{Kstatus, kstatus, violations};
use tombolo_crds::{BrokerCluster, ClusterLink, conditions, reasons};
use tombolo_operator::observed::Observed;
use tombolo_operator::plan::rollout::{Facts, HOLD, PodFacts, SetFacts, step};
use tombolo_operator::status::{ClusterSeen, Fault, LinkSeen, Report, cluster_status, kept_evacuation, link_status};
use tombolo_operator::validate::{ObjectRef, Problem, ValidLink, validate};

const NOW: i64 = 1_800_000_000;
const HASH: &str = "abcd";

fn cluster() -> BrokerCluster {
    let object = json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster",
        "metadata": {"name": "edge", "namespace": "site", "uid": "an-id", "generation": 3},
        "spec": {"replicas": 2, "authentication": {"anonymous": "Allowed"}},
    });
    serde_json::from_value(object).expect("a cluster")
}

fn link() -> ClusterLink {
    let object = json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink",
        "metadata": {"name": "far", "namespace": "site", "generation": 5},
        "spec": {"clusterRef": {"name": "edge"}, "topics": ["a"], "accept": {"user": "x"}, "remote": {"clusterName": "far"}},
    });
    serde_json::from_value(object).expect("a link")
}

fn facts() -> Facts {
    let pod = |ordinal| PodFacts { ordinal, revision: "r".into(), ready_since: Some(NOW - 60), ..PodFacts::default() };
    Facts {
        wanted: 2,
        evacuate: true,
        deadline_seconds: 900,
        set: Some(SetFacts { replicas: 2, partition: HOLD, update_revision: "r".into(), observed: true }),
        pods: vec![pod(0), pod(1)],
        ..Facts::default()
    }
}

fn said(hash: &str) -> Report {
    let listener = ListenerStatus { name: "mqtt".into(), ..ListenerStatus::default() };
    let status =
        Status { version: "1".into(), config_hash: hash.into(), listeners: vec![listener], ..Status::default() };
    Report::Said(Box::new(status))
}

fn with_link(link: LinkStatus) -> BTreeMap<u16, Report> {
    let Report::Said(mut status) = said(HASH) else { unreachable!("said above") };
    status.links.push(LinkStatus { name: "far".into(), ..link });
    BTreeMap::from([(0, Report::Said(status))])
}

/// Everything is well.
struct Scene {
    cluster: BrokerCluster,
    facts: Facts,
    problems: Vec<Problem>,
    reports: BTreeMap<u16, Report>,
    fault: Option<Fault>,
    certificates: Vec<(String, i64)>,
    volumes: Option<Fault>,
    internode: Option<Fault>,
    paused: bool,
    now: i64,
}

// === impl Scene ===

impl Scene {
    fn new() -> Self {
        Self {
            cluster: cluster(),
            facts: facts(),
            problems: Vec::new(),
            reports: BTreeMap::from([(0, said(HASH)), (1, said(HASH))]),
            fault: None,
            certificates: Vec::new(),
            volumes: None,
            internode: None,
            paused: false,
            now: NOW,
        }
    }

    /// The object with the status that is made of what is seen.
    fn shown(&self) -> BrokerCluster {
        let planned = self.problems.is_empty();
        let state = self.cluster.status.as_ref().and_then(|status| kept_evacuation(status, "edge"));
        let decision = planned.then(|| step(state.as_ref(), &self.facts, self.now));
        let status = cluster_status(&ClusterSeen {
            cluster: &self.cluster,
            problems: &self.problems,
            facts: &self.facts,
            decision: decision.as_ref(),
            config_hash: planned.then_some(HASH),
            reports: &self.reports,
            fault: self.fault.as_ref(),
            certificates: &self.certificates,
            volumes: self.volumes.as_ref(),
            internode: self.internode.as_ref(),
            monitoring: None,
            paused: self.paused,
            now: self.now,
        });
        BrokerCluster { status: Some(status), ..self.cluster.clone() }
    }
}

/// Status and reason of a condition.
fn condition(object: &impl serde::Serialize, kind: &str) -> (String, String) {
    let object = serde_json::to_value(object).expect("JSON");
    let all = object["status"]["conditions"].as_array().expect("conditions");
    let found = all.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&found["status"]), text(&found["reason"]))
}

fn is(object: &impl serde::Serialize, kind: &str, status: &str, reason: &str) {
    assert_eq!(condition(object, kind), (status.to_owned(), reason.to_owned()), "{kind}");
}

fn clean(object: &impl serde::Serialize, always: &[&str]) -> Kstatus {
    let object = serde_json::to_value(object).expect("JSON");
    assert_eq!(violations(&object, always), Vec::<String>::new(), "{object:#}");
    kstatus(&object)
}

fn problem(reason: &'static str) -> Problem {
    let object = ObjectRef { kind: "BrokerCluster", namespace: "site".into(), name: "edge".into() };
    Problem { object, field: "spec.x".into(), reason, message: "is wrong; mend it".into() }
}

#[test]
fn a_cluster_is_ready_when_pods_configuration_and_brokers_all_say_so() {
    let well = Scene::new().shown();
    is(&well, "Ready", "True", "Converged");
    assert_eq!(clean(&well, &conditions::BROKER_CLUSTER), Kstatus::Current);
    type Change = fn(&mut Scene);
    let cases: [(Change, &str, Kstatus); 9] = [
        (|scene| scene.facts.pods[1].ready_since = None, reasons::WAITING_FOR_PODS, Kstatus::InProgress),
        (|scene| drop(scene.reports.insert(1, said("old"))), reasons::CONFIG_PENDING, Kstatus::InProgress),
        (|scene| drop(scene.reports.remove(&1)), reasons::NO_REPORT, Kstatus::InProgress),
        (|scene| scene.problems.push(problem(reasons::SECRET_NOT_FOUND)), reasons::SECRET_NOT_FOUND, Kstatus::Failed),
        (|scene| scene.certificates.push(("mqtts".into(), NOW)), reasons::CERTIFICATE_EXPIRED, Kstatus::Failed),
        (|scene| scene.facts.template_changed = true, reasons::ROLLING_UPDATE, Kstatus::InProgress),
        (|scene| scene.facts.wanted = 1, reasons::EVACUATING_SESSIONS, Kstatus::InProgress),
        (
            |scene| {
                let message = "503".to_owned();
                scene.fault = Some(Fault { reason: reasons::APPLY_FAILED, message, stalled: false });
            },
            reasons::APPLY_FAILED,
            Kstatus::InProgress,
        ),
        (
            |scene| {
                let Some(Report::Said(status)) = scene.reports.get_mut(&0) else { unreachable!("it was said") };
                status.config_error = Some("no".into());
            },
            reasons::CONFIG_INVALID,
            Kstatus::Failed,
        ),
    ];
    for (change, reason, seen_as) in cases {
        let mut scene = Scene::new();
        change(&mut scene);
        let shown = scene.shown();
        is(&shown, "Ready", "False", reason);
        assert_eq!(clean(&shown, &conditions::BROKER_CLUSTER), seen_as, "{reason}");
    }
}

#[test]
fn a_cluster_whose_volumes_grow_is_on_its_way_and_one_whose_volumes_may_not_is_stuck() {
    let mut scene = Scene::new();
    scene.cluster.spec.storage = Some(Storage { size: "2Gi".to_owned(), ..Storage::default() });
    let fault = |reason, stalled| Some(Fault { reason, message: "claim data-edge-0".to_owned(), stalled });
    scene.volumes = fault(reasons::VOLUME_RESIZING, false);
    let shown = scene.shown();
    is(&shown, "StorageReady", "False", "VolumeResizing");
    is(&shown, "Ready", "False", "VolumeResizing");
    assert_eq!(clean(&shown, &conditions::BROKER_CLUSTER), Kstatus::InProgress);
    scene.volumes = fault(reasons::VOLUME_EXPANSION_REFUSED, true);
    let shown = scene.shown();
    is(&shown, "Ready", "False", "VolumeExpansionRefused");
    is(&shown, "Available", "True", "QuorumReady");
    assert_eq!(clean(&shown, &conditions::BROKER_CLUSTER), Kstatus::Failed);
    scene.volumes = None;
    is(&scene.shown(), "StorageReady", "True", "Converged");
}

#[test]
fn a_certificate_that_is_awaited_is_under_way_and_a_missing_kind_is_for_somebody_to_mend() {
    let mut scene = Scene::new();
    for (reason, stalled, seen_as) in
        [(reasons::CERTIFICATE_PENDING, false, Kstatus::InProgress), (reasons::CRD_MISSING, true, Kstatus::Failed)]
    {
        scene.internode = Some(Fault { reason, message: "of the nodes".to_owned(), stalled });
        let shown = scene.shown();
        is(&shown, "TLSReady", "False", reason);
        is(&shown, "Ready", "False", reason);
        assert_eq!(clean(&shown, &conditions::BROKER_CLUSTER), seen_as, "{reason}");
    }
}

#[test]
fn a_stopped_cluster_is_as_its_spec_says_and_not_available() {
    let mut scene = Scene::new();
    scene.facts = Facts { set: scene.facts.set.clone(), ..Facts::default() };
    if let Some(set) = &mut scene.facts.set {
        set.replicas = 0;
    }
    let shown = scene.shown();
    is(&shown, "Ready", "True", "Hibernating");
    is(&shown, "Available", "False", "Hibernating");
    assert_eq!(clean(&shown, &conditions::BROKER_CLUSTER), Kstatus::Current);
}

#[test]
fn time_alone_changes_nothing_and_a_transition_has_its_time() {
    let mut scene = Scene::new();
    scene.cluster = scene.shown();
    scene.now += 3_600;
    assert_eq!(scene.shown(), scene.cluster);
    scene.facts.pods[1].ready_since = None;
    let later = scene.shown();
    let time = |object: &BrokerCluster, kind: &str| {
        let all = &object.status.as_ref().expect("a status").conditions;
        all.iter().find(|condition| condition.type_ == kind).expect("it is there").last_transition_time.0.as_second()
    };
    assert_eq!((time(&later, "Ready"), time(&later, "ResolvedRefs")), (NOW + 3_600, NOW));
}

#[test]
fn a_paused_cluster_keeps_its_last_truth_and_its_generation() {
    let mut scene = Scene::new();
    scene.cluster = scene.shown();
    scene.cluster.metadata.generation = Some(4);
    scene.paused = true;
    scene.facts.pods.clear();
    let shown = scene.shown();
    is(&shown, "Ready", "True", "Converged");
    is(&shown, "Paused", "True", "PausedByAnnotation");
    assert_eq!(shown.status.as_ref().and_then(|status| status.observed_generation), Some(3));
    assert_eq!(clean(&shown, &conditions::BROKER_CLUSTER), Kstatus::InProgress, "the newest spec was not looked at");
    // One that was never looked at says that nobody knows.
    let fresh = Scene { cluster: cluster(), ..scene }.shown();
    is(&fresh, "Ready", "Unknown", "NotYetObserved");
    clean(&fresh, &conditions::BROKER_CLUSTER);
}

#[test]
fn an_evacuation_is_read_back_as_it_was_written() {
    let mut scene = Scene::new();
    scene.facts.wanted = 1;
    scene.cluster = scene.shown();
    let kept = kept_evacuation(scene.cluster.status.as_ref().expect("a status"), "edge").expect("it is there");
    assert_eq!((kept.ordinal, kept.start, kept.deadline), (1, NOW, NOW + 900));
    scene.now += 100;
    assert_eq!(scene.shown(), scene.cluster, "it goes on where it was");
}

fn valid() -> ValidLink {
    let users = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "u", "namespace": "site"},
                       "stringData": {"x": "secret"}});
    let mut cluster = cluster();
    cluster.spec.replicas = 1;
    cluster.spec.authentication =
        serde_json::from_value(json!({"users": {"secretRef": {"name": "u"}}})).expect("users");
    let secrets = vec![serde_json::from_value(users).expect("a Secret")];
    let observed = Observed { clusters: vec![cluster], links: vec![link()], secrets };
    let validated = validate(&observed);
    validated.clusters[0].links.first().unwrap_or_else(|| panic!("{:?}", validated.problems)).clone()
}

fn shown_link(link: &ClusterLink, reports: &BTreeMap<u16, Report>, now: i64) -> ClusterLink {
    let status = link_status(&LinkSeen {
        link,
        problems: &[],
        valid: Some(&valid()),
        nodes: 1,
        fault: None,
        config_hash: Some(HASH),
        reports,
        drain: None,
        paused: false,
        now,
    });
    ClusterLink { status: Some(status), ..link.clone() }
}

#[test]
fn a_link_is_ready_only_when_a_heartbeat_came_back_and_interest_is_in_sync() {
    let connected = LinkStatus { state: LinkState::Connected, dialled: 1, ..LinkStatus::default() };
    let in_sync = LinkStatus { ready: true, in_sync: true, round_trip_micros: Some(9), ..connected.clone() };
    let refused = |reason: &str| LinkStatus {
        last_error: Some(LinkError { reason: reason.into(), ..LinkError::default() }),
        ..LinkStatus::default()
    };
    let syncing = LinkStatus { round_trip_micros: Some(9), ..connected.clone() };
    for (status, ready, reason) in [
        (in_sync.clone(), "True", reasons::HEARTBEAT_RETURNED),
        (syncing, "False", reasons::SYNCING_INTEREST),
        (connected, "False", reasons::HEARTBEAT_LOST),
        (LinkStatus::default(), "False", reasons::REMOTE_UNREACHABLE),
        (refused("AuthenticationFailed"), "False", reasons::AUTHENTICATION_FAILED),
        (refused("ClusterIdMismatch"), "False", reasons::CLUSTER_ID_MISMATCH),
        (refused("OwnCluster"), "False", reasons::LOOP_DETECTED),
        (refused("DnsFailed"), "False", reasons::REMOTE_UNREACHABLE),
    ] {
        let shown = shown_link(&link(), &with_link(status), NOW);
        is(&shown, "Ready", ready, reason);
        let seen_as = if ready == "True" { Kstatus::Current } else { Kstatus::InProgress };
        assert_eq!(clean(&shown, &conditions::CLUSTER_LINK), seen_as);
    }
    let mut off = link();
    off.spec.enabled = false;
    let shown = shown_link(&off, &with_link(in_sync), NOW);
    is(&shown, "Ready", "False", reasons::DISABLED);
    assert_eq!(condition(&shown, "Reconciling").0, "", "nothing is on its way");
    clean(&shown, &conditions::CLUSTER_LINK);
    let silent = shown_link(&link(), &BTreeMap::new(), NOW);
    is(&silent, "Programmed", "Unknown", reasons::NO_REPORT);
    clean(&silent, &conditions::CLUSTER_LINK);
}

#[test]
fn a_backlog_is_a_sample_of_every_thirty_seconds() {
    let waits = |messages| {
        let spool = SpoolStatus { messages, bytes: messages * 10, oldest_seconds: 1 };
        with_link(LinkStatus { spool, ..LinkStatus::default() })
    };
    let first = shown_link(&link(), &waits(5), NOW);
    let count =
        |link: &ClusterLink| link.status.as_ref().and_then(|status| status.backlog.as_ref()).map(|it| it.messages);
    assert_eq!(count(&first), Some(5));
    assert_eq!(shown_link(&first, &waits(6), NOW + 29), first, "rapid numbers are metrics");
    assert_eq!(count(&shown_link(&first, &waits(6), NOW + 30)), Some(6));
    assert_eq!(shown_link(&first, &waits(5), NOW + 3_600), first, "and the same again is no change");
    let full = valid().spool.max_bytes.0;
    let spool = SpoolStatus { messages: 1, bytes: full - 1, oldest_seconds: 1 };
    let full = shown_link(&link(), &with_link(LinkStatus { spool, ..LinkStatus::default() }), NOW);
    is(&full, "BacklogHealthy", "False", reasons::BACKLOG_HIGH);
}

#[test]
fn what_changes_all_the_time_does_not_wake_anybody() {
    let Report::Said(before) = said(HASH) else { unreachable!("said above") };
    let mut after = before.clone();
    (after.uptime_seconds, after.messages_received, after.connections) = (99, 1_000, 7);
    assert!(Report::Said(before.clone()).says_the_same(&Report::Said(after.clone())));
    after.evacuation =
        Some(tombolo_broker_api::EvacuationStatus { phase: EvacuationPhase::Empty, ..Default::default() });
    assert!(!Report::Said(before.clone()).says_the_same(&Report::Said(after)));
    assert!(!Report::Said(before).says_the_same(&Report::Silent("gone".into())));
}

fn pod(ordinal: u16) -> impl Strategy<Value = PodFacts> {
    let phase = proptest::option::of(prop_oneof![
        Just(EvacuationPhase::Evacuating),
        Just(EvacuationPhase::Empty),
        Just(EvacuationPhase::TimedOut)
    ]);
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), phase).prop_map(
        move |(new, ready, failing, terminating, evacuation)| PodFacts {
            ordinal,
            revision: if new { "r" } else { "old" }.into(),
            ready_since: ready.then_some(NOW - 60),
            failing: failing && !ready,
            terminating,
            approved: new,
            evacuation,
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    (0..5u8, any::<bool>()).prop_map(|(kind, restart)| match (kind, said(if kind == 1 { "old" } else { HASH })) {
        (0, _) => Report::Silent("no answer".into()),
        (2, Report::Said(status)) => Report::Said(Box::new(Status { config_error: Some("bad".into()), ..*status })),
        (3, Report::Said(status)) if restart => {
            Report::Said(Box::new(Status { restart_required: vec!["tuning.shards".into()], ..*status }))
        }
        (_, report) => report,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_seen_the_status_is_clean_and_a_second_look_changes_nothing(
        wanted in 0..4u16, replicas in 0..4u16, changed in any::<bool>(), observed in any::<bool>(), paused in any::<bool>(),
        pods in (proptest::option::of(pod(0)), proptest::option::of(pod(1)), proptest::option::of(pod(2))),
        reports in proptest::collection::btree_map(0..3u16, report(), 0..3), wrong in 0..4u8, stalled in any::<bool>(),
    ) {
        let mut scene = Scene::new();
        let set = SetFacts { replicas, partition: HOLD, update_revision: "r".into(), observed };
        scene.facts = Facts { wanted, set: Some(set), template_changed: changed, ..facts() };
        scene.facts.pods = [pods.0, pods.1, pods.2].into_iter().flatten().collect();
        (scene.reports, scene.paused) = (reports, paused);
        match wrong {
            1 => scene.problems.push(problem(reasons::INVALID)),
            2 => scene.fault = Some(Fault { reason: reasons::CHILD_REFUSED, message: "no".into(), stalled }),
            3 => scene.certificates.push(("mqtts".into(), NOW - 1)),
            _ => {}
        }
        let shown = scene.shown();
        clean(&shown, &conditions::BROKER_CLUSTER);
        scene.cluster = shown;
        prop_assert_eq!(scene.shown(), scene.cluster);
    }
}
