//! End to end on a real node: the chart by helm, the images of `make images`, the example, clients of others, and an end
//! that leaves nothing behind.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tombolo_tests::rumqtt::Client;

use crate::house::{eventually, root};
use crate::node::{ARCH, Node, kill_broker_of};
use crate::sandbox;
use crate::story::login;
use crate::traffic::{Count, Traffic, Way};

const SYSTEM: &str = "tombolo-system";
const NAMESPACE: &str = "mqtt";
const REGISTRY: &str = "ghcr.io/tombolo-mqtt";
const CLUSTERS: [&str; 2] = ["deployment-local", "deployment-cloud"];

/// Who runs the steps.
struct EndToEnd {
    node: Arc<Node>,
    folder: PathBuf,
}

/// Archives of the images, by name.
///
/// # Errors
/// What is missing, and how to build it.
pub fn images() -> Result<Vec<(&'static str, PathBuf)>, String> {
    let archive = |name: &'static str| {
        let path = root().join(format!("target/images/{name}-{ARCH}.tar"));
        if path.is_file() { Ok((name, path)) } else { Err(format!("{} is missing: run `make images`", path.display())) }
    };
    ["operator", "broker", "cli"].into_iter().map(archive).collect()
}

macro_rules! steps {
    ($($name:ident)+) => {
        /// All steps, one after another; each stands on those before it.
        async fn steps(run: &EndToEnd) {
            $(
                let begun = Instant::now();
                run.$name().await;
                println!("step {} … ok ({:.1} s)", stringify!($name), begun.elapsed().as_secs_f64());
            )+
        }
    };
}

steps! {
    the_chart_installs_an_operator_in_a_restricted_namespace
    helm_tests_the_operator_and_a_cluster_from_values
    the_example_is_ready_and_nothing_of_it_differs_afterwards
    clients_at_both_services_hear_a_message_of_either_side_once
    a_pod_that_is_deleted_under_load_takes_nothing_with_it
    a_broker_that_is_killed_takes_nothing_with_it_of_those_at_other_nodes
    a_rolling_update_under_load_loses_nothing_that_was_acknowledged
    fewer_nodes_and_more_again_under_load_lose_nothing_that_was_acknowledged
    an_operator_that_is_replaced_replaces_no_broker
    a_rotated_password_reaches_the_brokers_without_a_restart
    a_link_that_is_disabled_and_enabled_again_forwards
    a_volume_outlives_its_cluster
    what_is_uninstalled_leaves_nothing_but_what_retention_keeps
}

