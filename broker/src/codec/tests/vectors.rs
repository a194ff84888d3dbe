//! Byte-exact vectors: what each packet means, and that it is written with the same bytes.

use super::{
    super::{
        Property, Qos, Reason, Version,
        ack::{self, Ack, AckKind},
        auth::{self, Auth},
        connack::{self, Connack},
        connect::{self, Connect, Will},
        disconnect::{self, Disconnect},
        frame::Kind,
        ping, properties,
        publish::{self, Parts},
        subscribe::{self, Options, RetainHandling, Suback},
        unsubscribe::{self, Unsuback},
    },
    bytes, packet,
};

/// What `encode` appends to a buffer that is not empty.
fn written(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0xEE];
    encode(&mut out);
    out.split_off(1)
}

fn connects(frame: &[u8], expected: &Connect) {
    assert_eq!(connect::decode(frame).expect("a valid CONNECT"), *expected);
    assert_eq!(written(|out| connect::encode(out, expected)), frame);
}

#[test]
fn connect_3_1_1() {
    let bare = Connect {
        version: Version::V4,
        client_id: "c".into(),
        clean_start: true,
        keep_alive: 60,
        will: None,
        username: None,
        password: None,
        properties: connect::Properties::default(),
    };
    connects(&bytes("10 0D 'MQTT' 04 02 003C 'c'"), &bare);
    let kept = connect::Properties { session_expiry: u32::MAX, ..connect::Properties::default() };
    connects(
        &bytes("10 1E 'MQTT' 04 EC 0000 'id' 'w' 'bye' 'me' 0002 00FF"),
        &Connect {
            client_id: "id".into(),
            clean_start: false,
            keep_alive: 0,
            will: Some(Will {
                topic: "w".into(),
                payload: b"bye".into(),
                qos: Qos::AtLeastOnce,
                retain: true,
                delay: 0,
                properties: Vec::new(),
            }),
            username: Some("me".into()),
            password: Some(vec![0, 0xFF]),
            properties: kept,
            ..bare.clone()
        },
    );
    connects(&bytes("10 0C 'MQTT' 04 02 003C ''"), &Connect { client_id: String::new(), ..bare });
}

#[test]
fn connect_5_0() {
    let bare = Connect {
        version: Version::V5,
        client_id: String::new(),
        clean_start: false,
        keep_alive: 0xFFFF,
        will: None,
        username: None,
        password: Some(b"token".into()),
        properties: connect::Properties::default(),
    };
    connects(&packet(0x10, "'MQTT' 05 40 FFFF 00 '' 'token'"), &bare);
    let properties = "11 0000000A 21 0014 27 00000100 22 000A 19 01 17 00 15 'SCRAM' 16 0001 01 26 'a' 'b' 26 'a' 'c'";
    let will = "18 00000005 01 01 02 0000003C 03 'text' 08 're/ply' 09 0002 0102 26 'k' 'v'";
    let length = |text| format!("{:02X}", bytes(text).len());
    let body = format!(
        "'MQTT' 05 D6 003C {} {properties} 'id' {} {will} 'w/t' 'bye' 'me' 'pass'",
        length(properties),
        length(will)
    );
    connects(
        &packet(0x10, &body),
        &Connect {
            client_id: "id".into(),
            clean_start: true,
            keep_alive: 60,
            will: Some(Will {
                topic: "w/t".into(),
                payload: b"bye".into(),
                qos: Qos::ExactlyOnce,
                retain: false,
                delay: 5,
                properties: bytes("01 01 02 0000003C 03 'text' 08 're/ply' 09 0002 0102 26 'k' 'v'"),
            }),
            username: Some("me".into()),
            password: Some(b"pass".into()),
            properties: connect::Properties {
                session_expiry: 10,
                receive_maximum: 20,
                maximum_packet_size: Some(256),
                topic_alias_maximum: 10,
                request_response_information: true,
                request_problem_information: false,
                user_properties: vec![("a".into(), "b".into()), ("a".into(), "c".into())],
                authentication_method: Some("SCRAM".into()),
                authentication_data: Some(vec![1]),
            },
            ..bare
        },
    );
}

