//! The reference in `docs/reference` says what the types say: every field, every condition, every reason.
//!
//! `make crds` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tombolo_crds::{conditions, reasons, yaml};

#[test]
fn the_reference_is_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    for (file, wanted) in [
        ("brokercluster.md", resource("BrokerCluster", &yaml::broker_cluster())),
        ("clusterlink.md", resource("ClusterLink", &yaml::cluster_link())),
        ("conditions.md", all_conditions()),
    ] {
        let path = folder.join(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &wanted).expect("written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        let line = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
        assert!(found == wanted, "{file} differs from line {}; run `make crds`", line.map_or(1, |line| line + 1));
    }
}

/// Every field of a resource, in the order of the schema.
fn resource(kind: &str, crd: &Value) -> String {
    let schema = yaml::schema_of(crd);
    let mut text = format!(
        "# {kind}: every field\n\nMade from the types by `make crds`; `kubectl explain {}.spec` shows the same.\n\n{}\n",
        kind.to_lowercase(),
        schema["description"].as_str().unwrap_or_default(),
    );
    for part in ["spec", "status"] {
        let _ = write!(text, "\n## {part}\n\n| field | type | default | |\n|---|---|---|---|\n");
        fields(&mut text, part, &schema["properties"][part]);
    }
    let _ = write!(text, "\n## Rules\n\nWhat the API server refuses beyond types and bounds, with what it says:\n\n");
    rules(&mut text, "", schema);
    text
}

fn fields(text: &mut String, path: &str, schema: &Value) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            // Objects of defaults are those of their fields.
            Value::Object(_) | Value::Array(_) => String::new(),
            value => format!("`{}`", value.to_string().trim_matches('"')),
        };
        let description = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(text, "| `{path}` | {} | {default} | {description} |", kind(field));
        if path.ends_with(".conditions") {
            continue;
        }
        fields(text, &path, field);
        if !field["items"].is_null() {
            fields(text, &format!("{path}[]"), &field["items"]);
        }
    }
}

fn kind(schema: &Value) -> String {
    let of = |schema: &Value| schema["type"].as_str().unwrap_or("any").to_owned();
    match (&schema["enum"], schema["type"].as_str()) {
        (Value::Array(words), _) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        (_, Some("array")) => format!("list of {}", of(&schema["items"])),
        _ => of(schema),
    }
}

fn rules(text: &mut String, path: &str, schema: &Value) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let at = if path.is_empty() { "the object" } else { path };
        let _ = writeln!(text, "- `{at}`: {}", rule["message"].as_str().unwrap_or_default());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        rules(text, &below, field);
        if !field["items"].is_null() {
            rules(text, &format!("{below}[]"), &field["items"]);
        }
    }
}

fn all_conditions() -> String {
    let mut text = String::from(
        "# Conditions and reasons\n\nMade from the code by `make crds`. What a condition says is in \
         [operator.md](../operator.md); conditions of a kind that are not `Reconciling`, `Stalled` or `Paused` are always \
         there.\n",
    );
    for (kind, types) in
        [("BrokerCluster", &conditions::BROKER_CLUSTER[..]), ("ClusterLink", &conditions::CLUSTER_LINK[..])]
    {
        let _ = writeln!(text, "\n{kind}: `{}`.", types.join("`, `"));
    }
    let _ = write!(text, "\n| reason | |\n|---|---|\n");
    for (reason, meaning) in reasons::ALL {
        let _ = writeln!(text, "| `{reason}` | {} |", meaning.trim());
    }
    text
}
