//! What a node that begins anew waits for before it takes what clients publish, their wills among it: to hear what is wanted
//! at the other nodes and at linked clusters. What it took before that would be lost for those.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::link::Target;
use super::publication::Publication;
use super::route::Routed;
use super::{Control, LinkKey, Shard};
use crate::clock::Millis;
use crate::message::Message;
use crate::metrics::Dropped;
use crate::router::Path;

/// Longest time that publishers wait for the remote of a link to tell what is wanted there.
const LINK_WAIT: Millis = Millis(2_000);

/// Bytes of wills that wait on one shard; beyond them the oldest waits no longer.
const WILLS_BYTES_MAX: usize = 4 << 20;

/// The links that have not been told what their remotes want since the node began, as all shards see them.
#[derive(Default)]
pub struct Awaited {
    count: AtomicUsize,
    /// By name, until when each is waited for, once that is known.
    links: Mutex<BTreeMap<Box<str>, Option<Millis>>>,
}

/// Wills that were due before the node takes what clients publish.
#[derive(Default)]
pub(super) struct Wills {
    /// With the row of each client, and its epoch.
    waiting: VecDeque<(u32, u16, Message)>,
    bytes: usize,
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

// === impl Wills ===

impl Wills {
    fn push(&mut self, slot: u32, epoch: u16, will: Message) {
        self.bytes += will.frame().len();
        self.waiting.push_back((slot, epoch, will));
    }

    /// The oldest, if they are more bytes than this.
    fn pop_over(&mut self, bytes_max: usize) -> Option<(u32, u16, Message)> {
        let oldest = self.waiting.pop_front_if(|_| self.bytes > bytes_max)?;
        self.bytes -= oldest.2.frame().len();
        Some(oldest)
    }
}

// === impl Shard ===

impl Shard {
    /// Whether what clients publish is taken: once it is, it always is.
    #[inline]
    pub(super) fn takes_publishes(&mut self) -> bool {
        self.has_begun || self.begins_to_take()
    }

    #[cold]
    fn begins_to_take(&mut self) -> bool {
        if self.has_heard_all() && !self.shared.awaited.any() {
            self.wait_no_longer();
        }
        self.has_begun
    }

    /// From now on what clients publish is taken, after the wills that waited.
    pub(super) fn wait_no_longer(&mut self) {
        self.has_begun = true;
        self.route_wills(0);
    }

    /// Publishes a will, as soon as what clients publish is taken.
    pub(super) fn take_will(&mut self, slot: u32, will: Message) {
        if self.takes_publishes() {
            return self.route_will(Some(slot), &will);
        }
        let epoch = self.core.rows.get(slot as usize).map_or(0, |row| row.epoch);
        self.wills.push(slot, epoch, will);
        self.route_wills(WILLS_BYTES_MAX);
    }

    /// Publishes of the wills that wait what is more than so many bytes.
    fn route_wills(&mut self, bytes_max: usize) {
        while let Some((slot, epoch, will)) = self.wills.pop_over(bytes_max) {
            let is_there = self.core.rows.get(slot as usize).is_some_and(|row| row.epoch == epoch);
            self.route_will(is_there.then_some(slot), &will);
        }
    }

    fn route_will(&mut self, publisher: Option<u32>, will: &Message) {
        let mut publication = Publication::new(will.frame(), will.layout(), Path::EMPTY, will.expires_at());
        // A link that asks publishers to wait has room for wills.
        if let Routed::Invalid(_) = self.route(publisher, &mut publication) {
            self.core.counters.drop_message(Dropped::TopicInvalid);
        }
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
    use crate::message::tests::message;

    #[test]
    fn of_wills_that_are_more_bytes_than_may_wait_the_oldest_go_first() {
        let mut wills = Wills::default();
        for (slot, size) in [(1, 10), (2, 20), (3, 30)] {
            wills.push(slot, 0, message("t", &vec![b'x'; size]));
        }
        let bytes = wills.bytes;
        assert!(wills.pop_over(bytes).is_none());
        assert_eq!(wills.pop_over(bytes - 1).map(|(slot, ..)| slot), Some(1));
        let rest: Vec<u32> = std::iter::from_fn(|| wills.pop_over(0)).map(|(slot, ..)| slot).collect();
        assert_eq!((rest, wills.bytes), (vec![2, 3], 0));
    }

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
