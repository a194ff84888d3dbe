//! A HorizontalPodAutoscaler scales a BrokerCluster by a metric that the test serves through the aggregator.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::api::DeleteParams;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::house::{House, apply, cluster_wide};
use crate::kubelet::Runs;
use crate::plane::Plane;
use crate::reconcile::{CLUSTER, edge, until_settled};

const GROUP_VERSION: &str = "external.metrics.k8s.io/v1beta1";
const SERVICE: &str = "v1beta1.external.metrics.k8s.io";

pub async fn an_autoscaler_sets_the_number_of_nodes_and_the_operator_does_not_fight_it(plane: Arc<Plane>) {
    let house = House::build(&plane, "autoscale", Runs::Nothing).await;
    let clients = Arc::new(AtomicUsize::new(50));
    let (port, serving) = serve(&plane, Arc::clone(&clients)).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"},
                         "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let registered = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": SERVICE},
                            "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1",
                                     "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": true,
                                     "service": {"name": "metrics", "namespace": house.namespace, "port": port}}});
    for object in [service, registered] {
        apply(&house.client, &house.namespace, "tests", object).await;
    }
    let operator = house.operator("one");
    // Its manager says nothing of replicas.
    house.apply(&edge(json!({}))).await;
    until_settled(&house).await;
    let window = json!({"stabilizationWindowSeconds": 0});
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "edge"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "name": "edge"},
            "minReplicas": 1, "maxReplicas": 4, "behavior": {"scaleUp": window, "scaleDown": window},
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "clients"}, "target": {"type": "AverageValue", "averageValue": "100"}}}],
        },
    });
    house.apply(&autoscaler.to_string()).await;
    for (count, nodes) in [(290, 3), (10, 1), (1_000, 4)] {
        clients.store(count, Relaxed);
        house
            .until(CLUSTER, "edge", &format!("{nodes} nodes"), |object| {
                object["spec"]["replicas"] == nodes && object["status"]["readyReplicas"] == nodes
            })
            .await;
        let cluster = until_settled(&house).await;
        assert_eq!(cluster["spec"]["replicas"], nodes);
        // The manifest once more: it says nothing of replicas, and takes nothing back.
        let again = house.apply(&edge(json!({}))).await;
        assert_eq!(again[0]["spec"]["replicas"], nodes);
    }
    let cluster = house.get(CLUSTER, "edge").await.expect("it is there");
    let managers = cluster["metadata"]["managedFields"].as_array().expect("managers");
    let owners: Vec<_> = managers.iter().filter(|entry| !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null()).collect();
    assert!(owners.iter().all(|entry| entry["manager"] == "kube-controller-manager"), "{owners:?}");
    drop(operator);
    cluster_wide(&house.client, "apiregistration.k8s.io/v1/APIService")
        .delete(SERVICE, &DeleteParams::default())
        .await
        .expect("removed");
    serving.abort();
}

/// Serves that metric over TLS; the port.
async fn serve(plane: &Plane, clients: Arc<AtomicUsize>) -> (u16, JoinHandle<()>) {
    let file = |name: &str| std::fs::read(plane.folder().join(name)).expect("written when the plane was made");
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file("apiserver.crt")).collect();
    let key = PrivateKeyDer::from_pem_slice(&file("apiserver.key")).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(certificates.expect("certificates"), key).expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("localhost", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it has an address").port();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (acceptor, clients) = (acceptor.clone(), Arc::clone(&clients));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request| answer(request, &clients));
                let serving = hyper::server::conn::http1::Builder::new();
                // How it ends is the API server's doing.
                let _ = serving.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, serving)
}

async fn answer(request: Request<Incoming>, clients: &AtomicUsize) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let body = if path == format!("/apis/{GROUP_VERSION}") {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": [
            {"name": "clients", "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]},
        ]})
    } else if path.ends_with("/clients") {
        let now = jiff::Timestamp::now().to_string();
        let value = clients.load(Relaxed).to_string();
        json!({"kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": [
            {"metricName": "clients", "metricLabels": {}, "timestamp": now, "value": value},
        ]})
    } else {
        let mut missing = Response::new(Full::default());
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return Ok(missing);
    };
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    answer.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
    Ok(answer)
}
