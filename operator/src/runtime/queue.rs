//! Which cluster is looked at when: each at most once at a time, soon after something happened, later and later while it
//! fails. Pure; time is an argument.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::reconcile::world::ClusterKey;

/// Events within this time become one pass.
const SETTLE: Duration = Duration::from_millis(20);
/// First pause after a failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(120);

/// The keys that wait, and those under way.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<ClusterKey, Entry>,
    due: BTreeSet<(Instant, ClusterKey)>,
    running: usize,
}

#[derive(Debug, Default)]
struct Entry {
    at: Option<Instant>,
    running: bool,
    again: bool,
    /// An event came before the pause after a failure was over.
    hurried: bool,
    failures: u32,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ended {
    /// Well; to be looked at again then, if at all.
    Well(Option<Instant>),
    /// Not well. The number, from 0 to 1, spreads the next tries of many.
    Failed(f64),
}

// === impl Queue ===

impl Queue {
    /// Something happened to a cluster.
    pub fn add(&mut self, key: ClusterKey, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.running {
            entry.again = true;
            return;
        }
        // A key that backs off is looked at anew at once: what happened may be what mends it.
        let at = now + SETTLE;
        if entry.at.is_none_or(|planned| planned > at) {
            entry.hurried = entry.failures > 0;
            Self::plan(&mut self.due, entry, key, at);
        }
    }

    /// The next key whose time has come. Whoever takes it says how it ended.
    pub fn take(&mut self, now: Instant) -> Option<ClusterKey> {
        let (at, key) = self.due.first().cloned().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, key.clone()));
        let entry = self.entries.get_mut(&key).expect("what is due has an entry");
        (entry.at, entry.running, entry.again) = (None, true, false);
        self.running += 1;
        Some(key)
    }

    /// A pass ended.
    pub fn end(&mut self, key: &ClusterKey, ended: Ended, now: Instant) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.running) else { return };
        self.running -= 1;
        entry.running = false;
        let hurried = std::mem::take(&mut entry.hurried);
        let planned = match ended {
            Ended::Well(at) => {
                entry.failures = 0;
                at
            }
            Ended::Failed(spread) => {
                // A try before its time says nothing of how long the fault lasts: the pause is as long as the last.
                entry.failures = (entry.failures + u32::from(!hurried)).max(1);
                let doubled = BACKOFF_MIN.saturating_mul(1 << (entry.failures - 1).min(16)).min(BACKOFF_MAX);
                Some(now + doubled.mul_f64(0.5 + spread.clamp(0.0, 1.0) / 2.0))
            }
        };
        let at = if entry.again { Some(now + SETTLE) } else { planned };
        entry.hurried = entry.again && entry.failures > 0;
        match at {
            Some(at) => Self::plan(&mut self.due, entry, key.clone(), at),
            None => _ = self.entries.remove(key),
        }
    }

    /// When the next key is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Keys whose time has come and that wait, and keys under way.
    pub fn depth(&self, now: Instant) -> (usize, usize) {
        (self.due.iter().take_while(|(at, _)| *at <= now).count(), self.running)
    }

    fn plan(due: &mut BTreeSet<(Instant, ClusterKey)>, entry: &mut Entry, key: ClusterKey, at: Instant) {
        if let Some(planned) = entry.at.replace(at) {
            due.remove(&(planned, key.clone()));
        }
        due.insert((at, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ClusterKey {
        ClusterKey::new("site", name)
    }

    #[test]
    fn many_events_are_one_pass_and_events_during_a_pass_are_one_more() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        (0..5).for_each(|_| queue.add(key("a"), now));
        assert_eq!(queue.take(now), None, "it settles first");
        let later = now + SETTLE;
        assert_eq!((queue.take(later), queue.take(later)), (Some(key("a")), None));
        (0..5).for_each(|_| queue.add(key("a"), later));
        assert_eq!(queue.take(later + SETTLE), None, "never twice at a time");
        queue.end(&key("a"), Ended::Well(None), later);
        assert_eq!(queue.take(later + SETTLE), Some(key("a")));
        queue.end(&key("a"), Ended::Well(None), later);
        assert_eq!((queue.next(), queue.depth(later)), (None, (0, 0)));
        assert!(queue.entries.is_empty(), "what is done is forgotten");
    }

    #[test]
    fn failures_wait_longer_and_longer_up_to_a_bound_and_an_event_ends_the_wait() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            now = queue.next().expect("it is planned");
            assert_eq!(queue.take(now), Some(key("a")));
            queue.end(&key("a"), Ended::Failed(1.0), now);
            pauses.push(queue.next().expect("it is tried again") - now);
        }
        assert_eq!((pauses[0], pauses[1], pauses[11]), (BACKOFF_MIN, 2 * BACKOFF_MIN, BACKOFF_MAX));
        queue.add(key("a"), now);
        assert_eq!(queue.next(), Some(now + SETTLE));
        queue.take(now + SETTLE);
        queue.end(&key("a"), Ended::Well(None), now);
        queue.add(key("a"), now);
        queue.take(now + SETTLE);
        queue.end(&key("a"), Ended::Failed(0.0), now);
        assert_eq!(queue.next(), Some(now + BACKOFF_MIN / 2), "a success begins anew, and tries are spread");
    }

    #[test]
    fn tries_that_events_bring_forward_do_not_make_the_pause_longer() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let fail = |queue: &mut Queue, meanwhile: bool| {
            let at = queue.next().expect("it is planned");
            assert_eq!(queue.take(at), Some(key("a")));
            if meanwhile {
                queue.add(key("a"), at);
            }
            queue.end(&key("a"), Ended::Failed(1.0), at);
            (at, queue.next().expect("it is tried again") - at)
        };
        queue.add(key("a"), now);
        let (mut at, pause) = fail(&mut queue, false);
        assert_eq!(pause, BACKOFF_MIN);
        for _ in 0..9 {
            queue.add(key("a"), at);
            let pause;
            (at, pause) = fail(&mut queue, false);
            assert_eq!(pause, BACKOFF_MIN, "an event came before it");
        }
        assert_eq!(fail(&mut queue, true).1, SETTLE, "an event came during it");
        assert_eq!(fail(&mut queue, false).1, 2 * BACKOFF_MIN, "the one that was due counted, the hurried one did not");
        assert_eq!(fail(&mut queue, false).1, 4 * BACKOFF_MIN);
    }

    #[test]
    fn a_time_that_was_asked_for_is_kept_unless_something_happens_before() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        queue.take(now + SETTLE);
        queue.end(&key("a"), Ended::Well(Some(now + Duration::from_secs(9))), now);
        assert_eq!(queue.next(), Some(now + Duration::from_secs(9)));
        queue.add(key("b"), now);
        assert_eq!(queue.take(now + SETTLE), Some(key("b")));
        queue.add(key("a"), now);
        assert_eq!(queue.next(), Some(now + SETTLE));
    }
}
