//! One MQTT connection of the command line clients: `rumqttc`'s two APIs, for MQTT 3.1.1 and 5.0, as one.

use std::time::Duration;

use anyhow::Result;
use rumqttc::v5::mqttbytes::v5 as five;
use rumqttc::{TlsConfiguration, Transport, v5};

use super::options::{Common, Version};
use super::tls;

/// Publishes under way at one time; `rumqttc` is never asked for more, so its queue of requests cannot be full.
pub const WINDOW: usize = 64;
const REQUESTS: usize = 2 * WINDOW;

/// Largest packet that MQTT has, in bytes.
const PACKET_BYTES_MAX: u32 = 268_435_460;

/// A connection; made with the first call of `next`.
pub enum Connection {
    /// MQTT 3.1.1.
    V311(rumqttc::AsyncClient, Box<rumqttc::EventLoop>),
    /// MQTT 5.0.
    V5(v5::AsyncClient, Box<v5::EventLoop>),
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Happened {
    /// The broker let us in.
    Connected {
        /// It still had our session.
        session_present: bool,
    },
    /// The broker's word on each filter subscribed to: the QoS granted, or why not.
    Subscribed(Vec<Result<u8, String>>),
    /// A message came.
    Message(Message),
    /// A publish is done: written with QoS 0, acknowledged with QoS 1 and 2, or refused with this reason.
    Published(Result<(), String>),
    /// We said goodbye.
    Closed,
    /// Something that only `--debug` shows.
    Other(String),
}

/// A message, as it came or is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Quality of service.
    pub qos: u8,
    /// Retained.
    pub retain: bool,
    /// Packet id; 0 with QoS 0.
    pub packet_id: u16,
    /// `Message Expiry Interval` in seconds, of MQTT 5.
    pub expiry: Option<u32>,
    /// `Content Type`, of MQTT 5.
    pub content_type: Option<String>,
    /// `Response Topic`, of MQTT 5.
    pub response_topic: Option<String>,
    /// `User Property`, of MQTT 5.
    pub user_properties: Vec<(String, String)>,
}

/// Why a connection ended.
#[derive(Debug)]
pub struct Lost {
    /// For people.
    pub message: String,
    /// Another try could succeed.
    pub worth_retrying: bool,
}

// === impl Connection ===

impl Connection {
    /// A connection with these flags.
    ///
    /// # Errors
    /// A wrong URL, certificates that cannot be read.
    pub fn new(common: &Common, client_id: &str) -> Result<Self> {
        let target = common.target()?;
        let transport = if target.tls {
            let identity = common.cert.as_deref().zip(common.key.as_deref());
            Transport::Tls(TlsConfiguration::Rustls(tls::client_config(common.cafile.as_deref(), identity)?))
        } else {
            Transport::Tcp
        };
        // `rumqttc` joins host and port with a colon, which an IPv6 address does not survive.
        let host = if target.host.contains(':') && !target.tls { format!("[{}]", target.host) } else { target.host };
        let keep_alive = Duration::from_secs(common.keepalive.into());
        Ok(match common.version {
            Version::V311 => {
                let mut options = rumqttc::MqttOptions::new(client_id, host, target.port);
                options.set_transport(transport).set_keep_alive(keep_alive).set_clean_session(!common.keep_session);
                options.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
                options.set_inflight(WINDOW as u16);
                if let Some((user, password)) = target.credentials {
                    options.set_credentials(user, password);
                }
                if let Some(topic) = &common.will_topic {
                    let (payload, qos) = (common.will_payload.as_bytes(), qos_v311(common.will_qos));
                    options.set_last_will(rumqttc::LastWill::new(topic, payload, qos, common.will_retain));
                }
                let (client, events) = rumqttc::AsyncClient::new(options, REQUESTS);
                Self::V311(client, Box::new(events))
            }
            Version::V5 => {
                let mut options = v5::MqttOptions::new(client_id, host, target.port);
                options.set_transport(transport).set_keep_alive(keep_alive).set_clean_start(!common.keep_session);
                options.set_max_packet_size(Some(PACKET_BYTES_MAX));
                options.set_outgoing_inflight_upper_limit(WINDOW as u16);
                options.set_session_expiry_interval(Some(common.session_expiry()));
                if let Some((user, password)) = target.credentials {
                    options.set_credentials(user, password);
                }
                if let Some(topic) = &common.will_topic {
                    let (payload, qos) = (common.will_payload.as_bytes(), qos_v5(common.will_qos));
                    options.set_last_will(five::LastWill::new(topic, payload, qos, common.will_retain, None));
                }
                let (client, events) = v5::AsyncClient::new(options, REQUESTS);
                Self::V5(client, Box::new(events))
            }
        })
    }

