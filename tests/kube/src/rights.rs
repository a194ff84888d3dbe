//! What operators asked for in a run of the tests, beside what the chart lets them do.
//!
//! What was denied, or is not in the chart, is a fault. What no test needed is printed, for whoever makes the Roles smaller.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::house::rendered;
use crate::plane::{AUDIT_LOG, Plane};

/// Rights that are not asked for by a request: admission asks whether the operator has them.
const BY_ADMISSION: [&str; 1] = ["update tombolo.dev/brokerclusters/finalizers"];

/// What is wrong, as sentences. If every test `ran`, rights that none of them needed are printed.
pub fn faults(plane: &Plane, ran: bool) -> Vec<String> {
    let log = std::fs::read_to_string(plane.folder().join(AUDIT_LOG)).unwrap_or_default();
    let (mut used, mut denied) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).expect("a line is an event");
        let account = event["user"]["username"].as_str().unwrap_or_default();
        if !account.ends_with(":tombolo") || event["objectRef"]["resource"].is_null() {
            continue;
        }
        let right = right(&event);
        if event["annotations"]["authorization.k8s.io/decision"] != "allow" {
            denied.insert(format!("{right} of {account}"));
            continue;
        }
        // Who applies what is not there yet needs the right to create it, too.
        if event["verb"] == "patch" && event["responseStatus"]["code"] == 201 {
            used.insert(right.replacen("patch", "create", 1));
        }
        used.insert(right);
    }
    let given = given();
    let unknown: Vec<_> = used.difference(&given).collect();
    let mut faults: Vec<_> = denied.into_iter().map(|right| format!("the chart lacks {right}")).collect();
    faults.extend(unknown.into_iter().map(|right| format!("{right} was used, which the chart does not give")));
    if ran {
        println!("{} rights are given, {} were used", given.len(), used.len());
        let unused = given.difference(&used).filter(|right| !BY_ADMISSION.contains(&right.as_str()));
        unused.for_each(|right| println!("  the chart gives {right}, which no test needed"));
    }
    faults
}

/// Such as `patch apps/statefulsets` or `get secrets`.
fn right(event: &Value) -> String {
    let of = |field: &str| event["objectRef"][field].as_str().filter(|value| !value.is_empty());
    let group = of("apiGroup").map(|group| format!("{group}/")).unwrap_or_default();
    let sub = of("subresource").map(|sub| format!("/{sub}")).unwrap_or_default();
    format!("{} {group}{}{sub}", event["verb"].as_str().unwrap_or_default(), of("resource").unwrap_or_default())
}

/// Every right in the Roles of the chart for a namespace.
fn given() -> BTreeSet<String> {
    let chart = rendered(&["--set", "watchNamespaces={default},crds.enabled=false,rbac.aggregate=false"]);
    let roles = chart.iter().filter(|object| object["kind"] == "Role");
    let rules: Vec<_> = roles.flat_map(|role| role["rules"].as_array().expect("rules")).collect();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut given = BTreeSet::new();
    for rule in rules {
        for group in texts(&rule["apiGroups"]) {
            let group = if group.is_empty() { group } else { format!("{group}/") };
            for resource in texts(&rule["resources"]) {
                given.extend(texts(&rule["verbs"]).iter().map(|verb| format!("{verb} {group}{resource}")));
            }
        }
    }
    given
}