#[test]
fn connack_of_both_versions() {
    let ok = Connack { session_present: true, ..Connack::refusal(Reason::Success) };
    let both = |version, text: &str, connack: &Connack| {
        let frame = bytes(text);
        assert_eq!(connack::decode(&frame, version).expect("a valid CONNACK"), *connack);
        assert_eq!(written(|out| connack::encode(out, version, connack)), frame);
    };
    both(Version::V4, "20 02 01 00", &ok);
    both(Version::V5, "20 03 01 00 00", &ok);
    for (code, reason) in [(1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87)] {
        let refusal = Connack::refusal(Reason::from_code(reason).expect("a reason"));
        both(Version::V4, &format!("20 02 00 {code:02X}"), &refusal);
        both(Version::V5, &format!("20 03 00 {reason:02X} 00"), &refusal);
    }
    both(
        Version::V5,
        "20 49 00 9D 46 11 00000001 21 0002 24 01 25 00 27 00000003 12 'id' 22 0004 1F 'why' 28 00 29 01 2A 00 13 0005 \
         1A 'ri' 1C 'sr' 15 'm' 16 0001 09 26 'k' 'v' 26 '' ''",
        &Connack {
            session_present: false,
            reason: Reason::ServerMoved,
            properties: connack::Properties {
                session_expiry: Some(1),
                receive_maximum: Some(2),
                maximum_qos: Some(Qos::AtLeastOnce),
                retain_available: Some(false),
                maximum_packet_size: Some(3),
                assigned_client_id: Some("id".into()),
                topic_alias_maximum: Some(4),
                reason_string: Some("why".into()),
                user_properties: vec![("k".into(), "v".into()), (String::new(), String::new())],
                wildcard_subscription_available: Some(false),
                subscription_id_available: Some(true),
                shared_subscription_available: Some(false),
                server_keep_alive: Some(5),
                response_information: Some("ri".into()),
                server_reference: Some("sr".into()),
                authentication_method: Some("m".into()),
                authentication_data: Some(vec![9]),
            },
        },
    );
}

#[test]
fn a_connack_of_3_1_1_is_not_written_where_no_return_code_says_the_reason() {
    for &reason in Reason::ALL {
        let out = written(|out| connack::encode(out, Version::V4, &Connack::refusal(reason)));
        assert_eq!(out.is_empty(), reason.return_code().is_none(), "{reason}");
    }
}

#[test]
fn publish_of_both_versions() {
    let parts = Parts {
        version: Version::V4,
        qos: Qos::AtMostOnce,
        retain: false,
        dup: false,
        packet_id: 0,
        topic: b"a/b",
        properties: &[],
        subscription_ids: &[],
        payload: b"hi",
    };
    let block = bytes("01 01 02 0000003C 23 0007 26 'k' 'v'");
    let v5 = Parts { version: Version::V5, ..parts };
    let full = Parts { qos: Qos::ExactlyOnce, retain: true, dup: true, packet_id: 0x0102, properties: &block, ..v5 };
    let table = [
        ("30 07 'a/b' 6869", parts),
        ("31 07 'a/b' 6869", Parts { retain: true, ..parts }),
        ("32 09 'a/b' 000A 6869", Parts { qos: Qos::AtLeastOnce, packet_id: 10, ..parts }),
        ("3D 09 'a/b' FFFF 6869", Parts { packet_id: 0xFFFF, version: Version::V4, ..full }),
        ("30 08 'a/b' 00 6869", v5),
        ("30 06 'a/b' 00", Parts { payload: &[], ..v5 }),
        ("3D 1B 'a/b' 0102 11 01 01 02 0000003C 23 0007 26 'k' 'v' 6869", full),
        ("30 08 '' 03 23 0001 6869", Parts { topic: &[], properties: &[0x23, 0, 1], ..v5 }),
        (
            "30 14 'a/b' 0C 02 0000003C 0B 01 0B FFFFFF7F 6869",
            Parts { properties: &[2, 0, 0, 0, 60], subscription_ids: &[1, 268_435_455], ..v5 },
        ),
    ];
    for (text, parts) in table {
        let frame = bytes(text);
        let layout = publish::layout_from_server(&frame, parts.version).expect(text);
        let mut out = vec![0xEE];
        assert_eq!(publish::encode(&mut out, &parts), layout, "{text}");
        assert_eq!(out[1..], frame, "{text}");
        assert_eq!(parts.total(), frame.len());
        assert_eq!(layout.version(), parts.version);
        assert_eq!((layout.qos(), layout.retain(), layout.dup()), (parts.qos, parts.retain, parts.dup));
        assert_eq!(layout.topic(&frame), parts.topic);
        assert_eq!(layout.payload(&frame), parts.payload);
        assert_eq!(layout.packet_id(&frame), if parts.qos == Qos::AtMostOnce { 0 } else { parts.packet_id });
        assert_eq!(frame[0], publish::first_byte(parts.qos, parts.retain, parts.dup));
    }
    let frame = bytes(table[6].0);
    let layout = publish::layout(&frame, Version::V5).expect("a valid PUBLISH");
    assert_eq!((layout.alias(), layout.expiry_at(), layout.expiry(&frame)), (7, Some(13), Some(60)));
    let mut copy = frame.clone();
    layout.set_packet_id(&mut copy, 0x0A0B);
    layout.set_expiry(&mut copy, 59);
    assert_eq!(copy, bytes("3D 1B 'a/b' 0A0B 11 01 01 02 0000003B 23 0007 26 'k' 'v' 6869"));
    let mut stripped = Vec::new();
    publish::strip_alias(layout.properties(&frame), &mut stripped);
    assert_eq!(stripped, bytes("01 01 02 0000003C 26 'k' 'v'"));
    assert_eq!(
        properties::iter(&stripped).collect::<Vec<_>>(),
        [Property::PayloadFormat(true), Property::MessageExpiry(60), Property::UserProperty("k", "v")]
    );
}

