//! Links that are deleted with something waiting, and links that are left alone.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::house::{House, conditions, eventually};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, LINK, edge, until_settled};
use crate::story::hybrid_cloud;
use crate::watchman::PASSWORD;

const FINALIZER: &str = "tombolo.dev/drain";

fn is_held(link: &Value) -> bool {
    link["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|found| found == FINALIZER))
}

async fn change(house: &House, kind: &str, name: &str, patch: Value) {
    house.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
}

async fn gone(house: &House, name: &str) {
    eventually(&format!("link {name} goes"), async || house.get(LINK, name).await.is_none()).await;
}

/// What brokers are to read.
pub async fn configuration(house: &House) -> Value {
    let secret = house.get("v1/Secret", "edge-config").await.expect("a Secret");
    let secret: Secret = serde_json::from_value(secret).expect("a Secret");
    let mut data = secret.data.expect("data");
    let text = String::from_utf8(data.remove("broker.yaml").expect("the configuration").0).expect("text");
    let mut yaml: Value = serde_saphyr::from_str(&text).expect("YAML");
    let files = data.into_iter().map(|(name, content)| (name, json!(String::from_utf8_lossy(&content.0)))).collect();
    yaml["files"] = Value::Object(files);
    yaml
}

pub async fn a_deleted_link_is_held_until_its_broker_has_let_it_go(plane: Arc<Plane>) {
    let house = House::build(&plane, "drained", Runs::Brokers).await;
    let _operator = house.operator("one");
    hybrid_cloud(&house, &["secrets.yaml", "local.yaml", "cloud.yaml"]).await;
    house.until_ready(LINK, "to-cloud").await;
    let link = house.until_ready(LINK, "to-local").await;
    assert!(is_held(&link), "{link:#}");
    let ours = link["metadata"]["managedFields"].as_array().expect("managers").iter();
    let ours: Vec<_> = ours.filter(|entry| entry["manager"] == "tombolo-operator/links").collect();
    assert!(ours.iter().all(|entry| entry["fieldsV1"]["f:spec"].is_null()), "{ours:?}");
    house.api(LINK).delete("to-local", &DeleteParams::default()).await.expect("deleted");
    let link = house.until_condition(LINK, "to-local", "Ready", "False", "Draining").await;
    assert!(is_held(&link) && link["metadata"]["deletionTimestamp"].is_string(), "{link:#}");
    gone(&house, "to-local").await;
    let said = house.until_condition(LINK, "to-cloud", "Connected", "False", "").await;
    // Who wants no such thing is not held.
    assert!(is_held(&said));
    change(&house, LINK, "to-cloud", json!({"spec": {"deletionPolicy": "Delete"}})).await;
    house.until(LINK, "to-cloud", "it is held no longer", |link| !is_held(link)).await;
    house.api(LINK).delete("to-cloud", &DeleteParams::default()).await.expect("deleted");
    gone(&house, "to-cloud").await;
}

fn link(more: Value) -> String {
    let mut spec = json!({"clusterRef": {"name": "edge"}, "topics": ["a"],
                          "remote": {"clusterName": "far", "server": "mqtt://far.example:1883",
                                     "credentials": {"secretRef": {"name": "far"}}}});
    more.as_object().expect("fields").iter().for_each(|(key, value)| spec[key] = value.clone());
    json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": "far"}, "spec": spec})
        .to_string()
}

fn secret(username: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far"},
           "stringData": {"username": username, "password": PASSWORD}})
    .to_string()
}

pub async fn a_deleted_link_is_held_neither_by_silent_brokers_nor_by_a_cluster_that_is_gone(plane: Arc<Plane>) {
    let house = House::build(&plane, "unheld", Runs::Nothing).await;
    let _operator = house.operator("one");
    house.apply(&secret("first")).await;
    house.apply(&edge(json!({"replicas": 2}))).await;
    house.apply(&link(json!({}))).await;
    until_settled(&house).await;
    house.until(LINK, "far", "it is held", is_held).await;
    house.api(LINK).delete("far", &DeleteParams::default()).await.expect("deleted");
    gone(&house, "far").await;
    house.apply(&link(json!({}))).await;
    house.until(LINK, "far", "it is held", is_held).await;
    house.api(CLUSTER).delete("edge", &DeleteParams::default()).await.expect("deleted");
    eventually("the cluster goes", async || house.get(CLUSTER, "edge").await.is_none()).await;
    house.api(LINK).delete("far", &DeleteParams::default()).await.expect("deleted");
    gone(&house, "far").await;
}

