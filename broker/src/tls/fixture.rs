//! Certificates for tests: an authority, and what it signs.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::config::{Secret, TlsFiles};

/// A certificate authority of a test.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Signed {
    /// Certificate, PEM.
    pub certificate: String,
    /// Key, PEM.
    pub key: String,
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name`, both as common name and as host, valid in the given years.
    pub fn sign(&self, name: &str, years: std::ops::Range<i32>) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a host name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Signed { certificate, key: key.serialize_pem() }
    }

    /// The files of somebody who trusts this authority and has no certificate.
    pub fn trusted(&self) -> TlsFiles {
        TlsFiles { ca: Some((PathBuf::from("ca.pem"), self.pem.clone().into_bytes())), ..TlsFiles::default() }
    }
}

impl Signed {
    /// The files of somebody who has this certificate, and trusts what `trust` does.
    pub fn files(&self, trust: TlsFiles) -> TlsFiles {
        TlsFiles {
            certificate: Some((PathBuf::from("tls.crt"), self.certificate.clone().into_bytes())),
            key: Some((PathBuf::from("tls.key"), Secret::new(self.key.as_bytes()))),
            ca: trust.ca,
        }
    }
}
