//! What should be: the configuration of each broker, and the child objects on Kubernetes.

mod children;
pub mod config;
mod metadata;
mod pod;
pub mod rollout;

pub use children::{Child, children};
pub use metadata::{Names, selector};
pub use pod::DEFAULT_IMAGE;
