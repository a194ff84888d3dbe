//! Nodes that are slow, heard in one direction only, or configured as they once were.

use tombolo_broker_api::{PeerState, Seconds};
use tombolo_tests::client::Client;
use tombolo_tests::cluster::{Cluster, node};
use tombolo_tests::packet;
use tombolo_tests::proxy::{Way, Weather};

/// Publishes at QoS 1 and awaits the acknowledgement.
async fn publish(client: &mut Client, topic: &str, n: u16, payload: &[u8]) {
    client.publish_qos1(topic, [&n.to_be_bytes()[..], payload].concat(), n).await;
}

/// Expects messages of QoS 1 with these numbers, in order, and acknowledges them.
async fn expect(client: &mut Client, numbers: std::ops::RangeInclusive<u16>) {
    for n in numbers {
        let message = client.message().await;
        assert_eq!(message.payload[..2], n.to_be_bytes());
        client.send(packet::puback(message.id)).await;
    }
}

#[tokio::test]
async fn a_slow_node_holds_up_nobody_else_and_misses_nothing() {
    let cluster = Cluster::start(3).await;
    let mut slow = Client::subscriber(cluster.address(1), 5, "slow", &[("t", 1)]).await;
    let mut other = Client::subscriber(cluster.address(2), 5, "other", &[("t", 1)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    let way = Way::Slow(256 << 10);
    cluster.between(0, 1).set(Weather { forth: way, back: way, refuse: false });
    // Half a minute of what passes to the slow one.
    let payload = vec![0; 32 << 10];
    for n in 1..=256 {
        publish(&mut publisher, "t", n, &payload).await;
        expect(&mut other, n..=n).await;
    }
    let waits = cluster.sees(0, 1, |_| true).await;
    assert!(waits.outbox.messages > 0 && waits.state == PeerState::Connected, "it is behind: {waits:?}");
    let metrics = cluster.nodes[0].admin.metrics().await.expect("metrics");
    assert!(metrics.value(&format!("tombolo_peer_outbox_messages{{peer=\"{}\"}}", node(1))) > 0.0);
    // Who subscribes at either of the others waits for nobody but those that it can hear well.
    let mut late = Client::subscriber(cluster.address(2), 5, "late", &[("late", 1)]).await;
    publish(&mut publisher, "late", 257, b"").await;
    expect(&mut late, 257..=257).await;
    cluster.between(0, 1).set(Weather::default());
    expect(&mut slow, 1..=256).await;
    slow.ping().await;
}

#[tokio::test]
async fn a_node_that_is_not_heard_though_it_hears_is_given_up_by_both_and_misses_nothing() {
    let cluster = Cluster::with(3, |_, config| config.tuning.cluster.suspend_after = Seconds(2)).await;
    // Between who dialled and who was dialled, both ways.
    let (mutes, deaf) = ([0, 2], 1);
    let mut clients = Vec::new();
    for mute in mutes {
        let topic = format!("t/{mute}");
        let subscriber = Client::subscriber(cluster.address(deaf), 5, &format!("to-{mute}"), &[(&topic, 1)]).await;
        clients.push((topic, subscriber, Client::clean(cluster.address(mute), 5, &format!("from-{mute}")).await));
    }
    mutes.into_iter().for_each(|mute| cluster.swallow(mute, deaf));
    for (topic, _, publisher) in &mut clients {
        for n in 1..=20 {
            publish(publisher, topic, n, b"").await;
        }
    }
    // Who hears nothing gives up first, and the other one learns of it or hears no answers.
    for mute in mutes {
        for (here, there) in [(deaf, mute), (mute, deaf)] {
            cluster.sees(here, there, |peer| peer.state == PeerState::Suspended).await;
        }
        let lost = format!("tombolo_peer_state{{peer=\"{}\",state=\"suspended\"}}", node(mute));
        cluster.nodes[deaf].admin.metric_when(&lost, 1.0).await;
    }
    assert!(cluster.sees(0, 2, |_| true).await.ready, "the two hear each other");
    mutes.into_iter().for_each(|mute| cluster.heal(mute, deaf));
    cluster.ready().await;
    for (_, subscriber, _) in &mut clients {
        expect(subscriber, 1..=20).await;
        subscriber.ping().await;
    }
}

#[tokio::test]
async fn a_node_that_comes_back_with_an_old_list_is_refused_by_those_that_it_does_not_know_and_others_serve_it() {
    let mut cluster = Cluster::with(3, |_, config| config.tuning.cluster.suspend_after = Seconds(1)).await;
    // As it was before there was a second node, or before it was given its place.
    let current = cluster.nodes[2].config.clone();
    let mut old = current.clone();
    old.cluster.as_mut().expect("a cluster").nodes.retain(|member| member.name != node(1));
    cluster.kill(2);
    cluster.nodes[2].rewrite(old, &[]);
    cluster.restart(2).await;
    // The second dials it, and is told why it is not let in.
    let unknown = |peer: &tombolo_broker_api::PeerStatus| {
        peer.state == PeerState::Suspended
            && peer.last_error.as_ref().is_some_and(|error| error.reason == "UnknownNode")
    };
    cluster.sees(1, 2, unknown).await;
    cluster.nodes[2].admin.metric_when("tombolo_connections_refused_total{reason=\"node_refused\"}", 1.0).await;
    cluster.sees(0, 2, |peer| peer.ready).await;
    let mut subscriber = Client::subscriber(cluster.address(2), 5, "subscriber", &[("t", 1)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publish(&mut publisher, "t", 1, b"").await;
    expect(&mut subscriber, 1..=1).await;
    // The current list mends it without a restart.
    cluster.nodes[2].rewrite(current, &[]);
    cluster.ready().await;
    let mut publisher = Client::clean(cluster.address(1), 5, "publisher-there").await;
    publish(&mut publisher, "t", 2, b"").await;
    expect(&mut subscriber, 2..=2).await;
}
