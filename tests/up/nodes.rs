//! Clusters of several nodes: where each listens, who knows whom, and what happens when their number changes.

use rustix::process::{Pid, Signal, kill_process};
use tombolo_tests::client::Client;
use tombolo_tests::packet::Connect;
use tombolo_tests::up::{Node, Up};
use tombolo_tests::{ports, wait};

const NODES: [&str; 3] = ["plant-0", "plant-1", "plant-2"];

/// The example of three nodes with its first port replaced.
fn example(port: u16) -> String {
    let manifests = tombolo_tests::up::example("three-nodes", &[]);
    let (_, text) = manifests.into_iter().find(|(name, _)| name == "cluster.yaml").expect("the example has this file");
    assert!(text.contains("port: 1883"), "{text}");
    text.replace("port: 1883", &format!("port: {port}"))
}

async fn connects(node: &Node) -> Client {
    let address = node.listener.expect("the node listens");
    Client::connect(address, &Connect::new(5, &node.name)).await.0
}

fn kill(node: &Node, signal: Signal) {
    kill_process(Pid::from_raw(node.pid).expect("a process has a positive id"), signal).expect("it runs");
}

#[tokio::test]
async fn each_node_listens_at_the_port_of_the_manifest_plus_its_number() {
    let port = ports::free_in_a_row(3);
    let up = Up::spawn(&[("cluster.yaml", &example(port))]);
    for (node, expected) in up.nodes_when("plant", &NODES).await.iter().zip(port..) {
        assert_eq!(node.listener.expect("it listens").port(), expected);
        connects(node).await.ping().await;
        let status = node.admin.status().await.expect("the node runs");
        assert_eq!((status.cluster_name.as_str(), status.node_name.as_str()), ("plant", node.name.as_str()));
    }
}

