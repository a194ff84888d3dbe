//! Every file is used: Rust by a module or a target, anything else by a name that stands in another file.

use std::collections::BTreeSet;

use crate::source;
use crate::tree::File;

/// Files at the root that people and tools look for by their names.
const KNOWN: [&str; 14] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "Cargo.toml",
    "Cargo.lock",
    "Makefile",
    "rustfmt.toml",
    "clippy.toml",
    "deny.toml",
    ".gitignore",
    ".dockerignore",
    ".ci/run",
];

/// Files that nothing leads to.
pub fn check(files: &[File]) -> Vec<String> {
    let reached = reached(files);
    let unused = |f: &&File| match f.extension() {
        "rs" => !reached.contains(&f.path),
        _ => !KNOWN.contains(&f.path.as_str()) && f.name() != "Cargo.toml" && !named(f, files),
    };
    let fault = |f: &File| format!("{}: nothing leads to this file; use it, name it, or delete it", f.path);
    files.iter().filter(unused).map(fault).collect()
}

/// Another file names it: by its name, or by the folder that it lies in.
fn named(file: &File, files: &[File]) -> bool {
    let folder = file.folder();
    let last = folder.rsplit('/').next().unwrap_or_default();
    let quoted = format!("\"{last}\"");
    let whole = format!("{folder}/");
    let names = |text: &str| {
        text.contains(file.name())
            || (!folder.is_empty() && (text.contains(folder) || text.contains(&whole) || text.contains(&quoted)))
    };
    files.iter().any(|other| other.path != file.path && other.path != "tests/tidy/unused.rs" && names(&other.text))
}

/// Rust files that a target leads to, by way of `mod`.
fn reached(files: &[File]) -> BTreeSet<String> {
    let exists = |path: &str| files.iter().any(|f| f.path == path);
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> =
        files.iter().filter(|f| f.name() == "Cargo.toml").flat_map(|f| targets(f, files)).collect();
    while let Some(path) = waiting.pop() {
        let Some(file) = files.iter().find(|f| f.path == path) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        let is_root = matches!(file.name(), "mod.rs" | "lib.rs" | "main.rs" | "build.rs") || is_target(file, files);
        let folder = if is_root { file.folder() } else { path.trim_end_matches(".rs") };
        for (name, given, _) in source::file_modules(&source::code(&file.text), &file.text) {
            let candidates = match given {
                Some(given) => vec![normal(&format!("{}/{given}", file.folder()))],
                None => vec![format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")],
            };
            waiting.extend(candidates.into_iter().filter(|c| exists(c)));
        }
    }
    reached
}

fn is_target(file: &File, files: &[File]) -> bool {
    files.iter().filter(|f| f.name() == "Cargo.toml").any(|f| targets(f, files).contains(&file.path))
}

/// The root files of a crate's targets: those that Cargo finds by itself and those that its manifest names.
fn targets(manifest: &File, files: &[File]) -> Vec<String> {
    let folder = manifest.folder();
    let inside = |f: &File| f.path.strip_prefix(folder).map(|p| p.trim_start_matches('/').to_owned());
    let found_by_cargo = |p: &str| {
        matches!(p, "src/lib.rs" | "src/main.rs" | "build.rs")
            || ["src/bin/", "tests/", "examples/", "benches/"].iter().any(|at| {
                let rest = p.strip_prefix(at).unwrap_or("/ /");
                !rest.contains('/') || (rest.matches('/').count() == 1 && rest.ends_with("/main.rs"))
            })
    };
    let own = files.iter().filter(|f| inside(f).is_some_and(|p| found_by_cargo(&p))).map(|f| f.path.clone());
    let path = |line: &str| Some(line.trim().strip_prefix("path = \"")?.strip_suffix('"')?.to_owned());
    let named = manifest.text.lines().filter_map(path).map(|p| normal(&format!("{folder}/{p}")));
    own.chain(named).collect()
}

/// The path without `.` and `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house() -> Vec<File> {
        vec![
            File::new("a/Cargo.toml", "[[test]]\npath = \"wire/main.rs\"\n"),
            File::new("a/src/lib.rs", "mod b;\nmod c;\n"),
            File::new("a/src/b.rs", "mod d;\n#[path = \"../odd.rs\"]\nmod odd;\n"),
            File::new("a/src/b/d.rs", ""),
            File::new("a/src/c/mod.rs", ""),
            File::new("a/odd.rs", ""),
            File::new("a/wire/main.rs", "mod e;"),
            File::new("a/wire/e.rs", ""),
            File::new("docs/x.md", ""),
            File::new("README.md", "see docs/x.md"),
        ]
    }

    #[test]
    fn what_is_reached_is_used() {
        assert_eq!(check(&house()), Vec::<String>::new());
    }

    #[test]
    fn an_orphan_is_a_fault() {
        for orphan in ["a/src/f.rs", "a/src/c/g.rs", "docs/y.md", "a/src/notes.txt"] {
            let mut house = house();
            house.retain(|f| f.path != "docs/x.md");
            house.push(File::new(orphan, ""));
            if let Some(readme) = house.iter_mut().find(|f| f.path == "README.md") {
                readme.text.clear();
            }
            let faults = check(&house);
            assert!(faults.len() == 1 && faults[0].starts_with(orphan), "{faults:?}");
        }
    }
}
