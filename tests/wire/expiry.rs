//! Message expiry while a message waits.

use std::time::Duration;

use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::property::{self, message_expiry};
use tombolo_tests::scenarios;

scenarios!(
    a_message_passed_on_at_once_keeps_its_interval,
    a_message_that_expired_in_the_session_is_not_delivered_and_the_time_of_others_counts_down,
    a_message_that_expires_behind_a_full_window_is_not_delivered,
);

async fn a_message_passed_on_at_once_keeps_its_interval(placement: Placement) {
    let site = placement.start().await;
    let mut v5 = Client::subscriber(site.far, 5, "v5", &[("at-once", 0)]).await;
    let mut v4 = Client::subscriber(site.far, 4, "v4", &[("at-once", 0)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    let publish = Publish::new(5, "at-once", "x").with(message_expiry(100));
    publisher.send(publish.bytes()).await;
    v5.expect(publish.bytes()).await;
    v4.expect_message("at-once", "x").await;
}

async fn a_message_that_expired_in_the_session_is_not_delivered_and_the_time_of_others_counts_down(
    placement: Placement,
) {
    let site = placement.start().await;
    let (mut client, _) = Client::persistent(site.far, 5, "away").await;
    client.subscribe(&[("expiry/#", 1)]).await;
    client.disconnect().await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for (i, seconds) in [(1u16, 1), (2, 1000)] {
        publisher.send(Publish::new(5, "expiry/x", [i as u8]).qos(1, i).with(message_expiry(seconds)).bytes()).await;
        publisher.expect(packet::puback(i)).await;
    }
    publisher.send(Publish::new(5, "expiry/x", [3]).qos(1, 3).bytes()).await;
    publisher.expect(packet::puback(3)).await;
    // Its second passes; nothing but time can be awaited here.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let (mut client, _) = Client::persistent(site.far, 5, "away").await;
    let got = client.message().await;
    // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    assert_eq!(got.payload, [2]);
    let left = got.properties.number(0x02).expect("a Message Expiry Interval");
    assert!((990..1000).contains(&left), "{left} s are left of 1000, 2 s later");
    let got = client.message().await;
    assert_eq!((got.payload, got.properties.number(0x02)), (vec![3], None));
    site.counted(r#"tombolo_messages_dropped_total{reason="expired"}"#, 1.0).await;
}

async fn a_message_that_expires_behind_a_full_window_is_not_delivered(placement: Placement) {
    let site = placement.start().await;
    let connect = Connect::new(5, "narrow").with(property::receive_maximum(1));
    let (mut client, _) = Client::connect(site.far, &connect).await;
    client.subscribe(&[("window", 1)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for (i, content) in [(1u16, Vec::new()), (2, message_expiry(1)), (3, Vec::new())] {
        publisher.send(Publish::new(5, "window", [i as u8]).qos(1, i).with(content).bytes()).await;
        publisher.expect(packet::puback(i)).await;
    }
    let first = client.message().await;
    assert_eq!(first.payload, [1]);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    client.send(packet::puback(first.id)).await;
    assert_eq!(client.message().await.payload, [3]);
}
