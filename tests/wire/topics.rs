//! Topics and filters: wildcards, levels, `$`-topics, overlapping subscriptions.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::placement::{Placement, Site};
use tombolo_tests::scenarios;

scenarios!(
    filters_match_the_topics_that_the_specification_says,
    a_wildcard_at_the_first_level_does_not_match_a_dollar,
    overlapping_subscriptions_bring_one_copy_at_the_highest_qos,
    the_same_filter_again_replaces_the_subscription,
    topics_of_65535_bytes_and_of_many_languages_pass,
);

/// Subscribes to `filter`, publishes all `topics` and then a marker; gives the topics that came before it.
async fn matched(site: &Site, level: u8, filter: &str, topics: &[&str]) -> Vec<String> {
    let mut client = Client::subscriber(site.far, level, "matcher", &[(filter, 0), ("marker", 0)]).await;
    let mut publisher = Client::clean(site.near, level, "publisher").await;
    for topic in topics {
        publisher.publish(topic, "").await;
    }
    publisher.publish("marker", "").await;
    let mut got = Vec::new();
    loop {
        let message = client.message().await;
        if message.topic == "marker" {
            client.disconnect().await;
            return got;
        }
        got.push(message.topic);
    }
}

async fn filters_match_the_topics_that_the_specification_says(placement: Placement) {
    let site = placement.start().await;
    // Section 4.7.1, its examples and their neighbours.
    let cases: [(&str, &[&str], &[&str]); 11] = [
        (
            "sport/tennis/player1/#",
            &[
                "sport/tennis/player1",
                "sport/tennis/player1/ranking",
                "sport/tennis/player1/score/wimbledon",
                "sport/tennis",
            ],
            &["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"],
        ),
        ("sport/#", &["sport", "sports", "sport/"], &["sport", "sport/"]),
        (
            "sport/tennis/+",
            &["sport/tennis/player1", "sport/tennis/player2", "sport/tennis/player1/ranking", "sport/tennis"],
            &["sport/tennis/player1", "sport/tennis/player2"],
        ),
        ("sport/+", &["sport", "sport/"], &["sport/"]),
        ("+/+", &["/finance", "finance", "a/b/c"], &["/finance"]),
        ("/+", &["/finance", "finance", "/"], &["/finance", "/"]),
        ("+", &["/finance", "finance", "a b"], &["finance", "a b"]),
        ("+/tennis/#", &["a/tennis", "a/tennis/b", "tennis/b"], &["a/tennis", "a/tennis/b"]),
        ("a//b", &["a//b", "a/b"], &["a//b"]),
        ("a/+/b", &["a//b", "a/x/b", "a/b"], &["a//b", "a/x/b"]),
        ("Case", &["case", "Case", "CASE"], &["Case"]),
    ];
    for level in [4, 5] {
        for (filter, topics, wanted) in cases {
            assert_eq!(matched(&site, level, filter, topics).await, wanted, "filter {filter}");
        }
    }
}

async fn a_wildcard_at_the_first_level_does_not_match_a_dollar(placement: Placement) {
    let site = placement.start().await;
    let topics = ["$own/monitor/Clients", "own/monitor/Clients"];
    for level in [4, 5] {
        // [MQTT-4.7.2-1]
        for (filter, wanted) in [
            ("#", &topics[1..]),
            ("+/monitor/Clients", &topics[1..]),
            ("+/#", &topics[1..]),
            ("$own/#", &topics[..1]),
            ("$own/monitor/+", &topics[..1]),
        ] {
            assert_eq!(matched(&site, level, filter, &topics).await, wanted, "filter {filter}");
        }
    }
}

async fn overlapping_subscriptions_bring_one_copy_at_the_highest_qos(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let filters = [("lap/#", 0), ("lap/+", 2), ("lap/x", 1), ("+/x", 0)];
        let mut client = Client::subscriber(site.far, level, "lap", &filters).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.send(Publish::new(level, "lap/x", "1").qos(2, 1).bytes()).await;
        let got = client.message().await;
        // [MQTT-3.3.4-2]
        assert_eq!(got.flags, 0x04);
        client.ping().await;
        client.disconnect().await;
    }
}

