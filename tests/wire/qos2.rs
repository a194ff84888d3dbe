//! QoS 2, both ways: exactly once, whatever is repeated.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::scenarios;

scenarios!(
    a_repeated_publish_is_acknowledged_and_not_delivered_again,
    a_publish_repeated_after_a_reconnect_is_still_known,
    an_outbound_message_goes_on_where_it_was_after_a_reconnect,
    a_repeated_pubrec_is_answered_with_pubrel_again,
    a_pubrec_with_an_error_ends_the_message,
    many_messages_of_qos_2_arrive_once_and_in_order,
    an_id_that_was_refused_is_free_for_another_message,
    an_acknowledgement_of_another_qos_ends_the_connection_and_the_message_comes_again,
);

async fn a_repeated_publish_is_acknowledged_and_not_delivered_again(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut subscriber = Client::subscriber(site.far, level, "subscriber", &[("once", 0)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        let publish = Publish::new(level, "once", "x").qos(2, 5);
        publisher.send(publish.bytes()).await;
        publisher.expect(packet::pubrec(5)).await;
        publisher.send(publish.clone().dup().bytes()).await;
        // [MQTT-4.3.3-10]
        publisher.expect(packet::pubrec(5)).await;
        publisher.send(packet::pubrel(5)).await;
        publisher.expect(packet::pubcomp(5)).await;
        // The id is free again: the same bytes are a new message.
        publisher.send(Publish::new(level, "once", "y").qos(2, 5).bytes()).await;
        publisher.expect(packet::pubrec(5)).await;
        publisher.send(packet::pubrel(5)).await;
        publisher.expect(packet::pubcomp(5)).await;
        subscriber.expect_message("once", "x").await;
        subscriber.expect_message("once", "y").await;
        publisher.disconnect().await;
        subscriber.disconnect().await;
    }
}

async fn a_publish_repeated_after_a_reconnect_is_still_known(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut subscriber = Client::subscriber(site.far, level, "subscriber", &[("known", 0)]).await;
        let (mut publisher, _) = Client::persistent(site.near, level, &format!("publisher-{level}")).await;
        publisher.send(Publish::new(level, "known", "x").qos(2, 5).bytes()).await;
        publisher.expect(packet::pubrec(5)).await;
        drop(publisher);
        let (mut publisher, present) = Client::persistent(site.near, level, &format!("publisher-{level}")).await;
        assert!(present);
        publisher.send(Publish::new(level, "known", "x").qos(2, 5).dup().bytes()).await;
        publisher.expect(packet::pubrec(5)).await;
        publisher.send(packet::pubrel(5)).await;
        publisher.expect(packet::pubcomp(5)).await;
        // Of a QoS whose order with the first holds between nodes, too.
        publisher.send(Publish::new(level, "known", "marker").qos(1, 6).bytes()).await;
        publisher.expect(packet::puback(6)).await;
        subscriber.expect_message("known", "x").await;
        subscriber.expect_message("known", "marker").await;
        subscriber.disconnect().await;
    }
}

#[tokio::test]
async fn a_pubrel_of_an_unknown_id_is_answered() {
    let broker = Broker::anonymous().await;
    let mut v4 = Client::clean(broker.address, 4, "v4").await;
    v4.send(packet::pubrel(9)).await;
    v4.expect(packet::pubcomp(9)).await;
    let mut v5 = Client::clean(broker.address, 5, "v5").await;
    v5.send(packet::pubrel(9)).await;
    // Packet Identifier not found.
    let ack = v5.packet().await.ack(0x70);
    assert_eq!((ack.id, ack.reason), (9, 0x92));
}

