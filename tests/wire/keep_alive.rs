//! Keep alive.

use std::time::{Duration, Instant};

use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::packet::{Connect, Will};
use tombolo_tests::placement::Placement;
use tombolo_tests::scenarios;

scenarios!(silence_for_one_and_a_half_times_the_keep_alive_ends_the_connection_with_the_will);

async fn silence_for_one_and_a_half_times_the_keep_alive_ends_the_connection_with_the_will(placement: Placement) {
    let site = placement.start().await;
    let mut watcher = Client::subscriber(site.far, 5, "watcher", &[("dead/#", 0)]).await;
    let (mut v5, mut v4) = {
        let will = |topic: &str| Will { topic: topic.to_owned(), payload: b"x".to_vec(), ..Will::default() };
        let v5 = Client::connect(site.near, &Connect::new(5, "v5").keep_alive(1).will(will("dead/5"))).await.0;
        let v4 = Client::connect(site.near, &Connect::new(4, "v4").keep_alive(1).will(will("dead/4"))).await.0;
        (v5, v4)
    };
    let start = Instant::now();
    // Keep Alive timeout [MQTT-3.1.2-22].
    v5.disconnected(0x8d).await;
    v4.closed().await;
    let passed = start.elapsed();
    assert!((Duration::from_millis(1400)..Duration::from_secs(5)).contains(&passed), "after {passed:?}");
    let mut topics = [watcher.message().await.topic, watcher.message().await.topic];
    topics.sort_unstable();
    assert_eq!(topics, ["dead/4", "dead/5"]);
    site.counted(r#"tombolo_clients_closed_total{reason="keep_alive"}"#, 2.0).await;
}

#[tokio::test]
async fn a_ping_in_time_keeps_the_connection() {
    let broker = Broker::anonymous().await;
    let (mut client, _) = Client::connect(broker.address, &Connect::new(4, "alive").keep_alive(1)).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.ping().await;
    }
}

#[tokio::test]
async fn a_keep_alive_of_0_never_ends_it() {
    let broker = Broker::anonymous().await;
    let (mut client, _) = Client::connect(broker.address, &Connect::new(4, "idle").keep_alive(0)).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    client.ping().await;
}

#[tokio::test]
async fn the_broker_may_set_the_keep_alive_and_tells_it() {
    let mut config = broker::config("wire");
    config.tuning.mqtt.max_keep_alive = 1;
    let broker = Broker::start(config, &[]).await;
    for asked in [0, 600] {
        let (mut client, connack) = Client::connect(broker.address, &Connect::new(5, "told").keep_alive(asked)).await;
        // Server Keep Alive [MQTT-3.2.2-21].
        assert_eq!(connack.properties.number(0x13), Some(1), "asked {asked}");
        client.disconnected(0x8d).await;
    }
}
