//! What went wrong in a TLS handshake, by name.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a handshake failed, seen from the side that dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The remote's certificate is past its date.
    #[error("the remote's certificate has expired; renew it there")]
    Expired,
    /// The remote's certificate is not valid yet.
    #[error("the remote's certificate is not valid yet; look at the clocks of both sides")]
    NotYetValid,
    /// Nobody that we trust made the remote's certificate.
    #[error("the remote's certificate is of an authority that is not trusted here; give its CA as caFile")]
    UnknownAuthority,
    /// The remote's certificate is for another name.
    #[error("the remote's certificate is for another name ({0}); dial it by that name, or give it as serverName")]
    NameMismatch(String),
    /// The remote refused our certificate, or wanted one.
    #[error(
        "the remote refused our certificate, or asks for one ({0}); give certificateFile and keyFile of an authority that it trusts"
    )]
    ClientCertificateRefused(String),
    /// The other side does not speak TLS.
    #[error("the remote does not speak TLS on this port; write mqtt://, or another port")]
    NotTls,
    /// Everything else.
    #[error("the TLS handshake failed: {0}")]
    Other(String),
}

// === impl TlsFault ===

impl TlsFault {
    /// The fault behind an I/O error; `None` when the error is not one of TLS.
    pub fn of(error: &io::Error) -> Option<Self> {
        Some(Self::from(error.get_ref()?.downcast_ref::<Error>()?))
    }

    /// A name of the documented set for `LinkStatus::last_error`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Expired => "TlsCertificateExpired",
            Self::NotYetValid => "TlsCertificateNotYetValid",
            Self::UnknownAuthority => "TlsUnknownAuthority",
            Self::NameMismatch(_) => "TlsNameMismatch",
            Self::ClientCertificateRefused(_) => "TlsClientCertificateRefused",
            Self::NotTls => "TlsNotSpoken",
            Self::Other(_) => "TlsHandshakeFailed",
        }
    }
}

impl From<&Error> for TlsFault {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                Self::Expired
            }
            Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                Self::NotYetValid
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::UnknownAuthority
            }
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
                Self::NameMismatch(presented.join(", "))
            }
            Error::InvalidCertificate(CertificateError::NotValidForName) => Self::NameMismatch("not told".to_owned()),
            Error::AlertReceived(alert) => match alert {
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::NoCertificate
                | AlertDescription::CertificateRequired => Self::ClientCertificateRefused(format!("{alert:?}")),
                other => Self::Other(format!("the remote said {other:?}")),
            },
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}
