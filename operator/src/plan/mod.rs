//! What should be: the configuration of each broker, and the child objects on Kubernetes.

pub mod config;
