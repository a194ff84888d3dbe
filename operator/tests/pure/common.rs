//! Manifests as the tests read them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tombolo_broker_api::{Cluster, ClusterNode};
use tombolo_crds::manifest::{Kind, violations};
use tombolo_operator::observed::Observed;
use tombolo_operator::plan::config::Placement;

/// The folders below `tests/golden`, sorted.
pub fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = fs::read_dir(folder).expect("cases").map(|entry| entry.expect("a case").path()).collect();
    cases.sort();
    cases
}

/// What a manifest file holds; each object must be one that the API server would take.
pub fn observed(file: &Path) -> Observed {
    let text = fs::read_to_string(file).expect("manifests");
    let mut observed = Observed::default();
    for object in serde_saphyr::from_multiple::<Value>(&text).expect("YAML") {
        let kind = match object["kind"].as_str() {
            Some("BrokerCluster") => Some(Kind::BrokerCluster),
            Some("ClusterLink") => Some(Kind::ClusterLink),
            Some(_) | None => None,
        };
        let found = kind.map(|kind| violations(kind, &object)).unwrap_or_default();
        assert!(found.is_empty(), "{}: {object:#}: {found:#?}", file.display());
        match kind {
            Some(Kind::BrokerCluster) => observed.clusters.push(serde_json::from_value(object).expect("a cluster")),
            Some(Kind::ClusterLink) => observed.links.push(serde_json::from_value(object).expect("a link")),
            None => observed.secrets.push(serde_json::from_value(object).expect("a Secret")),
        }
    }
    observed
}

/// The first of three nodes on this machine.
pub fn placement(cluster: &str) -> Placement {
    let node = |n: u16| ClusterNode { name: format!("{cluster}-{n}"), address: format!("127.0.0.1:{}", 21_000 + n) };
    Placement {
        node_name: format!("{cluster}-0"),
        bind: [127, 0, 0, 1].into(),
        admin_port: 0,
        secure_admin: None,
        ordinal: 0,
        cluster: Cluster {
            id: "an-id".to_owned(),
            bind: ([127, 0, 0, 1], 21_000).into(),
            certificate_file: "tls.crt".into(),
            key_file: "tls.key".into(),
            ca_file: "ca.crt".into(),
            nodes: (0..3).map(node).collect(),
            evacuating: Vec::new(),
        },
        data_dir: "data".into(),
    }
}
