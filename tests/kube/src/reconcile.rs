//! What one operator does with one cluster: drift, references, ownership, pause, deletion, scale.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tombolo_tests::http;

use crate::house::{House, conditions, eventually, is_observed};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::watchman::PASSWORD;

const CHILDREN: [(&str, &str); 8] = [
    ("v1/ServiceAccount", "edge"),
    ("v1/Secret", "edge-config"),
    ("v1/Secret", "edge-internode"),
    ("v1/Service", "edge"),
    ("v1/Service", "edge-nodes"),
    ("networking.k8s.io/v1/NetworkPolicy", "edge"),
    ("policy/v1/PodDisruptionBudget", "edge"),
    ("apps/v1/StatefulSet", "edge"),
];
pub const CLUSTER: &str = "tombolo.dev/v1alpha1/BrokerCluster";
pub const LINK: &str = "tombolo.dev/v1alpha1/ClusterLink";
pub const SET: &str = "apps/v1/StatefulSet";

/// A cluster whose pods are ready though nothing runs in them.
pub fn edge(more: Value) -> String {
    let mut object = json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "edge"},
        "spec": {"update": {"minReadySeconds": 0, "evacuation": {"policy": "Disconnect"}},
                 "authentication": {"anonymous": "Allowed"}},
    });
    for (key, value) in more.as_object().expect("fields of the spec") {
        object["spec"][key] = value.clone();
    }
    object.to_string()
}

/// As it is when its pods are ready and their brokers say nothing.
pub async fn until_settled(house: &House) -> Value {
    house.until_condition(CLUSTER, "edge", "Progressing", "False", "Converged").await
}

pub async fn what_is_removed_or_edited_comes_back_and_what_is_foreign_stays(plane: Arc<Plane>) {
    let house = House::build(&plane, "drift", Runs::Nothing).await;
    let operator = house.operator("one");
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    for (kind, name) in CHILDREN {
        let before = house.get(kind, name).await.unwrap_or_else(|| panic!("{kind} {name} is not there"));
        assert_eq!(before["metadata"]["ownerReferences"][0]["controller"], true, "{kind} {name}");
        let uid = before["metadata"]["uid"].clone();
        // The StatefulSet stays while its pods go on.
        let params = if kind == SET { DeleteParams::orphan() } else { DeleteParams::default() };
        house.api(kind).delete(name, &params).await.expect("removed");
        house.until(kind, name, "it comes back", |object| object["metadata"]["uid"] != uid).await;
    }
    until_settled(&house).await;
    let foreign = json!({"metadata": {"labels": {"team": "blue"}, "annotations": {"note": "kept"}},
                         "spec": {"sessionAffinity": "ClientIP"}});
    let patch = |value: &Value| Patch::Merge(value.clone());
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    house.api("v1/Service").patch("edge", &params, &patch(&foreign)).await.expect("patched");
    let ours = json!({"spec": {"selector": {"app.kubernetes.io/instance": "another"}}});
    house.api("v1/Service").patch("edge", &params, &patch(&ours)).await.expect("patched");
    let service = house
        .until("v1/Service", "edge", "the selector is put right", |object| {
            object["spec"]["selector"]["app.kubernetes.io/instance"] == "edge"
        })
        .await;
    assert_eq!(service["metadata"]["labels"]["team"], "blue");
    assert_eq!(service["metadata"]["annotations"]["note"], "kept");
    assert_eq!(service["spec"]["sessionAffinity"], "ClientIP");
    drop(operator);
}