#[test]
fn a_layout_is_small() {
    assert!(size_of::<publish::Layout>() <= 24);
}

#[test]
fn publish_with_a_length_of_each_size() {
    for (payload, header) in [(0, 2), (124, 2), (125, 3), (16_380, 3), (16_381, 4), (2_097_148, 4), (2_097_149, 5)] {
        let payload = vec![7; payload];
        let parts = Parts {
            version: Version::V4,
            qos: Qos::AtMostOnce,
            retain: false,
            dup: false,
            packet_id: 0,
            topic: b"t",
            properties: &[],
            subscription_ids: &[],
            payload: &payload,
        };
        let mut out = Vec::new();
        let layout = publish::encode(&mut out, &parts);
        assert_eq!((layout.topic_at(), layout.total()), (header + 2, out.len()));
        assert_eq!(publish::layout(&out, Version::V4), Ok(layout));
    }
}

#[test]
fn acknowledgements_in_all_forms() {
    let kinds = [(0x40, AckKind::Puback), (0x50, AckKind::Pubrec), (0x62, AckKind::Pubrel), (0x70, AckKind::Pubcomp)];
    for (first, kind) in kinds {
        let error = if first < 0x60 { Reason::QuotaExceeded } else { Reason::PacketIdNotFound };
        let code = error.code();
        let table = [
            (Version::V4, "000A".to_owned(), Reason::Success, None),
            (Version::V5, "000A".to_owned(), Reason::Success, None),
            (Version::V5, format!("000A {code:02X}"), error, None),
            (Version::V5, format!("000A {code:02X} 06 1F 'why'"), error, Some("why")),
            (Version::V5, "000A 00 06 1F 'why'".to_owned(), Reason::Success, Some("why")),
        ];
        for (version, body, reason, reason_string) in table {
            let frame = packet(first, &body);
            let ack = Ack { kind, packet_id: 10, reason, reason_string };
            assert_eq!(ack::decode(&frame, version), Ok(ack), "{body}");
            assert_eq!(written(|out| ack::encode(out, version, &ack)), frame, "{body}");
        }
        // Longer than needed, and read all the same.
        let success = Ack { kind, packet_id: 10, reason: Reason::Success, reason_string: None };
        for body in ["000A 00", "000A 00 00", "000A 00 07 26 'k' 'v'"] {
            assert_eq!(ack::decode(&packet(first, body), Version::V5), Ok(success), "{body}");
        }
        let told = written(|out| ack::encode(out, Version::V4, &Ack { reason: error, ..success }));
        assert_eq!(told, packet(first, "000A"));
    }
}

