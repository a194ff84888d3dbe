//! The certificates of a cluster's nodes: an authority of its own and one certificate that names every node, made and
//! renewed in time.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tombolo_crds::Secret;

use crate::observed::secret_value;
use crate::plan::node_names;

/// The content of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// What the two Secrets should hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificates {
    /// The authority: `tls.crt`, `tls.key`; no pod mounts it.
    pub authority: Data,
    /// What all pods mount: `tls.crt`, `tls.key`, and `ca.crt` with every authority that is to be trusted.
    pub nodes: Data,
    /// When it must be looked at again, in seconds since 1970.
    pub renew_at: i64,
}

/// Certificates can't be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate can't be made: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

const DAY: i64 = 86_400;
const AUTHORITY_DAYS: i64 = 3_650;
const AUTHORITY_RENEWED_DAYS: i64 = 365;
const NODES_DAYS: i64 = 90;
const NODES_RENEWED_DAYS: i64 = 30;
/// Certificates begin in the past: clocks disagree, and one that is hours off must not keep nodes apart.
const LEEWAY: i64 = DAY;

/// What should be, from what is: kept while it is whole and far from its end, else made anew. A new authority is trusted
/// beside the one before it, until that one's end.
///
/// # Errors
/// The cryptography library fails.
pub fn wanted(
    cluster: &str,
    namespace: &str,
    authority: Option<&Secret>,
    nodes: Option<&Secret>,
    now: i64,
) -> Result<Certificates, CertificateError> {
    let kept = authority.and_then(|secret| kept(secret, now, AUTHORITY_RENEWED_DAYS));
    let renewed = kept.is_none();
    let (authority, authority_until) = match kept {
        Some(kept) => kept,
        None => (new_authority(cluster, now, authority)?, now + AUTHORITY_DAYS * DAY),
    };
    let trusted = bundle(&authority);
    let current = nodes.filter(|_| !renewed).and_then(|secret| kept_nodes(secret, &trusted, now));
    let (nodes, nodes_until) = match current {
        Some(current) => current,
        None => (new_nodes(cluster, namespace, &authority, &trusted, now)?, now + NODES_DAYS * DAY),
    };
    let renew_at = (nodes_until - NODES_RENEWED_DAYS * DAY).min(authority_until - AUTHORITY_RENEWED_DAYS * DAY);
    Ok(Certificates { authority, nodes, renew_at })
}

/// When the first certificate of a PEM text expires, in seconds since 1970; none if it can't be read.
pub fn expires(pem: &[u8]) -> Option<i64> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
}

/// The content of a Secret with a certificate and its key that are far from their end, and that end.
fn kept(secret: &Secret, now: i64, renewed_days: i64) -> Option<(Data, i64)> {
    let until = expires(secret_value(secret, "tls.crt")?)?;
    let key = std::str::from_utf8(secret_value(secret, "tls.key")?).ok()?;
    let whole = KeyPair::from_pem(key).is_ok() && until - renewed_days * DAY > now;
    whole.then(|| (secret.data.clone().unwrap_or_default(), until))
}

fn kept_nodes(secret: &Secret, trusted: &[u8], now: i64) -> Option<(Data, i64)> {
    let same = secret_value(secret, "ca.crt") == Some(trusted);
    kept(secret, now, NODES_RENEWED_DAYS).filter(|_| same)
}

/// Every authority that is to be trusted, the newest first.
fn bundle(authority: &Data) -> Vec<u8> {
    let parts = ["tls.crt", "previous.crt"].into_iter().filter_map(|key| authority.get(key));
    parts.flat_map(|part| part.0.iter().copied()).collect()
}

fn new_authority(cluster: &str, now: i64, before: Option<&Secret>) -> Result<Data, CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = params(Vec::new(), &format!("{cluster} nodes"), now, AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?.pem();
    let mut data = pair(certificate, &key);
    let previous = before.and_then(|secret| secret_value(secret, "tls.crt"));
    if let Some(previous) = previous.filter(|pem| expires(pem).is_some_and(|until| until > now)) {
        data.insert("previous.crt".to_owned(), ByteString(previous.to_owned()));
    }
    Ok(data)
}

