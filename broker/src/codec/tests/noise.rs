//! Noise: random bytes and damaged packets are refused or understood, and never a panic.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    super::{Version, frame, frame::Peek, publish, publish::Parts},
    decode_any, packets,
};

/// One change of a packet.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => any::<Index>().prop_map(Damage::Remove),
        1 => any::<Index>().prop_map(Damage::Cut),
    ]
}

fn damaged(mut frame: Vec<u8>, all: &[Damage], length_too: bool) -> Vec<u8> {
    for one in all {
        if frame.is_empty() {
            break;
        }
        match one {
            Damage::Flip(at, bits) => *at.get_mut(&mut frame) ^= bits,
            Damage::Insert(at, byte) => frame.insert(at.index(frame.len()), *byte),
            Damage::Remove(at) => drop(frame.remove(at.index(frame.len()))),
            Damage::Cut(at) => frame.truncate(at.index(frame.len())),
        }
    }
    // A frame of the right length gets further into a decoder than one that is cut.
    if !length_too && frame.len() > 2 && frame.len() < 130 {
        frame[1] = (frame.len() - 2) as u8;
    }
    frame
}

/// A valid packet with up to four changes.
pub fn damaged_packet() -> impl Strategy<Value = (Version, Vec<u8>)> {
    let packet = |version| (Just(version), packets::any_packet(version), vec(damage(), 1..4), any::<bool>());
    packets::version()
        .prop_flat_map(packet)
        .prop_map(|(version, frame, all, length_too)| (version, damaged(frame, &all, length_too)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn random_bytes_never_panic(version in packets::version(), bytes in vec(any::<u8>(), 0..80)) {
        let _ = decode_any(&bytes, version);
    }

    #[test]
    fn random_bodies_never_panic(version in packets::version(), first in any::<u8>(), body in vec(any::<u8>(), 0..80)) {
        let frame = [&[first, body.len() as u8], &body[..]].concat();
        let _ = decode_any(&frame, version);
    }

    #[test]
    fn damaged_packets_never_panic((version, frame) in damaged_packet()) {
        let _ = decode_any(&frame, version);
        let _ = publish::layout(&frame, version);
    }

    #[test]
    fn a_publish_that_is_accepted_is_written_again_with_the_same_meaning((version, frame) in damaged_packet()) {
        if let Ok(layout) = publish::layout(&frame, version) {
            let parts = Parts {
                version,
                qos: layout.qos(),
                retain: layout.retain(),
                dup: layout.dup(),
                packet_id: layout.packet_id(&frame),
                topic: layout.topic(&frame),
                properties: layout.properties(&frame),
                subscription_ids: &[],
                payload: layout.payload(&frame),
            };
            let mut again = Vec::new();
            let second = publish::encode(&mut again, &parts);
            prop_assert_eq!(publish::layout(&again, version), Ok(second));
            prop_assert_eq!(second.payload(&again), layout.payload(&frame));
            prop_assert_eq!(second.expiry(&again), layout.expiry(&frame));
            prop_assert_eq!(second.alias(), layout.alias());
            // Only 3.1.1 may write the length in more bytes than needed.
            prop_assert!(again == frame || (version == Version::V4 && again.len() < frame.len()));
        }
    }

    #[test]
    fn a_packet_in_pieces_is_partial_until_its_length_is_known(
        (version, frame) in packets::version().prop_flat_map(|version| (Just(version), packets::any_packet(version))),
        at in any::<Index>(),
    ) {
        let piece = &frame[..at.index(frame.len())];
        match frame::peek(piece, frame::LARGEST) {
            Ok(Peek::Partial) => prop_assert!(piece.len() < 5),
            Ok(Peek::Frame { total, header }) => prop_assert!(total == frame.len() && piece.len() >= header),
            Err(error) => prop_assert!(false, "{} for {:?}", error, version),
        }
    }
}
