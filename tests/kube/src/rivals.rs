//! Two operators at one time: by a mistake in their Leases, and one that wakes up after another took over.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use hyper::Method;
use kube::api::{Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::Notify;

use crate::api_proxy::{ApiProxy, Fault};
use crate::house::{House, LEASE_DURATION, apply, eventually};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, LINK, edge, until_settled};
use crate::snapshot::{differences, snapshot};
use crate::story::hybrid_cloud;
use crate::watchman::Readiness;

/// Long enough that a fight would be seen.
const QUIET: Duration = Duration::from_secs(4);

/// Whatever one of them made, the other takes as it is: certificates and tokens too, which both made at first.
pub async fn two_operators_with_different_leases_settle_and_do_not_fight(plane: Arc<Plane>) {
    let house = House::build(&plane, "fight", Runs::Brokers).await;
    let rules =
        json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]}]);
    let version = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": version, "kind": "Role", "metadata": {"name": "leases"}, "rules": rules});
    let binding = json!({"apiVersion": version, "kind": "RoleBinding", "metadata": {"name": "leases"},
                         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leases"},
                         "subjects": [{"kind": "ServiceAccount", "name": "tombolo", "namespace": house.namespace}]});
    for object in [role, binding] {
        apply(&house.client, &house.namespace, "tests", object).await;
    }
    let operators =
        ["one", "other"].map(|name| house.operator_with(name, |command| _ = command.env("TOMBOLO_LEASE", name)));
    for operator in &operators {
        eventually("it leads", async || operator.metric("tombolo_operator_leader").await == 1.0).await;
    }
    let readiness = Readiness::follow(&house.client, &house.namespace);
    house.apply(&edge(json!({"replicas": 2}))).await;
    house.until_ready(CLUSTER, "edge").await;
    house.apply(&edge(json!({"replicas": 3}))).await;
    house.until_ready(CLUSTER, "edge").await;
    let writes = async || {
        let [one, other] = &operators;
        (one.metric("tombolo_operator_writes_total").await, other.metric("tombolo_operator_writes_total").await)
    };
    let mut before = writes().await;
    let mut quiet = 0;
    eventually("nobody writes any more", async || {
        tokio::time::sleep(QUIET / 4).await;
        let now = writes().await;
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        quiet == 4
    })
    .await;
    println!("two operators: {before:?} writes");
    assert!(before.0 + before.1 < 150.0, "{before:?} writes for one cluster");
    let turns = readiness.turns();
    let said = &turns["BrokerCluster edge"];
    assert!(said.len() < 16, "{said:?}");
    assert_eq!(said.iter().filter(|said| said.starts_with("True")).count(), 2, "{said:?}");
}

pub async fn a_leader_that_wakes_after_its_time_writes_nothing_more_and_ends(plane: Arc<Plane>) {
    let house = House::build(&plane, "stopped", Runs::Nothing).await;
    let proxy = house.proxy();
    wakes_too_late(&house, &proxy, async || {}, || {}).await;
}