    /// Subscribes to all filters with one packet; the answer comes as `Happened::Subscribed`.
    pub fn subscribe(&self, filters: &[String], qos: u8, retain_as_published: bool) -> Result<()> {
        match self {
            Self::V311(client, _) => {
                let filters = filters.iter().map(|filter| rumqttc::SubscribeFilter::new(filter.clone(), qos_v311(qos)));
                client.try_subscribe_many(filters)?;
            }
            Self::V5(client, _) => {
                let filters = filters.iter().map(|filter| {
                    let mut filter = five::Filter::new(filter.clone(), qos_v5(qos));
                    filter.preserve_retain = retain_as_published;
                    filter
                });
                client.try_subscribe_many(filters)?;
            }
        }
        Ok(())
    }

    /// Hands a message over; its end comes as `Happened::Published`. At most `WINDOW` may be under way.
    pub fn publish(&self, message: &Message) -> Result<()> {
        let Message { topic, payload, qos, retain, .. } = message;
        match self {
            Self::V311(client, _) => client.try_publish(topic, qos_v311(*qos), *retain, payload.clone())?,
            Self::V5(client, _) => client.try_publish(topic, qos_v5(*qos), *retain, payload.clone())?,
        }
        Ok(())
    }

    /// Says goodbye after what was handed over; the end comes as `Happened::Closed`.
    pub fn disconnect(&self) -> Result<()> {
        match self {
            Self::V311(client, _) => client.try_disconnect()?,
            Self::V5(client, _) => client.try_disconnect()?,
        }
        Ok(())
    }

    /// Waits for the next thing to happen; connects first, and after a loss connects anew.
    ///
    /// # Errors
    /// The connection could not be made, or was lost.
    pub async fn next(&mut self) -> Result<Happened, Lost> {
        match self {
            Self::V311(_, events) => events.poll().await.map(happened_v311).map_err(lost_v311),
            Self::V5(_, events) => events.poll().await.map(happened_v5).map_err(lost_v5),
        }
    }
}

fn qos_v311(qos: u8) -> rumqttc::QoS {
    match qos {
        0 => rumqttc::QoS::AtMostOnce,
        1 => rumqttc::QoS::AtLeastOnce,
        _ => rumqttc::QoS::ExactlyOnce,
    }
}

fn qos_v5(qos: u8) -> v5::mqttbytes::QoS {
    match qos {
        0 => v5::mqttbytes::QoS::AtMostOnce,
        1 => v5::mqttbytes::QoS::AtLeastOnce,
        _ => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

fn happened_v311(event: rumqttc::Event) -> Happened {
    use rumqttc::{Event, Outgoing, Packet, SubscribeReasonCode};
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => Happened::Connected { session_present: connack.session_present },
        Event::Incoming(Packet::SubAck(suback)) => {
            let word = |code| match code {
                SubscribeReasonCode::Success(qos) => Ok(qos as u8),
                SubscribeReasonCode::Failure => Err("refused".to_owned()),
            };
            Happened::Subscribed(suback.return_codes.into_iter().map(word).collect())
        }
        Event::Incoming(Packet::Publish(publish)) => Happened::Message(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            packet_id: publish.pkid,
            ..Message::default()
        }),
        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) | Event::Outgoing(Outgoing::Publish(0)) => {
            Happened::Published(Ok(()))
        }
        Event::Outgoing(Outgoing::Disconnect) => Happened::Closed,
        other => Happened::Other(format!("{other:?}")),
    }
}

