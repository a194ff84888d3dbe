//! What an operator has made of a cluster, without what differs from one time to the next: to be compared.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Map, Value, json};

use crate::house::{House, conditions};
use crate::reconcile::{CLUSTER, LINK};

const KINDS: [&str; 5] = [
    "v1/ServiceAccount",
    "v1/Service",
    "networking.k8s.io/v1/NetworkPolicy",
    "policy/v1/PodDisruptionBudget",
    "apps/v1/StatefulSet",
];

/// Everything about that cluster and its links, as lines of `NAME: JSON`. Names of cluster and namespace, identities, hashes
/// and tokens are replaced by words.
pub async fn snapshot(house: &House, cluster: &str) -> BTreeMap<String, String> {
    let object = house.get(CLUSTER, cluster).await.expect("the cluster is there");
    let labels = ListParams::default().labels(&format!("app.kubernetes.io/instance={cluster}"));
    let mut found = BTreeMap::new();
    let mut words = vec![(object["metadata"]["uid"].clone(), "UID")];
    for kind in KINDS {
        for child in house.api(kind).list(&labels).await.expect("children") {
            let child = serde_json::to_value(child).expect("JSON");
            let hash = &child["metadata"]["annotations"]["tombolo.dev/template-hash"];
            words.push((hash.clone(), "TEMPLATE"));
            let name = child["metadata"]["name"].as_str().unwrap_or_default();
            found.insert(format!("{kind} {name}"), essence(&child));
        }
    }
    for secret in
        Api::<Secret>::namespaced(house.client.clone(), &house.namespace).list(&labels).await.expect("Secrets")
    {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let annotations = secret.metadata.annotations.clone().unwrap_or_default();
        words.extend(annotations.get("tombolo.dev/config-hash").map(|hash| (json!(hash), "CONFIG")));
        let mut keys = Map::new();
        for (key, content) in secret.data.clone().unwrap_or_default() {
            let text = String::from_utf8_lossy(&content.0).into_owned();
            if name.ends_with("-admin") {
                words.push((json!(text), "TOKEN"));
            }
            // Keys, certificates and tokens are of one time; that they are there is what counts.
            let shown = if key == "broker.yaml" { text } else { "…".to_owned() };
            keys.insert(key, Value::String(shown));
        }
        let mut shown = essence(&json!({"metadata": secret.metadata}));
        shown["data"] = Value::Object(keys);
        found.insert(format!("v1/Secret {name}"), shown);
    }
    found.insert("status".to_owned(), status(&object));
    for link in house.api(LINK).list(&ListParams::default()).await.expect("links") {
        let link = serde_json::to_value(link).expect("JSON");
        if link["spec"]["clusterRef"]["name"] == cluster {
            found.insert(format!("status of {}", link["metadata"]["name"]), status(&link));
        }
    }
    words.extend([(json!(cluster), "NAME"), (json!(house.namespace), "NAMESPACE")]);
    let put = |text: String| {
        let known = words.iter().filter_map(|(value, word)| Some((value.as_str()?, word)));
        known.fold(text, |text, (value, word)| text.replace(value, word))
    };
    found.into_iter().map(|(name, value)| (put(name), put(format!("{value:#}")))).collect()
}

/// What is the same however often and when it was made.
fn essence(child: &Value) -> Value {
    let metadata = &child["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let owners: Vec<_> = owners.map(|owner| json!([owner["kind"], owner["name"], owner["controller"]])).collect();
    let mut spec = child["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|key, _| !key.starts_with("clusterIP"));
    }
    json!({"labels": metadata["labels"], "annotations": metadata["annotations"], "owners": owners, "spec": spec})
}

fn status(object: &Value) -> Value {
    let conditions: Vec<_> = conditions(object)
        .map(|condition| json!([condition["type"], condition["status"], condition["reason"]]))
        .collect();
    let status = &object["status"];
    json!({"conditions": conditions, "replicas": status["replicas"], "ready": status["readyReplicas"],
           "evacuation": status["evacuation"], "version": status["version"]})
}

/// What differs, as text for people; empty: nothing.
pub fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> String {
    let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let mut said = String::new();
    for name in names {
        let (one, other) = (one.get(name), other.get(name));
        if one != other {
            let lines = |text: Option<&String>| text.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
            let (one, other) = (lines(one).unwrap_or_default(), lines(other).unwrap_or_default());
            said += &format!("{name}:\n");
            one.iter().filter(|line| !other.contains(line)).for_each(|line| said += &format!("  - {line}\n"));
            other.iter().filter(|line| !one.contains(line)).for_each(|line| said += &format!("  + {line}\n"));
        }
    }
    said
}
