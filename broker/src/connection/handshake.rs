//! From an accepted socket to a client or a link on its shard, or to a refusal with its reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::auth::{Attempt, Auth, Identity, Role};
use crate::codec::connack::{self, Connack};
use crate::codec::connect::{self, Connect};
use crate::codec::frame::{self, Kind, Peek};
use crate::codec::{Error, Reason, Version};
use crate::link::{self, CONNECT_PROPERTY, PACKET_MIN, PEER_PROPERTY, Why};
use crate::metrics::Refused;
use crate::shard::{Attach, AttachLink, ConnectionGuard, Control, LinkKey, Shared, Stream, answer_and_close, shard_of};
use crate::tls::{self, Certificate};
use crate::transport::{Movable, Transport};

/// Largest CONNECT, in bytes: nobody is authenticated yet, so nobody may fill memory. A will, a user name, a password and
/// a client id of the greatest length fit.
const CONNECT_MAX: usize = 384 << 10;

/// What a handshake goes by: one for each listener and configuration.
pub struct Door {
    /// Who may come in.
    pub auth: Arc<Auth>,
    /// TLS, if the listener speaks it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Time for everything until CONNACK.
    pub timeout: Duration,
    /// Largest packet, in bytes.
    pub packet_max: usize,
    /// Longest client id, in bytes.
    pub client_id_max: usize,
    /// Publishes that a link's other end may have unacknowledged.
    pub receive_maximum: u16,
    /// The remote cluster of each link, by the link's name: it decides the link's shard.
    pub links: Vec<(Arc<str>, String)>,
    /// Who comes in here.
    pub guests: Guests,
}

/// Who comes in at a listener.
pub enum Guests {
    /// Clients, and other clusters.
    Clients,
    /// The other nodes of the cluster, and nobody else.
    Nodes {
        /// Name of the cluster.
        cluster: String,
        /// Names of the nodes.
        others: Vec<Arc<str>>,
    },
}

/// Who has come in.
enum Guest {
    /// A client, or a link's user.
    User(Identity),
    /// A node of this name.
    Node(Arc<str>),
}

/// An accepted socket.
pub struct Handshake {
    /// The socket.
    pub socket: TcpStream,
    /// Its other end.
    pub peer: SocketAddr,
    /// Its place at the listener.
    pub guard: ConnectionGuard,
    /// The shard whose thread this runs on.
    pub shard: usize,
}

/// A connection that gets no further.
struct Refusal {
    why: Refused,
    /// What the other side is told, and in which version; `None`: the connection is just closed.
    answer: Option<(Version, Reason)>,
    /// Largest packet that it takes, in bytes.
    packet_max: usize,
    message: String,
}

/// Leads a socket to its shard. Whatever fails is counted, and answered where the protocol has an answer.
pub async fn greet(shared: Arc<Shared>, door: Arc<Door>, handshake: Handshake) {
    let Handshake { socket, peer, guard, shard } = handshake;
    // Small packets must not wait for each other. A socket that refuses is still a socket.
    let _ = socket.set_nodelay(true);
    let deadline = tokio::time::Instant::now() + door.timeout;
    let mut buffer = Vec::new();
    let transport = match tokio::time::timeout_at(deadline, secure(socket, &door)).await {
        Ok(Ok(transport)) => transport,
        Ok(Err(message)) => return note(&shared, peer, Refused::TlsHandshake, &message),
        Err(_) => return note(&shared, peer, Refused::ConnectTimeout, "no TLS handshake in time"),
    };
    let mut transport = transport;
    let admitted = match tokio::time::timeout_at(deadline, admit(&mut transport, &mut buffer, &door)).await {
        Ok(admitted) => admitted,
        Err(_) => Err(Refusal::silent(Refused::ConnectTimeout, "no whole CONNECT came in time")),
    };
    let (connect, guest) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            note(&shared, peer, refusal.why, &refusal.message);
            let mut bytes = Vec::new();
            if let Some((version, reason)) = refusal.answer {
                let mut answer = Connack::refusal(reason);
                answer.properties.reason_string = Some(refusal.message);
                connack::encode(&mut bytes, version, &answer);
                if bytes.len() > refusal.packet_max {
                    // The reason code alone, if the sentence is more than the other side takes (section 3.2.2.3.9).
                    bytes.clear();
                    connack::encode(&mut bytes, version, &Connack::refusal(reason));
                }
            }
            return answer_and_close(transport, bytes, guard);
        }
    };
    let identity = match guest {
        Guest::User(identity) => identity,
        Guest::Node(node) => {
            let arrival = Arrival { home: node.to_string(), link: LinkKey::Peer(node), user: None };
            return attach_link(&shared, &door, shard, transport, connect, arrival, buffer, guard).await;
        }
    };
    match identity.role.clone() {
        Role::Client => attach(&shared, shard, transport, connect, identity, buffer, guard, peer),
        Role::Link { name } => {
            let Some((_, remote)) = door.links.iter().find(|(link, _)| *link == name) else { return };
            let arrival = Arrival { home: remote.clone(), link: LinkKey::Cluster(name), user: identity.user };
            attach_link(&shared, &door, shard, transport, connect, arrival, buffer, guard).await;
        }
    }
}

