//! The folder of files that a broker node runs from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use tombolo_broker_api::Config;

use crate::validate::ValidCluster;

/// Name of the configuration among the files.
pub const CONFIG_FILE: &str = "broker.yaml";

/// What differs from place to place: a laptop, a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Name of the node; on Kubernetes each pod overrides it.
    pub node_name: String,
    /// Address of every listener and of admin.
    pub bind: IpAddr,
    /// Port of admin; 0 takes a free one.
    pub admin_port: u16,
    /// Folder for what outlives the process.
    pub data_dir: PathBuf,
}

/// What [`render`] made.
#[derive(Clone, PartialEq)]
pub struct Rendered {
    /// Content by file name; flat, since the keys of a Secret are. `broker.yaml` is among them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The configuration in `broker.yaml`.
    pub config: Config,
}

/// Renders the files of a node. The same input gives the same bytes.
pub fn render(cluster: &ValidCluster, placement: &Placement) -> Rendered {
    let _ = (cluster, placement);
    unimplemented!()
}