/// Runs all of it inside the sandbox.
pub async fn run(assets: &Path, folder: &Path, group: &str) -> ExitCode {
    let begun = Instant::now();
    sandbox::furnish(folder, crate::node::ADDRESS);
    let node = Arc::new(Node::start(assets, &folder.join("node"), group).await);
    for (name, archive) in images().expect("looked at before") {
        node.import(&format!("{REGISTRY}/{name}"), &archive);
    }
    println!("the node is ready after {:.1} s", begun.elapsed().as_secs_f64());
    let run = EndToEnd { node, folder: folder.to_owned() };
    let outcome = {
        let run = std::rc::Rc::new(run);
        let steps = std::rc::Rc::clone(&run);
        let outcome = tokio::task::spawn_local(async move { self::steps(&steps).await }).await;
        if outcome.is_err() {
            run.tell();
        }
        outcome
    };
    println!("{} after {:.0} s", if outcome.is_ok() { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f64());
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// === impl EndToEnd ===

impl EndToEnd {
    async fn the_chart_installs_an_operator_in_a_restricted_namespace(&self) {
        for namespace in [SYSTEM, NAMESPACE] {
            self.kubectl(&format!("create namespace {namespace}")).await;
            self.kubectl(&format!("label namespace {namespace} pod-security.kubernetes.io/enforce=restricted")).await;
        }
        self.helm(&format!("install tombolo charts/tombolo --namespace {SYSTEM} --wait --timeout 3m")).await;
        self.kubectl(&format!("-n {SYSTEM} rollout status deployment/tombolo --timeout=60s")).await;
    }

    async fn helm_tests_the_operator_and_a_cluster_from_values(&self) {
        self.helm(&format!("test tombolo --namespace {SYSTEM} --timeout 3m")).await;
        let values = "users.sensor=secret,cluster.replicas=2";
        self.helm(&format!("install edge charts/tombolo-cluster --namespace {NAMESPACE} --set {values}")).await;
        // It waits for the cluster by itself.
        self.helm(&format!("test edge --namespace {NAMESPACE} --timeout 3m")).await;
        self.helm(&format!("uninstall edge --namespace {NAMESPACE} --wait")).await;
        eventually("its pods are gone", async || self.pods("edge").await.is_empty()).await;
    }

    async fn the_example_is_ready_and_nothing_of_it_differs_afterwards(&self) {
        self.kubectl(&format!("-n {NAMESPACE} apply -f examples/hybrid-nodes")).await;
        self.all_ready().await;
        // It fails if anything differs.
        self.kubectl(&format!("-n {NAMESPACE} diff -f examples/hybrid-nodes")).await;
    }

    async fn clients_at_both_services_hear_a_message_of_either_side_once(&self) {
        let mut listeners = Vec::new();
        for (place, cluster) in CLUSTERS.iter().enumerate() {
            for number in 0..3 {
                let level = if number == 0 { 4 } else { 5 };
                let id = format!("listener-{place}-{number}");
                let mut listener = Client::connect(self.service(cluster).await, level, &id, ("demo", "demo")).await;
                listener.subscribe("from-cluster", 1).await;
                listeners.push(listener);
            }
        }
        self.interest_is_level().await;
        for cluster in CLUSTERS {
            let mut publisher = Client::connect(self.service(cluster).await, 5, "publisher", ("demo", "demo")).await;
            let wanted: Vec<_> = (0..10).map(|number| format!("{cluster} {number}")).collect();
            for payload in &wanted {
                publisher.publish("from-cluster", 1, payload).await;
            }
            publisher.publish("from-cluster", 1, "end").await;
            for listener in &mut listeners {
                let seen: Vec<_> = listener.messages_until("end").await.into_iter().map(|seen| seen.payload).collect();
                assert_eq!(seen, wanted);
            }
        }
    }

    async fn a_pod_that_is_deleted_under_load_takes_nothing_with_it(&self) {
        let traffic = self.traffic(self.ways("deleted").await).await;
        let uid = "-o jsonpath={.metadata.uid}";
        let before = self.kubectl(&format!("-n {NAMESPACE} get pod deployment-local-1 {uid}")).await;
        self.kubectl(&format!("-n {NAMESPACE} delete pod deployment-local-1 --wait=false")).await;
        eventually("the pod is another one", async || {
            let now = self.try_kubectl(&format!("-n {NAMESPACE} get pod deployment-local-1 {uid}")).await;
            now.is_ok_and(|now| now != before)
        })
        .await;
        self.all_ready().await;
        nothing_is_missing(traffic).await;
    }

    async fn a_broker_that_is_killed_takes_nothing_with_it_of_those_at_other_nodes(&self) {
        let (name, local) = ("killed", self.pod("deployment-local-0", 1883).await);
        let ways = [
            Way { name, from: local, to: self.pod("deployment-local-2", 1883).await, topic: "within" },
            Way { name, from: local, to: self.pod("deployment-cloud-0", 2883).await, topic: "from-cluster" },
        ];
        let traffic = self.traffic(ways).await;
        for pod in ["deployment-local-1", "deployment-cloud-1"] {
            kill_broker_of(pod);
            let count =
                format!("-n {NAMESPACE} get pod {pod} -o jsonpath={{.status.containerStatuses[0].restartCount}}");
            eventually("its container begins anew", async || self.kubectl(&count).await == "1").await;
            self.kubectl(&format!("-n {NAMESPACE} wait --for=condition=Ready pod/{pod} --timeout=90s")).await;
            self.all_ready().await;
        }
        for count in nothing_is_missing(traffic).await {
            assert_eq!(count.lost_connections, 0, "nobody was at a node that was killed: {count:?}");
        }
    }

    async fn a_rolling_update_under_load_loses_nothing_that_was_acknowledged(&self) {
        let traffic = self.traffic(self.ways("rolled").await).await;
        let before = self.pods("deployment-local").await;
        let change = json!({"spec": {"podOverrides": {"metadata": {"annotations": {"example.com/rolled": "once"}}},
                                     "update": {"minReadySeconds": 1, "evacuation": {"takeoverWaitSeconds": 5}}}});
        self.patch("brokercluster", "deployment-local", &change).await;
        eventually("every pod is another one", async || {
            let now = self.pods("deployment-local").await;
            now.len() == before.len() && now.is_disjoint(&before)
        })
        .await;
        self.all_ready().await;
        for count in nothing_is_missing(traffic).await {
            assert!(count.lost_connections >= 3, "every publisher was at a node that was replaced: {count:?}");
        }
    }

    async fn fewer_nodes_and_more_again_under_load_lose_nothing_that_was_acknowledged(&self) {
        let traffic = self.traffic(self.ways("scaled").await).await;
        for nodes in [2, 3] {
            self.kubectl(&format!("-n {NAMESPACE} scale brokercluster deployment-local --replicas={nodes}")).await;
            eventually("as many pods as are wanted", async || self.pods("deployment-local").await.len() == nodes).await;
            self.all_ready().await;
        }
        nothing_is_missing(traffic).await;
        // As the example has it: kubectl applies what is in Git.
        self.kubectl(&format!("-n {NAMESPACE} diff -f examples/hybrid-nodes/secrets.yaml")).await;
    }

    async fn an_operator_that_is_replaced_replaces_no_broker(&self) {
        let before = self.pods("deployment-local").await;
        let lease = format!("-n {SYSTEM} get lease tombolo -o jsonpath={{.spec.holderIdentity}}");
        let holder = self.kubectl(&lease).await;
        self.helm(&format!(
            "upgrade tombolo charts/tombolo --namespace {SYSTEM} --wait --timeout 3m --set log.filter=debug"
        ))
        .await;
        eventually("another operator works", async || {
            let now = self.kubectl(&lease).await;
            !now.is_empty() && now != holder
        })
        .await;
        // What is asked for now is done by it.
        self.patch("clusterlink", "to-cloud", &json!({"spec": {"enabled": false}})).await;
        self.kubectl(&format!("-n {NAMESPACE} wait --for=condition=Ready=False clusterlink/to-cloud --timeout=60s"))
            .await;
        self.patch("clusterlink", "to-cloud", &json!({"spec": {"enabled": true}})).await;
        self.all_ready().await;
        assert_eq!(self.pods("deployment-local").await, before);
    }

    async fn a_rotated_password_reaches_the_brokers_without_a_restart(&self) {
        let before = self.pods("deployment-local").await;
        let at = self.service("deployment-local").await;
        self.patch("secret", "mqtt-users", &json!({"stringData": {"demo": "another"}})).await;
        eventually("every node takes the new password", async || {
            // A Service chooses a node for each connection.
            let mut all = true;
            for _ in 0..12 {
                all &= login(at, "demo", "another").await == 0;
            }
            all
        })
        .await;
        for _ in 0..12 {
            assert_eq!(login(at, "demo", "demo").await, 0x86, "Bad User Name or Password");
        }
        assert_eq!(self.pods("deployment-local").await, before);
        self.patch("secret", "mqtt-users", &json!({"stringData": {"demo": "demo"}})).await;
        self.all_ready().await;
        eventually("the old password is back", async || login(at, "demo", "demo").await == 0).await;
    }

    async fn a_link_that_is_disabled_and_enabled_again_forwards(&self) {
        self.patch("clusterlink", "to-cloud", &json!({"spec": {"enabled": false}})).await;
        let wait =
            |condition: &str| format!("-n {NAMESPACE} wait --for={condition} clusterlink/to-cloud --timeout=90s");
        self.kubectl(&wait("jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}=Disabled")).await;
        self.patch("clusterlink", "to-cloud", &json!({"spec": {"enabled": true}})).await;
        self.all_ready().await;
        self.clients_at_both_services_hear_a_message_of_either_side_once().await;
    }

    async fn a_volume_outlives_its_cluster(&self) {
        let volume = self.folder.join("volume");
        std::fs::create_dir_all(&volume).expect("a folder");
        let manifests = [
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local"},
                   "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}),
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "local-0"},
                   "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                            "persistentVolumeReclaimPolicy": "Retain", "local": {"path": volume},
                            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "Exists"}]}]}}}}),
            json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "kept"},
                   "spec": {"storage": {"size": "1Gi", "storageClassName": "local"},
                            "authentication": {"anonymous": "Allowed"}}}),
        ];
        for manifest in manifests {
            self.apply(&manifest).await;
        }
        self.all_ready().await;
        self.kubectl(&format!("-n {NAMESPACE} delete brokercluster kept --wait")).await;
        eventually("its pod is gone", async || self.pods("kept").await.is_empty()).await;
        let claims = self.kubectl(&format!("-n {NAMESPACE} get pvc -o name")).await;
        assert_eq!(claims.trim(), "persistentvolumeclaim/data-kept-0");
    }

    async fn what_is_uninstalled_leaves_nothing_but_what_retention_keeps(&self) {
        self.kubectl(&format!("-n {NAMESPACE} delete -f examples/hybrid-nodes --wait")).await;
        self.helm(&format!("uninstall tombolo --namespace {SYSTEM} --wait")).await;
        let kinds = "all,secret,configmap,serviceaccount,pvc,networkpolicy,poddisruptionbudget,role,rolebinding,lease";
        let standard = BTreeSet::from(["configmap/kube-root-ca.crt", "serviceaccount/default"]);
        for (namespace, kept) in [(NAMESPACE, "persistentvolumeclaim/data-kept-0"), (SYSTEM, LEASE)] {
            let mut left = Vec::new();
            eventually("all is gone", async || {
                let names = self.kubectl(&format!("-n {namespace} get {kinds} -o name")).await;
                left = names.lines().filter(|name| !standard.contains(name)).map(str::to_owned).collect();
                left == [kept]
            })
            .await;
        }
        let cluster_wide =
            "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,crd";
        let names = self.kubectl(&format!("get {cluster_wide} -l app.kubernetes.io/instance=tombolo -o name")).await;
        let crds = "customresourcedefinition.apiextensions.k8s.io/";
        assert!(names.lines().all(|name| name.starts_with(crds)), "{names}");
        // The last two commands of the documented uninstall.
        self.kubectl("delete crd brokerclusters.tombolo.dev clusterlinks.tombolo.dev").await;
        self.kubectl(&format!("delete namespace {NAMESPACE} {SYSTEM} --wait")).await;
    }

    /// Within a cluster, and over the link out of it.
    async fn ways(&self, name: &'static str) -> [Way; 2] {
        let (local, cloud) = (self.service("deployment-local").await, self.service("deployment-cloud").await);
        [
            Way { name, from: local, to: local, topic: "within" },
            // What the example's links carry.
            Way { name, from: local, to: cloud, topic: "from-cluster" },
        ]
    }

    async fn traffic(&self, ways: [Way; 2]) -> Vec<Traffic> {
        let mut all = Vec::new();
        for way in ways {
            all.push(Traffic::start(way).await);
        }
        self.interest_is_level().await;
        all.iter_mut().for_each(Traffic::publish);
        all
    }

    /// Every cluster and link is ready, for its newest spec.
    async fn all_ready(&self) {
        self.kubectl(&format!(
            "-n {NAMESPACE} wait --for=condition=Ready brokercluster,clusterlink --all --timeout=150s"
        ))
        .await;
    }

    /// A link is ready when both sides know what is wanted; made anew, it is so for all that was subscribed before.
    async fn interest_is_level(&self) {
        for enabled in [false, true] {
            self.patch("clusterlink", "to-local", &json!({"spec": {"enabled": enabled}})).await;
            let status = if enabled { "True" } else { "False" };
            for link in ["to-local", "to-cloud"] {
                self.kubectl(&format!(
                    "-n {NAMESPACE} wait --for=condition=Ready={status} clusterlink/{link} --timeout=90s"
                ))
                .await;
            }
        }
    }

    /// Where clients of a cluster connect.
    async fn service(&self, cluster: &str) -> SocketAddr {
        let ip = self.kubectl(&format!("-n {NAMESPACE} get service {cluster} -o jsonpath={{.spec.clusterIP}}")).await;
        let port = if cluster == CLUSTERS[0] { 1883 } else { 2883 };
        (ip.parse::<std::net::IpAddr>().expect("an address"), port).into()
    }

    /// Where clients of one node connect.
    async fn pod(&self, name: &str, port: u16) -> SocketAddr {
        let ip = self.kubectl(&format!("-n {NAMESPACE} get pod {name} -o jsonpath={{.status.podIP}}")).await;
        (ip.parse::<std::net::IpAddr>().expect("an address"), port).into()
    }

    /// Uids of the pods of a cluster that are not ending.
    async fn pods(&self, cluster: &str) -> BTreeSet<String> {
        let pods = format!("-n {NAMESPACE} get pods -l app.kubernetes.io/instance={cluster} -o json");
        let pods: Value = serde_json::from_str(&self.kubectl(&pods).await).expect("JSON");
        let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
        pods["items"].as_array().into_iter().flatten().filter_map(uid).collect()
    }

    async fn patch(&self, kind: &str, name: &str, change: &Value) {
        let arguments = ["-n", NAMESPACE, "patch", kind, name, "--type", "merge", "-p", &change.to_string()];
        self.call("kubectl", &arguments).await.unwrap_or_else(|said| panic!("kubectl patch {kind} {name}: {said}"));
    }

    async fn apply(&self, manifest: &Value) {
        let file = self.folder.join("manifest.json");
        std::fs::write(&file, manifest.to_string()).expect("written");
        self.kubectl(&format!("-n {NAMESPACE} apply -f {}", file.display())).await;
    }

    async fn kubectl(&self, arguments: &str) -> String {
        self.try_kubectl(arguments).await.unwrap_or_else(|said| panic!("kubectl {arguments}: {said}"))
    }

    async fn try_kubectl(&self, arguments: &str) -> Result<String, String> {
        self.call("kubectl", &arguments.split(' ').collect::<Vec<_>>()).await
    }

    async fn helm(&self, arguments: &str) -> String {
        let said = self.call("helm", &arguments.split(' ').collect::<Vec<_>>()).await;
        said.unwrap_or_else(|said| panic!("helm {arguments}: {said}"))
    }

    /// In a thread of its own: clients of the test go on meanwhile.
    async fn call(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let (node, program) = (Arc::clone(&self.node), program.to_owned());
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let work = move || node.tool(&program, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(work).await.expect("it does not panic")
    }

    /// What a person would look at after a failure.
    fn tell(&self) {
        let looks = [
            "get brokerclusters,clusterlinks,pods,services,pvc -A -o wide".to_owned(),
            "get events -A --sort-by=.lastTimestamp".to_owned(),
            format!("-n {SYSTEM} logs -l app.kubernetes.io/name=tombolo --tail=40"),
            format!("-n {NAMESPACE} logs -l app.kubernetes.io/name=tombolo-broker --tail=20 --prefix"),
            format!("-n {NAMESPACE} describe brokerclusters,clusterlinks"),
        ];
        for look in looks {
            let said = self.node.kubectl(&look.split(' ').collect::<Vec<_>>());
            println!("--- kubectl {look}\n{}", said.unwrap_or_else(|said| said));
        }
        for program in ["kubelet", "containerd", "coredns", "kube-proxy"] {
            println!("--- {program}\n{}", self.node.log(program));
        }
    }
}

/// The lease of the operators, which Kubernetes has no owner for.
const LEASE: &str = "lease.coordination.k8s.io/tombolo";

/// What was acknowledged came, in the end.
async fn nothing_is_missing(traffic: Vec<Traffic>) -> Vec<Count> {
    let mut counts = Vec::new();
    for traffic in traffic {
        let (topic, count) = (traffic.topic(), traffic.end().await);
        println!(
            "  {topic}: {} acknowledged, {} lost connections, {} came more than once",
            count.acknowledged, count.lost_connections, count.repeated
        );
        counts.push(count);
    }
    for count in &counts {
        assert!(count.acknowledged > 100, "{count:?}");
        assert!(
            count.missing.is_empty(),
            "{} of {} never came: {:?}",
            count.missing.len(),
            count.acknowledged,
            count.missing
        );
    }
    counts
}