/// A link that has come in.
struct Arrival {
    /// What its shard is found by: the name of the remote cluster, or of the node.
    home: String,
    link: LinkKey,
    user: Option<Arc<str>>,
}

async fn secure(socket: TcpStream, door: &Door) -> Result<Transport, String> {
    let Some(tls) = &door.tls else { return Ok(Transport::from(socket)) };
    let accepted = TlsAcceptor::from(Arc::clone(tls)).accept(Movable::new(socket)).await;
    accepted.map(|stream| Transport::TlsServer(Box::new(stream))).map_err(|error| error.to_string())
}

/// Reads CONNECT and decides about it; what came behind it stays in `buffer`.
async fn admit(transport: &mut Transport, buffer: &mut Vec<u8>, door: &Door) -> Result<(Connect, Guest), Refusal> {
    let connect = read_connect(transport, buffer, door).await?;
    let version = connect.version;
    let packet_max = connect.properties.maximum_packet_size.map_or(usize::MAX, |max| max as usize);
    let refuse = |why, reason, message: String| Refusal { why, answer: Some((version, reason)), packet_max, message };
    if let Guests::Nodes { cluster, others } = &door.guests {
        return match node_of(&connect, transport, cluster, others) {
            Ok(node) => Ok((connect, Guest::Node(node))),
            Err(no) => Err(refuse(Refused::NodeRefused, Reason::NotAuthorized, no.to_string())),
        };
    }
    if connect.properties.authentication_method.is_some() {
        let message = "no authentication method is offered; use a user name and a password".to_owned();
        return Err(refuse(Refused::UnsupportedAuthentication, Reason::BadAuthenticationMethod, message));
    }
    if connect.client_id.len() > door.client_id_max {
        let message = format!("the client id is longer than {} bytes", door.client_id_max);
        return Err(refuse(Refused::ClientIdInvalid, Reason::ClientIdNotValid, message));
    }
    let link_from = connect.properties.user_properties.iter().find(|(name, _)| name == CONNECT_PROPERTY);
    let certificate_name =
        transport.peer_certificate().and_then(Certificate::parse).and_then(|certificate| certificate.common_name);
    let attempt = Attempt {
        username: connect.username.as_deref(),
        password: connect.password.as_deref(),
        certificate_name: certificate_name.as_deref(),
        link_from: link_from.map(|(_, cluster)| &**cluster),
    };
    match door.auth.authenticate(&attempt).await {
        Ok(identity) => Ok((connect, Guest::User(identity))),
        Err(no) => Err(refuse(no.counts_as(), no.reason(), no.to_string())),
    }
}

/// The node that a CONNECT comes from: it says so, is one of ours, and has proved by its certificate that it is that one.
fn node_of(
    connect: &Connect,
    transport: &Transport,
    cluster: &str,
    others: &[Arc<str>],
) -> Result<Arc<str>, link::Refusal> {
    let refuse = |why, message: String| Err(link::Refusal::new(why, message));
    let property = connect.properties.user_properties.iter().find(|(name, _)| name == PEER_PROPERTY);
    let node = &connect.client_id;
    match property {
        None => {
            let message = "only other nodes of the cluster connect here; clients have ports of their own";
            return refuse(Why::UnknownNode, message.to_owned());
        }
        Some((_, theirs)) if theirs != cluster => {
            let message = format!("a node of cluster `{theirs}` has called, and this is cluster `{cluster}`");
            return refuse(Why::ClusterNameMismatch, message);
        }
        Some(_) => {}
    }
    let Some(known) = others.iter().find(|known| ***known == **node) else {
        return refuse(
            Why::UnknownNode,
            format!("`{node}` is not among the other nodes of this one's `cluster.nodes`"),
        );
    };
    if !transport.peer_certificate().is_some_and(|certificate| tls::is_for(certificate, node)) {
        let message = format!("the certificate is not for `{node}`: the name must be among its DNS names");
        return refuse(Why::NodeMismatch, message);
    }
    Ok(Arc::clone(known))
}

