//! Tests of the codec: byte-exact vectors, faults by clause, round trips, other codecs as oracles, and noise.

mod faults;
mod noise;
mod oracles;
mod packets;
mod round_trips;
mod vectors;

use super::{
    Error, Version, ack, auth, connack, connect, disconnect,
    frame::{self, Kind, Peek},
    ping, publish, subscribe, unsubscribe,
};
use crate::topic;

/// The bytes of a text such as `"30 02 'a/b' 00"`: hexadecimal digits, and strings with their length before them.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, part) in text.split('\'').enumerate() {
        if at % 2 == 1 {
            out.extend_from_slice(&(part.len() as u16).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        } else {
            let digits = part.chars().filter(|digit| !digit.is_whitespace()).collect::<Vec<_>>();
            out.extend(
                digits.chunks(2).map(|pair| {
                    u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two hexadecimal digits")
                }),
            );
        }
    }
    out
}

/// The bytes of a packet whose Remaining Length is filled in: first byte and body, as [`bytes`] reads them.
fn packet(first: u8, body: &str) -> Vec<u8> {
    let mut out = vec![first];
    let body = bytes(body);
    super::wire::put_varint(&mut out, body.len() as u32);
    out.extend_from_slice(&body);
    out
}

/// Decodes any packet, as a server would and as a client would, and reads all that was decoded.
fn decode_any(frame: &[u8], version: Version) -> Result<(), Error> {
    let Peek::Frame { total, header } = frame::peek(frame, frame::LARGEST)? else {
        return Err(Error::malformed("partial"));
    };
    let Some(frame) = frame.get(..total) else { return Err(Error::malformed("partial")) };
    assert!((2..=5).contains(&header) && header <= total);
    match Kind::of(frame[0])? {
        Kind::Connect => connect::decode(frame).map(drop).map_err(|rejected| rejected.error),
        Kind::Connack => connack::decode(frame, version).map(drop),
        Kind::Publish => {
            let layout = publish::layout_from_server(frame, version)?;
            assert!(publish::layout(frame, version).map_or(true, |same| same == layout));
            assert_eq!(layout.total(), frame.len());
            assert_eq!(layout.payload(frame).len(), layout.payload_len());
            assert_eq!(layout.properties(frame).len(), layout.properties_len());
            let seen = super::properties::iter(layout.properties(frame)).collect::<Vec<_>>();
            assert_eq!(
                layout.expiry(frame),
                seen.iter().find_map(|property| match property {
                    super::Property::MessageExpiry(seconds) => Some(*seconds),
                    _ => None,
                })
            );
            assert_eq!(layout.packet_id(frame) == 0, layout.qos() == super::Qos::AtMostOnce);
            if layout.topic_len() > 0 {
                topic::check_name(layout.topic(frame), u16::MAX).map_err(Error::topic_name)?;
            }
            Ok(())
        }
        Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => ack::decode(frame, version).map(drop),
        Kind::Subscribe => {
            let subscribe = subscribe::decode(frame, version)?;
            assert!(subscribe.filters().count() > 0);
            Ok(())
        }
        Kind::Suback => subscribe::decode_suback(frame, version).map(drop),
        Kind::Unsubscribe => {
            let unsubscribe = unsubscribe::decode(frame, version)?;
            assert!(unsubscribe.filters().count() > 0);
            Ok(())
        }
        Kind::Unsuback => unsubscribe::decode_unsuback(frame, version).map(drop),
        kind @ (Kind::Pingreq | Kind::Pingresp) => ping::check(frame, kind, version),
        Kind::Disconnect => disconnect::decode(frame, version).map(drop),
        Kind::Auth => auth::decode(frame, version).map(drop),
    }
}
