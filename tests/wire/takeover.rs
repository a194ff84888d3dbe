//! Take-over: a newer connection with the same client id.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, Publish, Will};
use tombolo_tests::placement::Placement;
use tombolo_tests::scenarios;

scenarios!(
    the_newer_connection_gets_the_session_and_what_was_unacknowledged_with_dup,
    a_clean_start_takes_over_and_throws_the_session_away,
    a_take_over_publishes_the_will_when_the_session_ends,
);

#[tokio::test]
async fn the_older_connection_is_told_and_closed() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        let id = format!("same-{level}");
        let mut old = Client::clean(broker.address, level, &id).await;
        let mut new = Client::clean(broker.address, level, &id).await;
        // Session taken over [MQTT-3.1.4-3].
        old.refused(0x8e).await;
        new.ping().await;
    }
    broker.admin.metric_when(r#"tombolo_clients_closed_total{reason="session_taken_over"}"#, 2.0).await;
}

async fn the_newer_connection_gets_the_session_and_what_was_unacknowledged_with_dup(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let (id, topic) = (format!("heir-{level}"), format!("heir/{level}"));
        let (mut old, _) = Client::persistent(site.far, level, &id).await;
        old.subscribe(&[(&topic, 1)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        publisher.send(Publish::new(level, &topic, "x").qos(1, 1).bytes()).await;
        publisher.expect(packet::puback(1)).await;
        let first = old.message().await;
        assert_eq!(first.flags, 0x02);
        let (mut new, present) = Client::persistent(site.far, level, &id).await;
        assert!(present);
        old.refused(0x8e).await;
        // DUP, the same packet id [MQTT-3.3.1-1] [MQTT-4.4.0-1].
        new.expect(Publish::new(level, &topic, "x").qos(1, first.id).dup().bytes()).await;
        new.send(packet::puback(first.id)).await;
        new.ping().await;
    }
}

async fn a_clean_start_takes_over_and_throws_the_session_away(placement: Placement) {
    let site = placement.start().await;
    let (mut old, _) = Client::persistent(site.far, 5, "thrown").await;
    old.subscribe(&[("thrown", 1)]).await;
    let (mut new, connack) = Client::connect(site.far, &Connect::new(5, "thrown")).await;
    assert!(!connack.session_present, "[MQTT-3.1.2-4]");
    old.disconnected(0x8e).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.publish("thrown", "x").await;
    publisher.ping().await;
    new.ping().await;
}

async fn a_take_over_publishes_the_will_when_the_session_ends(placement: Placement) {
    let site = placement.start().await;
    let mut watcher = Client::subscriber(site.far, 5, "watcher", &[("wills/#", 0)]).await;
    let will = Will { topic: "wills/old".into(), payload: b"gone".to_vec(), ..Will::default() };
    let (mut old, _) = Client::connect(site.near, &Connect::new(5, "mortal").will(will)).await;
    let _new = Client::clean(site.near, 5, "mortal").await;
    old.disconnected(0x8e).await;
    // [MQTT-3.1.4-3] [MQTT-3.1.2-8]
    watcher.expect_message("wills/old", "gone").await;
}

#[tokio::test]
async fn many_take_overs_at_one_time_leave_one_connection() {
    let broker = Broker::anonymous().await;
    let mut all = Vec::new();
    for _ in 0..50 {
        let mut client = Client::open(broker.address, 5).await;
        client.send(Connect::persistent(5, "crowd").bytes()).await;
        all.push(client);
    }
    // Each was let in, whoever came after it.
    for client in &mut all {
        client.packet().await.connack();
    }
    broker.admin.status_when("one of fifty stays", |s| s.connections == 1 && s.sessions == 1).await;
    let (mut last, present) = Client::persistent(broker.address, 5, "crowd").await;
    assert!(present);
    last.ping().await;
}
