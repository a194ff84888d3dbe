//! The objects in manifest files: which kinds are ours, where each stands, which are given twice.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::problem::{Place, Problem};
use crate::source::Source;
use crate::yaml::{self, Content, Node};

/// The one version of our resources.
pub const API_VERSION: &str = "tombolo.dev/v1alpha1";

/// The kinds that `tombolo up` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A cluster of brokers.
    BrokerCluster,
    /// A link with another cluster.
    ClusterLink,
    /// Users, credentials, certificates.
    Secret,
}

/// An object in a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `default` where none is given.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub file: Arc<str>,
    /// Its content with positions.
    pub node: Node,
}

/// What the files hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// Objects of our kinds, in the order of the files.
    pub objects: Vec<Object>,
    /// Objects that other programs care for, a sentence each.
    pub notes: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Finds the objects in the files.
pub fn read(sources: &[Source]) -> Manifests {
    let mut manifests = Manifests::default();
    for source in sources {
        let (documents, errors) = yaml::read(&source.text);
        for error in errors {
            manifests.problem(Place::new(&source.file, error.line), "", "", error.message);
        }
        for document in documents {
            manifests.take(&source.file, document);
        }
    }
    manifests.refuse_repeats();
    manifests
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::BrokerCluster, Self::ClusterLink, Self::Secret];

    /// As `kind:` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokerCluster => "BrokerCluster",
            Self::ClusterLink => "ClusterLink",
            Self::Secret => "Secret",
        }
    }

    const fn api_version(self) -> &'static str {
        match self {
            Self::BrokerCluster | Self::ClusterLink => API_VERSION,
            Self::Secret => "v1",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Object ===

impl Object {
    /// `Kind/name`, as problems name it.
    pub fn label(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// A problem with one of its fields.
    pub fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        let place = Place::new(&self.file, self.node.line_of(field));
        Problem { place, object: self.label(), field: field.to_owned(), message: message.into() }
    }
}

// === impl Manifests ===

impl Manifests {
    fn take(&mut self, file: &Arc<str>, node: Node) {
        let here = Place::new(file, node.line);
        let Content::Map(_) = node.content else {
            let message = "not an object; a manifest begins with apiVersion, kind and metadata";
            return self.problem(here, "", "", message);
        };
        let (api_version, kind) = (text(&node, "apiVersion"), text(&node, "kind"));
        let (Some(api_version), Some(kind)) = (api_version, kind) else {
            let missing = if api_version.is_none() { "apiVersion" } else { "kind" };
            let message =
                format!("missing, or not a text; for a cluster `apiVersion: {API_VERSION}`, `kind: BrokerCluster`");
            let place = Place::new(file, node.line_of(missing));
            return self.problem(place, "", missing, message);
        };
        if kind == "List" || (kind.ends_with("List") && node.get("items").is_some()) {
            return self.take_list(file, node);
        }
        let name = node.get("metadata").and_then(|metadata| text(metadata, "name")).unwrap_or("");
        let label = format!("{kind}/{name}");
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
            if let Some(near) = Kind::ALL.into_iter().find(|known| similar(known.name(), kind)) {
                let place = Place::new(file, node.line_of("kind"));
                return self.problem(place, &label, "kind", format!("`{kind}` is not known; did you mean `{near}`?"));
            }
            self.notes.push(format!("{here}: {label} is left alone: `tombolo` reads {}", list_of_kinds()));
            return;
        };
        if api_version != known.api_version() {
            let (expected_group, _) = known.api_version().split_once('/').unwrap_or(("", known.api_version()));
            // A Secret of another group is another thing altogether; one of ours is a mistake.
            if known == Kind::Secret && group != expected_group {
                self.notes.push(format!("{here}: {label} of {api_version} is left alone: not a Kubernetes Secret"));
                return;
            }
            let place = Place::new(file, node.line_of("apiVersion"));
            let message = format!("`{api_version}` is not a version of {known}; it is `{}`", known.api_version());
            return self.problem(place, &label, "apiVersion", message);
        }
        if let Err((field, message)) = check_metadata(&node) {
            let place = Place::new(file, node.line_of(field));
            return self.problem(place, &label, field, message);
        }
        let namespace = node.get("metadata").and_then(|metadata| text(metadata, "namespace")).unwrap_or("default");
        let (name, namespace) = (name.to_owned(), namespace.to_owned());
        self.objects.push(Object { kind: known, namespace, name, file: Arc::clone(file), node });
    }

    fn take_list(&mut self, file: &Arc<str>, node: Node) {
        let line = node.line_of("items");
        let Content::Map(entries) = node.content else { return };
        match entries.into_iter().find(|(key, _)| key == "items").map(|(_, items)| items.content) {
            Some(Content::List(items)) => items.into_iter().for_each(|item| self.take(file, item)),
            Some(Content::Scalar(_) | Content::Map(_)) | None => {
                self.problem(Place::new(file, line), "List", "items", "missing, or not a list; a List holds objects");
            }
        }
    }

    fn refuse_repeats(&mut self) {
        let mut seen: HashMap<(Kind, &str, &str), &Object> = HashMap::new();
        let mut repeats = Vec::new();
        for object in &self.objects {
            let key = (object.kind, object.namespace.as_str(), object.name.as_str());
            if let Some(first) = seen.get(&key) {
                let place = Place::new(&first.file, first.node.line);
                let message = format!("given twice, first at {place}; remove one, or change its name");
                repeats.push(object.problem("metadata.name", message));
            } else {
                seen.insert(key, object);
            }
        }
        self.problems.append(&mut repeats);
    }

    fn problem(&mut self, place: Place, object: &str, field: &str, message: impl Into<String>) {
        self.problems.push(Problem { place, object: object.into(), field: field.into(), message: message.into() });
    }
}

fn text<'n>(node: &'n Node, field: &str) -> Option<&'n str> {
    node.get(field).and_then(Node::as_str).filter(|text| !text.is_empty())
}

fn list_of_kinds() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

/// The API server's rules for names: a DNS subdomain for the object, a DNS label for its namespace.
fn check_metadata(node: &Node) -> Result<(), (&'static str, String)> {
    let Some(metadata) = node.get("metadata") else {
        return Err(("metadata", "missing; an object has at least `metadata: {name: …}`".into()));
    };
    let Some(name) = text(metadata, "name") else {
        return Err(("metadata.name", "missing, or not a text; every object has a name (quote numbers)".into()));
    };
    let letters = |text: &str, others: &[char]| {
        text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || others.contains(&c))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if name.len() > 253 || !letters(name, &['-', '.']) {
        let message = format!("`{name}` is not a name; at most 253 lower case letters, digits, `-` and `.`");
        return Err(("metadata.name", message));
    }
    match metadata.get("namespace").map(Node::as_str) {
        None => Ok(()),
        Some(Some(namespace)) if namespace.len() <= 63 && letters(namespace, &['-']) => Ok(()),
        Some(_) => Err(("metadata.namespace", "not a namespace; at most 63 lower case letters, digits and `-`".into())),
    }
}

/// Whether two names of kinds differ by case, a plural or a slip of one letter.
fn similar(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let (one, other) = (one.trim_end_matches('s').as_bytes(), other.trim_end_matches('s').as_bytes());
    let same_start = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same_start..], &other[same_start..]);
    let same_end = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    one.len().max(other.len()) - same_end <= 1
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
