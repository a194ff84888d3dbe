//! Sessions: clean start, Session Present, expiry, what waits for an off-line client.

use std::time::Duration;

use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(
    the_session_keeps_subscriptions_and_queues_qos_1_and_2_in_order,
    qos_0_is_not_kept_for_who_is_away_beyond_what_configuration_says,
    a_full_queue_never_drops_qos_1_silently,
    unsubscribe_ends_deliveries_and_tells_what_existed,
);

#[tokio::test]
async fn session_present_tells_whether_there_was_a_session() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        let id = format!("kept-{level}");
        let (client, present) = Client::persistent(broker.address, level, &id).await;
        assert!(!present, "nothing was kept yet [MQTT-3.2.2-3]");
        client.disconnect().await;
        let (client, present) = Client::persistent(broker.address, level, &id).await;
        assert!(present, "the session outlived the connection [MQTT-3.2.2-2]");
        client.disconnect().await;
        // A clean start ends it [MQTT-3.1.2-4].
        Client::clean(broker.address, level, &id).await.disconnect().await;
        let (_client, present) = Client::persistent(broker.address, level, &id).await;
        assert!(!present, "the clean session ended with its connection");
    }
}

async fn the_session_keeps_subscriptions_and_queues_qos_1_and_2_in_order(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let (id, topic) = (format!("off-{level}"), format!("off/{level}"));
        let (mut client, _) = Client::persistent(site.far, level, &id).await;
        client.subscribe(&[(&topic, 2)]).await;
        client.disconnect().await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.send(Publish::new(level, &topic, "one").qos(1, 1).bytes()).await;
        publisher.expect(packet::puback(1)).await;
        publisher.send(Publish::new(level, &topic, "two").qos(2, 2).bytes()).await;
        publisher.expect(packet::pubrec(2)).await;
        publisher.send(packet::pubrel(2)).await;
        publisher.expect(packet::pubcomp(2)).await;
        let (mut client, present) = Client::persistent(site.far, level, &id).await;
        assert!(present);
        let one = client.message().await;
        assert_eq!((one.flags, &one.payload[..]), (0x02, &b"one"[..]), "first delivery: no DUP [MQTT-3.3.1-1]");
        let two = client.message().await;
        assert_eq!((two.flags, &two.payload[..]), (0x04, &b"two"[..]));
        client.send([packet::puback(one.id), packet::pubrec(two.id)].concat()).await;
        client.expect(packet::pubrel(two.id)).await;
        client.send(packet::pubcomp(two.id)).await;
        client.ping().await;
    }
}

#[tokio::test]
async fn a_session_without_an_expiry_ends_with_its_connection_in_5() {
    let broker = Broker::anonymous().await;
    let mut connect = Connect::new(5, "brief");
    connect.clean = false;
    let (client, _) = Client::connect(broker.address, &connect).await;
    client.disconnect().await;
    let (_, connack) = Client::connect(broker.address, &connect).await;
    assert!(!connack.session_present, "absent means 0 [MQTT-3.1.2.11.2]");
}

#[tokio::test]
async fn a_session_ends_when_its_expiry_has_passed() {
    let broker = Broker::anonymous().await;
    let mut connect = Connect::new(5, "second");
    connect.clean = false;
    let connect = connect.with(property::session_expiry(1));
    let (client, _) = Client::connect(broker.address, &connect).await;
    client.disconnect().await;
    broker.admin.status_when("the session has expired", |s| s.sessions == 0).await;
    let (_, connack) = Client::connect(broker.address, &connect).await;
    assert!(!connack.session_present);
}

#[tokio::test]
async fn disconnect_may_change_the_expiry_but_not_from_0() {
    let broker = Broker::anonymous().await;
    let disconnect = |seconds| packet::packet(0xe0, &[&[0, 5][..], &property::session_expiry(seconds)].concat());
    let (mut client, _) = Client::persistent(broker.address, 5, "changed").await;
    client.send(disconnect(0)).await;
    client.closed().await;
    let (client, present) = Client::persistent(broker.address, 5, "changed").await;
    assert!(!present, "the expiry was set to 0 in DISCONNECT");
    client.disconnect().await;
    let mut client = Client::clean(broker.address, 5, "zero").await;
    client.send(disconnect(60)).await;
    // Protocol Error [MQTT-3.14.2-2].
    client.refused(0x82).await;
}

