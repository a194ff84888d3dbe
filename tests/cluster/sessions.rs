//! A session is one session of the whole cluster: it moves to the node where its client is, with all that belongs to it.

use tombolo_broker_api::WhenHomeDown;
use tombolo_tests::client::Client;
use tombolo_tests::cluster::{Cluster, node};
use tombolo_tests::packet::{self, Connect, Publish, Will};
use tombolo_tests::property;
use tombolo_tests::received::Message;

/// Takes a message of QoS 1 and acknowledges it.
async fn take(client: &mut Client, payload: &str) {
    let message = client.message().await;
    assert_eq!(String::from_utf8_lossy(&message.payload), payload);
    client.send(packet::puback(message.id)).await;
}

#[tokio::test]
async fn a_client_that_comes_to_another_node_finds_its_session_and_what_waited_for_it() {
    for level in [4, 5] {
        let cluster = Cluster::start(3).await;
        let (mut client, present) = Client::persistent(cluster.address(0), level, "roamer").await;
        assert!(!present);
        client.subscribe(&[("t/#", 1)]).await;
        drop(client);
        let mut publisher = Client::clean(cluster.address(2), 5, "publisher").await;
        for n in 1..=20_u16 {
            publisher.publish_qos1("t/x", &n.to_string(), n).await;
        }
        let (mut client, present) = Client::persistent(cluster.address(1), level, "roamer").await;
        assert!(present, "the session is the cluster's");
        for n in 1..=20 {
            take(&mut client, &n.to_string()).await;
        }
        publisher.publish_qos1("t/x", "live", 21).await;
        take(&mut client, "live").await;
        let moves = cluster.nodes[1].admin.status().await.expect("it answers").session_moves;
        assert_eq!(moves.taken, 1);
        cluster.nodes[0].admin.status_when("nothing of the session is left", |status| status.sessions == 0).await;
        cluster.nodes[0]
            .admin
            .status_when("the rest is settled", |status| {
                status.session_moves.unsettled == 0 && status.subscriptions == 0
            })
            .await;
    }
}

#[tokio::test]
async fn a_later_connection_at_another_node_takes_over_from_the_earlier_one() {
    let cluster = Cluster::start(2).await;
    let (mut first, _) = Client::persistent(cluster.address(0), 5, "one").await;
    first.subscribe(&[("t", 1)]).await;
    let (mut second, present) = Client::persistent(cluster.address(1), 5, "one").await;
    assert!(present);
    first.disconnected(0x8E).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.publish_qos1("t", "here", 1).await;
    take(&mut second, "here").await;
    // And back, with the connection at the other node still up.
    let (mut third, present) = Client::persistent(cluster.address(0), 5, "one").await;
    assert!(present);
    second.disconnected(0x8E).await;
    publisher.publish_qos1("t", "there", 2).await;
    take(&mut third, "there").await;
}

#[tokio::test]
async fn a_session_that_ends_with_its_connection_is_taken_over_too_and_begins_anew() {
    let cluster = Cluster::start(2).await;
    for level in [4, 5] {
        let id = format!("clean-{level}");
        let mut first = Client::subscriber(cluster.address(0), level, &id, &[("t", 1)]).await;
        let (mut second, connack) = Client::connect(cluster.address(1), &Connect::new(level, &id)).await;
        assert!(!connack.session_present);
        first.refused(0x8E).await;
        let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
        publisher.send(Publish::new(5, "t", "x").qos(1, 1).bytes()).await;
        assert_eq!(publisher.packet().await.ack(0x40).reason, 0x10, "nobody subscribes any more");
        second.ping().await;
    }
}

#[tokio::test]
async fn a_clean_start_at_another_node_ends_the_session() {
    let cluster = Cluster::start(2).await;
    let (mut first, _) = Client::persistent(cluster.address(0), 5, "one").await;
    first.subscribe(&[("t", 1)]).await;
    let (_second, connack) =
        Client::connect(cluster.address(1), &Connect { clean: true, ..Connect::persistent(5, "one") }).await;
    assert!(!connack.session_present);
    first.disconnected(0x8E).await;
    cluster.nodes[0].admin.status_when("the old session is gone", |status| status.sessions == 0).await;
}

