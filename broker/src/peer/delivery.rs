//! A message with what a session makes of it, as bytes that travel between nodes.

use std::sync::Arc;

use crate::clock::Millis;
use crate::codec::{Qos, Version, publish};
use crate::message::{Delivery, Message};
use crate::topic;

use super::wire::{Garbled, Reader, Writer};

const RETAIN: u8 = 0x04;
const V5: u8 = 0x08;
/// The number of a shared subscription follows.
const GROUP: u8 = 0x10;
/// Written where a message does not expire.
const NEVER: u64 = u64::MAX;

/// Appends a delivery; its expiry travels as the time that is left.
pub fn write(out: &mut Writer, delivery: &Delivery, now: Millis) {
    let Delivery { message, subscription_ids, qos, retain, group } = delivery;
    let version = if message.layout().version() == Version::V5 { V5 } else { 0 };
    let shared = if *group == 0 { 0 } else { GROUP };
    out.u8(*qos as u8 | if *retain { RETAIN } else { 0 } | version | shared);
    out.u64(message.expires_at().map_or(NEVER, |at| at.since(now).0));
    if *group != 0 {
        out.u32(*group);
    }
    let ids = subscription_ids.as_deref().unwrap_or_default();
    out.count(ids.len());
    ids.iter().for_each(|id| out.u32(*id));
    out.block(message.frame());
}

/// Bytes that [`write`] appends.
pub fn len(delivery: &Delivery) -> usize {
    let group = if delivery.group == 0 { 0 } else { 4 };
    1 + 8
        + group
        + 4
        + 4 * delivery.subscription_ids.as_ref().map_or(0, |ids| ids.len())
        + 4
        + delivery.message.frame().len()
}

/// Reads a delivery, and checks its packet as if a client had sent it.
///
/// # Errors
/// It is none.
pub fn read(reader: &mut Reader<'_>, now: Millis) -> Result<Delivery, Garbled> {
    let flags = reader.u8()?;
    if flags & !(0x03 | RETAIN | V5 | GROUP) != 0 {
        return Err(Garbled);
    }
    let qos = Qos::from_u8(flags & 0x03).ok_or(Garbled)?;
    let left = reader.u64()?;
    let group = if flags & GROUP == 0 { 0 } else { reader.u32()? };
    let ids = reader.list(4, Reader::u32)?;
    let frame = reader.block()?;
    let version = if flags & V5 == 0 { Version::V4 } else { Version::V5 };
    let layout = publish::layout(frame, version).map_err(|_| Garbled)?;
    if layout.alias() != 0 || topic::check_name(layout.topic(frame), u16::MAX).is_err() {
        return Err(Garbled);
    }
    let expires_at = (left != NEVER).then(|| now + Millis(left));
    Ok(Delivery {
        message: Arc::new(Message::new(frame, layout, expires_at)),
        subscription_ids: (!ids.is_empty()).then(|| ids.into()),
        qos,
        retain: flags & RETAIN != 0,
        group,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_read_as_it_was_written_with_the_group_by_which_it_came() {
        for (group, ids) in [(0, None), (7, None), (u32::MAX, Some([3, 4].into()))] {
            let message = Arc::new(crate::message::tests::message("a/b", b"payload"));
            let delivery = Delivery { message, subscription_ids: ids, qos: Qos::AtLeastOnce, retain: true, group };
            let mut out = Writer::default();
            write(&mut out, &delivery, Millis(5));
            assert_eq!(out.bytes.len(), len(&delivery));
            let mut reader = Reader::new(&out.bytes);
            let read = read(&mut reader, Millis(5)).unwrap();
            assert!(reader.end().is_ok());
            assert_eq!((read.group, read.qos, read.retain), (group, Qos::AtLeastOnce, true));
            assert_eq!(read.subscription_ids, delivery.subscription_ids);
            assert_eq!(read.message.frame(), delivery.message.frame());
        }
    }
}
