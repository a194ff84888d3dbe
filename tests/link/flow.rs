//! What flows over a link that works.

use crate::pair::{Pair, accepting, dialling, publish, take};
use tombolo_tests::client::Client;
use tombolo_tests::packet::Publish;
use tombolo_tests::property;

#[tokio::test]
async fn one_connection_carries_both_directions() {
    let pair = Pair::start().await;
    let mut near = Client::subscriber(pair.near.address, 5, "near", &[("t/#", 2)]).await;
    let mut far = Client::subscriber(pair.far.address, 5, "far", &[("t/#", 2)]).await;
    pair.near_knows(1).await;
    pair.far_knows(1).await;
    let mut at_near = Client::clean(pair.near.address, 5, "at-near").await;
    let mut at_far = Client::clean(pair.far.address, 5, "at-far").await;
    for n in 0..50 {
        publish(&mut at_near, "t/x", 1 + n as u8 % 2, n).await;
        assert_eq!((take(&mut near).await, take(&mut far).await), (n, n));
        publish(&mut at_far, "t/x", 1 + n as u8 % 2, 1000 + n).await;
        assert_eq!((take(&mut near).await, take(&mut far).await), (1000 + n, 1000 + n));
    }
    assert_eq!(pair.proxy.connections(), 1);
    let (to_far, to_near) = (pair.near.admin.link_ready("to-far").await, pair.far.admin.link_ready("to-near").await);
    assert_eq!((to_far.dialled, to_far.accepted, to_near.dialled, to_near.accepted), (1, 0, 0, 1));
}

#[tokio::test]
async fn where_both_sides_dial_nothing_comes_twice() {
    let pair = Pair::with(|near, far| {
        let back = format!("mqtt://{}", near.listeners[0].bind);
        let both = |link, accept| tombolo_broker_api::Link { accept, ..link };
        let accept = accepting("x", "x", &[]).accept;
        near.links[0].accept = accept.clone();
        far.links = vec![both(dialling("to-near", "near", &["t/#"], &back), accept)];
    })
    .await;
    pair.near.admin.link_when("to-far", "both connections", |l| l.dialled == 1 && l.accepted == 1).await;
    let mut near = Client::subscriber(pair.near.address, 5, "near", &[("t/#", 1)]).await;
    let mut far = Client::subscriber(pair.far.address, 5, "far", &[("t/#", 1)]).await;
    pair.near_knows(1).await;
    pair.far_knows(1).await;
    let mut at_near = Client::clean(pair.near.address, 5, "at-near").await;
    let mut at_far = Client::clean(pair.far.address, 5, "at-far").await;
    for n in 0..100 {
        publish(&mut at_near, "t/x", 1, n).await;
        assert_eq!((take(&mut near).await, take(&mut far).await), (n, n));
        publish(&mut at_far, "t/x", 1, 1000 + n).await;
        assert_eq!((take(&mut near).await, take(&mut far).await), (1000 + n, 1000 + n));
    }
}

#[tokio::test]
async fn overlapping_interest_brings_one_copy() {
    let pair = Pair::start().await;
    let mut one = Client::subscriber(pair.far.address, 5, "one", &[("t/a/#", 1), ("t/+/b", 1), ("t/a/b", 1)]).await;
    let mut two = Client::subscriber(pair.far.address, 5, "two", &[("t/a/b", 1), ("#", 1)]).await;
    pair.near_knows(1).await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    for n in 0..20 {
        publish(&mut publisher, "t/a/b", 1, n).await;
        assert_eq!((take(&mut one).await, take(&mut two).await), (n, n));
    }
    let link = pair.far.admin.link_when("to-near", "all came", |l| l.messages_received >= 20).await;
    assert_eq!(link.messages_received, 20, "one copy of each crossed");
}

#[tokio::test]
async fn nothing_crosses_that_nobody_wants() {
    let pair = Pair::start().await;
    let mut far = Client::subscriber(pair.far.address, 5, "far", &[("t/wanted", 1)]).await;
    pair.near_knows(1).await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    for n in 0..20 {
        publish(&mut publisher, "t/unwanted", 1, n).await;
        publish(&mut publisher, "other", 1, n).await;
    }
    publish(&mut publisher, "t/wanted", 1, 99).await;
    assert_eq!(take(&mut far).await, 99);
    let link = pair.near.admin.link_when("to-far", "it was acknowledged", |l| l.messages_sent >= 1).await;
    assert_eq!(link.messages_sent, 1);
    // Who unsubscribes wants nothing any more.
    far.disconnect().await;
    pair.near_knows(0).await;
}

#[tokio::test]
async fn all_properties_cross_and_the_time_to_live_goes_on() {
    let pair = Pair::start().await;
    let mut far = Client::subscriber(pair.far.address, 5, "far", &[("t/#", 1)]).await;
    let mut old = Client::subscriber(pair.far.address, 4, "old", &[("t/#", 0)]).await;
    pair.near_knows(1).await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    let content = [
        property::payload_format(1),
        property::content_type("text/plain"),
        property::response_topic("answer"),
        property::correlation_data(&[0, 255]),
        property::user("b", "2"),
        property::user("a", "1"),
        property::user("b", "3"),
    ]
    .concat();
    publisher.send(Publish::new(5, "t/x", "x").qos(1, 9).with(&content).bytes()).await;
    far.expect(Publish::new(5, "t/x", "x").qos(1, 1).with(&content).bytes()).await;
    old.expect_message("t/x", "x").await;
    publisher.packet().await;
    publisher.send(Publish::new(5, "t/y", "y").with(property::message_expiry(1000)).bytes()).await;
    let left = far.message().await.properties.number(0x02).expect("a Message Expiry Interval");
    assert!((990..=1000).contains(&left), "{left}");
    old.expect_message("t/y", "y").await;
    // And from 3.1.1 to 5.
    let mut plain = Client::clean(pair.near.address, 4, "plain").await;
    plain.publish("t/z", "z").await;
    far.expect_message("t/z", "z").await;
}

#[tokio::test]
async fn a_shared_subscription_at_the_other_side_gets_one_copy_for_the_group() {
    let pair = Pair::start().await;
    let mut one = Client::subscriber(pair.far.address, 5, "one", &[("$share/g/t/#", 1)]).await;
    let mut two = Client::subscriber(pair.far.address, 5, "two", &[("$share/g/t/#", 1)]).await;
    pair.near_knows(1).await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    let mut got = Vec::new();
    for n in 0..10 {
        publish(&mut publisher, "t/x", 1, n).await;
    }
    let both = async {
        while got.len() < 10 {
            tokio::select! {
                n = take(&mut one) => got.push(n),
                n = take(&mut two) => got.push(n),
            }
        }
    };
    tombolo_tests::wait::within("ten messages", both).await;
    got.sort_unstable();
    assert_eq!(got, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_session_that_is_away_keeps_its_interest_over_the_link() {
    let pair = Pair::start().await;
    let (mut far, _) = Client::persistent(pair.far.address, 5, "far").await;
    far.subscribe(&[("t/#", 2)]).await;
    pair.near_knows(1).await;
    far.disconnect().await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    for n in 0..10 {
        publish(&mut publisher, "t/x", 2, n).await;
    }
    pair.far.admin.link_when("to-near", "all came", |l| l.messages_received == 10).await;
    let (mut far, present) = Client::persistent(pair.far.address, 5, "far").await;
    assert!(present);
    for n in 0..10 {
        assert_eq!(take(&mut far).await, n);
    }
}