fn new_nodes(
    cluster: &str,
    namespace: &str,
    authority: &Data,
    trusted: &[u8],
    now: i64,
) -> Result<Data, CertificateError> {
    let text = |key: &str| String::from_utf8_lossy(authority.get(key).map_or(&[][..], |value| &value.0)).into_owned();
    let issuer = Issuer::from_ca_cert_pem(&text("tls.crt"), KeyPair::from_pem(&text("tls.key"))?)?;
    let key = KeyPair::generate()?;
    let mut params = params(node_names(cluster, namespace), cluster, now, NODES_DAYS)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer)?.pem();
    let mut data = pair(certificate, &key);
    data.insert("ca.crt".to_owned(), ByteString(trusted.to_owned()));
    Ok(data)
}

fn params(names: Vec<String>, common_name: &str, now: i64, days: i64) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    // The epoch plus seconds, since the type of the library comes from a crate that nothing else here needs.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = at(now - LEEWAY);
    params.not_after = at(now + days * DAY);
    Ok(params)
}

fn pair(certificate: String, key: &KeyPair) -> Data {
    let data = [("tls.crt", certificate), ("tls.key", key.serialize_pem())];
    data.into_iter().map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn secret(data: &Data) -> Secret {
        Secret { data: Some(data.clone()), ..Secret::default() }
    }

    fn next(before: &Certificates, now: i64) -> Certificates {
        let (authority, nodes) = (secret(&before.authority), secret(&before.nodes));
        wanted("edge", "site", Some(&authority), Some(&nodes), now).expect("made")
    }

    #[test]
    fn certificates_stay_until_their_time_and_are_renewed_before_they_end() {
        let first = wanted("edge", "site", None, None, NOW).expect("made");
        assert_eq!(expires(&first.nodes["tls.crt"].0), Some(NOW + NODES_DAYS * DAY));
        assert_eq!(first.renew_at, NOW + 60 * DAY);
        assert_eq!(next(&first, NOW + 60 * DAY - 1), first, "nothing is made anew too early");
        let second = next(&first, NOW + 60 * DAY);
        assert_eq!(second.authority, first.authority);
        assert_ne!(second.nodes["tls.crt"], first.nodes["tls.crt"]);
        assert_eq!(second.nodes["ca.crt"], first.nodes["ca.crt"]);
    }

    #[test]
    fn a_new_authority_is_trusted_beside_the_one_before() {
        let first = wanted("edge", "site", None, None, NOW).expect("made");
        let later = NOW + (AUTHORITY_DAYS - AUTHORITY_RENEWED_DAYS) * DAY;
        let second = next(&first, later);
        assert_ne!(second.authority["tls.crt"], first.authority["tls.crt"]);
        let trusted = String::from_utf8(second.nodes["ca.crt"].0.clone()).expect("PEM");
        let old = String::from_utf8(first.authority["tls.crt"].0.clone()).expect("PEM");
        assert!(trusted.ends_with(&old) && trusted.len() > old.len());
        assert!(!second.nodes.contains_key("previous.crt"), "the key of the authority reaches no pod");
        assert_eq!(next(&second, later + 1), second);
    }

    #[test]
    fn what_is_broken_or_was_exchanged_is_made_anew() {
        let first = wanted("edge", "site", None, None, NOW).expect("made");
        let other = wanted("edge", "site", None, None, NOW).expect("made");
        let mut nodes = first.nodes.clone();
        nodes.insert("tls.key".to_owned(), ByteString(b"nonsense".to_vec()));
        let mended = wanted("edge", "site", Some(&secret(&first.authority)), Some(&secret(&nodes)), NOW).expect("made");
        assert_ne!(mended.nodes["tls.crt"], first.nodes["tls.crt"]);
        let foreign = wanted("edge", "site", Some(&secret(&other.authority)), Some(&secret(&first.nodes)), NOW);
        assert_eq!(foreign.expect("made").nodes["ca.crt"], other.authority["tls.crt"]);
    }
}
