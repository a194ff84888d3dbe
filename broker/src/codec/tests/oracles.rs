//! Two other codecs as oracles: they accept what we write, read the same in it, and write the same bytes.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::{
    packet::{v3_1_1, v5_0},
    result_code::MqttError,
};
use proptest::prelude::*;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

use super::{
    super::{
        Qos, Reason, Version, connack, connect,
        frame::{self, Kind, Peek},
        publish,
    },
    decode_any, noise, packets,
};

/// Decodes a packet with mqtt-protocol-core and encodes it again.
fn core_again(frame: &[u8], version: Version) -> Result<Vec<u8>, MqttError> {
    let Ok(Peek::Frame { header, total }) = frame::peek(frame, frame::LARGEST) else { panic!("a whole packet") };
    // Damage may leave more bytes than the packet says it has: those behind it belong to the next one.
    let (first, body) = (frame[0], &frame[header..total]);
    macro_rules! again {
        ($($kind:ident)+) => {
            match (Kind::of(first).expect("a packet type"), version) {
                (Kind::Publish, Version::V4) => v3_1_1::Publish::parse(first & 0x0F, Arc::from(body))?.0.to_continuous_buffer(),
                (Kind::Publish, Version::V5) => v5_0::Publish::parse(first & 0x0F, Arc::from(body))?.0.to_continuous_buffer(),
                (Kind::Auth, _) => v5_0::Auth::parse(body)?.0.to_continuous_buffer(),
                $((Kind::$kind, Version::V4) => v3_1_1::$kind::parse(body)?.0.to_continuous_buffer(),)+
                $((Kind::$kind, Version::V5) => v5_0::$kind::parse(body)?.0.to_continuous_buffer(),)+
            }
        };
    }
    Ok(
        again!(Connect Connack Puback Pubrec Pubrel Pubcomp Subscribe Suback Unsubscribe Unsuback Pingreq Pingresp Disconnect),
    )
}

/// Decodes a packet of MQTT 3.1.1 with rmqtt-codec.
fn rmqtt_v4(frame: &[u8]) -> v3::Packet {
    v3::Codec::new(0).decode(&mut frame.into()).expect("valid for rmqtt-codec").expect("a whole packet").0
}

/// Decodes a packet of MQTT 5.0 with rmqtt-codec.
fn rmqtt_v5(frame: &[u8]) -> v5::Packet {
    v5::Codec::new(0, 0).decode(&mut frame.into()).expect("valid for rmqtt-codec").expect("a whole packet").0
}

