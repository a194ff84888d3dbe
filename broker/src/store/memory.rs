//! The engine `Memory`: state lives in the shard alone and ends with the process.

use super::{Change, Commit, Store};

/// A store that keeps nothing: what a shard holds is all there is.
#[derive(Debug, Default)]
pub struct Memory;

// === impl Memory ===

impl Store for Memory {
    fn write(&mut self, _change: Change<'_>) {}

    fn commit(&mut self) -> Commit {
        Commit::Durable
    }

    fn durable(&self) -> u64 {
        u64::MAX
    }

    fn is_persistent(&self) -> bool {
        false
    }
}
