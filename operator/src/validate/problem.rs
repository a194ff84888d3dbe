//! What is wrong with an object: where, what, and what would be right.

use std::fmt;

/// An object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// `BrokerCluster` or `ClusterLink`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object.
    pub object: ObjectRef,
    /// The field, such as `spec.listeners[0].port`.
    pub field: String,
    /// A word of `tombolo_crds::reasons`.
    pub reason: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} ({})", self.object, self.field, self.message, self.reason)
    }
}

/// Gathers the problems of one object.
pub(super) struct Report<'a> {
    object: &'a ObjectRef,
    /// What keeps the object from being used.
    pub problems: Vec<Problem>,
    /// What its owner should know all the same.
    pub warnings: Vec<Problem>,
}

// === impl Report ===

impl<'a> Report<'a> {
    pub fn new(object: &'a ObjectRef) -> Self {
        Self { object, problems: Vec::new(), warnings: Vec::new() }
    }

    pub fn problem(&mut self, field: impl Into<String>, reason: &'static str, message: impl Into<String>) {
        self.problems.push(self.made(field, reason, message));
    }

    pub fn warning(&mut self, field: impl Into<String>, reason: &'static str, message: impl Into<String>) {
        self.warnings.push(self.made(field, reason, message));
    }

    fn made(&self, field: impl Into<String>, reason: &'static str, message: impl Into<String>) -> Problem {
        Problem { object: self.object.clone(), field: field.into(), reason, message: message.into() }
    }
}
