//! Who may send what over a link: the filters of both directions, applied to topics and to the remote's interest.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::Qos;
use crate::topic::Filter;

use super::outlet::Outlet;
use super::settings::Route;

/// The filters of the remote that stand in the topic index, within what may leave.
#[derive(Debug, Default)]
pub struct Served {
    /// How many of the remote's filters come to each filter in the index.
    routed: BTreeMap<Filter, u32>,
}

/// What a direction of the link lets through; it remembers the verdict on the last topic.
#[derive(Debug)]
pub struct Gate {
    /// Nothing: all passes at any QoS.
    routes: Option<Vec<Route>>,
    except: BTreeSet<Filter>,
    /// All topics pass at any QoS, but those that begin with `$`.
    is_open: bool,
    last_topic: Vec<u8>,
    last_verdict: Verdict,
}

/// Whether a topic passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With at most this QoS.
    Passes(Qos),
    /// Not at all.
    Refused,
    /// It is not UTF-8.
    Malformed,
}

// === impl Served ===

impl Served {
    /// The remote wants these too.
    pub fn add<'a>(
        &mut self,
        out: &mut impl Outlet,
        filters: impl IntoIterator<Item = &'a Filter>,
        send: Option<&[Route]>,
    ) {
        for filter in filters {
            within(send, filter, |part| {
                let count = self.routed.entry(part.clone()).or_insert(0);
                *count += 1;
                if *count == 1 {
                    out.subscribe(part);
                }
            });
        }
    }

    /// The remote does not want these any more.
    pub fn remove<'a>(
        &mut self,
        out: &mut impl Outlet,
        filters: impl IntoIterator<Item = &'a Filter>,
        send: Option<&[Route]>,
    ) {
        for filter in filters {
            within(send, filter, |part| {
                let Some(count) = self.routed.get_mut(part) else { return };
                *count -= 1;
                if *count == 0 {
                    self.routed.remove(part);
                    out.unsubscribe(part);
                }
            });
        }
    }

    /// How many filters are in the index.
    pub fn len(&self) -> usize {
        self.routed.len()
    }
}

fn within(send: Option<&[Route]>, filter: &Filter, mut each: impl FnMut(&Filter)) {
    match send {
        None => each(filter),
        Some(routes) => {
            routes
                .iter()
                .flat_map(|route| &route.filters)
                .filter_map(|allowed| allowed.intersect(filter))
                .for_each(|part| each(&part));
        }
    }
}

// === impl Gate ===

impl Gate {
    /// A gate with these routes; without any, all passes.
    pub fn new(routes: Option<Vec<Route>>) -> Self {
        let last_verdict = Verdict::Malformed;
        let mut gate = Self { routes, except: BTreeSet::new(), is_open: false, last_topic: Vec::new(), last_verdict };
        gate.set_except(BTreeSet::new());
        gate
    }

    /// Topics that do not pass, whatever the routes say.
    pub fn set_except(&mut self, except: BTreeSet<Filter>) {
        let passes_all = |route: &Route| {
            let all = route.filters.iter().any(|filter| filter.as_str() == "#");
            all && route.except.is_empty() && route.max_qos == Qos::ExactlyOnce
        };
        self.is_open = except.is_empty() && self.routes.as_ref().is_none_or(|routes| routes.iter().any(passes_all));
        self.except = except;
        self.last_topic.clear();
    }

    /// Whether this topic passes.
    pub fn judge(&mut self, topic: &[u8]) -> Verdict {
        if self.is_open && (self.routes.is_none() || !topic.starts_with(b"$")) {
            // Whether it is UTF-8 is seen where it is routed.
            return Verdict::Passes(Qos::ExactlyOnce);
        }
        // No topic is empty, so that an empty one is never the last.
        if topic != self.last_topic || topic.is_empty() {
            self.last_verdict = self.judge_anew(topic);
            self.last_topic.clear();
            self.last_topic.extend_from_slice(topic);
        }
        self.last_verdict
    }

    fn judge_anew(&self, topic: &[u8]) -> Verdict {
        let Ok(topic) = std::str::from_utf8(topic) else { return Verdict::Malformed };
        if self.except.iter().any(|except| except.matches(topic)) {
            return Verdict::Refused;
        }
        let Some(routes) = &self.routes else { return Verdict::Passes(Qos::ExactlyOnce) };
        let granted = routes.iter().filter(|route| route.admits(topic)).map(|route| route.max_qos).max();
        granted.map_or(Verdict::Refused, Verdict::Passes)
    }
}
