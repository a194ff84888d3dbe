//! The operator: what was observed is validated, a plan is made of what is valid, applied, and reported.
//!
//! `observed`, `validate`, `plan` and `status` have no client, socket or clock, so that `tombolo up` runs the same code as
//! the operator on Kubernetes; `reconcile` and `runtime` have them, and are there with the feature `controller`. Each module
//! uses only those before it.

pub mod observed;
pub mod plan;
#[cfg(feature = "controller")]
pub mod reconcile;
#[cfg(feature = "controller")]
pub mod runtime;
pub mod status;
pub mod validate;
