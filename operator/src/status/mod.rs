//! What is true of an object and why, as conditions: pure functions of what was seen.
//!
//! A status never says what is hoped. It is equal to the one before unless more than time differs, so that nothing is
//! written without a reason.

mod cluster;
mod drain;
mod finding;
mod link;

pub use cluster::{ClusterSeen, Fault, Report, cluster_status, kept_evacuation};
pub use drain::{Drain, DrainSeen, drain};
pub use finding::{Finding, Truth, settled};
pub use link::{LinkSeen, link_status};
