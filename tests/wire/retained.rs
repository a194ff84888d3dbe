//! Retained messages, with Retain Handling and Retain As Published.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, PINGREQ, Publish};
use tombolo_tests::placement::{Placement, Site};
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(
    a_subscriber_gets_what_was_retained_with_retain_set,
    a_retained_message_is_sent_at_the_lower_qos,
    a_message_that_is_only_passed_on_has_no_retain_flag,
    retain_as_published_keeps_the_flag,
    an_empty_payload_deletes_and_is_passed_on,
    retain_handling_decides_whether_a_subscribe_sends,
    a_subscription_of_3_1_1_repeated_sends_again,
    retained_messages_keep_their_properties_and_get_the_subscription_identifier,
    a_retained_message_expires,
    a_wildcard_finds_all_that_is_retained_but_not_below_a_dollar,
    beyond_the_bound_a_message_is_delivered_and_not_retained,
);

/// Publishes with RETAIN at QoS 1, and awaits the acknowledgement and that every node has it.
async fn retain(site: &Site, topic: &str, payload: &str) {
    let mut publisher = Client::clean(site.near, 5, "retainer").await;
    publisher.send(Publish::new(5, topic, payload).qos(1, 1).retain().bytes()).await;
    let ack = publisher.packet().await.ack(0x40);
    assert!(ack.id == 1 && ack.reason < 0x80, "{topic}: {ack:x?}");
    publisher.disconnect().await;
    site.crossed().await;
}

async fn a_subscriber_gets_what_was_retained_with_retain_set(placement: Placement) {
    let site = placement.start().await;
    retain(&site, "kept/a", "one").await;
    retain(&site, "kept/a", "two").await;
    retain(&site, "other/a", "no").await;
    for level in [4, 5] {
        let mut client = Client::clean(site.far, level, "late").await;
        client.send(packet::subscribe(level, 1, &[("kept/+", 0)])).await;
        client.expect(packet::suback(level, 1, &[0])).await;
        // The last one only [MQTT-3.3.1-5] [MQTT-3.3.1-6].
        client.expect(Publish::new(level, "kept/a", "two").retain().bytes()).await;
        client.ping().await;
        client.disconnect().await;
    }
}

async fn a_retained_message_is_sent_at_the_lower_qos(placement: Placement) {
    let site = placement.start().await;
    retain(&site, "low", "x").await;
    for level in [4, 5] {
        for granted in 0..=2u8 {
            let mut client = Client::clean(site.far, level, "late").await;
            client.subscribe(&[("low", granted)]).await;
            let got = client.message().await;
            assert_eq!(got.flags, granted.min(1) << 1 | 1, "level {level}, granted {granted}");
            client.disconnect().await;
        }
    }
}

