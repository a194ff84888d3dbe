//! Tests of the check against a structural schema.

use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]+$", "description": "Lower case."},
            "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
            "count": {"type": "integer", "format": "int32"},
            "on": {"type": "boolean"},
            "share": {"type": "number", "minimum": 0},
            "age": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self != 'x'", "message": "age is not x"},
                {"rule": "self.matches('^([1-9][0-9]*s|0)$')", "message": "age must be a duration such as 90s"},
            ]},
            "bytes": {"type": "string", "x-kubernetes-validations": [
                {"rule": "isQuantity(self)", "message": "bytes must be a quantity such as 10Gi"},
            ]},
            "colour": {"type": "string", "enum": ["Red", "Green"]},
            "set": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {
                "type": "array", "minItems": 1, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}},
            },
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}},
            "size": {"x-kubernetes-int-or-string": true},
        },
    })
}

#[test]
fn what_fits_has_no_violations() {
    for object in [
        json!({"name": "a"}),
        json!({"apiVersion": "v1", "kind": "X", "metadata": {"anything": 1}, "name": "abc"}),
        json!({"name": "a", "port": 1, "on": true, "colour": "Red", "set": ["x", "y"], "map": [{"name": "a"}, {"name": "b"}]}),
        json!({"name": "a", "free": {"any": [1, {"thing": null}]}, "labels": {"x": "y"}, "size": 3}),
        json!({"name": "a", "size": "3Gi"}),
    ] {
        assert_eq!(violations(&schema(), &object), [], "{object}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_its_field_and_what_would_be_right() {
    for (object, path, message) in [
        (json!({}), "name", "is required and missing (Lower case.)"),
        (json!({"name": 1}), "name", "`1` is a number; a text is needed; put it in quotes"),
        (json!({"name": ""}), "name", "0 characters are too few; it must not be empty"),
        (json!({"name": "abcdef"}), "name", "6 characters are too many; at most 5 are allowed"),
        (json!({"name": "A"}), "name", "`A` should match `^[a-z]+$` (Lower case.)"),
        (json!({"name": "a", "port": 0}), "port", "`0 is too little"),
        (json!({"name": "a", "port": 65536}), "port", "65536 is too much; it must be at most 65535"),
        (json!({"name": "a", "port": "1"}), "port", "a whole number from 1 to 65535 is needed; leave the quotes out"),
        (json!({"name": "a", "port": "one"}), "port", "`one` is a text; a whole number from 1 to 65535 is needed"),
        (json!({"name": "a", "port": "1.5"}), "port", "`1.5` is a text; a whole number from 1 to 65535 is needed"),
        (json!({"name": "a", "count": "many"}), "count", "`many` is a text; a whole number is needed"),
        (json!({"name": "a", "share": "half"}), "share", "`half` is a text; a number of at least 0 is needed"),
        (json!({"name": "a", "share": ".5"}), "share", "a number of at least 0 is needed; leave the quotes out"),
        (json!({"name": "a", "age": 90}), "age", "`90` is a number; age must be a duration such as 90s"),
        (json!({"name": "a", "age": 0}), "age", "`0` is a number; a text is needed; put it in quotes"),
        (json!({"name": "a", "bytes": 10}), "bytes", "`10` is a number; bytes must be a quantity such as 10Gi"),
        (json!({"name": "a", "port": 1.5}), "port", "`1.5` is a number with a fraction"),
        (json!({"name": "a", "count": 3_000_000_000_u64}), "count", "3000000000 is too much for this field"),
        (json!({"name": "a", "on": "true"}), "on", "true or false is needed; leave the quotes out"),
        (json!({"name": "a", "on": "yes"}), "on", "`yes` is a text; true or false is needed"),
        (json!({"name": "a", "colour": "green"}), "colour", "is not one of Red, Green; did you mean Green?"),
        (json!({"name": "a", "colour": "Mauve"}), "colour", "`Mauve` is not one of Red, Green"),
        (json!({"name": "a", "set": ["x", "x"]}), "set[1]", "`x` is there twice"),
        (json!({"name": "a", "set": ["x", "y", "z"]}), "set", "has 3 items; at most 2 are allowed"),
        (json!({"name": "a", "map": []}), "map", "has 0 items; at least 1 are needed"),
        (json!({"name": "a", "map": [{"name": "a"}, {"name": "a"}]}), "map[1].name", "`a` is there twice"),
        (
            json!({"name": "a", "map": [{"nane": "a"}]}),
            "map[0].nane",
            "is not a field of `map[0]`; did you mean `name`?",
        ),
        (json!({"name": "a", "labels": {"x": 1}}), "labels.x", "put it in quotes"),
        (json!({"name": "a", "labels": {"x": "", "y": ""}}), "labels", "has 2 entries; at most 1 are allowed"),
        (json!({"name": "a", "size": 1.5}), "size", "`1.5` is neither a whole number nor a text"),
        (json!({"name": "a", "spek": {}}), "spek", "is not a field of an object of this kind; it has "),
        (json!([]), "", "this is a list; a map is needed"),
    ] {
        let found = violations(&schema(), &object);
        let [violation] = found.as_slice() else { panic!("{object}: {found:?}") };
        assert_eq!(violation.path, path, "{object}");
        let wanted = message.trim_start_matches('`');
        assert!(violation.message.contains(wanted), "{object}: `{}` lacks `{wanted}`", violation.message);
    }
}

#[test]
fn every_violation_is_found_at_once() {
    let found = violations(&schema(), &json!({"name": "A", "port": 0, "on": 1}));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn quotes_are_to_be_left_out_only_where_the_text_between_them_is_right() {
    for (value, field, is_right) in
        [("3", "port", true), ("two", "port", false), ("2.5", "port", false), ("true", "on", true), ("on", "on", false)]
    {
        let found = violations(&schema(), &json!({"name": "a", field: value}));
        let says = found.iter().any(|violation| violation.message.contains("leave the quotes out"));
        assert_eq!(says, is_right, "{field}: {value}: {found:?}");
    }
}
