//! A CRD changes under a running operator, with objects there.

use std::sync::Arc;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tombolo_tests::http;

use crate::chart::install_crds;
use crate::house::{House, apply, cluster_wide, eventually, rendered, try_apply};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, LINK, edge, until_settled};

const BUDGET: &str = "policy/v1/PodDisruptionBudget";
const NAME: &str = "brokerclusters.tombolo.dev";

/// The older one lacks a field that the operator knows.
pub async fn a_newer_crd_replaces_an_older_one_with_objects_there_and_the_operator_goes_on(plane: Arc<Plane>) {
    let house = House::build(&plane, "upgrade", Runs::Nothing).await;
    let mut older = rendered(&[]).into_iter().find(|object| object["metadata"]["name"] == NAME).expect("a CRD");
    let fields = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = older.pointer_mut(fields).and_then(Value::as_object_mut).expect("fields of the spec");
    assert!(fields.remove("disruptionBudget").is_some());
    install_crds(&plane).await;
    apply(&house.client, "default", "helm", older).await;
    let wanted = edge(json!({"disruptionBudget": "Disabled"}));
    eventually("the older CRD knows no such field", async || {
        let object = serde_json::from_str(&wanted).expect("JSON");
        let sent = try_apply(&house.client, &house.namespace, "gitops", object).await;
        sent.is_err_and(|error| error.to_string().contains("field not declared in schema"))
    })
    .await;
    let mut operator = house.operator("one");
    let before = house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    assert!(house.get(BUDGET, "edge").await.is_some());
    let set = house.get("apps/v1/StatefulSet", "edge").await.expect("a StatefulSet");
    install_crds(&plane).await;
    eventually("the newer CRD takes it", async || {
        let object = serde_json::from_str(&wanted).expect("JSON");
        try_apply(&house.client, &house.namespace, "gitops", object).await.is_ok()
    })
    .await;
    let after = until_settled(&house).await;
    assert_eq!(after["metadata"]["uid"], before[0]["metadata"]["uid"]);
    // The API server's first events may still go through the older schema, without the field; a later one has it.
    let mut touched = 0;
    eventually("the newer field counts", async || {
        touched += 1;
        let touch = json!({"metadata": {"annotations": {"touched": touched.to_string()}}});
        house.api(CLUSTER).patch("edge", &PatchParams::default(), &Patch::Merge(touch)).await.expect("patched");
        house.get(BUDGET, "edge").await.is_none()
    })
    .await;
    let same = house.get("apps/v1/StatefulSet", "edge").await.expect("a StatefulSet");
    assert_eq!(same["spec"]["template"], set["spec"]["template"], "no pod is replaced");
    assert!(operator.process.ended().is_none());
}

pub async fn a_crd_that_vanishes_under_the_operator_is_named_and_the_operator_goes_on_when_it_is_back(
    plane: Arc<Plane>,
) {
    let house = House::build(&plane, "vanishing", Runs::Nothing).await;
    install_crds(&plane).await;
    let mut operator = house.operator("one");
    operator.ready().await;
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    let crds = cluster_wide(&plane.admin().await, "apiextensions.k8s.io/v1/CustomResourceDefinition");
    crds.delete("clusterlinks.tombolo.dev", &DeleteParams::default()).await.expect("deleted");
    eventually("it says what is missing", async || {
        let answer = http::get(operator.address, "/readyz").await;
        answer.is_ok_and(|(code, text)| code == 503 && text.contains("clusterlinks.tombolo.dev is missing"))
    })
    .await;
    // Clusters need no links.
    house.apply(&edge(json!({"replicas": 2}))).await;
    until_settled(&house).await;
    install_crds(&plane).await;
    operator.ready().await;
    let link = json!({
        "apiVersion": "tombolo.dev/v1alpha1",
        "kind": "ClusterLink",
        "metadata": {"name": "to-nowhere"},
        "spec": {
            "clusterRef": {"name": "edge"},
            "remote": {
                "clusterName": "nowhere", "server": "mqtt://nowhere.invalid:1883",
                "credentials": {"secretRef": {"name": "link"}},
            },
            "topics": ["t"],
        },
    });
    house.apply(&link.to_string()).await;
    house.until(LINK, "to-nowhere", "the operator has seen it", |link| link["status"]["conditions"].is_array()).await;
    assert!(operator.process.ended().is_none());
}
