//! Bad input, by name: what the API server refuses, what the operator says and how soon, and how much of everything is taken.

use std::sync::Arc;
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, conditions, eventually, root, try_apply};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, LINK, edge, until_settled};
use crate::watchman::PASSWORD;

/// What can't be seen by the API server is said within this time.
const SAID_WITHIN: Duration = Duration::from_secs(1);
/// The machine may be busy with other tests: one of so many tries must be as quick as that.
const TRIES: usize = 10;

/// The first line of a sample is what our own check says, and the second what the API server says, where that is other.
pub async fn every_invalid_sample_is_refused_with_what_is_wrong(plane: Arc<Plane>) {
    let house = House::build(&plane, "invalid", Runs::Nothing).await;
    let mut count = 0;
    for file in std::fs::read_dir(root().join("crds/samples/invalid")).expect("samples").flatten() {
        let (name, text) = (file.file_name(), std::fs::read_to_string(file.path()).expect("text"));
        let second = text.lines().nth(1).and_then(|line| line.strip_prefix("# the API server: "));
        let first = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        let expected = second.or(first).unwrap_or_else(|| panic!("{name:?} says nothing of what is wrong"));
        let mut objects = serde_saphyr::from_multiple::<Value>(&text).expect("YAML");
        let bad = objects.pop().expect("an object");
        for good in &objects {
            house.apply(&good.to_string()).await;
        }
        let refused = try_apply(&house.client, &house.namespace, "gitops", bad).await;
        let said = refused.err().unwrap_or_else(|| panic!("{name:?} was taken")).to_string();
        assert!(said.contains(expected), "{name:?}: `{said}` lacks `{expected}`");
        for good in objects {
            let kind = format!("tombolo.dev/v1alpha1/{}", good["kind"].as_str().expect("a kind"));
            let name = good["metadata"]["name"].as_str().expect("a name");
            house.api(&kind).delete(name, &DeleteParams::default()).await.expect("removed");
        }
        count += 1;
    }
    println!("{count} invalid samples were refused");
}

pub async fn what_only_the_operator_can_see_is_said_within_a_second(plane: Arc<Plane>) {
    let house = House::build(&plane, "said", Runs::Nothing).await;
    let operator = house.operator("one");
    operator.ready().await;
    for (name, data) in [
        ("nonsense", json!({"tls.crt": "no certificate", "tls.key": PASSWORD})),
        ("far", json!({"username": "edge", "password": PASSWORD})),
    ] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        house.apply(&secret.to_string()).await;
    }
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    house.apply(&link("first", "far", json!({"topics": ["a"]}))).await;
    house.until_condition(LINK, "first", "ResolvedRefs", "True", "").await;
    let tls = json!({"listeners": [{"name": "mqtts", "protocol": "MQTTS", "port": 8883,
                                    "tls": {"secretName": "nonsense"}}]});
    let named = |name: &str, spec: Value| {
        let mut object: Value = serde_json::from_str(&edge(spec)).expect("JSON");
        object["metadata"]["name"] = json!(name);
        object.to_string()
    };
    let bad = [
        (CLUSTER, "content", named("content", tls), "SecretInvalid", "tls.crt"),
        (CLUSTER, "missing", named("missing", users("nobody")), "SecretNotFound", "`nobody`"),
        // The name of its Service is that of another one's headless Service.
        (CLUSTER, "edge-nodes", named("edge-nodes", json!({})), "NameTaken", "edge-nodes"),
        (LINK, "filter", link("filter", "other", json!({"topics": ["$share/g/a"]})), "FilterInvalid", "write `a`"),
        (LINK, "second", link("second", "far", json!({"topics": ["b"]})), "RemoteNamedTwice", "far"),
        (LINK, "itself", link("itself", "edge", json!({"topics": ["b"]})), "LinkToItself", "edge"),
    ];
    for (kind, name, manifest, reason, words) in bad {
        let mut quickest = Duration::MAX;
        for _ in 0..TRIES {
            let begun = Instant::now();
            house.apply(&manifest).await;
            let object = loop {
                let object = house.get(kind, name).await.expect("it is there");
                let ready = conditions(&object).find(|found| found["type"] == "Ready" && found["reason"] == reason);
                match ready.cloned() {
                    Some(ready) => break ready,
                    None => assert!(begun.elapsed() < crate::house::PATIENCE, "{name} in vain: {object:#}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            quickest = quickest.min(begun.elapsed());
            let said = object["message"].as_str().unwrap_or_default();
            assert!(said.contains(words), "{name}: {said}");
            house.api(kind).delete(name, &DeleteParams::default()).await.expect("removed");
            eventually("it is gone", async || house.get(kind, name).await.is_none()).await;
            if quickest < SAID_WITHIN {
                break;
            }
        }
        println!("{reason} was said after {} ms", quickest.as_millis());
        assert!(quickest < SAID_WITHIN, "{reason} was said after {quickest:?}");
    }
}

/// Names as long as may be, with brokers and a link; one more is refused.
pub async fn the_longest_names_become_ready(plane: Arc<Plane>) {
    let house = House::build(&plane, "long", Runs::Brokers).await;
    let _operator = house.operator("one");
    let clusters = ["a", "b"].map(|letter| letter.repeat(45));
    let links = ["l", "m"].map(|letter| letter.repeat(63));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "link"},
                        "stringData": {"username": "link", "password": PASSWORD}});
    house.apply(&secret.to_string()).await;
    for (own, other, name) in [(0, 1, 0), (1, 0, 1)] {
        let cluster = json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster",
                             "metadata": {"name": clusters[own]},
                             "spec": {"replicas": 2, "update": {"minReadySeconds": 0}}});
        house.apply(&cluster.to_string()).await;
        let server = format!("mqtt://{}.{}.svc:1883", clusters[other], house.namespace);
        let remote = json!({"clusterName": clusters[other], "server": server,
                            "credentials": {"secretRef": {"name": "link"}}});
        let link = json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": links[name]},
                          "spec": {"clusterRef": {"name": clusters[own]}, "remote": remote, "topics": ["a/#"]}});
        house.apply(&link.to_string()).await;
    }
    for cluster in &clusters {
        house.until_ready(CLUSTER, cluster).await;
    }
    for link in &links {
        house.until_ready(LINK, link).await;
    }
    for (kind, name, spec) in [
        ("BrokerCluster", "a".repeat(46), json!({})),
        (
            "ClusterLink",
            "l".repeat(64),
            json!({"clusterRef": {"name": "a"}, "topics": ["a"],
                                               "remote": {"clusterName": "b"}, "accept": {"user": "u"}}),
        ),
    ] {
        let object =
            json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let said = try_apply(&house.client, &house.namespace, "gitops", object).await.expect_err("too long");
        assert!(said.to_string().contains("metadata.name must be at most"), "{said}");
    }
}

