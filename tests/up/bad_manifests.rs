//! Wrong manifests: file, line, field, what is wrong; exit code 2 and nothing started.

use super::{borrow, story};
use tombolo_tests::up::Up;

/// What makes the story wrong: the file, from, to, the line where it stands, and words that the message must have.
const FAULTS: [(&str, &str, &str, usize, &[&str]); 9] = [
    ("local.yaml", "listeners:", "lisners:", 6, &["BrokerCluster/deployment-local", "lisners"]),
    ("local.yaml", "protocol: MQTT,", "protocol: COAP,", 6, &["spec.listeners[0].protocol", "COAP"]),
    ("local.yaml", "kind: BrokerCluster", "kind: BrokrCluster", 3, &["BrokrCluster"]),
    ("local.yaml", "apiVersion: tombolo.dev/v1alpha1", "apiVersion: tombolo.dev/v2", 2, &["tombolo.dev/v2"]),
    (
        "local.yaml",
        "clusterRef: {name: deployment-local}",
        "clusterRef: {name: nowhere}",
        13,
        &["spec.clusterRef", "nowhere"],
    ),
    (
        "local.yaml",
        "credentials: {secretRef: {name: link}}",
        "credentials: {secretRef: {name: none}}",
        18,
        &["credentials", "none"],
    ),
    ("local.yaml", "topics: [\"from-cluster\"]", "topics: [\"a/#/b\"]", 20, &["spec.topics[0]", "a/#/b"]),
    ("local.yaml", "server: mqtt://", "server: http://", 16, &["spec.remote.server", "mqtt"]),
    ("secrets.yaml", "  demo: demo", "  demo: [demo", 0, &["secrets.yaml"]),
];

#[tokio::test]
async fn each_fault_is_named_with_file_line_and_field_and_nothing_is_started() {
    for (file, from, to, line, words) in FAULTS {
        let mut manifests = story();
        let text = &mut manifests.iter_mut().find(|m| m.0 == file).expect("the example has this file").1;
        assert!(text.contains(from), "{file} has no `{from}`");
        *text = text.replacen(from, to, 1);
        let (status, output) = Up::fails(&borrow(&manifests)).await;
        assert_eq!(status.code(), Some(2), "{to}: {output}");
        for word in words {
            assert!(output.contains(word), "{to}: `{word}` is not named in:\n{output}");
        }
        if line > 0 {
            let place = format!("{file}:{line}");
            assert!(output.contains(&place), "{to}: {place} is not named in:\n{output}");
        }
        assert!(output.contains("nothing was started"), "{output}");
    }
}

#[tokio::test]
async fn all_faults_are_told_at_once() {
    let mut manifests = story();
    for (_, text) in &mut manifests {
        *text = text.replace("protocol: MQTT,", "protocol: COAP,");
    }
    let (status, output) = Up::fails(&borrow(&manifests)).await;
    assert_eq!(status.code(), Some(2));
    assert!(output.contains("local.yaml:") && output.contains("cloud.yaml:"), "{output}");
}

#[tokio::test]
async fn a_folder_without_manifests_is_named() {
    let (status, output) = Up::fails(&[]).await;
    assert!(!status.success() && output.contains("manifests"), "{status}: {output}");
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_started() {
    let up = super::up().await;
    let taken = up.listener("deployment-local").port();
    let manifests = story();
    let (_, text) = manifests.iter().find(|m| m.0 == "local.yaml").expect("the example has this file");
    let port = text.split("port: ").nth(1).and_then(|t| t.split('}').next()).expect("a port").to_owned();
    let manifests: Vec<(String, String)> =
        manifests.into_iter().map(|(n, t)| (n, t.replace(&port, &taken.to_string()))).collect();
    let (status, output) = Up::fails(&borrow(&manifests)).await;
    assert!(!status.success(), "{output}");
    assert!(output.contains(&taken.to_string()) && output.contains("nothing was started"), "{output}");
}
