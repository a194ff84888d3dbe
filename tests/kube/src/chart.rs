//! The chart: what it renders, what it refuses, and its CRDs on a real API server.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::house::{apply, eventually, helm, rendered, root, try_apply};
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
    ] {
        let output = helm(&["--set", values]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{values}: {said}");
    }
    let client = plane.admin().await;
    for values in [
        "networkPolicy.enabled=true",
        "watchNamespaces={default},rbac.aggregate=false",
        "replicaCount=1,image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        for mut object in rendered(&["--namespace", "default", "--set", values]) {
            if object["kind"] == "CustomResourceDefinition"
                || object["kind"].as_str().is_some_and(|kind| kind.starts_with("Validating"))
            {
                continue;
            }
            if object["kind"] == "Deployment" {
                let pod = &object["spec"]["template"]["spec"];
                let container = &pod["containers"][0]["securityContext"];
                assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
                assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
                assert_eq!(container["readOnlyRootFilesystem"], true);
                assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
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

/// Without Prometheus: every metric is documented, every alert has its page.
pub async fn alerts_rest_on_documented_metrics_and_have_a_page(_: Arc<Plane>) {
    let rules = rendered(&["--set", "metrics.rules.enabled=true,metrics.serviceMonitor.enabled=true"]);
    assert!(rules.iter().any(|object| object["kind"] == "ServiceMonitor"));
    let rules = rules.iter().find(|object| object["kind"] == "PrometheusRule").expect("rules");
    let read = |file: &str| std::fs::read_to_string(root().join("docs").join(file)).unwrap_or_default();
    let documented = read("metrics.md") + &read("operator.md");
    let alerts = rules["spec"]["groups"][0]["rules"].as_array().expect("alerts");
    assert!(alerts.len() >= 5);
    for alert in alerts {
        let (name, expression) =
            (alert["alert"].as_str().expect("a name"), alert["expr"].as_str().expect("an expression"));
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for metric in words.filter(|word| word.starts_with("tombolo_")) {
            assert!(documented.contains(metric), "{name}: {metric} is not documented");
        }
        let page = read(&format!("runbooks/{name}.md"));
        assert!(page.starts_with(&format!("# {name}:")), "{name} has no page");
        let annotations: &Value = &alert["annotations"];
        assert!(annotations["runbook_url"].as_str().is_some_and(|url| url.ends_with(&format!("/{name}.md"))));
    }
}