#[test]
fn subscribe_and_suback() {
    let options = Options {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let plain = |qos| Options { qos, ..Options::default() };
    let table = [
        (Version::V4, "0001 'a/+' 00", None, vec![("a/+", plain(Qos::AtMostOnce))]),
        (Version::V4, "0001 'a' 01 '#' 02", None, vec![("a", plain(Qos::AtLeastOnce)), ("#", plain(Qos::ExactlyOnce))]),
        (Version::V5, "0001 00 'a' 2E", None, vec![("a", options)]),
        (Version::V5, "0001 03 0B 8001 'a' 01", Some(128), vec![("a", plain(Qos::AtLeastOnce))]),
        (
            Version::V5,
            "0001 00 '$share/g/a' 1A 'no+good' 04",
            None,
            vec![
                ("$share/g/a", Options { no_local: false, retain_handling: RetainHandling::SendIfNew, ..options }),
                ("no+good", Options { no_local: true, ..Options::default() }),
            ],
        ),
    ];
    for (version, body, id, filters) in table {
        let frame = packet(0x82, body);
        let found = subscribe::decode(&frame, version).expect(body);
        assert_eq!((found.packet_id, found.subscription_id), (1, id));
        assert_eq!(found.filters().collect::<Vec<_>>(), filters, "{body}");
        assert_eq!(written(|out| subscribe::encode(out, version, 1, id, &filters)), frame, "{body}");
    }
    let reasons = vec![Reason::Success, Reason::GrantedQos1, Reason::GrantedQos2, Reason::NotAuthorized];
    let suback = Suback { packet_id: 7, reasons, reason_string: None };
    let v5 = bytes("90 07 0007 00 00010287");
    assert_eq!(written(|out| subscribe::encode_suback(out, Version::V5, &suback)), v5);
    assert_eq!(subscribe::decode_suback(&v5, Version::V5), Ok(suback.clone()));
    let v4 = bytes("90 06 0007 00010280");
    assert_eq!(written(|out| subscribe::encode_suback(out, Version::V4, &suback)), v4);
    let seen = subscribe::decode_suback(&v4, Version::V4).expect("a valid SUBACK");
    assert_eq!(seen.reasons[3], Reason::Unspecified);
    let told = Suback { reasons: vec![Reason::TopicFilterInvalid], reason_string: Some("no"), ..suback };
    let v5 = bytes("90 09 0007 05 1F 'no' 8F");
    assert_eq!(written(|out| subscribe::encode_suback(out, Version::V5, &told)), v5);
    assert_eq!(subscribe::decode_suback(&v5, Version::V5), Ok(told));
}

#[test]
fn unsubscribe_and_unsuback() {
    for (version, body) in [(Version::V4, "FFFF 'a' 'b/#'"), (Version::V5, "FFFF 00 'a' 'b/#'")] {
        let frame = packet(0xA2, body);
        let found = unsubscribe::decode(&frame, version).expect(body);
        assert_eq!((found.packet_id, found.filters().collect::<Vec<_>>()), (0xFFFF, vec!["a", "b/#"]));
        assert_eq!(written(|out| unsubscribe::encode(out, version, 0xFFFF, &["a", "b/#"])), frame);
    }
    let reasons = vec![Reason::Success, Reason::NoSubscriptionExisted];
    let unsuback = Unsuback { packet_id: 7, reasons, reason_string: Some("no") };
    let v5 = bytes("B0 0A 0007 05 1F 'no' 0011");
    assert_eq!(written(|out| unsubscribe::encode_unsuback(out, Version::V5, &unsuback)), v5);
    assert_eq!(unsubscribe::decode_unsuback(&v5, Version::V5), Ok(unsuback.clone()));
    let v4 = bytes("B0 02 0007");
    assert_eq!(written(|out| unsubscribe::encode_unsuback(out, Version::V4, &unsuback)), v4);
    let seen = unsubscribe::decode_unsuback(&v4, Version::V4).expect("a valid UNSUBACK");
    assert_eq!(seen, Unsuback { reasons: Vec::new(), reason_string: None, ..unsuback });
}

#[test]
fn pings_disconnects_and_auths() {
    for version in [Version::V4, Version::V5] {
        assert_eq!(ping::check(&ping::PINGREQ, Kind::Pingreq, version), Ok(()));
        assert_eq!(ping::check(&ping::PINGRESP, Kind::Pingresp, version), Ok(()));
    }
    let normal = Disconnect::because(Reason::Success);
    let told = Disconnect {
        session_expiry: Some(60),
        reason_string: Some("why"),
        server_reference: Some("there"),
        ..Disconnect::because(Reason::UseAnotherServer)
    };
    let table = [
        (Version::V4, "", normal),
        (Version::V5, "", normal),
        (Version::V5, "8E", Disconnect::because(Reason::SessionTakenOver)),
        (Version::V5, "00 05 11 00000000", Disconnect { session_expiry: Some(0), ..normal }),
        (Version::V5, "9C 13 11 0000003C 1F 'why' 1C 'there'", told),
    ];
    for (version, body, disconnect) in table {
        let frame = packet(0xE0, body);
        assert_eq!(disconnect::decode(&frame, version), Ok(disconnect), "{body}");
        assert_eq!(written(|out| disconnect::encode(out, version, &disconnect)), frame, "{body}");
    }
    assert_eq!(disconnect::decode(&packet(0xE0, "00 00"), Version::V5), Ok(normal));
    assert_eq!(written(|out| disconnect::encode(out, Version::V4, &told)), [0xE0, 0]);
    let auth = Auth { reason: Reason::Success, method: None, data: None, reason_string: None };
    assert_eq!(auth::decode(&[0xF0, 0], Version::V5), Ok(auth));
    assert_eq!(
        auth::decode(&packet(0xF0, "18 16 15 'SCRAM' 16 0002 0102 26 'k' '' 1F ''"), Version::V5),
        Ok(Auth {
            reason: Reason::ContinueAuthentication,
            method: Some("SCRAM"),
            data: Some(&[1, 2]),
            reason_string: Some("")
        })
    );
}

#[test]
fn reasons_keep_their_codes_and_names() {
    for &reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason.code()), Some(reason));
        assert_eq!(reason.is_error(), reason.code() >= 0x80);
    }
    assert_eq!(Reason::ALL.len(), (0..=u8::MAX).filter(|code| Reason::from_code(*code).is_some()).count());
    assert_eq!(Reason::from_code(0x8E).map(|reason| reason.to_string()), Some("0x8E Session taken over".to_owned()));
}
