//! Manifests that change while `tombolo up` runs.

use tombolo_tests::client::Client;
use tombolo_tests::packet::Connect;
use tombolo_tests::up::Up;

const LOCAL: &str = "deployment-local";
const CLOUD: &str = "deployment-cloud";

async fn client(up: &Up, cluster: &str, id: &str) -> Client {
    Client::connect(up.listener(cluster), &Connect::new(5, id).login("demo", "demo")).await.0
}

fn manifest(up: &Up, name: &str) -> String {
    std::fs::read_to_string(up.manifests().join(name)).expect("it was written")
}

#[tokio::test]
async fn a_topic_added_to_a_link_works_without_a_reconnect_of_any_client() {
    let up = super::up().await;
    let mut subscriber = client(&up, LOCAL, "subscriber").await;
    subscriber.subscribe(&[("from-cluster", 0), ("second/#", 0)]).await;
    let mut publisher = client(&up, CLOUD, "publisher").await;
    let served = |n| move |s: &tombolo_broker_api::Status| s.links.iter().any(|l| l.ready && l.filters_served == n);
    up.admin(CLOUD).status_when("the first topic is wanted", served(1)).await;
    publisher.publish("second/x", "too early").await;
    publisher.publish("from-cluster", "first").await;
    subscriber.expect_message("from-cluster", "first").await;
    let text = manifest(&up, "local.yaml").replace("[\"from-cluster\"]", "[\"from-cluster\", \"second/+\"]");
    up.rewrite("local.yaml", &text);
    up.admin(CLOUD).status_when("the second topic is wanted", served(2)).await;
    publisher.publish("second/x", "in time").await;
    subscriber.expect_message("second/x", "in time").await;
    subscriber.ping().await;
    publisher.ping().await;
}

#[tokio::test]
async fn a_link_can_be_disabled_and_enabled() {
    let up = super::up().await;
    let mut subscriber = client(&up, LOCAL, "subscriber").await;
    let enabled = manifest(&up, "local.yaml");
    up.rewrite("local.yaml", &enabled.replace("  clusterRef:", "  enabled: false\n  clusterRef:"));
    let state = |name| move |s: &tombolo_broker_api::Status| s.links.iter().any(|l| format!("{:?}", l.state) == name);
    up.admin(LOCAL).status_when("the link is disabled", state("Disabled")).await;
    up.admin(CLOUD).link_failed("to-local", "LinkDisabled").await;
    up.rewrite("local.yaml", &enabled);
    up.admin(LOCAL).link_ready("to-cloud").await;
    up.admin(CLOUD).link_ready("to-local").await;
    subscriber.ping().await;
}

#[tokio::test]
async fn a_link_can_be_deleted_and_made_again() {
    let up = super::up().await;
    let mut client = client(&up, LOCAL, "client").await;
    let whole = manifest(&up, "local.yaml");
    let cluster = whole.split("---").next().expect("the cluster comes first").to_owned();
    up.rewrite("local.yaml", &cluster);
    up.admin(LOCAL).status_when("no link is left", |s| s.links.is_empty()).await;
    up.rewrite("local.yaml", &whole);
    up.admin(LOCAL).link_ready("to-cloud").await;
    client.ping().await;
}

#[tokio::test]
async fn a_user_added_to_a_secret_comes_in_and_a_removed_one_goes() {
    let up = super::up().await;
    let mut demo = client(&up, LOCAL, "demo").await;
    let secrets = manifest(&up, "secrets.yaml");
    up.rewrite("secrets.yaml", &secrets.replace("  demo: demo", "  demo: demo\n  second: second"));
    let address = up.listener(LOCAL);
    let let_in = || async {
        let mut second = Client::open(address, 5).await;
        second.send(Connect::new(5, "second").login("second", "second").bytes()).await;
        (second.packet().await.connack().reason == 0).then_some(second)
    };
    let mut second = tombolo_tests::wait::until("the new user is let in", let_in).await;
    demo.ping().await;
    up.rewrite("secrets.yaml", &secrets);
    // Administrative action.
    second.disconnected(0x98).await;
    demo.ping().await;
}

#[tokio::test]
async fn a_wrong_change_is_refused_with_its_place_and_what_ran_goes_on() {
    let up = super::up().await;
    let mut client = client(&up, LOCAL, "client").await;
    let good = manifest(&up, "local.yaml");
    up.rewrite("local.yaml", &good.replace("protocol: MQTT,", "protocol: COAP,"));
    let told = || async {
        let output = up.child.output();
        (output.contains("local.yaml:6") && output.contains("what ran before goes on")).then_some(())
    };
    tombolo_tests::wait::until("the fault is told", told).await;
    client.ping().await;
    up.rewrite("local.yaml", &good.replace("[\"from-cluster\"]", "[\"from-cluster\", \"more\"]"));
    let told = || async { up.child.output().contains("manifests changed").then_some(()) };
    tombolo_tests::wait::until("the good change is taken", told).await;
    client.ping().await;
}
