//! Properties of PUBLISH on their way, and reason strings.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(
    all_properties_reach_a_receiver_of_5_unchanged_and_in_order,
    a_receiver_of_3_1_1_gets_the_message_without_properties,
    properties_survive_the_wait_in_a_session,
);

fn all() -> Vec<u8> {
    [
        property::payload_format(1),
        property::content_type("text/plain"),
        property::response_topic("answer/here"),
        property::correlation_data(&[0, 1, 2, 255]),
        property::user("b", "2"),
        property::user("a", "1"),
        property::user("b", "3"),
        property::user("", ""),
    ]
    .concat()
}

async fn all_properties_reach_a_receiver_of_5_unchanged_and_in_order(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::subscriber(site.far, 5, "client", &[("props/#", 1)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "props/0", "x").with(all()).bytes()).await;
    // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    client.expect(Publish::new(5, "props/0", "x").with(all()).bytes()).await;
    publisher.send(Publish::new(5, "props/1", "x").qos(1, 77).with(all()).bytes()).await;
    client.expect(Publish::new(5, "props/1", "x").qos(1, 1).with(all()).bytes()).await;
}

async fn a_receiver_of_3_1_1_gets_the_message_without_properties(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::subscriber(site.far, 4, "client", &[("props/#", 1)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "props/1", "x").qos(1, 77).with(all()).bytes()).await;
    client.expect(Publish::new(4, "props/1", "x").qos(1, 1).bytes()).await;
}

async fn properties_survive_the_wait_in_a_session(placement: Placement) {
    let site = placement.start().await;
    let (mut client, _) = Client::persistent(site.far, 5, "away").await;
    client.subscribe(&[("props", 1)]).await;
    client.disconnect().await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "props", "x").qos(1, 1).with(all()).bytes()).await;
    publisher.expect(packet::puback(1)).await;
    let (mut client, _) = Client::persistent(site.far, 5, "away").await;
    client.expect(Publish::new(5, "props", "x").qos(1, 1).with(all()).bytes()).await;
}

#[tokio::test]
async fn a_refusal_has_a_reason_that_a_person_understands_unless_the_client_wants_none() {
    let broker = Broker::anonymous().await;
    for (wants, id) in [(true, "wants"), (false, "wants-none")] {
        let connect = Connect::new(5, id).with(property::request_problem_information(u8::from(wants)));
        let (mut client, _) = Client::connect(broker.address, &connect).await;
        client.send(Publish::new(5, "$LINK/v1/x", "x").qos(1, 1).bytes()).await;
        let ack = client.packet().await.ack(0x40);
        assert_eq!(ack.reason, 0x87);
        let said = ack.properties.text(0x1f);
        if wants {
            assert!(said.is_some_and(|s| s.len() > 10), "a Reason String: {said:?}");
        } else {
            // [MQTT-3.1.2-29]
            assert_eq!(said, None);
        }
    }
}

#[tokio::test]
async fn a_disconnect_says_why() {
    let broker = Broker::anonymous().await;
    let mut client = Client::clean(broker.address, 5, "why").await;
    client.send(Publish::new(5, "a/#", "x").bytes()).await;
    // Malformed Packet [MQTT-3.3.2-2]: 0x90 is for a topic name that is correctly formed.
    let got = client.disconnected(0x81).await;
    assert!(got.properties.text(0x1f).is_some_and(|s| s.len() > 10), "{got:x?}");
}

#[tokio::test]
async fn properties_that_publish_may_not_have_end_the_connection() {
    let broker = Broker::anonymous().await;
    let cases: [(&str, Vec<u8>); 7] = [
        ("unknown", vec![0x7f, 0]),
        ("of CONNECT", property::session_expiry(1)),
        ("repeated", [property::content_type("a"), property::content_type("b")].concat()),
        ("cut", vec![0x02, 0, 0]),
        ("payload format 2", property::payload_format(2)),
        ("response topic with a wildcard", property::response_topic("a/+")),
        ("text that is no UTF-8", vec![0x03, 0, 1, 0xff]),
    ];
    for (name, content) in cases {
        let mut client = Client::clean(broker.address, 5, "bad").await;
        client.send(Publish::new(5, "t", "x").with(content).bytes()).await;
        let got = client.packet().await.disconnect();
        // Malformed Packet, Protocol Error, Topic Name invalid or Payload format invalid, each is right somewhere.
        assert!(matches!(got.reason, 0x81 | 0x82 | 0x90 | 0x99), "{name}: {got:x?}");
        client.closed().await;
    }
}
