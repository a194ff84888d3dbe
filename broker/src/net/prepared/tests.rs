//! Configurations that can be used, and those that only look so.

use tempfile::TempDir;

use super::*;
use crate::config::load;
use crate::metrics::Board;
use crate::tls::fixture::Authority;

const TEXT: &str = "
clusterName: here
nodeName: here-0
dataDir: data
listeners:
  - {name: mqtts, protocol: MQTTS, bind: \"127.0.0.1:0\", tls: {certificateFile: tls.crt, keyFile: tls.key}}
  - {name: mqtt, protocol: MQTT, bind: \"127.0.0.1:0\"}
admin: {bind: \"127.0.0.1:0\"}
tuning: {mqtt: {maxPacketSize: 1024}}
links:
  - name: to-cloud
    remoteCluster: cloud
    dial: {servers: [\"mqtts://h\"], clientIdPrefix: from-here, tls: {caFile: tls.crt, serverName: broker.test}}
";

fn prepare(certificate: &str, key: &str) -> Result<Prepared, Problems> {
    let folder = TempDir::new().expect("a folder");
    for (name, content) in [("broker.yaml", TEXT), ("tls.crt", certificate), ("tls.key", key)] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let loaded = load(&folder.path().join("broker.yaml")).expect("the form is right");
    Prepared::new(loaded, Arc::new(Verifier::new([0; 32], 1, Arc::new(Board::new(1)))))
}

#[test]
fn tls_and_links_are_made_of_the_files() {
    let signed = Authority::new("ca").sign("broker.test", 2020..2100);
    let prepared = prepare(&signed.certificate, &signed.key).expect("all is fine");
    assert_eq!(prepared.listeners.keys().collect::<Vec<_>>(), ["mqtts"]);
    let dial = &prepared.links["to-cloud"];
    assert_eq!(dial.client_id, "from-here:to-cloud:here-0");
    assert_eq!((dial.cluster_name.as_str(), dial.server_name.as_deref()), ("here", Some("broker.test")));
    assert!(dial.tls.is_some());
    // Less than a link needs is not announced.
    assert_eq!(dial.maximum_packet_size, PACKET_MIN);
}

#[test]
fn what_tls_can_not_use_is_told_all_at_once_with_file_and_field() {
    let found = prepare("nothing", "nothing").expect_err("no certificate").to_string();
    let lines: Vec<_> = found.lines().map(|line| line.rsplit_once("tls.crt: ").expect("the file").1).collect();
    assert_eq!(lines.len(), 2, "{found}");
    assert!(lines[0].starts_with("listeners[0].tls: there is no certificate in it"), "{found}");
    assert!(lines[1].starts_with("links[0].dial.tls: there is no certificate in it"), "{found}");
}
