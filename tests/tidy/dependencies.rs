//! Every dependency is used by a crate, and `docs/dependencies.md` names it with its reason.

use crate::tree::File;

const DOCUMENT: &str = "docs/dependencies.md";

/// Dependencies that nobody names, or that nobody uses.
pub fn check(files: &[File]) -> Vec<String> {
    let document = files.iter().find(|f| f.path == DOCUMENT).map_or("", |f| &f.text);
    let manifests: Vec<&File> = files.iter().filter(|f| f.name() == "Cargo.toml").collect();
    let mut faults = Vec::new();
    let crates = || manifests.iter().filter(|m| !m.folder().is_empty());
    for manifest in crates() {
        for name in declared(&manifest.text).filter(|name| !is_ours(name)) {
            if !document.contains(&format!("`{name}`")) {
                faults.push(format!(
                    "{}: `{name}` is not named in {DOCUMENT}; say there why it is needed",
                    manifest.path
                ));
            }
        }
    }
    let used = |name: &str| crates().any(|m| declared(&m.text).any(|d| d == name));
    let workspace = manifests.iter().filter(|m| m.folder().is_empty()).flat_map(|m| declared(&m.text));
    faults.extend(workspace.filter(|n| !is_ours(n) && !used(n)).map(|n| format!("Cargo.toml: no crate uses `{n}`")));
    faults.sort();
    faults.dedup();
    faults
}

fn is_ours(name: &str) -> bool {
    name == "tombolo" || name.starts_with("tombolo-")
}

/// Names in the sections of a manifest that declare dependencies.
pub fn declared(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
            return None;
        }
        let (name, _) = line.split_once(['=', '.']).filter(|_| inside && !line.starts_with('#'))?;
        let name = name.trim();
        name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"a\"\n[dependencies]\nserde.workspace = true\ntokio = { workspace = true }\n\
                            # no = 1\n[dev-dependencies]\nproptest = \"1\"\n[lints]\nworkspace = true\n";

    #[test]
    fn declared_dependencies_are_those_of_all_sections() {
        assert_eq!(declared(MANIFEST).collect::<Vec<_>>(), ["serde", "tokio", "proptest"]);
    }

    #[test]
    fn a_dependency_that_is_not_named_or_not_used_is_a_fault() {
        let root = File::new("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\nidle = \"1\"\n");
        let manifest =
            File::new("a/Cargo.toml", "[dependencies]\nserde.workspace = true\ntombolo-x.workspace = true\n");
        let document = File::new(DOCUMENT, "`serde`: reads. `idle`: nothing.");
        assert_eq!(check(&[root.clone(), manifest.clone(), document]), ["Cargo.toml: no crate uses `idle`"]);
        assert!(check(&[root, manifest]).iter().any(|f| f.contains("`serde` is not named")));
    }
}
