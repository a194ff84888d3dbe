//! Every node keeps every retained message.

use tombolo_broker_api::{ByteSize, Seconds};
use tombolo_tests::client::Client;
use tombolo_tests::cluster::Cluster;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::wait;

/// Publishes a retained message of QoS 1, as told by its payload; one without removes it.
async fn retain(client: &mut Client, topic: &str, payload: &str) {
    client.send(Publish::new(5, topic, payload).qos(1, 1).retain().bytes()).await;
    let ack = client.packet().await.ack(0x40);
    assert!(ack.reason < 0x80, "{ack:?}");
}

/// Awaits that a node keeps so many retained messages.
async fn keeps(cluster: &Cluster, node: usize, count: u64) {
    let admin = cluster.nodes[node].admin;
    let what = format!("node {node} keeps {count} retained messages");
    wait::until_true(&what, || async { admin.status().await.is_ok_and(|status| status.retained == count) }).await;
}

#[tokio::test]
async fn a_retained_message_is_at_every_node_though_nobody_subscribed_there() {
    let cluster = Cluster::start(3).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    retain(&mut publisher, "r/1", "one").await;
    for node in 1..3 {
        keeps(&cluster, node, 1).await;
        let mut late = Client::subscriber(cluster.address(node), 4, "late", &[("r/+", 0)]).await;
        late.expect_hex("31 08 0003 722f31 6f6e65").await;
        late.disconnect().await;
    }
    retain(&mut publisher, "r/1", "").await;
    for node in 0..3 {
        keeps(&cluster, node, 0).await;
    }
}

#[tokio::test]
async fn the_later_of_two_retained_messages_wins_at_every_node() {
    let cluster = Cluster::start(3).await;
    let mut publishers = Vec::new();
    for node in 0..3 {
        publishers.push(Client::clean(cluster.address(node), 5, &format!("p{node}")).await);
    }
    for round in 0..30 {
        retain(&mut publishers[round % 3], "r", &round.to_string()).await;
    }
    for node in 0..3 {
        let admin = cluster.nodes[node].admin;
        wait::until_true("all have it", || async { admin.status().await.is_ok_and(|s| s.retained == 1) }).await;
        let look = || async {
            let mut late = Client::subscriber(cluster.address(node), 5, "late", &[("r", 0)]).await;
            late.message().await.payload == b"29"
        };
        wait::until_true("the last one is there", look).await;
    }
}

#[tokio::test]
async fn a_live_subscriber_at_another_node_gets_a_retained_publish_as_it_was_published() {
    let cluster = Cluster::start(2).await;
    let mut plain = Client::subscriber(cluster.address(1), 5, "plain", &[("r", 0)]).await;
    // Retain As Published.
    let mut faithful = Client::subscriber(cluster.address(1), 5, "faithful", &[("r", 8)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.send(Publish::new(5, "r", "x").retain().bytes()).await;
    assert_eq!(plain.message().await.flags, 0);
    assert_eq!(faithful.message().await.flags, 1);
    plain.send(packet::PINGREQ).await;
    plain.expect(packet::PINGRESP).await;
}

#[tokio::test]
async fn a_node_that_comes_back_with_nothing_gets_all_that_is_retained() {
    let mut cluster = Cluster::start(2).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    for n in 0..500 {
        retain(&mut publisher, &format!("r/{n}"), &n.to_string()).await;
    }
    keeps(&cluster, 1, 500).await;
    cluster.kill(1);
    for n in 0..100 {
        retain(&mut publisher, &format!("r/{n}"), "").await;
    }
    cluster.restart_empty(1).await;
    keeps(&cluster, 1, 400).await;
    let mut late = Client::subscriber(cluster.address(1), 5, "late", &[("r/321", 0)]).await;
    assert_eq!(late.message().await.payload, b"321");
}

#[tokio::test]
async fn a_node_that_comes_back_with_nothing_is_ready_only_when_all_that_is_retained_is_there() {
    let mut cluster = Cluster::start(2).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    let payload = "x".repeat(64 << 10);
    for n in 0..400 {
        retain(&mut publisher, &format!("r/{n}"), &payload).await;
    }
    cluster.kill(1);
    cluster.restart_empty(1).await;
    let admin = cluster.nodes[1].admin;
    wait::until_true("it is ready", || async { admin.ready().await }).await;
    let status = admin.status().await;
    assert_eq!(status.map(|status| status.retained).ok(), Some(400));
}

#[tokio::test]
async fn nodes_that_were_apart_longer_than_their_outboxes_hold_retain_the_same_afterwards() {
    let cluster = Cluster::with(2, |_, config| {
        config.tuning.cluster.max_outbox_bytes = ByteSize(64 << 10);
        config.tuning.cluster.suspend_after = Seconds(1);
    })
    .await;
    let mut one = Client::clean(cluster.address(0), 5, "one").await;
    let mut two = Client::clean(cluster.address(1), 5, "two").await;
    retain(&mut one, "both", "before").await;
    retain(&mut one, "gone", "before").await;
    keeps(&cluster, 1, 2).await;
    cluster.part(0, 1).await;
    let payload = "x".repeat(2 << 10);
    retain(&mut one, "both", "at one").await;
    retain(&mut two, "gone", "").await;
    for n in 0..200 {
        retain(&mut one, &format!("one/{n}"), &payload).await;
        retain(&mut two, &format!("two/{n}"), &payload).await;
    }
    retain(&mut two, "both", "at two, later").await;
    cluster.join(0, 1).await;
    for node in 0..2 {
        keeps(&cluster, node, 401).await;
        let mut late = Client::subscriber(cluster.address(node), 5, "late", &[("both", 0)]).await;
        assert_eq!(late.message().await.payload, b"at two, later");
        late.disconnect().await;
    }
}