async fn a_message_that_is_only_passed_on_has_no_retain_flag(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let topic = format!("live/{level}");
        let mut client = Client::subscriber(site.far, level, "early", &[(&topic, 0)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.send(Publish::new(level, &topic, "x").retain().bytes()).await;
        // [MQTT-3.3.1-9]
        client.expect_message(&topic, "x").await;
        client.disconnect().await;
    }
}

async fn retain_as_published_keeps_the_flag(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::clean(site.far, 5, "as-published").await;
    client.subscribe(&[("live", 0x08)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "live", "x").retain().bytes()).await;
    client.expect(Publish::new(5, "live", "x").retain().bytes()).await;
    publisher.send(Publish::new(5, "live", "y").bytes()).await;
    client.expect(Publish::new(5, "live", "y").bytes()).await;
}

async fn an_empty_payload_deletes_and_is_passed_on(placement: Placement) {
    let site = placement.start().await;
    retain(&site, "gone", "x").await;
    let mut client = Client::clean(site.far, 4, "watcher").await;
    client.subscribe(&[("gone", 0)]).await;
    client.expect(Publish::new(4, "gone", "x").retain().bytes()).await;
    retain(&site, "gone", "").await;
    // To who is subscribed it is an ordinary message [MQTT-3.3.1-6].
    client.expect_message("gone", "").await;
    let mut late = Client::clean(site.far, 4, "late").await;
    late.subscribe(&[("gone", 0)]).await;
    late.ping().await;
    site.retains(0).await;
}

async fn retain_handling_decides_whether_a_subscribe_sends(placement: Placement) {
    let site = placement.start().await;
    retain(&site, "handled", "x").await;
    let sent = Publish::new(5, "handled", "x").retain().bytes();
    let mut client = Client::clean(site.far, 5, "handling").await;
    // 2: never [MQTT-3.3.1-11]. 1: only when new, and it is not. 0: always.
    client.subscribe(&[("handled", 0x20)]).await;
    client.ping().await;
    client.subscribe(&[("handled", 0x10)]).await;
    client.ping().await;
    client.subscribe(&[("handled", 0x00)]).await;
    client.expect(&sent).await;
    client.subscribe(&[("handled", 0x00)]).await;
    client.expect(&sent).await;
    client.send(packet::unsubscribe(5, 3, &["handled"])).await;
    client.expect(packet::unsuback(5, 3, &[0])).await;
    // 1 and new: sent [MQTT-3.3.1-10].
    client.subscribe(&[("handled", 0x10)]).await;
    client.expect(&sent).await;
    client.ping().await;
}

async fn a_subscription_of_3_1_1_repeated_sends_again(placement: Placement) {
    let site = placement.start().await;
    retain(&site, "again", "x").await;
    let mut client = Client::clean(site.far, 4, "again").await;
    for _ in 0..2 {
        client.subscribe(&[("again", 0)]).await;
        client.expect(Publish::new(4, "again", "x").retain().bytes()).await;
    }
    client.ping().await;
}

async fn retained_messages_keep_their_properties_and_get_the_subscription_identifier(placement: Placement) {
    let site = placement.start().await;
    let content = [property::content_type("t"), property::user("k", "v")].concat();
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "full", "x").retain().with(&content).bytes()).await;
    site.retains(1).await;
    let mut client = Client::clean(site.far, 5, "late").await;
    client.send(packet::subscribe_with(5, 1, &property::subscription_id(200), &[("full", 0)])).await;
    client.expect(packet::suback(5, 1, &[0])).await;
    let got = client.message().await;
    assert_eq!((got.properties.text(0x03), got.properties.number(0x0b)), (Some("t"), Some(200)));
    assert_eq!(got.properties.get(0x26), Some(&[0, 1, b'k', 0, 1, b'v'][..]));
}

async fn a_retained_message_expires(placement: Placement) {
    let site = placement.start().await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for (id, topic, seconds) in [(1, "brief", 1), (2, "long", 1000)] {
        let publish = Publish::new(5, topic, "x").qos(1, id).retain().with(property::message_expiry(seconds));
        publisher.send(publish.bytes()).await;
        assert_eq!(publisher.packet().await.ack(0x40).id, id);
    }
    site.crossed().await;
    // Its second passes; nothing but time can be awaited here.
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let mut client = Client::clean(site.far, 5, "late").await;
    client.subscribe(&[("brief", 0), ("long", 0)]).await;
    let got = client.message().await;
    assert_eq!(got.topic, "long");
    let left = got.properties.number(0x02).expect("a Message Expiry Interval [MQTT-3.3.2-6]");
    assert!((990..1000).contains(&left), "{left} s are left of 1000, 2 s later");
    client.ping().await;
}

