//! What a node that begins anew waits for before it reads what clients publish: to hear what is wanted at the other nodes
//! and at linked clusters. What it acknowledged before that would be lost for those.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::link::Target;
use super::{Control, LinkKey, Shard};
use crate::clock::Millis;

/// Longest time that publishers wait for the remote of a link to tell what is wanted there.
const LINK_WAIT: Millis = Millis(2_000);

/// The links that have not been told what their remotes want since the node began, as all shards see them.
#[derive(Default)]
pub struct Awaited {
    count: AtomicUsize,
    /// By name, until when each is waited for, once that is known.
    links: Mutex<BTreeMap<Box<str>, Option<Millis>>>,
}

// === impl Awaited ===

impl Awaited {
    /// The node begins with these links.
    pub fn begin<'a>(&self, links: impl Iterator<Item = &'a str>) {
        let mut waiting = self.lock();
        *waiting = links.map(|link| (link.into(), None)).collect();
        self.count.store(waiting.len(), Ordering::Release);
    }

    /// Whether any is waited for.
    #[inline]
    fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// A link is waited for no more; true if it was the last.
    fn end(&self, link: &str) -> bool {
        let mut waiting = self.lock();
        let ended = waiting.remove(link).is_some();
        self.count.store(waiting.len(), Ordering::Release);
        ended && waiting.is_empty()
    }

    /// Whether a link, which may be dialled now, was waited for as long as it may be.
    fn is_late(&self, link: &str, now: Millis) -> bool {
        let mut waiting = self.lock();
        waiting.get_mut(link).is_some_and(|until| *until.get_or_insert(now + LINK_WAIT) <= now)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Option<Millis>>> {
        // An entry is put in, changed or taken out at once.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shard ===

impl Shard {
    /// Whether what clients publish is read: once it is, it always is.
    #[inline]
    pub(super) fn reads_publishers(&mut self) -> bool {
        self.has_begun = self.has_begun || self.has_heard_all() && !self.shared.awaited.any();
        self.has_begun
    }

    /// What publishers wait for may be over: all shards look again.
    pub(super) fn tell_publishers(&self) {
        self.tell_all(|| Control::Pressure);
    }

    /// Looks whether a link need be waited for.
    pub(super) fn note_told(&mut self, slot: u32) {
        if !self.shared.awaited.any() {
            return;
        }
        let (now, may_dial) = (self.core.now, self.has_heard_all());
        let Some(row) = self.link_row(slot) else { return };
        let (LinkKey::Cluster(name), Target::Cluster(config)) = (&row.key, &row.target) else { return };
        let is_told = !config.enabled || row.link.as_ref().is_some_and(|link| link.has_heard());
        if is_told || may_dial && self.shared.awaited.is_late(name, now) {
            self.await_no_more(&row.key);
        }
    }

    /// A link is not waited for any more.
    pub(super) fn await_no_more(&self, link: &LinkKey) {
        if let LinkKey::Cluster(name) = link
            && self.shared.awaited.end(name)
        {
            self.tell_publishers();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_waited_for_until_it_is_told_or_for_two_seconds() {
        let awaited = Awaited::default();
        assert!(!awaited.any());
        awaited.begin(["one", "two"].into_iter());
        assert!(awaited.any() && !awaited.end("other") && !awaited.end("one"));
        assert!(!awaited.is_late("two", Millis(5_000)) && !awaited.is_late("two", Millis(6_999)));
        assert!(awaited.is_late("two", Millis(7_000)) && !awaited.is_late("one", Millis(9_000)));
        assert!(awaited.end("two") && !awaited.any());
    }
}
