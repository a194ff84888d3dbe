//! How the nodes of a cluster find each other on Kubernetes.

use std::path::Path;

use serde_json::{Value, json};
use tombolo_broker_api::{Config, Seconds};
use tombolo_operator::observed::Observed;
use tombolo_operator::plan::config::CONFIG_FILE;
use tombolo_operator::plan::extras::extras;
use tombolo_operator::plan::{Child, Instance, children};
use tombolo_operator::validate::{ValidCluster, validate};

fn plant() -> ValidCluster {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/three-nodes/manifests.yaml");
    let clusters = validate(&crate::common::observed(&case)).clusters;
    clusters.into_iter().find(|cluster| cluster.name == "plant").expect("the cluster of three")
}

/// The configuration that all pods read.
fn configuration(cluster: &ValidCluster) -> Config {
    let secret = children(cluster, &Instance::steady(cluster, "the-uid")).into_iter().find_map(|child| match child {
        Child::Secret(secret) => secret.data,
        Child::ServiceAccount(_)
        | Child::Service(_)
        | Child::NetworkPolicy(_)
        | Child::PodDisruptionBudget(_)
        | Child::StatefulSet(_) => None,
    });
    serde_saphyr::from_slice(&secret.expect("a Secret")[CONFIG_FILE].0).expect("a configuration")
}

#[test]
fn each_node_is_named_at_the_address_that_the_headless_service_gives_its_pod() {
    let plant = plant();
    let cluster = configuration(&plant).cluster.expect("nodes");
    assert_eq!(cluster.id, "the-uid");
    assert_eq!(cluster.bind.to_string(), "0.0.0.0:7883");
    let nodes: Vec<_> = cluster.nodes.iter().map(|node| (&*node.name, &*node.address)).collect();
    let expected = [
        ("plant-0", "plant-0.plant-nodes.site.svc:7883"),
        ("plant-1", "plant-1.plant-nodes.site.svc:7883"),
        ("plant-2", "plant-2.plant-nodes.site.svc:7883"),
    ];
    assert_eq!(nodes, expected);
    let headless = children(&plant, &Instance::steady(&plant, "the-uid")).into_iter().map(|child| child.to_json());
    let headless = headless.into_iter().find(|object| object["metadata"]["name"] == "plant-nodes").expect("a Service");
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(headless["spec"]["ports"][1]["name"], "cluster");
}

#[test]
fn the_secret_that_the_manifest_names_or_the_one_of_the_plan_lies_where_the_configuration_looks() {
    for (mut plant, secret) in [(plant(), "nodes"), (plant(), "plant-internode")] {
        if secret != "nodes" {
            plant.internode_tls = None;
        }
        let set =
            children(&plant, &Instance::steady(&plant, "the-uid")).pop().expect("a StatefulSet comes last").to_json();
        let pod = &set["spec"]["template"]["spec"];
        let volumes = pod["volumes"].as_array().expect("volumes");
        let volume = volumes.iter().find(|volume| volume["name"] == "internode").expect("a volume");
        assert_eq!(volume["secret"]["secretName"], secret);
        let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
        let mount = mounts.iter().find(|mount| mount["name"] == "internode").expect("a mount");
        let folder = mount["mountPath"].as_str().expect("a path");
        let cluster = configuration(&plant).cluster.expect("nodes");
        let files = [&cluster.certificate_file, &cluster.key_file, &cluster.ca_file];
        assert_eq!(
            files.map(|file| file.strip_prefix(folder).expect("below it").to_str()),
            [Some("tls.crt"), Some("tls.key"), Some("ca.crt")]
        );
    }
}

#[test]
fn a_stopped_cluster_names_the_node_that_it_begins_with() {
    let mut plant = plant();
    plant.spec.replicas = 0;
    let nodes = configuration(&plant).cluster.expect("nodes").nodes;
    assert_eq!(nodes.iter().map(|node| &*node.name).collect::<Vec<_>>(), ["plant-0"]);
}

