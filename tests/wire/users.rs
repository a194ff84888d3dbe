//! User names and passwords, and changes of the users' file while the broker runs.

use tombolo_broker_api::{Anonymous, Config};
use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::packet::Connect;

const USERS: &str = "demo: demo\nother: \"p: w\"\n";

fn config() -> Config {
    let mut config = broker::config("wire");
    config.authentication.anonymous = Anonymous::Refused;
    config.authentication.users_file = Some("users.yaml".into());
    config
}

/// The reason of the CONNACK.
async fn reason(broker: &Broker, connect: Connect) -> u8 {
    let mut client = Client::open(broker.address, connect.level).await;
    client.send(connect.bytes()).await;
    let reason = client.packet().await.connack().reason;
    if reason != 0 {
        client.closed().await;
    }
    reason
}

#[tokio::test]
async fn who_may_connect_is_what_the_file_says() {
    let broker = Broker::start(config(), &[("users.yaml", USERS)]).await;
    let login = |level, user, password| Connect::new(level, "user").login(user, password);
    assert_eq!(reason(&broker, login(4, "demo", "demo")).await, 0);
    assert_eq!(reason(&broker, login(5, "other", "p: w")).await, 0);
    for (user, password) in [("demo", "wrong"), ("demo", ""), ("nobody", "demo"), ("", "demo")] {
        // Bad User Name or Password.
        assert_eq!(reason(&broker, login(5, user, password)).await, 0x86, "{user} {password}");
        assert_eq!(reason(&broker, login(4, user, password)).await, 4, "{user} {password}");
    }
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="bad_password"}"#, 8.0).await;
}

#[tokio::test]
async fn anonymous_clients_are_refused_unless_they_are_allowed() {
    let broker = Broker::start(config(), &[("users.yaml", USERS)]).await;
    // Not authorized.
    assert_eq!(reason(&broker, Connect::new(5, "a")).await, 0x87);
    assert_eq!(reason(&broker, Connect::new(4, "a")).await, 5);
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="not_authorized"}"#, 2.0).await;
    let open = Broker::anonymous().await;
    assert_eq!(reason(&open, Connect::new(5, "a")).await, 0);
}

#[tokio::test]
async fn a_user_name_is_no_hindrance_where_anybody_is_let_in_and_there_are_no_users() {
    let mut broker = Broker::anonymous().await;
    for level in [4, 5] {
        assert_eq!(reason(&broker, Connect::new(level, "a").login("anybody", "anything")).await, 0);
    }
    let mut changed = broker.config.clone();
    changed.authentication.users_file = Some("users.yaml".into());
    changed.hash = "with users".into();
    broker.rewrite(changed, &[("users.yaml", USERS)]);
    broker.admin.status_when("the change is taken", |s| s.config_hash == "with users").await;
    assert_eq!(reason(&broker, Connect::new(5, "a").login("anybody", "anything")).await, 0x86);
    assert_eq!(reason(&broker, Connect::new(5, "a")).await, 0);
}

#[tokio::test]
async fn a_user_added_to_the_file_comes_in_and_nobody_is_disturbed() {
    let mut broker = Broker::start(config(), &[("users.yaml", USERS)]).await;
    let (mut client, _) = Client::connect(broker.address, &Connect::new(5, "first").login("demo", "demo")).await;
    assert_eq!(reason(&broker, Connect::new(5, "new").login("new", "new")).await, 0x86);
    let mut changed = config();
    changed.listeners = broker.config.listeners.clone();
    changed.admin = broker.config.admin.clone();
    changed.hash = "second".into();
    broker.rewrite(changed, &[("users.yaml", &format!("{USERS}new: new\n"))]);
    broker.admin.status_when("the change is taken", |s| s.config_hash == "second").await;
    assert_eq!(reason(&broker, Connect::new(5, "new").login("new", "new")).await, 0);
    client.ping().await;
}
