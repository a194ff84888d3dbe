//! What holds for any manifests: the order of objects is irrelevant, bytes repeat, and pods depend on little.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tombolo_crds::ClusterLink;
use tombolo_operator::observed::Observed;
use tombolo_operator::plan::config::render;
use tombolo_operator::plan::extras::extras;
use tombolo_operator::plan::kept::KeptLinks;
use tombolo_operator::plan::{Child, Instance, children};
use tombolo_operator::validate::{ValidCluster, validate};

use crate::common::placement;

fn full() -> Observed {
    static FULL: LazyLock<Observed> = LazyLock::new(|| {
        crate::common::observed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/full/manifests.yaml"))
    });
    FULL.clone()
}

/// Links of the cluster `edge`; some are good, some want what another has, some are nonsense.
fn link() -> impl Strategy<Value = ClusterLink> {
    let filters = prop::collection::vec(prop_oneof!["[a-c/+#]{1,6}", Just("a/#".to_owned()), any::<String>()], 0..4);
    let server =
        prop::option::of(prop_oneof![Just("mqtt://h".to_owned()), Just("mqtts://h:1".to_owned()), any::<String>()]);
    let user = prop::option::of(prop_oneof![Just("a".to_owned()), Just("true".to_owned()), any::<String>()]);
    ("[a-f]", "[p-t]", filters, server, user, any::<bool>()).prop_map(
        |(name, remote, filters, server, user, enabled)| {
            let mut spec = json!({
                "clusterRef": {"name": "edge"}, "enabled": enabled, "topics": filters,
                "remote": {"clusterName": remote, "credentials": {"secretRef": {"name": "centre"}}},
            });
            if let Some(server) = server {
                spec["remote"]["server"] = json!(server);
            }
            if let Some(user) = user {
                spec["accept"] = json!({"user": user});
            }
            let object = json!({
                "apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": name}, "spec": spec,
            });
            serde_json::from_value(object).expect("a link")
        },
    )
}

