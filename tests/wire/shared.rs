//! Shared subscriptions.

use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::placement::Placement;
use tombolo_tests::property;
use tombolo_tests::scenarios;

scenarios!(
    each_message_goes_to_one_member_and_to_every_plain_subscriber,
    two_groups_get_a_copy_each,
    a_member_that_is_away_is_passed_over_while_another_is_there,
    with_nobody_there_a_message_waits_in_a_members_session,
    nothing_retained_is_sent_to_a_shared_subscription,
    a_member_unsubscribes_by_the_whole_filter_and_the_others_go_on,
    a_shared_subscription_bears_its_identifier,
    what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends,
    a_member_whose_session_ends_leaves_the_group,
);

/// Payloads that came to a client until a marker.
async fn until_marker(client: &mut Client) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        let message = client.message().await;
        if message.topic == "marker" {
            return got;
        }
        got.push(message.payload[0]);
    }
}

async fn each_message_goes_to_one_member_and_to_every_plain_subscriber(placement: Placement) {
    let site = placement.start().await;
    for level in [4, 5] {
        let topic = format!("job/{level}");
        let shared = format!("$share/workers/{topic}");
        let mut members = Vec::new();
        for i in 0..4 {
            let (id, node) = (format!("worker-{i}"), if i % 2 == 0 { site.near } else { site.far });
            members.push(Client::subscriber(node, level, &id, &[(&shared, 0), ("marker", 0)]).await);
        }
        let mut plain = Client::subscriber(site.far, level, "plain", &[(&topic, 0), ("marker", 0)]).await;
        let mut publisher = Client::clean(site.near, level, "publisher").await;
        for i in 0..40u8 {
            publisher.publish(&topic, [i]).await;
        }
        publisher.publish("marker", "").await;
        assert_eq!(until_marker(&mut plain).await, (0..40).collect::<Vec<u8>>());
        let mut all = Vec::new();
        for member in &mut members {
            let got = until_marker(member).await;
            assert!(!got.is_empty() && got.len() < 40, "the work is shared: {got:?}");
            assert!(got.is_sorted(), "in order for each: {got:?}");
            all.extend(got);
        }
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<u8>>());
    }
}

