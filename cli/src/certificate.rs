//! Certificates for this machine: an authority, and what it signs.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// An authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its private key, in PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

// === impl Authority ===

impl Authority {
    /// A new one, which holds for ever.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(common_name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("a key cannot be made")?;
        let pem = params.self_signed(&key).context("an authority cannot be made")?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The one of this certificate and key, in PEM.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).context("not a private key")?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).context("not a certificate")?;
        Ok(Self { issuer, pem: certificate.to_owned() })
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its private key, in PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate as server and as client, for these DNS names and addresses.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn sign(&self, common_name: &str, names: &[&str]) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).context("a certificate cannot have such a name")?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().context("a key cannot be made")?;
        let certificate = params.signed_by(&key, &self.issuer).context("a certificate cannot be signed")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
