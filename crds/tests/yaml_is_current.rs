//! The checked-in YAML of the CRDs is what the types say, small, and made of rules that an API server can compile.

use std::fs;
use std::path::Path;

use kube::core::cel::{compile_schema, estimate_rule_cost};
use serde_json::Value;
use tombolo_crds::yaml;

#[test]
fn the_checked_in_yaml_is_what_the_types_say() {
    for (file, wanted) in yaml::files() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let found = fs::read_to_string(&path).unwrap_or_default();
        let line = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
        assert!(found == wanted, "{file} differs from line {}; run `make crds`", line.map_or(1, |line| line + 1));
        let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tombolo/files/crds").join(file);
        let copied = fs::read_to_string(&copy).unwrap_or_default();
        assert!(copied == wanted, "the chart has another {file}; run `make crds`");
    }
}

#[test]
fn each_crd_stays_below_64_kib() {
    for (file, yaml) in yaml::files() {
        assert!(yaml.len() < 64 << 10, "{file} has {} bytes", yaml.len());
    }
}

#[test]
fn the_yaml_reads_back_as_the_same_object() {
    for ((file, yaml), crd) in yaml::files().into_iter().zip([yaml::broker_cluster(), yaml::cluster_link()]) {
        let read: Value = serde_saphyr::from_str(&yaml).expect(file);
        assert_eq!(read, crd, "{file}");
    }
}

#[test]
fn every_rule_compiles_names_a_fix_and_is_cheap() {
    for crd in [yaml::broker_cluster(), yaml::cluster_link()] {
        each_schema("", yaml::schema_of(&crd), &mut |path, schema| {
            let compiled = compile_schema(schema);
            assert!(!compiled.has_errors(), "{path}: {:?}", compiled.compilation_errors());
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let (text, message) = (rule["rule"].as_str().expect("a rule"), rule["message"].as_str());
                assert!(message.is_some_and(|message| message.len() > 20), "{path}: `{text}` needs a message");
                let warnings = estimate_rule_cost(text, &compiled);
                assert!(warnings.is_empty(), "{path}: `{text}`: {warnings:?}");
            }
        });
    }
}

#[test]
fn every_field_is_described_bounded_and_not_nullable() {
    for crd in [yaml::broker_cluster(), yaml::cluster_link()] {
        each_schema("", yaml::schema_of(&crd), &mut |path, schema| {
            let described = !schema["description"].is_null();
            let inherited = path.ends_with("[]") || path.ends_with("{}") || path.ends_with("conditions[].status");
            assert!(described || inherited, "{path} has no description");
            assert!(schema["nullable"].is_null() && schema["title"].is_null(), "{path}");
            match schema["type"].as_str() {
                Some("array") => assert!(schema["maxItems"].is_u64(), "{path} has no maxItems"),
                Some("string") => {
                    let bounded = schema["maxLength"].is_u64() || schema["enum"].is_array();
                    assert!(bounded || schema["format"] == "date-time", "{path} has no maxLength");
                }
                Some("integer") => {
                    let format = schema["format"].as_str();
                    assert!(matches!(format, Some("int32" | "int64")), "{path} has the format {format:?}");
                }
                Some(_) | None => {}
            }
            if let Some(pattern) = schema["pattern"].as_str() {
                regex::Regex::new(pattern).expect(path);
            }
        });
    }
}

fn each_schema(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        each_schema(&format!("{path}.{name}"), inner, visit);
    }
    for (key, end) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            each_schema(&format!("{path}{end}"), &schema[key], visit);
        }
    }
}
