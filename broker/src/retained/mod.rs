//! Retained messages: the last one of each topic, found by topic or by filter, the same at every node.

mod difference;
mod digest;
pub mod level;
mod shelf;
mod store;
mod walk;

#[cfg(test)]
mod tests;

pub use digest::{BUCKETS, Digest};
pub use shelf::TOMBSTONE_AGE;
pub use store::{Counts, Kept, Limits, Outcome, Page, Retained, TOMBSTONES_MAX};
