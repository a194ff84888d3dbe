//! A node that is emptied: clients are told to go, sessions and messages go to other nodes, and then it says that it is empty.

use std::time::Instant;

use rustix::process::Signal;
use tombolo_broker_api::{ByteSize, Evacuation, EvacuationPhase, Seconds};
use tombolo_tests::client::Client;
use tombolo_tests::cluster::{Cluster, node};
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::property;

/// Has all nodes know which ones are to be emptied.
fn evacuate(cluster: &mut Cluster, places: &[usize]) {
    for one in &mut cluster.nodes {
        let mut config = one.config.clone();
        if let Some(cluster) = &mut config.cluster {
            cluster.evacuating = places.iter().map(|place| node(*place)).collect();
        }
        one.rewrite(config, &[]);
    }
}

async fn is(cluster: &Cluster, place: usize, phase: EvacuationPhase) {
    let what = format!("{} is {phase:?}", node(place));
    let reached = |status: &tombolo_broker_api::Status| status.evacuation.as_ref().is_some_and(|at| at.phase == phase);
    cluster.nodes[place].admin.status_when(&what, reached).await;
}

#[tokio::test]
async fn clients_are_told_to_go_their_sessions_go_to_other_nodes_and_the_node_says_that_it_is_empty() {
    let mut cluster = Cluster::start(3).await;
    let (mut five, _) = Client::persistent(cluster.address(0), 5, "five").await;
    five.subscribe(&[("t", 1)]).await;
    let (mut four, _) = Client::persistent(cluster.address(0), 4, "four").await;
    four.subscribe(&[("t", 1)]).await;
    let mut clean = Client::clean(cluster.address(0), 5, "clean").await;
    for n in 0..20 {
        let (mut away, _) = Client::persistent(cluster.address(0), 5, &format!("away-{n}")).await;
        away.subscribe(&[("t", 1)]).await;
    }
    let mut publisher = Client::clean(cluster.address(1), 5, "publisher").await;
    publisher.publish_qos1("t", "before", 1).await;
    for client in [&mut five, &mut four] {
        let message = client.message().await;
        client.send(packet::puback(message.id)).await;
        client.ping().await;
    }
    evacuate(&mut cluster, &[0]);
    // 0x8B Server shutting down, since no other server is named; 3.1.1 has no words.
    five.disconnected(0x8B).await;
    clean.disconnected(0x8B).await;
    four.closed().await;
    publisher.publish_qos1("t", "while", 2).await;
    is(&cluster, 0, EvacuationPhase::Empty).await;
    publisher.publish_qos1("t", "after", 3).await;
    for (level, code) in [(5, 0x88), (4, 3)] {
        let mut refused = Client::open(cluster.address(0), level).await;
        refused.send(Connect::new(level, "late").bytes()).await;
        assert_eq!(refused.packet().await.connack().reason, code);
    }
    for (level, id, missed) in [(5, "five".to_owned(), 1), (4, "four".to_owned(), 1)]
        .into_iter()
        .chain((0..20).map(|n| (5, format!("away-{n}"), 0)))
    {
        let (mut client, present) = Client::persistent(cluster.address(2), level, &id).await;
        assert!(present, "{id}");
        for payload in &["before", "while", "after"][missed..] {
            let message = client.message().await;
            assert_eq!(String::from_utf8_lossy(&message.payload), *payload, "{id}");
            client.send(packet::puback(message.id)).await;
        }
        client.ping().await;
    }
    let status = cluster.nodes[0].admin.status().await.expect("it answers").evacuation.expect("it is empty");
    assert_eq!((status.sessions, status.moved), (0, 22));
    // Whoever changes his mind has a node that serves again.
    evacuate(&mut cluster, &[]);
    cluster.nodes[0].admin.status_when("it serves again", |status| status.evacuation.is_none()).await;
    let (mut back, present) = Client::persistent(cluster.address(0), 5, "five").await;
    assert!(present);
    back.ping().await;
}

#[tokio::test]
async fn mqtt_5_clients_are_told_where_to_go_if_a_server_is_named() {
    let mut cluster = Cluster::with(2, |_, config| {
        let reference = "mqtt.example.org".to_owned();
        config.tuning.cluster.evacuation = Evacuation { server_reference: reference, ..Evacuation::default() };
    })
    .await;
    let mut client = Client::clean(cluster.address(0), 5, "one").await;
    // The CONNACK that it gets is as long as that.
    let terse = Connect::new(5, "terse").with(property::maximum_packet_size(20));
    let (mut short, _) = Client::connect(cluster.address(0), &terse).await;
    evacuate(&mut cluster, &[0]);
    let told = client.disconnected(0x9C).await;
    assert_eq!(told.properties.text(0x1C), Some("mqtt.example.org"));
    let mut refused = Client::open(cluster.address(0), 5).await;
    refused.send(Connect::new(5, "late").bytes()).await;
    let connack = refused.packet().await.connack();
    assert_eq!((connack.reason, connack.properties.text(0x1C)), (0x9C, Some("mqtt.example.org")));
    // Nothing that is larger than a client takes [MQTT-3.1.2-24].
    short.expect_hex("e0 01 9c").await;
    short.closed().await;
    let mut refused = Client::open(cluster.address(0), 5).await;
    refused.send(terse.bytes()).await;
    refused.expect_hex("20 03 00 9c 00").await;
    refused.closed().await;
}

