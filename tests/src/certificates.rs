//! Certificates made for a test: an authority, servers, clients, some of them expired.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Identity {
    /// The certificate as bytes.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("made here")
    }
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("keys can be made");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("the parameters are valid") }
    }

    /// Its certificate as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn sign(&self, common_name: &str, mut params: CertificateParams) -> Identity {
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are valid");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn params() -> CertificateParams {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        CertificateParams::new(names).expect("the names are valid")
    }

    /// An identity for `localhost` and 127.0.0.1, as server and as client.
    pub fn identity(&self, common_name: &str) -> Identity {
        self.sign(common_name, Self::params())
    }

    /// An identity for a node of a cluster.
    pub fn node(&self, name: &str) -> Identity {
        self.sign(name, CertificateParams::new(vec![name.to_owned()]).expect("the name is valid"))
    }

    /// The identity of [`Authority::identity`], expired in 2001.
    pub fn expired(&self, common_name: &str) -> Identity {
        self.sign_expired(common_name, Self::params())
    }

    /// The identity of [`Authority::node`], expired in 2001.
    pub fn expired_node(&self, name: &str) -> Identity {
        self.sign_expired(name, CertificateParams::new(vec![name.to_owned()]).expect("the name is valid"))
    }

    fn sign_expired(&self, common_name: &str, mut params: CertificateParams) -> Identity {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(common_name, params)
    }
}

/// Connects by TLS to `localhost` and verifies by the authority. Fails as the handshake fails.
pub async fn tls(
    stream: TcpStream,
    authority_pem: &str,
    identity: Option<&Identity>,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_to("localhost", stream, authority_pem, identity).await
}

/// The same to a server of this name.
pub async fn tls_to(
    name: &str,
    stream: TcpStream,
    authority_pem: &str,
    identity: Option<&Identity>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate.expect("made here")).expect("made here");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<_, _>>();
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("made here");
            builder.with_client_auth_cert(chain.expect("made here"), key).expect("key and certificate fit")
        }
    };
    let name = ServerName::try_from(name.to_owned()).expect("a valid name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
