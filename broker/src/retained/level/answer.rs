//! What a node answers to another that wants to become level with it: it keeps nothing in mind for that.

use super::super::difference::Entry;
use super::super::store::Retained;
use super::wire::{self, Ask, Piece};
use crate::clock::Millis;
use crate::codec::Version;

/// The answer to a request.
pub fn answer(id: u64, ask: &Ask, retained: &Retained, now: Millis) -> Vec<u8> {
    match ask {
        Ask::Buckets => wire::buckets(id, &retained.buckets()),
        Ask::Cells { bucket } => {
            let sums = retained.read().cells(usize::from(*bucket));
            wire::cells(id, *bucket, sums.as_ref())
        }
        Ask::Difference(wanted) => {
            let found = retained.read().difference(wanted, wire::page_room(), wire::size_of, now);
            wire::difference(id, wanted, found.next, &found.items, now)
        }
        Ask::Piece { entry, offset } => piece(id, *entry, *offset, retained, now),
    }
}

fn piece(id: u64, entry: Entry, offset: u32, retained: &Retained, now: Millis) -> Vec<u8> {
    let message = retained.read().message_of(entry, now);
    let mut piece = Piece { entry, offset, total: 0, version: Version::V5, left: Millis::NEVER, bytes: &[] };
    if let Some(message) = &message {
        let behind = message.frame().get(offset as usize..).unwrap_or_default();
        piece.total = wire::len_of(message.frame());
        piece.version = message.layout().version();
        piece.left = message.expires_at().map_or(Millis::NEVER, |at| at.since(now));
        piece.bytes = &behind[..behind.len().min(wire::PIECE_BYTES)];
    }
    wire::piece(id, &piece)
}
