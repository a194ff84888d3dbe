//! Wills are published once, at whichever node their client was, and whatever ended its connection.

use tombolo_broker_api::{PeerState, Seconds};
use tombolo_tests::client::Client;
use tombolo_tests::cluster::Cluster;
use tombolo_tests::packet::{self, Connect, Publish, Will};
use tombolo_tests::proxy::Proxy;

fn mortal() -> Connect {
    let will = Will { topic: "will".to_owned(), payload: b"gone".to_vec(), qos: 1, ..Will::default() };
    Connect::new(5, "mortal").will(will)
}

/// A watcher at each of these nodes.
async fn watchers(cluster: &Cluster, places: &[usize]) -> Vec<Client> {
    let mut all = Vec::new();
    for place in places {
        let id = format!("watcher-{place}");
        all.push(Client::subscriber(cluster.address(*place), 5, &id, &[("will", 1)]).await);
    }
    all
}

/// Each gets these payloads in order; then what is published at its own node, and nothing between.
async fn all_get(cluster: &Cluster, watchers: &mut [Client], places: &[usize], payloads: &[&str]) {
    for watcher in watchers.iter_mut() {
        for payload in payloads {
            let got = watcher.message().await;
            assert_eq!(String::from_utf8_lossy(&got.payload), *payload);
            watcher.send(packet::puback(got.id)).await;
        }
    }
    // What is still on its way between nodes would be a second will.
    for place in places {
        let node = &cluster.nodes[*place];
        node.admin
            .status_when("nothing waits for the nodes that are connected", |status| {
                let mut connected = status.peers.iter().filter(|peer| peer.state == PeerState::Connected);
                connected.all(|peer| peer.outbox.messages == 0)
            })
            .await;
    }
    for watcher in watchers.iter_mut() {
        watcher.ping().await;
    }
}

#[tokio::test]
async fn a_client_whose_connection_is_cut_leaves_one_will_at_every_node() {
    let cluster = Cluster::start(3).await;
    let places = [0, 1, 2];
    let mut watchers = watchers(&cluster, &places).await;
    let network = Proxy::start(cluster.address(0)).await;
    let (_mortal, _) = Client::connect(network.address, &mortal()).await;
    network.cut();
    all_get(&cluster, &mut watchers, &places, &["gone"]).await;
}

#[tokio::test]
async fn a_client_that_comes_to_another_node_leaves_the_will_of_its_old_session_once_and_then_its_new_one() {
    let cluster = Cluster::start(3).await;
    let places = [0, 1, 2];
    let mut watchers = watchers(&cluster, &places).await;
    let (mut old, _) = Client::connect(cluster.address(0), &mortal()).await;
    let mut connect = mortal();
    connect.will.as_mut().expect("it has one").payload = b"gone again".to_vec();
    let (new, _) = Client::connect(cluster.address(1), &connect).await;
    // Session taken over.
    old.disconnected(0x8e).await;
    all_get(&cluster, &mut watchers, &places, &["gone"]).await;
    drop(new);
    all_get(&cluster, &mut watchers, &places, &["gone again"]).await;
}

#[tokio::test]
async fn a_node_that_dies_takes_the_wills_of_its_clients_with_it_and_none_is_published_twice() {
    let mut cluster = Cluster::start(3).await;
    let places = [1, 2];
    let mut watchers = watchers(&cluster, &places).await;
    let (_first, _) = Client::connect(cluster.address(0), &mortal()).await;
    cluster.kill(0);
    for place in places {
        cluster.sees(place, 0, |peer| peer.state != PeerState::Connected).await;
    }
    // It finds another node, and dies there.
    let (second, _) = Client::connect(cluster.address(1), &mortal()).await;
    drop(second);
    all_get(&cluster, &mut watchers, &places, &["gone"]).await;
    cluster.restart(0).await;
    cluster.ready().await;
    let mut publisher = Client::clean(cluster.address(0), 5, "publisher").await;
    publisher.send(Publish::new(5, "will", "marker").qos(1, 1).bytes()).await;
    publisher.expect(packet::puback(1)).await;
    all_get(&cluster, &mut watchers, &places, &["marker"]).await;
}

#[tokio::test]
async fn a_will_that_is_due_before_its_node_has_heard_what_is_wanted_at_the_others_waits_for_that() {
    let mut cluster = Cluster::with(3, |_, config| config.tuning.cluster.suspend_after = Seconds(600)).await;
    let mut watchers = watchers(&cluster, &[0, 2]).await;
    cluster.kill(1);
    cluster.cut(0, 1);
    cluster.nodes[1].respawn();
    // It hears one of the two.
    cluster.sees(1, 2, |peer| peer.ready).await;
    // Its session ends with its connection, so it leaves nothing but its will.
    let (mortal, _) = Client::connect(cluster.address(1), &mortal()).await;
    drop(mortal);
    cluster.nodes[1].admin.metric_when("tombolo_clients_closed_total{reason=\"connection_lost\"}", 1.0).await;
    cluster.heal(0, 1);
    all_get(&cluster, &mut watchers, &[0, 1, 2], &["gone"]).await;
}
