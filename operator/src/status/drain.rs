//! Whether a ClusterLink that is deleted may go: what waits for its remote has left, or nobody waits for that any more.

use std::collections::BTreeMap;

use super::cluster::Report;
use crate::validate::DRAIN_FOR;

/// What is seen of a link that is deleted.
#[derive(Clone, Copy, Debug)]
pub struct DrainSeen<'a> {
    /// Its name.
    pub name: &'a str,
    /// It is in the configuration, and carries traffic.
    pub carries: bool,
    /// When it was deleted, in seconds since 1970.
    pub deleted: i64,
    /// Nodes of its cluster.
    pub nodes: u16,
    /// Hash of the configuration that tells them.
    pub config_hash: Option<&'a str>,
    /// What each node said last, by ordinal.
    pub reports: &'a BTreeMap<u16, Report>,
    /// Seconds since 1970.
    pub now: i64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Nothing is waited for.
    Done,
    /// It goes then at the latest.
    Waits {
        /// Seconds since 1970.
        until: i64,
        /// A node has said that something waits.
        something: bool,
    },
}

/// Where it stands. A node that does not answer is waited for by nobody; nor is one that does not run.
pub fn drain(seen: &DrainSeen) -> Drain {
    let until = seen.deleted.saturating_add(i64::try_from(DRAIN_FOR.0).unwrap_or(i64::MAX));
    if !seen.carries || seen.now >= until {
        return Drain::Done;
    }
    let (mut waits, mut something) = (false, false);
    for ordinal in 0..seen.nodes {
        match seen.reports.get(&ordinal) {
            // A node that was never asked may have something.
            None => waits = true,
            Some(Report::Silent(_)) => {}
            Some(Report::Said(status)) => {
                let link = status.links.iter().find(|link| link.name == seen.name);
                waits |= link.is_some() || seen.config_hash != Some(status.config_hash.as_str());
                something |= link.is_some_and(|link| link.spool.messages > 0);
            }
        }
    }
    if waits { Drain::Waits { until, something } } else { Drain::Done }
}

#[cfg(test)]
mod tests {
    use tombolo_broker_api::{LinkStatus, SpoolStatus, Status};

    use super::*;

    fn said(hash: &str, messages: Option<u64>) -> Report {
        let spool = |messages| SpoolStatus { messages, ..SpoolStatus::default() };
        let link =
            messages.map(|messages| LinkStatus { name: "far".into(), spool: spool(messages), ..LinkStatus::default() });
        Report::Said(Box::new(Status {
            config_hash: hash.into(),
            links: link.into_iter().collect(),
            ..Status::default()
        }))
    }

    #[test]
    fn a_link_goes_when_no_node_that_answers_has_it_any_more_and_in_time_whatever_they_say() {
        let at = |reports: &[(u16, Report)], carries: bool, nodes: u16, now: i64| {
            let reports = reports.iter().cloned().collect();
            let config_hash = Some("new");
            drain(&DrainSeen { name: "far", carries, deleted: 1_000, nodes, config_hash, reports: &reports, now })
        };
        let waits = |something| Drain::Waits { until: 1_300, something };
        let (old, left, gone) = (said("old", Some(4)), said("new", Some(3)), said("new", None));
        let silent = Report::Silent("timeout".into());
        assert_eq!(at(&[(0, old.clone()), (1, left.clone())], true, 2, 1_001), waits(true));
        assert_eq!(
            at(&[(0, said("old", None)), (1, gone.clone())], true, 2, 1_001),
            waits(false),
            "one was not told yet"
        );
        assert_eq!(at(&[(0, gone.clone())], true, 2, 1_001), waits(false), "one was not asked yet");
        assert_eq!(at(&[(0, gone.clone()), (1, said("new", Some(0)))], true, 2, 1_001), waits(false));
        assert_eq!(at(&[(0, gone.clone()), (1, gone.clone())], true, 2, 1_001), Drain::Done);
        assert_eq!(
            at(&[(0, gone), (1, silent.clone())], true, 2, 1_001),
            Drain::Done,
            "nobody waits for a silent node"
        );
        assert_eq!(at(&[(0, silent)], true, 1, 1_001), Drain::Done);
        assert_eq!(at(&[(0, left.clone())], true, 1, 1_300), Drain::Done, "its time is over");
        assert_eq!(
            at(&[(0, left.clone())], false, 1, 1_001),
            Drain::Done,
            "what is left out or disabled sends nothing"
        );
        assert_eq!(at(&[(0, left)], true, 0, 1_001), Drain::Done, "no node runs");
    }
}
