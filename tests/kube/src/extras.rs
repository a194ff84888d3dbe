//! Kinds that may be missing: ServiceMonitor and Certificate, with the smallest CRDs that bear their names.

use std::sync::Arc;

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::house::{House, apply, conditions, eventually};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, SET, edge, until_settled};

const MONITOR: &str = "monitoring.coreos.com/v1/ServiceMonitor";
const CERTIFICATE: &str = "cert-manager.io/v1/Certificate";

fn crd(group: &str, kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"),
                     "annotations": {"api-approved.kubernetes.io": "unapproved, of the tests"}},
        "spec": {"group": group, "scope": "Namespaced",
                 "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                 "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                     "type": "object", "properties": {"spec": {
                         "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]},
    })
}

/// What cert-manager writes for a Certificate.
fn issued(certificate: &Value) -> Value {
    let mut params = CertificateParams::new(Vec::new()).expect("an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let names = certificate["spec"]["dnsNames"].as_array().expect("names").iter();
    let names: Vec<_> = names.map(|name| name.as_str().expect("a name").to_owned()).collect();
    let key = KeyPair::generate().expect("a key");
    let made = CertificateParams::new(names).expect("names").signed_by(&key, &authority).expect("signed");
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
           "metadata": {"name": certificate["spec"]["secretName"]},
           "stringData": {"tls.crt": made.pem(), "tls.key": key.serialize_pem(), "ca.crt": authority.pem()}})
}

pub async fn what_prometheus_and_cert_manager_are_asked_for_waits_for_their_kinds_and_follows_them(plane: Arc<Plane>) {
    let house = House::build(&plane, "extras", Runs::Nothing).await;
    let mut operator = house.operator("one");
    let asking = edge(json!({"internodeTLS": {"issuerRef": {"name": "ca"}},
                             "monitoring": {"serviceMonitor": "Managed", "labels": {"release": "prometheus"}}}));
    house.apply(&asking).await;
    let cluster = house.until_condition(CLUSTER, "edge", "MonitoringReady", "False", "CRDMissing").await;
    let said = conditions(&cluster).find(|found| found["type"] == "MonitoringReady").expect("it was awaited");
    assert!(said["message"].as_str().is_some_and(|message| message.contains("servicemonitors.monitoring.coreos.com")));
    house.until_condition(CLUSTER, "edge", "TLSReady", "False", "CRDMissing").await;
    house.until(SET, "edge", "what can be made is made", |_| true).await;
    assert!(house.get("v1/Secret", "edge-internode").await.is_none(), "nobody else makes a certificate");
    apply(&house.client, "default", "tests", crd("monitoring.coreos.com", "ServiceMonitor", "servicemonitors")).await;
    apply(&house.client, "default", "tests", crd("cert-manager.io", "Certificate", "certificates")).await;
    house.until_condition(CLUSTER, "edge", "MonitoringReady", "True", "Converged").await;
    let monitor = house.get(MONITOR, "edge").await.expect("it is said to be there");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["metadata"]["ownerReferences"][0]["kind"], "BrokerCluster");
    let cluster = house.until_condition(CLUSTER, "edge", "TLSReady", "False", "CertificatePending").await;
    assert!(conditions(&cluster).any(|found| found["type"] == "Reconciling"), "somebody else is at work");
    let certificate = house.get(CERTIFICATE, "edge-internode").await.expect("it is awaited");
    house.apply(&issued(&certificate).to_string()).await;
    house.until_condition(CLUSTER, "edge", "TLSReady", "True", "Converged").await;
    until_settled(&house).await;
    // Drift.
    for (kind, name) in [(MONITOR, "edge"), (CERTIFICATE, "edge-internode")] {
        let uid = house.get(kind, name).await.expect("it is there")["metadata"]["uid"].clone();
        house.api(kind).delete(name, &DeleteParams::default()).await.expect("removed");
        house.until(kind, name, "it comes back", |object| object["metadata"]["uid"] != uid).await;
    }
    assert!(house.get("v1/Secret", "edge-internode").await.is_some(), "what another one made stays");
    // What is not wanted any more goes, also under an operator that never saw it wanted.
    assert!(operator.process.terminate().await.success());
    house.apply(&edge(json!({"internodeTLS": {"issuerRef": {"name": "ca"}}}))).await;
    let _operator = house.operator("two");
    eventually("the ServiceMonitor goes", async || house.get(MONITOR, "edge").await.is_none()).await;
    house.until_condition(CLUSTER, "edge", "MonitoringReady", "True", "NotUsed").await;
    // A kind that is taken away is said again.
    let crds = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let crds: Api<DynamicObject> = Api::all_with(house.client.clone(), &crds);
    crds.delete("certificates.cert-manager.io", &DeleteParams::default()).await.expect("removed");
    house.until_condition(CLUSTER, "edge", "TLSReady", "False", "CRDMissing").await;
}
