//! Retained messages made equal with another node: the shard around `retained::level`.

use std::sync::Arc;

use crate::clock::{self, Millis};
use crate::retained::Outcome;
use crate::retained::level::{self, Brought, Leveller, Outlet, What};
use crate::shard::Shard;
use crate::shard::link::LinkRow;
use crate::shard::peer::PeerRow;
use crate::store::Change;

/// Time between two looks at what is due.
const TICK: Millis = Millis(1_000);

/// Age of the oldest message in the outbox from which the other node counts as behind, in seconds.
const BEHIND: u64 = 10;

/// The shard, as the levelling with the peer in `slot` sees it while it acts.
struct LevelOutlet<'a> {
    shard: &'a mut Shard,
    slot: u32,
}

// === impl LevelOutlet ===

impl Outlet for LevelOutlet<'_> {
    fn send(&mut self, payload: &[u8]) -> bool {
        self.shard.with_link(self.slot, |link, out| link.control(out, payload)).unwrap_or(false)
    }

    fn apply(&mut self, brought: &Brought<'_>) -> Outcome {
        let shard = &mut *self.shard;
        // It happened before all that happens here from now on.
        shard.shared.stamps.merge(brought.stamp, clock::unix_micros());
        let outcome = shard.shared.retained.bring(brought, shard.core.now);
        let message = match (&brought.what, outcome) {
            (What::Message(message), Outcome::Stored | Outcome::Replaced) => Some(&**message),
            // The older message of the topic is gone with one that has no room.
            (What::Gone { .. }, Outcome::Removed) | (What::Message(_), Outcome::TooManyBytes) => None,
            (What::Message(_) | What::Gone { .. }, _) => return outcome,
        };
        shard.core.store.write(Change::Retained { topic: brought.topic, message });
        outcome
    }
}

// === impl Shard ===

impl Shard {
    /// Takes what a peer has said by control messages since the last time.
    pub(in crate::shard) fn take_said(&mut self, slot: u32) {
        let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) else { return };
        for payload in std::mem::take(&mut peer.said) {
            if !payload.starts_with(&[level::PREFIX]) {
                self.pass_said(slot, payload);
            } else {
                self.with_leveller(slot, |leveller, out| {
                    let (shared, now) = (Arc::clone(&out.shard.shared), out.shard.core.now);
                    leveller.received(out, &payload, &shared.retained, now);
                });
            }
        }
    }

    /// Tells a peer what is retained here, and asks for what it lacks, when that is due.
    pub(in crate::shard) fn tick_level(&mut self, slot: u32) {
        let now = self.core.now;
        let Some(row) = self.link_row_mut(slot) else { return };
        let behind =
            row.link.as_ref().is_some_and(|link| link.peer_status(now.duration(), 0).outbox.oldest_seconds > BEHIND);
        let Some(peer) = row.peer_mut().filter(|peer| peer.is_connected() && peer.level_at <= now) else { return };
        peer.level_at = now + TICK;
        self.with_leveller(slot, |leveller, out| {
            let shared = Arc::clone(&out.shard.shared);
            leveller.tick(out, &shared.retained, behind, now);
        });
    }

    fn with_leveller(&mut self, slot: u32, act: impl FnOnce(&mut Leveller, &mut LevelOutlet<'_>)) {
        let Some(PeerRow { leveller, .. }) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) else { return };
        let Some(mut leveller) = leveller.take() else { return };
        act(&mut leveller, &mut LevelOutlet { shard: self, slot });
        if let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) {
            peer.leveller = Some(leveller);
        }
    }
}