fn happened_v5(event: v5::Event) -> Happened {
    use five::{Packet, PubAckReason, PubCompReason, PubRecReason, SubscribeReasonCode};
    use rumqttc::Outgoing;
    use v5::Event;
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => Happened::Connected { session_present: connack.session_present },
        Event::Incoming(Packet::SubAck(suback)) => {
            let why = suback.properties.and_then(|properties| properties.reason_string);
            let word = |code| match code {
                SubscribeReasonCode::Success(qos) => Ok(qos as u8),
                other => Err(reason(&other, why.as_deref())),
            };
            Happened::Subscribed(suback.return_codes.into_iter().map(word).collect())
        }
        Event::Incoming(Packet::Publish(publish)) => {
            let properties = publish.properties.unwrap_or_default();
            Happened::Message(Message {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload.to_vec(),
                qos: publish.qos as u8,
                retain: publish.retain,
                packet_id: publish.pkid,
                expiry: properties.message_expiry_interval,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                user_properties: properties.user_properties,
            })
        }
        Event::Incoming(Packet::PubAck(ack)) => Happened::Published(match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
            other => Err(reason(&other, ack.properties.and_then(|properties| properties.reason_string).as_deref())),
        }),
        Event::Incoming(Packet::PubRec(ack))
            if !matches!(ack.reason, PubRecReason::Success | PubRecReason::NoMatchingSubscribers) =>
        {
            let why = ack.properties.and_then(|properties| properties.reason_string);
            Happened::Published(Err(reason(&ack.reason, why.as_deref())))
        }
        Event::Incoming(Packet::PubComp(ack)) => Happened::Published(match ack.reason {
            PubCompReason::Success => Ok(()),
            PubCompReason::PacketIdentifierNotFound => Err(reason(&ack.reason, None)),
        }),
        Event::Outgoing(Outgoing::Publish(0)) => Happened::Published(Ok(())),
        Event::Outgoing(Outgoing::Disconnect) => Happened::Closed,
        other => Happened::Other(format!("{other:?}")),
    }
}

/// `NotAuthorized` is `not authorized`; what the broker adds follows in brackets.
fn reason(code: &dyn std::fmt::Debug, why: Option<&str>) -> String {
    let mut words = String::new();
    let code = format!("{code:?}");
    for letter in code.replace("UserNamePassword", "UserNameOrPassword").chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    match why {
        Some(why) if !why.is_empty() => format!("{words} ({why})"),
        _ => words,
    }
}

fn lost_v311(error: rumqttc::ConnectionError) -> Lost {
    use rumqttc::{ConnectionError, StateError};
    let (message, worth_retrying) = match error {
        ConnectionError::ConnectionRefused(code) => (format!("refused by the broker: {}", reason(&code, None)), false),
        ConnectionError::Tls(error) => (tls_message(&error), false),
        ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => (io_message(&error), true),
        ConnectionError::NetworkTimeout => ("no answer within the time for connecting".to_owned(), true),
        other => (other.to_string(), true),
    };
    Lost { message, worth_retrying }
}

fn lost_v5(error: v5::ConnectionError) -> Lost {
    use five::DisconnectReasonCode;
    use v5::{ConnectionError, StateError};
    let (message, worth_retrying) = match error {
        ConnectionError::ConnectionRefused(code) => (format!("refused by the broker: {}", reason(&code, None)), false),
        ConnectionError::Tls(error) => (tls_message(&error), false),
        ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => (io_message(&error), true),
        ConnectionError::Timeout(_) => ("no answer within the time for connecting".to_owned(), true),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let message = format!("closed by the broker: {}", reason(&reason_code, reason_string.as_deref()));
            let passing = matches!(
                reason_code,
                DisconnectReasonCode::ServerShuttingDown
                    | DisconnectReasonCode::ServerBusy
                    | DisconnectReasonCode::KeepAliveTimeout
                    | DisconnectReasonCode::AdministrativeAction
                    | DisconnectReasonCode::ConnectionRateExceeded
                    | DisconnectReasonCode::UnspecifiedError
            );
            (message, passing)
        }
        ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { pkt_size, max }) => {
            (format!("a packet of {pkt_size} bytes, where the broker takes at most {max}"), false)
        }
        other => (other.to_string(), true),
    };
    Lost { message, worth_retrying }
}

fn io_message(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused; does a broker listen there?".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof => {
            "the connection was closed by the other side".to_owned()
        }
        _ => error.to_string(),
    }
}

fn tls_message(error: &rumqttc::TlsError) -> String {
    let inner = match error {
        rumqttc::TlsError::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    format!("TLS failed: {inner}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_codes_are_told_in_words() {
        assert_eq!(reason(&five::PubAckReason::NotAuthorized, None), "not authorized");
        assert_eq!(reason(&five::PubAckReason::QuotaExceeded, Some("full")), "quota exceeded (full)");
    }
}
