//! What happens when nodes or the network between them fail.

use tombolo_broker_api::{ByteSize, PeerState, Seconds};
use tombolo_tests::client::Client;
use tombolo_tests::cluster::Cluster;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::proxy::{Way, Weather};

/// Publishes at QoS 1 and awaits the acknowledgement.
async fn publish(client: &mut Client, topic: &str, n: u16) {
    client.publish_qos1(topic, n.to_string(), n).await;
}

/// Expects messages of QoS 1 with these numbers, in order, and acknowledges them.
async fn expect(client: &mut Client, numbers: std::ops::RangeInclusive<u16>) {
    for n in numbers {
        let message = client.message().await;
        assert_eq!(String::from_utf8(message.payload).as_deref(), Ok(n.to_string().as_str()));
        client.send(packet::puback(message.id)).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_during_a_cut_arrives_after_it_once_and_in_order() {
    let cluster = Cluster::start(3).await;
    let mut far = Client::subscriber(cluster.address(1), 5, "far", &[("t", 1)]).await;
    let mut near = Client::subscriber(cluster.address(2), 5, "near", &[("t", 1)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    for n in 1..=20 {
        publish(&mut publisher, "t", n).await;
    }
    cluster.part(0, 1).await;
    for n in 21..=120 {
        publish(&mut publisher, "t", n).await;
    }
    // The third node sees both all the time.
    expect(&mut near, 1..=120).await;
    cluster.join(0, 1).await;
    expect(&mut far, 1..=120).await;
    far.ping().await;
}

#[tokio::test]
async fn connections_that_break_again_and_again_lose_and_repeat_nothing() {
    let cluster = Cluster::start(2).await;
    let mut subscriber = Client::subscriber(cluster.address(1), 5, "subscriber", &[("t", 2)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    for n in 1..=200 {
        if n % 20 == 0 {
            cluster.between(0, 1).cut();
        }
        publish(&mut publisher, "t", n).await;
    }
    expect(&mut subscriber, 1..=200).await;
    subscriber.ping().await;
    let log = cluster.nodes[0].child.output();
    assert!(log.contains("A connection of a link has ended."), "{log}");
}

#[tokio::test]
async fn a_subscription_made_during_a_cut_counts_after_it() {
    let cluster = Cluster::start(2).await;
    cluster.part(0, 1).await;
    let mut subscriber = Client::subscriber(cluster.address(1), 5, "subscriber", &[("t", 1)]).await;
    cluster.join(0, 1).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publish(&mut publisher, "t", 1).await;
    expect(&mut subscriber, 1..=1).await;
}

#[tokio::test]
async fn a_node_that_was_killed_comes_back_empty_and_is_told_anew() {
    let mut cluster = Cluster::start(3).await;
    let mut other = Client::subscriber(cluster.address(2), 5, "other", &[("t", 1)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publish(&mut publisher, "t", 1).await;
    cluster.kill(1);
    cluster.sees(0, 1, |peer| peer.state != PeerState::Connected).await;
    publish(&mut publisher, "t", 2).await;
    expect(&mut other, 1..=2).await;
    cluster.restart(1).await;
    cluster.ready().await;
    // What it wanted in its life before is not wanted any more; what the others want it knows.
    let mut subscriber = Client::subscriber(cluster.address(1), 5, "subscriber", &[("t", 1)]).await;
    publish(&mut publisher, "t", 3).await;
    expect(&mut subscriber, 3..=3).await;
    let mut there = Client::clean(cluster.address(1), 5, "publisher-there").await;
    publish(&mut there, "t", 4).await;
    expect(&mut other, 3..=4).await;
}

#[tokio::test]
async fn a_node_that_begins_anew_acknowledges_nothing_before_it_has_heard_what_is_wanted_at_the_others() {
    let mut cluster = Cluster::with(3, |_, config| config.tuning.cluster.suspend_after = Seconds(600)).await;
    let mut subscriber = Client::subscriber(cluster.address(0), 5, "subscriber", &[("t", 1)]).await;
    cluster.kill(1);
    cluster.cut(0, 1);
    cluster.nodes[1].respawn();
    // It hears one of the two.
    cluster.sees(1, 2, |peer| peer.ready).await;
    let mut publisher = Client::clean(cluster.address(1), 5, "publisher").await;
    publisher.ping().await;
    let (admin, packets) = (cluster.nodes[1].admin, "tombolo_packets_total{direction=\"in\"}");
    let before = admin.metrics().await.expect("it answers").value(packets);
    publisher.send(Publish::new(5, "t", "1").qos(1, 1).bytes()).await;
    admin.metric_when(packets, before + 1.0).await;
    cluster.heal(0, 1);
    publisher.expect(packet::puback(1)).await;
    expect(&mut subscriber, 1..=1).await;
}

#[tokio::test]
async fn a_node_that_begins_anew_answers_no_subscribe_before_the_others_can_have_heard_of_it() {
    let mut cluster = Cluster::with(3, |_, config| {
        config.tuning.cluster.suspend_after = Seconds(600);
        config.tuning.cluster.subscribe_timeout = Seconds(60);
    })
    .await;
    cluster.kill(1);
    cluster.cut(0, 1);
    cluster.nodes[1].respawn();
    cluster.sees(1, 2, |peer| peer.ready).await;
    let mut subscriber = Client::clean(cluster.address(1), 5, "subscriber").await;
    subscriber.send(packet::subscribe(5, 1, &[("t", 1)])).await;
    // The next packet is the answer to this.
    subscriber.ping().await;
    cluster.heal(0, 1);
    subscriber.expect(packet::suback(5, 1, &[1])).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publish(&mut publisher, "t", 1).await;
    expect(&mut subscriber, 1..=1).await;
}

#[tokio::test]
async fn a_node_that_stands_still_holds_up_nobody_else_and_misses_nothing() {
    let cluster = Cluster::start(3).await;
    let mut stopped = Client::subscriber(cluster.address(1), 5, "stopped", &[("t", 1)]).await;
    let mut other = Client::subscriber(cluster.address(2), 5, "other", &[("t", 1)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    cluster.freeze(1);
    for n in 1..=300 {
        publish(&mut publisher, "t", n).await;
    }
    expect(&mut other, 1..=300).await;
    // Nobody hears it, and its connections are given up.
    cluster.sees(0, 1, |peer| peer.state != PeerState::Connected).await;
    cluster.thaw(1);
    expect(&mut stopped, 1..=300).await;
    stopped.ping().await;
}

#[tokio::test]
async fn a_message_that_crosses_for_longer_than_silence_is_borne_arrives_on_the_connection_that_stands() {
    let cluster = Cluster::start(2).await;
    let mut subscriber = Client::subscriber(cluster.address(1), 5, "subscriber", &[("t", 1)]).await;
    let connections = cluster.between(0, 1).connections();
    // Eight seconds, and nothing else beside it.
    cluster.between(0, 1).set(Weather { forth: Way::Slow(125_000), ..Weather::default() });
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.publish_qos1("t", vec![b'x'; 1_000_000], 1).await;
    assert_eq!(subscriber.message().await.payload.len(), 1_000_000);
    assert_eq!(cluster.between(0, 1).connections(), connections);
}

#[tokio::test]
async fn a_suback_does_not_wait_for_a_node_that_can_not_be_reached() {
    let cluster = Cluster::with(3, |_, config| config.tuning.cluster.subscribe_timeout = Seconds(60)).await;
    cluster.part(0, 1).await;
    let mut subscriber = Client::subscriber(cluster.address(0), 5, "subscriber", &[("t", 1)]).await;
    let mut publisher = Client::clean(cluster.address(2), 5, "publisher").await;
    publish(&mut publisher, "t", 1).await;
    expect(&mut subscriber, 1..=1).await;
}

#[tokio::test]
async fn a_full_outbox_holds_publishers_until_the_node_is_suspended_and_then_drops_the_oldest() {
    let cluster = Cluster::with(2, |_, config| {
        config.tuning.cluster.max_outbox_bytes = ByteSize(256 << 10);
        config.tuning.cluster.suspend_after = Seconds(2);
    })
    .await;
    let _far = Client::subscriber(cluster.address(1), 5, "far", &[("t", 1)]).await;
    cluster.part(0, 1).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    let payload = "x".repeat(8 << 10);
    for n in 1..=100_u16 {
        // Held at the bound, and read on when the node is suspended.
        publisher.send(Publish::new(5, "t", &payload).qos(1, n).bytes()).await;
        publisher.expect(packet::puback(n)).await;
    }
    let seen = cluster.sees(0, 1, |peer| peer.state == PeerState::Suspended).await;
    assert!(seen.outbox.bytes <= 256 << 10, "{seen:?}");
    assert!(seen.messages_dropped.get("SpoolOverwritten").is_some_and(|count| *count > 0), "{seen:?}");
}
