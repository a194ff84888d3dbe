//! What goes wrong around an operator: no CRDs, a rival, its own death, objects of the future.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tombolo_tests::http;

use crate::chart::install_crds;
use crate::house::{House, LEASE_DURATION, eventually};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, edge, until_settled};

pub async fn missing_crds_are_named_and_awaited(plane: Arc<Plane>) {
    let house = House::build(&plane, "crds", Runs::Nothing).await;
    let mut operator = house.operator("one");
    eventually("it says what is missing", async || {
        http::get(operator.address, "/readyz")
            .await
            .is_ok_and(|(code, text)| code == 503 && text.contains("brokerclusters.tombolo.dev"))
    })
    .await;
    assert!(operator.process.ended().is_none(), "it waits and does not crash");
    install_crds(&plane).await;
    operator.ready().await;
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    assert!(operator.process.terminate().await.success());
}

pub async fn a_second_operator_waits_and_takes_over(plane: Arc<Plane>) {
    let house = House::build(&plane, "rival", Runs::Nothing).await;
    let started = |name: &str| house.operator_with(name, |command| _ = command.env(LEASE_DURATION, "15"));
    let mut first = started("first");
    eventually("the first leads", async || {
        first.metric("tombolo_operator_ready").await == 1.0 && first.metric("tombolo_operator_leader").await == 1.0
    })
    .await;
    let mut second = started("second");
    second.ready().await;
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    assert_eq!(second.metric("tombolo_operator_writes_total").await, 0.0);
    assert_eq!(second.metric("tombolo_operator_leader").await, 0.0);
    // It dies, and the other waits until its entry is old.
    first.process.kill();
    eventually("the second leads", async || second.metric("tombolo_operator_leader").await == 1.0).await;
    house.apply(&edge(json!({"replicas": 2}))).await;
    house.until(CLUSTER, "edge", "two nodes", |object| object["status"]["readyReplicas"] == 2).await;
    // Somebody takes the Lease: the process ends.
    let thief = json!({"spec": {"holderIdentity": "thief"}});
    house
        .api("coordination.k8s.io/v1/Lease")
        .patch("tombolo", &PatchParams::default(), &Patch::Merge(thief))
        .await
        .expect("stolen");
    let status = second.process.end().await;
    assert_eq!(status.code(), Some(1), "{}", second.process.output());
    // One that is stopped lets go, and the next need not wait.
    let mut third = house.operator("third");
    eventually("the third leads", async || third.metric("tombolo_operator_leader").await == 1.0).await;
    assert!(third.process.terminate().await.success());
    let lease = house.get("coordination.k8s.io/v1/Lease", "tombolo").await.expect("a Lease");
    assert!(lease["spec"]["holderIdentity"].is_null(), "{lease:#}");
}

pub async fn an_object_of_the_future_is_skipped_alone(plane: Arc<Plane>) {
    let house = House::build(&plane, "future", Runs::Nothing).await;
    // What a CRD of a later release may allow.
    let crds = crate::house::rendered(&[]);
    let mut crd = crds.into_iter().find(|crd| crd["metadata"]["name"] == "brokerclusters.tombolo.dev").expect("a CRD");
    let word = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/service/properties/type/enum";
    crd.pointer_mut(word).and_then(|list| list.as_array_mut()).expect("an enum").push(json!("Tunnel"));
    crate::house::apply(&house.client, "default", "helm", crd).await;
    let _operator = house.operator("one");
    let future = json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "later"},
                        "spec": {"service": {"type": "Tunnel"}}});
    eventually("the CRD takes it", async || {
        crate::house::try_apply(&house.client, &house.namespace, "gitops", future.clone()).await.is_ok()
    })
    .await;
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    assert!(house.get(CLUSTER, "later").await.expect("it is there")["status"].is_null());
    eventually("an event says so", async || {
        let events = house.api("events.k8s.io/v1/Event").list(&Default::default()).await.expect("events");
        events.items.iter().any(|event| {
            event.data["regarding"]["name"] == "later"
                && event.data["note"].as_str().is_some_and(|note| note.contains("Tunnel"))
        })
    })
    .await;
}
