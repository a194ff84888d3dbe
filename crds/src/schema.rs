//! Checks a value against a structural schema of a CRD, as the API server does with strict field validation.

use regex::Regex;
use serde_json::{Map, Value};

/// Something in an object that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, such as `spec.listeners[0].port`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Everything in `object` that `schema` does not allow, in the order of the object.
pub fn violations(schema: &Value, object: &Value) -> Vec<Violation> {
    let mut check = Check { found: Vec::new() };
    check.value("", schema, object, true);
    check.found
}

/// Longest text of a value that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

struct Check {
    found: Vec<Violation>,
}

// === impl Violation ===

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

// === impl Check ===

impl Check {
    fn value(&mut self, path: &str, schema: &Value, value: &Value, root: bool) {
        if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
            if !(value.is_i64() || value.is_u64() || value.is_string()) {
                self.report(path, format!("{} is neither a whole number nor a text", shown(value)));
            }
            return;
        }
        let expected = schema["type"].as_str();
        let fits = match expected {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some(_) | None => true,
        };
        if !fits {
            return self.report(path, wrong_type(expected.unwrap_or_default(), schema, value));
        }
        match value {
            Value::Object(fields) => self.object(path, schema, fields, root),
            Value::Array(items) => self.array(path, schema, items),
            Value::String(text) => self.text(path, schema, text),
            Value::Number(number) => self.number(path, schema, number),
            Value::Bool(_) | Value::Null => {}
        }
        self.one_of_enum(path, schema, value);
    }

    fn object(&mut self, path: &str, schema: &Value, fields: &Map<String, Value>, root: bool) {
        let known = schema["properties"].as_object();
        for (key, value) in fields {
            // The server itself knows what is in these.
            if root && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let field = join(path, key);
            if let Some(inner) = known.and_then(|known| known.get(key)) {
                self.value(&field, inner, value, false);
            } else if schema["additionalProperties"].is_object() {
                self.value(&field, &schema["additionalProperties"], value, false);
            } else if schema["x-kubernetes-preserve-unknown-fields"] != Value::Bool(true) {
                self.report(&field, unknown(key, known, path));
            }
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let defaulted =
                known.and_then(|known| known.get(required)).is_some_and(|inner| !inner["default"].is_null());
            if !fields.contains_key(required) && !defaulted {
                let about = known.and_then(|known| known.get(required)).map(description).unwrap_or_default();
                self.report(&join(path, required), format!("is required and missing{}", hint(&about)));
            }
        }
        if let Some(most) = schema["maxProperties"].as_u64().filter(|most| fields.len() as u64 > *most) {
            self.report(path, format!("has {} entries; at most {most} are allowed", fields.len()));
        }
    }

    fn array(&mut self, path: &str, schema: &Value, items: &[Value]) {
        for (at, item) in items.iter().enumerate() {
            self.value(&format!("{path}[{at}]"), &schema["items"], item, false);
        }
        let count = items.len() as u64;
        if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
            self.report(path, format!("has {count} items; at least {least} are needed, or leave the field out"));
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
            self.report(path, format!("has {count} items; at most {most} are allowed"));
        }
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => {
                for (at, item) in items.iter().enumerate().filter(|(at, item)| items[..*at].contains(item)) {
                    self.report(&format!("{path}[{at}]"), format!("{} is there twice; remove one", shown(item)));
                }
            }
            Some("map") => {
                let keys: Vec<_> = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().collect();
                let name =
                    |item: &Value| keys.iter().map(|key| item[key.as_str().unwrap_or("")].clone()).collect::<Vec<_>>();
                for (at, item) in items.iter().enumerate() {
                    if items[..at].iter().any(|other| name(other) == name(item)) {
                        let key = keys.first().and_then(|key| key.as_str()).unwrap_or("key");
                        let twice = shown(&item[key]);
                        self.report(
                            &format!("{path}[{at}].{key}"),
                            format!("{twice} is there twice; each needs its own"),
                        );
                    }
                }
            }
            Some(_) | None => {}
        }
    }

    fn text(&mut self, path: &str, schema: &Value, text: &str) {
        let length = text.chars().count() as u64;
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            let wanted =
                if least == 1 { "it must not be empty".to_owned() } else { format!("it needs {least} characters") };
            return self.report(path, format!("{length} characters are too few; {wanted}"));
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            return self.report(path, format!("{length} characters are too many; at most {most} are allowed"));
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            // A pattern that cannot be compiled lets everything pass; a test compiles each of ours.
            if Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) {
                let text = shown(&Value::from(text));
                self.report(path, format!("{text} should match `{pattern}`{}", hint(&description(schema))));
            }
        }
    }

    fn number(&mut self, path: &str, schema: &Value, number: &serde_json::Number) {
        let Some(value) = number.as_f64() else { return };
        if let Some(least) = schema["minimum"].as_f64().filter(|least| value < *least) {
            self.report(path, format!("{number} is too little; it must be at least {least}"));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| value > *most) {
            self.report(path, format!("{number} is too much; it must be at most {most}"));
        }
        let fits = match schema["format"].as_str() {
            Some("int32") => number.as_i64().is_some_and(|value| i32::try_from(value).is_ok()),
            Some("int64") => number.as_i64().is_some(),
            Some(_) | None => true,
        };
        if !fits && schema["maximum"].is_null() {
            self.report(path, format!("{number} is too much for this field"));
        }
    }

    fn one_of_enum(&mut self, path: &str, schema: &Value, value: &Value) {
        let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) else { return };
        let names: Vec<_> = allowed.iter().map(plain).collect();
        let near = value.as_str().and_then(|text| nearest(text, names.iter().map(String::as_str)));
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        self.report(path, format!("{} is not one of {}{near}", shown(value), names.join(", ")));
    }

    fn report(&mut self, path: &str, message: String) {
        self.found.push(Violation { path: path.to_owned(), message });
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn unknown(key: &str, known: Option<&Map<String, Value>>, path: &str) -> String {
    let names = || known.into_iter().flat_map(Map::keys).map(String::as_str);
    let place = if path.is_empty() { "an object of this kind".to_owned() } else { format!("`{path}`") };
    match nearest(key, names()) {
        Some(near) => format!("is not a field of {place}; did you mean `{near}`?"),
        None => format!("is not a field of {place}; it has {}", names().collect::<Vec<_>>().join(", ")),
    }
}

fn wrong_type(expected: &str, schema: &Value, value: &Value) -> String {
    // A text that says what is meant, but for its quotes.
    let quoted = |is_meant: fn(&str) -> bool| value.as_str().is_some_and(|text| is_meant(text.trim()));
    let mut wanted = match expected {
        "object" => "a map is needed".to_owned(),
        "array" => "a list is needed".to_owned(),
        "string" if value.is_number() || value.is_boolean() => match form(schema, &plain(value)) {
            Some(form) => form.to_owned(),
            None => "a text is needed; put it in quotes".to_owned(),
        },
        "string" => "a text is needed".to_owned(),
        "boolean" => "true or false is needed".to_owned(),
        "integer" => format!("a whole number{} is needed", range(schema)),
        _ => format!("a number{} is needed", range(schema)),
    };
    let is_quoted = match expected {
        "boolean" => quoted(|text| text.parse::<bool>().is_ok()),
        "integer" => quoted(|text| text.parse::<i64>().is_ok()),
        "number" => quoted(|text| text.parse::<f64>().is_ok_and(f64::is_finite)),
        _ => false,
    };
    if is_quoted {
        wanted.push_str("; leave the quotes out");
    }
    format!("{} is {}; {wanted}", shown(value), type_of(value))
}

/// What the rule for the form of a text says, such as a duration or a quantity, if quotes alone would not make one of this.
fn form<'s>(schema: &'s Value, text: &str) -> Option<&'s str> {
    let mut rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let is_broken = |rule: &str| match rule.strip_prefix("self.matches('").and_then(|rule| rule.strip_suffix("')")) {
        Some(pattern) => Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)),
        // A number without a unit is one, but hardly what is meant.
        None => rule == "isQuantity(self)",
    };
    rules.find(|rule| rule["rule"].as_str().is_some_and(is_broken))?["message"].as_str()
}

fn range(schema: &Value) -> String {
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

fn hint(about: &str) -> String {
    if about.is_empty() { String::new() } else { format!(" ({about})") }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Object(_) => return "this".to_owned(),
        Value::Array(_) => return "this".to_owned(),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => plain(value),
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// The name that `text` was probably meant to be: equal but for case, or few letters away.
fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let text = text.to_lowercase();
    let most = (text.chars().count() / 3).max(1);
    let distances = names.map(|name| (distance(&text, &name.to_lowercase()), name));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

/// Letters that must be changed, added or removed to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *candidate);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
