//! Volumes that grow, with the real admission and the real StatefulSet controller; the test stands for the storage driver.

use std::sync::Arc;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use crate::house::{House, conditions, eventually};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, SET, edge, until_settled};

const CLAIM: &str = "v1/PersistentVolumeClaim";

fn cluster_wide(house: &House, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    Api::all_with(house.client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

/// A StorageClass of the test's own, whose volumes come only from [`provision`].
async fn class(house: &House, expands: bool) -> String {
    let name = house.namespace.clone();
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
                       "provisioner": "tests.example", "allowVolumeExpansion": expands});
    let classes = cluster_wide(house, "storage.k8s.io", "v1", "StorageClass");
    classes.patch(&name, &PatchParams::apply("tests"), &Patch::Apply(class)).await.expect("made");
    name
}

/// A volume for a claim, to which Kubernetes binds it.
async fn provision(house: &House, claim: &str, size: &str) {
    let name = format!("{}-{claim}", house.namespace);
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": house.namespace,
                 "persistentVolumeReclaimPolicy": "Retain",
                 "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": house.namespace,
                              "name": claim},
                 "csi": {"driver": "tests.example", "volumeHandle": name}},
    });
    let volumes = cluster_wide(house, "", "v1", "PersistentVolume");
    volumes.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(volume)).await.expect("made");
    house.until(CLAIM, claim, "it is bound", |object| object["status"]["phase"] == "Bound").await;
}

/// What a storage driver does when a claim asks for more.
async fn resize(house: &House, claim: &str, size: &str) {
    let volume = json!({"spec": {"capacity": {"storage": size}}});
    let name = format!("{}-{claim}", house.namespace);
    let volumes = cluster_wide(house, "", "v1", "PersistentVolume");
    volumes.patch(&name, &PatchParams::default(), &Patch::Merge(volume)).await.expect("patched");
    let status = json!({"status": {"capacity": {"storage": size}}});
    house.api(CLAIM).patch_status(claim, &PatchParams::default(), &Patch::Merge(status)).await.expect("patched");
}

fn with_storage(house: &House, size: &str) -> String {
    edge(json!({"replicas": 2, "storage": {"size": size, "storageClassName": house.namespace,
                                           "retentionPolicy": {"whenDeleted": "Delete"}}}))
}

fn asked(object: &Value) -> &Value {
    &object["spec"]["resources"]["requests"]["storage"]
}

fn template(set: &Value) -> &Value {
    asked(&set["spec"]["volumeClaimTemplates"][0])
}

/// Uids of pods and claims.
async fn uids(house: &House) -> Vec<(String, Value)> {
    let mut uids = Vec::new();
    for (kind, name) in [("v1/Pod", "edge-0"), ("v1/Pod", "edge-1"), (CLAIM, "data-edge-0"), (CLAIM, "data-edge-1")] {
        let object = house.get(kind, name).await.unwrap_or_else(|| panic!("{kind} {name} is gone"));
        assert!(object["metadata"]["deletionTimestamp"].is_null(), "{kind} {name} is being removed");
        uids.push((format!("{kind} {name}"), object["metadata"]["uid"].clone()));
    }
    uids
}

