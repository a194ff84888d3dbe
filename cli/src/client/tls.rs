//! TLS of the command line clients: verification is always on, trust comes from the files that the flags name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Where systems keep their bundle of authorities.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A configuration that trusts the authorities in `ca` (absent: those of the system) and, if given, presents a
/// certificate.
///
/// # Errors
/// Files that are missing, or hold no certificate or key.
pub fn client_config(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>> {
    let bundle = match ca {
        Some(file) => file.to_owned(),
        None => system_bundle()?,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(&bundle)?);
    if added == 0 {
        bail!("{}: holds no certificate of an authority; PEM is expected", bundle.display());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the TLS library has no version in common with itself")?
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("{}: holds no private key; PEM is expected", key.display()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .with_context(|| format!("{} and {}: not a pair", certificate.display(), key.display()))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let name = file.display();
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("{name}: cannot be read"))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("{name}: not PEM"))?;
    if certificates.is_empty() {
        bail!("{name}: holds no certificate; PEM is expected");
    }
    Ok(certificates)
}

fn system_bundle() -> Result<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_BUNDLES.iter().map(PathBuf::from);
    match named.into_iter().chain(known).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!("this system's authorities were not found; name them with --cafile or SSL_CERT_FILE"),
    }
}
