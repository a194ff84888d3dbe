//! Why something was dropped, refused or closed: finite sets whose names are labels of metrics and words of logs.

use std::fmt;

/// An enum of reasons with a stable label and a sentence for each.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($variant:ident $label:literal $help:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $help] $variant,)+
        }

        impl $name {
            /// All of them; a reason's place here is its place in an array of counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name, in snake case.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// What it means, as a sentence.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

reasons! {
    /// Why a message did not reach a receiver.
    Dropped {
        NoSubscription "no_subscription" "Nobody had subscribed to the topic.",
        QueueFull "queue_full" "The session held `maxQueuedMessages` or `maxQueuedBytes` already.",
        OutputFull "output_full" "The client did not read and `maxOutputBytes` waited for it; QoS 0 only.",
        PacketTooLarge "packet_too_large" "The packet was above the receiver's Maximum Packet Size.",
        Expired "expired" "The Message Expiry Interval passed before delivery.",
        SessionEnded "session_ended" "The session ended while the message waited in it.",
        RetainedFull "retained_full" "`maxRetainedMessages` were kept already; it was delivered but not retained.",
        NotAuthorized "not_authorized" "The publisher may not publish to the topic.",
        TopicInvalid "topic_invalid" "The topic of a will had more than `maxTopicLevels` levels.",
    }
}

reasons! {
    /// Why a connection never became a client.
    Refused {
        MaxConnections "max_connections" "The listener had `maxConnections` connections.",
        ConnectTimeout "connect_timeout" "TLS handshake and CONNECT took longer than `connectTimeout`.",
        TlsHandshake "tls_handshake" "The TLS handshake failed.",
        ClosedEarly "closed_early" "The other end closed before a whole CONNECT had come.",
        Malformed "malformed" "What came was not a well-formed CONNECT.",
        ProtocolError "protocol_error" "The first packet was not CONNECT, or CONNECT broke a rule of the protocol.",
        PacketTooLarge "packet_too_large" "CONNECT was larger than `maxPacketSize`.",
        UnsupportedVersion "unsupported_version" "The protocol is not MQTT 3.1.1 or 5.0.",
        UnsupportedAuthentication "unsupported_authentication" "CONNECT asked for an authentication method that is not offered.",
        ClientIdInvalid "client_id_invalid" "The client id is too long, or empty where it may not be.",
        BadPassword "bad_password" "User name or password is wrong.",
        NotAuthorized "not_authorized" "Anonymous clients are refused, or the user may do something else only.",
        LinkRefused "link_refused" "A link came in that no link of this side accepts.",
        NodeRefused "node_refused" "Who came to the port of the cluster's nodes is none of them.",
        ServerBusy "server_busy" "Too many passwords waited to be verified.",
        MaxSessions "max_sessions" "The node had `maxSessions` sessions.",
        TakenOver "taken_over" "A later connection used the same client id while this one waited for its session.",
        HomeUnavailable "home_unavailable" "The session is at a node that can't be reached, or a node did not say in time whether it is there.",
        ClockAhead "clock_ahead" "The clock of this node is a minute or more ahead of another node's.",
        Evacuating "evacuating" "The node is being emptied and takes no new clients.",
        MovesBusy "moves_busy" "The session moved a moment ago, or too many are moving.",
        SessionTooLarge "session_too_large" "What the session has in flight is more than can move to another node.",
        Shutdown "shutdown" "The node is stopping.",
    }
}

reasons! {
    /// Why a client's connection ended.
    Closed {
        Disconnect "disconnect" "The client sent DISCONNECT.",
        ConnectionLost "connection_lost" "The network connection ended without DISCONNECT.",
        KeepAlive "keep_alive" "Nothing came for one and a half times the keep alive.",
        SessionTakenOver "session_taken_over" "A newer connection used the same client id.",
        Malformed "malformed" "A packet was not well-formed.",
        ProtocolError "protocol_error" "A packet broke a rule of the protocol.",
        PacketTooLarge "packet_too_large" "A packet was larger than `maxPacketSize`.",
        ReceiveMaximumExceeded "receive_maximum_exceeded" "The client had more publishes unacknowledged than `receiveMaximum`.",
        TopicInvalid "topic_invalid" "A topic name had more than `maxTopicLevels` levels.",
        TopicAliasInvalid "topic_alias_invalid" "A topic alias was 0, unknown or above `topicAliasMaximum`.",
        NotAuthorized "not_authorized" "The client did what it may not, and its protocol version has no softer answer.",
        Administrative "administrative" "Its listener, user or link was removed or changed.",
        LinkProtocol "link_protocol" "The connection of a link broke the link protocol.",
        Evacuated "evacuated" "The node is being emptied; the client was told to use another one.",
        Shutdown "shutdown" "The node is stopping.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_unique_snake_case_and_stand_where_the_enum_counts_them() {
        let mut labels = Vec::new();
        labels.extend(Dropped::ALL.iter().map(|reason| ("dropped", *reason as usize, reason.label(), reason.help())));
        labels.extend(Refused::ALL.iter().map(|reason| ("refused", *reason as usize, reason.label(), reason.help())));
        labels.extend(Closed::ALL.iter().map(|reason| ("closed", *reason as usize, reason.label(), reason.help())));
        let unique: BTreeSet<_> = labels.iter().map(|(set, _, label, _)| (set, label)).collect();
        assert_eq!(unique.len(), Dropped::COUNT + Refused::COUNT + Closed::COUNT);
        for (_, _, label, help) in &labels {
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{label}");
            assert!(help.ends_with('.'), "{help}");
        }
        for (place, reason) in Dropped::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
    }
}
