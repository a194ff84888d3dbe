//! The fixed header: what kind of packet begins here, where it ends, and whether it may be that long.

use super::{Error, Reason, Version};

/// The largest packet that the fixed header can express, in bytes with that header: 4 + 1 + 268,435,455.
pub const LARGEST: usize = 5 + VARINT_MAX;

/// The largest value of a variable byte integer.
pub const VARINT_MAX: usize = 268_435_455;

/// The kind of a control packet: the high four bits of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Kind {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    /// MQTT 5.0 only; a 3.1.1 connection that receives it must be closed.
    Auth = 15,
}

/// What is known about the packet at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// The length itself has not wholly arrived.
    Partial,
    /// The length is known; the buffer may still hold less than `total` bytes.
    Frame {
        /// Bytes of the whole packet, with the fixed header.
        total: usize,
        /// Bytes of the fixed header, 2 to 5.
        header: usize,
    },
}

// === impl Kind ===

impl Kind {
    /// The kind told by the first byte of a packet.
    ///
    /// # Errors
    /// 0x81 for kind 0, which is reserved.
    pub const fn of(first: u8) -> Result<Kind, Error> {
        Ok(match first >> 4 {
            1 => Kind::Connect,
            2 => Kind::Connack,
            3 => Kind::Publish,
            4 => Kind::Puback,
            5 => Kind::Pubrec,
            6 => Kind::Pubrel,
            7 => Kind::Pubcomp,
            8 => Kind::Subscribe,
            9 => Kind::Suback,
            10 => Kind::Unsubscribe,
            11 => Kind::Unsuback,
            12 => Kind::Pingreq,
            13 => Kind::Pingresp,
            14 => Kind::Disconnect,
            15 => Kind::Auth,
            _ => return Err(Error::malformed("the packet type 0 is reserved")),
        })
    }
}

// === functions ===

/// Looks at the fixed header at the start of `buf`. `max` is the longest packet allowed, in bytes with its header.
///
/// # Errors
/// 0x81 when the Remaining Length has more than four bytes, 0x95 when the packet is longer than `max`.
#[inline]
pub fn peek(buf: &[u8], max: usize) -> Result<Peek, Error> {
    let mut length = 0;
    for at in 1..5 {
        let Some(&byte) = buf.get(at) else { return Ok(Peek::Partial) };
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte < 0x80 {
            let header = at + 1;
            let total = header + length;
            if total > max {
                return Err(Error {
                    reason: Reason::PacketTooLarge,
                    what: "the packet is longer than the Maximum Packet Size",
                });
            }
            return Ok(Peek::Frame { total, header });
        }
    }
    Err(Error::malformed("the Remaining Length has more than four bytes"))
}

/// Splits a whole packet of a known kind into its first byte and the length of its fixed header.
///
/// MQTT 3.1.1 does not forbid a Remaining Length with superfluous bytes; MQTT 5.0 does [MQTT-1.5.5-1].
#[inline]
pub(super) fn open(frame: &[u8], kind: Kind, version: Version) -> Result<(u8, usize), Error> {
    let Peek::Frame { total, header } = peek(frame, LARGEST)? else {
        return Err(Error::malformed("the packet ends inside its fixed header"));
    };
    if total != frame.len() {
        return Err(Error::malformed("the packet is not as long as its Remaining Length says"));
    }
    if header > 2 && frame[header - 1] == 0 && version == Version::V5 {
        return Err(Error::malformed("the Remaining Length is not written in the fewest bytes [MQTT-1.5.5-1]"));
    }
    if frame[0] >> 4 != kind as u8 {
        return Err(Error::protocol("the packet is of another type than expected here"));
    }
    Ok((frame[0], header))
}

/// The body of a whole packet whose kind has fixed flag bits [MQTT-2.1.3-1].
pub(super) fn body(frame: &[u8], kind: Kind, version: Version) -> Result<&[u8], Error> {
    let (first, header) = open(frame, kind, version)?;
    if first & 0x0F != flags(kind) {
        return Err(Error::malformed("the reserved flags of the fixed header are not as specified [MQTT-2.1.3-1]"));
    }
    Ok(&frame[header..])
}

/// Appends a packet whose body `write` appends; the length is filled in afterwards.
pub(super) fn put(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(((kind as u8) << 4) | flags(kind));
    put_sized(out, write);
    assert!(out.len() - start <= LARGEST, "a packet is longer than its Remaining Length can say");
}

/// Appends what `write` appends, after its length as a variable byte integer.
pub(super) fn put_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // Almost all lengths are below 128, so one byte is kept and a longer length moves the content.
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let (digits, count) = varint(length);
        out.splice(at..=at, digits[..count].iter().copied());
    }
}

/// The bytes of a variable byte integer, and how many they are; `value` ≤ [`VARINT_MAX`].
#[inline]
pub(super) const fn varint(value: usize) -> ([u8; 4], usize) {
    let mut digits = [0; 4];
    let mut rest = value;
    let mut count = 0;
    loop {
        digits[count] = (rest & 0x7F) as u8;
        rest >>= 7;
        count += 1;
        if rest == 0 || count == 4 {
            return (digits, count);
        }
        digits[count - 1] |= 0x80;
    }
}

/// The flag bits that a kind must carry; those of PUBLISH vary and are not asked for here.
const fn flags(kind: Kind) -> u8 {
    match kind {
        Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => 0b0010,
        Kind::Connect
        | Kind::Connack
        | Kind::Publish
        | Kind::Puback
        | Kind::Pubrec
        | Kind::Pubcomp
        | Kind::Suback
        | Kind::Unsuback
        | Kind::Pingreq
        | Kind::Pingresp
        | Kind::Disconnect
        | Kind::Auth => 0,
    }
}
