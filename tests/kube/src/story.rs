//! The story of the README through the API server, with real brokers and real links.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tombolo_tests::client::Client as Raw;
use tombolo_tests::packet::Connect;
use tombolo_tests::rumqtt::{Client, Seen};

use crate::house::{House, conditions, eventually, root};
use crate::kubelet::{Runs, address};
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, LINK};
use crate::watchman::PASSWORD;

/// The example as it is checked in, with the addresses of the pods' Services.
pub async fn hybrid_cloud(house: &House, files: &[&str]) {
    for file in files {
        let text = std::fs::read_to_string(root().join("examples/hybrid-cloud").join(file)).expect("the example");
        house.apply(&text).await;
    }
}

fn broker(house: &House, pod: &str, port: u16) -> SocketAddr {
    (address(&house.namespace, pod), port).into()
}

pub async fn two_clusters_link_and_each_message_reaches_both_sides_once(plane: Arc<Plane>) {
    let house = House::build(&plane, "story", Runs::Brokers).await;
    let _operator = house.operator("one");
    hybrid_cloud(&house, &["secrets.yaml", "local.yaml", "cloud.yaml"]).await;
    for cluster in ["deployment-local", "deployment-cloud"] {
        let object = house.until_ready(CLUSTER, cluster).await;
        let id = object["metadata"]["uid"].clone();
        assert_eq!(object["status"]["clusterID"], id);
        assert_eq!(object["status"]["version"], env!("CARGO_PKG_VERSION"));
    }
    for link in ["to-cloud", "to-local"] {
        let object = house.until_ready(LINK, link).await;
        let ready = conditions(&object).find(|found| found["type"] == "Ready").expect("Ready");
        assert_eq!(ready["reason"], "HeartbeatReturned");
        assert!(object["status"]["remoteClusterID"].is_string());
    }
    let (local, cloud) = (broker(&house, "deployment-local-0", 1883), broker(&house, "deployment-cloud-0", 2883));
    let mut at_local = Client::connect(local, 5, "at-local", ("demo", "demo")).await;
    let mut at_cloud = Client::connect(cloud, 4, "at-cloud", ("demo", "demo")).await;
    at_local.subscribe("from-cluster", 2).await;
    at_cloud.subscribe("from-cluster", 2).await;
    // A link that is switched off says so at both ends. Once it is back and ready, each side knows what the other wants.
    let switch = |enabled: bool| kube::api::Patch::Merge(json!({"spec": {"enabled": enabled}}));
    house.api(LINK).patch("to-cloud", &Default::default(), &switch(false)).await.expect("patched");
    house.until_condition(LINK, "to-cloud", "Ready", "False", "Disabled").await;
    house.until_condition(LINK, "to-local", "Ready", "False", "").await;
    house.api(LINK).patch("to-cloud", &Default::default(), &switch(true)).await.expect("patched");
    house.until_ready(LINK, "to-cloud").await;
    house.until_ready(LINK, "to-local").await;
    for (place, from) in [(cloud, "cloud"), (local, "local")] {
        let mut publisher = Client::connect(place, 5, &format!("from-{from}"), ("demo", "demo")).await;
        for qos in 0..3 {
            publisher.publish("from-cluster", qos, &format!("{from} {qos}")).await;
        }
        publisher.publish("from-cluster", 1, "end").await;
        for listener in [&mut at_local, &mut at_cloud] {
            let seen = listener.messages_until("end").await;
            let wanted = |qos| Seen { topic: "from-cluster".into(), payload: format!("{from} {qos}"), qos };
            // QoS 0 goes a way of its own and may come before or after the others.
            let mut sorted = seen.clone();
            sorted.sort_by_key(|seen| seen.qos);
            assert_eq!(sorted, [wanted(0), wanted(1), wanted(2)]);
        }
    }
}

