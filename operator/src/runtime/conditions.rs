//! Conditions that do not hold, as a metric: what alerts need to know of what people asked for.

use std::collections::BTreeSet;
use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use tombolo_crds::conditions::{PAUSED, PROGRESSING, RECONCILING, STALLED, UPGRADE_BLOCKED};

use crate::reconcile::world::World;

/// Conditions that are good when they are not `True`.
const NEGATIVE: [&str; 5] = [PAUSED, PROGRESSING, RECONCILING, STALLED, UPGRADE_BLOCKED];

/// Appends a sample for each condition of each object that should be true and is not. Objects that are well have none, so
/// that a thousand of them cost nothing.
pub fn render(text: &mut String, world: &World) {
    let mut samples = BTreeSet::new();
    for cluster in world.clusters.all() {
        if let Ok(cluster) = cluster.as_ref() {
            let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
            samples.extend(unmet("BrokerCluster", &cluster.metadata, conditions));
        }
    }
    for link in world.links.all() {
        if let Ok(link) = link.as_ref() {
            let conditions = link.status.iter().flat_map(|status| &status.conditions);
            samples.extend(unmet("ClusterLink", &link.metadata, conditions));
        }
    }
    let name = "tombolo_operator_unmet_condition";
    // A String takes everything.
    let _ = writeln!(text, "# HELP {name} 1 for a condition of a resource that does not hold.\n# TYPE {name} gauge");
    for labels in samples {
        let _ = writeln!(text, "{name}{{{labels}}} 1");
    }
}

/// The labels of those that do not hold. Names and reasons have no character that would need an escape.
fn unmet<'a>(
    kind: &'a str,
    metadata: &'a ObjectMeta,
    conditions: impl Iterator<Item = &'a Condition>,
) -> impl Iterator<Item = String> {
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    let unmet = conditions.filter(|condition| condition.status != "True" && !NEGATIVE.contains(&&*condition.type_));
    unmet.map(move |Condition { type_, reason, .. }| {
        format!(r#"kind="{kind}",object_namespace="{namespace}",object="{name}",condition="{type_}",reason="{reason}""#)
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn what_holds_and_what_is_under_way_has_no_sample() {
        let condition = |kind: &str, status: &str, reason: &str| {
            let (message, time) = ("why".to_owned(), Time(jiff::Timestamp::UNIX_EPOCH));
            let (type_, status, reason) = (kind.to_owned(), status.to_owned(), reason.to_owned());
            Condition { type_, status, reason, message, last_transition_time: time, observed_generation: Some(1) }
        };
        let conditions = [
            condition("Ready", "False", "CertificateExpired"),
            condition("TLSReady", "False", "CertificateExpired"),
            condition("ConfigApplied", "Unknown", "NoReport"),
            condition("Available", "True", "QuorumReady"),
            condition("Progressing", "False", "Converged"),
        ];
        let metadata =
            ObjectMeta { namespace: Some("mqtt".into()), name: Some("edge".into()), ..ObjectMeta::default() };
        let labels: Vec<_> = unmet("BrokerCluster", &metadata, conditions.iter()).collect();
        let of = |condition: &str, reason: &str| {
            format!(
                r#"kind="BrokerCluster",object_namespace="mqtt",object="edge",condition="{condition}",reason="{reason}""#
            )
        };
        assert_eq!(
            labels,
            [of("Ready", "CertificateExpired"), of("TLSReady", "CertificateExpired"), of("ConfigApplied", "NoReport")]
        );
    }
}
