//! The two ends of a lane: order, resends, gaps, marks.

use std::time::Duration;

use crate::codec::{Qos, Version};
use crate::link::batch::{HEAD, Head};
use crate::link::lane_in::{LaneIn, Offer};
use crate::link::lane_out::LaneOut;
use crate::link::marks::{Mark, Version as Interest};
use crate::link::record::{Record, Records};
use crate::link::spool::MemorySpool;

use super::{Forward, local, packet};

const NOW: Duration = Duration::from_secs(1);

struct Lane {
    out: LaneOut<MemorySpool>,
    acknowledged: u32,
}

impl Lane {
    fn new() -> Self {
        Self { out: LaneOut::new(0, MemorySpool::default()), acknowledged: 0 }
    }

    /// A batch of its own with this message.
    fn put(&mut self, name: &str) {
        let packet = packet(Version::V5, Qos::AtLeastOnce, name, &[], b"");
        self.out.message(&local(&packet), Qos::AtLeastOnce, NOW);
        self.seal();
    }

    fn seal(&mut self) {
        self.out.seal(NOW);
        self.out.made_durable(self.out.sealed());
    }

    fn mark(&mut self, cluster: &str, number: u64) {
        self.out.mark(0, &mark(cluster, number));
    }

    fn begin(&mut self, taken: u64) {
        let acknowledged = &mut self.acknowledged;
        self.out.begin(taken, |messages| *acknowledged += messages);
    }

    fn acknowledge(&mut self, place: u64) {
        let acknowledged = &mut self.acknowledged;
        self.out.acknowledge(place, true, |messages| *acknowledged += messages);
    }

    /// All that is sent now: place, previous place, content.
    fn sent(&mut self) -> Vec<(u64, u64, String)> {
        let mut all = Vec::new();
        while let Some(sending) = self.out.send(NOW) {
            let (head, records) = Head::read(sending.payload).expect("lanes send batches");
            assert_eq!(head.sequence, sending.sequence);
            all.push((head.sequence, head.previous, content(records, head.records)));
        }
        all
    }
}

fn mark(cluster: &str, number: u64) -> Mark {
    Mark { cluster: cluster.into(), node: "n".into(), version: Interest { epoch: 1, number } }
}

fn content(records: &[u8], count: u16) -> String {
    let mut reader = Records::new(records);
    let mut names = Vec::new();
    while let Some(record) = reader.next() {
        names.push(match record.expect("lanes send records") {
            Record::Message { frame, layout, .. } => String::from_utf8_lossy(layout.topic(frame)).into_owned(),
            Record::Mark(mark) => format!("{}={}", mark.cluster, mark.version.number),
            Record::Shard(shard) => format!("@{shard}"),
            other => panic!("{other:?} was not put in"),
        });
    }
    assert_eq!(names.len(), usize::from(count));
    names.join(" ")
}

fn batches(expected: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
    expected.iter().map(|(place, previous, content)| (*place, *previous, (*content).to_owned())).collect()
}

#[test]
fn a_new_connection_begins_at_the_first_batch_that_was_not_taken() {
    let mut lane = Lane::new();
    lane.begin(0);
    ["a", "b", "c", "d"].iter().for_each(|name| lane.put(name));
    assert_eq!(lane.sent(), batches(&[(1, 0, "a"), (2, 1, "b"), (3, 2, "c"), (4, 3, "d")]));
    lane.acknowledge(1);
    lane.out.pause();
    lane.put("e");
    // The other side took b as well; its acknowledgement was lost.
    lane.begin(2);
    assert_eq!(lane.acknowledged, 2);
    assert_eq!(lane.sent(), batches(&[(3, 2, "c"), (4, 3, "d"), (5, 4, "e")]));
    lane.acknowledge(5);
    assert!(lane.out.is_settled());
    assert_eq!((lane.acknowledged, lane.out.bytes(), lane.out.messages()), (5, 0, 0));
}

#[test]
fn what_was_dropped_is_an_explicit_gap_that_the_other_side_takes() {
    let mut lane = Lane::new();
    ["a", "b", "c", "d"].iter().for_each(|name| lane.put(name));
    lane.begin(0);
    assert_eq!(lane.out.send(NOW).map(|sending| sending.sequence), Some(1));
    // What is on its way stays.
    assert_eq!(lane.out.drop_oldest(NOW), Some(1));
    assert_eq!(lane.sent(), batches(&[(3, 1, "c"), (4, 3, "d")]));
    let mut receiver = LaneIn::default();
    receiver.is_renewed(1);
    for (previous, place) in [(0, 1), (1, 3), (3, 4)] {
        assert_eq!(receiver.offer(previous, place), Offer::Take);
        receiver.take(place);
    }
}

