//! The reason codes of MQTT 5.0, and the return codes of MQTT 3.1.1 that stand for them.

use std::fmt;

/// One line a code: the enum, its numbers and its names come from this table alone.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        /// A reason code of MQTT 5.0 (section 2.4). Codes that carry two names are listed under the first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* #[doc = $text] $name = $code,)+
        }

        impl Reason {
            /// Every code, in ascending order.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The reason of a code; nothing when the specification does not name it.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Reason> {
                match code {
                    $($code => Some(Reason::$name),)+
                    _ => None,
                }
            }

            /// The name that the specification gives it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Reason::$name => $text,)+
                }
            }
        }
    };
}

reasons! {
    /// Also: normal disconnection, granted QoS 0.
    Success = 0x00, "Success";
    GrantedQos1 = 0x01, "Granted QoS 1";
    GrantedQos2 = 0x02, "Granted QoS 2";
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    NoSubscriptionExisted = 0x11, "No subscription existed";
    ContinueAuthentication = 0x18, "Continue authentication";
    Reauthenticate = 0x19, "Re-authenticate";
    Unspecified = 0x80, "Unspecified error";
    MalformedPacket = 0x81, "Malformed Packet";
    ProtocolError = 0x82, "Protocol Error";
    ImplementationSpecific = 0x83, "Implementation specific error";
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    ClientIdNotValid = 0x85, "Client Identifier not valid";
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    NotAuthorized = 0x87, "Not authorized";
    ServerUnavailable = 0x88, "Server unavailable";
    ServerBusy = 0x89, "Server busy";
    Banned = 0x8A, "Banned";
    ServerShuttingDown = 0x8B, "Server shutting down";
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    SessionTakenOver = 0x8E, "Session taken over";
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    TopicNameInvalid = 0x90, "Topic Name invalid";
    PacketIdInUse = 0x91, "Packet Identifier in use";
    PacketIdNotFound = 0x92, "Packet Identifier not found";
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    PacketTooLarge = 0x95, "Packet too large";
    MessageRateTooHigh = 0x96, "Message rate too high";
    QuotaExceeded = 0x97, "Quota exceeded";
    AdministrativeAction = 0x98, "Administrative action";
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    RetainNotSupported = 0x9A, "Retain not supported";
    QosNotSupported = 0x9B, "QoS not supported";
    UseAnotherServer = 0x9C, "Use another server";
    ServerMoved = 0x9D, "Server moved";
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    MaximumConnectTime = 0xA0, "Maximum connect time";
    SubscriptionIdsNotSupported = 0xA1, "Subscription Identifiers not supported";
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

// === impl Reason ===

impl Reason {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether it tells a failure: 0x80 and above.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.code() >= 0x80
    }

    /// The return code of a 3.1.1 CONNACK that says it best; nothing where 3.1.1 has no word for it and the
    /// connection is to be closed without an answer (3.1.1: [MQTT-3.2.2-6]).
    #[must_use]
    pub const fn return_code(self) -> Option<u8> {
        match self {
            Reason::Success => Some(0),
            Reason::UnsupportedProtocolVersion => Some(1),
            Reason::ClientIdNotValid => Some(2),
            Reason::ServerUnavailable
            | Reason::ServerBusy
            | Reason::ServerShuttingDown
            | Reason::QuotaExceeded
            | Reason::UseAnotherServer
            | Reason::ServerMoved
            | Reason::ConnectionRateExceeded => Some(3),
            Reason::BadUserNameOrPassword | Reason::BadAuthenticationMethod => Some(4),
            Reason::NotAuthorized | Reason::Banned => Some(5),
            Reason::GrantedQos1
            | Reason::GrantedQos2
            | Reason::DisconnectWithWill
            | Reason::NoMatchingSubscribers
            | Reason::NoSubscriptionExisted
            | Reason::ContinueAuthentication
            | Reason::Reauthenticate
            | Reason::Unspecified
            | Reason::MalformedPacket
            | Reason::ProtocolError
            | Reason::ImplementationSpecific
            | Reason::KeepAliveTimeout
            | Reason::SessionTakenOver
            | Reason::TopicFilterInvalid
            | Reason::TopicNameInvalid
            | Reason::PacketIdInUse
            | Reason::PacketIdNotFound
            | Reason::ReceiveMaximumExceeded
            | Reason::TopicAliasInvalid
            | Reason::PacketTooLarge
            | Reason::MessageRateTooHigh
            | Reason::AdministrativeAction
            | Reason::PayloadFormatInvalid
            | Reason::RetainNotSupported
            | Reason::QosNotSupported
            | Reason::SharedSubscriptionsNotSupported
            | Reason::MaximumConnectTime
            | Reason::SubscriptionIdsNotSupported
            | Reason::WildcardSubscriptionsNotSupported => None,
        }
    }

    /// The reason that a return code of a 3.1.1 CONNACK tells; nothing for 6 and above, which are reserved.
    #[must_use]
    pub const fn from_return_code(code: u8) -> Option<Reason> {
        match code {
            0 => Some(Reason::Success),
            1 => Some(Reason::UnsupportedProtocolVersion),
            2 => Some(Reason::ClientIdNotValid),
            3 => Some(Reason::ServerUnavailable),
            4 => Some(Reason::BadUserNameOrPassword),
            5 => Some(Reason::NotAuthorized),
            6..=u8::MAX => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02X} {}", self.code(), self.name())
    }
}
