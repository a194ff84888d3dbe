//! The data types of section 1.5: integers, strings and binary data, read with bounds and written.

use super::{Error, frame};

/// What is left to read of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Error::malformed("the packet ends inside a field"));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Error::malformed("the packet ends inside a field"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// A packet identifier, which is never 0 [MQTT-2.2.1-3].
    pub fn packet_id(&mut self) -> Result<u16, Error> {
        match self.u16()? {
            0 => Err(Error::protocol("the Packet Identifier must not be 0 [MQTT-2.2.1-3]")),
            id => Ok(id),
        }
    }

    /// A variable byte integer, in the fewest bytes [MQTT-1.5.5-1].
    #[inline]
    pub fn varint(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << (7 * at);
            if byte < 0x80 {
                if byte == 0 && at > 0 {
                    return Err(Error::malformed(
                        "a variable byte integer is not written in the fewest bytes [MQTT-1.5.5-1]",
                    ));
                }
                return Ok(value);
            }
        }
        Err(Error::malformed("a variable byte integer has more than four bytes"))
    }

    /// Binary data: a length of two bytes and the bytes.
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 string without surrogates [MQTT-1.5.4-1] and without U+0000 [MQTT-1.5.4-2].
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Error> {
        let bytes = self.binary()?;
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Error::malformed("a string is not well-formed UTF-8 [MQTT-1.5.4-1]"));
        };
        if bytes.contains(&0) {
            return Err(Error::malformed("a string contains U+0000 [MQTT-1.5.4-2]"));
        }
        Ok(text)
    }

    /// Nothing may follow what was read.
    pub const fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::malformed("bytes follow the end of the packet's content"))
        }
    }
}

// === writing ===

/// Appends binary data or a string. Who builds a packet of our own keeps these under 65,536 bytes; a longer one is cut,
/// so that it cannot turn into other fields.
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

/// Appends a variable byte integer ≤ 268,435,455.
pub fn put_varint(out: &mut Vec<u8>, value: u32) {
    let (digits, count) = frame::varint(value as usize);
    out.extend_from_slice(&digits[..count]);
}
