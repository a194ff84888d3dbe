//! The customer's story over real processes, with a client that is not ours.

use tombolo_tests::certificates::{Identity, tls};
use tombolo_tests::client::Client as Raw;
use tombolo_tests::packet::{self, Connect, Publish};
use tombolo_tests::rumqtt::Client;
use tombolo_tests::up::{Up, example};

const LOCAL: &str = "deployment-local";
const CLOUD: &str = "deployment-cloud";
const TOPIC: &str = "from-cluster";
const DEMO: (&str, &str) = ("demo", "demo");

async fn up(name: &str) -> Up {
    let manifests = example(name, &[1883, 2883]);
    let manifests: Vec<(&str, &str)> = manifests.iter().map(|(n, t)| (&**n, &**t)).collect();
    Up::start(&manifests).await
}

/// Awaits that each side knows what the other wants.
async fn interest_crossed(up: &Up, filters: u64) {
    for cluster in [LOCAL, CLOUD] {
        let knows = |s: &tombolo_broker_api::Status| s.links.iter().all(|l| l.ready && l.filters_served == filters);
        up.admin(cluster).status_when("interest has crossed", knows).await;
    }
}

/// Publishes at each side with each QoS; each message is seen once at both sides, in order.
async fn both_directions_once(up: &Up) {
    for (local_level, cloud_level) in [(4, 5), (5, 4)] {
        let mut local = Client::connect(up.listener(LOCAL), local_level, "sub-local", DEMO).await;
        let mut cloud = Client::connect(up.listener(CLOUD), cloud_level, "sub-cloud", DEMO).await;
        local.subscribe(TOPIC, 2).await;
        cloud.subscribe(TOPIC, 2).await;
        interest_crossed(up, 1).await;
        for (from, level) in [(CLOUD, local_level), (LOCAL, cloud_level)] {
            let mut publisher = Client::connect(up.listener(from), level, "publisher", DEMO).await;
            let mut sent = Vec::new();
            for n in 0..20 {
                for qos in 0..=2u8 {
                    let payload = format!("{n} from {from} with QoS {qos}");
                    publisher.publish(TOPIC, qos, &payload).await;
                    sent.push((payload, qos));
                }
            }
            publisher.publish(TOPIC, 1, "last").await;
            for subscriber in [&mut local, &mut cloud] {
                let got = subscriber.messages_until("last").await;
                // Order is promised within a lane: of QoS 0, and of QoS 1 and 2 together.
                for lane in [0..=0u8, 1..=2] {
                    let got: Vec<_> =
                        got.iter().filter(|s| lane.contains(&s.qos)).map(|s| (&s.payload, s.qos)).collect();
                    let sent: Vec<_> = sent.iter().filter(|s| lane.contains(&s.1)).map(|s| (&s.0, s.1)).collect();
                    if lane.contains(&0) {
                        // QoS 0 has a lane of its own: what is behind the last one may come after it.
                        assert!(sent.starts_with(&got), "{got:?}");
                    } else {
                        assert_eq!(got, sent, "published in {from}");
                    }
                }
            }
            // Nothing comes twice: the first thing behind is what is published now, or QoS 0 that was on its way.
            publisher.publish(TOPIC, 2, "marker").await;
            for subscriber in [&mut local, &mut cloud] {
                assert!(subscriber.messages_until("marker").await.iter().all(|s| s.qos == 0));
            }
        }
    }
}

#[tokio::test]
async fn two_clusters_linked_both_ways_show_each_message_once_at_both_sides() {
    let up = up("hybrid-cloud").await;
    both_directions_once(&up).await;
}

#[tokio::test]
async fn one_side_dials_and_both_directions_flow() {
    let up = up("one-sided").await;
    both_directions_once(&up).await;
    let local = up.admin(LOCAL).status().await.expect("the node runs");
    assert!(local.links.iter().all(|l| l.dialled == 0 && l.accepted > 0), "{:?}", local.links);
}

