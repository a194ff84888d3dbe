//! Subscription options and identifiers.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(
    no_local_keeps_a_clients_own_messages_away,
    one_subscription_with_no_local_does_not_silence_another,
    a_message_bears_the_identifiers_of_all_subscriptions_that_match,
    an_identifier_is_replaced_and_taken_away_with_its_subscription,
    a_session_keeps_the_options_and_identifiers_of_its_subscriptions,
);

async fn no_local_keeps_a_clients_own_messages_away(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::clean(site.far, 5, "loner").await;
    client.subscribe(&[("loner", 0x04)]).await;
    // It has the other node want the topic, so that what is the client's own goes there, and must not come back.
    let mut other = Client::subscriber(site.near, 5, "other", &[("loner", 0)]).await;
    client.publish("loner", "own").await;
    other.expect_message("loner", "own").await;
    client.ping().await;
    other.publish("loner", "others").await;
    // [MQTT-3.8.3-3]
    client.expect_message("loner", "others").await;
    other.expect_message("loner", "others").await;
}

async fn one_subscription_with_no_local_does_not_silence_another(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::clean(site.far, 5, "both").await;
    client.subscribe(&[("both/x", 0x04), ("both/+", 0)]).await;
    let mut other = Client::subscriber(site.near, 5, "other", &[("both/#", 0)]).await;
    client.publish("both/x", "own").await;
    client.expect_message("both/x", "own").await;
    other.expect_message("both/x", "own").await;
    client.ping().await;
}

#[tokio::test]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let broker = Broker::anonymous().await;
    let mut client = Client::clean(broker.address, 5, "shared").await;
    client.send(packet::subscribe(5, 1, &[("$share/g/a", 0x04)])).await;
    // [MQTT-3.8.3-4]
    client.disconnected(0x82).await;
}

#[tokio::test]
async fn reserved_options_qos_3_and_retain_handling_3_are_refused() {
    let broker = Broker::anonymous().await;
    for (level, options) in [(4, 0x03), (4, 0x04), (5, 0x03), (5, 0x30), (5, 0x40), (5, 0x80)] {
        let mut client = Client::clean(broker.address, level, "reserved").await;
        client.send(packet::subscribe(level, 1, &[("a", options)])).await;
        let got = client.rest().await;
        // [MQTT-3.8.3-5]: Malformed Packet or Protocol Error, and closed.
        assert!(
            got.iter().all(|p| level == 5 && matches!(p.disconnect().reason, 0x81 | 0x82)),
            "{options:#x}: {got:?}"
        );
    }
}

async fn a_message_bears_the_identifiers_of_all_subscriptions_that_match(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::clean(site.far, 5, "ids").await;
    for (id, filter) in [(1, "id/#"), (268_435_455, "id/+"), (128, "id/x"), (9, "other")] {
        client.send(packet::subscribe_with(5, 1, &property::subscription_id(id), &[(filter, 0)])).await;
        client.expect(packet::suback(5, 1, &[0])).await;
    }
    Client::clean(site.near, 5, "publisher").await.publish("id/x", "x").await;
    let got = client.message().await;
    let mut ids: Vec<Vec<u8>> = got.properties.0.iter().filter(|p| p.0 == 0x0b).map(|p| p.1.clone()).collect();
    ids.sort_unstable();
    // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    assert_eq!(ids, [vec![0x01], vec![0x80, 0x01], vec![0xff, 0xff, 0xff, 0x7f]]);
    client.ping().await;
}

async fn an_identifier_is_replaced_and_taken_away_with_its_subscription(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::clean(site.far, 5, "change").await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for (content, wanted) in
        [(property::subscription_id(5), Some(5)), (property::subscription_id(6), Some(6)), (Vec::new(), None)]
    {
        client.send(packet::subscribe_with(5, 1, &content, &[("change", 0)])).await;
        client.expect(packet::suback(5, 1, &[0])).await;
        publisher.publish("change", "x").await;
        assert_eq!(client.message().await.properties.number(0x0b), wanted);
    }
}

#[tokio::test]
async fn an_identifier_of_0_and_one_in_a_publish_are_protocol_errors() {
    let broker = Broker::anonymous().await;
    let mut client = Client::clean(broker.address, 5, "zero").await;
    client.send(packet::subscribe_with(5, 1, &property::subscription_id(0), &[("a", 0)])).await;
    client.disconnected(0x82).await;
    let mut client = Client::clean(broker.address, 5, "own").await;
    client.send(Publish::new(5, "a", "x").with(property::subscription_id(1)).bytes()).await;
    // [MQTT-3.3.4-6]
    client.disconnected(0x82).await;
}

#[tokio::test]
async fn a_subscribe_without_a_filter_is_a_protocol_error() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        for bytes in [packet::subscribe(level, 1, &[]), packet::unsubscribe(level, 1, &[])] {
            let mut client = Client::clean(broker.address, level, "none").await;
            client.send(bytes).await;
            // [MQTT-3.8.3-2] [MQTT-3.10.3-2]
            client.refused(0x82).await;
        }
    }
}

async fn a_session_keeps_the_options_and_identifiers_of_its_subscriptions(placement: Placement) {
    let site = placement.start().await;
    let (mut client, _) = Client::persistent(site.far, 5, "keeper").await;
    client.send(packet::subscribe_with(5, 1, &property::subscription_id(77), &[("keep", 0x0d)])).await;
    client.expect(packet::suback(5, 1, &[1])).await;
    client.disconnect().await;
    let (mut client, _) = Client::persistent(site.far, 5, "keeper").await;
    let mut other = Client::clean(site.near, 5, "other").await;
    client.publish("keep", "own").await;
    client.ping().await;
    other.send(Publish::new(5, "keep", "x").qos(1, 1).retain().bytes()).await;
    let got = client.message().await;
    assert_eq!((got.flags, got.properties.number(0x0b)), (0x03, Some(77)));
}
