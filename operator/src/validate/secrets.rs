//! Secrets that a manifest names: found, and their content read.

use std::collections::BTreeMap;

use tombolo_crds::{Secret, reasons};

use super::password;
use super::problem::Report;
use super::valid::Confidential;
use crate::observed::{Observed, secret_value, secret_values};

/// Where Secrets are looked for.
#[derive(Clone, Copy)]
pub(super) struct Secrets<'a> {
    pub observed: &'a Observed,
    pub namespace: &'a str,
}

/// What PEM text must hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pem {
    Certificate,
    Key,
}

// === impl Secrets ===

impl<'a> Secrets<'a> {
    /// The Secret, or a problem at `field`.
    pub fn find(&self, report: &mut Report, field: &str, name: &str, keys: &str) -> Option<&'a Secret> {
        let found = self.observed.secret(self.namespace, name);
        if found.is_none() {
            let message =
                format!("there is no Secret `{name}` in namespace `{}`; create it with {keys}", self.namespace);
            report.problem(field, reasons::SECRET_NOT_FOUND, message);
        }
        found
    }

    /// The content of a key that must be there and not be empty, without a newline at its end.
    pub fn key(&self, report: &mut Report, field: &str, secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
        let value = secret_value(secret, key).map(without_newline).filter(|value| !value.is_empty());
        if value.is_none() {
            let keys: Vec<_> = secret_values(secret).into_keys().collect();
            let has = if keys.is_empty() { "no keys".to_owned() } else { format!("the keys {}", keys.join(", ")) };
            let state = if keys.contains(&key) { "an empty key" } else { "no key" };
            let message = format!("Secret `{}` has {state} `{key}`, it has {has}; fill in `{key}`", name_of(secret));
            report.problem(field, reasons::SECRET_KEY_MISSING, message);
        }
        value
    }

    /// PEM text under a key.
    pub fn pem(
        &self,
        report: &mut Report,
        field: &str,
        secret: &'a Secret,
        key: &str,
        kind: Pem,
    ) -> Option<Confidential> {
        let bytes = self.key(report, field, secret, key)?;
        match pem_fault(bytes, kind) {
            None => Some(Confidential::new(with_newline(bytes))),
            Some(fault) => {
                let message = format!("key `{key}` of Secret `{}` {fault}", name_of(secret));
                report.problem(field, reasons::SECRET_INVALID, message);
                None
            }
        }
    }

    /// A certificate chain and its key, as a `kubernetes.io/tls` Secret holds them.
    pub fn identity(&self, report: &mut Report, field: &str, name: &str) -> Option<(Confidential, Confidential)> {
        let secret = self.find(report, field, name, "the keys tls.crt and tls.key")?;
        let certificate = self.pem(report, field, secret, "tls.crt", Pem::Certificate);
        let key = self.pem(report, field, secret, "tls.key", Pem::Key);
        certificate.zip(key)
    }

    /// User name and password.
    pub fn credentials(&self, report: &mut Report, field: &str, name: &str) -> Option<(String, Confidential)> {
        let secret = self.find(report, field, name, "the keys username and password")?;
        let username = self.key(report, field, secret, "username");
        let password = self.key(report, field, secret, "password");
        let (username, password) = username.zip(password)?;
        match user_fault(username) {
            None => Some((String::from_utf8_lossy(username).into_owned(), Confidential::new(password))),
            Some(fault) => {
                let message = format!("key `username` of Secret `{name}` {fault}");
                report.problem(field, reasons::SECRET_INVALID, message);
                None
            }
        }
    }

    /// Users: name to password or hash.
    pub fn users(&self, report: &mut Report, field: &str, name: &str) -> Option<BTreeMap<String, Confidential>> {
        let secret =
            self.find(report, field, name, "a key for each user name and the password or its hash as the value")?;
        let mut users = BTreeMap::new();
        let before = report.problems.len();
        for (user, value) in secret_values(secret) {
            let value = without_newline(value);
            let fault = match std::str::from_utf8(value) {
                Ok(text) => user_fault(user.as_bytes()).or_else(|| password::fault(text)),
                Err(_) => Some("the password is not UTF-8 text; give another"),
            };
            match fault {
                None => _ = users.insert(user.to_owned(), Confidential::new(value)),
                Some(fault) => {
                    let message = format!("user `{user}` of Secret `{name}`: {fault}");
                    report.problem(field, reasons::SECRET_INVALID, message);
                }
            }
        }
        (report.problems.len() == before).then_some(users)
    }
}

