//! Links whose spool is full and that ask publishers to wait (`whenFull: Backpressure`), as all shards see them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::router::{Kind, Receiver};
use crate::shard::{Control, Shard};

/// The full links of a node, by shard and row.
#[derive(Default)]
pub struct Pressure {
    count: AtomicUsize,
    full: Mutex<HashSet<(u8, u32)>>,
}

// === impl Pressure ===

impl Pressure {
    /// A link became full, or has room again; true if that is news.
    pub fn set(&self, shard: u8, slot: u32, is_full: bool) -> bool {
        let mut full = self.lock();
        let news = if is_full { full.insert((shard, slot)) } else { full.remove(&(shard, slot)) };
        self.count.store(full.len(), Ordering::Release);
        news
    }

    /// Whether any link is full.
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    fn contains(&self, shard: u8, slot: u32) -> bool {
        self.lock().contains(&(shard, slot))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(u8, u32)>> {
        // A set of which one entry is put in or taken out is never half-changed.
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shard ===

impl Shard {
    /// Whether a publish to `topic` must wait, since a link that would get it is full.
    #[inline]
    pub(in crate::shard) fn hold_for_link(&mut self, topic: &[u8]) -> bool {
        self.shared.pressure.any() && self.goes_to_full_link(topic)
    }

    #[cold]
    fn goes_to_full_link(&mut self, topic: &[u8]) -> bool {
        // A topic that is not valid is refused later, with the error for it.
        let Ok(entry) = self.cache.find(&self.shared.index, topic) else { return false };
        let is_full = |receiver: Receiver| {
            receiver.flags.kind() != Kind::Client && self.shared.pressure.contains(receiver.shard, receiver.slot)
        };
        let route = self.cache.entry(entry);
        let mut members = route.groups.iter().flat_map(|group| group.members());
        route.receivers.iter().any(|receiver| is_full(*receiver)) || members.any(|member| is_full(member.receiver))
    }

    /// A link of this shard became full or has room again.
    pub(in crate::shard) fn set_pressure(&mut self, slot: u32, is_full: bool) {
        if self.shared.pressure.set(self.core.shard, slot, is_full) && !is_full {
            for inbox in &self.shared.inboxes {
                inbox.send(Control::Pressure);
            }
        }
    }
}
