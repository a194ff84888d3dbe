//! The admin server over TLS: handshakes beside each other and within bounds, and requests only with the token.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tombolo_broker_api::{ClientCertificate, SecureAdmin};

use crate::config::{Secret, TlsFiles};
use crate::tls::server_config;

/// Handshakes under way at one time; who comes then waits in the backlog of the operating system.
const HANDSHAKES_MAX: usize = 16;
/// Longest handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// A shorter token could be guessed, and an empty file would let everybody in.
const TOKEN_BYTES_MIN: usize = 16;
/// Pause after an `accept` that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections whose handshake succeeded. It ends when it is dropped.
pub(super) struct SecureListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

/// Who may ask: whoever bears what the file of the token holds now.
#[derive(Clone)]
pub(super) struct Guard {
    token_file: Arc<Path>,
}

/// Lets a request pass that bears the token.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let given =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let wanted = match tokio::fs::read(&guard.token_file).await {
        Ok(token) => token,
        Err(error) => {
            tracing::warn!(file = %guard.token_file.display(), %error, "the token of admin can't be read");
            return (StatusCode::SERVICE_UNAVAILABLE, "the token can't be read here\n").into_response();
        }
    };
    let wanted = wanted.trim_ascii();
    if wanted.len() >= TOKEN_BYTES_MIN && given.is_some_and(|given| same(given, wanted)) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "send the token of this cluster: Authorization: Bearer TOKEN\n")
        .into_response()
}

/// By digests, so that the time it takes says nothing of how much was right.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    Sha256::digest(given) == Sha256::digest(wanted)
}

// === impl Guard ===

impl Guard {
    pub fn new(token_file: PathBuf) -> Self {
        Self { token_file: token_file.into() }
    }
}

// === impl SecureListener ===

impl SecureListener {
    pub fn start(listener: TcpListener, files: SecureAdmin) -> Self {
        let address = listener.local_addr().expect("a socket that listens has an address");
        let (ready, accepted) = mpsc::channel(HANDSHAKES_MAX);
        tokio::spawn(accept(listener, Arc::new(files), ready));
        Self { address, accepted }
    }
}

impl axum::serve::Listener for SecureListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // Only when the runtime stops.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn accept(
    listener: TcpListener,
    files: Arc<SecureAdmin>,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, from) = tokio::select! {
            () = ready.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "admin can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (files, ready) = (Arc::clone(&files), ready.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_MAX, handshake(stream, &files)).await {
                Ok(Ok(stream)) => _ = ready.send((stream, from)).await,
                Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS with a client of admin"),
                Err(_) => tracing::debug!(%from, "a TLS handshake with a client of admin took too long"),
            }
            drop(permit);
        });
    }
}

