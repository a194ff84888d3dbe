//! The pure parts of the operator: what was observed is validated, and a plan is made of what is valid.
//!
//! Nothing here has a client, a socket or a clock, so that `tombolo up` runs the same code as the operator on
//! Kubernetes. The modules in their order: `observed`, `validate`, `plan`; each uses only those before it.

pub mod observed;
pub mod plan;
pub mod validate;