/// Each side names the Service of the other.
pub async fn three_nodes_on_each_side_link_and_each_message_reaches_each_listener_once(plane: Arc<Plane>) {
    let house = House::build(&plane, "nodes", Runs::Brokers).await;
    let _operator = house.operator("one");
    for file in ["secrets.yaml", "local.yaml", "cloud.yaml"] {
        let text = std::fs::read_to_string(root().join("examples/hybrid-nodes").join(file)).expect("the example");
        house.apply(&text).await;
    }
    let mut listeners = Vec::new();
    for (cluster, port) in [("deployment-local", 1883), ("deployment-cloud", 2883)] {
        house.until_ready(CLUSTER, cluster).await;
        for node in 0..3 {
            let at = broker(&house, &format!("{cluster}-{node}"), port);
            let id = format!("{cluster}-{node}");
            let mut listener = Client::connect(at, 5, &id, ("demo", "demo")).await;
            listener.subscribe("from-cluster", 1).await;
            listeners.push(listener);
        }
    }
    // Ready once more after everybody subscribed: each side knows what the other wants.
    let switch = |enabled: bool| kube::api::Patch::Merge(json!({"spec": {"enabled": enabled}}));
    house.api(LINK).patch("to-cloud", &Default::default(), &switch(false)).await.expect("patched");
    house.until_condition(LINK, "to-local", "Ready", "False", "").await;
    house.api(LINK).patch("to-cloud", &Default::default(), &switch(true)).await.expect("patched");
    house.until_ready(LINK, "to-cloud").await;
    house.until_ready(LINK, "to-local").await;
    for (pod, port) in [("deployment-cloud-1", 2883), ("deployment-local-2", 1883)] {
        let mut publisher = Client::connect(broker(&house, pod, port), 5, "publisher", ("demo", "demo")).await;
        for number in 0..5 {
            publisher.publish("from-cluster", 1, &format!("{pod} {number}")).await;
        }
        publisher.publish("from-cluster", 1, "end").await;
        for listener in &mut listeners {
            let seen: Vec<_> = listener.messages_until("end").await.into_iter().map(|seen| seen.payload).collect();
            let wanted: Vec<_> = (0..5).map(|number| format!("{pod} {number}")).collect();
            assert_eq!(seen, wanted);
        }
    }
}

pub async fn a_changed_password_and_a_changed_link_reach_the_broker_without_a_restart(plane: Arc<Plane>) {
    let house = House::build(&plane, "rotate", Runs::Brokers).await;
    let _operator = house.operator("one");
    let users = |password: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}, "stringData": {"sensor": password}})
            .to_string()
    };
    house.apply(&users("first")).await;
    house
        .apply(
            &json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "edge"},
                       "spec": {"update": {"minReadySeconds": 0},
                                "authentication": {"users": {"secretRef": {"name": "users"}}}}})
            .to_string(),
        )
        .await;
    house.until_ready(CLUSTER, "edge").await;
    let pod = house.get("v1/Pod", "edge-0").await.expect("a pod");
    let at = broker(&house, "edge-0", 1883);
    let _sensor = Client::connect(at, 5, "sensor", ("sensor", "first")).await;
    house.apply(&users(PASSWORD)).await;
    eventually("the new password is taken", async || login(at, "sensor", PASSWORD).await == 0).await;
    house.until_ready(CLUSTER, "edge").await;
    assert_eq!(login(at, "sensor", "first").await, 0x86, "Bad User Name or Password");
    assert_eq!(house.get("v1/Pod", "edge-0").await.expect("a pod")["metadata"]["uid"], pod["metadata"]["uid"]);
}

pub async fn three_nodes_are_one_broker(plane: Arc<Plane>) {
    let house = House::build(&plane, "three", Runs::Brokers).await;
    let _operator = house.operator("one");
    house
        .apply(
            &json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "plant"},
                       "spec": {"replicas": 3, "update": {"minReadySeconds": 0},
                                "authentication": {"anonymous": "Allowed"}}})
            .to_string(),
        )
        .await;
    let cluster = house.until_ready(CLUSTER, "plant").await;
    assert_eq!(cluster["status"]["readyReplicas"], 3);
    let nodes = cluster["status"]["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|node| node["state"] == "Running"), "{nodes:?}");
    let mut listeners = Vec::new();
    for node in 0..3 {
        let at = broker(&house, &format!("plant-{node}"), 1883);
        listeners.push(Raw::subscriber(at, 5, &format!("l{node}"), &[("a/#", 0)]).await);
    }
    let mut publisher = Raw::clean(broker(&house, "plant-0", 1883), 5, "p").await;
    publisher.publish("a/b", "hello").await;
    for listener in &mut listeners {
        listener.expect_message("a/b", "hello").await;
    }
}

/// The reason code of a CONNACK.
pub async fn login(at: SocketAddr, user: &str, password: &str) -> u8 {
    let connect = Connect::new(5, "").login(user, password);
    let mut client = Raw::open(at, 5).await;
    client.send(connect.bytes()).await;
    client.packet().await.connack().reason
}
