//! Numbers, names and byte strings of control payloads, big endian, written and read without a copy.

use std::sync::Arc;

use crate::clock::Stamp;

/// What cannot be read: it ends too early, is longer than it says, or names something that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a control message of a peer cannot be read")]
pub struct Garbled;

/// Appends the parts of a payload.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
}

/// Takes the parts of a payload, front first.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

// === impl Writer ===

impl Writer {
    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    pub fn stamp(&mut self, stamp: Stamp) {
        self.u64(stamp.time);
        self.u64(stamp.node);
    }

    /// A client id, a filter or a name of at most 65,535 bytes: what is longer was refused where it came from.
    pub fn text(&mut self, text: &str) {
        let len = u16::try_from(text.len()).expect("names, filters and client ids have at most 65,535 bytes");
        self.u16(len);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A packet, or another string of less than 4 GiB.
    pub fn block(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("a packet has at most 268,435,460 bytes");
        self.u32(len);
        self.bytes.extend_from_slice(bytes);
    }

    /// How many follow; all that is counted has bounds far below 2^32.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("lists of a control message have bounds below 2^32"));
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// What was not read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing more is there.
    ///
    /// # Errors
    /// Something is.
    pub const fn end(&self) -> Result<(), Garbled> {
        if self.rest.is_empty() { Ok(()) } else { Err(Garbled) }
    }

    /// One byte.
    ///
    /// # Errors
    /// There is none. So with all that follow.
    pub fn u8(&mut self) -> Result<u8, Garbled> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Garbled> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Garbled> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Garbled> {
        self.array().map(u64::from_be_bytes)
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self) -> Result<bool, Garbled> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            2..=u8::MAX => Err(Garbled),
        }
    }

    /// Sixteen bytes.
    pub fn stamp(&mut self) -> Result<Stamp, Garbled> {
        Ok(Stamp { time: self.u64()?, node: self.u64()? })
    }

    /// A text of at most 65,535 bytes.
    pub fn text(&mut self) -> Result<&'a str, Garbled> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| Garbled)
    }

    /// The name of a node.
    pub fn name(&mut self) -> Result<Arc<str>, Garbled> {
        self.text().map(Arc::from)
    }

    /// A string of bytes.
    pub fn block(&mut self) -> Result<&'a [u8], Garbled> {
        let len = self.u32()?;
        self.take(usize::try_from(len).map_err(|_| Garbled)?)
    }

    /// Things of which a count stands before them, and which are at least so many bytes each: a count that lies costs no
    /// memory.
    pub fn list<T>(
        &mut self,
        bytes_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Garbled>,
    ) -> Result<Vec<T>, Garbled> {
        let count = usize::try_from(self.u32()?).map_err(|_| Garbled)?;
        if count.saturating_mul(bytes_min.max(1)) > self.rest.len() {
            return Err(Garbled);
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Garbled)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Garbled)?;
        self.rest = rest;
        Ok(taken)
    }
}
