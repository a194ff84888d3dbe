//! Publishers held back by a link that is full: nothing that they sent is lost, whatever they do meanwhile.

use tombolo_broker_api::{Accept, ByteSize, Link, Route, WhenFull};
use tombolo_tests::broker::{self, Broker, Files};
use tombolo_tests::client::Client;
use tombolo_tests::links::dial;
use tombolo_tests::packet::{self, Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, Will};
use tombolo_tests::proxy::{Proxy, Weather};

const FILES: Files<'_> = &[("user", "link-user"), ("password", "link-password")];

fn link(name: &str, remote: &str) -> Link {
    let accept = Accept { users: vec!["link-user".into()], ..Accept::default() };
    Link {
        name: name.to_owned(),
        remote_cluster: remote.to_owned(),
        remote_cluster_id: None,
        enabled: true,
        dial: None,
        accept: Accept { password_files: [("link-user".into(), "password".into())].into(), ..accept },
        receive: vec![Route { filters: vec!["t/#".into()], except: Vec::new(), max_qos: 2 }],
        send: None,
        max_hops: 1,
        spool: Default::default(),
    }
}

/// Two brokers with a link that holds publishers back, and what is between them.
async fn pair() -> (Broker, Broker, Proxy) {
    let (mut near, mut far) = (broker::config("near"), broker::config("far"));
    let proxy = Proxy::start(far.listeners[0].bind).await;
    near.links = vec![link("to-far", "far")];
    near.links[0].spool.max_bytes = ByteSize(64 << 10);
    near.links[0].spool.when_full = WhenFull::Backpressure;
    near.links[0].dial = Some(dial(vec![format!("mqtt://{}", proxy.address)], None));
    near.links[0].accept = Accept::default();
    far.links = vec![link("to-near", "near")];
    let far = Broker::start(far, FILES).await;
    let near = Broker::start(near, FILES).await;
    near.admin.link_ready("to-far").await;
    (near, far, proxy)
}

#[tokio::test]
async fn what_a_held_publisher_sent_arrives_when_the_link_goes_on_even_if_it_is_large_or_the_publisher_has_left() {
    let (near, far, proxy) = pair().await;
    let mut watcher = Client::subscriber(far.address, 5, "watcher", &[("t/large", 1), ("t/left", 1)]).await;
    let mut wills = Client::subscriber(near.address, 5, "wills", &[("will/#", 0)]).await;
    near.admin.link_when("to-far", "interest known", |l| l.filters_served == 2).await;
    proxy.set(Weather { refuse: true, ..Weather::default() });
    proxy.cut();
    near.admin.link_when("to-far", "the link is cut", |l| !l.ready).await;
    let mut filler = Client::clean(near.address, 5, "filler").await;
    let mut taken = 0;
    while taken < 64 {
        taken += 1;
        filler.send(Publish::new(5, "t/left", [0; 16 << 10]).qos(1, taken).bytes()).await;
        // No answer for half a second: it is held.
        let answer = filler.expect(packet::puback(taken));
        if tokio::time::timeout(std::time::Duration::from_millis(500), answer).await.is_err() {
            break;
        }
    }
    assert!(taken < 64, "a full link holds its publishers back");
    let mut large = Client::clean(near.address, 5, "large").await;
    // Longer than what is read at one time, with more behind it.
    large.send([Publish::new(5, "t/large", vec![7; 600 << 10]).qos(1, 1).bytes(), PINGREQ.to_vec()].concat()).await;
    let will = Will { topic: "will/left".into(), payload: b"gone".to_vec(), ..Will::default() };
    let (mut left, _) = Client::connect(near.address, &Connect::new(5, "left").will(will)).await;
    left.send([&Publish::new(5, "t/left", "last").qos(1, 1).bytes()[..], &DISCONNECT].concat()).await;
    drop(left);
    proxy.set(Weather::default());
    large.expect(packet::puback(1)).await;
    large.expect(PINGRESP).await;
    let (mut seen_large, mut seen_last) = (false, false);
    while !(seen_large && seen_last) {
        let got = watcher.message().await;
        watcher.send(packet::puback(got.id)).await;
        seen_large |= got.topic == "t/large" && got.payload == vec![7; 600 << 10];
        seen_last |= got.payload == b"last";
    }
    // It said DISCONNECT, though it was read late: no will.
    near.admin.status_when("it has left", |s| s.sessions == 3).await;
    wills.ping().await;
}
