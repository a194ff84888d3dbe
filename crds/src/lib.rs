//! The custom resources of Tombolo, `tombolo.dev/v1alpha1`, as Rust types.
//!
//! The YAML of the CustomResourceDefinitions is generated from these types (see [`yaml`]); doc comments become the
//! descriptions that `kubectl explain` shows. With the feature `cel`, [`manifest`] checks an object as the API server
//! would: structure, defaults and CEL rules.

pub mod brokercluster;
pub mod clusterlink;
pub mod common;
pub mod conditions;
pub mod kstatus;
#[cfg(feature = "cel")]
pub mod manifest;
pub mod reasons;
#[cfg(feature = "cel")]
pub mod schema;
pub mod yaml;

pub use brokercluster::{BrokerCluster, BrokerClusterSpec, BrokerClusterStatus};
pub use clusterlink::{ClusterLink, ClusterLinkSpec, ClusterLinkStatus};
pub use k8s_openapi::api::core::v1::Secret;

/// Group of all our resources; also the prefix of our labels and annotations.
pub const GROUP: &str = "tombolo.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of our objects.
pub const API_VERSION: &str = "tombolo.dev/v1alpha1";
/// Annotation of each CRD with the release it came with; an upgrade may only raise it.
pub const BUNDLE_VERSION_ANNOTATION: &str = "tombolo.dev/bundle-version";
/// Annotation of a pod that agrees to its replacement, where `spec.update.strategy` is Manual and its value is `true`.
pub const REPLACE_ANNOTATION: &str = "tombolo.dev/replace";
/// Finalizer of a ClusterLink whose waiting messages leave before it goes.
pub const DRAIN_FINALIZER: &str = "tombolo.dev/drain";
/// Annotation that makes the operator leave an object alone while its value is `true`.
pub const PAUSED_ANNOTATION: &str = "tombolo.dev/paused";