#[test]
fn a_node_that_is_told_to_stop_ends_before_its_pod_is_ended_by_force() {
    let cases = [
        (json!({}), 100),
        (json!({"update": {"terminationGracePeriodSeconds": 30}}), 23),
        (json!({"update": {"terminationGracePeriodSeconds": 5}}), 4),
        (json!({"update": {"terminationGracePeriodSeconds": 3600, "evacuation": {"deadlineSeconds": 60}}}), 3580),
        (json!({"podOverrides": {"spec": {"terminationGracePeriodSeconds": 60}}}), 45),
        (json!({"config": {"cluster": {"evacuation": {"stopTimeout": 7}}}}), 7),
        (json!({"config": {"cluster": {"evacuation": {"stopTimeout": "10m", "timeout": "1h"}}}}), 100),
    ];
    for (mut spec, seconds) in cases {
        spec["authentication"] = json!({"anonymous": "Allowed"});
        let cluster = json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "edge"},
                             "spec": spec});
        let cluster = serde_json::from_value(cluster).expect("a cluster");
        let validated = validate(&Observed { clusters: vec![cluster], ..Observed::default() });
        let evacuation = &configuration(&validated.clusters[0]).tuning.cluster.evacuation;
        assert_eq!(evacuation.stop_timeout, Some(Seconds(seconds)), "{spec}");
    }
}

#[test]
fn an_issuer_is_asked_for_a_certificate_that_names_every_node_and_none_is_made_beside_it() {
    let cluster = |more: Value| {
        let mut spec = json!({"authentication": {"anonymous": "Allowed"}, "replicas": 3});
        more.as_object().expect("fields").iter().for_each(|(key, value)| spec[key] = value.clone());
        let cluster = json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster",
                             "metadata": {"name": "edge", "namespace": "site", "uid": "u"}, "spec": spec});
        let cluster = serde_json::from_value(cluster).expect("a cluster");
        validate(&Observed { clusters: vec![cluster], ..Observed::default() }).clusters.remove(0)
    };
    assert_eq!(extras(&cluster(json!({}))), []);
    let asked = extras(&cluster(json!({
        "internodeTLS": {"issuerRef": {"name": "ca", "kind": "ClusterIssuer"}},
        "monitoring": {"serviceMonitor": "Managed", "labels": {"release": "prometheus",
                                                              "app.kubernetes.io/instance": "mine"}},
    })));
    let [(_, monitor), (_, certificate)] = asked.as_slice() else { panic!("two: {asked:?}") };
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["metadata"]["labels"]["app.kubernetes.io/instance"], "edge", "the operator finds it by that");
    let scraped = monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels");
    let services: Vec<_> = children(&cluster(json!({})), &Instance::steady(&cluster(json!({})), "u"))
        .iter()
        .map(Child::to_json)
        .filter(|child| child["kind"] == "Service")
        .filter(|child| scraped.iter().all(|(key, value)| &child["metadata"]["labels"][key] == value))
        .collect();
    assert_eq!(services.len(), 1, "each node is scraped once");
    assert_eq!(services[0]["spec"]["ports"][0]["name"], monitor["spec"]["endpoints"][0]["port"]);
    let spec = &certificate["spec"];
    assert_eq!(spec["issuerRef"], json!({"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "ca"}));
    assert_eq!(
        (&spec["secretName"], &certificate["metadata"]["name"]),
        (&json!("edge-internode"), &json!("edge-internode"))
    );
    let names = spec["dnsNames"].as_array().expect("names");
    for name in ["edge-0", "edge-63", "*.edge-nodes.site.svc"] {
        assert!(names.iter().any(|named| named == name), "{name}");
    }
    for usage in ["server auth", "client auth"] {
        assert!(spec["usages"].as_array().is_some_and(|usages| usages.iter().any(|found| found == usage)), "{usage}");
    }
    assert_eq!(spec["privateKey"]["rotationPolicy"], "Always");
}
