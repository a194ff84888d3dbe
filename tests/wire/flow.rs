//! Receive Maximum, both ways.

use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(
    a_client_gets_no_more_than_its_receive_maximum_and_the_rest_when_it_acknowledges,
    a_message_of_qos_2_holds_its_place_until_pubcomp,
    the_brokers_own_window_bounds_a_client_that_names_none,
);

async fn a_client_gets_no_more_than_its_receive_maximum_and_the_rest_when_it_acknowledges(placement: Placement) {
    let site = placement.start().await;
    let connect = Connect::new(5, "narrow").with(property::receive_maximum(2));
    let (mut client, _) = Client::connect(site.far, &connect).await;
    client.subscribe(&[("narrow/#", 2)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for i in 1..=6u16 {
        publisher.send(Publish::new(5, "narrow/1", [i as u8]).qos(1, i).bytes()).await;
        publisher.expect(packet::puback(i)).await;
    }
    let one = client.message().await;
    let two = client.message().await;
    // Nothing else comes [MQTT-3.3.4-9], but QoS 0 does.
    site.crossed().await;
    client.ping().await;
    publisher.publish("narrow/0", "zero").await;
    client.expect_message("narrow/0", "zero").await;
    client.send(packet::puback(two.id)).await;
    let three = client.message().await;
    assert_eq!([one.payload[0], two.payload[0], three.payload[0]], [1, 2, 3]);
    client.send([packet::puback(one.id), packet::puback(three.id)].concat()).await;
    for wanted in [4, 5] {
        assert_eq!(client.message().await.payload, [wanted]);
    }
    client.ping().await;
}

async fn a_message_of_qos_2_holds_its_place_until_pubcomp(placement: Placement) {
    let site = placement.start().await;
    let connect = Connect::new(5, "one").with(property::receive_maximum(1));
    let (mut client, _) = Client::connect(site.far, &connect).await;
    client.subscribe(&[("one", 2)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for i in [1u16, 2] {
        publisher.send(Publish::new(5, "one", [i as u8]).qos(2, i).bytes()).await;
        publisher.expect(packet::pubrec(i)).await;
        publisher.send(packet::pubrel(i)).await;
        publisher.expect(packet::pubcomp(i)).await;
    }
    let first = client.message().await;
    client.send(packet::pubrec(first.id)).await;
    client.expect(packet::pubrel(first.id)).await;
    site.crossed().await;
    client.ping().await;
    client.send(packet::pubcomp(first.id)).await;
    assert_eq!(client.message().await.payload, [2]);
}

#[tokio::test]
async fn a_publisher_beyond_the_brokers_receive_maximum_is_disconnected() {
    let mut config = broker::config("wire");
    config.tuning.mqtt.receive_maximum = 3;
    let broker = Broker::start(config, &[]).await;
    let (mut client, connack) = Client::connect(broker.address, &Connect::new(5, "greedy")).await;
    assert_eq!(connack.properties.number(0x21), Some(3));
    for i in 1..=3u16 {
        client.send(Publish::new(5, "greedy", "x").qos(2, i).bytes()).await;
        assert_eq!(client.packet().await.ack(0x50).id, i);
    }
    client.send(Publish::new(5, "greedy", "x").qos(2, 4).bytes()).await;
    // Receive Maximum exceeded [MQTT-3.3.4-7].
    client.disconnected(0x93).await;
    broker.admin.metric_when(r#"tombolo_clients_closed_total{reason="receive_maximum_exceeded"}"#, 1.0).await;
}

#[tokio::test]
async fn publishes_of_one_read_are_within_receive_maximum_when_they_are_acknowledged_in_turn() {
    let mut config = broker::config("wire");
    config.tuning.mqtt.receive_maximum = 4;
    let broker = Broker::start(config, &[]).await;
    let mut client = Client::clean(broker.address, 5, "burst").await;
    for _ in 0..50 {
        client
            .send((1..=4u16).flat_map(|i| Publish::new(5, "burst", "x").qos(1, i).bytes()).collect::<Vec<u8>>())
            .await;
        for i in 1..=4u16 {
            assert_eq!(client.packet().await.ack(0x40).id, i);
        }
    }
}

async fn the_brokers_own_window_bounds_a_client_that_names_none(placement: Placement) {
    let site = placement.with(|config| config.tuning.mqtt.max_inflight = 2).await;
    for level in [4, 5] {
        let mut client = Client::subscriber(site.far, level, "window", &[("window", 1)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        for i in 1..=4u16 {
            publisher.send(Publish::new(level, "window", [i as u8]).qos(1, i).bytes()).await;
            publisher.expect(packet::puback(i)).await;
        }
        let one = client.message().await;
        client.message().await;
        site.crossed().await;
        client.ping().await;
        client.send(packet::puback(one.id)).await;
        assert_eq!(client.message().await.payload, [3]);
        client.ping().await;
        client.disconnect().await;
        publisher.disconnect().await;
    }
}
