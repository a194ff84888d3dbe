//! Why a connection is refused by authentication, with its reason code and its counter.

use crate::codec::Reason;
use crate::metrics::Refused;

/// Why somebody is not let in. What it says may be sent to the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No user name, no certificate with a name, and anonymous clients are refused.
    #[error("anonymous clients are refused; give a user name and a password")]
    Anonymous,
    /// User name or password is wrong; which of them is not told.
    #[error("user name or password is wrong")]
    BadPassword,
    /// Too many passwords wait to be verified.
    #[error("too many connections wait for their password to be verified; try again later")]
    Busy,
    /// The user belongs to a link.
    #[error("user `{user}` belongs to link `{link}` and can do nothing else; use another user")]
    LinkUserOnly {
        /// The user.
        user: String,
        /// The link.
        link: String,
    },
    /// A link came in from a cluster that no link here is for.
    #[error(
        "UnknownCluster: no link with cluster `{cluster}` is configured here; declare one, or allow it by linkAccess"
    )]
    UnknownCluster {
        /// The cluster that it says it is.
        cluster: String,
    },
    /// A link came in from this very cluster, or from another one of its name.
    #[error("OwnCluster: `{cluster}` is the name of this cluster itself; look at the server address of the link")]
    OwnCluster {
        /// The cluster that it says it is.
        cluster: String,
    },
    /// A link came in with a user that may not.
    #[error(
        "LinkUserRefused: user `{user}` may not come in as cluster `{cluster}`; name it as the user that the link accepts"
    )]
    LinkUserRefused {
        /// The user, or how there is none.
        user: String,
        /// The cluster that it says it is.
        cluster: String,
    },
}

// === impl Refusal ===

impl Refusal {
    /// The reason code of the CONNACK.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::BadPassword => Reason::BadUserNameOrPassword,
            Self::Busy => Reason::ServerBusy,
            Self::Anonymous
            | Self::LinkUserOnly { .. }
            | Self::UnknownCluster { .. }
            | Self::OwnCluster { .. }
            | Self::LinkUserRefused { .. } => Reason::NotAuthorized,
        }
    }

    /// What it counts as.
    pub const fn counts_as(&self) -> Refused {
        match self {
            Self::Anonymous | Self::LinkUserOnly { .. } => Refused::NotAuthorized,
            Self::BadPassword => Refused::BadPassword,
            Self::Busy => Refused::ServerBusy,
            Self::UnknownCluster { .. } | Self::OwnCluster { .. } | Self::LinkUserRefused { .. } => {
                Refused::LinkRefused
            }
        }
    }
}
