//! Tests of the manifest reader: a table of texts, and what is said about each.

use super::*;

fn read_text(text: &str) -> Manifests {
    read(&[Source { file: "a.yaml".into(), text: text.to_owned() }])
}

const CLUSTER: &str = "apiVersion: tombolo.dev/v1alpha1\nkind: BrokerCluster\nmetadata: {name: edge}\nspec: {}\n";

#[test]
fn objects_are_found_in_documents_and_lists() {
    let text = format!(
        "{CLUSTER}---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  \
         metadata:\n    name: users\n    namespace: plant\n  stringData: {{a: b}}\n"
    );
    let manifests = read_text(&text);
    assert_eq!(manifests.problems, []);
    let found: Vec<_> =
        manifests.objects.iter().map(|object| (object.label(), object.namespace.as_str(), object.node.line)).collect();
    assert_eq!(found, [("BrokerCluster/edge".into(), "default", 1), ("Secret/users".into(), "plant", 9)]);
    assert_eq!(manifests.objects[1].node.line_of("stringData.a"), 14);
}

#[test]
fn other_peoples_kinds_are_named_and_left_alone() {
    let manifests = read_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n");
    assert_eq!((manifests.objects.len(), manifests.problems.len()), (0, 0));
    assert_eq!(
        manifests.notes,
        ["a.yaml:1: Deployment/web is left alone: `tombolo` reads BrokerCluster, ClusterLink, Secret"]
    );
}

#[test]
fn what_is_wrong_is_said_with_file_line_object_and_field() {
    let twice = format!("{CLUSTER}---\n{CLUSTER}");
    for (text, problem) in [
        ("- a\n", "a.yaml:1: not an object; a manifest begins with apiVersion, kind and metadata"),
        (
            "kind: Secret\n",
            "a.yaml:1: apiVersion: missing, or not a text; for a cluster `apiVersion: tombolo.dev/v1alpha1`, `kind: BrokerCluster`",
        ),
        (
            "apiVersion: tombolo.dev/v1alpha1\nkind: Brokercluster\nmetadata: {name: x}\n",
            "a.yaml:2: Brokercluster/x: kind: `Brokercluster` is not known; did you mean `BrokerCluster`?",
        ),
        (
            "apiVersion: tombolo.dev/v1\nkind: ClusterLink\nmetadata: {name: x}\n",
            "a.yaml:1: ClusterLink/x: apiVersion: `tombolo.dev/v1` is not a version of ClusterLink; it is `tombolo.dev/v1alpha1`",
        ),
        (
            "apiVersion: v1\nkind: Secret\ndata: {}\n",
            "a.yaml:1: Secret/: metadata: missing; an object has at least `metadata: {name: …}`",
        ),
        (
            "apiVersion: v1\nkind: Secret\nmetadata:\n  labels: {}\n  name: My_Secret\n",
            "a.yaml:5: Secret/My_Secret: metadata.name: `My_Secret` is not a name; at most 253 lower case letters, digits, `-` and `.`",
        ),
        (
            &twice,
            "a.yaml:8: BrokerCluster/edge: metadata.name: given twice, first at a.yaml:1; remove one, or change its name",
        ),
    ] {
        let problems: Vec<_> = read_text(text).problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [problem]);
    }
}

#[test]
fn slips_in_a_kind_are_recognised_and_other_words_are_not() {
    for near in ["brokercluster", "BrokerClusters", "ClusterLinks", "Clusterlink", "Secrets", "BrokerCluter"] {
        assert!(Kind::ALL.iter().any(|kind| similar(kind.name(), near)), "{near}");
    }
    for far in ["Deployment", "LinkMigration", "SecretStore", "ExternalSecret", "ConfigMap", "ClusterRole"] {
        assert!(!Kind::ALL.iter().any(|kind| similar(kind.name(), far)), "{far}");
    }
}