async fn the_same_filter_again_replaces_the_subscription(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut client = Client::clean(site.far, level, "same").await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        for qos in [2, 0, 1] {
            client.subscribe(&[("same", qos)]).await;
            publisher.send(Publish::new(level, "same", "x").qos(1, 9).bytes()).await;
            publisher.expect(packet::puback(9)).await;
            let got = client.message().await;
            // [MQTT-3.8.4-3]
            assert_eq!(got.flags, qos.min(1) << 1);
            if got.id > 0 {
                client.send(packet::puback(got.id)).await;
            }
        }
        site.crossed().await;
        client.ping().await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn a_malformed_filter_ends_the_connection_and_nothing_of_its_packet_is_done() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        for filter in ["", "a/#/b", "a#", "+a/b", "a/b+", "$share/g", "$share//a", "$share/g+/a", "$share/g/"] {
            let subscribe = packet::subscribe(level, 4, &[("good", 1), (filter, 0)]);
            let unsubscribe = packet::unsubscribe(level, 4, &["kept", filter]);
            for packet in [subscribe, unsubscribe] {
                let (mut client, _) = Client::persistent(broker.address, level, "malformed").await;
                client.subscribe(&[("kept", 1)]).await;
                client.send(packet).await;
                // 0x8F would be for one that is correctly formed. [MQTT-4.13.1-1]; 3.1.1: [MQTT-4.8.0-1]
                let reasons: Vec<u8> = client.rest().await.iter().map(|got| got.disconnect().reason).collect();
                assert_eq!(reasons, if level == 5 { &[0x81][..] } else { &[] }, "{filter:?}");
                let (mut client, present) = Client::persistent(broker.address, level, "malformed").await;
                assert!(present);
                for topic in ["good", "kept"] {
                    client.publish(topic, "x").await;
                }
                client.expect_message("kept", "x").await;
                client.ping().await;
                client.disconnect().await;
            }
        }
    }
}

#[tokio::test]
async fn suback_has_a_code_for_each_filter_in_order() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        let mut client = Client::clean(broker.address, level, "codes").await;
        client.send(packet::subscribe(level, 0x0102, &[("a", 2), ("b", 0), ("c", 1)])).await;
        // [MQTT-3.8.4-6]
        client.expect(packet::suback(level, 0x0102, &[2, 0, 1])).await;
        client.disconnect().await;
    }
}

async fn topics_of_65535_bytes_and_of_many_languages_pass(placement: Placement) {
    let site = placement.start().await;
    let long = "x".repeat(65_535);
    for topic in [&*long, "Ünïcödé/温度/🌡", "with space/\u{feff}bom"] {
        let mut client = Client::subscriber(site.far, 5, "any", &[(topic, 0)]).await;
        Client::clean(site.near, 5, "publisher").await.publish(topic, "x").await;
        client.expect_message(topic, "x").await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn the_topics_of_links_are_closed_to_everyone_else() {
    let broker = Broker::anonymous().await;
    let mut v5 = Client::clean(broker.address, 5, "v5").await;
    v5.send(packet::subscribe(5, 1, &[("$LINK/#", 0), ("$LINK/v1/+", 0), ("ok", 0)])).await;
    // Not authorized.
    v5.expect_codes(&[0x87, 0x87, 0]).await;
    v5.send(Publish::new(5, "$LINK/v1/x", "x").qos(1, 3).bytes()).await;
    let ack = v5.packet().await.ack(0x40);
    assert_eq!((ack.id, ack.reason), (3, 0x87));
    let mut v4 = Client::clean(broker.address, 4, "v4").await;
    v4.send(packet::subscribe(4, 1, &[("$LINK/#", 0), ("ok", 1)])).await;
    v4.expect(packet::suback(4, 1, &[0x80, 1])).await;
}
