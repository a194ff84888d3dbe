//! Rules of forwarding over more than two clusters, and what routes let through.

use crate::pair::{FILES, Pair, accepting, dialling, publish, route, take};
use tombolo_broker_api::Route;
use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::packet::Publish;

#[tokio::test]
async fn three_clusters_in_a_full_mesh_show_each_message_once() {
    let names = ["a", "b", "c"];
    let mut configs: Vec<_> = names.iter().map(|n| broker::config(n)).collect();
    let addresses: Vec<_> = configs.iter().map(|c| c.listeners[0].bind).collect();
    for (from, config) in configs.iter_mut().enumerate() {
        for (to, remote) in names.iter().enumerate() {
            let name = format!("to-{remote}");
            // The earlier one dials the later one.
            if from < to {
                config.links.push(dialling(&name, remote, &["t/#"], &format!("mqtt://{}", addresses[to])));
            } else if from > to {
                config.links.push(accepting(&name, remote, &["t/#"]));
            }
        }
    }
    let mut brokers = Vec::new();
    for config in configs {
        brokers.push(Broker::start(config, &FILES).await);
    }
    let mut subscribers = Vec::new();
    for broker in &brokers {
        subscribers.push(Client::subscriber(broker.address, 5, "subscriber", &[("t/#", 1)]).await);
    }
    for broker in &brokers {
        let knows = |s: &tombolo_broker_api::Status| {
            s.links.len() == 2 && s.links.iter().all(|l| l.ready && l.filters_served == 1)
        };
        broker.admin.status_when("every link is ready", knows).await;
    }
    for (i, broker) in brokers.iter().enumerate() {
        let mut publisher = Client::clean(broker.address, 5, "publisher").await;
        for n in 0..30 {
            publish(&mut publisher, "t/x", 1 + (n % 2) as u8, i as u32 * 1000 + n).await;
        }
        for subscriber in &mut subscribers {
            for n in 0..30 {
                assert_eq!(take(subscriber).await, i as u32 * 1000 + n);
            }
        }
    }
}

#[tokio::test]
async fn a_message_crosses_no_more_links_than_it_may() {
    // a – b – c in a row: with one hop, what is published in a ends in b.
    for (hops, reaches) in [(1, false), (2, true)] {
        let mut configs = [broker::config("a"), broker::config("b"), broker::config("c")];
        let addresses = configs.each_ref().map(|c| c.listeners[0].bind);
        configs[0].links = vec![dialling("to-b", "b", &["t/#"], &format!("mqtt://{}", addresses[1]))];
        configs[1].links = vec![
            accepting("to-a", "a", &["t/#"]),
            dialling("to-c", "c", &["t/#"], &format!("mqtt://{}", addresses[2])),
        ];
        configs[2].links = vec![accepting("to-b", "b", &["t/#"])];
        for link in configs.iter_mut().flat_map(|c| &mut c.links) {
            link.max_hops = hops;
        }
        let mut brokers = Vec::new();
        for config in configs {
            brokers.push(Broker::start(config, &FILES).await);
        }
        let mut at_b = Client::subscriber(brokers[1].address, 5, "b", &[("t/#", 1)]).await;
        let mut at_c = Client::subscriber(brokers[2].address, 5, "c", &[("t/#", 1)]).await;
        brokers[0].admin.link_when("to-b", "interest known", |l| l.ready && l.filters_served == 1).await;
        brokers[1].admin.link_when("to-c", "interest known", |l| l.ready && l.filters_served == 1).await;
        let mut at_a = Client::clean(brokers[0].address, 5, "a").await;
        publish(&mut at_a, "t/x", 1, 1).await;
        assert_eq!(take(&mut at_b).await, 1);
        let mut own = Client::clean(brokers[1].address, 5, "own").await;
        publish(&mut own, "t/x", 1, 2).await;
        assert_eq!(take(&mut at_c).await, if reaches { 1 } else { 2 }, "with {hops} hops");
    }
}

#[tokio::test]
async fn what_may_leave_and_what_may_enter_are_both_asked() {
    let pair = Pair::with(|near, far| {
        near.links[0].send = Some(route(&["t/both/#", "t/leaves/#"]));
        far.links[0].receive = route(&["t/both/#", "t/enters/#"]);
    })
    .await;
    let mut far = Client::subscriber(pair.far.address, 5, "far", &[("t/#", 1)]).await;
    pair.near.admin.link_when("to-far", "interest known", |l| l.ready && l.filters_served > 0).await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    for (topic, n) in [("t/leaves/x", 1), ("t/enters/x", 2), ("t/none/x", 3), ("t/both/x", 4)] {
        publish(&mut publisher, topic, 1, n).await;
    }
    assert_eq!(take(&mut far).await, 4);
}

#[tokio::test]
async fn exceptions_do_not_pass_and_qos_is_lowered_to_the_routes_bound() {
    let pair = Pair::with(|_, far| {
        let except = vec!["t/secret/#".to_owned()];
        far.links[0].receive = vec![Route { filters: vec!["t/#".into()], except, max_qos: 1 }];
    })
    .await;
    let mut far = Client::subscriber(pair.far.address, 5, "far", &[("t/#", 2)]).await;
    pair.near.admin.link_when("to-far", "interest known", |l| l.ready && l.filters_served > 0).await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    publish(&mut publisher, "t/secret/x", 1, 1).await;
    publish(&mut publisher, "t/open", 2, 2).await;
    let got = far.message().await;
    assert_eq!((&*got.topic, got.flags & 6), ("t/open", 2), "QoS 2 became QoS 1");
}

#[tokio::test]
async fn a_retained_message_is_retained_at_both_sides_and_so_is_its_removal() {
    let pair = Pair::start().await;
    let mut subscriber = Client::subscriber(pair.far.address, 5, "subscriber", &[("t/#", 1)]).await;
    pair.near_knows(1).await;
    let mut publisher = Client::clean(pair.near.address, 5, "publisher").await;
    for (qos, n) in [(0, 7_u32), (1, 8)] {
        let packet = Publish::new(5, "t/x", n.to_be_bytes()).qos(qos, 1).retain().bytes();
        publisher.send(packet).await;
        assert_eq!(take(&mut subscriber).await, n, "QoS {qos}");
        let mut later = Client::subscriber(pair.far.address, 5, "later", &[("t/#", 1)]).await;
        let kept = later.message().await;
        assert_eq!((&*kept.topic, kept.flags & 1, &*kept.payload), ("t/x", 1, &n.to_be_bytes()[..]), "QoS {qos}");
    }
    publisher.send(Publish::new(5, "t/x", []).qos(1, 2).retain().bytes()).await;
    assert!(subscriber.message().await.payload.is_empty());
    // Nothing is retained: what is published now is the first that somebody new gets.
    let mut last = Client::subscriber(pair.far.address, 5, "last", &[("t/#", 1)]).await;
    publisher.send(Publish::new(5, "t/y", 9_u32.to_be_bytes()).qos(1, 3).bytes()).await;
    assert_eq!(take(&mut last).await, 9);
}
