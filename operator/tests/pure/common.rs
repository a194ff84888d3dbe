//! Manifests as the tests read them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tombolo_crds::manifest::{Kind, violations};
use tombolo_operator::observed::Observed;

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
