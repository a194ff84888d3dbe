//! Volumes that grow: which claims ask for too little, and when the StatefulSet must be made anew with a larger template.
//!
//! A claim template of a StatefulSet can never be changed, so the larger size goes to the claims first; then the StatefulSet
//! is removed without its pods and made again, and takes over pods and claims by their names. Each step is seen in what is
//! there, so that whoever begins in the middle goes on where it was.

use std::cmp::Ordering;

/// What is seen of the volumes of a cluster, and what its spec asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeFacts {
    /// The size that the spec asks for; none: no volumes.
    pub wanted: Option<String>,
    /// Nodes that the spec asks for; volumes of others wait for a node and are complete only with it.
    pub nodes: u16,
    /// The size in the claim template of the StatefulSet; none: there is no StatefulSet, or it has no claims.
    pub template: Option<String>,
    /// No pod is being emptied, replaced or removed.
    pub calm: bool,
    /// The claims that exist, in any order.
    pub claims: Vec<ClaimFacts>,
}

/// What is seen of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimFacts {
    /// Its name.
    pub name: String,
    /// The number of its node.
    pub ordinal: u16,
    /// The uid, so that another claim of that name is not changed.
    pub uid: Option<String>,
    /// It has its volume; only then it can grow.
    pub bound: bool,
    /// What it asks for.
    pub asked: String,
    /// What it has.
    pub has: Option<String>,
    /// Its StorageClass.
    pub class: Option<String>,
    /// What Kubernetes says about a growth under way.
    pub note: Option<String>,
}

/// What is to be done about the volumes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumePlan {
    /// Claims that must ask for `size`.
    pub grow: Vec<ClaimFacts>,
    /// The size that is wanted.
    pub size: String,
    /// The size for the claim template of the StatefulSet as it is to be applied now; none: no volumes.
    pub template: Option<String>,
    /// Once all of `grow` ask for it, the StatefulSet is removed without its pods, to be made anew.
    pub remake_set: bool,
    /// What is awaited, as a sentence; none: every volume has its size.
    pub awaited: Option<String>,
}

/// The next step. The same input gives the same output.
pub fn volumes(facts: &VolumeFacts) -> VolumePlan {
    let Some(size) = facts.wanted.clone() else { return VolumePlan::default() };
    let short = |of: &str| compare(of, &size) == Ordering::Less;
    let grow: Vec<_> = facts.claims.iter().filter(|claim| claim.bound && short(&claim.asked)).cloned().collect();
    // Neither a smaller nor an unreadable size makes anything anew: the API server refuses both in the spec.
    let outgrown = facts.template.as_deref().is_some_and(short);
    let kept = facts.template.clone().filter(|template| compare(template, &size) != Ordering::Equal);
    let mut small: Vec<_> = facts.claims.iter().filter(|claim| claim.ordinal < facts.nodes).collect();
    small.sort_by_key(|claim| claim.ordinal);
    let small = small.into_iter().find(|claim| short(&claim.asked) || claim.has.as_deref().is_some_and(short));
    let awaited = match small {
        Some(claim) if !claim.bound => Some(format!("claim {} grows to {size} once it has its volume", claim.name)),
        Some(claim) => {
            let has = claim.has.as_deref().unwrap_or("an unknown size");
            let note = claim.note.iter().map(|note| format!(": {note}")).collect::<String>();
            Some(format!("claim {} has {has} and is to have {size}{note}", claim.name))
        }
        None if outgrown && !facts.calm => {
            Some(format!("new volumes have {size} once no node is being emptied or replaced"))
        }
        None if outgrown => Some(format!("the StatefulSet is made anew for {size}; its pods go on")),
        None => None,
    };
    VolumePlan {
        grow,
        template: Some(kept.unwrap_or_else(|| size.clone())),
        size,
        remake_set: outgrown && facts.calm,
        awaited,
    }
}