#[tokio::test]
async fn clients_go_no_faster_than_the_rate_allows() {
    let mut cluster = Cluster::with(2, |_, config| {
        config.tuning.cluster.evacuation = Evacuation { disconnects_per_second: 20, ..Evacuation::default() };
    })
    .await;
    let mut clients = Vec::new();
    for n in 0..30 {
        clients.push(Client::clean(cluster.address(0), 5, &format!("c{n}")).await);
    }
    evacuate(&mut cluster, &[0]);
    cluster.nodes[0].admin.status_when("the first is gone", |status| status.connections < 30).await;
    let begun = Instant::now();
    is(&cluster, 0, EvacuationPhase::Empty).await;
    // A quarter of a second's worth went at once, one look may have come late; 20 more take a second.
    assert!(begun.elapsed().as_millis() > 700, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_leaves_nothing_behind() {
    let mut cluster = Cluster::start(3).await;
    let mut subscriber = Client::subscriber(cluster.address(1), 5, "subscriber", &[("t/#", 1)]).await;
    for n in 0..10 {
        let (mut away, _) = Client::persistent(cluster.address(0), 5, &format!("away-{n}")).await;
        away.subscribe(&[("t/#", 1)]).await;
    }
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    let mut acknowledged = Vec::new();
    for n in 1..=20_u16 {
        publisher.publish_qos1("t/x", &n.to_string(), n).await;
        acknowledged.push(n);
    }
    cluster.nodes[0].child.signal(Signal::TERM);
    for n in 21..=200_u16 {
        publisher.send_anyway(Publish::new(5, "t/x", n.to_string()).qos(1, n).bytes()).await;
    }
    for packet in publisher.rest().await {
        match packet.kind() {
            0x40 => acknowledged.push(packet.ack(0x40).id),
            _ => assert_eq!(packet.disconnect().reason, 0x8B),
        }
    }
    cluster.nodes[0].child.end().await;
    for n in 0..10 {
        let (mut client, present) = Client::persistent(cluster.address(1 + n % 2), 5, &format!("away-{n}")).await;
        assert!(present, "away-{n}");
        for id in &acknowledged {
            let message = client.message().await;
            assert_eq!(String::from_utf8_lossy(&message.payload), id.to_string());
            client.send(packet::puback(message.id)).await;
        }
        client.ping().await;
    }
    for id in &acknowledged {
        let message = subscriber.message().await;
        assert_eq!(String::from_utf8_lossy(&message.payload), id.to_string());
        subscriber.send(packet::puback(message.id)).await;
    }
}

#[tokio::test]
async fn a_node_that_can_not_become_empty_says_so_when_its_time_is_over_and_keeps_what_it_has() {
    let mut cluster = Cluster::with(2, |_, config| {
        config.tuning.cluster.evacuation = Evacuation { timeout: Seconds(2), ..Evacuation::default() };
        config.tuning.cluster.max_outbox_bytes = ByteSize(1 << 20);
    })
    .await;
    let (mut client, _) = Client::persistent(cluster.address(0), 5, "one").await;
    client.subscribe(&[("t", 1)]).await;
    // Both are: nobody is left to take anything.
    evacuate(&mut cluster, &[0, 1]);
    client.disconnected(0x8B).await;
    is(&cluster, 0, EvacuationPhase::TimedOut).await;
    let status = cluster.nodes[0].admin.status().await.expect("it answers");
    assert_eq!(status.sessions, 1, "{:?}", status.evacuation);
    evacuate(&mut cluster, &[]);
    cluster.nodes[0].admin.status_when("it serves again", |status| status.evacuation.is_none()).await;
    let (_, present) = Client::persistent(cluster.address(0), 5, "one").await;
    assert!(present);
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_ends_when_its_time_to_stop_is_over_though_it_is_not_empty() {
    let mut cluster = Cluster::with(2, |_, config| {
        let evacuation = &mut config.tuning.cluster.evacuation;
        (evacuation.timeout, evacuation.stop_timeout) = (Seconds(900), Some(Seconds(2)));
        config.tuning.cluster.suspend_after = Seconds(600);
    })
    .await;
    drop(Client::persistent(cluster.address(0), 5, "one").await);
    // It is there and takes nothing.
    cluster.nodes[1].child.signal(Signal::STOP);
    cluster.nodes[0].child.signal(Signal::TERM);
    assert!(cluster.nodes[0].child.end().await.success());
    let log = cluster.nodes[0].child.output();
    assert!(log.contains("stops though it is not empty"), "{log}");
    cluster.nodes[1].child.signal(Signal::CONT);
}

#[tokio::test]
async fn a_cluster_that_is_told_to_stop_as_a_whole_does_not_wait_for_itself() {
    let mut cluster = Cluster::start(2).await;
    let (client, _) = Client::persistent(cluster.address(0), 5, "one").await;
    drop(client);
    let begun = Instant::now();
    cluster.nodes.iter().for_each(|node| node.child.signal(Signal::TERM));
    for node in &mut cluster.nodes {
        assert!(node.child.end().await.success());
    }
    assert!(begun.elapsed().as_secs() < 60, "{:?}: far less than the time that an evacuation has", begun.elapsed());
}
