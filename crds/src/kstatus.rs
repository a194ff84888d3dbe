//! What tools read out of a status: the rules of kstatus and of Flux, as a checker that every written status must pass.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{conditions, reasons};

/// How kstatus sees an object; `kubectl wait`, Flux and others go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    /// Under way.
    InProgress,
    /// As its spec says.
    Current,
    /// It will not get there by itself.
    Failed,
    /// It is being deleted.
    Terminating,
}

/// The order in which kstatus looks at an object.
pub fn kstatus(object: &Value) -> Kstatus {
    let is = |kind: &str| condition(object, kind).is_some_and(|condition| condition["status"] == "True");
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Kstatus::Terminating;
    }
    let observed = object["status"]["observedGeneration"].as_i64();
    if observed.is_some() && observed != object["metadata"]["generation"].as_i64() || is(conditions::RECONCILING) {
        return Kstatus::InProgress;
    }
    if is(conditions::STALLED) {
        return Kstatus::Failed;
    }
    match condition(object, conditions::READY) {
        Some(_) if is(conditions::READY) => Kstatus::Current,
        Some(_) => Kstatus::InProgress,
        // The race that `always` closes: without Ready and without a generation, kstatus calls it done.
        None => Kstatus::Current,
    }
}

/// Every rule that the status of an object breaks. `always` are the types of conditions that must be there.
pub fn violations(object: &Value, always: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut rule = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    let (status, generation) = (&object["status"], object["metadata"]["generation"].as_i64().unwrap_or(0));
    let observed = status["observedGeneration"].as_i64();
    rule(observed.is_some(), "status has no observedGeneration".to_owned());
    rule(observed <= Some(generation), format!("observedGeneration {observed:?} is above generation {generation}"));
    let mut seen = BTreeSet::new();
    for condition in status["conditions"].as_array().into_iter().flatten() {
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        let kind = text("type");
        rule(seen.insert(kind.to_owned()), format!("{kind} is there twice"));
        rule(["True", "False", "Unknown"].contains(&text("status")), format!("{kind} has no status"));
        let known = reasons::ALL.iter().any(|(reason, _)| *reason == text("reason"));
        rule(known, format!("{kind}: `{}` is no documented reason", text("reason")));
        rule(!text("message").is_empty(), format!("{kind} has no message"));
        rule(!text("lastTransitionTime").is_empty(), format!("{kind} has no lastTransitionTime"));
        let of = condition["observedGeneration"].as_i64();
        rule(of.is_some() && of <= observed, format!("{kind} is of generation {of:?}, the status of {observed:?}"));
    }
    for kind in always {
        rule(seen.contains(*kind), format!("{kind} is missing"));
    }
    let is = |kind: &str| condition(object, kind).is_some_and(|condition| condition["status"] == "True");
    for kind in [conditions::RECONCILING, conditions::STALLED] {
        rule(!seen.contains(kind) || is(kind), format!("{kind} must go when it is not True"));
    }
    let (reconciling, stalled) = (is(conditions::RECONCILING), is(conditions::STALLED));
    rule(!(reconciling && stalled), "Reconciling and Stalled are both True".to_owned());
    rule(!(is(conditions::READY) && (reconciling || stalled)), "Ready beside Reconciling or Stalled".to_owned());
    if is(conditions::READY) {
        let generations = status["conditions"].as_array().into_iter().flatten();
        let mut all = generations.map(|condition| condition["observedGeneration"].as_i64());
        rule(all.all(|of| of == observed), "Ready, and a condition is of another generation".to_owned());
    }
    broken
}

fn condition<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(conditions: &[(&str, &str)]) -> Value {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status)| {
                json!({"type": kind, "status": status, "reason": "Converged", "message": "m",
                       "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 2})
            })
            .collect();
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": conditions}})
    }

    #[test]
    fn kstatus_reads_conditions_in_its_order() {
        assert_eq!(kstatus(&object(&[("Ready", "True")])), Kstatus::Current);
        assert_eq!(kstatus(&object(&[("Ready", "False")])), Kstatus::InProgress);
        assert_eq!(kstatus(&object(&[("Ready", "False"), ("Stalled", "True")])), Kstatus::Failed);
        assert_eq!(kstatus(&object(&[("Ready", "True"), ("Reconciling", "True")])), Kstatus::InProgress);
        let mut old = object(&[("Ready", "True")]);
        old["metadata"]["generation"] = json!(3);
        assert_eq!(kstatus(&old), Kstatus::InProgress);
        old["metadata"]["deletionTimestamp"] = json!("now");
        assert_eq!(kstatus(&old), Kstatus::Terminating);
    }

    #[test]
    fn each_rule_bites() {
        assert_eq!(violations(&object(&[("Ready", "True")]), &["Ready"]), Vec::<String>::new());
        for (conditions, what) in [
            (&[("Available", "True")][..], "Ready is missing"),
            (&[("Ready", "True"), ("Reconciling", "True")], "Ready beside"),
            (&[("Ready", "False"), ("Reconciling", "True"), ("Stalled", "True")], "both True"),
            (&[("Ready", "False"), ("Stalled", "False")], "must go"),
            (&[("Ready", "True"), ("Ready", "True")], "twice"),
        ] {
            let found = violations(&object(conditions), &["Ready"]);
            assert!(found.iter().any(|found| found.contains(what)), "{what}: {found:?}");
        }
        let mut odd = object(&[("Ready", "False")]);
        odd["status"]["observedGeneration"] = json!(3);
        odd["status"]["conditions"][0]["reason"] = json!("Because");
        let found = violations(&odd, &["Ready"]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
