//! Faults by clause: each packet is wrong in one way, and each is refused with the reason that the clause asks for.

use super::{
    super::{
        Reason, Version,
        connect::{self, Rejected},
        frame::{self, Peek},
        publish,
    },
    bytes, decode_any, packet,
};

const V4: Option<Version> = Some(Version::V4);
const V5: Option<Version> = Some(Version::V5);

/// For both versions where none is named.
fn refused(table: &[(&str, Option<Version>, u8, &str, u8)]) {
    for (clause, version, first, body, reason) in table {
        let frame = packet(*first, body);
        for each in version.map_or(vec![Version::V4, Version::V5], |version| vec![version]) {
            let error = decode_any(&frame, each).expect_err(clause);
            assert_eq!(error.reason.code(), *reason, "{clause} ({each:?}): {error}");
            assert!(error.what.len() > 10 && !error.what.ends_with('.'), "{error}");
        }
    }
}

#[test]
fn reserved_flags_and_types_are_malformed() {
    refused(&[
        ("2.1.2: type 0", None, 0x00, "", 0x81),
        ("2.1.3-1: CONNECT", None, 0x11, "'MQTT' 04 02 0000 'c'", 0x81),
        ("2.1.3-1: CONNACK", V4, 0x21, "00 00", 0x81),
        ("2.1.3-1: PUBACK", None, 0x42, "00 01", 0x81),
        ("2.1.3-1: PUBREC", None, 0x51, "00 01", 0x81),
        ("2.1.3-1: PUBREL without its flag", None, 0x60, "00 01", 0x81),
        ("2.1.3-1: PUBREL with another flag", None, 0x66, "00 01", 0x81),
        ("2.1.3-1: PUBCOMP", None, 0x78, "00 01", 0x81),
        ("2.1.3-1: SUBSCRIBE", V4, 0x80, "00 01 'a' 00", 0x81),
        ("2.1.3-1: UNSUBSCRIBE", V4, 0xA0, "00 01 'a'", 0x81),
        ("2.1.3-1: PINGREQ", None, 0xC1, "", 0x81),
        ("2.1.3-1: PINGRESP", None, 0xD8, "", 0x81),
        ("2.1.3-1: DISCONNECT", None, 0xE1, "", 0x81),
        ("2.1.3-1: AUTH", V5, 0xF1, "", 0x81),
        ("3.1.1 has no AUTH", V4, 0xF0, "", 0x82),
    ]);
}