#[test]
fn the_open_batch_can_be_dropped_too_and_nothing_that_is_under_way() {
    let mut lane = Lane::new();
    let packet = packet(Version::V5, Qos::AtLeastOnce, "open", &[], b"");
    lane.out.message(&local(&packet), Qos::AtLeastOnce, NOW);
    assert_eq!(lane.out.drop_oldest(NOW), Some(1));
    assert_eq!(lane.out.drop_oldest(NOW), None);
    lane.put("sent");
    lane.begin(0);
    assert_eq!(lane.sent().len(), 1);
    assert_eq!(lane.out.drop_oldest(NOW), None, "what is on its way may have been taken");
    lane.out.pause();
    assert_eq!(lane.out.drop_oldest(NOW), Some(1), "without a connection it may be given up");
}

#[test]
fn marks_outlive_the_messages_between_them_and_stay_few() {
    let mut lane = Lane::new();
    for number in 1..=50 {
        lane.mark("x", number * 2);
        lane.mark("y", number * 10);
        lane.put("m");
        lane.mark("x", number * 2 + 1);
    }
    while lane.out.drop_oldest(NOW).is_some() {}
    lane.begin(0);
    lane.seal();
    assert_eq!(lane.sent(), batches(&[(50, 0, "x=100 y=500"), (51, 50, "x=101")]));
}

#[test]
fn a_mark_stands_before_the_first_message_that_it_is_true_of() {
    let mut lane = Lane::new();
    let message = |lane: &mut Lane, name: &str| {
        let packet = packet(Version::V5, Qos::AtLeastOnce, name, &[], b"");
        lane.out.message(&local(&packet), Qos::AtLeastOnce, NOW);
    };
    message(&mut lane, "before");
    lane.mark("x", 1);
    lane.mark("x", 2);
    message(&mut lane, "after");
    lane.mark("x", 3);
    lane.seal();
    lane.begin(0);
    assert_eq!(lane.sent(), batches(&[(1, 0, "before x=2 after x=3")]));
}

#[test]
fn a_receiver_that_forgot_is_told_all_marks_again_and_nothing_it_acknowledged() {
    let mut lane = Lane::new();
    lane.mark("x", 7);
    lane.put("a");
    lane.put("b");
    lane.begin(0);
    lane.sent();
    lane.acknowledge(1);
    lane.out.pause();
    lane.begin(0);
    lane.seal();
    assert_eq!(lane.sent(), batches(&[(2, 0, "b"), (3, 2, "x=7")]));
}

#[test]
fn each_batch_begins_with_shard_0_and_says_where_another_one_routed() {
    let mut lane = Lane::new();
    lane.begin(0);
    let message = |lane: &mut Lane, name: &str, shard: u8| {
        let packet = packet(Version::V5, Qos::AtLeastOnce, name, &[], b"");
        lane.out.message(&Forward { shard, ..local(&packet) }, Qos::AtLeastOnce, NOW);
    };
    message(&mut lane, "a", 0);
    message(&mut lane, "b", 2);
    message(&mut lane, "c", 2);
    lane.out.mark(1, &mark("x", 1));
    message(&mut lane, "d", 0);
    lane.seal();
    message(&mut lane, "e", 2);
    lane.seal();
    assert_eq!(lane.sent(), batches(&[(1, 0, "a @2 b c @1 x=1 @0 d"), (2, 1, "@2 e")]));
}

#[test]
fn marks_of_all_shards_outlive_messages_and_come_again_to_a_receiver_that_forgot() {
    let mut lane = Lane::new();
    for (shard, number) in [(0, 1), (2, 1), (0, 2), (1, 1)] {
        lane.out.mark(shard, &mark("x", number));
        lane.put("m");
    }
    while lane.out.drop_oldest(NOW).is_some() {}
    lane.begin(0);
    assert_eq!(lane.sent(), batches(&[(4, 0, "@1 x=1 @0 x=2 @2 x=1")]));
    lane.acknowledge(4);
    lane.out.mark(1, &mark("x", 1));
    assert!(lane.out.is_settled(), "a mark that stands in the lane is nothing new");
    lane.out.pause();
    lane.begin(3);
    lane.seal();
    assert_eq!(lane.sent(), batches(&[(5, 3, "x=2 @1 x=1 @2 x=1")]));
}

#[test]
fn only_what_is_durable_is_sent() {
    let mut lane = Lane::new();
    lane.begin(0);
    let packet = packet(Version::V5, Qos::AtLeastOnce, "m", &[], b"");
    lane.out.message(&local(&packet), Qos::AtLeastOnce, NOW);
    lane.out.seal(NOW);
    assert!(lane.out.is_behind() && lane.sent().is_empty());
    lane.out.made_durable(1);
    assert_eq!(lane.sent().len(), 1);
}

#[test]
fn batches_stay_within_their_size() {
    let mut lane = Lane::new();
    let packet = packet(Version::V5, Qos::AtLeastOnce, "m", &[], &[0; 10_000]);
    for _ in 0..100 {
        lane.out.message(&local(&packet), Qos::AtLeastOnce, NOW);
    }
    lane.seal();
    lane.begin(0);
    let mut sizes = Vec::new();
    while let Some(sending) = lane.out.send(NOW) {
        sizes.push(sending.payload.len());
    }
    assert!(sizes.len() == 17 && sizes.iter().all(|size| *size > HEAD && *size <= 65_536), "{sizes:?}");
}
