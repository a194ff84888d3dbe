//! Maximum Packet Size both ways, and the other bounds of configuration.

use tombolo_broker_api::ByteSize;
use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(a_message_above_the_clients_maximum_is_dropped_for_it_alone, a_message_of_a_megabyte_passes_at_each_qos);

async fn small() -> Broker {
    let mut config = broker::config("wire");
    config.tuning.mqtt.max_packet_size = ByteSize(2000);
    config.tuning.mqtt.max_topic_levels = 4;
    config.tuning.mqtt.max_client_id_bytes = 23;
    config.tuning.mqtt.max_subscriptions = 3;
    Broker::start(config, &[]).await
}

/// A PUBLISH of so many bytes in all.
fn publish_of(level: u8, topic: &str, bytes: usize) -> Vec<u8> {
    let bare = Publish::new(level, topic, vec![b'x'; bytes]).bytes().len() - bytes;
    let packet = Publish::new(level, topic, vec![b'x'; bytes - bare]).bytes();
    assert_eq!(packet.len(), bytes);
    packet
}

#[tokio::test]
async fn a_packet_of_the_maximum_passes_and_one_byte_more_ends_the_connection() {
    let broker = small().await;
    for level in [4, 5] {
        let mut client = Client::subscriber(broker.address, level, "big", &[("big", 0)]).await;
        client.send(publish_of(level, "big", 2000)).await;
        client.expect(publish_of(level, "big", 2000)).await;
        client.send(publish_of(level, "big", 2001)).await;
        // Packet too large [MQTT-3.2.2.3.6].
        client.refused(0x95).await;
    }
    broker.admin.metric_when(r#"tombolo_clients_closed_total{reason="packet_too_large"}"#, 2.0).await;
}

#[tokio::test]
async fn a_packet_too_large_is_refused_by_its_header_alone() {
    let broker = small().await;
    for level in [4, 5] {
        let mut client = Client::clean(broker.address, level, "header").await;
        client.send_hex("30 ff ff ff 7f").await;
        client.refused(0x95).await;
        let mut unknown = Client::open(broker.address, level).await;
        unknown.send_hex("10 ff ff ff 7f").await;
        unknown.rest().await;
    }
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="packet_too_large"}"#, 2.0).await;
}

async fn a_message_above_the_clients_maximum_is_dropped_for_it_alone(placement: Placement) {
    let site = placement.start().await;
    let connect = Connect::new(5, "tiny").with(property::maximum_packet_size(60));
    let (mut tiny, _) = Client::connect(site.far, &connect).await;
    tiny.subscribe(&[("size", 1)]).await;
    let mut other = Client::subscriber(site.far, 5, "other", &[("size", 1)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for (i, bytes) in [(1u16, 61), (2, 60)] {
        let bare = Publish::new(5, "size", "").qos(1, 1).bytes().len();
        publisher.send(Publish::new(5, "size", vec![b'x'; bytes - bare]).qos(1, i).bytes()).await;
        publisher.expect(packet::puback(i)).await;
    }
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25]: not sent, as if it had been delivered.
    let got = tiny.packet().await;
    assert_eq!(got.0.len(), 60);
    tiny.send(packet::puback(got.message(5).id)).await;
    tiny.ping().await;
    assert_eq!(other.packet().await.0.len(), 61);
    assert_eq!(other.packet().await.0.len(), 60);
    site.counted(r#"tombolo_messages_dropped_total{reason="packet_too_large"}"#, 1.0).await;
}

#[tokio::test]
async fn too_many_levels_are_refused_in_topics_and_filters() {
    let broker = small().await;
    let mut client = Client::clean(broker.address, 5, "levels").await;
    client.send(packet::subscribe(5, 1, &[("a/b/c/d", 0), ("a/b/c/d/e", 0), ("a/b/c/d/#", 0)])).await;
    let codes = client.packet().await.codes(5);
    assert_eq!((codes[0], codes[1]), (0, 0x8f), "{codes:x?}");
    client.publish("a/b/c/d", "x").await;
    client.expect_message("a/b/c/d", "x").await;
    client.send(Publish::new(5, "a/b/c/d/e", "x").qos(1, 1).bytes()).await;
    // Topic Name invalid, in the PUBACK or as the end.
    let got = client.packet().await;
    let reason = if got.kind() == 0x40 { got.ack(0x40).reason } else { got.disconnect().reason };
    assert_eq!(reason, 0x90);
}

#[tokio::test]
async fn a_client_id_too_long_is_refused() {
    let broker = small().await;
    Client::clean(broker.address, 4, "id-of-twenty-three-bytes".get(..23).unwrap_or_default()).await.disconnect().await;
    let mut v4 = Client::open(broker.address, 4).await;
    v4.send(Connect::new(4, "id-of-twenty-four-bytes!!".get(..24).unwrap_or_default()).bytes()).await;
    v4.expect_hex("20 02 00 02").await;
    v4.closed().await;
    let mut v5 = Client::open(broker.address, 5).await;
    v5.send(Connect::new(5, "id-of-twenty-four-bytes!!".get(..24).unwrap_or_default()).bytes()).await;
    // Client Identifier not valid.
    assert_eq!(v5.packet().await.connack().reason, 0x85);
    v5.closed().await;
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="client_id_invalid"}"#, 2.0).await;
}

#[tokio::test]
async fn a_subscription_beyond_the_bound_is_refused_and_the_others_stay() {
    let broker = small().await;
    let mut client = Client::clean(broker.address, 5, "subs").await;
    client.send(packet::subscribe(5, 1, &[("a", 0), ("b", 0), ("c", 0), ("d", 0)])).await;
    // Quota exceeded.
    client.expect_codes(&[0, 0, 0, 0x97]).await;
    // One that is there may change, and one taken away makes room.
    client.subscribe(&[("a", 1)]).await;
    client.send(packet::unsubscribe(5, 2, &["b"])).await;
    client.expect(packet::unsuback(5, 2, &[0])).await;
    client.subscribe(&[("d", 1)]).await;
}

#[tokio::test]
async fn a_connection_beyond_max_connections_is_closed_and_the_others_stay() {
    let mut config = broker::config("wire");
    config.listeners[0].max_connections = 3;
    let broker = Broker::start(config, &[]).await;
    let mut clients = Vec::new();
    for i in 0..3 {
        clients.push(Client::clean(broker.address, 5, &format!("in-{i}")).await);
    }
    for _ in 0..30 {
        let mut flood = Client::open(broker.address, 5).await;
        flood.send_anyway(Connect::new(5, "flood").bytes()).await;
        let got = flood.rest().await;
        // Closed at once, or told that there is no room.
        assert!(got.iter().all(|p| matches!(p.connack().reason, 0x89 | 0x97 | 0x9f)), "{got:?}");
    }
    for client in &mut clients {
        client.ping().await;
    }
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="max_connections"}"#, 30.0).await;
    // Who leaves makes room.
    clients.pop().expect("three").disconnect().await;
    broker.admin.status_when("a place is free", |s| s.listeners[0].connections == 2).await;
    Client::clean(broker.address, 5, "next").await.ping().await;
}