#[test]
fn a_publish_is_refused_by_section_3_3() {
    refused(&[
        ("3.3.1-2: DUP with QoS 0", V4, 0x38, "'a'", 0x81),
        ("3.3.1-2: DUP with QoS 0", V5, 0x38, "'a' 00", 0x81),
        ("3.3.1-4: QoS 3", V4, 0x36, "'a' 0001", 0x81),
        ("3.3.1-4: QoS 3 with DUP", V5, 0x3E, "'a' 0001 00", 0x81),
        ("2.2.1-3: Packet Identifier 0", V4, 0x32, "'a' 0000", 0x82),
        ("2.2.1-3: Packet Identifier 0", V5, 0x34, "'a' 0000 00", 0x82),
        ("no topic", None, 0x30, "", 0x81),
        ("half a topic length", None, 0x30, "00", 0x81),
        ("topic beyond the end", None, 0x30, "0002 61", 0x81),
        ("no Packet Identifier", None, 0x32, "'a'", 0x81),
        ("half a Packet Identifier", None, 0x32, "'a' 00", 0x81),
        ("no property length", V5, 0x30, "'a'", 0x81),
        ("no property length behind the Packet Identifier", V5, 0x32, "'a' 0001", 0x81),
        ("properties beyond the end", V5, 0x30, "'a' 02 01", 0x81),
        ("property length not in fewest bytes", V5, 0x30, "'a' 80 00", 0x81),
        ("property length of five bytes", V5, 0x30, "'a' 80 80 80 80 01", 0x81),
        ("property cut by the end of the block", V5, 0x30, "'a' 03 02 00 00 00 3C", 0x81),
        ("4.7.3-1: empty topic", V4, 0x30, "''", 0x82),
        ("3.3.2.1: empty topic without alias", V5, 0x30, "'' 00", 0x82),
        ("3.3.2-2: wildcard", V4, 0x30, "'a/+'", 0x81),
        ("3.3.2-2: wildcard", V5, 0x30, "'#' 00", 0x81),
        ("1.5.4-1: surrogate in the topic", V4, 0x30, "0003 EDA080", 0x81),
        ("1.5.4-2: U+0000 in the topic", V5, 0x30, "0001 00 00", 0x81),
        ("3.3.2-8: Topic Alias 0", V5, 0x30, "'a' 03 23 0000", 0x94),
        ("3.3.2.3.4: two Topic Aliases", V5, 0x30, "'a' 06 23 0001 23 0001", 0x82),
        ("3.3.2.3.2: two Payload Format Indicators", V5, 0x30, "'a' 04 01 00 01 00", 0x82),
        ("3.3.2.3.2: Payload Format Indicator 2", V5, 0x30, "'a' 02 01 02", 0x82),
        ("3.3.2.3.3: two Message Expiry Intervals", V5, 0x30, "'a' 0A 02 00000001 02 00000001", 0x82),
        ("3.3.2.3.5: two Response Topics", V5, 0x30, "'a' 08 08 'r' 08 'r'", 0x82),
        ("3.3.2-14: wildcard in the Response Topic", V5, 0x30, "'a' 06 08 'r/+'", 0x82),
        ("4.7.3-1: empty Response Topic", V5, 0x30, "'a' 03 08 ''", 0x82),
        ("3.3.2.3.6: two Correlation Data", V5, 0x30, "'a' 06 09 '' 09 ''", 0x82),
        ("3.3.2.3.9: two Content Types", V5, 0x30, "'a' 06 03 '' 03 ''", 0x82),
        ("3.3.2.3.8: Subscription Identifier 0", V5, 0x30, "'a' 02 0B 00", 0x82),
        ("1.5.4-2: U+0000 in the Content Type", V5, 0x30, "'a' 04 03 0001 00", 0x81),
        ("1.5.4-1: User Property", V5, 0x30, "'a' 08 26 'k' 0002 C080", 0x81),
        ("User Property without value", V5, 0x30, "'a' 04 26 'k'", 0x81),
        ("2.2.2.2: unknown property", V5, 0x30, "'a' 02 7F 00", 0x81),
        ("2.2.2.2: identifier above 63", V5, 0x30, "'a' 02 41 00", 0x81),
        ("2.2.2.2: identifier 0", V5, 0x30, "'a' 02 00 00", 0x81),
        ("2.2.2.2: property of another packet", V5, 0x30, "'a' 05 11 00000001", 0x81),
        ("3.1.3.2.2: Will Delay is for wills", V5, 0x30, "'a' 05 18 00000001", 0x81),
    ]);
    let from_client = publish::layout(&packet(0x30, "'a' 02 0B 01"), Version::V5).expect_err("3.3.4-6");
    assert_eq!(from_client.reason, Reason::ProtocolError);
}

#[test]
fn acknowledgements_are_refused_by_sections_3_4_to_3_7() {
    for first in [0x40, 0x50, 0x62, 0x70] {
        refused(&[
            ("no Packet Identifier", None, first, "", 0x81),
            ("half a Packet Identifier", None, first, "01", 0x81),
            ("2.2.1-3: Packet Identifier 0", None, first, "0000", 0x82),
            ("3.1.1 has no reason", V4, first, "0001 00", 0x81),
            ("a reason of another packet", V5, first, "0001 8E", 0x82),
            ("an unknown reason", V5, first, "0001 77", 0x82),
            ("bytes behind the properties", V5, first, "0001 00 00 00", 0x81),
            ("properties beyond the end", V5, first, "0001 00 05", 0x81),
            ("two Reason Strings", V5, first, "0001 00 06 1F '' 1F ''", 0x82),
            ("property of another packet", V5, first, "0001 00 02 01 00", 0x81),
        ]);
    }
    refused(&[
        ("PUBREL with a reason of PUBREC", V5, 0x62, "0001 97", 0x82),
        ("PUBACK with a reason of PUBCOMP", V5, 0x40, "0001 92", 0x82),
    ]);
}

