//! Valid samples are accepted, and invalid ones refused with the message that they announce.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tombolo_crds::manifest::{Kind, violations, violations_of_update};
use tombolo_crds::{BrokerCluster, ClusterLink};

#[test]
fn valid_samples_are_accepted_and_read_without_loss() {
    for (file, text) in samples("valid") {
        for object in documents(&file, &text) {
            let found = kind(&object).map(|kind| violations(kind, &object)).unwrap_or_default();
            assert_eq!(found, [], "{}", file.display());
            let again = match kind(&object) {
                Some(Kind::BrokerCluster) => written(serde_json::from_value::<BrokerCluster>(object.clone())),
                Some(Kind::ClusterLink) => written(serde_json::from_value::<ClusterLink>(object.clone())),
                None => continue,
            };
            assert_contains(&again["spec"], &object["spec"], &format!("{} spec", file.display()));
        }
    }
}

/// A sample of two documents is an update of the first by the second.
#[test]
fn invalid_samples_are_refused_with_the_message_that_they_announce() {
    for (file, text) in samples("invalid") {
        let name = file.display();
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        let expected = expected.unwrap_or_else(|| panic!("{name} does not begin with `# expect: MESSAGE`"));
        let documents = documents(&file, &text);
        let kind = kind(&documents[0]).expect("a kind of ours");
        let found = match documents.as_slice() {
            [object] => violations(kind, object),
            [old, new] => {
                assert_eq!(violations(kind, old), [], "{name}: the first document must be valid");
                violations_of_update(kind, new, old)
            }
            _ => panic!("{name} has {} documents", documents.len()),
        };
        let [only] = found.as_slice() else { panic!("{name}: not one violation but {found:#?}") };
        assert!(only.to_string().contains(expected), "{name}: `{only}` lacks `{expected}`");
    }
}

#[test]
fn the_defaults_of_the_types_are_those_of_the_schema() {
    let minimal = [
        (Kind::BrokerCluster, "{apiVersion: tombolo.dev/v1alpha1, kind: BrokerCluster, metadata: {name: a}, spec: {}}"),
        (
            Kind::ClusterLink,
            "{apiVersion: tombolo.dev/v1alpha1, kind: ClusterLink, metadata: {name: a}, \
             spec: {clusterRef: {name: a}, remote: {clusterName: b}, topics: [a]}}",
        ),
    ];
    for (kind, text) in minimal {
        let object: Value = serde_saphyr::from_str(text).expect("YAML");
        let crd = match kind {
            Kind::BrokerCluster => tombolo_crds::yaml::broker_cluster(),
            Kind::ClusterLink => tombolo_crds::yaml::cluster_link(),
        };
        let by_server = kube::core::cel::apply_defaults(tombolo_crds::yaml::schema_of(&crd), &object);
        let (by_types, read_back) = match kind {
            Kind::BrokerCluster => (
                written(serde_json::from_value::<BrokerCluster>(object)),
                written(serde_json::from_value::<BrokerCluster>(by_server.clone())),
            ),
            Kind::ClusterLink => (
                written(serde_json::from_value::<ClusterLink>(object)),
                written(serde_json::from_value::<ClusterLink>(by_server.clone())),
            ),
        };
        assert_eq!(by_types["spec"], by_server["spec"], "{kind:?}");
        assert_eq!(by_types, read_back, "{kind:?}");
    }
}

fn samples(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(folder);
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("samples").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).expect("text"))).collect()
}

fn documents(file: &Path, text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn kind(object: &Value) -> Option<Kind> {
    match object["kind"].as_str() {
        Some("BrokerCluster") => Some(Kind::BrokerCluster),
        Some("ClusterLink") => Some(Kind::ClusterLink),
        Some("Secret") => None,
        other => panic!("kind {other:?}"),
    }
}

fn written<T: serde::Serialize>(object: Result<T, serde_json::Error>) -> Value {
    serde_json::to_value(object.expect("the types accept what the schema accepts")).expect("JSON")
}

fn assert_contains(all: &Value, part: &Value, path: &str) {
    match (all, part) {
        (Value::Object(all), Value::Object(part)) => {
            for (key, value) in part {
                assert_contains(all.get(key).unwrap_or(&Value::Null), value, &format!("{path}.{key}"));
            }
        }
        (Value::Array(all), Value::Array(part)) => {
            assert_eq!(all.len(), part.len(), "{path}");
            for (at, (all, part)) in all.iter().zip(part).enumerate() {
                assert_contains(all, part, &format!("{path}[{at}]"));
            }
        }
        // A quantity may be written as a number.
        (Value::String(text), Value::Number(number)) => assert_eq!(*text, number.to_string(), "{path}"),
        _ => assert_eq!(all, part, "{path}"),
    }
}
