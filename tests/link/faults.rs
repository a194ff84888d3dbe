//! Cuts, black holes and restarts while QoS 1 and 2 flow.

use std::time::Duration;

use crate::pair::{FILES, Pair, publish, take};
use tokio::task::JoinHandle;
use tombolo_broker_api::Seconds;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::proxy::{Way, Weather};

/// Messages of a run.
const MESSAGES: u32 = 600;

/// Publishes them at `near`, QoS 1 and 2 in turn.
fn publisher(pair: &Pair) -> JoinHandle<()> {
    let address = pair.near.address;
    tokio::spawn(async move {
        let mut client = Client::clean(address, 5, "publisher").await;
        for n in 0..MESSAGES {
            publish(&mut client, "t/x", 1 + (n % 2) as u8, n).await;
        }
    })
}

/// `near` dials with this keep alive.
async fn keeping_alive(keep_alive: Seconds) -> Pair {
    Pair::with(|near, _| {
        let dial = near.links.first_mut().and_then(|link| link.dial.as_mut());
        dial.expect("it dials").keep_alive = keep_alive;
    })
    .await
}

/// Expects all of them once and in order, also those of QoS 1: the link drops what it knows.
async fn all_once(far: &mut Client) {
    for n in 0..MESSAGES {
        assert_eq!(take(far).await, n, "lost, repeated or out of order");
    }
}

async fn subscriber(pair: &Pair) -> Client {
    let far = Client::subscriber(pair.far.address, 5, "far", &[("t/#", 2)]).await;
    pair.near_knows(1).await;
    far
}

#[tokio::test]
async fn cuts_lose_nothing_repeat_nothing_and_keep_the_order() {
    let pair = Pair::start().await;
    let mut far = subscriber(&pair).await;
    let publisher = publisher(&pair);
    let cuts = async {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            pair.proxy.cut();
        }
    };
    let ((), ()) = tokio::join!(cuts, all_once(&mut far));
    publisher.await.expect("every publish was acknowledged");
    pair.ready().await;
    assert!(pair.proxy.connections() > 2, "the link came back by itself");
}

#[tokio::test]
async fn what_is_published_at_a_node_that_begins_anew_reaches_a_remote_that_has_not_told_it_yet_what_it_wants() {
    let mut pair = Pair::start().await;
    let mut far = subscriber(&pair).await;
    // It dials, and gets no answer for a while.
    pair.proxy.set(Weather { forth: Way::Held, back: Way::Held, refuse: false });
    pair.near.crash_and_restart().await;
    let mut client = Client::clean(pair.near.address, 5, "publisher").await;
    let packets = "tombolo_packets_total{direction=\"in\"}";
    client.ping().await;
    let before = pair.near.admin.metrics().await.expect("it answers").value(packets);
    client.send(Publish::new(5, "t/x", 7_u32.to_be_bytes()).qos(1, 1).bytes()).await;
    pair.near.admin.metric_when(packets, before + 1.0).await;
    pair.proxy.set(Weather::default());
    client.expect(packet::puback(1)).await;
    assert_eq!(take(&mut far).await, 7);
}

#[tokio::test]
async fn publishers_at_a_node_that_begins_anew_do_not_wait_long_for_a_remote_that_is_away() {
    let mut pair = Pair::start().await;
    pair.proxy.set(Weather { forth: Way::Held, back: Way::Held, refuse: false });
    pair.near.crash_and_restart().await;
    let mut client = Client::clean(pair.near.address, 5, "publisher").await;
    // The client's patience is longer than the node's.
    publish(&mut client, "t/x", 1, 1).await;
}

#[tokio::test]
async fn an_outage_is_bridged_by_the_spool_and_by_kept_interest() {
    let pair = Pair::start().await;
    let mut far = subscriber(&pair).await;
    pair.proxy.set(Weather { refuse: true, ..Weather::default() });
    pair.proxy.cut();
    pair.near.admin.link_when("to-far", "not ready", |l| !l.ready).await;
    publisher(&pair).await.expect("every publish was acknowledged without the other side");
    let link = pair.near.admin.link_when("to-far", "all wait", |l| l.spool.messages >= u64::from(MESSAGES)).await;
    assert!(link.spool.bytes > 0, "{link:?}");
    pair.near.admin.link_when("to-far", "says what is wrong", |l| l.last_error.is_some()).await;
    pair.proxy.set(Weather::default());
    all_once(&mut far).await;
    pair.ready().await;
    pair.near.admin.link_when("to-far", "the spool is empty", |l| l.spool.messages == 0).await;
}

