//! What is published at one node arrives at every other one as within one node.

use tombolo_tests::client::Client;
use tombolo_tests::cluster::Cluster;
use tombolo_tests::packet::{self, Connect, Publish, Will};
use tombolo_tests::property::{self, Properties};

#[tokio::test]
async fn a_publish_at_any_node_arrives_at_subscribers_of_all_nodes_once() {
    let cluster = Cluster::start(3).await;
    let mut subscribers = Vec::new();
    for node in 0..3 {
        let id = format!("subscriber-{node}");
        subscribers.push(Client::subscriber(cluster.address(node), 5, &id, &[("t/+", 2)]).await);
    }
    for from in 0..3 {
        let mut publisher = Client::clean(cluster.address(from), 5, &format!("publisher-{from}")).await;
        for qos in 0..3 {
            let payload = format!("{from}-{qos}");
            publisher.send(Publish::new(5, "t/x", &payload).qos(qos, 7).bytes()).await;
            match qos {
                1 => publisher.expect(packet::puback(7)).await,
                2 => {
                    publisher.expect(packet::pubrec(7)).await;
                    publisher.send(packet::pubrel(7)).await;
                    publisher.expect(packet::pubcomp(7)).await;
                }
                _ => {}
            }
            for subscriber in &mut subscribers {
                let message = subscriber.message().await;
                assert_eq!((message.payload, message.flags), (payload.clone().into_bytes(), qos << 1));
                match qos {
                    1 => subscriber.send(packet::puback(message.id)).await,
                    2 => {
                        subscriber.send(packet::pubrec(message.id)).await;
                        subscriber.expect(packet::pubrel(message.id)).await;
                        subscriber.send(packet::pubcomp(message.id)).await;
                    }
                    _ => {}
                }
            }
        }
    }
    for subscriber in &mut subscribers {
        subscriber.ping().await;
    }
}

#[tokio::test]
async fn what_is_published_anywhere_after_a_suback_arrives() {
    let cluster = Cluster::start(3).await;
    let mut subscriber = Client::clean(cluster.address(0), 5, "subscriber").await;
    let mut publishers = Vec::new();
    for node in 1..3 {
        publishers.push(Client::clean(cluster.address(node), 5, &format!("publisher-{node}")).await);
    }
    for round in 0..50 {
        let topic = format!("round/{round}");
        subscriber.subscribe(&[(&topic, 1)]).await;
        for (node, publisher) in publishers.iter_mut().enumerate() {
            // QoS 0, of which nobody would keep a copy for a node that does not want it yet.
            publisher.publish(&topic, format!("from {node}")).await;
            subscriber.expect_message(&topic, format!("from {node}")).await;
        }
    }
}

#[tokio::test]
async fn messages_of_one_publisher_come_in_order_at_another_node() {
    let cluster = Cluster::start(2).await;
    for qos in 0..3_u8 {
        let filter = format!("order/{qos}");
        let mut subscriber = Client::subscriber(cluster.address(1), 5, &format!("s{qos}"), &[(&filter, qos)]).await;
        let mut publisher = Client::clean(cluster.address(0), 5, &format!("p{qos}")).await;
        let mut all = Vec::new();
        for n in 1..=500_u16 {
            all.extend(Publish::new(5, &filter, n.to_string()).qos(qos, n).bytes());
        }
        publisher.send(&all).await;
        let mut next = 1;
        while next <= 500 {
            let packet = subscriber.packet().await;
            if packet.kind() == 0x60 {
                subscriber.send(packet::pubcomp(packet.ack(0x62).id)).await;
                continue;
            }
            let message = packet.message(5);
            assert_eq!(String::from_utf8(message.payload).as_deref(), Ok(next.to_string().as_str()));
            next += 1;
            match qos {
                1 => subscriber.send(packet::puback(message.id)).await,
                2 => subscriber.send(packet::pubrec(message.id)).await,
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn all_that_a_publish_says_reaches_a_subscriber_at_another_node() {
    let cluster = Cluster::start(2).await;
    let properties = [
        property::payload_format(1),
        property::message_expiry(600),
        property::content_type("t"),
        property::response_topic("r"),
        property::correlation_data(&[0xab, 0xcd]),
        property::user("a", "1"),
        property::user("a", "2"),
    ];
    let mut subscriber = Client::clean(cluster.address(1), 5, "subscriber").await;
    subscriber.send(packet::subscribe_with(5, 1, &property::subscription_id(5), &[("p", 1)])).await;
    subscriber.expect(packet::suback(5, 1, &[1])).await;
    let mut older = Client::subscriber(cluster.address(1), 4, "older", &[("p", 0)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.send(Publish::new(5, "p", "body").qos(1, 3).with(properties.concat()).bytes()).await;
    publisher.expect(packet::puback(3)).await;
    let message = subscriber.message().await;
    assert_eq!((&*message.payload, message.flags), (&b"body"[..], 2));
    let left = message.properties.number(0x02).expect("an expiry");
    assert!((590..=600).contains(&left), "{left} s are left");
    let kept = [properties.concat(), property::subscription_id(5)].concat();
    let expected = Properties::parse(&kept);
    assert!(
        expected.0.iter().filter(|(id, _)| *id != 0x02).eq(message.properties.0.iter().filter(|(id, _)| *id != 0x02))
    );
    older.expect_message("p", "body").await;
}

#[tokio::test]
async fn a_publisher_hears_whether_anybody_subscribes_at_any_node() {
    let cluster = Cluster::start(2).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.send(Publish::new(5, "nobody", "x").qos(1, 1).bytes()).await;
    // 0x10: no matching subscribers.
    publisher.expect_hex("40 03 0001 10").await;
    let _subscriber = Client::subscriber(cluster.address(1), 5, "subscriber", &[("somebody", 0)]).await;
    publisher.send(Publish::new(5, "somebody", "x").qos(1, 2).bytes()).await;
    publisher.expect(packet::puback(2)).await;
}

#[tokio::test]
async fn a_will_is_published_at_all_nodes() {
    let cluster = Cluster::start(3).await;
    let mut one = Client::subscriber(cluster.address(1), 5, "one", &[("will", 1)]).await;
    let mut two = Client::subscriber(cluster.address(2), 4, "two", &[("will", 1)]).await;
    let will = Will { topic: "will".to_owned(), payload: b"gone".to_vec(), ..Will::default() };
    let (client, _) = Client::connect(cluster.address(0), &Connect::new(5, "mortal").will(will)).await;
    drop(client);
    one.expect_message("will", "gone").await;
    two.expect_message("will", "gone").await;
}

#[tokio::test]
async fn a_message_that_came_from_a_node_is_not_sent_on() {
    let cluster = Cluster::start(3).await;
    let mut subscribers = Vec::new();
    for node in 0..3 {
        subscribers.push(Client::subscriber(cluster.address(node), 5, &format!("s{node}"), &[("#", 0)]).await);
    }
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.send(Publish::new(5, "once", "x").qos(1, 1).bytes()).await;
    publisher.expect(packet::puback(1)).await;
    for subscriber in &mut subscribers {
        subscriber.expect_message("once", "x").await;
    }
    for (node, other) in [(1, 2), (2, 1)] {
        assert_eq!(cluster.sees(node, other, |_| true).await.messages_sent, 0);
    }
}
