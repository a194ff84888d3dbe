//! Wills: when they are published and when not, their delay, their properties.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, DISCONNECT_WITH_WILL, Publish, Will};
use tombolo_tests::placement::Placement;
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(
    a_torn_connection_publishes_the_will_and_a_disconnect_does_not,
    a_protocol_error_publishes_the_will,
    disconnect_with_will_publishes_it,
    a_will_is_retained_when_it_says_so,
    the_properties_of_a_will_go_with_it_and_its_delay_does_not,
    a_delayed_will_is_not_sent_when_the_client_comes_back_in_time,
    a_delayed_will_is_sent_when_the_delay_has_passed_or_the_session_ends,
);

fn will(topic: &str) -> Will {
    Will { topic: topic.to_owned(), payload: b"gone".to_vec(), ..Will::default() }
}

async fn a_torn_connection_publishes_the_will_and_a_disconnect_does_not(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let mut watcher = Client::subscriber(site.far, level, &format!("watch-{level}"), &[("will/#", 2)]).await;
        let (calm, _) = Client::connect(site.near, &Connect::new(level, "calm").will(will("will/calm"))).await;
        // [MQTT-3.14.4-3]
        calm.disconnect().await;
        let wanted = Will { qos: 1, ..will("will/torn") };
        let (torn, _) = Client::connect(site.near, &Connect::new(level, "torn").will(wanted)).await;
        drop(torn);
        let message = watcher.message().await;
        assert_eq!((&*message.topic, &message.payload[..], message.flags), ("will/torn", &b"gone"[..], 0x02));
        watcher.send(packet::puback(message.id)).await;
        watcher.disconnect().await;
    }
}

async fn a_protocol_error_publishes_the_will(placement: Placement) {
    let site = placement.start().await;
    let mut watcher = Client::subscriber(site.far, 5, "watcher", &[("will/#", 0)]).await;
    let (mut client, _) = Client::connect(site.near, &Connect::new(5, "wrong").will(will("will/wrong"))).await;
    client.send(Connect::new(5, "wrong").bytes()).await;
    client.refused(0x82).await;
    watcher.expect_message("will/wrong", "gone").await;
}

async fn disconnect_with_will_publishes_it(placement: Placement) {
    let site = placement.start().await;
    let mut watcher = Client::subscriber(site.far, 5, "watcher", &[("will/#", 0)]).await;
    let (mut client, _) = Client::connect(site.near, &Connect::new(5, "asked").will(will("will/asked"))).await;
    client.send(DISCONNECT_WITH_WILL).await;
    client.closed().await;
    watcher.expect_message("will/asked", "gone").await;
}

async fn a_will_is_retained_when_it_says_so(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let topic = format!("will/kept/{level}");
        let wanted = Will { retain: true, ..will(&topic) };
        let (client, _) = Client::connect(site.near, &Connect::new(level, "keeper").will(wanted)).await;
        drop(client);
        site.retains(u64::from(level) - 3).await;
        let mut late = Client::clean(site.far, level, "late").await;
        late.subscribe(&[(&topic, 0)]).await;
        late.expect(Publish::new(level, &topic, "gone").retain().bytes()).await;
    }
}

async fn the_properties_of_a_will_go_with_it_and_its_delay_does_not(placement: Placement) {
    let site = placement.start().await;
    let mut watcher = Client::subscriber(site.far, 5, "watcher", &[("will/#", 0)]).await;
    let content = [property::content_type("text/plain"), property::user("a", "b"), property::user("a", "c")].concat();
    let wanted = Will { properties: [property::will_delay(0), content.clone()].concat(), ..will("will/full") };
    let (client, _) = Client::connect(site.near, &Connect::new(5, "full").will(wanted)).await;
    drop(client);
    watcher.expect(Publish::new(5, "will/full", "gone").with(content).bytes()).await;
}

async fn a_delayed_will_is_not_sent_when_the_client_comes_back_in_time(placement: Placement) {
    let site = placement.start().await;
    let mut watcher = Client::subscriber(site.far, 5, "watcher", &[("will/#", 0)]).await;
    let delayed = Will { properties: property::will_delay(30), ..will("will/late") };
    let (client, _) = Client::connect(site.near, &Connect::persistent(5, "back").will(delayed)).await;
    drop(client);
    site.connections(1).await;
    let (back, present) = Client::persistent(site.near, 5, "back").await;
    assert!(present);
    // [MQTT-3.1.3-9]: back in time, so nothing; the session goes on without a will.
    back.disconnect().await;
    watcher.publish("will/marker", "m").await;
    watcher.expect_message("will/marker", "m").await;
}

async fn a_delayed_will_is_sent_when_the_delay_has_passed_or_the_session_ends(placement: Placement) {
    let site = placement.start().await;
    let mut watcher = Client::subscriber(site.far, 5, "watcher", &[("will/#", 0)]).await;
    let delayed = |seconds, topic| Will { properties: property::will_delay(seconds), ..will(topic) };
    let connect = Connect::persistent(5, "slow").will(delayed(1, "will/delay"));
    drop(Client::connect(site.near, &connect).await);
    watcher.expect_message("will/delay", "gone").await;
    // The session ends at once, before the delay of an hour [MQTT-3.1.2-8].
    let connect = Connect::new(5, "brief").will(delayed(3600, "will/end"));
    drop(Client::connect(site.near, &connect).await);
    watcher.expect_message("will/end", "gone").await;
}

#[tokio::test]
async fn a_will_that_may_not_be_published_keeps_no_session() {
    let broker = Broker::anonymous().await;
    let connect = Connect::new(5, "sly").will(will("$SYS/x")).with(property::session_expiry(1)).keep_alive(0);
    drop(Client::connect(broker.address, &connect).await);
    broker.admin.status_when("the session has expired", |s| s.sessions == 0).await;
}
