//! What holds for both charts: lint, values and their schema, labels, notes; and the chart of a cluster on a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::house::{apply, root};
use crate::plane::Plane;
use crate::tools;

const CHARTS: [&str; 2] = ["tombolo", "tombolo-cluster"];
/// A cluster with everything that the values know.
const EDGE: &str = r#"
labels: {team: mqtt}
annotations: {example.com/note: hello}
cluster:
  replicas: 3
  listeners:
  - {name: internal, protocol: MQTTS, port: 8884, tls: {secretName: internal}}
  - {name: mqtts, protocol: MQTTS, port: 8883, tls: {secretName: edge}}
  linkAccess: [{clusterName: lab, user: a-link, receive: [lab/#]}]
users: {a-link: only-for-linking, b-link: only-for-linking, c-hashed: $argon2id$v=19$m=8$x, demo: demo, zoe: zoe}
links:
  to-cloud:
    remote: {clusterName: cloud, server: "mqtts://cloud.example.com:8883", credentials: {secretRef: {name: link}}}
    accept: {user: b-link}
    topics: [from-cluster]
test: {caSecret: edge-ca}
extraObjects:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Name }}-more", namespace: "{{ .Release.Namespace }}"}}
"#;

/// As helm itself sees them.
pub async fn the_charts_pass_helm_lint_and_are_of_the_release_of_the_programs(_: Arc<Plane>) {
    for chart in CHARTS {
        let said = tools::run_well(tools::command("helm").args(["lint", "--strict", "--quiet"]).arg(path(chart)));
        assert!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
        let chart = yaml(&path(chart).join("Chart.yaml"));
        assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    }
    let read = |file: &str| fs::read_to_string(root().join("examples/gitops").join(file)).expect("an example");
    for (file, release) in [("argocd.yaml", "targetRevision: v"), ("flux.yaml", "tag: v")] {
        assert!(read(file).contains(&format!("{release}{}", env!("CARGO_PKG_VERSION"))), "{file} has another release");
    }
}

/// A slip of the pen in a key is an error at every level, and no key is undocumented.
pub async fn the_schemas_of_the_values_are_closed_at_every_level_and_know_what_the_values_have(_: Arc<Plane>) {
    for chart in CHARTS {
        let schema = yaml(&path(chart).join("values.schema.json"));
        let mut open = Vec::new();
        find_open(&schema, chart, &mut open);
        assert!(open.is_empty(), "these take any key: {open:?}");
        let values = yaml(&path(chart).join("values.yaml"));
        let keys = |value: &Value| value.as_object().expect("keys").keys().cloned().collect::<BTreeSet<_>>();
        let (mut known, had) = (keys(&schema["properties"]), keys(&values));
        // What a parent chart gives to all its parts.
        known.retain(|key| key != "global");
        assert_eq!(known, had, "{chart}: values.yaml and its schema have different keys");
    }
}

/// The mistakes of users, each with a word that leads to it.
pub async fn the_chart_of_a_cluster_refuses_what_can_not_work_and_says_where(_: Arc<Plane>) {
    for (values, says) in [
        ("cluster: {replcas: 3}", "replcas"),
        ("cluster: {listeners: [{name: mqtt, protocol: MQTT, port: 1883, tsl: {}}]}", "tsl"),
        ("cluster: {replicas: 65}", "replicas"),
        ("links: {to-cloud: {remote: {clusterName: cloud}, topcis: [a]}}", "topcis"),
        ("links: {to-cloud: {clusterRef: {name: other}, remote: {clusterName: cloud}}}", "clusterRef"),
        ("links: {to-cloud: {topics: [a]}}", "remote"),
        ("users: {demo: 1234}", "demo"),
        ("users: {a: b}\ncluster: {authentication: {users: {secretRef: {name: x}}}}", "not both"),
        ("name: this-name-has-more-than-forty-five-characters-in-it", "name"),
        ("test: {listener: wss}", "no listener wss"),
        ("cluster: {listeners: [{name: web, protocol: WS, port: 80}]}\ntest: {listener: web}", "speaks MQTT and MQTTS"),
        ("test: {user: nobody}", "test.passwordSecret"),
        ("test: {image: {digest: latest}}", "digest"),
    ] {
        let output = template("edge", values);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{values}: {said}");
    }
}

/// What it renders is taken, and means what the values say.
pub async fn the_chart_of_a_cluster_makes_objects_that_the_api_server_takes(plane: Arc<Plane>) {
    let client = plane.admin().await;
    let objects = rendered("edge", EDGE);
    let one = |kind: &str| {
        let mut found = objects.iter().filter(|object| object["kind"] == kind);
        let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(found.next().is_none(), "more than one {kind}");
        first
    };
    for object in &objects {
        // Nobody serves this namespace, and a release of Helm is a field manager like any other.
        apply(&client, "default", "helm", object.clone()).await;
    }
    let (cluster, link, pod) = (one("BrokerCluster"), one("ClusterLink"), one("Pod"));
    assert_eq!(cluster["metadata"]["name"], "edge");
    assert_eq!(cluster["spec"]["authentication"]["users"]["secretRef"]["name"], "edge-users");
    assert_eq!(one("Secret")["stringData"]["zoe"], "zoe");
    assert_eq!(link["spec"]["clusterRef"]["name"], "edge");
    for object in [cluster, link] {
        assert_eq!(object["metadata"]["labels"]["team"], "mqtt");
        assert_eq!(object["metadata"]["annotations"]["example.com/note"], "hello");
    }
    assert_eq!(one("ConfigMap")["metadata"]["name"], "edge-more");
    // Neither a user of a link nor one whose password is known by its hash alone.
    let container = &pod["spec"]["containers"][0];
    let arguments: Vec<_> = container["args"].as_array().expect("arguments").iter().filter_map(Value::as_str).collect();
    for wanted in ["--port=8884", "--username=demo", "--cafile=/etc/tombolo/ca/ca.crt", "--host=edge.default.svc"] {
        assert!(arguments.contains(&wanted), "{wanted} is not in {arguments:?}");
    }
    assert_eq!(container["env"][0]["valueFrom"]["secretKeyRef"], json!({"name": "edge-users", "key": "demo"}));
    restricted(pod);
    let hook = &pod["metadata"]["annotations"];
    assert_eq!(hook["helm.sh/hook-output-log-policy"], "hook-succeeded,hook-failed", "what it said goes with it");
    // Without anything said: one node, no users, the plain listener.
    let objects = rendered("plain", "cluster: {authentication: {anonymous: Allowed}}");
    let pod = objects.iter().find(|object| object["kind"] == "Pod").expect("a test");
    let arguments = pod["spec"]["containers"][0]["args"].to_string();
    assert!(arguments.contains("--port=1883") && !arguments.contains("username") && !arguments.contains("file"));
    let digest = format!("sha256:{}", "0".repeat(64));
    let objects =
        rendered("plain", &format!("test: {{image: {{repository: localhost/tombolo/cli, digest: '{digest}'}}}}"));
    let pod = objects.iter().find(|object| object["kind"] == "Pod").expect("a test");
    assert_eq!(pod["spec"]["containers"][0]["image"], format!("localhost/tombolo/cli@{digest}"));
    assert!(rendered("plain", "test: {enabled: false}").iter().all(|object| object["kind"] != "Pod"));
}

/// What helm says after an install, which only an install shows.
pub async fn the_notes_name_the_next_commands_and_warn_of_risky_values(plane: Arc<Plane>) {
    let kubeconfig = plane.kubeconfig_of("admin");
    let notes = |chart: &str, values: &str| {
        let file = plane.write("notes.yaml", values);
        let mut command = tools::command("helm");
        command
            // Where no other test has objects of these names.
            .args(["install", "edge", "--namespace", "notes"])
            .arg(path(chart))
            .args(["--dry-run=server", "--no-hooks", "--values"])
            .arg(file);
        command.args(["--set", if chart == "tombolo" { "crds.enabled=false" } else { "test.enabled=false" }]);
        let said = tools::run_well(command.env("KUBECONFIG", &kubeconfig));
        said.split("NOTES:").nth(1).unwrap_or_else(|| panic!("no notes: {said}")).to_owned()
    };
    for (chart, values, says, silent) in [
        ("tombolo", "", "kubectl -n notes rollout status deployment/edge-tombolo", "One operator alone"),
        ("tombolo", "replicaCount: 1", "One operator alone", "crds.keep is false"),
        ("tombolo", "crds: {keep: false}", "crds.keep is false", "One operator alone"),
        ("tombolo-cluster", "", "nobody can connect", "may publish and subscribe"),
        (
            "tombolo-cluster",
            "cluster: {authentication: {anonymous: Allowed}}",
            "may publish and subscribe",
            "nobody can",
        ),
        ("tombolo-cluster", "users: {a: b}\ncluster: {replicas: 3}", "helm -n notes test edge", "One node alone"),
        ("tombolo-cluster", "users: {a: b}", "One node alone", "not encrypted"),
        ("tombolo-cluster", "cluster: {service: {type: LoadBalancer}}", "not encrypted", "stand in the values"),
        ("tombolo-cluster", EDGE, "brokercluster/edge clusterlink/to-cloud --timeout=5m", "not encrypted"),
    ] {
        let said = notes(chart, values);
        assert!(said.contains(says), "{chart} with {values} does not say `{says}`: {said}");
        assert!(!said.contains(silent), "{chart} with {values} says `{silent}`: {said}");
    }
}

/// By the Lua that Argo CD has, too.
pub async fn the_health_of_argo_cd_is_that_of_kstatus(_: Arc<Plane>) {
    let said = tools::run_well(tools::command("glua").arg("examples/gitops/health_test.lua").current_dir(root()));
    assert!(said.contains("are as they should be"), "{said}");
}

/// As GitHub reads them.
pub async fn the_workflows_are_what_github_takes(_: Arc<Plane>) {
    let folder = root().join(".github/workflows");
    let files: Vec<_> = fs::read_dir(folder).expect("workflows").map(|entry| entry.expect("a file").path()).collect();
    assert!(files.len() >= 2);
    tools::run_well(tools::command("actionlint").args(&files));
    for file in files {
        let text = fs::read_to_string(&file).expect("text");
        for line in text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action) {
            let hash = line.split(['@', ' ']).nth(1).unwrap_or_default();
            assert!(hash.len() == 40 && line.contains(" # v"), "{}: {line} is not pinned by its hash", file.display());
        }
        assert!(yaml(&file)["permissions"] == json!({"contents": "read"}), "{} may do more than read", file.display());
    }
}

