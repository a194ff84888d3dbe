//! Who gets in, and where a node shows how it is: authentication and the admin servers.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where health, metrics and status are served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Admin {
    /// Address and port of plain HTTP; port 0 takes a free one. With `secure`, it serves `/healthz`, `/readyz` and
    /// `/metrics`, and no status.
    pub bind: SocketAddr,
    /// Where everything is served over TLS to who has the token; absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<SecureAdmin>,
}

/// The admin server over TLS. Its files are read anew for each connection, so that they can be renewed at any time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecureAdmin {
    /// Address and port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Certificate chain, the server's own first.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// What a request must bear as `Authorization: Bearer …`: at least 16 bytes of text.
    pub token_file: PathBuf,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Authentication {
    /// Clients without a user name, or with any if there is no users file.
    pub anonymous: Anonymous,
    /// YAML map of user name to password or hash (argon2, bcrypt, `$7$` PBKDF2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_file: Option<PathBuf>,
}

/// Clients without a user name are refused unless this says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Anonymous {
    /// CONNACK 0x87 Not authorized.
    #[default]
    Refused,
    /// Let in with every right of a client.
    Allowed,
}
