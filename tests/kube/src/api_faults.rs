//! The API server answers badly, late, half or not at all; what is made is the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api_proxy::{ApiProxy, Asked, Fault};
use crate::house::{House, eventually};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, LINK, edge, until_settled};
use crate::snapshot::{differences, snapshot};
use crate::story::hybrid_cloud;
use crate::watchman::{PASSWORD, Readiness};

/// Seeds of the mixes of faults, one after another; `SEED=n` for one.
const SEEDS: [u64; 2] = [1, 2];
/// Time under faults with nothing to do.
const IDLE: Duration = Duration::from_secs(8);
/// Between two cuts of every connection, of which there are a few: a watch that is cut waits longer and longer.
const CUT_PERIOD: Duration = Duration::from_secs(7);
const CUTS: usize = 3;
/// Without a write at the end.
const QUIET: Duration = Duration::from_secs(3);
/// Writes for each that is needed without faults: repeats, and statuses that tell of what went wrong.
const WRITES_MAX: usize = 4;

const OBJECTS: [(&str, &str); 4] =
    [(CLUSTER, "deployment-local"), (CLUSTER, "deployment-cloud"), (LINK, "to-cloud"), (LINK, "to-local")];

/// A little generator, so that a seed says everything.
struct Dice(u64);

// === impl Dice ===

impl Dice {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn fault(&mut self, asked: &Asked) -> Option<Fault> {
        // A Lease that can't be renewed ends the operator, which is another test.
        let often = if asked.watches { 3 } else { 10 };
        if asked.path.contains("/leases") || self.below(often) != 0 {
            return None;
        }
        let choices = if asked.watches { 9 } else { 7 };
        Some(match self.below(choices) {
            0 => Fault::Answer(429, Some(1)),
            1 => Fault::Answer(503, None),
            2 => Fault::Answer(500, None),
            3 if asked.method == Method::GET => Fault::Answer(410, None),
            3 => Fault::Answer(409, None),
            4 => Fault::Reset,
            5 => Fault::Lost,
            6 => Fault::Slow(Duration::from_millis(100 + self.below(900))),
            7 => Fault::Expired,
            _ => Fault::Cut(usize::try_from(50 + self.below(9_000)).expect("a small number")),
        })
    }
}

/// Two linked clusters of real brokers, made without faults and then under each mix.
pub async fn under_faults_of_the_api_server_the_same_is_made_without_a_storm_of_writes(plane: Arc<Plane>) {
    let house = House::build(&plane, "calm", Runs::Brokers).await;
    let proxy = house.proxy();
    let operator = house.operator_through("one", &proxy);
    make(&house).await;
    change(&house).await;
    until_all_ready(&house).await;
    let calm = all(&house).await;
    let needed = proxy.written().len();
    drop(operator);
    let seeds = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).map_or(SEEDS.to_vec(), |seed| vec![seed]);
    for seed in seeds {
        under_faults(&plane, seed, &calm, needed).await;
    }
}

async fn under_faults(plane: &Arc<Plane>, seed: u64, calm: &Snapshots, needed: usize) {
    let house = House::build(plane, &format!("rough-{seed}"), Runs::Brokers).await;
    let proxy = Arc::new(house.proxy());
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    proxy.rules(move |asked| dice.fault(asked));
    let cutting = cutting(Arc::clone(&proxy));
    let mut operator = house.operator_through("one", &proxy);
    let readiness = Readiness::follow(&house.client, &house.namespace);
    make(&house).await;
    until_all_ready(&house).await;
    // Nothing happens to anybody, but to the operator's connections: nobody hears of it.
    let (before, begun) = (readiness.turns(), Instant::now());
    eventually("some time has passed", async || begun.elapsed() > IDLE).await;
    assert_eq!(readiness.turns(), before, "seed {seed}: Ready changed though nothing happened");
    change(&house).await;
    until_all_ready(&house).await;
    assert!(operator.process.ended().is_none(), "seed {seed}: {}", operator.process.output());
    cutting.abort();
    proxy.calm();
    eventually(&format!("seed {seed}: the same is made"), async || {
        let said = differences_of(calm, &all(&house).await);
        if !said.is_empty() {
            println!("{said}");
        }
        said.is_empty()
    })
    .await;
    // What failed last is tried again after its back-off, and a watch that was cut may have news; then it is quiet.
    let (mut last, mut since) = (proxy.written().len(), Instant::now());
    let quiet = async || {
        let now = proxy.written().len();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > QUIET
    };
    eventually(&format!("seed {seed}: writes end"), quiet).await;
    let written = proxy.written();
    println!("seed {seed}: {} faults, {} writes for {needed}", proxy.faults(), written.len());
    assert!(written.len() <= WRITES_MAX * needed, "seed {seed}: {:#?}", counted(&proxy));
    for cluster in ["deployment-local", "deployment-cloud"] {
        let secret = house.get("v1/Secret", &format!("{cluster}-admin")).await.expect("a token");
        let token = secret["data"]["token"].as_str().expect("a token");
        let output = operator.process.output();
        assert!(!output.contains(token) && !output.contains("PRIVATE KEY") && !output.contains(PASSWORD));
    }
}

