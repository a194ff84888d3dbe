//! Tests of the parts of a link, and of two links that speak to each other without a network between them.

mod bytes;
mod costs;
mod handshake;
mod interest;
mod lanes;
mod marks;
mod messages;
mod pair;
mod peers;
mod policies;

use crate::codec::{Qos, Version, publish};
use crate::router::Path;
use crate::topic::Filter;

use super::{Aside, Forward};

/// A filter from its text.
fn filter(text: &str) -> Filter {
    Filter::parse(text, 128).expect("the filters of the tests are filters")
}

/// A PUBLISH packet.
fn packet(version: Version, qos: Qos, topic: &str, properties: &[u8], payload: &[u8]) -> (Vec<u8>, publish::Layout) {
    let mut frame = Vec::new();
    let parts = publish::Parts {
        version,
        qos,
        retain: false,
        dup: qos != Qos::AtMostOnce,
        packet_id: 99,
        topic: topic.as_bytes(),
        properties,
        subscription_ids: &[],
        payload,
    };
    let layout = publish::encode(&mut frame, &parts);
    (frame, layout)
}

/// A message published here.
fn local(packet: &(Vec<u8>, publish::Layout)) -> Forward<'_> {
    let (frame, layout) = (&*packet.0, packet.1);
    Forward { frame, layout, qos: layout.qos(), path: Path::EMPTY, shard: 0, aside: Aside::default() }
}