pub async fn nothing_is_written_when_nothing_changed(plane: Arc<Plane>) {
    let house = House::build(&plane, "still", Runs::Nothing).await;
    let operator = house.operator("one");
    house.apply(&edge(json!({"replicas": 2}))).await;
    until_settled(&house).await;
    let versions = async || {
        let mut versions = Vec::new();
        for (kind, name) in CHILDREN.into_iter().chain([(CLUSTER, "edge")]) {
            let object = house.get(kind, name).await.expect("it is there");
            versions.push((kind, name, object["metadata"]["resourceVersion"].clone()));
        }
        versions
    };
    // Its brokers are found to be silent once; then all is said.
    house.until_condition(CLUSTER, "edge", "ConfigApplied", "Unknown", "NoReport").await;
    let mut before = versions().await;
    eventually("all is quiet", async || {
        let (last, writes) = (before.clone(), operator.metric("tombolo_operator_writes_total").await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        before = versions().await;
        before == last && operator.metric("tombolo_operator_writes_total").await == writes
    })
    .await;
    // A change that asks for nothing: a pass, and no write.
    let (passes, writes) = (
        operator.metric("tombolo_operator_reconciles_total{result=\"success\"}").await,
        operator.metric("tombolo_operator_writes_total").await,
    );
    let note = json!({"metadata": {"annotations": {"note": "nothing"}}});
    house.api(CLUSTER).patch("edge", &PatchParams::default(), &Patch::Merge(note)).await.expect("patched");
    eventually("a pass was made", async || {
        operator.metric("tombolo_operator_reconciles_total{result=\"success\"}").await > passes
    })
    .await;
    assert_eq!(operator.metric("tombolo_operator_writes_total").await, writes);
}

pub async fn a_missing_secret_is_named_and_awaited(plane: Arc<Plane>) {
    let house = House::build(&plane, "secret", Runs::Nothing).await;
    let operator = house.operator("one");
    let users = json!({"authentication": {"users": {"secretRef": {"name": "users"}}}});
    house.apply(&edge(users)).await;
    let cluster = house.until_condition(CLUSTER, "edge", "ResolvedRefs", "False", "SecretNotFound").await;
    let ready = conditions(&cluster).find(|condition| condition["type"] == "Ready").expect("Ready");
    assert!(ready["message"].as_str().is_some_and(|message| message.contains("`users`")), "{ready}");
    assert!(conditions(&cluster).any(|condition| condition["type"] == "Stalled"));
    assert!(house.get(SET, "edge").await.is_none());
    let labels = r#"kind="BrokerCluster",object_namespace="t-secret",object="edge",condition="ResolvedRefs",reason="#;
    let sample = format!("tombolo_operator_unmet_condition{{{labels}\"SecretNotFound\"}} 1\n");
    eventually("what alerts rest on says it", async || {
        http::get(operator.address, "/metrics").await.is_ok_and(|(_, text)| text.contains(&sample))
    })
    .await;
    // A link to a cluster that is not there, and one whose credentials lack a key.
    let link = |name: &str, cluster: &str| {
        json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": name},
               "spec": {"clusterRef": {"name": cluster}, "topics": ["a"],
                        "remote": {"clusterName": "far", "server": "mqtt://far.example:1883",
                                   "credentials": {"secretRef": {"name": "far"}}}}})
        .to_string()
    };
    house.apply(&link("lost", "nowhere")).await;
    house.until_condition(LINK, "lost", "ResolvedRefs", "False", "ClusterNotFound").await;
    house
        .apply(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"},
                        "stringData": {"sensor": PASSWORD}})
            .to_string(),
        )
        .await;
    house.until_condition(CLUSTER, "edge", "ResolvedRefs", "True", "").await;
    until_settled(&house).await;
    eventually("and no longer", async || {
        http::get(operator.address, "/metrics").await.is_ok_and(|(_, text)| !text.contains(&sample))
    })
    .await;
    house
        .apply(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far"},
                        "stringData": {"username": "edge"}})
            .to_string(),
        )
        .await;
    house.apply(&link("far", "edge")).await;
    let link = house.until_condition(LINK, "far", "ResolvedRefs", "False", "SecretKeyMissing").await;
    assert!(link["status"].to_string().contains("`password`"), "{link:#}");
    house
        .apply(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far"},
                        "stringData": {"username": "edge", "password": PASSWORD}})
            .to_string(),
        )
        .await;
    house.until_condition(LINK, "far", "ResolvedRefs", "True", "").await;
}

pub async fn an_object_of_somebody_else_is_left_alone_and_said(plane: Arc<Plane>) {
    let house = House::build(&plane, "taken", Runs::Nothing).await;
    // Without our labels no watch tells of it.
    house
        .apply(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "edge"},
                       "spec": {"ports": [{"port": 80}]}})
            .to_string(),
        )
        .await;
    let _operator = house.operator("one");
    house.apply(&edge(json!({}))).await;
    let cluster = house.until_condition(CLUSTER, "edge", "Ready", "False", "NameTaken").await;
    assert!(cluster["status"].to_string().contains("Service edge exists and is not ours"), "{cluster:#}");
    assert_eq!(house.get("v1/Service", "edge").await.expect("it stays")["spec"]["ports"][0]["port"], 80);
    house.api("v1/Service").delete("edge", &DeleteParams::default()).await.expect("removed");
    until_settled(&house).await;
}

pub async fn the_operator_writes_no_spec_and_others_apply_without_conflict(plane: Arc<Plane>) {
    let house = House::build(&plane, "owner", Runs::Nothing).await;
    let _operator = house.operator("one");
    let manifest = edge(json!({"replicas": 2}));
    house.apply(&manifest).await;
    let cluster = until_settled(&house).await;
    for entry in cluster["metadata"]["managedFields"].as_array().expect("managers") {
        let manager = entry["manager"].as_str().unwrap_or_default();
        if manager.starts_with("tombolo-operator") {
            assert_eq!((manager, &entry["subresource"]), ("tombolo-operator/status", &json!("status")));
            assert!(entry["fieldsV1"]["f:spec"].is_null(), "{entry}");
        }
    }
    let set = house.get(SET, "edge").await.expect("a StatefulSet");
    let managers = set["metadata"]["managedFields"].as_array().expect("managers");
    assert!(managers.iter().any(|entry| entry["manager"] == "tombolo-operator/children"));
    // The same manifest again: neither a conflict nor a change of the spec.
    let again = house.apply(&manifest).await;
    assert_eq!(again[0]["metadata"]["generation"], cluster["metadata"]["generation"]);
}