#[test]
fn subscriptions_are_refused_by_sections_3_8_to_3_11() {
    refused(&[
        ("3.8.3-2: no filter", V4, 0x82, "0001", 0x82),
        ("3.8.3-2: no filter", V5, 0x82, "0001 00", 0x82),
        ("2.2.1-3: Packet Identifier 0", V4, 0x82, "0000 'a' 00", 0x82),
        ("2.2.1-3: Packet Identifier 0", V5, 0x82, "0000 00 'a' 00", 0x82),
        ("no options", V4, 0x82, "0001 'a'", 0x81),
        ("no options", V5, 0x82, "0001 00 'a' 00 'b'", 0x81),
        ("filter beyond the end", V5, 0x82, "0001 00 0005 61 00", 0x81),
        ("3.1.1: QoS 3", V4, 0x82, "0001 'a' 03", 0x82),
        ("3.1.1: reserved bits", V4, 0x82, "0001 'a' 04", 0x81),
        ("3.8.3.1: QoS 3", V5, 0x82, "0001 00 'a' 03", 0x82),
        ("3.8.3.1: Retain Handling 3", V5, 0x82, "0001 00 'a' 30", 0x82),
        ("3.8.3-5: reserved bit 6", V5, 0x82, "0001 00 'a' 40", 0x81),
        ("3.8.3-5: reserved bit 7", V5, 0x82, "0001 00 'a' 00 'b' 80", 0x81),
        ("3.8.3-4: shared with No Local", V5, 0x82, "0001 00 '$share/g/a' 04", 0x82),
        ("1.5.4-1: filter", V5, 0x82, "0001 00 0001 FF 00", 0x81),
        ("1.5.4-2: filter", V4, 0x82, "0001 0001 00 00", 0x81),
        ("3.8.2.1.2: Subscription Identifier 0", V5, 0x82, "0001 02 0B 00 'a' 00", 0x82),
        ("3.8.2.1.2: two Subscription Identifiers", V5, 0x82, "0001 04 0B 01 0B 02 'a' 00", 0x82),
        ("1.5.5: Subscription Identifier too long", V5, 0x82, "0001 06 0B FFFFFFFF 01 'a' 00", 0x81),
        ("1.5.5-1: Subscription Identifier not in fewest bytes", V5, 0x82, "0001 03 0B 81 00 'a' 00", 0x81),
        ("a Reason String is for acknowledgements", V5, 0x82, "0001 03 1F '' 'a' 00", 0x81),
        ("no properties", V5, 0x82, "0001", 0x81),
        ("3.10.3-2: no filter", V4, 0xA2, "0001", 0x82),
        ("3.10.3-2: no filter", V5, 0xA2, "0001 00", 0x82),
        ("2.2.1-3: Packet Identifier 0", V5, 0xA2, "0000 00 'a'", 0x82),
        ("3.10.2.1: Subscription Identifier", V5, 0xA2, "0001 02 0B 01 'a'", 0x81),
        ("filter beyond the end", V4, 0xA2, "0001 'a' 0001", 0x81),
        ("3.9.3: no code", V4, 0x90, "0001", 0x82),
        ("3.9.3: no properties", V5, 0x90, "0001", 0x81),
        ("3.9.3: no code", V5, 0x90, "0001 00", 0x82),
        ("3.9.3: code of 5.0", V4, 0x90, "0001 8F", 0x82),
        ("3.9.3-2: code of another packet", V5, 0x90, "0001 00 11", 0x82),
        ("3.11: 3.1.1 has no codes", V4, 0xB0, "0001 00", 0x81),
        ("3.11.3: no code", V5, 0xB0, "0001 00", 0x82),
        ("3.11.3-2: code of another packet", V5, 0xB0, "0001 00 01", 0x82),
    ]);
}

#[test]
fn pings_disconnects_and_auths_are_refused_by_sections_3_12_to_3_15() {
    refused(&[
        ("PINGREQ with content", None, 0xC0, "00", 0x81),
        ("PINGRESP with content", None, 0xD0, "00", 0x81),
        ("3.1.1 has no reason", V4, 0xE0, "00", 0x81),
        ("3.14.2-1: reason of another packet", V5, 0xE0, "10", 0x82),
        ("unknown reason", V5, 0xE0, "05", 0x82),
        ("two Session Expiry Intervals", V5, 0xE0, "00 0A 11 00000001 11 00000001", 0x82),
        ("property of another packet", V5, 0xE0, "00 03 21 0001", 0x81),
        ("bytes behind the properties", V5, 0xE0, "00 00 00", 0x81),
        ("3.15.2-1: reason of another packet", V5, 0xF0, "80 00", 0x82),
        ("AUTH without method", V5, 0xF0, "18 00", 0x82),
        ("AUTH without properties", V5, 0xF0, "18", 0x81),
        ("two methods", V5, 0xF0, "18 08 15 'm' 15 'm'", 0x82),
        ("bytes behind the properties", V5, 0xF0, "18 04 15 'm' 00", 0x81),
        ("3.2.2-1: reserved CONNACK flags", V4, 0x20, "02 00", 0x81),
        ("3.2.2-6: Session Present with a failure", V4, 0x20, "01 05", 0x82),
        ("3.2.2-6: Session Present with a failure", V5, 0x20, "01 87 00", 0x82),
        ("reserved return code", V4, 0x20, "00 06", 0x82),
        ("reason of another packet", V5, 0x20, "00 8E 00", 0x82),
        ("bytes behind the return code", V4, 0x20, "00 00 00", 0x81),
        ("no properties", V5, 0x20, "00 00", 0x81),
        ("Maximum QoS 2", V5, 0x20, "00 00 02 24 02", 0x82),
        ("Receive Maximum 0", V5, 0x20, "00 00 03 21 0000", 0x82),
    ]);
}

