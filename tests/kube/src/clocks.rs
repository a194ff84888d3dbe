//! Clocks that disagree: an operator whose clock is hours off, among brokers, a control plane and a rival that are right.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use crate::house::{House, Operator, conditions, eventually};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, edge};

/// Seconds by which a clock is off.
const OFF: i64 = 6 * 3_600;

pub async fn an_operator_whose_clock_is_hours_ahead_works_and_renews_nothing(plane: Arc<Plane>) {
    works_with_a_clock_off(&plane, "ahead", OFF).await;
}

pub async fn an_operator_whose_clock_is_hours_behind_works_and_renews_nothing(plane: Arc<Plane>) {
    works_with_a_clock_off(&plane, "behind", -OFF).await;
}

async fn works_with_a_clock_off(plane: &Arc<Plane>, name: &str, offset: i64) {
    let house = House::build(plane, name, Runs::Brokers).await;
    let library = clock(plane);
    // Without TLS on this way: whether the API server's certificate is valid is not what this is about.
    let proxy = house.proxy();
    let kubeconfig = house.kubeconfig_through(&proxy);
    let wrong = |name: &str| {
        house.operator_with(name, |command| {
            command.env("KUBECONFIG", &kubeconfig).env("LD_PRELOAD", &library).env("CLOCK_OFFSET", offset.to_string());
        })
    };
    let cluster = |image: &str| {
        edge(json!({"replicas": 2, "image": image,
                    "update": {"minReadySeconds": 1, "evacuation": {"policy": "Disconnect"}}}))
    };
    // What it makes is taken by brokers whose clocks are right.
    let mut first = wrong("first");
    house.apply(&cluster("one")).await;
    let object = house.until_ready(CLUSTER, "edge").await;
    let ready = conditions(&object).find(|found| found["type"] == "Ready").expect("Ready");
    let said: jiff::Timestamp = ready["lastTransitionTime"].as_str().expect("a time").parse().expect("a time");
    let apart = said.as_second() - jiff::Timestamp::now().as_second();
    assert!((apart - offset).abs() < 300, "its clock is {apart} s off, and should be {offset}");
    let made = certificates(&house).await;
    // A right one waits as long as the wrong one renews, and takes over when it ends.
    let mut second = house.operator("second");
    second.ready().await;
    house.apply(&cluster("two")).await;
    house.until_ready(CLUSTER, "edge").await;
    assert_eq!(second.metric("tombolo_operator_leader").await, 0.0, "an entry that moves is alive, whatever it says");
    assert!(first.process.terminate().await.success());
    leads(&second).await;
    house.apply(&cluster("three")).await;
    house.until_ready(CLUSTER, "edge").await;
    // And back again.
    let third = wrong("third");
    assert!(second.process.terminate().await.success());
    leads(&third).await;
    house.apply(&cluster("four")).await;
    house.until_ready(CLUSTER, "edge").await;
    assert_eq!(certificates(&house).await, made, "certificates were made anew");
    let mut writes = third.metric("tombolo_operator_writes_total").await;
    eventually("nothing is written any more", async || {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let before = std::mem::replace(&mut writes, third.metric("tombolo_operator_writes_total").await);
        before == writes
    })
    .await;
}

async fn leads(operator: &Operator) {
    eventually("it leads", async || operator.metric("tombolo_operator_leader").await == 1.0).await;
}

/// What stands for the content of the Secrets with certificates.
async fn certificates(house: &House) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    for name in ["edge-authority", "edge-internode"] {
        found.push(house.get("v1/Secret", name).await.expect("a Secret")["data"].clone());
    }
    found
}

/// The library that puts a clock off, compiled by the C compiler that the build needs anyway.
fn clock(plane: &Plane) -> PathBuf {
    let source = plane.write("clock.c", include_str!("clock.c"));
    let library = plane.folder().join("clock.so");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    let output = command.output().expect("a C compiler, which the build needs too");
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    library
}
