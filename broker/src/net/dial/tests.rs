//! Dialling a remote that answers, refuses, is silent, lies or is not there.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tombolo_broker_api::ClientCertificate;

use super::*;
use crate::config::TlsFiles;
use crate::link::CONNECT_PROPERTY;
use crate::tls::fixture::Authority;
use crate::tls::{client_config, server_config};

const GOOD: std::ops::Range<i32> = 2020..2100;

fn config(connect_timeout: Duration) -> DialConfig {
    DialConfig {
        servers: Vec::new(),
        property: CONNECT_PROPERTY,
        cluster_name: "here".into(),
        client_id: "from-here:to-cloud:node-0".into(),
        username: Some("u".into()),
        password: Some(Secret::new(*b"p")),
        tls: None,
        server_name: None,
        keep_alive: 15,
        receive_maximum: 7,
        maximum_packet_size: 100_000,
        connect_timeout,
    }
}

/// Long enough for a busy machine; no test waits for it.
const PATIENT: Duration = Duration::from_secs(60);
const IMPATIENT: Duration = Duration::from_millis(50);

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

fn server(tls: bool, port: u16) -> Server {
    Server { tls, host: "127.0.0.1".into(), port }
}

/// Reads CONNECT, answers with `bytes`, and gives the CONNECT.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> connect::Connect {
    let mut packet = Vec::new();
    let frame = loop {
        stream.read_buf(&mut packet).await.expect("the client writes");
        match frame::peek(&packet, 10_000) {
            Ok(Peek::Frame { total, .. }) if total == packet.len() => break packet,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    stream.write_all(bytes).await.expect("the client reads");
    connect::decode(&frame).expect("a CONNECT")
}

fn connack(reason: Reason, properties: connack::Properties) -> Vec<u8> {
    let mut bytes = Vec::new();
    connack::encode(&mut bytes, Version::V5, &connack::Connack { session_present: false, reason, properties });
    bytes
}

/// What dialling a remote that answers CONNECT with `bytes` and then closes gives.
async fn dial_one_that_says(bytes: Vec<u8>) -> (Result<Dialled, DialError>, connect::Connect) {
    let (listener, port) = listen().await;
    let remote = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        answer(&mut stream, &bytes).await
    });
    let result = dial(&server(false, port), &config(PATIENT)).await;
    (result, remote.await.expect("no panic"))
}

fn name(result: Result<Dialled, DialError>) -> String {
    let error = result.err().expect("it fails");
    let text = error.to_string();
    assert!(text.starts_with("mqtt"), "{text}");
    error.name().to_owned()
}

#[tokio::test]
async fn a_remote_that_agrees_is_connected_and_its_limits_are_known() {
    let properties = connack::Properties {
        receive_maximum: Some(9),
        maximum_packet_size: Some(200_000),
        server_keep_alive: Some(60),
        ..connack::Properties::default()
    };
    let mut bytes = connack(Reason::Success, properties);
    bytes.extend_from_slice(&[0xd0, 0x00]);
    let (result, connect) = dial_one_that_says(bytes).await;
    let dialled = result.expect("it stands");
    let facts = (dialled.receive_maximum, dialled.maximum_packet_size, dialled.keep_alive);
    assert_eq!(facts, (9, 200_000, 60));
    assert_eq!(dialled.leftover, [0xd0, 0x00]);
    assert_eq!(dialled.address.ip(), Ipv4Addr::LOCALHOST);

    assert_eq!((connect.version, connect.clean_start, connect.keep_alive), (Version::V5, true, 15));
    assert_eq!(connect.client_id, "from-here:to-cloud:node-0");
    assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("u"), Some(&b"p"[..])));
    let properties = &connect.properties;
    assert_eq!((properties.receive_maximum, properties.maximum_packet_size), (7, Some(100_000)));
    assert_eq!(properties.user_properties, [("tombolo-link".to_owned(), "here".to_owned())]);
    assert_eq!(properties.session_expiry, 0);
}

#[tokio::test]
async fn a_remote_that_says_nothing_of_limits_has_those_of_the_protocol() {
    let (result, _) = dial_one_that_says(connack(Reason::Success, connack::Properties::default())).await;
    let dialled = result.expect("it stands");
    assert_eq!((dialled.receive_maximum, dialled.maximum_packet_size, dialled.keep_alive), (u16::MAX, u32::MAX, 15));
}

