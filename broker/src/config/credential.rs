//! A password as a file holds it: plain, or as one of the hashes that are understood.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;

use super::base64;

/// Bytes that no log and no error may show.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Box<[u8]>);

/// What a user's password is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The password itself.
    Plain(Secret),
    /// An argon2 hash as a PHC string, `$argon2id$v=19$…`.
    Argon2(Secret),
    /// A bcrypt hash, `$2b$12$…`.
    Bcrypt(Secret),
    /// PBKDF2 with HMAC-SHA-512 as mosquitto writes it, `$7$iterations$salt$hash`.
    Pbkdf2 {
        /// Rounds, at least 1.
        iterations: u32,
        /// Salt.
        salt: Secret,
        /// What must come out.
        hash: Secret,
    },
}

/// Why a password hash can't be used. It never repeats the hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It is empty.
    #[error("the password is empty; give one, or remove the user")]
    Empty,
    /// It begins like a hash of this kind, but isn't one.
    #[error("it begins like {0} but is not well-formed; make the hash anew")]
    Malformed(&'static str),
    /// It would take more time or memory than a connection may cost.
    #[error("{0}; make the hash anew with less")]
    TooCostly(&'static str),
    /// A kind that is not understood.
    #[error(
        "hashes that begin with `$6$` (salted SHA-512) are not accepted; make the hash anew with mosquitto_passwd of version 2, argon2 or bcrypt"
    )]
    Unsupported,
}

const ARGON2_KIB_MAX: u64 = 256 * 1024;
const ARGON2_PASSES_MAX: u64 = 16;
const BCRYPT_COST_MAX: u32 = 16;
const PBKDF2_ITERATIONS_MAX: u32 = 5_000_000;

// === impl Secret ===

impl Secret {
    /// Keeps `bytes`.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for whoever must have them.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text; empty if they aren't, which no parsed hash is.
    pub fn reveal_text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

// === impl Credential ===

impl Credential {
    /// Whether a check costs so much that it belongs on another thread.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Argon2(_) | Self::Bcrypt(_) | Self::Pbkdf2 { .. } => true,
        }
    }

    /// Reads the content of a password file or the value of a users file; bytes that aren't text are a plain password.
    pub fn parse(bytes: &[u8]) -> Result<Self, CredentialError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => text.parse(),
            Err(_) => Ok(Self::Plain(Secret::new(bytes))),
        }
    }
}

impl FromStr for Credential {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        let secret = || Secret::new(text.as_bytes());
        if text.is_empty() {
            Err(CredentialError::Empty)
        } else if text.starts_with("$argon2") {
            check_argon2(text)?;
            Ok(Self::Argon2(secret()))
        } else if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            check_bcrypt(text)?;
            Ok(Self::Bcrypt(secret()))
        } else if let Some(rest) = text.strip_prefix("$7$") {
            parse_pbkdf2(rest)
        } else if text.starts_with("$6$") {
            Err(CredentialError::Unsupported)
        } else {
            Ok(Self::Plain(secret()))
        }
    }
}

fn check_argon2(text: &str) -> Result<(), CredentialError> {
    let malformed = CredentialError::Malformed("an argon2 hash in the PHC format");
    let Ok(hash) = PasswordHash::new(text) else { return Err(malformed) };
    let Ok(params) = argon2::Params::try_from(&hash) else { return Err(malformed) };
    if hash.hash.is_none() || hash.salt.is_none() || argon2::Algorithm::try_from(hash.algorithm.as_str()).is_err() {
        return Err(malformed);
    }
    if u64::from(params.m_cost()) > ARGON2_KIB_MAX || u64::from(params.t_cost()) > ARGON2_PASSES_MAX {
        return Err(CredentialError::TooCostly("the argon2 hash asks for more than 256 MiB or 16 passes"));
    }
    Ok(())
}

fn check_bcrypt(text: &str) -> Result<(), CredentialError> {
    let Ok(parts) = text.parse::<bcrypt::HashParts>() else {
        return Err(CredentialError::Malformed("a bcrypt hash"));
    };
    match parts.get_cost() {
        4..=BCRYPT_COST_MAX => Ok(()),
        _ => Err(CredentialError::TooCostly("the bcrypt hash has a cost outside of 4 to 16")),
    }
}

fn parse_pbkdf2(rest: &str) -> Result<Credential, CredentialError> {
    let malformed = || CredentialError::Malformed("a PBKDF2 hash of mosquitto, `$7$iterations$salt$hash`");
    let mut parts = rest.split('$');
    let (Some(iterations), Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    let iterations = iterations.parse().ok().filter(|count| *count > 0).ok_or_else(malformed)?;
    if iterations > PBKDF2_ITERATIONS_MAX {
        return Err(CredentialError::TooCostly("the PBKDF2 hash asks for more than 5,000,000 iterations"));
    }
    let salt = base64::decode(salt).ok_or_else(malformed)?;
    let hash = base64::decode(hash).filter(|hash| hash.len() == 64).ok_or_else(malformed)?;
    Ok(Credential::Pbkdf2 { iterations, salt: Secret::new(salt), hash: Secret::new(hash) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_credential_is_told_by_its_beginning() {
        let zeros = "A".repeat(86);
        let cases = [
            ("demo".to_owned(), "Plain"),
            ("$ecret".to_owned(), "Plain"),
            ("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$bGlnaHQgaGFzaCBvZiAxNg".to_owned(), "Argon2"),
            ("$2b$04$abcdefghijklmnopqrstuuI.zMOJjHCY5kkTOk7gVTRHNQlmNMlwi".to_owned(), "Bcrypt"),
            (format!("$7$101$c2FsdHNhbHQ=${zeros}=="), "Pbkdf2"),
        ];
        for (text, kind) in cases {
            let parsed = text.parse::<Credential>().expect(&text);
            assert!(format!("{parsed:?}").starts_with(kind), "{text}");
        }
        assert_eq!(Credential::parse(&[0xff, 1]), Ok(Credential::Plain(Secret::new([0xff, 1]))));
    }

    #[test]
    fn broken_and_too_costly_hashes_are_refused_without_being_repeated() {
        let zeros = "A".repeat(86);
        for text in [
            String::new(),
            "$argon2id$nothing".into(),
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ".into(),
            "$argon2id$v=19$m=9999999,t=1,p=1$c29tZXNhbHQ$bGlnaHQgaGFzaCBvZiAxNg".into(),
            "$2b$04$short".into(),
            "$2b$31$abcdefghijklmnopqrstuuI.zMOJjHCY5kkTOk7gVTRHNQlmNMlwi".into(),
            format!("$7$0$c2FsdHNhbHQ=${zeros}=="),
            format!("$7$101$c2FsdHNhbHQ=${zeros}==$"),
            format!("$7$9999999$c2FsdHNhbHQ=${zeros}=="),
            "$7$101$c2FsdHNhbHQ=$Zm9v".into(),
            "$6$salt$hash".into(),
        ] {
            let error = text.parse::<Credential>().expect_err(&text).to_string();
            assert!(text.len() < 6 || !error.contains(&text), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new(*b"hidden")), "Secret");
    }
}
