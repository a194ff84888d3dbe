//! Topic aliases of clients.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::Publish;
use tombolo_tests::placement::Placement;
use tombolo_tests::property::{self, topic_alias};
use tombolo_tests::scenarios;

scenarios!(an_alias_stands_for_the_topic_and_does_not_reach_the_receiver, an_alias_works_at_qos_1_and_with_retain);

async fn an_alias_stands_for_the_topic_and_does_not_reach_the_receiver(placement: Placement) {
    let site = placement.start().await;
    let mut v5 = Client::subscriber(site.far, 5, "v5", &[("alias/#", 0)]).await;
    let mut v4 = Client::subscriber(site.far, 4, "v4", &[("alias/#", 0)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    let set = |topic, alias| Publish::new(5, topic, "set").with(topic_alias(alias)).bytes();
    let used = |alias, payload| Publish::new(5, "", payload).with(topic_alias(alias)).bytes();
    let content = property::content_type("c");
    publisher.send(set("alias/a", 1)).await;
    publisher.send(set("alias/b", 32)).await;
    publisher.send(used(1, "one")).await;
    publisher.send(used(32, "two")).await;
    publisher.send(set("alias/c", 1)).await;
    publisher.send(Publish::new(5, "", "three").with([topic_alias(1), content.clone()].concat()).bytes()).await;
    for (topic, payload) in
        [("alias/a", "set"), ("alias/b", "set"), ("alias/a", "one"), ("alias/b", "two"), ("alias/c", "set")]
    {
        // An alias is between two ends of one connection [MQTT-3.3.2-9]: it does not go further.
        v5.expect_message(topic, payload).await;
        v4.expect_message(topic, payload).await;
    }
    v5.expect(Publish::new(5, "alias/c", "three").with(&content).bytes()).await;
    v4.expect_message("alias/c", "three").await;
}

#[tokio::test]
async fn an_alias_of_0_an_unknown_one_and_one_too_high_end_the_connection() {
    let broker = Broker::anonymous().await;
    // Topic Alias invalid [MQTT-3.3.2-8] [MQTT-3.3.2-9]; an unknown one may be called a Protocol Error.
    for (topic, alias, reasons) in [("t", 0, [0x94, 0x94]), ("", 5, [0x94, 0x82]), ("t", 33, [0x94, 0x94])] {
        let mut client = Client::clean(broker.address, 5, "alias").await;
        client.send(Publish::new(5, topic, "x").with(topic_alias(alias)).bytes()).await;
        let got = client.packet().await.disconnect();
        assert!(reasons.contains(&got.reason), "alias {alias}: {got:x?}");
        client.closed().await;
    }
    broker.admin.metric_when(r#"tombolo_clients_closed_total{reason="topic_alias_invalid"}"#, 2.0).await;
}

#[tokio::test]
async fn an_empty_topic_without_an_alias_is_a_protocol_error() {
    let broker = Broker::anonymous().await;
    let mut client = Client::clean(broker.address, 5, "empty").await;
    client.send(Publish::new(5, "", "x").bytes()).await;
    let got = client.packet().await.disconnect();
    // Protocol Error [MQTT-3.3.2-8] or Topic Name invalid.
    assert!(matches!(got.reason, 0x82 | 0x90), "{got:x?}");
    client.closed().await;
}

#[tokio::test]
async fn aliases_end_with_the_connection() {
    let broker = Broker::anonymous().await;
    let (mut client, _) = Client::persistent(broker.address, 5, "forget").await;
    client.send(Publish::new(5, "forget", "x").with(topic_alias(1)).bytes()).await;
    client.disconnect().await;
    let (mut client, present) = Client::persistent(broker.address, 5, "forget").await;
    assert!(present);
    client.send(Publish::new(5, "", "x").with(topic_alias(1)).bytes()).await;
    // [MQTT-3.3.2-7]
    let got = client.packet().await.disconnect();
    assert!(matches!(got.reason, 0x82 | 0x94), "{got:x?}");
}

async fn an_alias_works_at_qos_1_and_with_retain(placement: Placement) {
    let site = placement.start().await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "kept/alias", "x").qos(1, 1).with(topic_alias(7)).bytes()).await;
    assert_eq!(publisher.packet().await.ack(0x40).id, 1);
    publisher.send(Publish::new(5, "", "y").qos(1, 2).retain().with(topic_alias(7)).bytes()).await;
    assert_eq!(publisher.packet().await.ack(0x40).id, 2);
    site.crossed().await;
    let mut late = Client::clean(site.far, 5, "late").await;
    late.subscribe(&[("kept/#", 0)]).await;
    late.expect(Publish::new(5, "kept/alias", "y").retain().bytes()).await;
}
