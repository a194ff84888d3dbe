//! A shared subscription is one group in the whole cluster.

use tombolo_broker_api::SharedSubscriptions;
use tombolo_tests::client::Client;
use tombolo_tests::cluster::Cluster;
use tombolo_tests::packet::{self, Publish};

/// Payloads that came to a client until a marker.
async fn until_marker(client: &mut Client) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        let message = client.message().await;
        if message.flags & 6 != 0 {
            client.send(packet::puback(message.id)).await;
        }
        if message.topic == "marker" {
            return got;
        }
        got.push(message.payload[0]);
    }
}

/// Publishes so many messages of QoS 1 to `job`, and a marker.
async fn publish(publisher: &mut Client, count: u8) {
    for i in 0..count {
        publisher.send(Publish::new(5, "job", [i]).qos(1, u16::from(i) + 1).bytes()).await;
        publisher.expect(packet::puback(u16::from(i) + 1)).await;
    }
    publisher.send(Publish::new(5, "marker", "").qos(1, 999).bytes()).await;
    publisher.expect(packet::puback(999)).await;
}

#[tokio::test]
async fn each_message_goes_to_one_member_wherever_it_is_and_members_take_turns() {
    let cluster = Cluster::start(3).await;
    let mut members = Vec::new();
    // Three at node 1, one at node 2, none where it is published.
    for (i, node) in [1, 1, 1, 2].into_iter().enumerate() {
        let filters = [("$share/workers/job", 1), ("marker", 1)];
        members.push(Client::subscriber(cluster.address(node), 5, &format!("worker-{i}"), &filters).await);
    }
    let mut plain = Client::subscriber(cluster.address(2), 5, "plain", &[("job", 1), ("marker", 1)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publish(&mut publisher, 200).await;
    assert_eq!(until_marker(&mut plain).await, (0..200).collect::<Vec<u8>>());
    let mut all = Vec::new();
    for member in &mut members {
        let got = until_marker(member).await;
        assert!((35..=65).contains(&got.len()), "a member of four had {} of 200", got.len());
        assert!(got.is_sorted(), "each member's messages come in order");
        all.extend(got);
    }
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<u8>>());
}

#[tokio::test]
async fn with_local_first_members_at_other_nodes_wait_until_there_is_none_here() {
    let local_first = SharedSubscriptions::LocalFirst;
    let cluster = Cluster::with(2, |_, config| config.tuning.cluster.shared_subscriptions = local_first).await;
    let filters = [("$share/workers/job", 1), ("marker", 1)];
    let mut here = Client::subscriber(cluster.address(0), 5, "here", &filters).await;
    let mut there = Client::subscriber(cluster.address(1), 5, "there", &filters).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publish(&mut publisher, 20).await;
    assert_eq!(until_marker(&mut here).await.len(), 20);
    assert_eq!(until_marker(&mut there).await.len(), 0);
    here.disconnect().await;
    publish(&mut publisher, 20).await;
    assert_eq!(until_marker(&mut there).await.len(), 20);
}

#[tokio::test]
async fn what_a_member_has_not_acknowledged_when_its_session_ends_goes_to_a_member_at_another_node() {
    let cluster = Cluster::start(2).await;
    let mut doomed = Client::subscriber(cluster.address(0), 5, "doomed", &[("$share/workers/job", 1)]).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    for i in 0..10_u8 {
        publisher.send(Publish::new(5, "job", [i]).qos(1, u16::from(i) + 1).bytes()).await;
        publisher.expect(packet::puback(u16::from(i) + 1)).await;
        assert_eq!(doomed.message().await.payload, [i]);
    }
    let mut heir = Client::subscriber(cluster.address(1), 5, "heir", &[("$share/workers/job", 1)]).await;
    drop(doomed);
    for i in 0..10_u8 {
        let message = heir.message().await;
        assert_eq!(message.payload, [i]);
        heir.send(packet::puback(message.id)).await;
    }
}

#[tokio::test]
async fn members_at_a_node_that_is_killed_are_not_chosen_any_more() {
    let mut cluster = Cluster::start(2).await;
    let filters = [("$share/workers/job", 1), ("marker", 1)];
    let mut here = Client::subscriber(cluster.address(0), 5, "here", &filters).await;
    let _there = Client::subscriber(cluster.address(1), 5, "there", &filters).await;
    cluster.kill(1);
    cluster.sees(0, 1, |peer| peer.state != tombolo_broker_api::PeerState::Connected).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publish(&mut publisher, 20).await;
    assert_eq!(until_marker(&mut here).await.len(), 20);
}

#[tokio::test]
async fn what_a_member_at_a_node_that_is_killed_had_not_acknowledged_goes_to_a_member_at_another_node() {
    let mut cluster = Cluster::start(2).await;
    let job = [("$share/workers/job", 1)];
    let mut doomed = Client::subscriber(cluster.address(1), 5, "doomed", &job).await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    for i in 0..10_u8 {
        publisher.send(Publish::new(5, "job", [i]).qos(1, u16::from(i) + 1).bytes()).await;
        publisher.expect(packet::puback(u16::from(i) + 1)).await;
        let message = doomed.message().await;
        assert_eq!(message.payload, [i]);
        if i < 4 {
            doomed.send(packet::puback(message.id)).await;
        }
    }
    // The other node has taken all of it, and has heard what was acknowledged.
    cluster.sees(0, 1, |peer| peer.outbox.messages == 0).await;
    cluster.sees(1, 0, |peer| peer.outbox.messages == 0).await;
    let mut heir = Client::subscriber(cluster.address(0), 5, "heir", &job).await;
    cluster.kill(1);
    cluster.restart_empty(1).await;
    for i in 4..10_u8 {
        let message = heir.message().await;
        assert_eq!(message.payload, [i]);
        heir.send(packet::puback(message.id)).await;
    }
    heir.send(packet::PINGREQ).await;
    heir.expect(packet::PINGRESP).await;
}
