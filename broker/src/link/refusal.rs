//! Why a connection of a link is refused or closed: one table of names, codes and sentences.

use std::fmt;

/// The named reasons; the number is the code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Why {
    /// No link with the caller's cluster name is configured here.
    UnknownCluster = 1,
    /// The cluster that answered (or was called) has another name than the link says.
    ClusterNameMismatch = 2,
    /// The remote's cluster id is not the pinned one, or another cluster of the same name is connected.
    ClusterIdMismatch = 3,
    /// The remote cluster is this cluster.
    OwnCluster = 4,
    /// No version of the protocol is spoken by both.
    NoCommonVersion = 5,
    /// The link is disabled here.
    LinkDisabled = 6,
    /// A newer incarnation of the same node is connected.
    StaleIncarnation = 7,
    /// The remote's Maximum Packet Size is too small for a batch.
    PacketSizeTooSmall = 8,
    /// The link has as many connections as it may.
    TooManyConnections = 9,
    /// The handshake took too long.
    HandshakeTimeout = 10,
    /// Heartbeats were not answered.
    HeartbeatLost = 11,
    /// The other side broke the protocol.
    ProtocolError = 12,
    /// A batch was refused with an MQTT reason code.
    BatchRefused = 13,
    /// The remote wants more filters than a link takes.
    InterestTooLarge = 14,
    /// The link was removed, or the node stops.
    LinkClosed = 15,
    /// No node of the caller's name is in the cluster's list here.
    UnknownNode = 16,
    /// The node that answered (or was called) has another name than it should.
    NodeMismatch = 17,
    /// The other node is this node, or has its name.
    OwnNode = 18,
}

/// A reason and what there is to say about this case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub why: Why,
    /// For people: what is wrong, where, and how to mend it.
    pub message: String,
}

// === impl Why ===

impl Why {
    const ALL: [Self; 18] = [
        Self::UnknownCluster,
        Self::ClusterNameMismatch,
        Self::ClusterIdMismatch,
        Self::OwnCluster,
        Self::NoCommonVersion,
        Self::LinkDisabled,
        Self::StaleIncarnation,
        Self::PacketSizeTooSmall,
        Self::TooManyConnections,
        Self::HandshakeTimeout,
        Self::HeartbeatLost,
        Self::ProtocolError,
        Self::BatchRefused,
        Self::InterestTooLarge,
        Self::LinkClosed,
        Self::UnknownNode,
        Self::NodeMismatch,
        Self::OwnNode,
    ];

    /// The name in status, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCluster => "UnknownCluster",
            Self::ClusterNameMismatch => "ClusterNameMismatch",
            Self::ClusterIdMismatch => "ClusterIdMismatch",
            Self::OwnCluster => "OwnCluster",
            Self::NoCommonVersion => "NoCommonVersion",
            Self::LinkDisabled => "LinkDisabled",
            Self::StaleIncarnation => "StaleIncarnation",
            Self::PacketSizeTooSmall => "PacketSizeTooSmall",
            Self::TooManyConnections => "TooManyConnections",
            Self::HandshakeTimeout => "HandshakeTimeout",
            Self::HeartbeatLost => "HeartbeatLost",
            Self::ProtocolError => "ProtocolError",
            Self::BatchRefused => "BatchRefused",
            Self::InterestTooLarge => "InterestTooLarge",
            Self::LinkClosed => "LinkClosed",
            Self::UnknownNode => "UnknownNode",
            Self::NodeMismatch => "NodeMismatch",
            Self::OwnNode => "OwnNode",
        }
    }

    /// The MQTT reason code of the DISCONNECT: one of those that both client and server may send `[MQTT-3.14.2.1]`.
    pub const fn reason_code(self) -> u8 {
        match self {
            // Implementation specific error; the name stands in the reason string.
            Self::UnknownCluster
            | Self::ClusterNameMismatch
            | Self::ClusterIdMismatch
            | Self::OwnCluster
            | Self::NoCommonVersion
            | Self::StaleIncarnation
            | Self::HandshakeTimeout
            | Self::HeartbeatLost
            | Self::BatchRefused
            | Self::UnknownNode
            | Self::NodeMismatch
            | Self::OwnNode => 0x83,
            // Administrative action.
            Self::LinkDisabled | Self::LinkClosed => 0x98,
            // Packet too large.
            Self::PacketSizeTooSmall => 0x95,
            // Quota exceeded.
            Self::TooManyConnections | Self::InterestTooLarge => 0x97,
            // Protocol Error.
            Self::ProtocolError => 0x82,
        }
    }

    /// The reason with this code on the wire, if it is known.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|why| *why as u8 == code)
    }
}

// === impl Refusal ===

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(why: Why, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.why.name(), self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_keeps_its_code_over_the_wire() {
        for why in Why::ALL {
            assert_eq!(Why::from_code(why as u8), Some(why), "{}", why.name());
        }
        assert_eq!(Why::from_code(0), None);
        assert_eq!(Why::from_code(200), None);
    }
}
