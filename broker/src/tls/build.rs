//! Makes TLS configurations from PEM files, and says which file is wrong and how to mend it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, Error as RustlsError, RootCertStore, ServerConfig};
use tombolo_broker_api::ClientCertificate;

use crate::config::{Secret, TlsFiles};

/// A file that TLS can't be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct TlsError {
    /// The file; empty when a file is missing.
    pub file: PathBuf,
    /// What is wrong and how to mend it.
    pub what: String,
}

/// Named explicitly everywhere, so that nothing depends on which provider a process installed first.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Offered, and taken from clients that ask for a protocol `mqtt` at all.
const ALPN: &[u8] = b"mqtt";

/// The configuration of a listener. With a client CA, certificates of clients are verified; whether one is needed says
/// `client`.
pub fn server_config(files: &TlsFiles, client: ClientCertificate) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of both versions");
    let builder = match &files.ca {
        None => builder.with_no_client_auth(),
        Some((path, pem)) => {
            let roots = Arc::new(roots(path, pem)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER));
            let verifier = match client {
                ClientCertificate::Require => verifier,
                ClientCertificate::Request => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(path, error.to_string()))?)
        }
    };
    let (certificates, key, key_file) =
        own(files)?.ok_or_else(|| wrong(Path::new(""), "a listener needs certificateFile and keyFile".to_owned()))?;
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| own_error(key_file, &error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The configuration to dial with. Without a CA the system's authorities are trusted; the remote's certificate is verified
/// in any case.
pub fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &files.ca {
        Some((path, pem)) => roots(path, pem)?,
        None => public_roots(rustls_native_certs::load_native_certs().certs),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of both versions")
        .with_root_certificates(roots);
    let mut config = match own(files)? {
        None => builder.with_no_client_auth(),
        Some((certificates, key, key_file)) => {
            builder.with_client_auth_cert(certificates, key).map_err(|error| own_error(key_file, &error))?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Random bytes, fit for keys and ids.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    PROVIDER.secure_random.fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Our certificate chain, its key, and the file of the key.
type Own<'a> = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, &'a Path);

fn own(files: &TlsFiles) -> Result<Option<Own<'_>>, TlsError> {
    match (&files.certificate, &files.key) {
        (None, None) => Ok(None),
        (Some((path, pem)), Some((key_path, key))) => {
            Ok(Some((certificates(path, pem)?, private_key(key_path, key)?, key_path)))
        }
        (Some((path, _)), None) => Err(wrong(path, "the certificate has no key; give keyFile too".to_owned())),
        (None, Some((path, _))) => Err(wrong(path, "the key has no certificate; give certificateFile too".to_owned())),
    }
}

pub(super) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(path, format!("the PEM is broken ({}); write the file anew", pem_fault(&error))))?;
    if certificates.is_empty() {
        return Err(wrong(
            path,
            "there is no certificate in it; it must hold `-----BEGIN CERTIFICATE-----`".to_owned(),
        ));
    }
    Ok(certificates)
}

fn private_key(path: &Path, pem: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.reveal()).map_err(|error| {
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
        let what = if pem.reveal().windows(encrypted.len()).any(|part| part == encrypted) {
            "the private key is encrypted; give it without a passphrase".to_owned()
        } else if matches!(error, PemError::NoItemsFound) {
            "there is no private key in it; it must hold `-----BEGIN PRIVATE KEY-----`".to_owned()
        } else {
            format!("the PEM is broken ({}); write the file anew", pem_fault(&error))
        };
        wrong(path, what)
    })
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for (place, certificate) in certificates(path, pem)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            wrong(path, format!("certificate {} is not an authority ({error}); remove or replace it", place + 1))
        })?;
    }
    Ok(store)
}

/// Those that the system trusts; where it names none, as in an image that holds one program, those of Mozilla's list.
fn public_roots(system: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(system);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

fn own_error(key_file: &Path, error: &RustlsError) -> TlsError {
    let what = match error {
        RustlsError::InconsistentKeys(_) => {
            "the key does not belong to the certificate; give the key that the certificate was made with".to_owned()
        }
        other => format!("key and certificate can't be used ({other}); make them anew"),
    };
    wrong(key_file, what)
}

/// Without the lines of the file that rustls would repeat: they may be of a key.
fn pem_fault(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section has no end",
        PemError::IllegalSectionStart { .. } => "a section has no proper begin",
        PemError::Base64Decode(_) => "a section is not base64",
        PemError::SectionTooLarge => "a section is too large",
        _ => "nothing of use is in it",
    }
}

fn wrong(file: &Path, what: String) -> TlsError {
    TlsError { file: file.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::public_roots;

    #[test]
    fn where_the_system_names_no_authorities_those_of_mozilla_are_trusted() {
        let store = public_roots(Vec::new());
        assert_eq!(store.len(), webpki_roots::TLS_SERVER_ROOTS.len());
        assert!(store.len() > 50, "{}", store.len());
    }

    #[test]
    fn authorities_of_the_system_are_the_only_ones_where_there_are_some() {
        let one = rcgen::generate_simple_self_signed(["authority.example".to_owned()]).expect("a certificate");
        assert_eq!(public_roots(vec![one.cert.der().clone()]).len(), 1);
    }
}
