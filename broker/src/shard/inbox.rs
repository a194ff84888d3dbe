//! Where a shard finds what other threads have for it: a lane from each other shard, and control messages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::Batch;
use super::ready::Ready;

/// Bytes of a batch that waits to be taken, for an ordered pair of shards; beyond it the sender keeps its batch and
/// reads no more publishes until the lane was emptied (`lane_full`).
pub const LANE_BYTES_MAX: usize = 4 << 20;

/// The inbox of one shard.
pub struct Inbox<Control> {
    lanes: Vec<Mutex<Lane>>,
    control: Mutex<Vec<Control>>,
    pending: AtomicBool,
    ready: Arc<Ready>,
}

#[derive(Default)]
struct Lane {
    batch: Batch,
    sender_waits: bool,
}

/// Whether a batch was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// It was, and the sender's batch is empty.
    Done,
    /// The lane is full: the sender keeps the batch, and is nudged when the lane was emptied.
    Full,
}

// === impl Inbox ===

impl<Control> Inbox<Control> {
    /// The inbox of a shard whose task `ready` wakes, among `shards` shards.
    pub fn new(shards: usize, ready: Arc<Ready>) -> Self {
        Self {
            lanes: (0..shards).map(|_| Mutex::default()).collect(),
            control: Mutex::default(),
            pending: AtomicBool::new(false),
            ready,
        }
    }

    /// What wakes the shard.
    pub fn ready(&self) -> &Arc<Ready> {
        &self.ready
    }

    /// Hands over `batch`, which comes from shard `from`.
    pub fn hand_over(&self, from: usize, batch: &mut Batch) -> HandOver {
        let mut lane = lock(&self.lanes[from]);
        if !lane.batch.is_empty() {
            // One batch waits already. To append would copy it again under the lock; the sender's next turn
            // brings one larger batch instead, unless the receiver is quicker.
            lane.sender_waits = true;
            return HandOver::Full;
        }
        std::mem::swap(&mut lane.batch, batch);
        drop(lane);
        self.notify();
        HandOver::Done
    }

    /// Sends a control message.
    pub fn send(&self, control: Control) {
        lock(&self.control).push(control);
        self.notify();
    }

    /// Whether a batch waits to be taken.
    #[cfg(test)]
    pub fn holds_batches(&self) -> bool {
        self.lanes.iter().any(|lane| !lock(lane).batch.is_empty())
    }

    /// True once after something was put in.
    pub fn take_pending(&self) -> bool {
        self.pending.swap(false, Ordering::AcqRel)
    }

    /// Takes the batch of shard `from` in exchange for an empty one; true if that sender waits for it.
    pub fn take_batch(&self, from: usize, empty: &mut Batch) -> bool {
        let mut lane = lock(&self.lanes[from]);
        std::mem::swap(&mut lane.batch, empty);
        std::mem::take(&mut lane.sender_waits)
    }

    /// Takes the control messages.
    pub fn take_control(&self) -> Vec<Control> {
        std::mem::take(&mut *lock(&self.control))
    }

    fn notify(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.ready.nudge();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What stands behind these locks is only moved in and out, never half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
