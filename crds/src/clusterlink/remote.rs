//! The remote cluster of a link, and how to reach it.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::common::{LocalRef, SecretKeyRef, SecretSource};

/// The remote cluster, and how to reach it. Without server and servers this side only waits for the remote to dial.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.server) || !has(self.servers)")
        .message("set server or servers, not both"),
    validation = Rule::new(
        "!has(self.servers) || self.servers.all(s, s.startsWith('mqtts://') || s.startsWith('wss://')) || self.servers.all(s, s.startsWith('mqtt://') || s.startsWith('ws://'))"
    )
    .message("servers must all use TLS (mqtts://, wss://) or all not (mqtt://, ws://)")
    .field_path(".servers"),
    validation = Rule::new(
        "!has(self.tls) || (has(self.server) && (self.server.startsWith('mqtts://') || self.server.startsWith('wss://'))) || (has(self.servers) && self.servers.exists(s, s.startsWith('mqtts://') || s.startsWith('wss://')))"
    )
    .message("tls needs a server with mqtts:// or wss://; change the server or remove tls")
    .field_path(".tls"),
    validation = Rule::new("self.kind == 'Tombolo' || has(self.server) || has(self.servers)")
        .message("a remote of kind MQTT or EMQX must be dialled; set server or servers")
)]
pub struct Remote {
    /// What the remote is: Tombolo (everything a link can do), MQTT (any broker) or EMQX (its Cluster Linking). Default:
    /// Tombolo.
    #[serde(default)]
    pub kind: RemoteKind,
    /// Name of the remote cluster, as it says it in the handshake.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub cluster_name: String,
    /// Id of the remote cluster; when set, the link refuses any other, so that a wrong address cannot join two fleets.
    #[serde(default, rename = "clusterID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub cluster_id: Option<String>,
    /// Address of the remote: `mqtt://HOST[:1883]`, `mqtts://HOST[:8883]`, `ws://HOST[:80][/PATH]` or
    /// `wss://HOST[:443][/PATH]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "server")]
    pub server: Option<String>,
    /// Several addresses of the remote, tried in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "servers")]
    pub servers: Vec<String>,
    /// Begin of the client id that the link uses at the remote. Default: the name of the BrokerCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[-A-Za-z0-9_.:]+$"))]
    pub client_id_prefix: Option<String>,
    /// User at the remote: a Secret with the keys username and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretSource>,
    /// TLS, for mqtts:// and wss://. Absent: the remote's certificate must be of an authority that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RemoteTls>,
}

/// What the remote is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RemoteKind {
    /// A cluster of Tombolo.
    #[default]
    Tombolo,
    /// Any MQTT broker.
    #[serde(rename = "MQTT")]
    Mqtt,
    /// A cluster of EMQX with Cluster Linking.
    #[serde(rename = "EMQX")]
    Emqx,
}

/// TLS of a link. The remote's certificate is always verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RemoteTls {
    /// Secret with the authorities of the remote's certificate. Absent: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
    /// A `kubernetes.io/tls` Secret with the link's own certificate, for mutual TLS: tls.crt and tls.key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<LocalRef>,
    /// Name expected in the remote's certificate. Default: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))]
    pub server_name: Option<String>,
}

const SERVER_PATTERN: &str = r"^(mqtts?|wss?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?)(:[1-9][0-9]{0,4})?(/[-A-Za-z0-9._~/]*)?$";

fn server(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 512, "pattern": SERVER_PATTERN})
}

fn servers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 512, "pattern": SERVER_PATTERN},
    })
}

// === impl Remote ===

impl Remote {
    /// The addresses, whether written as `server` or as `servers`, each with its field path below `remote`.
    pub fn addresses(&self) -> impl Iterator<Item = (String, &str)> {
        let one = self.server.iter().map(|server| ("server".to_owned(), server.as_str()));
        let many = self.servers.iter().enumerate().map(|(at, server)| (format!("servers[{at}]"), server.as_str()));
        one.chain(many)
    }
}

// === impl RemoteKind ===

impl RemoteKind {
    /// The word of the manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tombolo => "Tombolo",
            Self::Mqtt => "MQTT",
            Self::Emqx => "EMQX",
        }
    }
}