pub async fn a_paused_cluster_is_left_alone(plane: Arc<Plane>) {
    let house = House::build(&plane, "paused", Runs::Nothing).await;
    let _operator = house.operator("one");
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    let pause = |value: Value| Patch::Merge(json!({"metadata": {"annotations": {"tombolo.dev/paused": value}}}));
    house.api(CLUSTER).patch("edge", &PatchParams::default(), &pause(json!("true"))).await.expect("patched");
    house
        .until(CLUSTER, "edge", "it says so", |object| conditions(object).any(|found| found["type"] == "Paused"))
        .await;
    house.api("v1/Service").delete("edge", &DeleteParams::default()).await.expect("removed");
    house.apply(&edge(json!({"replicas": 3}))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(house.get("v1/Service", "edge").await.is_none());
    let cluster = house.get(CLUSTER, "edge").await.expect("it is there");
    assert!(!is_observed(&cluster), "the newest spec was not looked at, and the status does not say so");
    house.api(CLUSTER).patch("edge", &PatchParams::default(), &pause(Value::Null)).await.expect("patched");
    let cluster = until_settled(&house).await;
    assert!(conditions(&cluster).all(|found| found["type"] != "Paused"));
    house.until("v1/Service", "edge", "it comes back", |_| true).await;
}

pub async fn a_deleted_cluster_leaves_nothing_though_its_brokers_do_not_answer(plane: Arc<Plane>) {
    let house = House::build(&plane, "deleted", Runs::Nothing).await;
    let _operator = house.operator("one");
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    house.api(CLUSTER).delete("edge", &DeleteParams::default()).await.expect("removed");
    for (kind, name) in
        CHILDREN.into_iter().chain([(CLUSTER, "edge"), ("v1/Secret", "edge-authority"), ("v1/Pod", "edge-0")])
    {
        eventually(&format!("{kind} {name} goes"), async || house.get(kind, name).await.is_none()).await;
    }
}

pub async fn what_is_not_wanted_any_more_is_removed(plane: Arc<Plane>) {
    let house = House::build(&plane, "pruned", Runs::Nothing).await;
    let _operator = house.operator("one");
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    house.apply(&edge(json!({"networkPolicy": "Disabled", "disruptionBudget": "Disabled"}))).await;
    for (kind, name) in [("networking.k8s.io/v1/NetworkPolicy", "edge"), ("policy/v1/PodDisruptionBudget", "edge")] {
        eventually(&format!("{kind} {name} goes"), async || house.get(kind, name).await.is_none()).await;
    }
    house.apply(&edge(json!({}))).await;
    house.until("policy/v1/PodDisruptionBudget", "edge", "it comes back", |_| true).await;
}

pub async fn the_scale_subresource_scales(plane: Arc<Plane>) {
    let house = House::build(&plane, "scale", Runs::Nothing).await;
    let _operator = house.operator("one");
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    let scale = json!({"spec": {"replicas": 3}});
    house.api(CLUSTER).patch_scale("edge", &PatchParams::default(), &Patch::Merge(scale)).await.expect("scaled");
    house.until(CLUSTER, "edge", "three nodes", |object| object["status"]["readyReplicas"] == 3).await;
    let scale = house.api(CLUSTER).get_scale("edge").await.expect("a scale");
    let status = scale.status.expect("a status");
    assert_eq!(status.replicas, 3);
    let selector = status.selector.expect("a selector, for an HPA");
    let pods = house.api("v1/Pod").list(&kube::api::ListParams::default().labels(&selector)).await.expect("pods");
    assert_eq!(pods.items.len(), 3);
    house.apply(&edge(json!({"replicas": 0}))).await;
    house.until_condition(CLUSTER, "edge", "Ready", "True", "Hibernating").await;
}

pub async fn overrides_that_make_no_pod_change_nothing(plane: Arc<Plane>) {
    let house = House::build(&plane, "overrides", Runs::Nothing).await;
    let _operator = house.operator("one");
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    let before = house.get("v1/Secret", "edge-config").await.expect("a Secret")["metadata"]["resourceVersion"].clone();
    let bad = json!({"podOverrides": {"spec": {"containers": [{"name": "broker", "ports": [{"containerPort": 99999}]}]}},
                     "listeners": [{"name": "mqtt", "protocol": "MQTT", "port": 1884}]});
    house.apply(&edge(bad)).await;
    let cluster = house.until_condition(CLUSTER, "edge", "Ready", "False", "ChildRefused").await;
    assert!(cluster["status"].to_string().contains("containerPort"), "{cluster:#}");
    let after = house.get("v1/Secret", "edge-config").await.expect("a Secret")["metadata"]["resourceVersion"].clone();
    assert_eq!(before, after, "it is tried before anything is written");
}