/// The answer to a write says how things were when it was carried out. What a watch told meanwhile is newer.
pub async fn a_change_that_comes_while_a_write_is_not_answered_yet_is_not_lost(plane: Arc<Plane>) {
    let house = House::build(&plane, "late-answer", Runs::Nothing).await;
    let proxy = house.proxy();
    let _operator = house.operator_through("one", &proxy);
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    // The answers are later than what the watches tell.
    let writes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&writes);
    proxy.rules(move |asked| {
        let patched = asked.path.contains("/status") || asked.path.contains("/statefulsets/");
        (patched && asked.write.is_some()).then(|| {
            seen.fetch_add(1, Relaxed);
            Fault::Slow(Duration::from_millis(1_500))
        })
    });
    for nodes in [2, 3, 2] {
        let before = writes.load(Relaxed);
        house.apply(&edge(json!({"replicas": nodes}))).await;
        eventually("something is being written", async || writes.load(Relaxed) > before).await;
        // It comes while the operator waits, and nothing comes after it.
        house.apply(&edge(json!({"replicas": nodes, "disruptionBudget": "Disabled"}))).await;
        house.until(CLUSTER, "edge", "all nodes", |object| object["status"]["readyReplicas"] == nodes).await;
        until_settled(&house).await;
        let gone = async || house.get("policy/v1/PodDisruptionBudget", "edge").await.is_none();
        eventually("what came meanwhile counts", gone).await;
        house.apply(&edge(json!({"replicas": nodes}))).await;
        house.until("policy/v1/PodDisruptionBudget", "edge", "it comes back", |_| true).await;
    }
}

type Snapshots = Vec<std::collections::BTreeMap<String, String>>;

async fn make(house: &House) {
    for (name, data) in
        [("mqtt-users", json!({"demo": PASSWORD})), ("link", json!({"username": "link", "password": PASSWORD}))]
    {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        house.apply(&secret.to_string()).await;
    }
    hybrid_cloud(house, &["local.yaml", "cloud.yaml"]).await;
    until_all_ready(house).await;
}

/// What a user changes later: a listener more, and a topic more.
async fn change(house: &House) {
    let listeners = json!({"spec": {"listeners": [{"name": "mqtt", "protocol": "MQTT", "port": 1883},
                                                  {"name": "more", "protocol": "MQTT", "port": 1993}]}});
    let topics = json!({"spec": {"topics": ["from-cluster", "more/#"]}});
    for (kind, name, patch) in [(CLUSTER, "deployment-local", listeners), (LINK, "to-cloud", topics)] {
        let patch: kube::api::Patch<Value> = kube::api::Patch::Merge(patch);
        house.api(kind).patch(name, &kube::api::PatchParams::default(), &patch).await.expect("patched");
    }
}

async fn until_all_ready(house: &House) {
    for (kind, name) in OBJECTS {
        house.until_ready(kind, name).await;
    }
}

async fn all(house: &House) -> Snapshots {
    vec![snapshot(house, "deployment-local").await, snapshot(house, "deployment-cloud").await]
}

fn differences_of(one: &Snapshots, other: &Snapshots) -> String {
    one.iter().zip(other).map(|(one, other)| differences(one, other)).collect()
}

fn cutting(proxy: Arc<ApiProxy>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for _ in 0..CUTS {
            tokio::time::sleep(CUT_PERIOD).await;
            proxy.cut();
        }
    })
}

/// Writes by method and path.
fn counted(proxy: &ApiProxy) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for written in proxy.written() {
        *counts.entry(format!("{} {} {:?}", written.method, written.path, written.code)).or_default() += 1;
    }
    counts
}