#[tokio::test]
async fn qos_0_crosses_the_link_without_loss_when_nothing_fails() {
    let up = up("hybrid-cloud").await;
    let mut cloud = Client::connect(up.listener(CLOUD), 5, "sub-cloud", DEMO).await;
    cloud.subscribe(TOPIC, 0).await;
    let mut publisher = Client::connect(up.listener(LOCAL), 4, "publisher", DEMO).await;
    let served = |s: &tombolo_broker_api::Status| s.links.iter().any(|l| l.ready && l.filters_served == 1);
    up.admin(LOCAL).status_when("interest has crossed", served).await;
    for n in 0..1000 {
        publisher.publish(TOPIC, 0, &n.to_string()).await;
    }
    for n in 0..1000 {
        assert_eq!(cloud.message().await.payload, n.to_string());
    }
}

#[tokio::test]
async fn other_topics_stay_where_they_are() {
    let up = up("hybrid-cloud").await;
    let mut cloud = Client::connect(up.listener(CLOUD), 5, "sub-cloud", DEMO).await;
    cloud.subscribe("#", 1).await;
    let mut publisher = Client::connect(up.listener(LOCAL), 5, "publisher", DEMO).await;
    let served = |s: &tombolo_broker_api::Status| s.links.iter().any(|l| l.ready && l.filters_served == 1);
    up.admin(LOCAL).status_when("interest has crossed", served).await;
    publisher.publish("private", 1, "stays").await;
    publisher.publish("from-cluster/below", 1, "stays").await;
    publisher.publish(TOPIC, 1, "crosses").await;
    assert_eq!(cloud.message().await.payload, "crosses");
}

#[tokio::test]
async fn the_example_with_mutual_tls_works_and_lets_nobody_in_without_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let demo = std::process::Command::new(tombolo_tests::binaries::binary("tombolo-demo"))
        .arg("certificates")
        .arg(folder.path())
        .output()
        .expect("tombolo-demo starts");
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it was written");
    let mut manifests = example("tls", &[8883, 9883]);
    manifests.push(("certificates.yaml".to_owned(), read("certificates.yaml")));
    let manifests: Vec<(&str, &str)> = manifests.iter().map(|(n, t)| (&**n, &**t)).collect();
    let up = Up::start(&manifests).await;
    let identity = Identity { certificate: read("client.crt"), key: read("client.key") };
    let ca = read("ca.crt");
    let connect = async |cluster: &str, id: &str| {
        let stream = tokio::net::TcpStream::connect(up.listener(cluster)).await.expect("it listens");
        let mut client = Raw::over(tls(stream, &ca, Some(&identity)).await.expect("the handshake succeeds"), 5);
        client.send(Connect::new(5, id).login("demo", "demo").bytes()).await;
        assert_eq!(client.packet().await.connack().reason, 0);
        client
    };
    let mut local = connect(LOCAL, "local").await;
    let mut cloud = connect(CLOUD, "cloud").await;
    local.subscribe(&[(TOPIC, 1)]).await;
    cloud.subscribe(&[(TOPIC, 1)]).await;
    interest_crossed(&up, 1).await;
    cloud.send(Publish::new(5, TOPIC, "secure").qos(1, 1).bytes()).await;
    let got = local.message().await;
    assert_eq!(got.payload, b"secure");
    local.send(packet::puback(got.id)).await;
    let stream = tokio::net::TcpStream::connect(up.listener(CLOUD)).await.expect("it listens");
    if let Ok(stream) = tls(stream, &ca, None).await {
        // In TLS 1.3 the refusal comes behind the client's handshake.
        let mut nobody = Raw::over(stream, 5);
        nobody.send_anyway(Connect::new(5, "nobody").login("demo", "demo").bytes()).await;
        let answer = tokio::spawn(async move { nobody.packet().await }).await;
        assert!(answer.is_err(), "let in without a certificate: {answer:?}");
    }
}
