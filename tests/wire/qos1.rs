//! QoS 0 and QoS 1, both ways, with redelivery.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::scenarios;

scenarios!(
    the_qos_of_a_delivery_is_the_lower_of_publish_and_subscription,
    a_publish_is_byte_for_byte_what_was_published,
    an_empty_payload_is_a_message,
    what_was_not_acknowledged_comes_again_with_dup_in_the_first_order,
    the_dup_flag_of_a_publisher_is_not_passed_on,
    messages_of_one_publisher_keep_their_order_at_each_qos,
);

async fn the_qos_of_a_delivery_is_the_lower_of_publish_and_subscription(placement: Placement) {
    let site = placement.start().await;
    for (from, to) in [(4, 4), (4, 5), (5, 4), (5, 5)] {
        for granted in 0..=2u8 {
            let topic = format!("low/{from}{to}{granted}");
            let mut subscriber = Client::subscriber(site.far, to, "subscriber", &[(&topic, granted)]).await;
            let mut publisher = Client::clean(site.near, from, "publisher").await;
            for qos in 0..=2u8 {
                publisher.send(Publish::new(from, &topic, [qos]).qos(qos, 7).bytes()).await;
                match qos {
                    0 => {}
                    1 => publisher.expect(packet::puback(7)).await,
                    _ => {
                        publisher.expect(packet::pubrec(7)).await;
                        publisher.send(packet::pubrel(7)).await;
                        publisher.expect(packet::pubcomp(7)).await;
                    }
                }
                let got = subscriber.message().await;
                assert_eq!((got.flags, &*got.topic, &got.payload[..]), (qos.min(granted) << 1, &*topic, &[qos][..]));
                match qos.min(granted) {
                    0 => assert_eq!(got.id, 0),
                    1 => subscriber.send(packet::puback(got.id)).await,
                    _ => {
                        subscriber.send(packet::pubrec(got.id)).await;
                        subscriber.expect(packet::pubrel(got.id)).await;
                        subscriber.send(packet::pubcomp(got.id)).await;
                    }
                }
            }
            publisher.disconnect().await;
            subscriber.disconnect().await;
        }
    }
}

async fn a_publish_is_byte_for_byte_what_was_published(placement: Placement) {
    let site = placement.start().await;
    let mut v4 = Client::subscriber(site.far, 4, "v4", &[("b/+", 1)]).await;
    let mut v5 = Client::subscriber(site.far, 5, "v5", &[("b/+", 1)]).await;
    let mut publisher = Client::clean(site.near, 4, "publisher").await;
    publisher.send_hex("30 06 0003 622f31 78").await;
    v4.expect_hex("30 06 0003 622f31 78").await;
    v5.expect_hex("30 07 0003 622f31 00 78").await;
    publisher.send_hex("32 08 0003 622f31 1234 78").await;
    publisher.expect_hex("40 02 1234").await;
    // Packet ids are each side's own, and begin with 1.
    v4.expect_hex("32 08 0003 622f31 0001 78").await;
    v5.expect_hex("32 09 0003 622f31 0001 00 78").await;
    v4.send_hex("40 02 0001").await;
    v5.send_hex("40 02 0001").await;
    v4.ping().await;
    v5.ping().await;
}

async fn an_empty_payload_is_a_message(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut subscriber = Client::subscriber(site.far, level, "subscriber", &[("empty", 0)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.publish("empty", "").await;
        subscriber.expect_message("empty", "").await;
        subscriber.disconnect().await;
    }
}

#[tokio::test]
async fn nobody_subscribed_and_the_publish_is_acknowledged_all_the_same() {
    let broker = Broker::anonymous().await;
    let mut v4 = Client::clean(broker.address, 4, "v4").await;
    v4.send(Publish::new(4, "nobody", "x").qos(1, 3).bytes()).await;
    v4.expect(packet::puback(3)).await;
    let mut v5 = Client::clean(broker.address, 5, "v5").await;
    v5.send(Publish::new(5, "nobody", "x").qos(1, 3).bytes()).await;
    let ack = v5.packet().await.ack(0x40);
    // Success or No matching subscribers.
    assert!(ack.id == 3 && matches!(ack.reason, 0 | 0x10), "{ack:x?}");
    broker.admin.metric_when(r#"tombolo_messages_dropped_total{reason="no_subscription"}"#, 2.0).await;
}

async fn what_was_not_acknowledged_comes_again_with_dup_in_the_first_order(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let (id, topic) = (format!("again-{level}"), format!("again/{level}"));
        let (mut client, _) = Client::persistent(site.far, level, &id).await;
        client.subscribe(&[(&topic, 1)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        for i in 1..=5u16 {
            publisher.send(Publish::new(level, &topic, [i as u8]).qos(1, i).bytes()).await;
            publisher.expect(packet::puback(i)).await;
        }
        let mut ids = Vec::new();
        for i in 1..=5u8 {
            let got = client.message().await;
            assert_eq!((got.flags, got.payload[0]), (0x02, i));
            ids.push(got.id);
        }
        // The second is acknowledged, the others are not.
        client.send(packet::puback(ids[1])).await;
        client.ping().await;
        drop(client);
        site.connections(1).await;
        let (mut client, _) = Client::persistent(site.far, level, &id).await;
        for i in [0, 2, 3, 4] {
            client.expect(Publish::new(level, &topic, [i as u8 + 1]).qos(1, ids[i]).dup().bytes()).await;
            client.send(packet::puback(ids[i])).await;
        }
        client.ping().await;
        publisher.disconnect().await;
        client.disconnect().await;
    }
}

async fn the_dup_flag_of_a_publisher_is_not_passed_on(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut subscriber = Client::subscriber(site.far, level, "subscriber", &[("dup", 1)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.send(Publish::new(level, "dup", "x").qos(1, 1).dup().bytes()).await;
        publisher.expect(packet::puback(1)).await;
        // [MQTT-3.3.1-3]
        assert_eq!(subscriber.message().await.flags, 0x02);
        subscriber.disconnect().await;
    }
}

#[tokio::test]
async fn acknowledgements_of_nothing_are_borne() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        let mut client = Client::clean(broker.address, level, "stray").await;
        client.send(packet::puback(77)).await;
        client.ping().await;
        client.send(packet::pubcomp(77)).await;
        client.ping().await;
        client.disconnect().await;
    }
}

async fn messages_of_one_publisher_keep_their_order_at_each_qos(placement: Placement) {
    let site = placement.start().await;
    let mut subscriber = Client::subscriber(site.far, 5, "order", &[("order", 1)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    let mut all = Vec::new();
    for i in 0..500u16 {
        all.extend(Publish::new(5, "order", i.to_be_bytes()).qos(1, i + 1).bytes());
    }
    publisher.send(all).await;
    for i in 0..500u16 {
        let got = subscriber.message().await;
        assert_eq!(got.payload, i.to_be_bytes());
        subscriber.send(packet::puback(got.id)).await;
        publisher.expect(packet::puback(i + 1)).await;
    }
}