pub async fn volumes_grow_while_their_pods_go_on(plane: Arc<Plane>) {
    let house = House::build(&plane, "grow", Runs::Nothing).await;
    let mut operator = house.operator("one");
    class(&house, true).await;
    house.apply(&with_storage(&house, "1Gi")).await;
    for claim in ["data-edge-0", "data-edge-1"] {
        house.until(CLAIM, claim, "it is made", |_| true).await;
        provision(&house, claim, "1Gi").await;
    }
    until_settled(&house).await;
    house.until_condition(CLUSTER, "edge", "StorageReady", "True", "Converged").await;
    let (before, first) = (uids(&house).await, house.get(SET, "edge").await.expect("a set"));
    house.apply(&with_storage(&house, "2Gi")).await;
    let cluster = house.until_condition(CLUSTER, "edge", "StorageReady", "False", "VolumeResizing").await;
    assert!(conditions(&cluster).any(|found| found["type"] == "Reconciling"), "{cluster:#}");
    for claim in ["data-edge-0", "data-edge-1"] {
        house.until(CLAIM, claim, "it asks for more", |claim| asked(claim) == "2Gi").await;
    }
    let set = house.until(SET, "edge", "it is made anew", |set| template(set) == "2Gi").await;
    assert_ne!(set["metadata"]["uid"], first["metadata"]["uid"]);
    house.until(SET, "edge", "it has its pods", |set| set["status"]["readyReplicas"] == 2).await;
    assert_eq!(uids(&house).await, before, "neither a pod nor a claim was made anew");
    // Killed in the middle: the next one goes on by what is there.
    operator.process.kill();
    house
        .api("coordination.k8s.io/v1/Lease")
        .patch("tombolo", &PatchParams::default(), &Patch::Merge(json!({"spec": {"holderIdentity": null}})))
        .await
        .expect("released");
    resize(&house, "data-edge-0", "2Gi").await;
    let _operator = house.operator("one");
    let what = "the other volume is awaited";
    house
        .until(CLUSTER, "edge", what, |object| {
            conditions(object).any(|found| {
                found["type"] == "StorageReady"
                    && found["message"].as_str().is_some_and(|message| message.contains("data-edge-1 has 1Gi"))
            })
        })
        .await;
    resize(&house, "data-edge-1", "2Gi").await;
    house.until_condition(CLUSTER, "edge", "StorageReady", "True", "Converged").await;
    assert_eq!(uids(&house).await, before);
    let pod = house.get("v1/Pod", "edge-1").await.expect("a pod");
    let owner = &pod["metadata"]["ownerReferences"][0]["uid"];
    assert_eq!(owner, &house.get(SET, "edge").await.expect("a set")["metadata"]["uid"]);
    // A node more has a volume of the new size.
    let mut more: Value = serde_json::from_str(&with_storage(&house, "2Gi")).expect("JSON");
    more["spec"]["replicas"] = json!(3);
    house.apply(&more.to_string()).await;
    house.until(CLAIM, "data-edge-2", "it is large", |claim| asked(claim) == "2Gi").await;
}

pub async fn a_class_that_lets_nothing_grow_is_named_and_awaited(plane: Arc<Plane>) {
    let house = House::build(&plane, "rigid", Runs::Nothing).await;
    let _operator = house.operator("one");
    class(&house, false).await;
    house.apply(&with_storage(&house, "1Gi")).await;
    for claim in ["data-edge-0", "data-edge-1"] {
        house.until(CLAIM, claim, "it is made", |_| true).await;
        provision(&house, claim, "1Gi").await;
    }
    until_settled(&house).await;
    let (before, first) = (uids(&house).await, house.get(SET, "edge").await.expect("a set"));
    house.apply(&with_storage(&house, "2Gi")).await;
    let cluster = house.until_condition(CLUSTER, "edge", "StorageReady", "False", "VolumeExpansionRefused").await;
    let storage = conditions(&cluster).find(|found| found["type"] == "StorageReady").expect("it was awaited");
    let message = storage["message"].as_str().expect("a message");
    assert!(message.contains(&format!("StorageClass {}", house.namespace)) && message.contains("allowVolumeExpansion"));
    // Everything else goes on: a change of the pods is carried out around the volumes as they are.
    let mut changed: Value = serde_json::from_str(&with_storage(&house, "2Gi")).expect("JSON");
    changed["spec"]["image"] = json!("new");
    house.apply(&changed.to_string()).await;
    eventually("the pods are new", async || {
        let pods = house.api("v1/Pod").list(&Default::default()).await.expect("pods");
        pods.items.len() == 2 && pods.items.iter().all(|pod| pod.data["spec"]["containers"][0]["image"] == "new")
    })
    .await;
    let set = house.get(SET, "edge").await.expect("a set");
    assert_eq!((&set["metadata"]["uid"], template(&set)), (&first["metadata"]["uid"], &json!("1Gi")));
    let claims: Vec<_> = before.into_iter().filter(|(name, _)| name.starts_with(CLAIM)).collect();
    assert!(uids(&house).await.ends_with(&claims));
    // Somebody mends the class; nothing else need be done.
    class(&house, true).await;
    house.until(SET, "edge", "it is made anew", |set| template(set) == "2Gi").await;
}
