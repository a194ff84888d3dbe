//! Checks what neither schema nor CEL can see, and resolves what the manifests name.
//!
//! Each object is judged by itself: a link with a problem is left out and its cluster goes on without it; so is an
//! entry of `spec.linkAccess`. A cluster with a problem of its own is left out whole.

mod problem;
mod valid;

pub use problem::{ObjectRef, Problem};
pub use valid::{Confidential, ValidCluster, ValidDial, ValidDialTls, ValidLink, ValidListener, ValidListenerTls};

use crate::observed::Observed;

/// The outcome of [`validate`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validated {
    /// Clusters without a problem of their own, sorted by namespace and name.
    pub clusters: Vec<ValidCluster>,
    /// What keeps objects from being used, in the order of the objects.
    pub problems: Vec<Problem>,
    /// What somebody should know, though everything can be used.
    pub warnings: Vec<Problem>,
}

/// Checks everything.
pub fn validate(observed: &Observed) -> Validated {
    let _ = observed;
    Validated::default()
}

/// Problems of clusters that are to run on one address, as in local mode: ports that two of them want.
pub fn shared_address(clusters: &[ValidCluster]) -> Vec<Problem> {
    let _ = clusters;
    Vec::new()
}
