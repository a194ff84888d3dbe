//! The command of Tombolo: clusters and links on one machine from the manifests that Kubernetes takes.

pub mod client;
pub mod manifest;
pub mod problem;
pub mod source;
pub mod yaml;
