//! DISCONNECT from the client, and the shutdown of the broker.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, PINGREQ, PINGRESP, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::scenarios;

scenarios!(
    after_disconnect_the_broker_closes_and_takes_nothing_more,
    what_was_acknowledged_is_delivered_before_the_broker_stops,
);

async fn after_disconnect_the_broker_closes_and_takes_nothing_more(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut watcher = Client::subscriber(site.far, level, "watcher", &[("after", 0)]).await;
        let mut client = Client::clean(site.near, level, "leaver").await;
        let bytes = [
            Publish::new(level, "after", "before").bytes(),
            packet::DISCONNECT.to_vec(),
            Publish::new(level, "after", "after").bytes(),
        ];
        client.send(bytes.concat()).await;
        // [MQTT-3.14.4-1]
        client.closed().await;
        watcher.expect_message("after", "before").await;
        watcher.publish("after", "marker").await;
        watcher.expect_message("after", "marker").await;
        watcher.disconnect().await;
    }
    site.counted(r#"tombolo_clients_closed_total{reason="disconnect"}"#, 4.0).await;
}

#[tokio::test]
async fn disconnect_with_a_reason_and_properties_is_a_disconnect() {
    let broker = Broker::anonymous().await;
    for digits in ["e0 00", "e0 01 00", "e0 02 00 00", "e0 09 00 07 1f 0004 62796521"] {
        let mut client = Client::clean(broker.address, 5, "polite").await;
        client.send_hex(digits).await;
        client.closed().await;
    }
}

#[tokio::test]
async fn a_stopping_broker_tells_its_clients_and_ends_with_0() {
    let mut broker = Broker::anonymous().await;
    let mut v5 = Client::clean(broker.address, 5, "v5").await;
    let mut v4 = Client::clean(broker.address, 4, "v4").await;
    let status = broker.child.terminate().await;
    assert!(status.success(), "{status}");
    // Server shutting down.
    v5.disconnected(0x8b).await;
    v4.closed().await;
}

async fn what_was_acknowledged_is_delivered_before_the_broker_stops(placement: Placement) {
    let mut site = placement.start().await;
    let mut subscriber = Client::subscriber(site.far, 4, "subscriber", &[("last", 0)]).await;
    let mut publisher = Client::clean(site.near, 4, "publisher").await;
    publisher
        .send(
            (0..100u16)
                .flat_map(|i| Publish::new(4, "last", i.to_be_bytes()).qos(1, i + 1).bytes())
                .collect::<Vec<u8>>(),
        )
        .await;
    for i in 0..100u16 {
        publisher.expect(packet::puback(i + 1)).await;
    }
    for node in &mut site.nodes {
        assert!(node.child.terminate().await.success());
    }
    assert_eq!(subscriber.rest().await.len(), 100);
}

#[tokio::test]
async fn what_came_right_before_the_end_is_answered() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        let mut client = Client::open(broker.address, level).await;
        let ends = [Connect::new(level, "brisk").bytes(), PINGREQ.to_vec(), packet::DISCONNECT.to_vec()].concat();
        client.send(ends).await;
        client.packet().await.connack();
        client.expect(PINGRESP).await;
        client.closed().await;
        // The same when the broker ends it.
        let mut client = Client::open(broker.address, level).await;
        client.send([Connect::new(level, "wrong").bytes(), PINGREQ.to_vec(), vec![0xf0, 0]].concat()).await;
        client.packet().await.connack();
        client.expect(PINGRESP).await;
        client.refused(if level == 4 { 0x81 } else { 0x82 }).await;
    }
}
