//! Manifest files checked whole: syntax, schema, CEL and the operator's own rules, every problem with its place.

use std::collections::HashSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tombolo_crds::manifest as crd;
use tombolo_crds::{BrokerCluster, ClusterLink, reasons};
use tombolo_operator::observed::Observed;
use tombolo_operator::validate::{self, ObjectRef, ValidCluster};

use crate::manifest::{self, Kind, Manifests, Object};
use crate::problem::{Place, Problem};
use crate::secret;
use crate::source::Source;

/// Manifests without a problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The clusters, with everything resolved that their manifests name.
    pub clusters: Vec<ValidCluster>,
    /// The objects they were made from.
    pub objects: Vec<Object>,
    /// Objects that were left alone, a sentence each.
    pub notes: Vec<String>,
    /// What somebody should know, though everything can be used.
    pub warnings: Vec<Problem>,
}

/// Checks the files; `running` are the objects that already run, for rules about what may change.
///
/// # Errors
/// Every problem, in the order of files and lines.
pub fn check(sources: &[Source], running: &[Object]) -> Result<Desired, Vec<Problem>> {
    let Manifests { objects, notes, problems: unread } = manifest::read(sources);
    let mut checker =
        Checker { objects: &objects, problems: unread, observed: Observed::default(), broken: Broken::default() };
    checker.broken.unknown = !checker.problems.is_empty();
    for object in &objects {
        checker.structure(object, running);
    }
    let validated = validate::validate(&checker.observed);
    let shared = validate::shared_address(&validated.clusters);
    for problem in validated.problems.into_iter().chain(shared) {
        if !checker.follows_from_another(&problem) {
            checker.report(problem);
        }
    }
    let warnings = validated.warnings.into_iter().map(|warning| checker.placed(warning)).collect();
    let mut problems = checker.problems;
    if problems.is_empty() && !objects.iter().any(|object| object.kind == Kind::BrokerCluster) {
        let file = sources.first().map_or_else(|| Arc::from("-"), |source| Arc::clone(&source.file));
        let message = "no BrokerCluster in these files; without a cluster there is nothing to run".to_owned();
        problems.push(Problem { place: Place { file, line: 1 }, object: String::new(), field: String::new(), message });
    }
    problems.sort();
    problems.dedup();
    if problems.is_empty() {
        Ok(Desired { clusters: validated.clusters, objects, notes, warnings })
    } else {
        Err(problems)
    }
}

struct Checker<'a> {
    objects: &'a [Object],
    problems: Vec<Problem>,
    observed: Observed,
    broken: Broken,
}

/// Objects that never reach the operator's checks, so that what names them is not blamed.
#[derive(Default)]
struct Broken {
    /// Some objects could not even be told apart.
    unknown: bool,
    clusters: HashSet<(String, String)>,
    secrets: HashSet<(String, String)>,
}

// === impl Checker ===

impl Checker<'_> {
    /// Schema and CEL, as the API server checks them; what passes is observed.
    fn structure(&mut self, object: &Object, running: &[Object]) {
        let value = object.node.value();
        let kind = match object.kind {
            Kind::BrokerCluster => crd::Kind::BrokerCluster,
            Kind::ClusterLink => crd::Kind::ClusterLink,
            Kind::Secret => return self.secret(object, value),
        };
        let same = |other: &&Object| {
            (other.kind, &other.namespace, &other.name) == (object.kind, &object.namespace, &object.name)
        };
        let violations = match running.iter().find(same) {
            Some(old) => crd::violations_of_update(kind, &value, &old.node.value()),
            None => crd::violations(kind, &value),
        };
        if violations.is_empty() {
            match object.kind {
                Kind::BrokerCluster => {
                    if let Some(cluster) = self.typed::<BrokerCluster>(object, value) {
                        self.observed.clusters.push(cluster);
                    }
                }
                Kind::ClusterLink => {
                    if let Some(link) = self.typed::<ClusterLink>(object, value) {
                        self.observed.links.push(link);
                    }
                }
                Kind::Secret => {}
            }
            return;
        }
        self.mark_broken(object);
        let problems = violations.into_iter().map(|violation| {
            let field = violation.path.trim_start_matches('.');
            object.problem(field, violation.message)
        });
        self.problems.extend(problems);
    }

    fn secret(&mut self, object: &Object, value: Value) {
        let problems = secret::problems(object);
        if problems.is_empty() {
            if let Some(secret) = self.typed(object, value) {
                self.observed.secrets.push(secret);
            }
        } else {
            self.mark_broken(object);
            self.problems.extend(problems);
        }
    }

    /// What passed the schema is read; metadata alone can still be wrong, as our schemas don't describe it.
    fn typed<T: DeserializeOwned>(&mut self, object: &Object, value: Value) -> Option<T> {
        match serde_json::from_value(value) {
            Ok(typed) => Some(typed),
            Err(error) => {
                self.mark_broken(object);
                self.problems.push(object.problem("metadata", format!("cannot be read: {error}")));
                None
            }
        }
    }

    fn mark_broken(&mut self, object: &Object) {
        let key = (object.namespace.clone(), object.name.clone());
        match object.kind {
            Kind::BrokerCluster => _ = self.broken.clusters.insert(key),
            Kind::Secret => _ = self.broken.secrets.insert(key),
            Kind::ClusterLink => {}
        }
    }

    /// Whether a problem only says that an object is missing which stands in the files, but is broken itself.
    fn follows_from_another(&self, problem: &validate::Problem) -> bool {
        match problem.reason {
            // The cluster's own problem is told already.
            reasons::CLUSTER_INVALID => true,
            reasons::CLUSTER_NOT_FOUND => self.broken.unknown || !self.broken.clusters.is_empty(),
            reasons::SECRET_NOT_FOUND => self.broken.unknown || !self.broken.secrets.is_empty(),
            _ => false,
        }
    }

    fn report(&mut self, problem: validate::Problem) {
        let placed = self.placed(problem);
        self.problems.push(placed);
    }

    fn placed(&self, problem: validate::Problem) -> Problem {
        let validate::Problem { object: ObjectRef { kind, namespace, name }, field, message, .. } = problem;
        let same =
            |object: &&Object| object.kind.name() == kind && object.namespace == namespace && object.name == name;
        match self.objects.iter().find(same) {
            Some(object) => object.problem(&field, message),
            None => {
                Problem { place: Place { file: "-".into(), line: 1 }, object: format!("{kind}/{name}"), field, message }
            }
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