#[tokio::test]
async fn what_is_in_flight_goes_on_under_its_packet_ids_and_qos_2_comes_once() {
    let cluster = Cluster::start(2).await;
    let (mut client, _) = Client::persistent(cluster.address(0), 5, "one").await;
    client.subscribe(&[("t", 2)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    for (n, payload) in (1..).zip(["sent", "received", "released"]) {
        publisher.send(Publish::new(5, "t", payload).qos(2, n).bytes()).await;
        assert_eq!(publisher.packet().await.ack(0x50).id, n);
        publisher.send(packet::pubrel(n)).await;
        assert_eq!(publisher.packet().await.ack(0x70).id, n);
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.message().await.id);
    }
    // The third is received: from here on there is only its PUBREL.
    client.send(packet::pubrec(ids[2])).await;
    client.expect(packet::pubrel(ids[2])).await;
    // A publish of its own that the node has taken and not completed.
    client.send(Publish::new(5, "own", "once").qos(2, 77).bytes()).await;
    assert_eq!(client.packet().await.ack(0x50).id, 77);
    drop(client);
    let mut own = Client::subscriber(cluster.address(0), 5, "own", &[("own", 2)]).await;
    let (mut client, present) = Client::persistent(cluster.address(1), 5, "one").await;
    assert!(present);
    client.expect(packet::pubrel(ids[2])).await;
    client.send(packet::pubcomp(ids[2])).await;
    for (id, payload) in ids.iter().zip(["sent", "received"]) {
        let message = client.message().await;
        assert_eq!((message.id, &*message.payload), (*id, payload.as_bytes()));
        assert_eq!(message.flags & 0x08, 0x08, "it is sent again");
    }
    for id in &ids[..2] {
        client.send(packet::pubrec(*id)).await;
        client.expect(packet::pubrel(*id)).await;
        client.send(packet::pubcomp(*id)).await;
    }
    client.send(Publish::new(5, "own", "once").qos(2, 77).dup().bytes()).await;
    assert_eq!(client.packet().await.ack(0x50).id, 77);
    client.send(packet::pubrel(77)).await;
    assert_eq!(client.packet().await.ack(0x70).id, 77);
    own.ping().await;
}

/// Acknowledges a message that is a number.
async fn acknowledge(client: &mut Client, message: Message) -> u16 {
    client.send(packet::puback(message.id)).await;
    String::from_utf8(message.payload).expect("a number").parse().expect("a number")
}

/// Takes messages until there are as many as were sent.
async fn take_up_to(client: &mut Client, seen: &mut Vec<u16>, sent: u16) {
    while seen.len() < usize::from(sent) {
        let message = client.message().await;
        seen.push(acknowledge(client, message).await);
    }
}

fn assert_each_once(mut seen: Vec<u16>, sent: u16) {
    seen.sort_unstable();
    assert_eq!(seen, (1..=sent).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_session_that_goes_around_while_messages_come_loses_and_doubles_none() {
    let cluster = Cluster::start(3).await;
    let (mut client, _) = Client::persistent(cluster.address(0), 5, "roamer").await;
    client.subscribe(&[("t", 1)]).await;
    drop(client);
    let mut publishers = Vec::new();
    for node in 0..3 {
        publishers.push(Client::clean(cluster.address(node), 5, &format!("publisher-{node}")).await);
    }
    let mut seen = Vec::new();
    let mut sent = 0_u16;
    for round in 1..10 {
        let (mut client, present) = Client::persistent(cluster.address(round % 3), 5, "roamer").await;
        assert!(present, "round {round}");
        for publisher in &mut publishers {
            sent += 1;
            publisher.publish_qos1("t", &sent.to_string(), sent).await;
        }
        // Whatever has come by now; the rest follows it to the next node. Of the second PINGREQ the answer says that the
        // acknowledgements have been read.
        for _ in 0..2 {
            client.send(packet::PINGREQ).await;
            loop {
                let packet = client.packet().await;
                if packet.kind() == 0xD0 {
                    break;
                }
                seen.push(acknowledge(&mut client, packet.message(5)).await);
            }
        }
    }
    let (mut client, _) = Client::persistent(cluster.address(0), 5, "roamer").await;
    take_up_to(&mut client, &mut seen, sent).await;
    client.ping().await;
    assert_each_once(seen, sent);
}

#[tokio::test]
async fn a_client_whose_home_is_down_waits_for_it_or_begins_anew_as_configured() {
    for (when, level) in [(WhenHomeDown::Wait, 5), (WhenHomeDown::Wait, 4), (WhenHomeDown::Fresh, 5)] {
        let mut cluster = Cluster::with(2, |_, config| config.tuning.cluster.when_home_down = when).await;
        let (mut client, _) = Client::persistent(cluster.address(0), level, "one").await;
        client.subscribe(&[("t", 1)]).await;
        drop(client);
        // Node 1 has heard by now, or soon, that node 0 has the session.
        cluster.sees(1, 0, |peer| peer.sessions_claimed == 1).await;
        cluster.part(0, 1).await;
        let mut comes = Client::open(cluster.address(1), level).await;
        comes.send(Connect::persistent(level, "one").bytes()).await;
        let connack = comes.packet().await.connack();
        match (when, level) {
            (WhenHomeDown::Fresh, _) => assert_eq!((connack.reason, connack.session_present), (0, false)),
            (WhenHomeDown::Wait, 5) => assert_eq!(connack.reason, 0x88),
            (WhenHomeDown::Wait, _) => assert_eq!(connack.reason, 3),
        }
        // A client that nobody knows is served all the same.
        Client::clean(cluster.address(1), level, "another").await.ping().await;
        cluster.join(0, 1).await;
        if when == WhenHomeDown::Fresh {
            cluster.nodes[0].admin.status_when("the older session ended", |status| status.sessions == 0).await;
            comes.ping().await;
        } else {
            let (_, present) = Client::persistent(cluster.address(1), level, "one").await;
            assert!(present);
        }
        cluster.kill(0);
    }
}

#[tokio::test]
async fn a_will_with_a_delay_goes_with_the_session_and_is_cancelled_where_the_client_comes() {
    let cluster = Cluster::start(2).await;
    let mut watcher = Client::subscriber(cluster.address(0), 5, "watcher", &[("will", 1)]).await;
    let will = Will { topic: "will".to_owned(), payload: b"gone".to_vec(), ..Will::default() };
    let will = Will { properties: property::will_delay(1), ..will };
    let (client, _) = Client::connect(cluster.address(0), &Connect::persistent(5, "mortal").will(will.clone())).await;
    drop(client);
    let (client, connack) = Client::connect(cluster.address(1), &Connect::persistent(5, "mortal")).await;
    assert!(connack.session_present);
    // Longer than the delay, and nothing came.
    cluster.nodes[0].admin.status_when("the rest is settled", |status| status.session_moves.unsettled == 0).await;
    drop(client);
    let (client, _) = Client::connect(cluster.address(1), &Connect::persistent(5, "mortal").will(will)).await;
    drop(client);
    watcher.expect_message("will", "gone").await;
    watcher.ping().await;
}

#[tokio::test]
async fn sessions_of_a_shared_subscription_move_and_the_group_goes_on() {
    let cluster = Cluster::start(2).await;
    let (mut client, _) = Client::persistent(cluster.address(0), 5, "member").await;
    client.subscribe(&[("$share/g/t", 1)]).await;
    drop(client);
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.publish_qos1("t", "one", 1).await;
    let (mut client, present) = Client::persistent(cluster.address(1), 5, "member").await;
    assert!(present);
    take(&mut client, "one").await;
    publisher.publish_qos1("t", "two", 2).await;
    take(&mut client, "two").await;
    client.ping().await;
}

#[tokio::test]
async fn a_member_of_a_shared_subscription_that_goes_around_while_messages_come_loses_and_doubles_none() {
    let cluster = Cluster::start(3).await;
    let mut publishers = Vec::new();
    for node in 0..3 {
        publishers.push(Client::clean(cluster.address(node), 5, &format!("publisher-{node}")).await);
    }
    let (mut client, _) = Client::persistent(cluster.address(0), 5, "member").await;
    client.subscribe(&[("$share/g/t", 1)]).await;
    let (mut sent, mut seen) = (0_u16, Vec::new());
    for round in 1..=12 {
        (client, _) = Client::persistent(cluster.address(round % 3), 5, "member").await;
        for _ in 0..5 {
            for publisher in &mut publishers {
                sent += 1;
                publisher.publish_qos1("t", &sent.to_string(), sent).await;
            }
        }
        take_up_to(&mut client, &mut seen, sent).await;
    }
    client.ping().await;
    assert_each_once(seen, sent);
}

#[tokio::test]
async fn a_client_id_that_lives_at_both_sides_of_a_partition_belongs_to_the_later_one_after_the_heal() {
    let cluster = Cluster::with(2, |_, config| config.tuning.cluster.when_home_down = WhenHomeDown::Fresh).await;
    cluster.part(0, 1).await;
    let (mut earlier, _) = Client::persistent(cluster.address(0), 5, "twin").await;
    earlier.subscribe(&[("t", 1)]).await;
    let (mut later, _) = Client::persistent(cluster.address(1), 5, "twin").await;
    later.subscribe(&[("t", 1)]).await;
    cluster.join(0, 1).await;
    earlier.disconnected(0x8E).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.publish_qos1("t", "once", 1).await;
    take(&mut later, "once").await;
    later.ping().await;
    let status = cluster.sees(0, 1, |_| true).await;
    assert_eq!(status.node, node(1));
    cluster.nodes[0]
        .admin
        .status_when("one session is left in all", |status| status.session_moves.divergent == 0)
        .await;
}