/// Which of two quantities is larger; equal if one of them is none.
fn compare(one: &str, other: &str) -> Ordering {
    match (thousandths(one), thousandths(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (None, _) | (_, None) => Ordering::Equal,
    }
}

/// Suffixes of a quantity with what they stand for, in thousandths. The empty one is the last, since every text ends with it.
const SUFFIXES: [(&str, i128); 14] = [
    ("Ki", 1_000 << 10),
    ("Mi", 1_000 << 20),
    ("Gi", 1_000 << 30),
    ("Ti", 1_000 << 40),
    ("Pi", 1_000 << 50),
    ("Ei", 1_000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1_000),
];

/// A quantity of Kubernetes, such as `1.5Gi`, `2e9` or `500M`, in thousandths; what is below is dropped.
fn thousandths(text: &str) -> Option<i128> {
    // `1E` is an exa, `1E3` a thousand.
    if let Some((number, power)) = text.split_once(['e', 'E']).filter(|(_, power)| !power.is_empty() && *power != "i") {
        let power: u32 = power.strip_prefix('+').unwrap_or(power).parse().ok().filter(|power| *power <= 18)?;
        return decimal(number, 1_000_i128.checked_mul(10_i128.checked_pow(power)?)?);
    }
    let (number, unit) = SUFFIXES.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    decimal(number, unit)
}

/// Digits with at most one point, times `unit`.
fn decimal(number: &str, unit: i128) -> Option<i128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // More than that no volume has, and it stays far from overflow.
    if !digits(whole) || !digits(part) || whole.len() + part.len() == 0 || whole.len() > 15 || part.len() > 9 {
        return None;
    }
    let number: i128 = format!("{whole}{part}").parse().ok()?;
    Some(number.checked_mul(unit)? / 10_i128.pow(u32::try_from(part.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(ordinal: u16, asked: &str, has: Option<&str>) -> ClaimFacts {
        ClaimFacts {
            name: format!("data-edge-{ordinal}"),
            ordinal,
            bound: has.is_some(),
            asked: asked.to_owned(),
            has: has.map(str::to_owned),
            ..ClaimFacts::default()
        }
    }

    fn facts(wanted: &str, template: Option<&str>, claims: Vec<ClaimFacts>) -> VolumeFacts {
        let template = template.map(str::to_owned);
        VolumeFacts { wanted: Some(wanted.to_owned()), nodes: 2, template, calm: true, claims }
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        let equal =
            [("1Gi", "1024Mi"), ("1G", "1e9"), ("1.5k", "1500"), ("0.5", "500m"), ("1E", "1000P"), ("1Ei", "1024Pi")];
        for (one, other) in equal {
            assert_eq!(thousandths(one), thousandths(other), "{one} {other}");
            assert!(thousandths(one).is_some(), "{one}");
        }
        let rising =
            ["1m", "1", "1k", "1Ki", "1M", "1Mi", "1.5Mi", "1G", "1Gi", "2E9", "1T", "1Ti", "1P", "1Pi", "1E", "1Ei"];
        assert!(rising.windows(2).all(|pair| compare(pair[0], pair[1]) == Ordering::Less));
        for nonsense in ["", "Gi", "1.2.3", "-1", "1 Gi", "e9", "1e99", "99999999999999999999"] {
            assert_eq!((thousandths(nonsense), compare(nonsense, "1Gi")), (None, Ordering::Equal), "{nonsense}");
        }
    }

    #[test]
    fn each_step_follows_from_what_is_there() {
        let (old, new) = (Some("1Gi"), Some("2Gi"));
        // Nothing to do, in whatever words.
        let plan = volumes(&facts("1024Mi", old, vec![claim(0, "1Gi", old)]));
        assert_eq!((plan.grow.len(), plan.remake_set, plan.awaited), (0, false, None));
        // The spec grew: the claims first, the template as it is.
        let plan = volumes(&facts("2Gi", old, vec![claim(1, "1Gi", old), claim(0, "1Gi", old), claim(7, "1Gi", old)]));
        assert_eq!(plan.grow.len(), 3, "those that wait for a node, too");
        assert_eq!((plan.template.as_deref(), plan.remake_set), (old, true));
        assert!(plan.awaited.is_some_and(|awaited| awaited.contains("data-edge-0 has 1Gi")));
        // They ask for it and do not have it.
        let plan = volumes(&facts("2Gi", old, vec![claim(0, "2Gi", old), claim(1, "2Gi", new)]));
        assert_eq!((plan.grow.len(), plan.remake_set), (0, true));
        // The StatefulSet is gone.
        let plan = volumes(&facts("2Gi", None, vec![claim(0, "2Gi", old)]));
        assert_eq!((plan.template.as_deref(), plan.remake_set, plan.awaited.is_some()), (new, false, true));
        // It is made anew, and one volume after another has its size.
        let plan = volumes(&facts("2Gi", new, vec![claim(0, "2Gi", new), claim(1, "2Gi", new), claim(7, "2Gi", old)]));
        assert_eq!((plan.template.as_deref(), plan.remake_set, plan.awaited), (new, false, None));
    }

    #[test]
    fn while_a_node_leaves_the_stateful_set_stays() {
        let busy = VolumeFacts { calm: false, ..facts("2Gi", Some("1Gi"), vec![claim(0, "2Gi", Some("2Gi"))]) };
        let plan = volumes(&busy);
        assert_eq!((plan.template.as_deref(), plan.remake_set), (Some("1Gi"), false));
        assert!(plan.awaited.is_some_and(|awaited| awaited.contains("being emptied")));
    }

    #[test]
    fn a_claim_without_a_volume_waits_and_a_smaller_size_changes_nothing() {
        let plan = volumes(&facts("2Gi", Some("2Gi"), vec![claim(0, "1Gi", None)]));
        assert_eq!(plan.grow, []);
        assert!(plan.awaited.is_some_and(|awaited| awaited.contains("once it has its volume")));
        let plan = volumes(&facts("1Gi", Some("2Gi"), vec![claim(0, "2Gi", Some("2Gi"))]));
        assert_eq!((plan.grow.len(), plan.template.as_deref(), plan.remake_set), (0, Some("2Gi"), false));
        assert_eq!(volumes(&VolumeFacts::default()), VolumePlan::default());
    }
}
