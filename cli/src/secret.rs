//! What the API server checks of a Secret, told per field.

use serde_json::Value;
use tombolo_crds::Secret;

use crate::manifest::Object;
use crate::problem::Problem;
use crate::yaml::Content;

const FIELDS: [&str; 7] = ["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"];

/// Everything that is wrong with a Secret.
pub fn problems(object: &Object) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Content::Map(fields) = &object.node.content else { return problems };
    for (field, node) in fields {
        match field.as_str() {
            "data" => {
                for (key, value, path) in entries(object, "data", &node.content, &mut problems) {
                    match value {
                        Value::String(text) if is_base64(text) => {}
                        Value::String(_) => {
                            problems.push(object.problem(&path, "not base64; put plain text below `stringData`"));
                        }
                        other => problems.push(object.problem(&path, not_text(key, other))),
                    }
                }
            }
            "stringData" => {
                for (key, value, path) in entries(object, "stringData", &node.content, &mut problems) {
                    if !value.is_string() {
                        problems.push(object.problem(&path, not_text(key, value)));
                    }
                }
            }
            "type" if node.as_str().is_none() => problems.push(object.problem("type", "not a text")),
            "immutable" if !matches!(node.content, Content::Scalar(Value::Bool(_))) => {
                problems.push(object.problem("immutable", "neither true nor false"));
            }
            field if !FIELDS.contains(&field) => {
                let message = "is not a field of a Secret; users and passwords stand below `stringData`";
                problems.push(object.problem(field, message));
            }
            _ => {}
        }
    }
    problems
}

/// The keys of `data` or `stringData` with their values and field paths.
fn entries<'n>(
    object: &Object,
    field: &str,
    content: &'n Content,
    problems: &mut Vec<Problem>,
) -> Vec<(&'n str, &'n Value, String)> {
    let Content::Map(entries) = content else {
        if *content != Content::Scalar(Value::Null) {
            problems.push(object.problem(field, "not a mapping; a Secret maps names to texts"));
        }
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, node) in entries {
        let path = format!("{field}.{key}");
        let allowed = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
        if key.is_empty() || key.len() > 253 || !key.chars().all(allowed) {
            let message = "not a key of a Secret; at most 253 letters, digits, `-`, `_` and `.`";
            problems.push(object.problem(&path, message));
        }
        match &node.content {
            Content::Scalar(value) => found.push((key.as_str(), value, path)),
            Content::List(_) | Content::Map(_) => problems.push(object.problem(&path, "not a text")),
        }
    }
    found
}

fn not_text(key: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("has no value; an empty text is `{key}: \"\"`"),
        other => format!("is not a text; put it in quotes: `{key}: \"{other}\"`"),
    }
}

/// Asks the type that will hold it, as there must be one opinion on what base64 is.
fn is_base64(text: &str) -> bool {
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": {"key": text}});
    serde_json::from_value::<Secret>(secret).is_ok()
}