async fn handshake(stream: TcpStream, files: &SecureAdmin) -> io::Result<TlsStream<TcpStream>> {
    let SecureAdmin { bind: _, certificate_file, key_file, token_file: _ } = files;
    let certificate = tokio::fs::read(certificate_file).await?;
    let key = tokio::fs::read(key_file).await?;
    let files = TlsFiles {
        certificate: Some((certificate_file.clone(), certificate)),
        key: Some((key_file.clone(), Secret::new(key))),
        ca: None,
    };
    // Without an authority of clients nothing is asked of them: the token is.
    let config = server_config(&files, ClientCertificate::Request).map_err(|error| {
        tracing::warn!(%error, "admin can't serve TLS");
        io::Error::other(error)
    })?;
    TlsAcceptor::from(config).accept(stream).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;
    use tombolo_broker_api::Admin as AdminConfig;

    use super::super::{Admin, Source};
    use super::*;
    use crate::tls::fixture::Authority;
    use crate::tls::{client_config, random};

    const TOKEN: &str = "a token of 24 characters";

    struct Fake;

    impl Source for Fake {
        async fn status(&self) -> tombolo_broker_api::Status {
            tombolo_broker_api::Status { cluster_name: "here".into(), ..Default::default() }
        }

        fn readiness(&self) -> Result<(), String> {
            Ok(())
        }

        async fn metrics(&self) -> String {
            "a 1\n".into()
        }
    }

    struct World {
        folder: TempDir,
        admin: Admin,
    }

    impl World {
        async fn start(authority: &Authority) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let any = "127.0.0.1:0".parse().expect("an address");
            let file = |name: &str| folder.path().join(name);
            let secure = SecureAdmin {
                bind: any,
                certificate_file: file("tls.crt"),
                key_file: file("tls.key"),
                token_file: file("token"),
            };
            let config = AdminConfig { bind: any, secure: Some(secure) };
            let admin = Admin::start(&config, Arc::new(Fake)).await.expect("free ports");
            let world = Self { folder, admin };
            world.certify(authority);
            world.write("token", &format!("{TOKEN}\n"));
            world
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).expect("written");
        }

        fn certify(&self, authority: &Authority) {
            let signed = authority.sign("edge-0", 2020..2099);
            self.write("tls.crt", &signed.certificate);
            self.write("tls.key", &signed.key);
        }

        async fn ask(&self, trusted: &Authority, token: Option<&str>) -> io::Result<String> {
            let address = self.admin.secure_address().expect("it serves TLS");
            let config = client_config(&trusted.trusted()).expect("a configuration");
            let name = ServerName::try_from("edge-0").expect("a name");
            let stream = TcpStream::connect(address).await?;
            let mut stream = TlsConnector::from(config).connect(name, stream).await?;
            let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
            let text = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}\r\n");
            stream.write_all(text.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        }
    }

    #[tokio::test]
    async fn status_is_for_who_has_the_token_and_over_tls_alone() {
        let authority = Authority::new("cluster");
        let world = World::start(&authority).await;
        let answer = world.ask(&authority, Some(TOKEN)).await.expect("an answer");
        assert!(answer.contains("200 OK") && answer.contains("\"here\""), "{answer}");
        for token in [None, Some(""), Some("a token of 24 character"), Some("another token than the right one")] {
            let answer = world.ask(&authority, token).await.expect("an answer");
            assert!(answer.contains("401") && !answer.contains("here\""), "{token:?}: {answer}");
        }
        let mut plain = TcpStream::connect(world.admin.address()).await.expect("it listens");
        plain.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        plain.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains("403") && answer.contains("over TLS"), "{answer}");
    }

    #[tokio::test]
    async fn certificate_and_token_are_read_anew_and_a_token_that_is_too_short_lets_nobody_in() {
        let (authority, other) = (Authority::new("cluster"), Authority::new("other"));
        let world = World::start(&authority).await;
        assert!(world.ask(&other, Some(TOKEN)).await.is_err(), "its authority is another one");
        world.certify(&other);
        assert!(world.ask(&other, Some(TOKEN)).await.expect("an answer").contains("200 OK"));
        let new = format!("{:x}", u128::from_be_bytes(random()));
        world.write("token", &format!("{new:0>32}"));
        assert!(world.ask(&other, Some(TOKEN)).await.expect("an answer").contains("401"));
        assert!(world.ask(&other, Some(&format!("{new:0>32}"))).await.expect("an answer").contains("200 OK"));
        for short in ["", "\n", "short"] {
            world.write("token", short);
            assert!(world.ask(&other, Some(short)).await.expect("an answer").contains("401"), "{short:?}");
        }
        std::fs::remove_file(world.folder.path().join("token")).expect("removed");
        assert!(world.ask(&other, Some(TOKEN)).await.expect("an answer").contains("503"));
    }

    #[tokio::test]
    async fn who_says_nothing_does_not_hold_up_the_others() {
        let authority = Authority::new("cluster");
        let world = World::start(&authority).await;
        let address = world.admin.secure_address().expect("it serves TLS");
        let mut silent = Vec::new();
        for _ in 0..HANDSHAKES_MAX - 1 {
            silent.push(TcpStream::connect(address).await.expect("it listens"));
        }
        assert!(world.ask(&authority, Some(TOKEN)).await.expect("an answer").contains("200 OK"));
    }
}