/// A pod that the strictest of the pod security standards takes.
pub fn restricted(pod: &Value) {
    let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]["securityContext"]);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
}

fn path(chart: &str) -> PathBuf {
    root().join("charts").join(chart)
}

fn yaml(path: &std::path::Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `helm template` of the chart of a cluster, with values from a file.
fn template(release: &str, values: &str) -> std::process::Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.yaml");
    fs::write(&file, values).expect("written");
    let mut command = tools::command("helm");
    command.args(["template", release, "--kube-version", crate::plane::VERSION, "--values"]).arg(&file);
    tools::run(command.arg(path("tombolo-cluster")))
}

fn rendered(release: &str, values: &str) -> Vec<Value> {
    let output = template(release, values);
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("YAML is text");
    let objects = serde_saphyr::from_multiple::<Value>(&text).expect("YAML");
    objects.into_iter().filter(|object| object.is_object()).collect()
}

/// Places of a schema with known fields where any other is taken.
fn find_open(schema: &Value, at: &str, open: &mut Vec<String>) {
    if schema["properties"].is_object() && schema["additionalProperties"] != false {
        open.push(at.to_owned());
    }
    for part in ["properties", "definitions"] {
        for (name, field) in schema[part].as_object().into_iter().flatten() {
            find_open(field, &format!("{at}.{name}"), open);
        }
    }
    for part in ["items", "additionalProperties"] {
        if schema[part].is_object() {
            find_open(&schema[part], &format!("{at}.{part}"), open);
        }
    }
}
