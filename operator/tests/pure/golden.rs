//! Each case's manifests give the problems, files and child objects that are checked in beside them.
//!
//! `UPDATE_GOLDEN=1 cargo test -p tombolo-operator --test pure golden` writes them anew; read the difference before a commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tombolo_broker_api::Config;
use tombolo_operator::plan::config::{CONFIG_FILE, render};
use tombolo_operator::plan::{Child, Instance, children};
use tombolo_operator::validate::{Validated, shared_address, validate};

use crate::common::placement;

#[test]
fn manifests_give_what_is_checked_in() {
    let mut differences = String::new();
    for case in crate::common::cases() {
        let made = outcome(&validate(&crate::common::observed(&case.join("manifests.yaml"))));
        let folder = case.join("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            write(&folder, &made);
        }
        differences += &compare(&folder, &read(&folder), &made);
    }
    assert!(differences.is_empty(), "{differences}\nUPDATE_GOLDEN=1 writes the files anew");
}

#[test]
fn what_is_rendered_is_read_back_as_it_was_meant() {
    for case in crate::common::cases() {
        for cluster in validate(&crate::common::observed(&case.join("manifests.yaml"))).clusters {
            let rendered = render(&cluster, &placement(&cluster.name));
            let config: Config = serde_saphyr::from_slice(&rendered.files[CONFIG_FILE]).expect("a configuration");
            assert_eq!(config, rendered.config, "{}", case.display());
            if let Some(users) = &cluster.users {
                let file = config.authentication.users_file.expect("a file of users");
                let content = &rendered.files[file.to_str().expect("text")];
                let read: BTreeMap<String, String> = serde_saphyr::from_slice(content).expect("users");
                let meant = users.iter().map(|(user, password)| (user.clone(), password.reveal().to_vec()));
                assert!(read.into_iter().map(|(user, password)| (user, password.into_bytes())).eq(meant));
            }
        }
    }
}

/// Content by path below the case's folder of expectations.
fn outcome(validated: &Validated) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let lines = |problems: &[tombolo_operator::validate::Problem]| {
        problems.iter().map(|problem| format!("{problem}\n")).collect::<String>()
    };
    files.insert("problems.txt".to_owned(), lines(&validated.problems));
    files.insert("warnings.txt".to_owned(), lines(&validated.warnings));
    files.insert("shared-address.txt".to_owned(), lines(&shared_address(&validated.clusters)));
    files.retain(|_, content| !content.is_empty());
    for cluster in &validated.clusters {
        for (name, content) in render(cluster, &placement(&cluster.name)).files {
            files.insert(format!("{}/{name}", cluster.name), String::from_utf8(content).expect("text"));
        }
        let objects = children(cluster, &Instance::steady(cluster, cluster.uid.as_deref().unwrap_or("no-uid")))
            .iter()
            .map(shown)
            .collect::<Vec<_>>()
            .join("---\n");
        let title = format!("# The child objects of cluster {} on Kubernetes.\n", cluster.name);
        files.insert(format!("{}/children.yaml", cluster.name), title + &objects);
    }
    files
}

/// A child object as YAML; of a Secret only the sizes, since its content is checked as files.
fn shown(child: &Child) -> String {
    let mut object = child.to_json();
    if let Child::Secret(secret) = child {
        let sizes = secret
            .data
            .iter()
            .flatten()
            .map(|(key, content)| (key.clone(), json!(format!("{} bytes", content.0.len()))));
        object["data"] = Value::Object(sizes.collect());
    }
    serde_saphyr::to_string(&object).expect("YAML")
}

fn read(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_str().expect("text").to_owned();
                files.insert(name, fs::read_to_string(&path).expect("text"));
            }
        }
    }
    files
}

fn write(folder: &Path, files: &BTreeMap<String, String>) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("removed");
    }
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    }
}

/// Each file that differs, with its first differing line and those around it.
fn compare(folder: &Path, expected: &BTreeMap<String, String>, made: &BTreeMap<String, String>) -> String {
    let mut differences = String::new();
    let mut names: Vec<_> = expected.keys().chain(made.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let path = folder.join(name);
        let (old, new) = match (expected.get(name), made.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => (old, new),
            (Some(_), None) => {
                differences += &format!("\n{} is no longer made\n", path.display());
                continue;
            }
            (None, made) => {
                differences += &format!("\n{} is new:\n{}", path.display(), made.cloned().unwrap_or_default());
                continue;
            }
        };
        let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
        let at = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        differences += &format!("\n{}:{}\n", path.display(), at + 1);
        let around = |lines: &[&str], sign: char| -> String {
            lines.iter().skip(at).take(6).map(|line| format!("{sign} {line}\n")).collect()
        };
        differences += &old[at.saturating_sub(3)..at].iter().map(|line| format!("  {line}\n")).collect::<String>();
        differences += &(around(&old, '-') + &around(&new, '+'));
    }
    differences
}
