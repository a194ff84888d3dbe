//! Dials a remote cluster: name, TCP, TLS, CONNECT, CONNACK, each failure by name.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::dial_error::{DialError, Fault, Phase};
use crate::codec::frame::{self, Kind, Peek};
use crate::codec::{Reason, Version, connack, connect};
use crate::config::{Secret, Server};
use crate::transport::{Movable, Transport};

/// How a link dials; the same for all of its servers.
#[derive(Clone)]
pub struct DialConfig {
    /// Where, in the order to try.
    pub servers: Vec<Server>,
    /// User property of CONNECT that says who calls.
    pub property: &'static str,
    /// Its value: our cluster, as the remote knows it.
    pub cluster_name: String,
    /// Client id: prefix, link and node.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// TLS, if any server is `mqtts`.
    pub tls: Option<Arc<ClientConfig>>,
    /// Name expected in the remote's certificate, if not the host.
    pub server_name: Option<String>,
    /// Keep alive to ask for, in seconds.
    pub keep_alive: u16,
    /// Publishes that the remote may have unacknowledged.
    pub receive_maximum: u16,
    /// Largest packet that the remote may send, in bytes.
    pub maximum_packet_size: u32,
    /// Bound for each of: name look-up, each address, TLS handshake, CONNECT to CONNACK.
    pub connect_timeout: Duration,
}

/// A connection that stands, and what the remote said about it.
pub struct Dialled {
    /// The connection.
    pub transport: Transport,
    /// Bytes that came behind CONNACK.
    pub leftover: Vec<u8>,
    /// Publishes that we may have unacknowledged, at least 1.
    pub receive_maximum: u16,
    /// Largest packet that we may send, in bytes.
    pub maximum_packet_size: u32,
    /// Keep alive in force, in seconds; 0: none.
    pub keep_alive: u16,
    /// The address that answered.
    pub address: SocketAddr,
}

/// Larger than any CONNACK that a broker has reason to send.
const CONNACK_BYTES_MAX: usize = 64 << 10;

/// Dials `server` once. Names are looked up anew each time.
pub async fn dial(server: &Server, config: &DialConfig) -> Result<Dialled, DialError> {
    let (transport, address) =
        open(server, config).await.map_err(|fault| DialError { server: server.clone(), fault })?;
    let answer = within(Phase::Connack, config.connect_timeout, introduce(transport, config)).await;
    let (transport, leftover, connack) = answer.map_err(|fault| DialError { server: server.clone(), fault })?;
    Ok(Dialled {
        transport,
        leftover,
        receive_maximum: connack.properties.receive_maximum.unwrap_or(u16::MAX),
        maximum_packet_size: connack.properties.maximum_packet_size.unwrap_or(u32::MAX),
        keep_alive: connack.properties.server_keep_alive.unwrap_or(config.keep_alive),
        address,
    })
}

async fn open(server: &Server, config: &DialConfig) -> Result<(Transport, SocketAddr), Fault> {
    let (stream, address) = connect_tcp(server, config.connect_timeout).await?;
    // Batches are built by us; waiting for more would only delay heartbeats. A socket that refuses is still a socket.
    let _ = stream.set_nodelay(true);
    if !server.tls {
        return Ok((Transport::Tcp(stream), address));
    }
    let tls = config.tls.clone().ok_or(Fault::NoTls)?;
    let expected = config.server_name.as_deref().unwrap_or(&server.host);
    let name = ServerName::try_from(expected.to_owned()).map_err(|_| Fault::ServerName(expected.to_owned()))?;
    let handshake = async {
        let stream = TlsConnector::from(tls).connect(name, Movable::new(stream)).await;
        stream.map_err(|error| Fault::of_stream(&error))
    };
    let tls = within(Phase::Tls, config.connect_timeout, handshake).await?;
    Ok((Transport::TlsClient(Box::new(tls)), address))
}

/// Tries every address of the name; the last fault is told.
async fn connect_tcp(server: &Server, each: Duration) -> Result<(TcpStream, SocketAddr), Fault> {
    let look_up = async {
        let found = lookup_host((&*server.host, server.port)).await;
        found.map_err(|error| Fault::Dns(error.to_string()))
    };
    let mut fault = Fault::Dns("the name has no address".to_owned());
    for address in within(Phase::Dns, each, look_up).await? {
        let connecting =
            async { TcpStream::connect(address).await.map_err(|error| Fault::of_connect(address, &error)) };
        match within(Phase::Tcp, each, connecting).await {
            Ok(stream) => return Ok((stream, address)),
            Err(last) => fault = last,
        }
    }
    Err(fault)
}

/// Says who we are and reads the answer.
async fn introduce(
    mut transport: Transport,
    config: &DialConfig,
) -> Result<(Transport, Vec<u8>, connack::Connack), Fault> {
    let mut packet = Vec::new();
    connect::encode(&mut packet, &connect_packet(config));
    transport.write_all(&packet).await.map_err(|error| Fault::of_stream(&error))?;
    transport.flush().await.map_err(|error| Fault::of_stream(&error))?;
    let mut bytes = Vec::new();
    loop {
        if let Some(total) = whole_packet(&bytes)? {
            let leftover = bytes.split_off(total);
            let connack = answer(&bytes)?;
            return Ok((transport, leftover, connack));
        }
        if transport.read_buf(&mut bytes).await.map_err(|error| Fault::of_stream(&error))? == 0 {
            return Err(Fault::Closed);
        }
    }
}

/// Length of the packet at the front, once all of it is there.
fn whole_packet(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    if let Some(first) = bytes.first()
        && Kind::of(*first) != Ok(Kind::Connack)
    {
        return Err(Fault::NotMqtt);
    }
    match frame::peek(bytes, CONNACK_BYTES_MAX) {
        Ok(Peek::Frame { total, .. }) if total <= bytes.len() => Ok(Some(total)),
        Ok(Peek::Frame { .. } | Peek::Partial) => Ok(None),
        Err(_) => Err(Fault::NotMqtt),
    }
}

fn answer(packet: &[u8]) -> Result<connack::Connack, Fault> {
    let Ok(connack) = connack::decode(packet, Version::V5) else {
        // A broker that knows no version 5 says so in the form of version 3.1.1.
        return Err(match connack::decode(packet, Version::V4) {
            Ok(older) => Fault::refused(older.reason, None),
            Err(_) => Fault::NotMqtt,
        });
    };
    match connack.reason {
        Reason::Success => Ok(connack),
        reason => Err(Fault::refused(reason, connack.properties.reason_string)),
    }
}

fn connect_packet(config: &DialConfig) -> connect::Connect {
    connect::Connect {
        version: Version::V5,
        client_id: config.client_id.clone(),
        clean_start: true,
        keep_alive: config.keep_alive,
        will: None,
        username: config.username.clone(),
        password: config.password.as_ref().map(|password| password.reveal().to_vec()),
        properties: connect::Properties {
            session_expiry: 0,
            receive_maximum: config.receive_maximum,
            maximum_packet_size: Some(config.maximum_packet_size),
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: vec![(config.property.to_owned(), config.cluster_name.clone())],
            authentication_method: None,
            authentication_data: None,
        },
    }
}

async fn within<T>(phase: Phase, bound: Duration, what: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(bound, what).await.unwrap_or(Err(Fault::Timeout(phase)))
}

impl fmt::Debug for DialConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialConfig").field("servers", &self.servers).field("client_id", &self.client_id).finish()
    }
}

#[cfg(test)]
mod tests;
