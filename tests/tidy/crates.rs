//! A crate depends on the crates below its own and on no other of the house.

use crate::dependencies::declared;
use crate::tree::File;

/// Folder of each crate, its name, and the crates of the house that it may use.
const CRATES: [(&str, &str, &[&str]); 8] = [
    ("crds", "tombolo-crds", &[]),
    ("broker/api", "tombolo-broker-api", &[]),
    ("operator", "tombolo-operator", &["tombolo-crds", "tombolo-broker-api"]),
    ("broker", "tombolo-broker", &["tombolo-broker-api"]),
    ("cli", "tombolo", &["tombolo-crds", "tombolo-broker-api", "tombolo-operator", "tombolo-broker"]),
    ("tests", "tombolo-tests", &["tombolo-broker-api"]),
    ("tests/kube", "tombolo-kube-tests", &["tombolo-crds", "tombolo-broker-api", "tombolo-tests"]),
    ("tests/loadgen", "tombolo-loadgen", &["tombolo-broker-api"]),
];

/// Dependencies that go the wrong way, and crates that the table does not know.
pub fn check(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|f| f.name() == "Cargo.toml" && !f.folder().is_empty()) {
        let Some((_, name, allowed)) = CRATES.iter().find(|c| c.0 == file.folder()) else {
            faults.push(format!("{}: this crate has no place in tests/tidy/crates.rs", file.path));
            continue;
        };
        for used in declared(&file.text).filter(|d| CRATES.iter().any(|c| c.1 == *d)) {
            // Itself with a feature, for its tests.
            if used != *name && !allowed.contains(&used) {
                faults.push(format!("{}: {name} may not depend on {used}, only on {allowed:?}", file.path));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_must_not_know_the_operator() {
        let bad = File::new("broker/Cargo.toml", "[dependencies]\ntombolo-operator.workspace = true\n");
        assert!(check(&[bad])[0].contains("may not depend on tombolo-operator"));
        let good = File::new("operator/Cargo.toml", "[dependencies]\ntombolo-crds = { workspace = true }\n");
        assert!(check(&[good]).is_empty());
        assert!(!check(&[File::new("new/Cargo.toml", "")]).is_empty());
    }
}