#[tokio::test]
async fn each_refusal_has_its_name() {
    let refused = |reason, text: &str| {
        let reason_string = (!text.is_empty()).then(|| text.to_owned());
        connack(reason, connack::Properties { reason_string, ..connack::Properties::default() })
    };
    let table = [
        (refused(Reason::BadUserNameOrPassword, "user name or password is wrong"), "AuthenticationFailed"),
        (refused(Reason::NotAuthorized, ""), "NotAuthorized"),
        (refused(Reason::NotAuthorized, "UnknownCluster: no link with cluster `here`"), "UnknownCluster"),
        (refused(Reason::NotAuthorized, "not a name: x"), "NotAuthorized"),
        (refused(Reason::ServerBusy, ""), "RemoteBusy"),
        (refused(Reason::QuotaExceeded, ""), "Refused"),
        // As a broker of version 3.1.1 only says that the version is not supported.
        (vec![0x20, 0x02, 0x00, 0x01], "UnsupportedVersion"),
        (vec![0x20, 0x02, 0x00], "ConnectionLost"),
        (vec![], "ConnectionLost"),
        (vec![0x20, 0xff, 0xff, 0xff, 0x7f], "NotMqtt"),
        (vec![0x20, 0x01, 0x00], "NotMqtt"),
        (vec![0xd0, 0x00], "NotMqtt"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "NotMqtt"),
        // An alert of TLS.
        (vec![0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x16], "NotMqtt"),
    ];
    for (bytes, expected) in table {
        let (result, _) = dial_one_that_says(bytes.clone()).await;
        assert_eq!(name(result), expected, "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_remote_that_is_not_there_or_silent_is_told_apart() {
    let (listener, port) = listen().await;
    // The backlog takes the connection, and nobody ever answers.
    let plain = dial(&server(false, port), &config(IMPATIENT)).await;
    assert_eq!(name(plain), "AnswerTimeout");
    let tls = Some(client_config(&Authority::new("ca").trusted()).expect("fine"));
    let silent = dial(&server(true, port), &DialConfig { tls: tls.clone(), ..config(IMPATIENT) }).await;
    assert_eq!(name(silent), "TlsTimeout");
    drop(listener);
    assert_eq!(name(dial(&server(false, port), &config(PATIENT)).await), "NobodyListening");
    let nowhere = Server { host: "no-such-host.invalid".into(), ..server(false, port) };
    let found = name(dial(&nowhere, &config(PATIENT)).await);
    assert!(found.starts_with("Dns"), "{found}");
    let (_listener, port) = listen().await;
    let nameless = DialConfig { tls, server_name: Some("not a name".into()), ..config(PATIENT) };
    assert_eq!(name(dial(&server(true, port), &nameless).await), "TlsNameMismatch");
    assert_eq!(name(dial(&server(true, port), &config(PATIENT)).await), "TlsHandshakeFailed");
}

/// A TLS remote that agrees to everything.
async fn tls_remote(files: &TlsFiles) -> (u16, tokio::task::JoinHandle<()>) {
    let acceptor = TlsAcceptor::from(server_config(files, ClientCertificate::Require).expect("server files"));
    let (listener, port) = listen().await;
    let agree = connack(Reason::Success, connack::Properties::default());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        if let Ok(mut stream) = acceptor.accept(stream).await {
            answer(&mut stream, &agree).await;
        }
    });
    (port, task)
}

#[tokio::test]
async fn tls_is_verified_and_each_fault_has_its_name() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let good = ours.sign("127.0.0.1", GOOD).files(TlsFiles::default());
    let expired = ours.sign("127.0.0.1", 2000..2001).files(TlsFiles::default());
    let named = ours.sign("broker.test", GOOD).files(TlsFiles::default());
    let strict = ours.sign("127.0.0.1", GOOD).files(ours.trusted());
    let trusting = ours.trusted();
    let client = ours.sign("client", GOOD).files(ours.trusted());
    let table = [
        (&good, &trusting, None, None),
        (&strict, &client, None, None),
        (&named, &trusting, Some("broker.test"), None),
        (&named, &trusting, None, Some("TlsNameMismatch")),
        (&expired, &trusting, None, Some("TlsCertificateExpired")),
        (&good, &foreign.trusted(), None, Some("TlsUnknownAuthority")),
        (&strict, &trusting, None, Some("TlsClientCertificateRefused")),
    ];
    for (place, (remote, ours, server_name, expected)) in table.into_iter().enumerate() {
        let (port, task) = tls_remote(remote).await;
        let tls = Some(client_config(ours).expect("client files"));
        let config = DialConfig { tls, server_name: server_name.map(str::to_owned), ..config(PATIENT) };
        let result = dial(&server(true, port), &config).await;
        let found = result.as_ref().err().map(|error| error.name().to_owned());
        assert_eq!(found.as_deref(), expected, "row {place}: {:?}", result.err());
        // A remote that still waits for CONNECT would wait for ever.
        task.abort();
    }
    // A port that speaks MQTT without TLS.
    let (listener, port) = listen().await;
    let remote = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(&[0x20, 0x03, 0x00, 0x00, 0x00]).await.expect("written");
        stream.read_u8().await
    });
    let tls = Some(client_config(&trusting).expect("client files"));
    assert_eq!(name(dial(&server(true, port), &DialConfig { tls, ..config(PATIENT) }).await), "TlsNotSpoken");
    drop(remote);
}

#[test]
fn nothing_of_a_password_is_shown() {
    assert!(!format!("{:?}", config(PATIENT)).contains("password"));
    let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let fault = Fault::NobodyListening(address);
    let error = DialError { server: server(false, 1), fault };
    assert_eq!(
        error.to_string(),
        "mqtt://127.0.0.1:1: nobody listens at 127.0.0.1:1; look at the port, and whether the remote runs"
    );
    let _: Arc<dyn std::error::Error> = Arc::new(error);
}
