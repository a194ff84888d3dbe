//! Findings become conditions: times of transition, generations, and the two conditions of kstatus.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tombolo_crds::conditions::{PAUSED, READY, RECONCILING, STALLED};
use tombolo_crds::reasons;

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

/// A condition that was found, without times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A type of `tombolo_crds::conditions`.
    pub kind: &'static str,
    /// Whether it holds.
    pub truth: Truth,
    /// A word of `tombolo_crds::reasons`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Longest message; the schema has room for more, people have not.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// The conditions of a status: what was found for `generation`, with the time of the last transition taken over from
/// `previous` where the truth is the same.
pub fn settled(found: Vec<Finding>, previous: &[Condition], generation: i64, now: i64) -> Vec<Condition> {
    found.into_iter().map(|finding| condition(finding, previous, generation, now)).collect()
}

/// As `previous` was, and paused; nothing else is looked at. What never had a condition has those of `types` as unknown.
pub(super) fn paused(previous: &[Condition], types: &[&'static str], generation: i64, now: i64) -> Vec<Condition> {
    let message = format!("left alone until the annotation {} is removed", tombolo_crds::PAUSED_ANNOTATION);
    let finding = Finding::new(PAUSED, Truth::True, reasons::PAUSED_BY_ANNOTATION, message);
    let mut conditions: Vec<_> = previous.iter().filter(|condition| condition.type_ != PAUSED).cloned().collect();
    if previous.is_empty() {
        let unseen =
            |kind: &&'static str| Finding::new(kind, Truth::Unknown, reasons::NOT_YET_OBSERVED, "not looked at yet");
        conditions = settled(types.iter().map(unseen).collect(), &[], generation, now);
    }
    conditions.push(condition(finding, previous, generation, now));
    conditions
}

/// Whether something is amiss, and who must act: the conditions that stand beside `Ready: False`.
pub(super) fn kstatus(ready: &Finding, stalled: bool) -> Option<Finding> {
    match (ready.truth, stalled) {
        (Truth::True, _) => None,
        (Truth::False | Truth::Unknown, true) => Some(Finding { kind: STALLED, truth: Truth::True, ..ready.clone() }),
        (Truth::False | Truth::Unknown, false) => {
            Some(Finding { kind: RECONCILING, truth: Truth::True, ..ready.clone() })
        }
    }
}

fn condition(finding: Finding, previous: &[Condition], generation: i64, now: i64) -> Condition {
    let Finding { kind, truth, reason, message } = finding;
    let status = truth.as_str().to_owned();
    let before = previous.iter().find(|condition| condition.type_ == kind && condition.status == status);
    Condition {
        last_transition_time: before.map_or_else(|| time(now), |condition| condition.last_transition_time.clone()),
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        observed_generation: Some(generation),
        reason: reason.to_owned(),
        status,
        type_: kind.to_owned(),
    }
}

/// A time, from seconds since 1970.
pub(super) fn time(seconds: i64) -> Time {
    Time(jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// As [`time`], as text.
pub(super) fn text(seconds: i64) -> String {
    time(seconds).0.to_string()
}

/// The seconds since 1970 of a time as text; none if it is none.
pub(super) fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

// === impl Finding ===

impl Finding {
    pub(super) fn new(kind: &'static str, truth: Truth, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, truth, reason, message: message.into() }
    }

    pub(super) fn holds(&self) -> bool {
        self.truth == Truth::True
    }

    /// The same said of the whole.
    pub(super) fn as_ready(&self) -> Self {
        Self { kind: READY, truth: Truth::False, ..self.clone() }
    }
}

// === impl Truth ===

impl Truth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    pub(super) const fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}