proptest! {
    #[test]
    fn mqtt_protocol_core_reads_and_writes_the_same_bytes(
        (version, frame) in packets::version().prop_flat_map(|version| (Just(version), packets::any_packet(version))),
    ) {
        prop_assert_eq!(core_again(&frame, version), Ok(frame));
    }

    #[test]
    fn mqtt_protocol_core_accepts_every_damaged_packet_that_we_accept((version, frame) in noise::damaged_packet()) {
        if decode_any(&frame, version) == Ok(()) {
            // In these it is stricter than 5.0: a password needs no user name, and 0x8C Bad authentication method may be
            // the reason of a DISCONNECT (table 2-6; table 3-10 leaves it out).
            let token = frame[0] == 0x10 && connect::decode(&frame).is_ok_and(|one| one.username.is_none());
            let method = frame[0] == 0xE0 && frame.get(2) == Some(&(Reason::BadAuthenticationMethod as u8));
            let again = core_again(&frame, version);
            prop_assert!(again.is_ok() || token || method, "{:?} refuses {:02X?}", again, frame);
        }
    }

    #[test]
    fn rmqtt_codec_accepts_every_packet(
        (version, frame) in packets::version().prop_flat_map(|version| (Just(version), packets::any_packet(version))),
    ) {
        match version {
            Version::V4 => drop(rmqtt_v4(&frame)),
            Version::V5 => drop(rmqtt_v5(&frame)),
        }
    }

    #[test]
    fn rmqtt_codec_reads_the_same_publish(sent in packets::version().prop_flat_map(packets::publish)) {
        let frame = sent.bytes();
        let seen = match sent.version {
            Version::V4 => match rmqtt_v4(&frame) {
                v3::Packet::Publish(seen) => seen,
                other => panic!("{other:?}"),
            },
            Version::V5 => match rmqtt_v5(&frame) {
                v5::Packet::Publish(seen) => seen,
                other => panic!("{other:?}"),
            },
        };
        prop_assert_eq!((seen.qos.value(), seen.retain, seen.dup), (sent.qos as u8, sent.retain, sent.dup));
        prop_assert_eq!(&*seen.topic, &sent.topic);
        prop_assert_eq!(seen.packet_id.map_or(0, u16::from), sent.packet_id);
        prop_assert_eq!(&*seen.payload, &sent.payload);
        if let Some(properties) = &seen.properties {
            let layout = publish::layout_from_server(&frame, sent.version).expect("a valid PUBLISH");
            prop_assert_eq!(properties.topic_alias.map_or(0, u16::from), layout.alias());
            prop_assert_eq!(properties.message_expiry_interval.map(u32::from), layout.expiry(&frame));
            let ids = properties.subscription_ids.iter().map(|id| id.get());
            prop_assert!(ids.eq(sent.subscription_ids.iter().copied()));
        }
    }

    #[test]
    fn rmqtt_codec_reads_the_same_connect_of_3_1_1(sent in packets::connect(Version::V4)) {
        let v3::Packet::Connect(seen) = rmqtt_v4(&packets::written(|out| connect::encode(out, &sent))) else {
            panic!("another packet");
        };
        prop_assert_eq!((seen.clean_session, seen.keep_alive), (sent.clean_start, sent.keep_alive));
        prop_assert_eq!(&*seen.client_id, &sent.client_id);
        prop_assert_eq!(seen.username.as_deref(), sent.username.as_deref());
        prop_assert_eq!(seen.password.as_deref(), sent.password.as_deref());
        let seen = seen.last_will.map(|will| (will.qos.value(), will.retain, will.topic.to_string(), will.message.to_vec()));
        prop_assert_eq!(seen, sent.will.map(|will| (will.qos as u8, will.retain, will.topic, will.payload)));
    }

    #[test]
    fn rmqtt_codec_reads_the_same_connect_of_5_0(sent in packets::connect(Version::V5)) {
        let v5::Packet::Connect(seen) = rmqtt_v5(&packets::written(|out| connect::encode(out, &sent))) else {
            panic!("another packet");
        };
        prop_assert_eq!((seen.clean_start, seen.keep_alive), (sent.clean_start, sent.keep_alive));
        prop_assert_eq!(&*seen.client_id, &sent.client_id);
        prop_assert_eq!(seen.username.as_deref(), sent.username.as_deref());
        prop_assert_eq!(seen.password.as_deref(), sent.password.as_deref());
        let ours = sent.properties;
        prop_assert_eq!(seen.session_expiry_interval_secs, ours.session_expiry);
        prop_assert_eq!(seen.receive_max.map_or(u16::MAX, u16::from), ours.receive_maximum);
        prop_assert_eq!(seen.max_packet_size.map(u32::from), ours.maximum_packet_size);
        prop_assert_eq!(seen.topic_alias_max, ours.topic_alias_maximum);
        prop_assert_eq!(seen.request_problem_info, ours.request_problem_information);
        prop_assert_eq!(seen.request_response_info, ours.request_response_information);
        prop_assert_eq!(seen.auth_method.as_deref(), ours.authentication_method.as_deref());
        prop_assert_eq!(seen.auth_data.as_deref(), ours.authentication_data.as_deref());
        let users = seen.user_properties.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        prop_assert_eq!(users.collect::<Vec<_>>(), ours.user_properties);
        let seen = seen.last_will.map(|will| {
            let delay = will.will_delay_interval_sec.unwrap_or(0);
            (will.qos.value(), will.retain, will.topic.to_string(), will.message.to_vec(), delay)
        });
        prop_assert_eq!(seen, sent.will.map(|will| (will.qos as u8, will.retain, will.topic, will.payload, will.delay)));
    }

    #[test]
    fn rmqtt_codec_reads_the_same_connack(sent in packets::connack(Version::V5)) {
        let frame = packets::written(|out| connack::encode(out, Version::V5, &sent));
        let v5::Packet::ConnectAck(seen) = rmqtt_v5(&frame) else { panic!("another packet") };
        let ours = sent.properties;
        prop_assert_eq!(seen.session_present, sent.session_present);
        prop_assert_eq!(Reason::from_code(seen.reason_code.into()), Some(sent.reason));
        prop_assert_eq!(seen.session_expiry_interval_secs, ours.session_expiry);
        prop_assert_eq!(seen.receive_max.get(), ours.receive_maximum.unwrap_or(u16::MAX));
        prop_assert_eq!(seen.max_qos.value(), ours.maximum_qos.unwrap_or(Qos::ExactlyOnce) as u8);
        prop_assert_eq!(seen.max_packet_size, ours.maximum_packet_size);
        prop_assert_eq!(seen.assigned_client_id.as_deref(), ours.assigned_client_id.as_deref());
        prop_assert_eq!(seen.topic_alias_max, ours.topic_alias_maximum.unwrap_or(0));
        prop_assert_eq!(seen.retain_available, ours.retain_available.unwrap_or(true));
        prop_assert_eq!(seen.wildcard_subscription_available, ours.wildcard_subscription_available.unwrap_or(true));
        prop_assert_eq!(seen.subscription_identifiers_available, ours.subscription_id_available.unwrap_or(true));
        prop_assert_eq!(seen.shared_subscription_available, ours.shared_subscription_available.unwrap_or(true));
        prop_assert_eq!(seen.server_keepalive_sec, ours.server_keep_alive);
        prop_assert_eq!(seen.response_info.as_deref(), ours.response_information.as_deref());
        prop_assert_eq!(seen.server_reference.as_deref(), ours.server_reference.as_deref());
        prop_assert_eq!(seen.reason_string.as_deref(), ours.reason_string.as_deref());
    }

    #[test]
    fn rmqtt_codec_reads_the_same_subscribe(sent in packets::subscribe(Version::V5)) {
        let v5::Packet::Subscribe(seen) = rmqtt_v5(&packets::subscribe_bytes(Version::V5, &sent)) else {
            panic!("another packet");
        };
        prop_assert_eq!((seen.packet_id.get(), seen.id.map(u32::from)), (sent.0, sent.1));
        let seen = seen.topic_filters.iter().map(|(filter, options)| {
            let flags = (options.no_local, options.retain_as_published);
            (filter.to_string(), options.qos.value(), flags, u8::from(options.retain_handling))
        });
        let ours = sent.2.into_iter().map(|(filter, options)| {
            (filter, options.qos as u8, (options.no_local, options.retain_as_published), options.retain_handling as u8)
        });
        prop_assert!(seen.eq(ours));
    }
}
