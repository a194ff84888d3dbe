//! A way: a connection between two nodes that have none of their own, inside those of a node between them.
//!
//! Node C of this cluster has no connection with the remote cluster, its peer B has one with the remote's node A. C opens
//! a way: what it would write on a connection with A goes as frames on its connection with B, and B passes them on to A
//! as they are, and back. At both ends the link takes it for a connection like others; B looks only at whose it is.

use std::num::NonZeroU16;

use super::batch::{TOPIC_BEAT, TOPIC_HELLO, TOPIC_LANE};

/// Which way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WayId {
    /// The node that opened it.
    pub opener: Box<str>,
    /// The cluster that it leads to, by the name of it that the opener knows.
    pub cluster: Box<str>,
    /// Counts the ways of the opener; no two of its life have the same.
    pub number: u64,
}

/// What passes along a way, or asks for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which way.
    pub way: WayId,
    /// It goes to the node that opened the way; else from it.
    pub back: bool,
    /// What it is.
    pub what: What<'a>,
}

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// "Who has a connection with that cluster?" To all peers.
    Ask,
    /// "I have."
    Have,
    /// "Let me have a way." The sender takes packets of at most so many bytes on it.
    Open(u32),
    /// "You have it", as above.
    Opened(u32),
    /// A PUBLISH.
    Publish {
        /// Its topic.
        topic: &'static str,
        /// Its packet id, of QoS 1.
        packet_id: Option<NonZeroU16>,
        /// Its payload.
        payload: &'a [u8],
    },
    /// A PUBACK.
    Puback(NonZeroU16),
    /// The way ends, for this reason: the name of a refusal and a sentence.
    Close(&'a str),
}

/// Bytes that a frame has beyond the payload in it, at most, with names of the usual length.
pub const OVERHEAD: u32 = 600;

/// Topics that a way carries, by their numbers.
const TOPICS: [&str; 3] = [TOPIC_HELLO, TOPIC_LANE, TOPIC_BEAT];

/// Longest reason that is told.
const REASON_MAX: usize = 1024;

const ASK: u8 = 0;
const HAVE: u8 = 1;
const OPEN: u8 = 2;
const OPENED: u8 = 3;
const PUBLISH: u8 = 4;
const PUBACK: u8 = 5;
const CLOSE: u8 = 6;
/// Set in the first byte of what goes back.
const BACK: u8 = 0x80;

// === impl Frame ===

impl<'a> Frame<'a> {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.what {
            What::Ask => ASK,
            What::Have => HAVE,
            What::Open(_) => OPEN,
            What::Opened(_) => OPENED,
            What::Publish { .. } => PUBLISH,
            What::Puback(_) => PUBACK,
            What::Close(_) => CLOSE,
        };
        let mut out = vec![kind | if self.back { BACK } else { 0 }];
        out.extend_from_slice(&self.way.number.to_be_bytes());
        for name in [&self.way.opener, &self.way.cluster] {
            let len = u8::try_from(name.len()).expect("names are at most 255 bytes, checked where they come from");
            out.push(len);
            out.extend_from_slice(name.as_bytes());
        }
        match self.what {
            What::Ask | What::Have => {}
            What::Open(max) | What::Opened(max) => out.extend_from_slice(&max.to_be_bytes()),
            What::Publish { topic, packet_id, payload } => {
                let number = TOPICS.iter().position(|known| *known == topic);
                out.push(number.map_or(u8::MAX, |number| number as u8));
                out.extend_from_slice(&packet_id.map_or(0, NonZeroU16::get).to_be_bytes());
                out.extend_from_slice(payload);
            }
            What::Puback(packet_id) => out.extend_from_slice(&packet_id.get().to_be_bytes()),
            What::Close(reason) => {
                out.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON_MAX)]);
            }
        }
        out
    }

    /// Reads a payload; nothing if it is none, or of a newer version.
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (opener, rest) = name(rest)?;
        let (cluster, rest) = name(rest)?;
        let max = || Some(u32::from_be_bytes(*rest.first_chunk()?));
        let what = match kind & !BACK {
            ASK => What::Ask,
            HAVE => What::Have,
            OPEN => What::Open(max()?),
            OPENED => What::Opened(max()?),
            PUBLISH => {
                let ([topic, high, low], payload) = rest.split_first_chunk()?;
                let topic = TOPICS.get(usize::from(*topic))?;
                What::Publish { topic, packet_id: NonZeroU16::new(u16::from_be_bytes([*high, *low])), payload }
            }
            PUBACK => What::Puback(NonZeroU16::new(u16::from_be_bytes(*rest.first_chunk()?))?),
            CLOSE => What::Close(std::str::from_utf8(rest).ok()?),
            _ => return None,
        };
        let way = WayId { opener, cluster, number: u64::from_be_bytes(*number) };
        Some(Self { way, back: kind & BACK != 0, what })
    }

    /// Whether the way ends if it is lost: all but what may be lost on any connection.
    pub fn must_arrive(&self) -> bool {
        match self.what {
            What::Ask | What::Have => false,
            What::Publish { topic, packet_id, .. } => packet_id.is_some() || topic == TOPIC_HELLO,
            What::Open(_) | What::Opened(_) | What::Puback(_) | What::Close(_) => true,
        }
    }
}

fn name(bytes: &[u8]) -> Option<(Box<str>, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((std::str::from_utf8(name).ok()?.into(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame<'static>> {
        let way = WayId { opener: "node-2".into(), cluster: "cloud".into(), number: 1 << 40 };
        let packet_id = NonZeroU16::new(513).expect("not 0");
        let whats = [
            What::Ask,
            What::Have,
            What::Open(66_560),
            What::Opened(u32::MAX),
            What::Publish { topic: TOPIC_LANE, packet_id: Some(packet_id), payload: b"batch" },
            What::Publish { topic: TOPIC_BEAT, packet_id: None, payload: b"" },
            What::Puback(packet_id),
            What::Close("LinkClosed: über"),
        ];
        let both = |what| [false, true].map(|back| Frame { way: way.clone(), back, what });
        whats.into_iter().flat_map(both).collect()
    }

    #[test]
    fn a_frame_comes_out_as_it_went_in() {
        for frame in frames() {
            assert_eq!(Frame::decode(&frame.encode()), Some(frame));
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_read_or_not_but_never_a_panic() {
        for frame in frames() {
            let payload = frame.encode();
            (0..payload.len()).for_each(|end| drop(Frame::decode(&payload[..end])));
            for at in 0..payload.len() {
                let mut payload = payload.clone();
                payload[at] ^= 0xff;
                drop(Frame::decode(&payload));
            }
        }
    }
}
