//! The pure parts of the operator: what was observed is validated, and a plan is made of what is valid.
//!
//! Nothing here has a client, a socket or a clock, so that `tombolo up` runs the same code as the operator on
//! Kubernetes. A module uses only those above it in this list.

pub mod observed;
pub mod validate;
// What needs no more than what is valid.
pub mod plan;
