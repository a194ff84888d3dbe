//! How the nodes of a cluster find each other on Kubernetes.

use std::path::Path;

use tombolo_broker_api::Config;
use tombolo_operator::plan::config::CONFIG_FILE;
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
