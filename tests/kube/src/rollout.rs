//! Updates and fewer nodes, with the real StatefulSet controller.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tombolo_tests::client::Client as Raw;
use tombolo_tests::packet::Connect;
use tombolo_tests::rumqtt::Client;

use crate::house::{House, conditions, eventually};
use crate::kubelet::{Runs, address};
use crate::links::configuration;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, SET, edge, until_settled};
use crate::watchman::PASSWORD;

async fn pods(house: &House) -> Vec<(String, String, bool)> {
    let pods = house.api("v1/Pod").list(&Default::default()).await.expect("pods");
    let pods = pods.items.into_iter().map(|pod| serde_json::to_value(pod).expect("JSON"));
    let mut pods: Vec<_> = pods
        .map(|pod| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|found| found["type"] == "Ready" && found["status"] == "True");
            let image = text(&pod["spec"]["containers"][0]["image"]);
            (text(&pod["metadata"]["name"]), image, ready && pod["metadata"]["deletionTimestamp"].is_null())
        })
        .collect();
    pods.sort();
    pods
}

pub async fn an_update_replaces_one_pod_after_another_from_the_top(plane: Arc<Plane>) {
    let house = House::build(&plane, "update", Runs::Nothing).await;
    let _operator = house.operator("one");
    house.apply(&edge(json!({"replicas": 3, "image": "old"}))).await;
    until_settled(&house).await;
    assert_eq!(
        house.get(SET, "edge").await.expect("a set")["spec"]["updateStrategy"]["rollingUpdate"]["partition"],
        64
    );
    house.apply(&edge(json!({"replicas": 3, "image": "new"}))).await;
    let mut seen = Vec::new();
    eventually("all are new", async || {
        let now = pods(&house).await;
        let away = now.iter().filter(|pod| !pod.2).count() + 3 - now.len();
        assert!(away <= 1, "{now:?}");
        let images: Vec<_> = now.iter().map(|pod| pod.1.clone()).collect();
        if images.len() == 3 && seen.last() != Some(&images) {
            seen.push(images.clone());
        }
        images == ["new", "new", "new"]
    })
    .await;
    let steps = [["old", "old", "old"], ["old", "old", "new"], ["old", "new", "new"], ["new", "new", "new"]];
    assert!(steps.iter().filter(|step| seen.iter().any(|seen| seen == *step)).count() == seen.len(), "{seen:?}");
    until_settled(&house).await;
    assert_eq!(
        house.get(SET, "edge").await.expect("a set")["spec"]["updateStrategy"]["rollingUpdate"]["partition"],
        64
    );
    // Replicas, listeners and users reach no pod template.
    let hash = |set: &Value| set["status"]["updateRevision"].clone();
    let before = hash(&house.get(SET, "edge").await.expect("a set"));
    house
        .apply(&edge(json!({"replicas": 4, "image": "new",
        "listeners": [{"name": "other", "protocol": "MQTT", "port": 1999}]})))
        .await;
    house.until(CLUSTER, "edge", "four nodes", |object| object["status"]["readyReplicas"] == 4).await;
    assert_eq!(hash(&house.get(SET, "edge").await.expect("a set")), before);
}

