//! The schema for the values of the chart `tombolo-cluster` knows every field of the resources, and no other.
//!
//! `make crds` writes it anew.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tombolo_crds::yaml;

#[test]
fn the_values_of_the_cluster_chart_are_what_the_types_say() {
    let mut wanted = serde_json::to_string_pretty(&values()).expect("JSON");
    wanted.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tombolo-cluster/values.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &wanted).expect("written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    assert!(found == wanted, "it differs from line {}; run `make crds`", line.map_or(1, |line| line + 1));
}

#[test]
fn an_object_of_known_fields_takes_no_other() {
    let schema = json!({"type": "object", "description": "x", "default": {}, "properties": {
        "known": {"type": "string", "pattern": "^a$", "x-kubernetes-validations": []},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "words": {"type": "object", "additionalProperties": {"type": "string", "description": "y"}},
        "default": {"type": "integer", "format": "int32"},
    }});
    assert_eq!(
        strict(&schema),
        json!({"type": "object", "additionalProperties": false, "properties": {
            "known": {"type": "string", "pattern": "^a$"},
            "open": {"type": "object"},
            "words": {"type": "object", "additionalProperties": {"type": "string"}},
            "default": {"type": "integer"},
        }})
    );
}

/// The schema of all values.
fn values() -> Value {
    let words = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let name = |bound: u8| json!({"type": "string", "pattern": format!("^([a-z0-9]([-a-z0-9]{{0,{}}}[a-z0-9])?)?$", bound - 2)});
    let mut link = strict(&yaml::schema_of(&yaml::cluster_link())["properties"]["spec"]);
    // The chart sets it.
    link["properties"].as_object_mut().expect("fields").remove("clusterRef").expect("a link has a cluster");
    link["required"].as_array_mut().expect("fields").retain(|field| field != "clusterRef");
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart tombolo-cluster; made by `make crds`",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "global": {"type": "object"},
            "name": name(45),
            "labels": words,
            "annotations": words,
            "cluster": strict(&yaml::schema_of(&yaml::broker_cluster())["properties"]["spec"]),
            "users": {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
            "links": {"type": "object", "additionalProperties": link},
            "test": fields(json!({
                "enabled": {"type": "boolean"},
                "image": fields(json!({
                    "repository": {"type": "string", "minLength": 1},
                    "tag": {"type": "string"},
                    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                })),
                "imagePullSecrets": {"type": "array", "items": fields(json!({"name": {"type": "string", "minLength": 1}}))},
                "listener": {"type": "string"},
                "user": {"type": "string"},
                "passwordSecret": fields(json!({"name": {"type": "string"}, "key": {"type": "string"}})),
                "caSecret": {"type": "string"},
                "host": {"type": "string"},
                "seconds": {"type": "integer", "minimum": 1, "maximum": 3600},
            })),
            "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
        },
    })
}

fn fields(properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// A schema of the API server as one that refuses unknown fields, without what helm has no use for.
fn strict(schema: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in schema.as_object().expect("a schema") {
        let kept = match key.as_str() {
            "properties" => {
                let fields = value.as_object().expect("fields").iter();
                fields.map(|(name, field)| (name.clone(), strict(field))).collect()
            }
            "items" => strict(value),
            "additionalProperties" if value.is_object() => strict(value),
            "anyOf" => value.as_array().expect("schemas").iter().map(strict).collect(),
            "description" | "default" | "format" => continue,
            _ if key.starts_with("x-kubernetes-") => continue,
            _ => value.clone(),
        };
        out.insert(key.clone(), kept);
    }
    if out.contains_key("properties") {
        out.insert("additionalProperties".to_owned(), json!(false));
    }
    Value::Object(out)
}
