//! Production code does not unwrap: an error is handled, or `expect` says why there is none.

use std::collections::BTreeSet;

use crate::source;
use crate::tree::File;

/// Code whose panics are its way to fail.
const TESTS: [&str; 6] = ["tests/src/", "tests/tidy/", "tests/wire/", "tests/story/", "tests/link/", "tests/up/"];

/// What is banned, and what stands in its place.
const BANNED: [(&str, &str); 4] = [
    (".unwrap()", "handle it, or `expect(\"why it holds\")`"),
    (".unwrap_err()", "handle it"),
    ("todo!(", "write it"),
    ("dbg!(", "use `tracing`"),
];

/// Uses of what is banned outside of tests.
pub fn check(files: &[File]) -> Vec<String> {
    let test_files = test_files(files);
    let is_test = |f: &File| {
        TESTS.iter().any(|t| f.path.starts_with(t)) || f.path.contains("/tests/") || test_files.contains(&f.path)
    };
    let rust = files.iter().filter(|f| f.extension() == "rs" && !is_test(f));
    rust.flat_map(faults).collect()
}

fn faults(file: &File) -> Vec<String> {
    let production = source::production(&source::code(&file.text));
    let mut found = Vec::new();
    for (number, line) in production.lines().enumerate() {
        for (banned, instead) in BANNED.iter().filter(|(banned, _)| line.contains(banned)) {
            found.push(format!("{}:{}: `{banned}` in production code: {instead}", file.path, number + 1));
        }
    }
    found
}

/// Files that are modules under `#[cfg(test)]`, and what lies in folders of their names.
fn test_files(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|f| f.extension() == "rs") {
        for (name, path, test) in source::file_modules(&source::code(&file.text), &file.text) {
            if test {
                let stem = file.path.trim_end_matches(".rs");
                let folder = if matches!(file.name(), "mod.rs" | "lib.rs" | "main.rs") { file.folder() } else { stem };
                let path = path.map(|p| format!("{}/{p}", file.folder()));
                found.insert(path.unwrap_or_else(|| format!("{folder}/{name}.rs")));
                found.insert(format!("{folder}/{name}/mod.rs"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwrap_bites_in_production_and_not_in_tests() {
        let text = "fn a() { x.unwrap(); } // .unwrap()\n#[cfg(test)]\nmod tests { fn b() { x.unwrap(); } }\n";
        let faults = check(&[File::new("broker/src/a.rs", text)]);
        assert!(faults.len() == 1 && faults[0].starts_with("broker/src/a.rs:1"), "{faults:?}");
        assert!(check(&[File::new("tests/src/a.rs", text)]).is_empty());
    }

    #[test]
    fn a_file_that_is_a_test_module_may_unwrap() {
        let module = File::new("broker/src/a/mod.rs", "#[cfg(test)]\nmod twin;\nmod plain;\n");
        let twin = File::new("broker/src/a/twin.rs", "fn a() { x.unwrap() }");
        let plain = File::new("broker/src/a/plain.rs", "fn a() { x.unwrap() }");
        let faults = check(&[module, twin, plain]);
        assert!(faults.len() == 1 && faults[0].contains("plain.rs"), "{faults:?}");
    }
}
