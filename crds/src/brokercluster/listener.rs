//! Listeners of a BrokerCluster.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port that clients connect to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.protocol in ['MQTTS', 'WSS']) == has(self.tls)")
        .message("tls is required for MQTTS and WSS and forbidden for MQTT and WS; add tls.secretName or change protocol")
)]
pub struct Listener {
    /// Name, unique in the cluster; also the name of the port in the Service.
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What is spoken: MQTT, MQTTS (TLS), WS (WebSocket) or WSS (WebSocket and TLS).
    pub protocol: Protocol,
    /// Port of pod and Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Connections at one time on each node; further ones are closed at once. Default: 1000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// PROXY protocol that a load balancer speaks in front: Disabled, V1 or V2. Default: Disabled.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Certificate, for MQTTS and WSS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// MQTT on TCP.
    #[serde(rename = "MQTT")]
    Mqtt,
    /// MQTT on TLS.
    #[serde(rename = "MQTTS")]
    Mqtts,
    /// MQTT on WebSocket.
    #[serde(rename = "WS")]
    Ws,
    /// MQTT on WebSocket on TLS.
    #[serde(rename = "WSS")]
    Wss,
}

/// PROXY protocol in front of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocol {
    /// Clients connect by themselves.
    #[default]
    Disabled,
    /// Version 1, text.
    V1,
    /// Version 2, binary.
    V2,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// A `kubernetes.io/tls` Secret of the same namespace: tls.crt and tls.key.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// What is asked of clients. Absent: no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuth {
    /// Require refuses a client without a certificate; Request lets it authenticate otherwise.
    pub mode: ClientAuthMode,
    /// Secret of the same namespace with the authorities of client certificates: ca.crt.
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret_name: String,
}

/// Whether a client needs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthMode {
    /// It may have one.
    Request,
    /// It must have one.
    Require,
}

// === impl Listener ===

impl Listener {
    /// The listener of a cluster that states none: `mqtt` on port 1883.
    pub fn plain() -> Self {
        Self {
            name: "mqtt".to_owned(),
            protocol: Protocol::Mqtt,
            port: 1883,
            max_connections: None,
            proxy_protocol: ProxyProtocol::Disabled,
            tls: None,
        }
    }
}

// === impl Protocol ===

impl Protocol {
    /// The word of the manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "MQTT",
            Self::Mqtts => "MQTTS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }
}
