//! Parts that both resources use.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An object of the same namespace, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret. Default: ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// A Secret, wrapped so that other sources can be added beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The Secret, in the same namespace.
    pub secret_ref: LocalRef,
}

/// Whether the operator takes care of a child object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Management {
    /// The operator makes it and keeps it as it should be.
    #[default]
    Managed,
    /// The operator makes none, and removes one that it made.
    Disabled,
}

/// Topic filters, as MQTT writes them: at least one.
pub(crate) fn filters(_: &mut SchemaGenerator) -> Schema {
    filter_list(1)
}

/// Topic filters, as MQTT writes them: none is fine.
pub(crate) fn filters_or_none(_: &mut SchemaGenerator) -> Schema {
    filter_list(0)
}

fn filter_list(min: u8) -> Schema {
    let mut list = json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": r"^(#|(\+|[^+#/]*)(/(\+|[^+#/]*))*(/#)?)$",
        },
    });
    if min > 0 {
        list.insert("minItems".to_owned(), min.into());
    }
    list
}

/// Any object; what is in it is checked elsewhere.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Names to texts, such as labels and annotations.
pub(crate) fn string_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string", "maxLength": 4096}})
}

/// Conditions as Kubernetes defines them, merged by type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {"type": "string", "maxLength": 316, "description": "What is observed."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation that this was observed for.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "description": "When status changed last.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, as one word of a documented set.",
                },
                "message": {"type": "string", "maxLength": 32768, "description": "Why, for people."},
            },
        },
    })
}

/// Conditions of a status; empty before the first visit.
pub type Conditions = Vec<Condition>;

pub(crate) fn yes() -> bool {
    true
}
