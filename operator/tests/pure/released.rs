//! An operator that is upgraded replaces no pod: the manifests of each release keep the hash of their pod template.
//!
//! `tests/released/VERSION` has manifests as they may stand in a cluster of that release, and the hashes that it gave them.
//! `UPDATE_GOLDEN=1` writes those of the version that is being worked on; what was released stays as it was.

use std::fs;
use std::path::{Path, PathBuf};

use tombolo_operator::plan::{DEFAULT_IMAGE, template, template_hash};
use tombolo_operator::validate::validate;

/// A line for each cluster, with the image of that release where the manifest states none: that alone an upgrade replaces.
fn hashes(folder: &Path) -> String {
    let version = folder.file_name().expect("a version").to_str().expect("text");
    let default = DEFAULT_IMAGE.replace(env!("CARGO_PKG_VERSION"), version);
    let validated = validate(&crate::common::observed(&folder.join("manifests.yaml")));
    assert_eq!(validated.problems, []);
    let line = |mut cluster: tombolo_operator::validate::ValidCluster| {
        cluster.spec.image.get_or_insert_with(|| default.clone());
        format!("{} {}\n", cluster.name, template_hash(&template(&cluster)))
    };
    validated.clusters.into_iter().map(line).collect()
}

#[test]
fn the_manifests_of_every_release_keep_the_hash_of_their_pod_template() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(all).expect("releases").map(|entry| entry.expect("one").path()).collect();
    folders.sort();
    assert!(folders.iter().any(|folder| folder.ends_with(env!("CARGO_PKG_VERSION"))), "this version has a folder, too");
    for folder in folders {
        let (file, made) = (folder.join("template-hashes.txt"), hashes(&folder));
        if std::env::var_os("UPDATE_GOLDEN").is_some() && folder.ends_with(env!("CARGO_PKG_VERSION")) {
            fs::write(&file, &made).expect("written");
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        let remedy =
            "an upgrade of the operator would replace every pod; make the template depend on a new field instead";
        assert_eq!(made, kept, "{}: {remedy}", folder.display());
    }
}
