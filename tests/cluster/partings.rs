//! Who finds whom, loses whom, and finds it again.

use tombolo_broker_api::{Config, PeerState, PeerStatus, Seconds};
use tombolo_tests::cluster::{Cluster, node};

/// Nodes that lose patience with each other after two seconds.
fn impatient(_: usize, config: &mut Config) {
    config.tuning.cluster.suspend_after = Seconds(2);
}

#[tokio::test]
async fn a_node_that_was_killed_is_missed_and_found_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.kill(1);
    for place in [0, 2] {
        cluster.nodes[place].admin.peer_when(&node(1), "lost", |peer| peer.state != PeerState::Connected).await;
    }
    cluster.nodes[0].admin.peer_ready(&node(2)).await;
    cluster.restart(1).await;
    cluster.ready().await;
    cluster.kill(2);
    cluster.restart_empty(2).await;
    cluster.ready().await;
}

#[tokio::test]
async fn two_nodes_that_are_cut_off_from_each_other_both_see_the_third() {
    let cluster = Cluster::start(3).await;
    cluster.cut(0, 1);
    for (here, there) in [(0, 1), (1, 0)] {
        cluster.nodes[here].admin.peer_when(&node(there), "lost", |peer| peer.state != PeerState::Connected).await;
        cluster.nodes[here].admin.peer_ready(&node(2)).await;
    }
    cluster.heal(0, 1);
    cluster.ready().await;
    cluster.partition(&[0], &[1, 2]);
    cluster.nodes[0].admin.peer_when(&node(2), "lost", |peer| peer.state != PeerState::Connected).await;
    cluster.nodes[2].admin.peer_ready(&node(1)).await;
    cluster.heal_all();
    cluster.ready().await;
}

#[tokio::test]
async fn a_silent_node_is_suspended_and_ready_again_when_it_speaks() {
    let cluster = Cluster::with(3, impatient).await;
    let suspended = |peer: &PeerStatus| peer.state == PeerState::Suspended;
    cluster.freeze(2);
    for place in [0, 1] {
        cluster.nodes[place].admin.peer_when(&node(2), "suspended", suspended).await;
    }
    cluster.thaw(2);
    cluster.ready().await;
    cluster.black_hole(0, 1);
    for (here, there) in [(0, 1), (1, 0)] {
        cluster.nodes[here].admin.peer_when(&node(there), "suspended", suspended).await;
    }
    cluster.heal(0, 1);
    cluster.ready().await;
}

#[tokio::test]
async fn a_node_serves_clients_whatever_becomes_of_the_others() {
    let mut cluster = Cluster::with(3, impatient).await;
    let mut client = cluster.client(0, "client").await;
    cluster.kill(1);
    cluster.kill(2);
    client.subscribe(&[("a/#", 1)]).await;
    client.publish("a/b", "alone").await;
    client.expect_message("a/b", "alone").await;
}

#[tokio::test]
async fn a_node_says_what_ended_its_connection_with_another_one_and_when() {
    let cluster = Cluster::start(2).await;
    cluster.between(0, 1).cut();
    for (here, there) in [(0, 1), (1, 0)] {
        let is_lost = |peer: &PeerStatus| peer.last_error.as_ref().is_some_and(|e| e.reason == "ConnectionLost");
        let error = cluster.sees(here, there, is_lost).await.last_error.expect("it is lost");
        assert!(error.message.contains("without a word") && error.unix_seconds > 1_700_000_000, "{error:?}");
    }
}
