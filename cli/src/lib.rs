//! The command of Tombolo: clusters and links on one machine from the manifests that Kubernetes takes.

pub mod certificate;
pub mod check;
pub mod client;
pub mod clock;
pub mod data_dir;
pub mod folder;
pub mod manifest;
pub mod node;
pub mod ports;
pub mod problem;
pub mod render;
pub mod secret;
pub mod signals;
pub mod source;
pub mod status;
pub mod table;
pub mod up;
pub mod view;
pub mod yaml;
