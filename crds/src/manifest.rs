//! An object checked as the API server would: structure first, then the CEL rules, both with the defaults filled in.

use std::sync::LazyLock;

use kube::core::cel::{ErrorKind, Validator};
use serde_json::Value;

use crate::schema::{self, Violation};
use crate::yaml;

/// A kind of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A cluster of brokers.
    BrokerCluster,
    /// A link with a remote cluster.
    ClusterLink,
}

/// Everything that is wrong with an object of that kind; empty if the API server would take it.
///
/// `object` is the whole manifest, `apiVersion` and `kind` included, which are not looked at here.
pub fn violations(kind: Kind, object: &Value) -> Vec<Violation> {
    checked(kind, object, None)
}

/// As [`violations`], for an update of `old`: the rules about what may change count as well.
pub fn violations_of_update(kind: Kind, object: &Value, old: &Value) -> Vec<Violation> {
    checked(kind, object, Some(old))
}

static BROKER_CLUSTER: LazyLock<Value> = LazyLock::new(yaml::broker_cluster);
static CLUSTER_LINK: LazyLock<Value> = LazyLock::new(yaml::cluster_link);

fn checked(kind: Kind, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let crd = match kind {
        Kind::BrokerCluster => &*BROKER_CLUSTER,
        Kind::ClusterLink => &*CLUSTER_LINK,
    };
    let schema = yaml::schema_of(crd);
    // As the server does: what is null and may not be is dropped before anything else.
    let (object, old) = (without_nulls(object), old.map(without_nulls));
    let broken = schema::violations(schema, &object);
    // Rules rely on the structure; they are not run over one that is broken.
    if !broken.is_empty() {
        return broken;
    }
    let Err(errors) = Validator::new().validate(schema, &object, old.as_ref()) else { return Vec::new() };
    errors
        .into_vec()
        .into_iter()
        .map(|error| {
            let rule_failed = matches!(error.kind, ErrorKind::ValidationFailure);
            let message =
                if rule_failed { error.message } else { format!("{} (rule `{}`)", error.message, error.rule) };
            Violation { path: error.field_path, message }
        })
        .collect()
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