/// Reads CONNECT; what came behind it stays in `buffer`.
async fn read_connect(transport: &mut Transport, buffer: &mut Vec<u8>, door: &Door) -> Result<Connect, Refusal> {
    let total = loop {
        if let Some(first) = buffer.first()
            && Kind::of(*first) != Ok(Kind::Connect)
        {
            return Err(Refusal::silent(Refused::ProtocolError, "the first packet is not CONNECT [MQTT-3.1.0-1]"));
        }
        match frame::peek(buffer, door.packet_max.min(CONNECT_MAX)) {
            Ok(Peek::Frame { total, .. }) if total <= buffer.len() => break total,
            Ok(Peek::Frame { .. } | Peek::Partial) => {}
            Err(error) => return Err(Refusal::of(error, None)),
        }
        match transport.read_buf(buffer).await {
            Ok(0) => return Err(Refusal::silent(Refused::ClosedEarly, "the other end closed before its CONNECT")),
            Ok(_) => {}
            Err(error) => return Err(Refusal::silent(Refused::ClosedEarly, &error.to_string())),
        }
    };
    let connect = connect::decode(&buffer[..total]).map_err(|no| Refusal::of(no.error, no.answer))?;
    let rest = buffer.split_off(total);
    *buffer = rest;
    Ok(connect)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one Attach")]
fn attach(
    shared: &Shared,
    here: usize,
    transport: Transport,
    mut connect: Connect,
    identity: Identity,
    leftover: Vec<u8>,
    guard: ConnectionGuard,
    peer: SocketAddr,
) {
    let assigned = connect.client_id.is_empty();
    if assigned {
        connect.client_id = format!("tombolo-{:032x}", u128::from_be_bytes(tls::random()));
    }
    let shard = shard_of(connect.client_id.as_bytes(), shared.inboxes.len());
    let Some(stream) = bring(transport, here, shard, peer) else { return };
    let attach = Attach { stream, connect, assigned, leftover, identity, guard, peer };
    shared.inboxes[shard].send(Control::Attach(Box::new(attach)));
}

#[expect(clippy::too_many_arguments, reason = "the parts of one AttachLink")]
async fn attach_link(
    shared: &Shared,
    door: &Door,
    here: usize,
    mut transport: Transport,
    connect: Connect,
    Arrival { home, link, user }: Arrival,
    leftover: Vec<u8>,
    guard: ConnectionGuard,
) {
    let mut properties = connack::Properties {
        receive_maximum: Some(door.receive_maximum),
        maximum_packet_size: u32::try_from(door.packet_max.max(PACKET_MIN as usize)).ok(),
        ..connack::Properties::default()
    };
    properties.assigned_client_id = connect.client_id.is_empty().then(|| format!("link-{}", link.name()));
    let mut answer = Vec::new();
    let accepted = Connack { session_present: false, reason: Reason::Success, properties };
    connack::encode(&mut answer, connect.version, &accepted);
    // Written here, where it can wait: the shard's first word comes after it.
    let written = async {
        tokio::io::AsyncWriteExt::write_all(&mut transport, &answer).await?;
        tokio::io::AsyncWriteExt::flush(&mut transport).await
    };
    if !matches!(tokio::time::timeout(door.timeout, written).await, Ok(Ok(()))) {
        return;
    }
    let shard = shard_of(home.as_bytes(), shared.inboxes.len());
    let Ok(peer) = transport.peer_addr() else { return };
    let Some(stream) = bring(transport, here, shard, peer) else { return };
    shared.inboxes[shard].send(Control::AttachLink(Box::new(AttachLink {
        link,
        user,
        stream,
        leftover,
        guard: Some(guard),
        dialled: false,
        receive_maximum: connect.properties.receive_maximum,
        maximum_packet_size: connect.properties.maximum_packet_size.unwrap_or(u32::MAX),
        keep_alive: connect.keep_alive,
    })));
}

/// Takes a stream away from its runtime if its shard lives on another one.
fn bring(transport: Transport, here: usize, shard: usize, peer: SocketAddr) -> Option<Stream> {
    if here == shard {
        return Some(Stream::Here(transport));
    }
    match transport.detach() {
        Ok(detached) => Some(Stream::Moved(detached)),
        Err(error) => {
            tracing::warn!(%peer, %error, "A connection could not be moved to its shard.");
            None
        }
    }
}

fn note(shared: &Shared, peer: SocketAddr, why: Refused, message: &str) {
    if let Some(unlogged) = shared.board.events.refuse_aloud(why, shared.clock.now()) {
        tracing::info!(%peer, reason = why.label(), unlogged, "A connection is refused: {message}.");
    }
}

// === impl Refusal ===

impl Refusal {
    fn silent(why: Refused, message: &str) -> Self {
        Self { why, answer: None, packet_max: usize::MAX, message: message.to_owned() }
    }

    fn of(error: Error, answer: Option<Version>) -> Self {
        let why = match error.reason {
            Reason::UnsupportedProtocolVersion => Refused::UnsupportedVersion,
            Reason::ClientIdNotValid => Refused::ClientIdInvalid,
            Reason::PacketTooLarge => Refused::PacketTooLarge,
            Reason::ProtocolError => Refused::ProtocolError,
            _ => Refused::Malformed,
        };
        let answer = answer.map(|version| (version, error.reason));
        Self { why, answer, packet_max: usize::MAX, message: error.what.to_owned() }
    }
}