/// The renewal was carried out, and its answer is there when it wakes; yet it is as old as the sleep was long.
pub async fn a_renewal_that_was_answered_after_its_time_is_none(plane: Arc<Plane>) {
    let house = House::build(&plane, "late", Runs::Nothing).await;
    let proxy = house.proxy();
    let (renewing, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let hold = async || {
        let (renewing, answered) = (Arc::clone(&renewing), Arc::clone(&answered));
        let seen = Arc::clone(&renewing);
        proxy.rules(move |asked| {
            let renews = asked.method == Method::PUT && asked.path.contains("/leases") && !renewing.swap(true, Relaxed);
            renews.then(|| Fault::Held(Arc::clone(&answered)))
        });
        eventually("it renews", async || seen.load(Relaxed)).await;
    };
    wakes_too_late(&house, &proxy, hold, || answered.notify_one()).await;
}

/// Such a lease as operators have outside of these tests, and this way to the API server.
fn usual_lease(house: &House, proxy: &ApiProxy) -> impl FnOnce(&mut Command) + use<> {
    let kubeconfig = house.kubeconfig_through(proxy);
    move |command| _ = command.env("KUBECONFIG", kubeconfig).env(LEASE_DURATION, "15")
}

async fn wakes_too_late(house: &House, proxy: &ApiProxy, before: impl AsyncFnOnce(), after: impl FnOnce()) {
    let mut first = house.operator_with("first", usual_lease(house, proxy));
    eventually("the first leads", async || first.metric("tombolo_operator_leader").await == 1.0).await;
    house.apply(&edge(json!({"replicas": 1}))).await;
    until_settled(house).await;
    let second = house.operator("second");
    second.ready().await;
    before().await;
    first.process.signal(Signal::STOP);
    eventually("the second leads", async || second.metric("tombolo_operator_leader").await == 1.0).await;
    let written = proxy.written().len();
    house.apply(&edge(json!({"replicas": 2}))).await;
    house.until(CLUSTER, "edge", "two nodes", |object| object["status"]["readyReplicas"] == 2).await;
    until_settled(house).await;
    let expected = snapshot(house, "edge").await;
    after();
    // A last change, so that there is something to write when it wakes.
    house.apply(&edge(json!({"replicas": 2, "networkPolicy": "Disabled"}))).await;
    first.process.signal(Signal::CONT);
    let status = first.process.end().await;
    assert_eq!(status.code(), Some(1), "{}", first.process.output());
    let late: Vec<_> = proxy.written().drain(written..).collect();
    assert!(late.is_empty(), "it wrote though another leads: {late:?}");
    house.apply(&edge(json!({"replicas": 2}))).await;
    let mut said = String::new();
    let same = async || {
        said = differences(&expected, &snapshot(house, "edge").await);
        said.is_empty()
    };
    eventually("the second goes on", same).await;
}

/// It has not asked the brokers yet, and that is no news of them.
pub async fn a_new_operator_says_of_what_is_well_nothing_else(plane: Arc<Plane>) {
    let house = House::build(&plane, "heir", Runs::Brokers).await;
    let mut before = house.operator("before");
    hybrid_cloud(&house, &["secrets.yaml", "local.yaml", "cloud.yaml"]).await;
    let all = [(CLUSTER, "deployment-local"), (CLUSTER, "deployment-cloud"), (LINK, "to-cloud"), (LINK, "to-local")];
    for (kind, name) in all {
        house.until_ready(kind, name).await;
    }
    assert!(before.process.terminate().await.success());
    let readiness = Readiness::follow(&house.client, &house.namespace);
    let after = house.operator("after");
    eventually("it made its passes", async || {
        after.metric("tombolo_operator_reconciles_total{result=\"success\"}").await >= 4.0
    })
    .await;
    // It asks them now: what changes reaches the status.
    let topics = Patch::Merge(json!({"spec": {"topics": ["from-cluster", "more"]}}));
    house.api(LINK).patch("to-cloud", &PatchParams::default(), &topics).await.expect("patched");
    for (kind, name) in all {
        house.until_ready(kind, name).await;
    }
    for (object, said) in readiness.turns() {
        assert!(said.iter().all(|said| !said.contains("NoReport")), "{object}: {said:?}");
        assert!(said[0].starts_with("True"), "{object}: {said:?}");
    }
}

/// The API server was busy, or carried out what its answer denied: no reason to end.
pub async fn a_renewal_that_fails_for_a_while_is_tried_again(plane: Arc<Plane>) {
    let house = House::build(&plane, "renew", Runs::Nothing).await;
    let proxy = house.proxy();
    let faults = [
        Fault::Lost,
        Fault::Answer(409, None),
        Fault::Reset,
        Fault::Answer(500, None),
        Fault::Answer(503, None),
        Fault::Answer(429, Some(1)),
    ];
    let mut operator = house.operator_with("one", usual_lease(&house, &proxy));
    eventually("it leads", async || operator.metric("tombolo_operator_leader").await == 1.0).await;
    let renewals = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&renewals);
    proxy.rules(move |asked| {
        let renews = asked.method == Method::PUT && asked.path.contains("/leases");
        let number = renews.then(|| seen.fetch_add(1, Relaxed))?;
        // Each fault, and after it one that succeeds.
        if number % 2 == 0 { faults.get(number / 2).cloned() } else { None }
    });
    eventually("every fault was met", async || {
        assert!(operator.process.ended().is_none(), "{}", operator.process.output());
        renewals.load(Relaxed) > 13
    })
    .await;
}