fn links() -> impl Strategy<Value = (Vec<ClusterLink>, Vec<ClusterLink>)> {
    prop::collection::btree_map("[a-f]", link(), 0..6).prop_flat_map(|links| {
        let links: Vec<_> = links
            .into_iter()
            .map(|(name, mut link)| {
                link.metadata.name = Some(name);
                link
            })
            .collect();
        (Just(links.clone()), Just(links).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_objects_changes_nothing((one, other) in links()) {
        let base = full();
        let with = |links: Vec<ClusterLink>, turned: bool| {
            let mut observed = base.clone();
            observed.links.extend(links);
            if turned {
                observed.links.reverse();
                observed.secrets.reverse();
                observed.clusters.reverse();
            }
            validate(&observed)
        };
        let (one, other) = (with(one, false), with(other, true));
        prop_assert_eq!(&one, &other);
        for (one, other) in one.clusters.iter().zip(&other.clusters) {
            prop_assert_eq!(render(one, &placement("edge")), render(other, &placement("edge")));
            prop_assert_eq!(children(one, &Instance::steady(one, "id")), children(other, &Instance::steady(other, "id")));
        }
    }

    #[test]
    fn links_never_reach_the_pod_template_nor_stop_their_cluster((links, _) in links()) {
        let mut observed = full();
        let before = cluster(&observed);
        observed.links.clear();
        observed.links.extend(links);
        let after = cluster(&observed);
        prop_assert_eq!(template(&before), template(&after));
    }

    #[test]
    fn any_text_in_a_secret_is_judged_and_rendered_without_a_panic(user in any::<String>(), password in any::<String>()) {
        let mut observed = full();
        for secret in &mut observed.secrets {
            if secret.metadata.name.as_deref() == Some("users") {
                secret.string_data.get_or_insert_default().insert(user.clone(), password.clone());
            }
        }
        for cluster in validate(&observed).clusters {
            let rendered = render(&cluster, &placement("edge"));
            let users: std::collections::BTreeMap<String, String> =
                serde_saphyr::from_slice(&rendered.files["users.yaml"]).expect("YAML");
            let kept = password.strip_suffix('\n').unwrap_or(&password);
            let kept = kept.strip_suffix('\r').unwrap_or(kept);
            prop_assert_eq!(users.get(&user).map(String::as_str), Some(kept));
        }
    }
}

/// What a cluster may look like on its way.
fn instance() -> impl Strategy<Value = Instance> {
    let evacuating = prop::collection::vec(0_u16..64, 0..4);
    (0_u16..=64, 0_u16..=64, 0_u16..=64, evacuating, prop::option::of("[1-9]Gi")).prop_map(
        |(replicas, partition, nodes, evacuating, claim_size)| Instance {
            cluster_id: "id".to_owned(),
            admin_token: None,
            replicas,
            partition,
            nodes,
            evacuating,
            claim_size,
            kept: KeptLinks::default(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_under_way_the_pod_template_is_the_same(one in instance(), other in instance()) {
        let cluster = cluster(&full());
        let template = |instance: &Instance| children(&cluster, instance).last().expect("the set").to_json()["spec"]["template"].clone();
        prop_assert_eq!(template(&one), template(&other));
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(instance in instance(), (links, _) in links()) {
        let mut observed = full();
        observed.links.extend(links);
        let bytes = || {
            let cluster = cluster(&observed);
            let objects: Vec<_> = children(&cluster, &instance).iter().map(|child| child.to_json().to_string()).collect();
            (objects, extras(&cluster).into_iter().map(|(_, object)| object.to_string()).collect::<Vec<_>>())
        };
        prop_assert_eq!(bytes(), bytes());
    }

    #[test]
    fn selectors_find_the_pods_and_every_name_is_one_label(name in "[a-z]([-a-z0-9]{0,43}[a-z0-9])?", instance in instance()) {
        let mut observed = full();
        observed.links.clear();
        observed.clusters[0].metadata.name = Some(name);
        let cluster = cluster(&observed);
        let objects: Vec<_> = children(&cluster, &instance).iter().map(Child::to_json).collect();
        let set = objects.last().expect("the set");
        let labels = set["spec"]["template"]["metadata"]["labels"].as_object().expect("labels");
        for object in &objects {
            let spec = &object["spec"];
            let selectors = [&spec["selector"]["matchLabels"], &spec["podSelector"]["matchLabels"], &spec["selector"]];
            for (key, value) in selectors.into_iter().filter_map(Value::as_object).flatten() {
                prop_assert!(key == "matchLabels" || labels.get(key) == Some(value), "{}: {}", object["kind"], key);
                prop_assert!(!key.contains("version"), "a selector outlives upgrades");
            }
            let name = object["metadata"]["name"].as_str().expect("a name");
            prop_assert!(name.len() <= 63 && !name.ends_with('-'), "{}", name);
            let values = object["metadata"]["labels"].as_object().into_iter().flatten();
            prop_assert!(values.into_iter().all(|(_, value)| value.as_str().is_some_and(|value| value.len() <= 63)));
        }
        // The longest names that are made of it: a pod with its revision, and its claim.
        let pod = format!("{}-63", cluster.name);
        prop_assert!(pod.len() + 11 <= 63, "{}", pod);
    }
}

#[test]
fn what_can_be_reloaded_never_reaches_the_pod_template() {
    let before = template(&cluster(&full()));
    let changes: [(&str, Change); 6] = [
        ("replicas", |spec| spec["replicas"] = json!(0)),
        ("listeners", |spec| spec["listeners"] = json!([{"name": "x", "protocol": "MQTT", "port": 1}])),
        ("users", |spec| spec["authentication"] = json!({"anonymous": "Allowed"})),
        ("linkAccess", |spec| spec["linkAccess"] = json!([{"clusterName": "x", "user": "a", "send": ["#"]}])),
        ("config.mqtt", |spec| spec["config"]["mqtt"] = json!({"receiveMaximum": 7})),
        ("service", |spec| spec["service"] = json!({"type": "NodePort"})),
    ];
    for (what, change) in changes {
        assert_eq!(template(&changed(change)), before, "{what}");
    }
    let restart: [(&str, Change); 3] = [
        ("config.shards", |spec| spec["config"]["shards"] = json!(3)),
        ("image", |spec| spec["image"] = json!("other")),
        ("podOverrides", |spec| spec["podOverrides"] = json!({"metadata": {"labels": {"a": "b"}}})),
    ];
    for (what, change) in restart {
        assert_ne!(template(&changed(change)), before, "{what}");
    }
}

#[test]
fn every_change_of_the_folder_changes_the_hash() {
    let hash = |cluster: &ValidCluster| render(cluster, &placement("edge")).config.hash;
    let before = hash(&cluster(&full()));
    assert_eq!(before, hash(&cluster(&full())), "the same input");
    let mut observed = full();
    for secret in &mut observed.secrets {
        if secret.metadata.name.as_deref() == Some("edge-tls") {
            let certificate = "-----BEGIN CERTIFICATE-----\nTkVX\n-----END CERTIFICATE-----\n";
            secret.string_data.get_or_insert_default().insert("tls.crt".to_owned(), certificate.to_owned());
        }
    }
    assert_ne!(before, hash(&cluster(&observed)), "a renewed certificate");
    let fewer_links = {
        let mut observed = full();
        observed.links.pop();
        cluster(&observed)
    };
    assert_ne!(before, hash(&fewer_links), "a link less");
}

#[test]
fn a_secret_without_users_is_an_empty_map() {
    let mut observed = full();
    observed.links.clear();
    for secret in observed.secrets.iter_mut().filter(|secret| secret.metadata.name.as_deref() == Some("users")) {
        secret.string_data = None;
    }
    let rendered = render(&cluster(&observed), &placement("edge"));
    let users = serde_saphyr::from_slice::<std::collections::BTreeMap<String, String>>(&rendered.files["users.yaml"]);
    assert!(users.is_ok_and(|users| users.is_empty()));
}

#[test]
fn names_and_labels_fit_at_their_longest() {
    let name = format!("a{}", "b".repeat(44));
    let mut observed = full();
    observed.links.clear();
    observed.clusters[0].metadata.name = Some(name.clone());
    let cluster = cluster(&observed);
    for child in children(&cluster, &Instance::steady(&cluster, "id")) {
        let metadata = child.metadata();
        // A pod's name is that of the StatefulSet, `-` and two digits; the revision label has eleven characters more.
        assert!(metadata.name.as_ref().is_some_and(|name| name.len() <= 52), "{:?}", metadata.name);
        for value in metadata.labels.iter().flatten().map(|(_, value)| value) {
            assert!(value.len() <= 63, "{value}");
        }
    }
}

fn cluster(observed: &Observed) -> ValidCluster {
    let mut validated = validate(observed);
    assert_eq!(validated.clusters.len(), 1, "{:#?}", validated.problems);
    validated.clusters.remove(0)
}

type Change = fn(&mut Value);

fn changed(change: Change) -> ValidCluster {
    let mut observed = full();
    let mut spec = serde_json::to_value(&observed.clusters[0].spec).expect("JSON");
    change(&mut spec);
    observed.clusters[0].spec = serde_json::from_value(spec).expect("a spec");
    observed.links.clear();
    cluster(&observed)
}

fn template(cluster: &ValidCluster) -> Value {
    let set = children(cluster, &Instance::steady(cluster, "id"))
        .into_iter()
        .find(|child| matches!(child, Child::StatefulSet(_)))
        .expect("a StatefulSet");
    set.to_json()["spec"]["template"].clone()
}
