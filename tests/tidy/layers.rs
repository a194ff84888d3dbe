//! A module uses the layers below its own and none above.

use crate::source;
use crate::tree::File;

/// A crate's source folder and its layers, bottom first.
const LAYERS: [(&str, &[&str]); 2] = [
    (
        "broker/src/",
        &[
            "bound",
            "digest",
            "random",
            "clock",
            "metrics",
            "topic",
            "codec",
            "message",
            "config",
            "store",
            "auth",
            "tls",
            "transport",
            "router",
            "retained",
            "session",
            "link",
            "peer",
            "shard",
            "connection",
            "net",
            "admin",
            "node",
        ],
    ),
    ("operator/src/", &["observed", "validate", "plan", "status", "reconcile", "runtime"]),
];

/// Modules that use one above them, and modules without a layer.
pub fn check(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|f| f.extension() == "rs") {
        for (root, layers) in LAYERS {
            if let Some(inside) = file.path.strip_prefix(root) {
                check_file(file, inside, layers, &mut faults);
            }
        }
    }
    faults
}

fn check_file(file: &File, inside: &str, layers: &[&str], faults: &mut Vec<String>) {
    let module = inside.split(['/', '.']).next().unwrap_or(inside);
    // The crate's root joins all layers.
    if matches!(inside, "lib.rs" | "main.rs") {
        return;
    }
    let place = |name: &str| layers.iter().position(|l| *l == name);
    let Some(own) = place(module) else {
        faults.push(format!("{}: `{module}` has no layer; give it one in tests/tidy/layers.rs", file.path));
        return;
    };
    for (line, used) in uses(&source::code(&file.text)) {
        match place(&used) {
            Some(other) if other > own => faults.push(format!(
                "{}:{line}: `{module}` uses `crate::{used}`, a layer above it; the order is: {}",
                file.path,
                layers.join(" ")
            )),
            Some(_) | None => {}
        }
    }
}

/// Line and first word after each `crate::`, those in braces too.
fn uses(code: &str) -> Vec<(usize, String)> {
    const START: &str = "crate::";
    let mut found = Vec::new();
    for (at, _) in code.match_indices(START) {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + START.len()..];
        let mut push =
            |name: &str| found.push((line, name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()));
        match rest.strip_prefix('{') {
            None => push(rest),
            Some(group) => top_level(group).into_iter().for_each(|part| push(part.trim())),
        }
    }
    found
}

/// The parts of a brace group between commas that are in no further braces.
fn top_level(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[start..at]);
                return parts;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_above_is_a_fault_and_one_below_is_none() {
        let below = File::new("broker/src/codec/publish.rs", "use crate::topic::Filter;\n// crate::net in words\n");
        assert_eq!(check(&[below]), Vec::<String>::new());
        let above = File::new("broker/src/codec/publish.rs", "fn f() {\n    crate::net::listen();\n}");
        assert!(check(&[above])[0].starts_with("broker/src/codec/publish.rs:2: `codec` uses `crate::net`"));
    }

    #[test]
    fn a_group_of_uses_is_looked_into() {
        let file = File::new("broker/src/topic.rs", "use crate::{clock::{Clock, admin}, metrics, shard::Row};");
        let faults = check(&[file]);
        assert!(faults.len() == 1 && faults[0].contains("crate::shard"), "{faults:?}");
    }

    #[test]
    fn a_module_without_a_layer_is_a_fault() {
        assert!(check(&[File::new("broker/src/misc.rs", "")])[0].contains("`misc` has no layer"));
        assert!(check(&[File::new("broker/src/lib.rs", "use crate::net;")]).is_empty());
    }
}