async fn a_wildcard_finds_all_that_is_retained_but_not_below_a_dollar(placement: Placement) {
    let site = placement.start().await;
    for topic in ["a", "a/b", "a/b/c", "x/b", "$own/b"] {
        retain(&site, topic, topic).await;
    }
    for (filter, wanted) in
        [("#", &["a", "a/b", "a/b/c", "x/b"][..]), ("+/b", &["a/b", "x/b"]), ("a/#", &["a", "a/b", "a/b/c"])]
    {
        let mut client = Client::clean(site.far, 5, "finder").await;
        client.subscribe(&[(filter, 0)]).await;
        let mut got = Vec::new();
        for _ in wanted {
            got.push(client.message().await.topic);
        }
        got.sort_unstable();
        assert_eq!(got, wanted, "{filter}");
        client.ping().await;
        client.disconnect().await;
    }
}

async fn beyond_the_bound_a_message_is_delivered_and_not_retained(placement: Placement) {
    let site = placement.with(|config| config.tuning.mqtt.max_retained_messages = 1).await;
    let mut client = Client::subscriber(site.far, 5, "watcher", &[("#", 0)]).await;
    retain(&site, "first", "x").await;
    retain(&site, "second", "x").await;
    client.expect_message("first", "x").await;
    client.expect_message("second", "x").await;
    site.counted(r#"tombolo_messages_dropped_total{reason="retained_full"}"#, 1.0).await;
    // The one that is there may change.
    retain(&site, "first", "y").await;
    let mut late = Client::clean(site.far, 5, "late").await;
    late.subscribe(&[("#", 0)]).await;
    late.expect(Publish::new(5, "first", "y").retain().bytes()).await;
    late.ping().await;
}

#[tokio::test]
async fn unsubscribe_ends_the_sending_of_what_was_retained() {
    let broker = Broker::anonymous().await;
    let mut publisher = Client::clean(broker.address, 5, "publisher").await;
    let all: Vec<u8> =
        (0..2000).flat_map(|i| Publish::new(5, &format!("m/{i}"), "x").qos(1, 1).retain().bytes()).collect();
    publisher.send(all).await;
    for _ in 0..2000 {
        assert_eq!(publisher.packet().await.ack(0x40).id, 1);
    }
    let connect = Connect::new(5, "late").with(property::receive_maximum(1));
    let (mut client, _) = Client::connect(broker.address, &connect).await;
    client.subscribe(&[("m/#", 1)]).await;
    client.send(packet::unsubscribe(5, 2, &["m/#"])).await;
    let mut got = 0;
    // What was under way may still come, but nothing is added [MQTT-3.10.4-2].
    loop {
        client.send(PINGREQ).await;
        let mut idle = true;
        loop {
            let packet = client.packet().await;
            match packet.kind() {
                0x30 => {
                    (got, idle) = (got + 1, false);
                    client.send(packet::puback(packet.message(5).id)).await;
                }
                0xd0 => break,
                _ => assert_eq!(packet.codes(5), [0]),
            }
        }
        if idle {
            break;
        }
    }
    assert!((1..1000).contains(&got), "{got} of 2000");
}

#[tokio::test]
async fn a_search_among_very_many_finds_the_last_and_lets_others_have_their_turn() {
    let broker = Broker::anonymous().await;
    let mut publisher = Client::clean(broker.address, 5, "publisher").await;
    // More than are looked at in one turn.
    for hundred in 0..300 {
        let topics = (0..100).map(|i| format!("s/{}", hundred * 100 + i));
        publisher
            .send(topics.flat_map(|topic| Publish::new(5, &topic, "x").retain().bytes()).collect::<Vec<u8>>())
            .await;
    }
    publisher.send(Publish::new(5, "z/last/leaf", "found").retain().bytes()).await;
    publisher.ping().await;
    let mut client = Client::clean(broker.address, 5, "late").await;
    client.subscribe(&[("+/+/leaf", 0), ("none/+/+", 0), ("+/+/none", 0), ("s/7", 0)]).await;
    for (topic, payload) in [("z/last/leaf", "found"), ("s/7", "x")] {
        client.expect(Publish::new(5, topic, payload).retain().bytes()).await;
    }
    client.ping().await;
}