pub async fn a_paused_link_stays_as_it_is_while_its_cluster_goes_on(plane: Arc<Plane>) {
    let house = House::build(&plane, "kept", Runs::Nothing).await;
    let mut operator = house.operator("one");
    house.apply(&secret("first")).await;
    house.apply(&edge(json!({}))).await;
    house.apply(&link(json!({}))).await;
    until_settled(&house).await;
    let pause = |value: Value| json!({"metadata": {"annotations": {"tombolo.dev/paused": value}}});
    change(&house, LINK, "far", pause(json!("true"))).await;
    house.until_condition(LINK, "far", "Paused", "True", "PausedByAnnotation").await;
    let before = configuration(&house).await;
    // Link and Secret change, and so does the cluster; another operator takes over, which never saw it otherwise.
    house.apply(&link(json!({"topics": ["a", "b"]}))).await;
    house.apply(&secret("second")).await;
    assert!(operator.process.terminate().await.success());
    let _operator = house.operator("two");
    house.apply(&edge(json!({"listeners": [{"name": "other", "protocol": "MQTT", "port": 1999}]}))).await;
    let mut now = Value::Null;
    eventually("the cluster goes on", async || {
        now = configuration(&house).await;
        now["listeners"].as_array().is_some_and(|all| all.iter().any(|listener| listener["name"] == "other"))
    })
    .await;
    assert_eq!((&now["links"], &now["files"]["link-far.username"]), (&before["links"], &json!("first")));
    let object = house.get(LINK, "far").await.expect("it is there");
    assert_ne!(
        object["status"]["observedGeneration"], object["metadata"]["generation"],
        "the newest was not looked at"
    );
    change(&house, LINK, "far", pause(Value::Null)).await;
    eventually("it is as its manifest says", async || {
        now = configuration(&house).await;
        now["links"][0]["receive"][0]["filters"] == json!(["a", "b"]) && now["files"]["link-far.username"] == "second"
    })
    .await;
    house.until(LINK, "far", "it is not paused", |link| conditions(link).all(|found| found["type"] != "Paused")).await;
}

/// What the operator takes for *gone*, as the API server says it to each way of changing an object by its uid.
pub async fn a_change_of_an_object_that_is_gone_or_made_anew_is_refused_in_the_documented_ways(plane: Arc<Plane>) {
    let house = House::build(&plane, "uids", Runs::Nothing).await;
    let other = "00000000-0000-0000-0000-000000000000";
    let here = json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": "here"},
        "spec": {
            "clusterRef": {"name": "edge"}, "topics": ["t"],
            "remote": {
                "clusterName": "far", "server": "mqtt://far.invalid:1883",
                "credentials": {"secretRef": {"name": "link"}},
            },
        },
    });
    house.apply(&here.to_string()).await;
    house.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "here"}}).to_string()).await;
    for kind in [LINK, "v1/ConfigMap"] {
        for name in ["here", "gone"] {
            let (version, kind_name) = kind.rsplit_once('/').expect("a version");
            let patch = json!({
                "apiVersion": version, "kind": kind_name,
                "metadata": {"name": name, "uid": other, "annotations": {"a": "b"}},
            });
            let api = house.api(kind);
            let merged = api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            let applied = api.patch_metadata(name, &PatchParams::apply("test").force(), &Patch::Apply(&patch)).await;
            for (how, answer) in [("merge", merged), ("apply", applied)] {
                let Err(kube::Error::Api(status)) = answer else { panic!("{kind} {name} {how}: {answer:?}") };
                let causes = status.details.iter().flat_map(|details| &details.causes);
                let is_of_uid = status.message.contains("uid mismatch")
                    || causes.into_iter().any(|cause| cause.field == "metadata.uid");
                let wanted = match (name, how) {
                    ("here", _) => (422, true),
                    ("gone", "merge") => (404, false),
                    _ => (409, true),
                };
                assert_eq!((status.code, is_of_uid), wanted, "{kind} {name} {how}: {status:?}");
            }
        }
    }
}