async fn a_message_of_a_megabyte_passes_at_each_qos(placement: Placement) {
    let site = placement.start().await;
    let payload: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    for (from, to) in [(4, 5), (5, 4), (5, 5)] {
        let mut subscriber = Client::subscriber(site.far, to, "subscriber", &[("mega", 2)]).await;
        let mut publisher = Client::clean(site.near, from, "publisher").await;
        for qos in 0..=2u8 {
            publisher.send(Publish::new(from, "mega", &payload).qos(qos, 1).bytes()).await;
            let got = subscriber.message().await;
            assert!(got.payload == payload, "{} bytes came", got.payload.len());
            match qos {
                0 => {}
                1 => {
                    subscriber.send(packet::puback(got.id)).await;
                    publisher.expect(packet::puback(1)).await;
                }
                _ => {
                    subscriber.send(packet::pubrec(got.id)).await;
                    subscriber.expect(packet::pubrel(got.id)).await;
                    subscriber.send(packet::pubcomp(got.id)).await;
                    publisher.expect(packet::pubrec(1)).await;
                    publisher.send(packet::pubrel(1)).await;
                    publisher.expect(packet::pubcomp(1)).await;
                }
            }
        }
        subscriber.disconnect().await;
        publisher.disconnect().await;
    }
}

#[tokio::test]
async fn a_reason_string_is_left_out_where_it_would_exceed_the_clients_maximum() {
    let broker = Broker::anonymous().await;
    let connect = Connect::new(5, "terse").with(property::maximum_packet_size(20));
    let (mut terse, _) = Client::connect(broker.address, &connect).await;
    // [MQTT-3.4.2-2] [MQTT-3.9.2-1] [MQTT-3.14.2-3]
    terse.send(Publish::new(5, "$LINK/x", "").qos(1, 7).bytes()).await;
    terse.expect_hex("40 03 0007 87").await;
    terse.send(packet::subscribe(5, 8, &[("$LINK/x", 0)])).await;
    terse.expect_hex("90 04 0008 00 87").await;
    // An answer that is longer without it counts as sent [MQTT-3.1.2-24] [MQTT-3.1.2-25].
    terse.send(packet::subscribe(5, 9, &[("a", 0); 30])).await;
    terse.ping().await;
    terse.send(Connect::new(5, "terse").bytes()).await;
    terse.expect_hex("e0 01 82").await;
    terse.closed().await;
}
