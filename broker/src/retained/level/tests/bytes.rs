//! Payloads: what is written is read again, and nothing that is read makes a node panic.

use super::super::super::difference::{Entry, Item, ItemState, Wanted};
use super::super::wire::{self, Answer, Ask, Payload, Piece, Record};
use super::world::{PLENTY, World, message};
use crate::clock::{Millis, Stamp};
use crate::codec::Version;
use proptest::prelude::*;

fn entry() -> impl Strategy<Value = Entry> {
    (any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(hash, time, node)| Entry { hash, stamp: Stamp { time, node } })
}

fn ask() -> impl Strategy<Value = Ask> {
    let wanted = (any::<(u64, u64)>(), any::<bool>(), entry(), any::<u32>(), prop::collection::vec(entry(), 0..20));
    prop_oneof![
        Just(Ask::Buckets),
        any::<u8>().prop_map(|bucket| Ask::Cells { bucket }),
        (entry(), any::<u32>()).prop_map(|(entry, offset)| Ask::Piece { entry, offset }),
        wanted.prop_map(|((one, other), known_only, oldest, age_min, mut entries)| {
            entries.sort_unstable();
            Ask::Difference(Wanted {
                from: one.min(other),
                to: one.max(other),
                known_only,
                oldest_tombstone: oldest.stamp,
                age_min: Millis(u64::from(age_min)),
                entries,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(id in any::<u64>(), ask in ask()) {
        let payload = wire::ask(id, &ask);
        prop_assert_eq!(Payload::decode(&payload), Ok(Payload::Ask(id, ask)));
    }

    #[test]
    fn nothing_that_comes_makes_a_node_panic_or_hold_what_is_no_message(
        mut payload in prop::collection::vec(any::<u8>(), 0..400),
        kind in 0_u8..12,
        id in 0_u64..3,
    ) {
        let mut world = World::new(1, &[PLENTY; 2]);
        world.publish(0, "a", b"1", None, 100);
        world.run(Millis(1_001));
        if payload.len() > 10 {
            payload[..2].copy_from_slice(&[wire::PREFIX, kind]);
            payload[2..10].copy_from_slice(&id.to_be_bytes());
        }
        for node in 0..2 {
            world.deliver(1 - node, node, &payload);
        }
        prop_assert!(world.content(0).contains_key("a"));
    }
}

#[test]
fn a_page_is_read_as_it_was_written() {
    let stamp = Stamp { time: 7, node: 8 };
    let entry = |hash| Entry { hash, stamp };
    let small = message("a/b", b"payload", Some(Millis(5_000)));
    let large = message("large", &vec![0; wire::PAGE_BYTES], None);
    let items = [
        Item { entry: entry(1), topic: "a/b".into(), state: ItemState::Message(small.clone()) },
        Item { entry: entry(2), topic: "gone".into(), state: ItemState::Gone { left: Millis(9) } },
        Item { entry: entry(3), topic: "large".into(), state: ItemState::Message(large.clone()) },
    ];
    let wanted = Wanted {
        from: 1,
        to: 9,
        known_only: false,
        oldest_tombstone: Stamp::default(),
        age_min: Millis(0),
        entries: Vec::new(),
    };
    let page = wire::difference(5, &wanted, Some(4), &items, Millis(2_000));
    let Ok(Payload::Answer(5, Answer::Difference { from: 1, to: 9, next: Some(4), mut records })) =
        Payload::decode(&page)
    else {
        panic!("another payload");
    };
    let frame = small.frame();
    let expected = [
        Record::Message { stamp, left: Millis(3_000), version: Version::V5, frame },
        Record::Gone { stamp, left: Millis(9), topic: "gone" },
        Record::Large { entry: entry(3), total: large.frame().len() as u32 },
    ];
    for record in expected {
        assert_eq!(records.next(), Some(Ok(record)));
    }
    assert_eq!(records.next(), None);
    let sizes: usize = items.iter().map(wire::size_of).sum();
    assert!(page.len() <= wire::PAGE_BYTES - wire::page_room() + sizes);
}

#[test]
fn sums_and_pieces_are_read_as_they_were_written() {
    let sums: [u64; 256] = std::array::from_fn(|i| i as u64 * 3);
    assert_eq!(Payload::decode(&wire::buckets(1, &sums)), Ok(Payload::Answer(1, Answer::Buckets(sums.to_vec()))));
    for sums in [None, Some(&sums)] {
        assert_eq!(
            Payload::decode(&wire::cells(2, 9, sums)),
            Ok(Payload::Answer(2, Answer::Cells { bucket: 9, sums: sums.map(|sums| sums.to_vec()) }))
        );
    }
    let piece = Piece {
        entry: Entry { hash: 1, stamp: Stamp { time: 2, node: 3 } },
        offset: 4,
        total: 5,
        version: Version::V4,
        left: Millis::NEVER,
        bytes: b"6",
    };
    assert_eq!(Payload::decode(&wire::piece(3, &piece)), Ok(Payload::Answer(3, Answer::Piece(piece))));
}