#[test]
fn a_connect_is_refused_by_section_3_1_and_answered_in_its_own_language() {
    let table: &[(&str, &str, u8, Option<Version>)] = &[
        ("3.1.2-1: another name", "'MQTX' 04 02 0000 'c'", 0x84, None),
        ("3.1.2-1: MQTT 3.1", "'MQIsdp' 03 02 0000 'c'", 0x84, None),
        ("3.1.2-1: case", "'mqtt' 04 02 0000 'c'", 0x84, None),
        ("no level", "'MQTT'", 0x81, None),
        ("3.1.2-2: level 3", "'MQTT' 03 02 0000 'c'", 0x84, V4),
        ("3.1.2-2: level 6", "'MQTT' 06 02 0000 00 'c'", 0x84, V5),
        ("3.1.2-2: a bridge's 3.1.1", "'MQTT' 84 02 0000 'c'", 0x84, V4),
        ("3.1.2-2: a bridge's 5.0", "'MQTT' 85 02 0000 00 'c'", 0x84, V5),
        ("3.1.2-3: reserved flag", "'MQTT' 04 03 0000 'c'", 0x81, None),
        ("3.1.2-3: reserved flag", "'MQTT' 05 03 0000 00 'c'", 0x81, V5),
        ("3.1.2-11: Will QoS without will", "'MQTT' 04 0A 0000 'c'", 0x81, None),
        ("3.1.2-13: Will Retain without will", "'MQTT' 05 22 0000 00 'c'", 0x81, V5),
        ("3.1.2-12: Will QoS 3", "'MQTT' 05 1E 0000 00 'c' 00 't' 'p'", 0x81, V5),
        ("3.1.2-12: Will QoS 3", "'MQTT' 04 1E 0000 'c' 't' 'p'", 0x81, None),
        ("3.1.2-22: password without user name", "'MQTT' 04 42 0000 'c' 'p'", 0x81, None),
        ("3.1.3-8: empty client identifier", "'MQTT' 04 00 0000 ''", 0x85, V4),
        ("no client identifier", "'MQTT' 04 02 0000", 0x81, None),
        ("bytes behind the end", "'MQTT' 04 02 0000 'c' 00", 0x81, None),
        ("bytes behind the end", "'MQTT' 05 02 0000 00 'c' 00", 0x81, V5),
        ("1.5.4-2: client identifier", "'MQTT' 05 02 0000 00 0001 00", 0x81, V5),
        ("1.5.4-1: user name", "'MQTT' 05 82 0000 00 'c' 0001 FF", 0x81, V5),
        ("no user name", "'MQTT' 05 82 0000 00 'c'", 0x81, V5),
        ("no password", "'MQTT' 05 42 0000 00 'c'", 0x81, V5),
        ("no will", "'MQTT' 04 06 0000 'c'", 0x81, None),
        ("will topic with wildcard", "'MQTT' 05 06 0000 00 'c' 00 'a/#' ''", 0x81, V5),
        ("will topic with wildcard", "'MQTT' 04 06 0000 'c' 'a/#' ''", 0x81, None),
        ("4.7.3-1: empty will topic", "'MQTT' 05 06 0000 00 'c' 00 '' ''", 0x81, V5),
        ("1.5.4-1: will topic", "'MQTT' 05 06 0000 00 'c' 00 0001 FF ''", 0x81, V5),
        ("will with a property of a CONNECT", "'MQTT' 05 06 0000 00 'c' 03 21 0001 't' ''", 0x81, V5),
        ("will with a Topic Alias", "'MQTT' 05 06 0000 00 'c' 03 23 0001 't' ''", 0x81, V5),
        ("two Will Delay Intervals", "'MQTT' 05 06 0000 00 'c' 0A 18 00000001 18 00000001 't' ''", 0x82, V5),
        ("3.1.2.11.3: Receive Maximum 0", "'MQTT' 05 02 0000 03 21 0000 'c'", 0x82, V5),
        ("3.1.2.11.4: Maximum Packet Size 0", "'MQTT' 05 02 0000 05 27 00000000 'c'", 0x82, V5),
        ("3.1.2.11.2: two Session Expiry", "'MQTT' 05 02 0000 0A 11 00000000 11 00000000 'c'", 0x82, V5),
        ("3.1.2.11.6: Request Response Information 2", "'MQTT' 05 02 0000 02 19 02 'c'", 0x82, V5),
        ("3.1.2.11.7: Request Problem Information 2", "'MQTT' 05 02 0000 02 17 02 'c'", 0x82, V5),
        ("3.1.2.11.10: data without method", "'MQTT' 05 02 0000 03 16 '' 'c'", 0x82, V5),
        ("property of another packet", "'MQTT' 05 02 0000 02 01 00 'c'", 0x81, V5),
        ("no properties", "'MQTT' 05 02 0000", 0x81, V5),
    ];
    for (clause, body, reason, answer) in table {
        let rejected = connect::decode(&packet(0x10, body)).expect_err(clause);
        assert_eq!((rejected.error.reason.code(), rejected.answer), (*reason, *answer), "{clause}: {rejected}");
    }
    let padded = bytes("10 8E 00 'MQTT' 05 02 0000 00 'c'");
    let rejected = connect::decode(&padded).expect_err("1.5.5-1: Remaining Length not in fewest bytes");
    assert!(matches!(rejected, Rejected { answer: V5, .. }), "{rejected}");
}

