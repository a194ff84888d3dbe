//! Tests of the whole check: a table of mistakes, and the line that is said about each.

use super::*;

const CLUSTER: &str = "\
apiVersion: tombolo.dev/v1alpha1
kind: BrokerCluster
metadata: {name: edge}
spec:
  listeners:
  - name: mqtt
    protocol: MQTT
    port: 1883
  authentication: {users: {secretRef: {name: users}}}
---
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData:
  demo: demo
";

const LINK: &str = "\
---
apiVersion: tombolo.dev/v1alpha1
kind: ClusterLink
metadata: {name: to-cloud}
spec:
  clusterRef: {name: edge}
  remote:
    clusterName: cloud
    server: mqtt://127.0.0.1:2883
    credentials: {secretRef: {name: link}}
  accept: {user: link}
  topics: [from-cluster]
---
apiVersion: v1
kind: Secret
metadata: {name: link}
stringData:
  username: link
  password: secret
";

fn checked(text: &str, running: &[Object]) -> Result<Desired, Vec<String>> {
    let sources = [Source { file: "a.yaml".into(), text: text.to_owned() }];
    check(&sources, running).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn manifests_without_a_mistake_give_clusters_with_their_links() {
    let desired = checked(&format!("{CLUSTER}{LINK}"), &[]).expect("no mistake");
    assert_eq!(desired.warnings, []);
    assert_eq!(desired.clusters.len(), 1);
    assert_eq!(desired.clusters[0].links.len(), 1);
}

#[test]
fn each_mistake_is_told_with_its_line_its_field_and_what_would_be_right() {
    let whole = format!("{CLUSTER}{LINK}");
    let mut untold = Vec::new();
    for (right, wrong, begin, hint) in [
        ("port: 1883", "port: 0x10000", "a.yaml:8: BrokerCluster/edge: spec.listeners[0].port: 65536", "at most 65535"),
        ("port: 1883", "port: '1883'", "a.yaml:8: BrokerCluster/edge: spec.listeners[0].port: ", "quotes"),
        (
            "port: 1883",
            "prot: 1883",
            "a.yaml:8: BrokerCluster/edge: spec.listeners[0].prot: ",
            "it has maxConnections, name, port",
        ),
        ("protocol: MQTT", "protocol: MQTTX", "a.yaml:7: BrokerCluster/edge: spec.listeners[0].protocol: ", "MQTT"),
        ("protocol: MQTT", "protocol: MQTTS", "a.yaml:6: BrokerCluster/edge: spec.listeners[0]", "tls"),
        (
            "authentication:",
            "authentification:",
            "a.yaml:9: BrokerCluster/edge: spec.authentification: ",
            "authentication",
        ),
        ("{name: users}}}", "{name: usres}}}", "a.yaml:9: BrokerCluster/edge: spec.authentication.users", "usres"),
        ("  demo: demo", "  demo: 1234", "a.yaml:15: Secret/users: stringData.demo: ", "quotes: `demo: \"1234\"`"),
        ("stringData:\n  demo: demo", "data:\n  demo: demo!", "a.yaml:15: Secret/users: data.demo: ", "stringData"),
        (
            "clusterRef: {name: edge}",
            "clusterRef: {name: egde}",
            "a.yaml:21: ClusterLink/to-cloud: spec.clusterRef",
            "egde",
        ),
        ("clusterName: cloud", "clusterName: edge", "a.yaml:23: ClusterLink/to-cloud: spec.remote.clusterName: ", ""),
        ("mqtt://127.0.0.1:2883", "http://127.0.0.1", "a.yaml:24: ClusterLink/to-cloud: spec.remote.server: ", "mqtt"),
        ("topics: [from-cluster]", "topics: [a/#/b]", "a.yaml:27: ClusterLink/to-cloud: spec.topics[0]: ", "a/#/b"),
        (
            "  password: secret",
            "  passwort: secret",
            "a.yaml:25: ClusterLink/to-cloud: spec.remote.credentials",
            "password",
        ),
        ("accept: {user: link}", "accept: {user: knil}", "a.yaml:26: ClusterLink/to-cloud: spec.accept.user: ", "knil"),
        ("metadata: {name: edge}", "metadata: {name: edge", "a.yaml:4: not YAML: ", ""),
    ] {
        assert!(whole.contains(right), "{right}");
        let problems = checked(&whole.replacen(right, wrong, 1), &[]).expect_err(wrong);
        let told = |problem: &String| problem.starts_with(begin) && problem.contains(hint);
        if !problems.iter().any(told) {
            untold.push(format!("{wrong}: {problems:#?}"));
        }
    }
    assert!(untold.is_empty(), "{}", untold.join("\n"));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let text = format!("{CLUSTER}{LINK}").replace("port: 1883", "port: 70000").replace("topics:", "topicz:");
    let problems = checked(&text.replace("demo: demo", "demo: 1"), &[]).expect_err("three mistakes");
    let lines: Vec<_> = problems.iter().map(|problem| problem.split(':').nth(1).unwrap_or_default()).collect();
    assert_eq!(lines, ["8", "15", "27"], "{problems:#?}");
}

#[test]
fn without_a_cluster_there_is_nothing_to_run() {
    let problems = checked("apiVersion: v1\nkind: Secret\nmetadata: {name: users}\n", &[]).expect_err("no cluster");
    assert!(problems[0].contains("no BrokerCluster"), "{problems:?}");
}

#[test]
fn two_clusters_cannot_have_one_port_on_one_machine() {
    let second = CLUSTER.split("---").next().unwrap_or_default().replace("name: edge", "name: core");
    let problems = checked(&format!("{CLUSTER}---\n{second}"), &[]).expect_err("one port for two");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("port") && problems[0].contains("1883"), "{problems:#?}");
}

#[test]
fn what_may_not_change_is_refused_while_it_runs() {
    let text = format!("{CLUSTER}{LINK}");
    let running = checked(&text, &[]).expect("no mistake").objects;
    let other = text.replace("clusterRef: {name: edge}", "clusterRef: {name: core}");
    let problems = checked(&other, &running).expect_err("immutable");
    assert!(problems[0].contains("clusterRef is immutable"), "{problems:#?}");
}
