//! Retained messages: the last one of each topic, found by topic or by filter.

mod shelf;
mod store;
mod walk;

#[cfg(test)]
mod tests;

pub use store::{Counts, Kept, Limits, Outcome, Page, Retained};
