//! The MQTT 3.1.1 and 5.0 codec: bytes in, bytes out, strict by the specification and without I/O.
//!
//! Every decoder takes one whole packet, as [`frame::peek`] delimited it, and says with an [`Error`] what is wrong.
//! Every encoder appends one whole packet to a `Vec<u8>`.

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod frame;
pub mod ping;
pub mod properties;
pub mod publish;
pub mod reason;
pub mod subscribe;
pub mod unsubscribe;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

pub use self::{properties::Property, reason::Reason};
use crate::topic::TopicError;

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V4 = 4,
    /// MQTT 5.0, protocol level 5.
    V5 = 5,
}

/// The quality of service of a message; ordered, so that `min` gives the lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

/// What is wrong with a packet: the reason code to answer with, and a sentence for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The reason code of MQTT 5.0; on a 3.1.1 connection it is only logged.
    pub reason: Reason,
    /// What is wrong, with the clause of the specification where there is one.
    pub what: &'static str,
}

// === impl Qos ===

impl Qos {
    /// The QoS written as `0`, `1` or `2`; nothing for another number.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Qos> {
        match value {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::ExactlyOnce),
            3..=u8::MAX => None,
        }
    }
}

// === impl Error ===

impl Error {
    /// A packet that cannot be parsed: 0x81.
    #[cold]
    pub(crate) const fn malformed(what: &'static str) -> Error {
        Error { reason: Reason::MalformedPacket, what }
    }

    /// A packet that says what it must not: 0x82.
    #[cold]
    pub(crate) const fn protocol(what: &'static str) -> Error {
        Error { reason: Reason::ProtocolError, what }
    }

    /// A topic name that is not taken: 0x90 is for one that is well formed (section 4.13), else 0x81.
    #[must_use]
    pub const fn topic_name(error: TopicError) -> Error {
        let reason = if error.is_malformed() { Reason::MalformedPacket } else { Reason::TopicNameInvalid };
        Error { reason, what: error.what() }
    }

    /// A topic filter that is not taken: 0x8F is for one that is well formed (sections 3.9.3 and 4.13), else 0x81.
    #[must_use]
    pub const fn topic_filter(error: TopicError) -> Error {
        let reason = if error.is_malformed() { Reason::MalformedPacket } else { Reason::TopicFilterInvalid };
        Error { reason, what: error.what() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.reason)
    }
}

impl std::error::Error for Error {}
