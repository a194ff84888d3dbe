//! Who publishes and subscribes what in each scenario.

use anyhow::{Result, ensure};

use crate::traffic::TopicKind;

/// Publishers and subscribers of a run. The group in the client id is all that a relay routes by.
pub struct Plan {
    /// Name in the report.
    pub name: &'static str,
    /// The publishers.
    pub publishers: Vec<PlannedPublisher>,
    /// Group and filters of each subscriber.
    pub subscribers: Vec<(usize, Vec<String>)>,
    /// Filters in one SUBSCRIBE.
    pub chunk: usize,
    /// Each subscriber gets every message of a publisher, so sequences can be checked.
    pub check_order: bool,
}

/// A publisher to be.
pub struct PlannedPublisher {
    /// Its group.
    pub group: usize,
    /// Its topic.
    pub topic: String,
    /// How the topic changes.
    pub kind: TopicKind,
    /// Deliveries that follow from one publish.
    pub fan: u64,
}

/// Filters in one SUBSCRIBE unless said otherwise.
pub const CHUNK: usize = 50;

impl Plan {
    fn ordered(
        name: &'static str,
        publishers: Vec<PlannedPublisher>,
        subscribers: Vec<(usize, Vec<String>)>,
    ) -> Result<Self> {
        ensure!(!publishers.is_empty() && !subscribers.is_empty(), "{name} needs a publisher and a subscriber");
        Ok(Self { name, publishers, subscribers, chunk: CHUNK, check_order: true })
    }
}

fn fixed(group: usize, topic: String, fan: usize) -> PlannedPublisher {
    PlannedPublisher { group, topic, kind: TopicKind::Fixed, fan: fan as u64 }
}

/// Many publishers, few subscribers; subscriber `s` takes `fi/s/+`.
pub fn fan_in(publishers: usize, subscribers: usize) -> Result<Plan> {
    ensure!(subscribers > 0, "fan-in needs a subscriber");
    let topic = |p: usize| format!("fi/{}/{p}", p % subscribers);
    let publishers = (0..publishers).map(|p| fixed(p % subscribers, topic(p), 1)).collect();
    Plan::ordered("fan-in", publishers, (0..subscribers).map(|s| (s, vec![format!("fi/{s}/+")])).collect())
}

/// Many publishers, few subscribers, each of which takes all.
pub fn fan_in_all(publishers: usize, subscribers: usize) -> Result<Plan> {
    let topic = |p: usize| format!("fi/{}/{p}", p % subscribers.max(1));
    let publishers = (0..publishers).map(|p| fixed(0, topic(p), subscribers)).collect();
    Plan::ordered("fan-in-all", publishers, (0..subscribers).map(|_| (0, vec!["fi/#".to_owned()])).collect())
}

/// Few publishers, many subscribers of the same topics.
pub fn fan_out(publishers: usize, subscribers: usize) -> Result<Plan> {
    let topics: Vec<String> = (0..publishers).map(|p| format!("fo/{p}")).collect();
    let planned = topics.iter().map(|t| fixed(0, t.clone(), subscribers)).collect();
    Plan::ordered("fan-out", planned, (0..subscribers).map(|_| (0, topics.clone())).collect())
}

/// `n` publishers, each with a subscriber and a topic of its own.
pub fn pairs(n: usize) -> Result<Plan> {
    let topic = |p| format!("pr/{p}/data");
    let publishers = (0..n).map(|p| fixed(p, topic(p), 1)).collect();
    Plan::ordered("pairs", publishers, (0..n).map(|p| (p, vec![topic(p)])).collect())
}

/// Wildcard filters over an even number of clients, half `w/N/+/t`, half `w/+/bN/#`; each publish matches two.
pub fn wild(publishers: usize, subscribers: usize, filters: usize, chunk: usize) -> Result<Plan> {
    ensure!(
        subscribers >= 2 && subscribers.is_multiple_of(2),
        "wild needs an even number of subscribers, not {subscribers}"
    );
    ensure!(filters / 2 <= 100_000, "wild takes at most 200,000 filters: its topics have five digits");
    let half = subscribers / 2;
    let each = filters / 2 / half;
    ensure!(each > 0, "wild needs a filter for each of its {subscribers} subscribers, not {filters}");
    let publisher = |_| PlannedPublisher {
        group: 0,
        topic: "w/00000/b00000/t".to_owned(),
        kind: TopicKind::Wild { n: (each * half) as u32 },
        fan: 2,
    };
    let filter =
        |s: usize, i: usize| if s.is_multiple_of(2) { format!("w/{i:05}/+/t") } else { format!("w/+/b{i:05}/#") };
    let own = |s: usize| (s / 2 * each..(s / 2 + 1) * each).map(|i| filter(s, i)).collect();
    let subscribers = (0..subscribers).map(|s| (0, own(s))).collect();
    let publishers = (0..publishers).map(publisher).collect();
    Ok(Plan { chunk, check_order: false, ..Plan::ordered("wild", publishers, subscribers)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_spreads_all_filters_and_draws_below_half_of_them() {
        let plan = wild(3, 10, 1000, 50).expect("valid");
        let filters: std::collections::HashSet<_> = plan.subscribers.iter().flat_map(|s| &s.1).collect();
        assert_eq!(filters.len(), 1000);
        assert!(matches!(plan.publishers[0].kind, TopicKind::Wild { n: 500 }));
        assert!(wild(3, 9, 1000, 50).is_err());
    }

    #[test]
    fn the_group_of_a_publisher_is_that_of_its_subscribers() {
        for plan in [fan_in(7, 3), pairs(5), fan_out(2, 4), fan_in_all(4, 2)].map(|p| p.expect("valid")) {
            for p in &plan.publishers {
                let receivers = plan.subscribers.iter().filter(|s| s.0 == p.group).count();
                assert_eq!(receivers as u64, p.fan, "{}", plan.name);
            }
        }
    }
}