fn name_of(secret: &Secret) -> &str {
    secret.metadata.name.as_deref().unwrap_or_default()
}

/// `echo` and editors end a value with a newline, which is not part of it.
fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn with_newline(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_owned();
    bytes.push(b'\n');
    bytes
}

/// MQTT takes a user name as UTF-8 of at most 65,535 bytes without U+0000 `[MQTT-1.5.4-1]`, `[MQTT-1.5.4-2]`.
fn user_fault(name: &[u8]) -> Option<&'static str> {
    match std::str::from_utf8(name) {
        Err(_) => Some("is not UTF-8 text; give another user name"),
        Ok("") => Some("is empty; give a user name"),
        Ok(name) if name.len() > 1024 => Some("is a user name of more than 1024 bytes; give a shorter one"),
        Ok(name) if name.chars().any(char::is_control) => Some("holds a control character; give another user name"),
        Ok(_) => None,
    }
}

fn pem_fault(bytes: &[u8], kind: Pem) -> Option<String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Some("is not PEM text; store it as PEM (-----BEGIN …)".to_owned());
    };
    let labels = match pem_labels(text) {
        Ok(labels) => labels,
        Err(fault) => return Some(fault),
    };
    let has = |wanted: &[&str]| labels.iter().any(|label| wanted.contains(label));
    let keys = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    match kind {
        Pem::Certificate if has(&["CERTIFICATE"]) => None,
        Pem::Certificate if has(&keys) => Some("holds a private key; a certificate is needed".to_owned()),
        Pem::Certificate => Some("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()),
        Pem::Key if has(&keys) => None,
        Pem::Key if has(&["ENCRYPTED PRIVATE KEY"]) => {
            Some("holds a private key with a passphrase; store it without one".to_owned())
        }
        Pem::Key => Some("holds no private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned()),
    }
}

/// The labels of the blocks, in their order; what stands between blocks is a comment.
fn pem_labels(text: &str) -> Result<Vec<&str>, String> {
    let mut labels = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut characters = 0;
        loop {
            match lines.next() {
                Some(line) if line == end => break,
                // Old keys have headers such as `Proc-Type: 4,ENCRYPTED`.
                Some(line) if line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED") => {
                    return Err("holds a private key with a passphrase; store it without one".to_owned());
                }
                Some(line) if line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) => {
                    characters += line.len();
                }
                Some(_) => return Err(format!("has a block `{label}` whose content is not base64; store it anew")),
                None => return Err(format!("has a block `{label}` without its end `{end}`; store it anew")),
            }
        }
        if characters == 0 {
            return Err(format!("has an empty block `{label}`; store it anew"));
        }
        labels.push(label);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_is_told_from_what_is_not() {
        let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (text, kind) in [
            (
                format!("a comment\n{}{}", block("CERTIFICATE", "AAAA"), block("CERTIFICATE", "BBBB\nCC==")),
                Pem::Certificate,
            ),
            (block("PRIVATE KEY", "AAAA"), Pem::Key),
            (format!("{}{}", block("EC PARAMETERS", "AAAA"), block("EC PRIVATE KEY", "AAAA")), Pem::Key),
            (block("RSA PRIVATE KEY", "AAAA").replace('\n', "\r\n"), Pem::Key),
        ] {
            assert_eq!(pem_fault(text.as_bytes(), kind), None, "{text}");
        }
        for (text, kind, what) in [
            (block("PRIVATE KEY", "AAAA"), Pem::Certificate, "holds a private key; a certificate is needed"),
            (block("CERTIFICATE", "AAAA"), Pem::Key, "no private key"),
            (block("ENCRYPTED PRIVATE KEY", "AAAA"), Pem::Key, "passphrase"),
            (block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nAAAA"), Pem::Key, "passphrase"),
            (block("CERTIFICATE", ""), Pem::Certificate, "empty block"),
            (block("CERTIFICATE", "not base64!"), Pem::Certificate, "not base64"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), Pem::Certificate, "without its end"),
            ("nothing".to_owned(), Pem::Certificate, "holds no certificate"),
        ] {
            let fault = pem_fault(text.as_bytes(), kind).expect(&text);
            assert!(fault.contains(what), "{text}: {fault}");
        }
        assert!(pem_fault(&[0xff], Pem::Key).is_some());
    }
}