async fn two_groups_get_a_copy_each(placement: Placement) {
    let site = placement.start().await;
    let mut one = Client::subscriber(site.near, 5, "one", &[("$share/g1/two/#", 0)]).await;
    let mut two = Client::subscriber(site.far, 5, "two", &[("$share/g2/two/#", 0)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.publish("two/x", "x").await;
    one.expect_message("two/x", "x").await;
    two.expect_message("two/x", "x").await;
}

async fn a_member_that_is_away_is_passed_over_while_another_is_there(placement: Placement) {
    let site = placement.start().await;
    let (mut away, _) = Client::persistent(site.far, 5, "away").await;
    away.subscribe(&[("$share/g/job", 1)]).await;
    away.disconnect().await;
    site.agreed().await;
    let mut here = Client::subscriber(site.near, 5, "here", &[("$share/g/job", 1)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    for i in 0..6u16 {
        publisher.send(Publish::new(5, "job", [i as u8]).qos(1, i + 1).bytes()).await;
        publisher.expect(packet::puback(i + 1)).await;
        let got = here.message().await;
        assert_eq!(got.payload, [i as u8]);
        here.send(packet::puback(got.id)).await;
    }
}

async fn with_nobody_there_a_message_waits_in_a_members_session(placement: Placement) {
    let site = placement.start().await;
    let (mut away, _) = Client::persistent(site.far, 5, "away").await;
    away.subscribe(&[("$share/g/job", 1)]).await;
    away.disconnect().await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "job", "x").qos(1, 1).bytes()).await;
    publisher.expect(packet::puback(1)).await;
    let (mut back, _) = Client::persistent(site.far, 5, "away").await;
    assert_eq!(back.message().await.payload, b"x");
}

async fn nothing_retained_is_sent_to_a_shared_subscription(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::clean(site.far, 5, "shared").await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    publisher.send(Publish::new(5, "kept", "x").retain().bytes()).await;
    site.retains(1).await;
    client.subscribe(&[("$share/g/kept", 0)]).await;
    // Section 4.8.2.
    client.ping().await;
}

async fn a_member_unsubscribes_by_the_whole_filter_and_the_others_go_on(placement: Placement) {
    let site = placement.start().await;
    let mut one = Client::subscriber(site.far, 5, "one", &[("$share/g/u", 0)]).await;
    let mut two = Client::subscriber(site.near, 5, "two", &[("$share/g/u", 0)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    one.send(packet::unsubscribe(5, 1, &["u", "$share/h/u", "$share/g/u"])).await;
    one.expect(packet::unsuback(5, 1, &[0x11, 0x11, 0])).await;
    site.agreed().await;
    for i in 0..4u8 {
        publisher.publish("u", [i]).await;
        assert_eq!(two.message().await.payload, [i]);
    }
    one.ping().await;
}

async fn a_shared_subscription_bears_its_identifier(placement: Placement) {
    let site = placement.start().await;
    let mut client = Client::clean(site.far, 5, "id").await;
    client.send(packet::subscribe_with(5, 1, &property::subscription_id(42), &[("$share/g/i", 0)])).await;
    client.expect(packet::suback(5, 1, &[0])).await;
    Client::clean(site.near, 5, "publisher").await.publish("i", "x").await;
    assert_eq!(client.message().await.properties.number(0x0b), Some(42));
}

async fn what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends(placement: Placement) {
    let site = placement.start().await;
    let connect = Connect::new(5, "leaver").with(property::receive_maximum(4));
    let (mut leaver, _) = Client::connect(site.far, &connect).await;
    leaver.subscribe(&[("$share/g/left", 2)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    // QoS 1: acknowledged, refused, only sent; QoS 2: only sent; QoS 1: not even sent.
    for (i, qos) in [(1u16, 1), (2, 1), (3, 1), (4, 2), (5, 1), (6, 1), (7, 1)] {
        let publish = Publish::new(5, "left", [i as u8]).qos(qos, i).with(property::message_expiry(1000));
        publisher.send(publish.bytes()).await;
        publisher.packet().await;
        let got = if i <= 4 { Some(leaver.message().await) } else { None };
        match got.map(|got| (i, got.id)) {
            Some((1, id)) => leaver.send(packet::puback(id)).await,
            // Quota exceeded: the message is discarded [MQTT-4.8.2-6].
            Some((2, id)) => leaver.send(packet::packet(0x40, &[(id >> 8) as u8, id as u8, 0x97])).await,
            Some(_) | None => {}
        }
    }
    // The window had room for two more of them.
    for wanted in [5, 6] {
        assert_eq!(leaver.message().await.payload, [wanted]);
    }
    site.crossed().await;
    let mut heir = Client::subscriber(site.near, 5, "heir", &[("$share/g/left", 1)]).await;
    drop(leaver);
    // Not the one of QoS 2 [MQTT-4.8.2-5].
    for wanted in [3u8, 5, 6, 7] {
        let got = heir.message().await;
        assert_eq!((&got.payload[..], got.flags), (&[wanted][..], 0x02), "a first sending at the heir's QoS");
        assert!(got.properties.number(0x02).is_some_and(|left| (900..=1000).contains(&left)));
        heir.send(packet::puback(got.id)).await;
    }
    heir.ping().await;
}

async fn a_member_whose_session_ends_leaves_the_group(placement: Placement) {
    let site = placement.start().await;
    let leaver = Client::subscriber(site.far, 5, "leaver", &[("$share/g/l", 1)]).await;
    let mut stayer = Client::subscriber(site.near, 5, "stayer", &[("$share/g/l", 1)]).await;
    leaver.disconnect().await;
    site.sessions(1).await;
    site.agreed().await;
    let (mut publisher, _) = Client::connect(site.near, &Connect::new(5, "publisher")).await;
    for i in 0..4u16 {
        publisher.send(Publish::new(5, "l", [i as u8]).qos(1, i + 1).bytes()).await;
        publisher.expect(packet::puback(i + 1)).await;
        let got = stayer.message().await;
        assert_eq!(got.payload, [i as u8]);
        stayer.send(packet::puback(got.id)).await;
    }
}