pub async fn a_broken_image_stops_an_update_and_a_mended_one_goes_on(plane: Arc<Plane>) {
    let house = House::build(&plane, "broken", Runs::Nothing).await;
    house.kubelet.breaks("broken");
    let _operator = house.operator("one");
    house.apply(&edge(json!({"replicas": 3, "image": "old"}))).await;
    until_settled(&house).await;
    house.apply(&edge(json!({"replicas": 3, "image": "broken"}))).await;
    let cluster = house.until_condition(CLUSTER, "edge", "Ready", "False", "PodFailing").await;
    assert!(cluster["status"].to_string().contains("edge-2"), "{cluster:#}");
    assert!(conditions(&cluster).any(|found| found["type"] == "Available" && found["status"] == "True"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let images: Vec<_> = pods(&house).await.into_iter().map(|pod| pod.1).collect();
    assert_eq!(images, ["old", "old", "broken"], "the others go on");
    house.apply(&edge(json!({"replicas": 3, "image": "mended"}))).await;
    eventually("all are mended", async || {
        pods(&house).await.iter().filter(|pod| pod.1 == "mended" && pod.2).count() == 3
    })
    .await;
    until_settled(&house).await;
}

pub async fn fewer_nodes_leave_one_after_another_and_a_deadline_is_said(plane: Arc<Plane>) {
    let house = House::build(&plane, "fewer", Runs::Nothing).await;
    let _operator = house.operator("one");
    let evacuate = |replicas: u16| {
        edge(json!({"replicas": replicas,
                    "update": {"minReadySeconds": 0, "evacuation": {"policy": "Evacuate", "deadlineSeconds": 30}}}))
    };
    house.apply(&evacuate(2)).await;
    until_settled(&house).await;
    house.apply(&evacuate(1)).await;
    let cluster = house.until_condition(CLUSTER, "edge", "Ready", "False", "EvacuatingSessions").await;
    assert_eq!(cluster["status"]["evacuation"]["pod"], "edge-1");
    assert_eq!(cluster["status"]["evacuation"]["cause"], "ScaleDown");
    assert_eq!(cluster["status"]["nodes"][1]["state"], "Evacuating");
    // The status says so before anything is done about it.
    let mut yaml = Value::Null;
    eventually("the node is told", async || {
        yaml = configuration(&house).await;
        yaml["cluster"]["evacuating"] == json!(["edge-1"])
    })
    .await;
    assert_eq!(yaml["cluster"]["nodes"].as_array().map(Vec::len), Some(2), "it stays in the list until it is gone");
    // Nobody empties it, since nothing runs: it goes at its deadline, and that is an event.
    house.until(CLUSTER, "edge", "one node", |object| object["status"]["replicas"] == 1).await;
    until_settled(&house).await;
    let events = house.api("events.k8s.io/v1/Event").list(&Default::default()).await.expect("events");
    let forced = events.items.iter().any(|event| event.data["reason"] == "EvacuationDeadlineExceeded");
    assert!(forced, "{:?}", events.items.iter().map(|event| event.data["reason"].clone()).collect::<Vec<_>>());
}

pub async fn a_session_outlives_an_update_of_every_node_with_what_waits_for_it(plane: Arc<Plane>) {
    let house = House::build(&plane, "emptied", Runs::Brokers).await;
    let _operator = house.operator("one");
    let cluster = |image: &str| {
        edge(json!({"replicas": 3, "image": image, "authentication": {"users": {"secretRef": {"name": "users"}}},
                    "update": {"minReadySeconds": 0, "evacuation": {"policy": "Evacuate", "deadlineSeconds": 300}}}))
    };
    let users = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"},
                       "stringData": {"sensor": PASSWORD}});
    house.apply(&users.to_string()).await;
    house.apply(&cluster("old")).await;
    house.until_ready(CLUSTER, "edge").await;
    let at = |node: u16| (address(&house.namespace, &format!("edge-{node}")), 1883).into();
    let login = Connect::persistent(5, "keeper").login("sensor", PASSWORD);
    let (mut keeper, _) = Raw::connect(at(2), &login).await;
    keeper.subscribe(&[("a/#", 1)]).await;
    drop(keeper);
    let mut publisher = Client::connect(at(0), 5, "publisher", ("sensor", PASSWORD)).await;
    for number in 0..5 {
        publisher.publish("a/b", 1, &format!("{number}")).await;
    }
    house.apply(&cluster("new")).await;
    house
        .until(SET, "edge", "every pod is new", |set| {
            set["status"]["updatedReplicas"] == 3
                && set["status"]["currentRevision"] == set["status"]["updateRevision"]
                && set["spec"]["template"]["spec"]["containers"][0]["image"] == "new"
        })
        .await;
    house.until_ready(CLUSTER, "edge").await;
    let events = house.api("events.k8s.io/v1/Event").list(&Default::default()).await.expect("events");
    assert!(events.items.iter().all(|event| event.data["reason"] != "EvacuationDeadlineExceeded"));
    let (mut keeper, connack) = Raw::connect(at(0), &login).await;
    assert!(connack.session_present, "the session moved ahead of its node, three times at most");
    for number in 0..5 {
        assert_eq!(keeper.message().await.payload, format!("{number}").into_bytes());
    }
}

/// As an operator of a mirror registry is.
pub async fn a_cluster_that_states_no_image_gets_the_one_that_the_operator_was_given(plane: Arc<Plane>) {
    let house = House::build(&plane, "mirror", Runs::Nothing).await;
    let image = "registry.example/mirror/broker:1";
    let _operator = house.operator_with("one", |command| _ = command.args(["--broker-image", image]));
    house.apply(&edge(json!({}))).await;
    let of = |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    house.until(SET, "edge", "the image of the mirror", |set| of(set) == image).await;
    house.apply(&edge(json!({"image": "own"}))).await;
    house.until(SET, "edge", "the image that is stated", |set| of(set) == "own").await;
}
