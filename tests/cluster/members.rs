//! Who belongs to a cluster, and who does not.

use tokio::net::TcpStream;
use tombolo_broker_api::PeerState;
use tombolo_tests::certificates::{Authority, tls};
use tombolo_tests::client::Client;
use tombolo_tests::cluster::{Cluster, NAME};
use tombolo_tests::packet::Connect;
use tombolo_tests::property;

#[tokio::test]
async fn the_nodes_of_a_cluster_find_each_other_and_say_so() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        let status = node.admin.status().await.expect("a status");
        assert_eq!((status.peers.len(), &*status.cluster_id), (2, "0123456789abcdef0123456789abcdef"));
        assert!(status.peers.iter().all(|peer| peer.ready && peer.state == PeerState::Connected), "{status:?}");
        let metrics = node.admin.metrics().await.expect("metrics");
        let other = if status.node_name == format!("{NAME}-0") { 1 } else { 0 };
        assert_eq!(metrics.value(&format!("tombolo_peer_ready{{peer=\"{NAME}-{other}\"}}")), 1.0);
    }
}

#[tokio::test]
async fn who_has_no_certificate_of_the_cluster_is_refused() {
    let cluster = Cluster::start(2).await;
    let bind = cluster.nodes[1].config.cluster.as_ref().expect("a cluster").bind;
    let stranger = Authority::new("somebody else");
    let stream = TcpStream::connect(bind).await.expect("it listens");
    let refused = tls(stream, &stranger.pem(), Some(&stranger.identity(&format!("{NAME}-0")))).await;
    assert!(refused.is_err());
    cluster.nodes[1].admin.metric_when("tombolo_connections_refused_total{reason=\"tls_handshake\"}", 1.0).await;
    // What goes on between the nodes is not touched.
    assert!(cluster.sees(0, 1, |_| true).await.ready);
}

#[tokio::test]
async fn a_client_can_not_claim_to_be_a_node_at_a_port_for_clients() {
    let cluster = Cluster::start(2).await;
    let claim = Connect::new(5, &format!("{NAME}-1")).with(property::user("tombolo-peer", NAME));
    // It is a client like any other.
    let (mut client, _) = Client::connect(cluster.address(0), &claim).await;
    client.subscribe(&[("x", 0)]).await;
    cluster.sees(0, 1, |peer| peer.ready).await;
}

#[tokio::test]
async fn a_node_that_leaves_the_list_is_forgotten_and_one_that_comes_is_met() {
    let mut cluster = Cluster::start(3).await;
    let files: [(&str, &str); 0] = [];
    let full: Vec<_> = cluster.nodes.iter().map(|node| node.config.clone()).collect();
    for (i, config) in full.iter().enumerate().take(2) {
        let mut config = config.clone();
        config.cluster.as_mut().expect("a cluster").nodes.truncate(2);
        cluster.nodes[i].rewrite(config, &files);
    }
    for i in 0..2 {
        let node = &cluster.nodes[i];
        node.admin.status_when("the third is forgotten", |status| status.peers.len() == 1).await;
    }
    for (i, config) in full.into_iter().enumerate().take(2) {
        cluster.nodes[i].rewrite(config, &files);
    }
    cluster.ready().await;
    let mut subscriber = Client::subscriber(cluster.address(2), 5, "s", &[("t", 0)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "p").await;
    publisher.publish("t", "x").await;
    subscriber.expect_message("t", "x").await;
}
