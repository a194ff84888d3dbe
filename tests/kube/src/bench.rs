//! Many objects at once: how long until all have their children and a status, and what it costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::ListParams;
use serde_json::json;

use crate::house::{House, apply};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, LINK};

const OBJECTS: usize = 1_000;

/// Prints the figures.
pub async fn many_objects(plane: Arc<Plane>) {
    let house = House::build(&plane, "bench", Runs::Nothing).await;
    let cluster = |n: usize| {
        json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": format!("c{n}")},
               "spec": {"replicas": 0, "authentication": {"anonymous": "Allowed"}}})
    };
    let link = |n: usize| {
        json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": format!("l{n}")},
               "spec": {"clusterRef": {"name": format!("c{n}")}, "topics": ["a"], "accept": {"user": "x"},
                        "remote": {"clusterName": "far"}}})
    };
    let begun = Instant::now();
    let objects = (0..OBJECTS).flat_map(|n| [cluster(n), link(n)]);
    let sends = objects.map(|object| apply(&house.client, &house.namespace, "gitops", object));
    futures::stream::iter(sends).buffer_unordered(8).for_each(|_| async {}).await;
    println!("{OBJECTS} clusters and {OBJECTS} links were made in {:.1} s", begun.elapsed().as_secs_f64());
    let operator = house.operator("bench");
    let begun = Instant::now();
    loop {
        let mut observed = 0;
        for kind in [CLUSTER, LINK] {
            let all = house.api(kind).list(&ListParams::default()).await.expect("objects");
            observed += all.items.iter().filter(|object| object.data["status"]["observedGeneration"] == 1).count();
        }
        if observed == 2 * OBJECTS {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(900), "{observed} after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("all had their status after {:.1} s", begun.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (writes, cpu) = (operator.metric("tombolo_operator_writes_total").await, cpu_seconds(operator.process.id()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let idle = cpu_seconds(operator.process.id()) - cpu;
    let after = operator.metric("tombolo_operator_writes_total").await - writes;
    println!("{writes} writes; then 30 s idle: {after} writes, {idle:.2} s of CPU; {cpu:.1} s of CPU before");
    println!("memory: {} MiB", resident_kib(operator.process.id()) / 1024);
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("a number") + fields[12].parse::<f64>().expect("a number");
    ticks / 100.0
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