#[tokio::test]
async fn it_is_ready_when_each_node_is_with_each_other() {
    for flags in [&[][..], &["--processes"]] {
        let mut up = Up::spawn_with(&[("cluster.yaml", &example(ports::free_in_a_row(3)))], flags);
        up.ready().await;
        assert!(up.child.output().contains("ready: 1 clusters of 3 nodes, 0 links"), "{}", up.child.output());
        let mut ids = Vec::new();
        for node in up.nodes("plant") {
            let status = node.admin.status().await.expect("the node runs");
            assert!(status.peers.len() == 2 && status.peers.iter().all(|peer| peer.ready), "{:?}", status.peers);
            ids.push(status.cluster_id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "all have the same id");
        assert!(up.child.terminate().await.success());
        up.restart().await;
        assert_eq!(up.admin("plant").status().await.expect("the node runs").cluster_id, ids[0], "and keep it");
    }
}

#[tokio::test]
async fn a_port_of_a_later_node_that_is_in_use_is_named_with_its_line_and_nothing_is_started() {
    let port = ports::free_in_a_row(3);
    let taken = std::net::TcpListener::bind(("127.0.0.1", port + 2)).expect("the port was free");
    let (status, output) = Up::fails(&[("cluster.yaml", &example(port))]).await;
    assert!(!status.success(), "{output}");
    let address = format!("127.0.0.1:{} is in use", port + 2);
    for word in ["cluster.yaml:7:", "node plant-2 listens on port + 2", &address, "nothing was started"] {
        assert!(output.contains(word), "`{word}` is not in:\n{output}");
    }
    drop(taken);
}

#[tokio::test]
async fn nodes_of_two_clusters_that_want_one_port_are_told_what_to_do() {
    let port = ports::free_in_a_row(3);
    let other = example(port + 1).replace("name: plant", "name: shop").replace("replicas: 3", "replicas: 1");
    let (status, output) = Up::fails(&[("cluster.yaml", &example(port)), ("other.yaml", &other)]).await;
    assert_eq!(status.code(), Some(2), "{output}");
    let clash = format!("port {} of node shop-0 is that of listener `mqtt` of node plant-1, too", port + 1);
    for word in ["other.yaml:7: BrokerCluster/shop: spec.listeners[0].port: ", &clash, "at least 3 apart"] {
        assert!(output.contains(word), "`{word}` is not in:\n{output}");
    }
}

#[tokio::test]
async fn nodes_come_and_go_with_replicas_and_the_others_stay() {
    let manifest = example(ports::free_in_a_row(3));
    let of = |replicas: u8| manifest.replace("replicas: 3", &format!("replicas: {replicas}"));
    let up = Up::spawn(&[("cluster.yaml", &of(1))]);
    let nodes = up.nodes_when("plant", &NODES[..1]).await;
    let mut client = connects(&nodes[0]).await;
    up.rewrite("cluster.yaml", &of(3));
    let nodes = up.nodes_when("plant", &NODES).await;
    connects(&nodes[2]).await.ping().await;
    let (mut away, _) = Client::persistent(nodes[2].listener.expect("it listens"), 5, "away").await;
    away.subscribe(&[("t", 1)]).await;
    up.rewrite("cluster.yaml", &of(2));
    // Server shutting down; then its session is found at another node.
    away.disconnected(0x8b).await;
    let left = up.nodes_when("plant", &NODES[..2]).await;
    for line in ["evacuating: plant-2", "empty: plant-2", "stopped: plant-2"] {
        up.says(line).await;
    }
    let (_, present) = Client::persistent(left[0].listener.expect("it listens"), 5, "away").await;
    assert!(present, "the session outlives its node");
    connects(&left[1]).await.ping().await;
    let listener = nodes[2].listener.expect("it listened");
    assert!(tokio::net::TcpStream::connect(listener).await.is_err(), "nobody listens any more");
    client.ping().await;
    let status = left[0].admin.status().await.expect("the node runs");
    assert_eq!(status.restart_required, Vec::<String>::new());
}

#[tokio::test]
async fn a_process_that_is_killed_is_told_and_started_again() {
    let manifest = example(ports::free_in_a_row(3));
    let mut up = Up::spawn_with(&[("cluster.yaml", &manifest)], &["--processes"]);
    let nodes = up.nodes_when("plant", &NODES).await;
    let pids: std::collections::BTreeSet<i32> = nodes.iter().map(|node| node.pid).collect();
    assert_eq!(pids.len(), 3, "each has its own");
    let mut client = connects(&nodes[0]).await;
    kill(&nodes[1], Signal::KILL);
    up.says("ended: plant-1 (signal: 9 (SIGKILL)); it is started again in 1 s").await;
    let again = || async {
        let nodes = up.nodes("plant");
        nodes.into_iter().find(|node| node.name == NODES[1] && !pids.contains(&node.pid) && node.listener.is_some())
    };
    let again = wait::until("plant-1 runs again", again).await;
    connects(&again).await.ping().await;
    client.ping().await;
    assert!(up.child.terminate().await.success());
    // Server shutting down.
    client.disconnected(0x8b).await;
    for pid in [nodes[0].pid, again.pid, nodes[2].pid] {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} has ended, too");
    }
}

#[tokio::test]
async fn processes_end_when_tombolo_up_is_killed() {
    let manifest = example(ports::free_in_a_row(3));
    let mut up = Up::spawn_with(&[("cluster.yaml", &manifest)], &["--processes"]);
    let nodes = up.nodes_when("plant", &NODES).await;
    up.child.kill();
    for node in nodes {
        let gone = || async { tokio::net::TcpStream::connect(node.listener.expect("it listened")).await.is_err() };
        wait::until_true("nobody listens any more", gone).await;
    }
}

#[tokio::test]
async fn linked_clusters_of_three_nodes_are_ready_when_each_node_is_linked() {
    let (local, cloud) = (ports::free_in_a_row(3), ports::free_in_a_row(3));
    let manifests: Vec<(String, String)> = tombolo_tests::up::example("hybrid-cloud", &[])
        .into_iter()
        .map(|(name, text)| {
            let text = text.replace("1883", &local.to_string()).replace("2883", &cloud.to_string());
            (name, text.replace("spec:\n  listeners", "spec:\n  replicas: 3\n  listeners"))
        })
        .collect();
    let manifests: Vec<(&str, &str)> = manifests.iter().map(|(name, text)| (&**name, &**text)).collect();
    let mut up = Up::spawn(&manifests);
    up.ready().await;
    assert!(up.child.output().contains("ready: 2 clusters of 6 nodes, 2 links"), "{}", up.child.output());
    for cluster in ["deployment-local", "deployment-cloud"] {
        for node in up.nodes(cluster) {
            let status = node.admin.status().await.expect("the node runs");
            assert!(status.links.iter().all(|link| link.ready), "{:?}", status.links);
        }
    }
}
