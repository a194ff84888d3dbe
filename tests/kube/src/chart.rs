//! The chart: what it renders, what it refuses, and its CRDs on a real API server.

use std::sync::Arc;

use serde_json::json;

use crate::charts::restricted;
use crate::house::{apply, eventually, helm, rendered, try_apply};
use crate::plane::Plane;

/// Installs the CRDs as the chart does, and waits until they are served.
pub async fn install_crds(plane: &Plane) {
    let client = plane.admin().await;
    for object in rendered(&[]) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind == "CustomResourceDefinition" || kind.starts_with("ValidatingAdmissionPolicy") {
            apply(&client, "default", "helm", object).await;
        }
    }
    eventually("the CRDs are served", async || {
        client.list_api_group_resources("tombolo.dev/v1alpha1").await.is_ok_and(|list| list.resources.len() >= 4)
    })
    .await;
}

/// Values by name, and objects by dry run.
pub async fn the_chart_refuses_what_it_does_not_know_and_its_objects_are_what_the_api_server_takes(plane: Arc<Plane>) {
    for (values, says) in [
        ("unknown=1", "unknown"),
        ("image.digset=x", "digset"),
        ("image.digest=latest", "digest"),
        ("replicaCount=many", "replicaCount"),
        ("crds.keep=perhaps", "keep"),
        ("watchNamespaces={Not_A_Name}", "watchNamespaces"),
        ("test.image.repo=x", "repo"),
        ("broker.image.pullPolicy=Always", "pullPolicy"),
        ("metrics.rules.disabled={TomboloNodes Apart}", "disabled"),
        ("dashboards.label=x", "label"),
    ] {
        let output = helm(&["--set", values]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{values}: {said}");
    }
    let client = plane.admin().await;
    for values in [
        "networkPolicy.enabled=true,dashboards.enabled=true",
        "watchNamespaces={default},rbac.aggregate=false",
        "replicaCount=1,image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        for mut object in rendered(&["--namespace", "default", "--set", values]) {
            if object["kind"] == "CustomResourceDefinition"
                || object["kind"].as_str().is_some_and(|kind| kind.starts_with("Validating"))
            {
                continue;
            }
            match object["kind"].as_str() {
                Some("Deployment") => restricted(&object["spec"]["template"]),
                Some("Pod") => restricted(&object),
                Some(_) | None => {}
            }
            if values.starts_with("watchNamespaces") {
                assert!(!object["kind"].as_str().is_some_and(|kind| kind.starts_with("ClusterRole")), "Roles only");
            }
            // Objects of this test alone.
            let name = format!("chart-{}", object["metadata"]["name"].as_str().expect("a name"));
            object["metadata"]["name"] = json!(name);
            apply(&client, "default", "tests", object).await;
        }
    }
    let crds = rendered(&[]);
    let crds: Vec<_> = crds.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(crds.len(), 2);
    assert!(crds.iter().all(|crd| crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"));
    assert!(
        rendered(&["--set", "crds.enabled=false"]).iter().all(|object| object["kind"] != "CustomResourceDefinition")
    );
}

/// By the policy that comes with the chart.
pub async fn a_crd_of_an_older_release_does_not_replace_a_newer_one(plane: Arc<Plane>) {
    let client = plane.admin().await;
    let crds = rendered(&[]);
    let crd = crds.iter().find(|object| object["metadata"]["name"] == "clusterlinks.tombolo.dev").expect("a CRD");
    let of = |version: &str| {
        let mut crd = crd.clone();
        crd["metadata"]["annotations"]["tombolo.dev/bundle-version"] = json!(version);
        crd
    };
    let now = crd["metadata"]["annotations"]["tombolo.dev/bundle-version"].as_str().expect("a version").to_owned();
    // A policy binds some seconds after it was made.
    eventually("an older CRD is refused", async || match try_apply(&client, "default", "helm", of("v0.0.1")).await {
        Err(error) => {
            assert!(error.to_string().contains("must not be replaced by that of v0.0.1"), "{error}");
            true
        }
        Ok(_) => {
            apply(&client, "default", "helm", of(&now)).await;
            false
        }
    })
    .await;
    apply(&client, "default", "helm", of(&now)).await;
}