#[tokio::test]
async fn a_longer_expiry_than_is_granted_is_told_in_connack() {
    let mut config = broker::config("wire");
    config.tuning.mqtt.session_expiry_interval = tombolo_broker_api::Seconds(100);
    let broker = Broker::start(config, &[]).await;
    let (_, connack) =
        Client::connect(broker.address, &Connect::new(5, "long").with(property::session_expiry(u32::MAX))).await;
    assert_eq!(connack.properties.number(0x11), Some(100), "Session Expiry Interval [MQTT-3.2.2.3.2]");
    let (_, connack) =
        Client::connect(broker.address, &Connect::new(5, "short").with(property::session_expiry(99))).await;
    assert!(connack.properties.number(0x11).is_none_or(|granted| granted == 99));
}

async fn qos_0_is_not_kept_for_who_is_away_beyond_what_configuration_says(placement: Placement) {
    let site = placement.start().await;
    let (mut client, _) = Client::persistent(site.far, 4, "away").await;
    client.subscribe(&[("away/#", 1)]).await;
    client.disconnect().await;
    let mut publisher = Client::clean(site.near, 4, "publisher").await;
    // Who sees it knows that it is where the other one would get it.
    let mut witness = Client::subscriber(site.far, 4, "witness", &[("away/0", 0)]).await;
    publisher.publish("away/0", "lost").await;
    witness.expect_message("away/0", "lost").await;
    publisher.send(Publish::new(4, "away/1", "kept").qos(1, 1).bytes()).await;
    publisher.expect(packet::puback(1)).await;
    let (mut client, _) = Client::persistent(site.far, 4, "away").await;
    assert_eq!(client.message().await.payload, b"kept");
}

async fn a_full_queue_never_drops_qos_1_silently(placement: Placement) {
    let site = placement.with(|config| config.tuning.mqtt.max_queued_messages = 10).await;
    let (mut client, _) = Client::persistent(site.far, 5, "full").await;
    client.subscribe(&[("full", 1)]).await;
    client.disconnect().await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for i in 0..20u16 {
        publisher.send(Publish::new(5, "full", [i as u8]).qos(1, i + 1).bytes()).await;
        // Success, or Quota exceeded: whatever is said, what is dropped is counted.
        let ack = publisher.packet().await.ack(0x40);
        assert!(matches!(ack.reason, 0 | 0x97), "{ack:x?}");
    }
    site.counted(r#"tombolo_messages_dropped_total{reason="queue_full"}"#, 10.0).await;
    let (mut client, _) = Client::persistent(site.far, 5, "full").await;
    let mut got = Vec::new();
    for _ in 0..10 {
        let message = client.message().await;
        client.send(packet::puback(message.id)).await;
        got.push(message.payload[0]);
    }
    assert!(got.is_sorted(), "what is kept keeps its order: {got:?}");
    client.ping().await;
}

#[tokio::test]
async fn off_line_sessions_are_counted_and_bounded() {
    let mut config = broker::config("wire");
    config.tuning.mqtt.max_sessions = 2;
    let broker = Broker::start(config, &[]).await;
    for id in ["a", "b"] {
        Client::persistent(broker.address, 5, id).await.0.disconnect().await;
    }
    broker.admin.status_when("two sessions", |s| s.sessions == 2 && s.connections == 0).await;
    let mut third = Client::open(broker.address, 5).await;
    third.send(Connect::new(5, "c").bytes()).await;
    let connack = third.packet().await.connack();
    assert!(matches!(connack.reason, 0x97 | 0x89 | 0x88), "Quota exceeded or busy: {connack:x?}");
    third.closed().await;
    // Who is known may come back.
    assert!(Client::persistent(broker.address, 5, "a").await.1);
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="max_sessions"}"#, 1.0).await;
}

async fn unsubscribe_ends_deliveries_and_tells_what_existed(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut client = Client::subscriber(site.far, level, &format!("un-{level}"), &[("un/a", 0), ("un/b", 0)]).await;
        client.send(packet::unsubscribe(level, 5, &["un/a", "un/none"])).await;
        // Success, No subscription existed.
        client.expect(packet::unsuback(level, 5, &[0, 0x11])).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.publish("un/a", "no").await;
        publisher.publish("un/b", "yes").await;
        client.expect_message("un/b", "yes").await;
    }
}

#[tokio::test]
async fn a_dead_connection_leaves_its_session() {
    let broker = Broker::anonymous().await;
    let (client, _) = Client::persistent(broker.address, 4, "torn").await;
    drop(client);
    broker.admin.status_when("the connection is gone", |s| s.connections == 0).await;
    let (_, present) = tokio::time::timeout(Duration::from_secs(10), Client::persistent(broker.address, 4, "torn"))
        .await
        .expect("the broker answers");
    assert!(present);
}