/// As many listeners, routes and filters as the schema has room for, with a real broker; one more of each is refused.
pub async fn as_much_as_the_schema_allows_is_served_and_one_more_is_refused(plane: Arc<Plane>) {
    let house = House::build(&plane, "much", Runs::Brokers).await;
    let _operator = house.operator("one");
    let listeners = |count: usize| -> Vec<Value> {
        let one = |n: usize| json!({"name": format!("l{n}"), "protocol": "MQTT", "port": 1883 + n});
        (0..count).map(one).collect()
    };
    let routes = |count: usize, filters: usize| {
        let route = |n: usize| {
            let filters: Vec<_> = (0..filters).map(|m| format!("route-{n}/filter-{m}/+/#")).collect();
            json!({"name": format!("r{n}"), "direction": "In", "filters": filters})
        };
        json!({"routes": (0..count).map(route).collect::<Vec<_>>()})
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far"},
                        "stringData": {"username": "edge", "password": PASSWORD}});
    house.apply(&secret.to_string()).await;
    house.apply(&edge(json!({"listeners": listeners(16)}))).await;
    house.apply(&link("large", "far", routes(64, 64))).await;
    house.until_ready(CLUSTER, "edge").await;
    let large = house.until_condition(LINK, "large", "Programmed", "True", "").await;
    assert_eq!(large["status"]["routes"].as_array().map(Vec::len), Some(64));
    let service = house.get("v1/Service", "edge").await.expect("a Service");
    assert_eq!(service["spec"]["ports"].as_array().map(Vec::len), Some(16));
    for (manifest, words) in [
        (edge(json!({"listeners": listeners(17)})), "spec.listeners"),
        (link("large", "far", routes(65, 1)), "spec.routes"),
        (link("large", "far", routes(1, 65)), "spec.routes[0].filters"),
    ] {
        let object = serde_json::from_str(&manifest).expect("JSON");
        let said = try_apply(&house.client, &house.namespace, "gitops", object).await.expect_err("one too many");
        let said = said.to_string();
        assert!(said.contains(words) && said.contains("must have at most"), "{said}");
    }
}

/// Objects come, change and go while nobody looks.
pub async fn what_is_applied_while_the_operator_is_down_is_made_when_it_is_back(plane: Arc<Plane>) {
    let house = House::build(&plane, "down", Runs::Brokers).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far"},
                        "stringData": {"username": "edge", "password": PASSWORD}});
    house.apply(&secret.to_string()).await;
    house.apply(&edge(json!({}))).await;
    house.apply(&link("first", "far", json!({"topics": ["a"]}))).await;
    let mut operator = house.operator("one");
    house.until_ready(CLUSTER, "edge").await;
    house.until_condition(LINK, "first", "Programmed", "True", "").await;
    assert!(operator.process.terminate().await.success());
    house.api(LINK).delete("first", &DeleteParams::default()).await.expect("removed");
    house.apply(&link("second", "near", json!({"topics": ["b"]}))).await;
    house.apply(&edge(json!({"replicas": 2, "disruptionBudget": "Disabled"}))).await;
    let _operator = house.operator("two");
    house.until(CLUSTER, "edge", "two nodes", |object| object["status"]["readyReplicas"] == 2).await;
    house.until_ready(CLUSTER, "edge").await;
    house.until_condition(LINK, "second", "Programmed", "True", "").await;
    let budget = async || house.get("policy/v1/PodDisruptionBudget", "edge").await.is_none();
    eventually("what is not wanted any more goes", budget).await;
    // The link that was removed goes once its nodes have said that nothing waits for its remote cluster.
    let config = house.until("v1/Secret", "edge-config", "a configuration without the link that is gone", |secret| {
        let config: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret.clone()).expect("a Secret");
        let text = String::from_utf8(config.data.expect("data")["broker.yaml"].0.clone()).expect("text");
        text.contains("near.example") && !text.contains("far.example")
    });
    config.await;
}

fn users(secret: &str) -> Value {
    json!({"authentication": {"users": {"secretRef": {"name": secret}}}})
}

/// A link of `edge`.
fn link(name: &str, remote: &str, more: Value) -> String {
    let remote = json!({"clusterName": remote, "server": format!("mqtt://{remote}.example:1883"),
                        "credentials": {"secretRef": {"name": "far"}}});
    let mut object = json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": name},
                            "spec": {"clusterRef": {"name": "edge"}, "remote": remote}});
    for (key, value) in more.as_object().expect("fields of the spec") {
        object["spec"][key] = value.clone();
    }
    object.to_string()
}
