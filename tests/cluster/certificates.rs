//! Certificates of nodes that are renewed, expired or not the cluster's own.

use tokio::net::TcpStream;
use tombolo_broker_api::{PeerState, PeerStatus, Seconds};
use tombolo_tests::certificates::{Authority, Identity, tls_to};
use tombolo_tests::cluster::{Cluster, NAME, node};
use tombolo_tests::wait;

/// Whether a node shows this certificate to who calls at its port for nodes.
async fn shows(cluster: &Cluster, place: usize, identity: &Identity, trusted: &str) -> bool {
    let bind = cluster.nodes[place].config.cluster.as_ref().expect("a cluster").bind;
    let Ok(stream) = TcpStream::connect(bind).await else { return false };
    // It is called by the name of a node, and answers whoever has its certificate.
    let Ok(stream) = tls_to(&node(place), stream, trusted, Some(identity)).await else { return false };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first().cloned());
    shown.is_some_and(|shown| identity.der() == shown)
}

/// Gives every node a new certificate, and awaits that it is in use.
async fn renew(cluster: &mut Cluster, authority: &Authority, trusted: &str) {
    for place in 0..cluster.nodes.len() {
        let identity = authority.node(&node(place));
        cluster.certify(place, &identity, trusted);
        let what = format!("node {place} shows its new certificate");
        wait::until_true(&what, || shows(cluster, place, &identity, trusted)).await;
    }
}

/// The connections between nodes that ever stood.
fn connections(cluster: &Cluster) -> u64 {
    cluster.between(0, 1).connections()
}

/// Has the two nodes find each other anew, by the certificates that they have now.
async fn meet_again(cluster: &Cluster) {
    cluster.part(0, 1).await;
    cluster.join(0, 1).await;
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_used_from_then_on_and_connections_that_stand_go_on() {
    let mut cluster = Cluster::start(2).await;
    let before = connections(&cluster);
    let authority = std::mem::replace(&mut cluster.authority, Authority::new("unused"));
    renew(&mut cluster, &authority, &authority.pem()).await;
    assert!(cluster.sees(0, 1, |_| true).await.ready);
    assert_eq!(connections(&cluster), before, "the connection of before still stands");
    meet_again(&cluster).await;
}

#[tokio::test]
async fn another_authority_takes_over_by_way_of_trusting_both() {
    let mut cluster = Cluster::start(2).await;
    let old = std::mem::replace(&mut cluster.authority, Authority::new("unused"));
    let new = Authority::new("another");
    let both = old.pem() + &new.pem();
    renew(&mut cluster, &old, &both).await;
    // Half of them: one is of the old authority and one of the new.
    let identity = new.node(&node(1));
    cluster.certify(1, &identity, &both);
    wait::until_true("node 1 shows its new certificate", || shows(&cluster, 1, &identity, &both)).await;
    meet_again(&cluster).await;
    renew(&mut cluster, &new, &new.pem()).await;
    meet_again(&cluster).await;
}

/// Three nodes of which the one in the middle has a certificate that is not good; gives what its dialler and it say.
async fn refused(identity: impl Fn(&Authority, usize) -> Identity, dialler_says: &str) {
    let impatient = |_, config: &mut tombolo_broker_api::Config| {
        config.tuning.cluster.suspend_after = Seconds(1);
    };
    let mut cluster = Cluster::spawn_as(3, impatient, identity).await;
    for node in &mut cluster.nodes {
        // Each gives up on the one in the middle, or that one on both, and serves.
        node.await_serving().await;
    }
    let failed = |reason: &str| {
        let reason = reason.to_owned();
        move |peer: &PeerStatus| {
            peer.state != PeerState::Connected && peer.last_error.as_ref().is_some_and(|error| error.reason == reason)
        }
    };
    // The lower place dials.
    cluster.sees(0, 1, failed(dialler_says)).await;
    cluster.sees(1, 2, failed("TlsClientCertificateRefused")).await;
    cluster.nodes[2].admin.metric_when("tombolo_connections_refused_total{reason=\"tls_handshake\"}", 1.0).await;
    let state = format!("tombolo_peer_state{{peer=\"{NAME}-1\",state=\"suspended\"}}");
    cluster.nodes[0].admin.metric_when(&state, 1.0).await;
    cluster.sees(0, 2, |peer| peer.ready).await;
    // A good one mends it while all run.
    let (good, trusted) = (cluster.authority.node(&node(1)), cluster.authority.pem());
    cluster.certify(1, &good, &trusted);
    cluster.ready().await;
}

#[tokio::test]
async fn a_node_whose_certificate_has_expired_is_refused_until_it_has_another_one() {
    let identity = |authority: &Authority, place: usize| {
        if place == 1 { authority.expired_node(&node(1)) } else { authority.node(&node(place)) }
    };
    refused(identity, "TlsCertificateExpired").await;
}

#[tokio::test]
async fn a_node_with_a_certificate_of_another_authority_is_refused_until_it_has_one_of_the_clusters() {
    let foreign = Authority::new("somebody else");
    let identity = |authority: &Authority, place: usize| {
        if place == 1 { foreign.node(&node(1)) } else { authority.node(&node(place)) }
    };
    refused(identity, "TlsUnknownAuthority").await;
}
