//! Why a remote cluster could not be reached, as a name of the documented set and a sentence that says how to mend it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::codec::Reason;
use crate::config::Server;
use crate::tls::TlsFault;

/// Dialling failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// What was dialled.
    pub server: Server,
    /// What went wrong.
    pub fault: Fault,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The name could not be looked up.
    Dns(String),
    /// The machine answers, but nobody listens on the port.
    NobodyListening(SocketAddr),
    /// There is no way to the machine.
    Unreachable(SocketAddr, String),
    /// Something took longer than the connect timeout.
    Timeout(Phase),
    /// The server is `mqtts` but there is no TLS configuration: a bug.
    NoTls,
    /// The name to expect in the certificate is none.
    ServerName(String),
    /// TLS failed.
    Tls(TlsFault),
    /// The connection broke.
    Lost(String),
    /// The remote closed without an answer.
    Closed,
    /// What came was not CONNACK.
    NotMqtt,
    /// CONNACK refused.
    Refused {
        /// Its reason code.
        reason: Reason,
        /// The name that a Tombolo broker gave in front of its reason string.
        name: Option<String>,
        /// Its reason string.
        text: Option<String>,
    },
}

/// What can take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The look-up of the name.
    Dns,
    /// The TCP connection.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// CONNACK.
    Connack,
}

// === impl DialError ===

impl DialError {
    /// A name of the documented set, for `LinkStatus::last_error`.
    pub fn name(&self) -> &str {
        match &self.fault {
            Fault::Dns(_) => "DnsFailed",
            Fault::NobodyListening(_) => "NobodyListening",
            Fault::Unreachable(..) => "Unreachable",
            Fault::Timeout(phase) => match phase {
                Phase::Dns => "DnsTimeout",
                Phase::Tcp => "ConnectTimeout",
                Phase::Tls => "TlsTimeout",
                Phase::Connack => "AnswerTimeout",
            },
            Fault::NoTls => "TlsHandshakeFailed",
            Fault::ServerName(_) => "TlsNameMismatch",
            Fault::Tls(fault) => fault.name(),
            Fault::Lost(_) | Fault::Closed => "ConnectionLost",
            Fault::NotMqtt => "NotMqtt",
            Fault::Refused { name: Some(name), .. } => name,
            Fault::Refused { reason, name: None, .. } => match reason {
                Reason::BadUserNameOrPassword => "AuthenticationFailed",
                Reason::NotAuthorized | Reason::Banned => "NotAuthorized",
                Reason::ServerBusy | Reason::ServerUnavailable | Reason::ServerShuttingDown => "RemoteBusy",
                Reason::UnsupportedProtocolVersion => "UnsupportedVersion",
                _ => "Refused",
            },
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.fault)
    }
}

impl std::error::Error for DialError {}

// === impl Fault ===

impl Fault {
    /// What an error of `connect` means.
    pub(super) fn of_connect(address: SocketAddr, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::NobodyListening(address),
            _ => Self::Unreachable(address, error.to_string()),
        }
    }

    /// What an error of a connection that stood means.
    pub(super) fn of_stream(error: &io::Error) -> Self {
        match TlsFault::of(error) {
            Some(fault) => Self::Tls(fault),
            None => Self::Lost(error.to_string()),
        }
    }

    /// A refusal by CONNACK. Our brokers put a name in front of the reason string: `UnknownCluster: no link …`.
    pub(super) fn refused(reason: Reason, text: Option<String>) -> Self {
        let name = text.as_deref().and_then(|text| text.split_once(": ")).map(|(name, _)| name);
        let is_name = |name: &&str| {
            name.len() <= 40
                && name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        Self::Refused { reason, name: name.filter(is_name).map(str::to_owned), text }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => write!(f, "the name can't be looked up ({error}); look at the name and at DNS"),
            Self::NobodyListening(address) => {
                write!(f, "nobody listens at {address}; look at the port, and whether the remote runs")
            }
            Self::Unreachable(address, error) => {
                write!(f, "there is no way to {address} ({error}); look at routes and firewalls")
            }
            Self::Timeout(phase) => f.write_str(match phase {
                Phase::Dns => "DNS did not answer in time; look at DNS",
                Phase::Tcp => "no answer to the TCP connection in time; look at address, routes and firewalls",
                Phase::Tls => "the TLS handshake took too long; look at whether the port speaks TLS",
                Phase::Connack => "no CONNACK came in time; look at whether the port speaks MQTT",
            }),
            Self::NoTls => f.write_str("there is no TLS configuration for this server"),
            Self::ServerName(name) => write!(f, "`{name}` is not a name that a certificate could have; set serverName"),
            Self::Tls(fault) => fault.fmt(f),
            Self::Lost(error) => write!(f, "the connection broke before CONNACK ({error})"),
            Self::Closed => f.write_str(
                "the remote closed the connection without an answer; look at its log, and whether the port speaks TLS",
            ),
            Self::NotMqtt => f.write_str("what answered does not speak MQTT 5; look at the port"),
            Self::Refused { reason, text, .. } => {
                write!(f, "the remote refused: {reason}")?;
                match text {
                    Some(text) => write!(f, ", {text}"),
                    None => Ok(()),
                }
            }
        }
    }
}