#[tokio::test]
async fn a_link_that_is_removed_with_time_waits_for_a_remote_that_is_away_and_takes_nothing_more() {
    let mut pair = Pair::start().await;
    let mut far = subscriber(&pair).await;
    pair.proxy.set(Weather { refuse: true, ..Weather::default() });
    pair.proxy.cut();
    pair.near.admin.link_when("to-far", "not ready", |l| !l.ready).await;
    let mut client = Client::clean(pair.near.address, 5, "publisher").await;
    for n in 0..10 {
        publish(&mut client, "t/x", 1, n).await;
    }
    pair.near.admin.link_when("to-far", "all wait", |l| l.spool.messages == 10).await;
    let mut config = pair.near.config.clone();
    config.links[0].spool.drain_for = Some(Seconds(300));
    config.hash = "draining".to_owned();
    pair.near.rewrite(config, &FILES);
    pair.near.admin.status_when("the change is taken", |s| s.config_hash == "draining").await;
    for n in 10..15 {
        publish(&mut client, "t/x", 1, n).await;
    }
    let link = pair.near.admin.link_when("to-far", "it is there", |_| true).await;
    assert_eq!(link.spool.messages, 10, "it takes nothing more");
    pair.proxy.set(Weather::default());
    for n in 0..10 {
        assert_eq!(take(&mut far).await, n);
    }
    pair.near.admin.status_when("the link is gone", |s| s.links.is_empty()).await;
    far.ping().await;
}

