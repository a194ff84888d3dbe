//! What waits until it is durable.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::marks::Mark;
use super::outlet::Conn;

/// Work between a change and what may follow only after it.
#[derive(Debug, Default)]
pub struct Syncing {
    tokens: u64,
    /// What came since the last sync was asked for.
    gathered: Group,
    /// Asked for, oldest first.
    asked: VecDeque<(u64, Group)>,
    /// Batches that are durable and go on to the other nodes of this cluster, with the tokens of their syncs.
    passing: VecDeque<(u64, Taken)>,
}

/// A batch that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The connection on which it came, last of all.
    pub conn: Conn,
    /// Its packet id there.
    pub packet_id: NonZeroU16,
    /// The node that sent it.
    pub node: Arc<str>,
    /// Its lane.
    pub lane: u8,
    /// The life of that lane.
    pub epoch: u64,
    /// Its place there.
    pub sequence: u64,
}

/// What one sync makes durable.
#[derive(Debug, Default)]
pub struct Group {
    /// Batches that may be acknowledged then.
    pub taken: Vec<Taken>,
    /// Versions of the remote's interest that may be marked then, and their digests.
    pub applied: Vec<(Mark, u64)>,
    /// Chunks of the lane of messages up to this place may be sent then.
    pub sealed: u64,
}

// === impl Syncing ===

impl Syncing {
    /// A batch was taken, now or before.
    pub fn taken(&mut self, batch: Taken) {
        self.gathered.taken.push(batch);
    }

    /// A version of interest is routed by.
    pub fn applied(&mut self, mark: Mark, digest: u64) {
        put(&mut self.gathered.applied, mark, digest);
    }

    /// Chunks were sealed up to this place.
    pub fn sealed(&mut self, place: u64) {
        self.gathered.sealed = place;
    }

    /// The token of a sync to ask for, if there is anything new.
    pub fn ask(&mut self) -> Option<u64> {
        let already = self.asked.back().map_or(0, |(_, group)| group.sealed);
        let group = &self.gathered;
        if group.taken.is_empty() && group.applied.is_empty() && group.sealed <= already {
            return None;
        }
        self.tokens += 1;
        let mut group = std::mem::take(&mut self.gathered);
        group.sealed = group.sealed.max(already);
        self.asked.push_back((self.tokens, group));
        Some(self.tokens)
    }

    /// These batches are durable since this sync, and are acknowledged once other nodes have what they must.
    pub fn passing(&mut self, token: u64, taken: Vec<Taken>) {
        self.passing.extend(taken.into_iter().map(|batch| (token, batch)));
    }

    /// The next batch of this sync or one before that other nodes have.
    pub fn passed(&mut self, token: u64) -> Option<Taken> {
        self.passing.pop_front_if(|(since, _)| *since <= token).map(|(_, batch)| batch)
    }

    /// All syncs up to this one are done: what each was for, oldest first.
    pub fn done(&mut self, token: u64) -> Option<Group> {
        self.asked.pop_front_if(|(asked, _)| *asked <= token).map(|(_, group)| group)
    }
}

/// Puts a mark in place of an older one for the same node.
fn put(marks: &mut Vec<(Mark, u64)>, mark: Mark, digest: u64) {
    match marks.iter_mut().find(|(old, _)| old.cluster == mark.cluster && old.node == mark.node) {
        Some(old) => *old = (mark, digest),
        None => marks.push((mark, digest)),
    }
}
