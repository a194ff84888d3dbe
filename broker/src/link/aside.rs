//! What stands before the packet of a message in a batch: its path, and what nodes of one cluster tell each other of it.

use super::origin::Origin;
use crate::clock::Stamp;

/// What one node tells another about a message, besides the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aside<'a> {
    /// It is the retained message of its topic from this moment on.
    pub stamp: Option<Stamp>,
    /// Numbers of the receiver's shared subscriptions of which one member gets it.
    pub shares: &'a [u32],
    /// Nobody else gets it there.
    pub shares_only: bool,
    /// It came from another cluster, from here.
    pub origin: Option<&'a Origin>,
}

/// The same as it stands in a batch, but for the origin, which is a record of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsideBytes<'a> {
    /// The stamp.
    pub stamp: Option<Stamp>,
    /// The numbers, 4 bytes each.
    pub shares: &'a [u8],
    /// Nobody else gets it.
    pub shares_only: bool,
}

/// Bit of a message's first byte: a path stands before the packet.
pub const PATH: u8 = 0x01;
/// Bit: a stamp does.
pub const STAMP: u8 = 0x02;
/// Bit: numbers of shared subscriptions do.
pub const SHARES: u8 = 0x04;
/// Bit: the message is for members of these alone.
pub const SHARES_ONLY: u8 = 0x08;

// === impl Aside ===

impl Aside<'_> {
    /// The bits that say what there is.
    #[inline]
    pub(super) fn bits(&self) -> u8 {
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        bit(self.stamp.is_some(), STAMP) | bit(!self.shares.is_empty(), SHARES) | bit(self.shares_only, SHARES_ONLY)
    }

    /// Bytes that it takes in a batch.
    #[inline]
    pub(super) fn encoded_len(&self) -> usize {
        let stamp = if self.stamp.is_some() { 16 } else { 0 };
        // Without shares their number takes no bytes either, but at most they are these.
        stamp + 4 + 4 * self.shares.len()
    }

    /// Appends it to a batch.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        if let Some(stamp) = self.stamp {
            out.extend_from_slice(&stamp.time.to_be_bytes());
            out.extend_from_slice(&stamp.node.to_be_bytes());
        }
        if !self.shares.is_empty() {
            let count = u32::try_from(self.shares.len()).expect("a message with its shares is no longer than a packet");
            out.extend_from_slice(&count.to_be_bytes());
            self.shares.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        }
    }
}

// === impl AsideBytes ===

impl<'a> AsideBytes<'a> {
    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.stamp.is_none() && self.shares.is_empty() && !self.shares_only
    }

    /// The aside, its numbers put into `scratch`.
    pub fn decode(&self, scratch: &'a mut Vec<u32>) -> Aside<'a> {
        scratch.clear();
        let (numbers, _) = self.shares.as_chunks::<4>();
        scratch.extend(numbers.iter().map(|number| u32::from_be_bytes(*number)));
        Aside { stamp: self.stamp, shares: scratch, shares_only: self.shares_only, origin: None }
    }
}