#[tokio::test]
async fn lost_acknowledgements_repeat_nothing() {
    let pair = Pair::start().await;
    let mut far = subscriber(&pair).await;
    let publisher = publisher(&pair);
    assert_eq!(take(&mut far).await, 0);
    // Batches arrive and their acknowledgements do not.
    pair.proxy.set(Weather { back: Way::Held, ..Weather::default() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    pair.proxy.cut();
    pair.proxy.set(Weather::default());
    for n in 1..MESSAGES {
        assert_eq!(take(&mut far).await, n, "lost, repeated or out of order");
    }
    publisher.await.expect("every publish was acknowledged");
}

#[tokio::test]
async fn a_black_hole_is_noticed_and_left() {
    let pair = keeping_alive(Seconds(1)).await;
    let mut far = subscriber(&pair).await;
    let dead = Weather { forth: Way::Swallowed, back: Way::Swallowed, refuse: true };
    pair.proxy.set(dead);
    publisher(&pair).await.expect("every publish was acknowledged without the other side");
    pair.near.admin.link_when("to-far", "not ready: no heartbeat comes back", |l| !l.ready).await;
    pair.proxy.set(Weather::default());
    // The dead connection is not used again: what was swallowed comes on another.
    all_once(&mut far).await;
    pair.ready().await;
}

#[tokio::test]
async fn a_slow_network_only_slows() {
    let pair = Pair::start().await;
    let slow = Way::Delayed(Duration::from_millis(20));
    let mut far = subscriber(&pair).await;
    pair.proxy.set(Weather { forth: slow, back: slow, refuse: false });
    let publisher = publisher(&pair);
    all_once(&mut far).await;
    publisher.await.expect("every publish was acknowledged");
    let link = pair.near.admin.link_ready("to-far").await;
    assert!(link.round_trip_micros.is_some());
}

#[tokio::test]
async fn a_message_that_crosses_for_longer_than_its_link_bears_silence_arrives_on_the_connection_that_stands() {
    // Silence is borne for 3 s by the side that dials, and for 15 s by the other one on its own account.
    let pair = keeping_alive(Seconds(2)).await;
    let connections = pair.proxy.connections();
    let mut far = subscriber(&pair).await;
    let mut near = Client::subscriber(pair.near.address, 5, "near", &[("t/#", 2)]).await;
    pair.far_knows(1).await;
    let slow = Way::Slow(125_000);
    let weathers = [Weather { forth: slow, ..Weather::default() }, Weather { back: slow, ..Weather::default() }];
    for (weather, address) in weathers.into_iter().zip([pair.near.address, pair.far.address]) {
        pair.proxy.set(weather);
        let mut publisher = Client::clean(address, 5, "publisher").await;
        publisher.publish_qos1("t/x", vec![b'x'; 1_000_000], 1).await;
        for subscriber in [&mut near, &mut far] {
            assert_eq!(subscriber.message().await.payload.len(), 1_000_000);
        }
    }
    assert_eq!(pair.proxy.connections(), connections);
}

#[tokio::test]
async fn what_was_published_while_the_other_side_restarted_arrives() {
    let mut pair = Pair::start().await;
    drop(subscriber(&pair).await);
    // Off-line at `far` with a session, so that there is interest when it falls.
    let (mut far, _) = Client::persistent(pair.far.address, 5, "far").await;
    far.subscribe(&[("t/#", 2)]).await;
    pair.near_knows(1).await;
    pair.proxy.set(Weather { refuse: true, ..Weather::default() });
    pair.far.child.kill();
    pair.near.admin.link_when("to-far", "not ready", |l| !l.ready).await;
    publisher(&pair).await.expect("every publish was acknowledged without the other side");
    pair.far.restart().await;
    // Sessions are in memory for now: the subscriber comes again before the link does.
    let (mut far, _) = Client::persistent(pair.far.address, 5, "far").await;
    far.subscribe(&[("t/#", 2)]).await;
    pair.proxy.set(Weather::default());
    all_once(&mut far).await;
    pair.ready().await;
}

#[tokio::test]
async fn a_restart_of_the_dialling_side_brings_the_link_back() {
    let mut pair = Pair::start().await;
    let mut far = subscriber(&pair).await;
    pair.near.crash_and_restart().await;
    pair.ready().await;
    pair.near_knows(1).await;
    let mut client = Client::clean(pair.near.address, 5, "publisher").await;
    for n in 0..10 {
        publish(&mut client, "t/x", 2, n).await;
        assert_eq!(take(&mut far).await, n);
    }
}

#[tokio::test]
async fn interest_that_changed_in_an_outage_is_right_after_it() {
    let pair = Pair::start().await;
    let old = Client::subscriber(pair.far.address, 5, "old", &[("t/old", 1)]).await;
    pair.near_knows(1).await;
    pair.proxy.set(Weather { refuse: true, ..Weather::default() });
    pair.proxy.cut();
    pair.near.admin.link_when("to-far", "not ready", |l| !l.ready).await;
    old.disconnect().await;
    let mut new = Client::subscriber(pair.far.address, 5, "new", &[("t/new", 1), ("t/a/+", 1)]).await;
    pair.proxy.set(Weather::default());
    pair.near_knows(2).await;
    pair.near.admin.link_when("to-far", "in sync", |l| l.in_sync).await;
    let mut client = Client::clean(pair.near.address, 5, "publisher").await;
    for (topic, n) in [("t/old", 1), ("t/new", 2), ("t/a/b", 3)] {
        publish(&mut client, topic, 1, n).await;
    }
    assert_eq!((take(&mut new).await, take(&mut new).await), (2, 3));
}

#[tokio::test]
async fn a_full_spool_drops_the_oldest_and_counts_it() {
    let pair = Pair::with(|near, _| near.links[0].spool.max_bytes = tombolo_broker_api::ByteSize(1 << 20)).await;
    let mut far = subscriber(&pair).await;
    pair.proxy.set(Weather { refuse: true, ..Weather::default() });
    pair.proxy.cut();
    pair.near.admin.link_when("to-far", "not ready", |l| !l.ready).await;
    let mut client = Client::clean(pair.near.address, 5, "publisher").await;
    for n in 0..200u32 {
        let payload = [&n.to_be_bytes()[..], &[0; 16 * 1024]].concat();
        let id = n as u16 + 1;
        client.send(Publish::new(5, "t/x", payload).qos(1, id).bytes()).await;
        client.packet().await;
    }
    let full = |l: &tombolo_broker_api::LinkStatus| l.messages_dropped.values().sum::<u64>() > 0;
    let link = pair.near.admin.link_when("to-far", "messages were dropped", full).await;
    assert!(link.spool.bytes <= 1 << 20, "{link:?}");
    pair.proxy.set(Weather::default());
    // What is left comes in order, to the newest.
    let mut last = take(&mut far).await;
    assert!(last > 0);
    while last < 199 {
        let next = take(&mut far).await;
        assert_eq!(next, last + 1);
        last = next;
    }
}