async fn an_outbound_message_goes_on_where_it_was_after_a_reconnect(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let (id, topic) = (format!("steps-{level}"), format!("steps/{level}"));
        let (mut client, _) = Client::persistent(site.far, level, &id).await;
        client.subscribe(&[(&topic, 2)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        for i in [1u16, 2] {
            publisher.send(Publish::new(level, &topic, [i as u8]).qos(1, i).bytes()).await;
            publisher.expect(packet::puback(i)).await;
            publisher.send(Publish::new(level, &topic, [i as u8 + 10]).qos(2, i + 10).bytes()).await;
            publisher.expect(packet::pubrec(i + 10)).await;
            publisher.send(packet::pubrel(i + 10)).await;
            publisher.expect(packet::pubcomp(i + 10)).await;
        }
        let mut got = Vec::new();
        for _ in 0..4 {
            got.push(client.message().await);
        }
        let (first, second) = (got[1].clone(), got[3].clone());
        assert_eq!((first.flags, second.flags), (0x04, 0x04));
        client.send([packet::puback(got[0].id), packet::puback(got[2].id), packet::pubrec(first.id)].concat()).await;
        client.expect(packet::pubrel(first.id)).await;
        drop(client);
        site.connections(1).await;
        let (mut client, _) = Client::persistent(site.far, level, &id).await;
        // PUBREL again without the message; the other with DUP [MQTT-4.4.0-1].
        client.expect(packet::pubrel(first.id)).await;
        client.expect(Publish::new(level, &topic, [12]).qos(2, second.id).dup().bytes()).await;
        client.send(packet::pubcomp(first.id)).await;
        client.send(packet::pubrec(second.id)).await;
        client.expect(packet::pubrel(second.id)).await;
        client.send(packet::pubcomp(second.id)).await;
        client.ping().await;
        publisher.disconnect().await;
        client.disconnect().await;
    }
}

async fn a_repeated_pubrec_is_answered_with_pubrel_again(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut client = Client::subscriber(site.far, level, "rec", &[("rec", 2)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.send(Publish::new(level, "rec", "x").qos(2, 1).bytes()).await;
        let got = client.message().await;
        client.send(packet::pubrec(got.id)).await;
        client.expect(packet::pubrel(got.id)).await;
        client.send(packet::pubrec(got.id)).await;
        client.expect(packet::pubrel(got.id)).await;
        client.send(packet::pubcomp(got.id)).await;
        client.ping().await;
        client.disconnect().await;
    }
}

async fn a_pubrec_with_an_error_ends_the_message(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::subscriber(site.far, 5, "no", &[("no", 2)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "no", "x").qos(2, 1).bytes()).await;
    let got = client.message().await;
    // Quota exceeded: the id is free and no PUBREL follows [MQTT-4.3.3-3].
    client.send(packet::packet(0x50, &[(got.id >> 8) as u8, got.id as u8, 0x97])).await;
    client.ping().await;
}

async fn many_messages_of_qos_2_arrive_once_and_in_order(placement: Placement) {
    let site = placement.start().await;
    let mut subscriber = Client::subscriber(site.far, 5, "many", &[("many", 2)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    let all: Vec<u8> =
        (0..200u16).flat_map(|i| Publish::new(5, "many", i.to_be_bytes()).qos(2, i + 1).bytes()).collect();
    publisher.send(all).await;
    for i in 0..200u16 {
        publisher.expect(packet::pubrec(i + 1)).await;
    }
    publisher.send((0..200u16).flat_map(|i| packet::pubrel(i + 1)).collect::<Vec<u8>>()).await;
    for i in 0..200u16 {
        publisher.expect(packet::pubcomp(i + 1)).await;
    }
    for i in 0..200u16 {
        let got = subscriber.message().await;
        assert_eq!(got.payload, i.to_be_bytes());
        subscriber.send(packet::pubrec(got.id)).await;
    }
}

async fn an_id_that_was_refused_is_free_for_another_message(placement: Placement) {
    let site = placement.start().await;
    let mut subscriber = Client::subscriber(site.far, 5, "subscriber", &[("open", 0)]).await;
    let (mut publisher, _) = Client::persistent(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "$LINK/v1/x", "x").qos(2, 5).bytes()).await;
    let refused = publisher.packet().await.ack(0x50);
    assert_eq!((refused.id, refused.reason), (5, 0x87));
    // No PUBREL follows a PUBREC with an error: the next of this id is a new message [MQTT-4.3.3-9].
    publisher.send(Publish::new(5, "open", "one").qos(2, 5).bytes()).await;
    publisher.expect(packet::pubrec(5)).await;
    publisher.send(packet::pubrel(5)).await;
    publisher.expect(packet::pubcomp(5)).await;
    subscriber.expect_message("open", "one").await;
    // The same where the refusal ends the connection, and the session goes on.
    publisher.send(Publish::new(5, "bad/+/name", "x").qos(2, 6).bytes()).await;
    publisher.disconnected(0x81).await;
    let (mut publisher, present) = Client::persistent(site.near, 5, "publisher").await;
    assert!(present);
    publisher.send(Publish::new(5, "open", "two").qos(2, 6).bytes()).await;
    publisher.expect(packet::pubrec(6)).await;
    subscriber.expect_message("open", "two").await;
}

async fn an_acknowledgement_of_another_qos_ends_the_connection_and_the_message_comes_again(placement: Placement) {
    let site = placement.start().await;
    let wrong = [(1, 0x50), (1, 0x70), (2, 0x40), (2, 0x70)];
    for (level, (qos, kind)) in [4, 5].into_iter().flat_map(|level| wrong.map(|wrong| (level, wrong))) {
        let id = format!("subscriber-{level}-{qos}-{kind:x}");
        let (mut subscriber, _) = Client::persistent(site.far, level, &id).await;
        subscriber.subscribe(&[(&id, qos)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.send(Publish::new(level, &id, "x").qos(qos, 5).bytes()).await;
        let got = subscriber.message().await;
        subscriber.send(packet::packet(kind, &got.id.to_be_bytes())).await;
        let reasons: Vec<u8> = subscriber.rest().await.iter().map(|got| got.disconnect().reason).collect();
        assert_eq!(reasons, if level == 5 { &[0x82][..] } else { &[] }, "{id}");
        let (mut subscriber, _) = Client::persistent(site.far, level, &id).await;
        let again = subscriber.message().await;
        assert_eq!((again.id, again.flags), (got.id, 8 | qos << 1), "{id}");
    }
}
