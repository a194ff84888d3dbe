//! What should be: the configuration of each broker, and the child objects on Kubernetes.

mod children;
pub mod config;
pub mod extras;
pub mod kept;
mod metadata;
mod pod;
pub mod rollout;
pub mod volumes;

pub use children::{
    CONFIG_HASH_ANNOTATION, Child, Instance, TEMPLATE_HASH_ANNOTATION, children, config as config_of, template,
    template_hash,
};
pub use metadata::{Names, node_names, secret_child, selector};
pub use pod::{DATA_VOLUME, DEFAULT_IMAGE};
