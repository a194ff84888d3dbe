//! TLS configurations from good and bad files, what certificates say, and handshakes that fail by name.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tombolo_broker_api::ClientCertificate;

use super::fixture::Authority;
use super::*;
use crate::clock::UnixSeconds;
use crate::config::{Secret, TlsFiles};

const GOOD: std::ops::Range<i32> = 2020..2100;

fn what(result: Result<impl Sized, TlsError>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_broken_file_is_named_with_what_mends_it() {
    let authority = Authority::new("ca");
    let (one, other) = (authority.sign("one", GOOD), authority.sign("other", GOOD));
    let good = one.files(TlsFiles::default());
    assert!(server_config(&good, ClientCertificate::Require).is_ok());
    let with_key = |pem: &str| TlsFiles { key: Some(("k".into(), Secret::new(pem.as_bytes()))), ..good.clone() };
    let with_certificate = |pem: &str| TlsFiles { certificate: Some(("c".into(), pem.into())), ..good.clone() };
    let with_ca = |pem: &str| TlsFiles { ca: Some(("ca".into(), pem.into())), ..good.clone() };
    let table = [
        (with_key(&other.key), "k: the key does not belong to the certificate"),
        (with_key(""), "k: there is no private key"),
        (
            with_key("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
            "k: the private key is encrypted",
        ),
        (with_key("-----BEGIN PRIVATE KEY-----\nSECRET\n"), "k: the PEM is broken (a section has no end)"),
        (with_certificate("nothing"), "c: there is no certificate in it"),
        (with_certificate("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"), "c: the PEM is broken"),
        (with_ca(""), "ca: there is no certificate in it"),
        (TlsFiles { key: None, ..good.clone() }, "tls.crt: the certificate has no key"),
        (TlsFiles::default(), "a listener needs certificateFile"),
    ];
    for (files, expected) in table {
        let found = what(server_config(&files, ClientCertificate::Require));
        assert!(found.contains(expected) && !found.contains("SECRET"), "{found} instead of {expected}");
    }
}

#[test]
fn the_system_is_trusted_without_a_ca_or_it_is_said_that_it_can_not_be() {
    if let Err(error) = client_config(&TlsFiles::default()) {
        assert!(error.what.contains("no certificate authorities"), "{error}");
    }
}

#[test]
fn a_certificate_tells_its_name_and_dates_and_those_that_end_are_told() {
    let authority = Authority::new("ca");
    let signed = authority.sign("meter-7", 2020..2030);
    let der = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("a certificate");
    let certificate = Certificate::parse(&der).expect("it is one");
    assert_eq!(certificate.common_name.as_deref(), Some("meter-7"));
    let (from, to) = (UnixSeconds(1_577_836_800), UnixSeconds(1_893_456_000));
    assert_eq!(certificate.valid, from..=to);
    let files = signed.files(TlsFiles::default());
    let told = |now: u64| expiring(&files, UnixSeconds(now), 30 * 86_400).join("\n");
    assert_eq!(told(to.0 - 31 * 86_400), "");
    assert_eq!(told(to.0 - 2 * 86_400), "tls.crt: certificate `meter-7` expires in 2 days; renew it");
    assert_eq!(told(to.0 + 3 * 86_400), "tls.crt: certificate `meter-7` expired 3 days ago; renew it");
    assert!(told(from.0 - 1).contains("not valid"));
}

#[test]
fn a_chain_is_good_until_its_first_certificate_ends_and_authorities_until_the_last_does() {
    let authority = Authority::new("ca");
    let [early, late] = [authority.sign("early", 2020..2030), authority.sign("late", 2020..2031)];
    let both = format!("{}{}", early.certificate, late.certificate).into_bytes();
    let (early, late) = (UnixSeconds(1_893_456_000), UnixSeconds(1_924_992_000));
    let files = TlsFiles {
        certificate: Some(("tls.crt".into(), both.clone())),
        ca: Some(("ca.crt".into(), both)),
        ..TlsFiles::default()
    };
    let found: Vec<_> = ends(&files).collect();
    assert_eq!(found, [(Path::new("tls.crt"), early), (Path::new("ca.crt"), late)]);
}

#[test]
fn random_bytes_differ() {
    assert_ne!(random::<16>(), random::<16>());
}

/// What the dialling side says of a handshake; TLS 1.3 tells of a refused client certificate only with the first read.
async fn handshake(server: &TlsFiles, client: &TlsFiles, name: &str) -> Option<TlsFault> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TlsAcceptor::from(server_config(server, ClientCertificate::Require).expect("server files"));
    let client = TlsConnector::from(client_config(client).expect("client files"));
    let (near, far) = tokio::io::duplex(65_536);
    tokio::spawn(async move {
        if let Ok(mut stream) = server.accept(far).await {
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"mqtt"[..]));
            stream.write_all(b"x").await.expect("the client reads");
        }
    });
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let result = match client.connect(name, near).await {
        Ok(mut stream) => stream.read_u8().await,
        Err(error) => Err(error),
    };
    result.err().map(|error| TlsFault::of(&error).expect("a fault of TLS"))
}

#[tokio::test]
async fn a_handshake_succeeds_or_fails_by_name() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let server = ours.sign("broker.test", GOOD).files(TlsFiles::default());
    let strict = ours.sign("broker.test", GOOD).files(ours.trusted());
    let expired = ours.sign("broker.test", 2000..2001).files(TlsFiles::default());
    let unborn = ours.sign("broker.test", 2090..2100).files(TlsFiles::default());
    let (trusting, client) = (ours.trusted(), ours.sign("client", GOOD).files(ours.trusted()));
    let stranger = foreign.sign("client", GOOD).files(ours.trusted());
    let outdated = ours.sign("client", 2000..2001).files(ours.trusted());
    let table = [
        (&server, &trusting, "broker.test", None),
        (&strict, &client, "broker.test", None),
        (&expired, &trusting, "broker.test", Some("TlsCertificateExpired")),
        (&unborn, &trusting, "broker.test", Some("TlsCertificateNotYetValid")),
        (&server, &foreign.trusted(), "broker.test", Some("TlsUnknownAuthority")),
        (&server, &trusting, "other.test", Some("TlsNameMismatch")),
        (&strict, &trusting, "broker.test", Some("TlsClientCertificateRefused")),
        (&strict, &stranger, "broker.test", Some("TlsClientCertificateRefused")),
        (&strict, &outdated, "broker.test", Some("TlsClientCertificateRefused")),
    ];
    for (place, (server, client, name, expected)) in table.into_iter().enumerate() {
        let fault = handshake(server, client, name).await;
        assert_eq!(fault.as_ref().map(TlsFault::name), expected, "row {place}: {fault:?}");
    }
}

#[test]
fn what_is_not_an_error_of_tls_is_none() {
    assert_eq!(TlsFault::of(&std::io::Error::other("x")), None);
    let path: PathBuf = "x".into();
    assert_eq!(TlsError { file: path, what: "y".into() }.to_string(), "x: y");
}