#[test]
fn the_remaining_length_is_read_by_section_2_1_4() {
    let found = |text: &str, max| frame::peek(&bytes(text), max).map_err(|error| error.reason.code());
    let frame = |total, header| Ok(Peek::Frame { total, header });
    let table = [
        ("", 100, Ok(Peek::Partial)),
        ("30", 100, Ok(Peek::Partial)),
        ("30 80", 100, Ok(Peek::Partial)),
        ("30 FF FF FF", frame::LARGEST, Ok(Peek::Partial)),
        ("C0 00", 2, frame(2, 2)),
        ("30 7F", 129, frame(129, 2)),
        ("30 80 01", 131, frame(131, 3)),
        ("30 80 01", 130, Err(0x95)),
        ("30 FF 7F", usize::MAX, frame(16_386, 3)),
        ("30 80 80 01", usize::MAX, frame(16_388, 4)),
        ("30 FF FF 7F", usize::MAX, frame(2_097_155, 4)),
        ("30 80 80 80 01", usize::MAX, frame(2_097_157, 5)),
        ("30 FF FF FF 7F", frame::LARGEST, frame(frame::LARGEST, 5)),
        ("30 FF FF FF 7F", frame::LARGEST - 1, Err(0x95)),
        ("30 FF FF FF FF", usize::MAX, Err(0x81)),
        ("30 80 80 80 80 00", usize::MAX, Err(0x81)),
    ];
    for (text, max, expected) in table {
        assert_eq!(found(text, max), expected, "{text}");
    }
}

#[test]
fn superfluous_bytes_of_the_remaining_length_are_refused_by_5_0_alone() {
    let padded = bytes("30 84 00 'a' 00");
    let error = publish::layout(&padded, Version::V5).expect_err("1.5.5-1");
    assert_eq!(error.reason, Reason::MalformedPacket);
    let padded = bytes("30 83 00 'a'");
    let layout = publish::layout(&padded, Version::V4).expect("3.1.1 does not forbid it");
    assert_eq!((layout.topic_at(), layout.topic(&padded), layout.total()), (5, &b"a"[..], 6));
}

#[test]
fn a_frame_that_is_not_one_whole_packet_is_refused() {
    for text in ["", "30", "30 80", "30 03 00 01", "30 03 00 01 61 00", "C0 00 00"] {
        for version in [Version::V4, Version::V5] {
            let frame = bytes(text);
            assert_eq!(publish::layout(&frame, version).map_err(|error| error.reason), Err(Reason::MalformedPacket));
        }
    }
}
