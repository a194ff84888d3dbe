//! Transports that move between runtimes with bytes under way in both directions.

use std::sync::Arc;
use std::thread;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tombolo_broker_api::ClientCertificate;

use super::*;
use crate::tls::fixture::Authority;
use crate::tls::{Certificate, client_config, server_config};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connected"), far.expect("accepted").0)
}

async fn tls_pair() -> (Transport, Transport) {
    let authority = Authority::new("ca");
    let server = authority.sign("broker.test", 2020..2100).files(authority.trusted());
    let client = authority.sign("meter-7", 2020..2100).files(authority.trusted());
    let acceptor = TlsAcceptor::from(server_config(&server, ClientCertificate::Require).expect("files"));
    let connector = TlsConnector::from(client_config(&client).expect("files"));
    let (near, far) = pair().await;
    let name = ServerName::try_from("broker.test").expect("a name");
    let (near, far) = tokio::join!(connector.connect(name, Movable::new(near)), acceptor.accept(Movable::new(far)));
    (
        Transport::TlsClient(Box::new(near.expect("a handshake"))),
        Transport::TlsServer(Box::new(far.expect("a handshake"))),
    )
}

/// Moves `transport` from thread to thread, a piece read on each, and gives what was read.
fn read_while_moving(transport: Transport, runtime: Runtime, pieces: usize, piece: usize) -> Vec<u8> {
    let mut read = Vec::new();
    let mut detached = runtime.block_on(async { transport.detach() }).expect("it lets go");
    drop(runtime);
    for _ in 0..pieces {
        let step = move || {
            let runtime = self::runtime();
            runtime.block_on(async {
                let mut transport = detached.attach().expect("it takes hold");
                let mut bytes = vec![0; piece];
                transport.read_exact(&mut bytes).await.expect("the other end writes");
                transport.write_all(&bytes[..1]).await.expect("the other end reads");
                transport.flush().await.expect("the other end reads");
                (bytes, transport.detach().expect("it lets go"))
            })
        };
        let (bytes, next) = thread::spawn(step).join().expect("no panic");
        read.extend(bytes);
        detached = next;
    }
    read
}

/// Writes a megabyte on one thread while the other end moves ten times; each move answers with a byte.
fn moves_lose_nothing(make: impl Future<Output = (Transport, Transport)>, other_end: Runtime) {
    let (near, far) = other_end.block_on(make);
    // The far end's own runtime must not be the near end's, which goes on.
    let far = other_end.block_on(async { far.detach() }).expect("it lets go");
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
    let to_send = sent.clone();
    let writer = thread::spawn(move || {
        other_end.block_on(async {
            let (mut reader, mut writer) = tokio::io::split(near);
            let writing = async {
                writer.write_all(&to_send).await.expect("the other end reads");
                writer.flush().await.expect("the other end reads");
            };
            let mut answers = vec![0; 10];
            let reading = reader.read_exact(&mut answers);
            let (_, answered) = tokio::join!(writing, reading);
            answered.expect("ten answers");
            answers
        })
    });
    let first = runtime();
    let far = first.block_on(async { far.attach() }).expect("it takes hold");
    let received = read_while_moving(far, first, 10, 100_000);
    assert!(received == sent, "bytes were lost or changed");
    let answers = writer.join().expect("no panic");
    assert_eq!(answers, (0..10).map(|n| sent[n * 100_000]).collect::<Vec<_>>());
}

#[test]
fn a_tcp_connection_moves_between_runtimes_without_loss() {
    let tcp = async {
        let (near, far) = pair().await;
        (Transport::from(near), Transport::from(far))
    };
    moves_lose_nothing(tcp, runtime());
}

#[test]
fn either_end_of_a_tls_connection_moves_between_runtimes_without_loss() {
    moves_lose_nothing(tls_pair(), runtime());
    let turned = async {
        let (client, server) = tls_pair().await;
        (server, client)
    };
    moves_lose_nothing(turned, runtime());
}

#[tokio::test]
async fn both_ends_know_address_and_certificate_of_the_other() {
    let (client, server) = tls_pair().await;
    let name = |transport: &Transport| {
        let der = transport.peer_certificate().expect("verified").clone();
        Certificate::parse(&der).expect("a certificate").common_name
    };
    assert_eq!(name(&client).as_deref(), Some("broker.test"));
    assert_eq!(name(&server).as_deref(), Some("meter-7"));
    assert!(client.peer_addr().expect("connected").ip().is_loopback());
    let (near, _far) = pair().await;
    let plain = Transport::from(near);
    assert!(plain.peer_certificate().is_none() && plain.is_write_vectored());
}

#[tokio::test]
async fn a_socket_that_is_away_is_an_error_and_not_a_panic() {
    let (near, _far) = pair().await;
    let mut movable = Movable::new(near);
    movable.take_out().expect("it is there");
    assert_eq!(movable.read_u8().await.expect_err("away").kind(), io::ErrorKind::NotConnected);
    assert_eq!(movable.write_u8(1).await.expect_err("away").kind(), io::ErrorKind::NotConnected);
    assert!(movable.take_out().is_err());
    fn is_send<T: Send>() {}
    is_send::<Detached>();
    is_send::<Arc<std::sync::Mutex<Transport>>>();
}
