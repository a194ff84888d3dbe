//! Bad configuration: refused by name at the start; refused by name while the broker runs, and the old one kept.

use std::fs;

use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;

/// Puts a text in place of the configuration.
fn overwrite(broker: &Broker, text: &str) {
    let beside = broker.folder().join("broker.yaml.new");
    fs::write(&beside, text).expect("files can be written");
    fs::rename(beside, broker.folder().join("broker.yaml")).expect("files can be renamed");
}

fn text(broker: &Broker) -> String {
    fs::read_to_string(broker.folder().join("broker.yaml")).expect("it was written")
}

/// What makes a good configuration bad: from, to, and what the message must name.
const FAULTS: [(&str, &str, &str); 6] = [
    ("\"clusterName\"", "\"clusterNmae\"", "clusterNmae"),
    ("\"listeners\": [", "\"listeners\": 5, \"links\": [", "expected sequence"),
    ("\"protocol\": \"MQTT\"", "\"protocol\": \"AMQP\"", "AMQP"),
    ("\"authentication\": {", "\"authentication\": {\"usersFile\": \"none.yaml\", ", "none.yaml"),
    ("\"shards\": 2", "\"shards\": 0", "shards"),
    ("{", "{{", "broker.yaml"),
];

#[tokio::test]
async fn a_bad_configuration_at_the_start_ends_with_a_message_that_names_file_and_key() {
    for (from, to, named) in FAULTS {
        let mut broker = Broker::start(broker::config("wire"), &[]).await;
        assert!(broker.child.terminate().await.success());
        let bad = text(&broker).replacen(from, to, 1);
        assert_ne!(bad, text(&broker), "{from} is in the configuration");
        overwrite(&broker, &bad);
        let log = broker.folder().join("second.log");
        let mut command = std::process::Command::new(tombolo_tests::binaries::binary("tombolo-broker"));
        command.arg("--config").arg(broker.folder().join("broker.yaml"));
        let mut second = tombolo_tests::child::Child::spawn("second", command, log);
        let status = second.end().await;
        let output = second.output();
        assert!(!status.success() && status.code().is_some(), "{named}: {status}");
        assert!(output.contains(named) && output.contains(".yaml"), "{named} is not named in:\n{output}");
        assert!(!output.contains("panicked"), "{output}");
    }
}

#[tokio::test]
async fn a_missing_configuration_is_named() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut command = std::process::Command::new(tombolo_tests::binaries::binary("tombolo-broker"));
    command.arg("--config").arg(folder.path().join("nowhere.yaml"));
    let mut child = tombolo_tests::child::Child::spawn("missing", command, folder.path().join("log"));
    assert!(!child.end().await.success());
    assert!(child.output().contains("nowhere.yaml"), "{}", child.output());
}

#[tokio::test]
async fn a_bad_configuration_while_it_runs_is_refused_and_the_old_one_goes_on() {
    let broker = Broker::anonymous().await;
    let mut client = Client::subscriber(broker.address, 5, "client", &[("still", 0)]).await;
    let good = text(&broker);
    let mut refused = 0.0;
    for (from, to, named) in FAULTS {
        overwrite(&broker, &good.replacen(from, to, 1));
        let error = |s: &tombolo_broker_api::Status| s.config_error.as_ref().is_some_and(|e| e.contains(named));
        broker.admin.status_when(&format!("config_error names {named}"), error).await;
        refused += 1.0;
        broker.admin.metric_when(r#"tombolo_config_reloads_total{result="refused"}"#, refused).await;
        client.publish("still", named).await;
        client.expect_message("still", named).await;
    }
    overwrite(&broker, &good);
    broker.admin.status_when("the good one is back", |s| s.config_error.is_none()).await;
    client.ping().await;
}

#[tokio::test]
async fn a_change_that_needs_a_restart_is_told() {
    let mut broker = Broker::anonymous().await;
    let mut changed = broker.config.clone();
    changed.tuning.shards = tombolo_broker_api::Shards::Count(3);
    changed.hash = "three".into();
    broker.rewrite(changed, &[]);
    let status = broker.admin.status_when("the restart is asked for", |s| !s.restart_required.is_empty()).await;
    assert!(status.restart_required.iter().any(|key| key.contains("shards")), "{status:?}");
    assert_eq!(status.shards, 2);
}

#[tokio::test]
async fn a_limit_changed_while_it_runs_holds_for_new_connections() {
    let mut broker = Broker::anonymous().await;
    let mut old = Client::clean(broker.address, 5, "old").await;
    let mut changed = broker.config.clone();
    changed.tuning.mqtt.receive_maximum = 7;
    changed.hash = "seven".into();
    broker.rewrite(changed, &[]);
    broker.admin.status_when("the change is taken", |s| s.config_hash == "seven").await;
    let connect = tombolo_tests::packet::Connect::new(5, "new");
    let (_, connack) = Client::connect(broker.address, &connect).await;
    assert_eq!(connack.properties.number(0x21), Some(7));
    old.ping().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let broker = Broker::anonymous().await;
    let mut config = broker::config("second");
    config.listeners[0].bind = broker.address;
    let mut second = Broker::spawn(config, &[]);
    // Either it ends with a message, or it serves the rest and tells about the listener.
    let port = broker.address.port().to_string();
    let told = || async {
        let output = second.child.output();
        let status = second.admin.status().await.ok();
        let listener = status.and_then(|s| s.listeners.into_iter().find_map(|l| l.error));
        (output.contains(&port) && output.contains("in use") || listener.is_some()).then_some(())
    };
    tombolo_tests::wait::until("the port in use is named", told).await;
    let _ = second.child.ended();
}
