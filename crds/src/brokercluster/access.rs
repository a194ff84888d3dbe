//! Who may come into a BrokerCluster: clients and remote clusters.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::SecretSource;

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Authentication {
    /// Clients without a user name, or with any if there are no `users`: Refused or Allowed. Default: Refused.
    pub anonymous: Anonymous,
    /// Users: the keys of the Secret are user names, its values passwords or their hashes (argon2, bcrypt, PBKDF2 as
    /// mosquitto_passwd writes it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<SecretSource>,
}

/// What happens to clients without a user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Anonymous {
    /// They are refused.
    #[default]
    Refused,
    /// They come in with every right of a client.
    Allowed,
}

/// A remote cluster that may link with this one, and what may cross.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.receive) || has(self.send)")
        .message("set receive (topic filters that may enter), send (topic filters that may leave) or both")
)]
pub struct LinkAccess {
    /// Name of the remote cluster, as it says it in the handshake.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub cluster_name: String,
    /// Id of the remote cluster; when set, any other is refused.
    #[serde(default, rename = "clusterID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub cluster_id: Option<String>,
    /// The user that the remote cluster comes in as: one of authentication.users, which then can do nothing but link.
    #[schemars(length(min = 1, max = 256))]
    pub user: String,
    /// Topic filters that may enter this cluster. Absent: nothing enters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::filters")]
    pub receive: Vec<String>,
    /// Topic filters that may leave this cluster. Absent: nothing leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::filters")]
    pub send: Vec<String>,
}
