//! Names of Services, as in `mqtt://deployment-cloud:2883`, lead to nodes on this machine: what Kubernetes takes runs here as it
//! is.

use std::net::IpAddr;

use tombolo_operator::plan::Names;
use tombolo_operator::validate::{ValidCluster, ValidDial, port_of};

/// The same clusters, whose links dial addresses of this machine where they name a Service or a pod of one of them.
///
/// Other names are left to DNS, as is a port that no listener has.
pub fn resolve(clusters: &[ValidCluster], ip: IpAddr) -> Vec<ValidCluster> {
    let mut resolved = clusters.to_vec();
    for cluster in &mut resolved {
        for dial in cluster.links.iter_mut().filter_map(|link| link.dial.as_mut()) {
            replace(dial, &cluster.namespace, clusters, ip);
        }
    }
    resolved
}

fn replace(dial: &mut ValidDial, namespace: &str, clusters: &[ValidCluster], ip: IpAddr) {
    let mut servers = Vec::new();
    for url in std::mem::take(&mut dial.servers) {
        let Some((host, found)) = addresses(&url, namespace, clusters, ip).filter(|(_, found)| !found.is_empty())
        else {
            servers.push(url);
            continue;
        };
        // The certificate is for the name that the manifest has.
        if let Some(tls) = &mut dial.tls {
            tls.server_name.get_or_insert_with(|| host.to_owned());
        }
        servers.extend(found);
    }
    let mut seen = std::collections::BTreeSet::new();
    servers.retain(|url| seen.insert(url.clone()));
    dial.servers = servers;
}

/// The host of an address, and the addresses that it leads to.
fn addresses<'a>(
    url: &'a str,
    namespace: &str,
    clusters: &[ValidCluster],
    ip: IpAddr,
) -> Option<(&'a str, Vec<String>)> {
    let (scheme, authority) = url.split_once("://")?;
    let (host, port) = authority.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let (cluster, nodes) = clusters.iter().find_map(|cluster| Some((cluster, nodes(host, namespace, cluster)?)))?;
    cluster.listeners.iter().find(|listener| listener.port == port)?;
    let at = |port| std::net::SocketAddr::new(ip, port);
    let found = nodes.filter_map(|ordinal| Some(format!("{scheme}://{}", at(port_of(port, ordinal)?))));
    Some((host, found.collect()))
}

/// Nodes of a cluster that a name means as a pod of that namespace would see it: all for its Services, one for a pod.
fn nodes(host: &str, namespace: &str, cluster: &ValidCluster) -> Option<std::ops::Range<u16>> {
    let labels: Vec<&str> = host.split('.').collect();
    let names = Names::of(&cluster.name);
    // Without a namespace, a name is of the own one.
    let here = |rest: &[&str]| match rest {
        [] => cluster.namespace == namespace,
        [other] | [other, "svc"] | [other, "svc", "cluster", "local"] => cluster.namespace == *other,
        _ => false,
    };
    match labels.as_slice() {
        [service, rest @ ..] if (*service == names.cluster || *service == names.nodes) && here(rest) => {
            Some(0..cluster.nodes())
        }
        [pod, service, rest @ ..] if *service == names.nodes && here(rest) => {
            let ordinal = (0..cluster.nodes()).find(|ordinal| cluster.node(*ordinal) == *pod)?;
            Some(ordinal..ordinal + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::check::check;
    use crate::source::Source;

    fn clusters(server: &str) -> Vec<ValidCluster> {
        let text = format!(
            "apiVersion: tombolo.dev/v1alpha1
kind: BrokerCluster
metadata: {{name: near}}
spec: {{listeners: [{{name: mqtt, protocol: MQTT, port: 1883}}]}}
---
apiVersion: tombolo.dev/v1alpha1
kind: BrokerCluster
metadata: {{name: far, namespace: cloud}}
spec: {{replicas: 2, listeners: [{{name: mqtt, protocol: MQTT, port: 2883}}]}}
---
apiVersion: tombolo.dev/v1alpha1
kind: Secret
metadata: {{name: link}}
stringData: {{username: link, password: secret}}
---
apiVersion: tombolo.dev/v1alpha1
kind: ClusterLink
metadata: {{name: to-far}}
spec:
  clusterRef: {{name: near}}
  remote: {{clusterName: far, server: \"{server}\", credentials: {{secretRef: {{name: link}}}}}}
  topics: [t]
"
        )
        .replace("apiVersion: tombolo.dev/v1alpha1\nkind: Secret", "apiVersion: v1\nkind: Secret");
        check(&[Source { file: "a.yaml".into(), text }], &[]).expect("no mistake").clusters
    }

    fn dialled(server: &str) -> ValidDial {
        let resolved = resolve(&clusters(server), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let near = resolved.into_iter().find(|cluster| cluster.name == "near").expect("it is there");
        near.links[0].dial.clone().expect("it dials")
    }

    #[test]
    fn a_service_leads_to_all_nodes_and_the_name_of_a_pod_to_one() {
        let all = ["mqtt://127.0.0.1:2883", "mqtt://127.0.0.1:2884"];
        for name in ["far.cloud", "far.cloud.svc", "far.cloud.svc.cluster.local", "far-nodes.cloud.svc"] {
            assert_eq!(dialled(&format!("mqtt://{name}:2883")).servers, all, "{name}");
        }
        assert_eq!(dialled("mqtt://far-1.far-nodes.cloud.svc:2883").servers, all[1..]);
        assert_eq!(dialled("mqtt://near:1883").servers, ["mqtt://127.0.0.1:1883"], "of the own namespace");
    }

    #[test]
    fn what_is_no_service_of_ours_is_left_to_dns() {
        for server in [
            "mqtt://broker.example.com:2883",
            "mqtt://far:2883",
            "mqtt://far.elsewhere.svc:2883",
            "mqtt://far-2.far-nodes.cloud.svc:2883",
            "mqtt://far.cloud.svc:1883",
            "mqtt://127.0.0.1:2883",
            "mqtt://[::1]:2883",
        ] {
            assert_eq!(dialled(server).servers, [server]);
        }
    }

    #[test]
    fn a_certificate_is_for_the_name_that_the_manifest_has() {
        let name = |server: &str| dialled(server).tls.expect("mqtts").server_name;
        assert_eq!(name("mqtts://far.cloud.svc:2883").as_deref(), Some("far.cloud.svc"));
        assert_eq!(name("mqtts://broker.example.com:2883"), None);
    }
}
