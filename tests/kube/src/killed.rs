//! The operator is killed at each of its writes, and the next one ends at the same place.
//!
//! It keeps nothing but what the API server has, so that after each write, and before the first, are all the states in which
//! one can die.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::api_proxy::{ApiProxy, Fault, When};
use crate::house::{House, Operator, PATIENCE, conditions, eventually, is_observed};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, edge};
use crate::snapshot::{differences, snapshot};

/// More writes than these are no way to make or change one cluster.
const WRITES_MAX: usize = 60;

/// A namespace whose operator dies.
struct Killing {
    house: House,
    proxy: ApiProxy,
    operator: Operator,
    runs: Runs,
    kills: usize,
}

pub async fn an_operator_killed_at_any_write_of_a_new_cluster_ends_at_the_same_place(plane: Arc<Plane>) {
    let mut killing = Killing::begin(&plane, "kill-new", Runs::Nothing).await;
    let make = async |killing: &Killing, name: &str| {
        let mut object: Value = serde_json::from_str(&edge(json!({"replicas": 2}))).expect("JSON");
        object["metadata"]["name"] = json!(name);
        killing.house.apply(&object.to_string()).await;
    };
    make(&killing, "calm").await;
    let calm = killing.settled("calm", 2).await;
    for (when, write) in states() {
        let name = format!("{when:?}-{write}").to_lowercase();
        killing.dies_at(when, write);
        make(&killing, &name).await;
        let died = killing.lives_on(&name, 2, &calm).await;
        killing.house.api(CLUSTER).delete(&name, &DeleteParams::default()).await.expect("removed");
        if !died {
            return killing.end();
        }
    }
    panic!("{WRITES_MAX} writes and no end");
}

pub async fn an_operator_killed_at_any_write_of_a_rolling_update_ends_at_the_same_place(plane: Arc<Plane>) {
    let image = |image: &str| json!({"spec": {"image": image}});
    there_and_back(&plane, "kill-update", Runs::Nothing, (image("old"), 2), (image("new"), 2)).await;
}

pub async fn an_operator_killed_at_any_write_of_a_change_of_nodes_ends_at_the_same_place(plane: Arc<Plane>) {
    let replicas = |count: u16| json!({"spec": {"replicas": count}});
    there_and_back(&plane, "kill-scale", Runs::Brokers, (replicas(2), 2), (replicas(1), 1)).await;
}

/// Each change is a patch of the spec and the nodes there are then. Real brokers are emptied on the way.
async fn there_and_back(plane: &Arc<Plane>, name: &str, runs: Runs, back: (Value, u64), there: (Value, u64)) {
    let mut killing = Killing::begin(plane, name, runs).await;
    let evacuation = match runs {
        Runs::Brokers => json!({"policy": "Evacuate", "deadlineSeconds": 300}),
        Runs::Nothing => json!({"policy": "Disconnect"}),
    };
    let update = json!({"minReadySeconds": 0, "evacuation": evacuation});
    killing.house.apply(&edge(json!({"replicas": 2, "image": "old", "update": update}))).await;
    killing.settled("edge", 2).await;
    // There and back without a fault, so that what is compared has been through the same.
    let mut calm = BTreeMap::new();
    for (way, (patch, nodes)) in [("there", &there), ("back", &back)] {
        killing.patch(patch).await;
        calm.insert(way, killing.settled("edge", *nodes).await);
    }
    for (when, write) in states() {
        let mut died = false;
        for (way, (patch, nodes)) in [("there", &there), ("back", &back)] {
            killing.dies_at(when, write);
            killing.patch(patch).await;
            died |= killing.lives_on("edge", *nodes, &calm[way]).await;
        }
        if !died {
            return killing.end();
        }
    }
    panic!("{WRITES_MAX} writes and no end");
}

fn states() -> impl Iterator<Item = (When, usize)> {
    [(When::Before, 1)].into_iter().chain((1..=WRITES_MAX).map(|write| (When::After, write)))
}

// === impl Killing ===

impl Killing {
    async fn begin(plane: &Arc<Plane>, name: &str, runs: Runs) -> Self {
        let house = House::build(plane, name, runs).await;
        let proxy = house.proxy();
        let operator = house.operator_through("one", &proxy);
        operator.ready().await;
        Self { house, proxy, operator, runs, kills: 0 }
    }

    fn dies_at(&self, when: When, write: usize) {
        self.proxy.rules(move |asked| (asked.write == Some(write)).then_some(Fault::Kill(when)));
    }

    async fn patch(&self, patch: &Value) {
        let params = PatchParams::default();
        self.house.api(CLUSTER).patch("edge", &params, &Patch::Merge(patch.clone())).await.expect("patched");
    }

    /// True: the operator died on the way, and the next one made the same.
    async fn lives_on(&mut self, name: &str, nodes: u64, calm: &BTreeMap<String, String>) -> bool {
        let mut died = false;
        eventually("it dies or is done", async || {
            died = self.operator.process.ended().is_some();
            died || self.is_settled(&self.house.get(CLUSTER, name).await.expect("it is there"), nodes)
        })
        .await;
        self.proxy.calm();
        died |= self.operator.process.ended().is_some();
        if died {
            self.kills += 1;
            // Of the same identity, so that nobody waits until the Lease is old.
            self.operator = self.house.operator_through("one", &self.proxy);
        }
        let mut said = String::new();
        self.house.until(CLUSTER, name, "it is done", |object| self.is_settled(object, nodes)).await;
        let begun = tokio::time::Instant::now();
        eventually("the same was made", async || {
            said = differences(calm, &snapshot(&self.house, name).await);
            if !said.is_empty() && begun.elapsed() > PATIENCE / 2 {
                panic!("{name}, kill {}: {said}", self.kills);
            }
            said.is_empty()
        })
        .await;
        died
    }

    async fn settled(&self, name: &str, nodes: u64) -> BTreeMap<String, String> {
        self.house.until(CLUSTER, name, "it is done", |object| self.is_settled(object, nodes)).await;
        snapshot(&self.house, name).await
    }

    fn end(self) {
        println!("{}: killed {} times", self.house.namespace, self.kills);
        assert!(self.kills > 5, "a cluster takes more writes than {}", self.kills);
    }

    /// With real brokers it is ready then; without, nobody ever says what runs.
    fn is_settled(&self, object: &Value, nodes: u64) -> bool {
        let wanted = match self.runs {
            Runs::Brokers => "Ready",
            Runs::Nothing => "Available",
        };
        let is = |kind: &str, status: &str| {
            conditions(object).any(|found| found["type"] == kind && found["status"] == status)
        };
        is_observed(object)
            && object["status"]["replicas"] == nodes
            && object["status"]["readyReplicas"] == nodes
            && is("Progressing", "False")
            && is(wanted, "True")
    }
}
