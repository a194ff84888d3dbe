//! Marks of several shards in several lanes: all lanes of a node say the same of each message.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::codec::{Qos, Version};
use crate::link::Aside;
use crate::link::batch::Head;
use crate::link::lane_out::LaneOut;
use crate::link::marks::{Mark, Marks, Version as Interest};
use crate::link::outlet::Forward;
use crate::link::record::{Record, Records};
use crate::link::spool::MemorySpool;

use super::{local, packet};

const NOW: Duration = Duration::from_secs(1);
const SHARDS: u8 = 3;

fn mark(node: u8, number: u64) -> Mark {
    Mark { cluster: "x".into(), node: node.to_string().into(), version: Interest { epoch: 1, number } }
}

/// What a shard puts into its queue towards each lane.
#[derive(Clone, Debug)]
enum Put {
    Message(String),
    Mark(Mark),
}

/// A lane at the end of a queue from each shard.
struct Lane {
    queues: [Vec<Put>; SHARDS as usize],
    out: LaneOut<MemorySpool>,
}

impl Lane {
    fn new() -> Self {
        let mut out = LaneOut::new(0, MemorySpool::default());
        out.set_bound(1600);
        out.begin(0, |_| {});
        Self { queues: Default::default(), out }
    }

    /// The oldest thing of a shard arrives.
    fn arrive(&mut self, shard: u8) {
        let queue = &mut self.queues[usize::from(shard)];
        if queue.is_empty() {
            return;
        }
        match queue.remove(0) {
            Put::Mark(mark) => self.out.mark(shard, &mark),
            Put::Message(name) => {
                let packet = packet(Version::V5, Qos::AtLeastOnce, &name, &[], b"");
                let forward = Forward { shard, aside: Aside::default(), ..local(&packet) };
                self.out.message(&forward, Qos::AtLeastOnce, NOW);
            }
        }
    }

    /// What its receiver makes of all that was sent: for each message the marks of its shard that stand before it.
    fn read(&mut self, marks: &mut Marks, messages: &mut BTreeMap<String, Vec<(u8, Mark)>>) {
        self.out.seal(NOW);
        self.out.made_durable(self.out.sealed());
        while let Some(sending) = self.out.send(NOW) {
            let (_, records) = Head::read(sending.payload).expect("lanes send batches");
            let mut records = Records::new(records);
            let mut shard = 0;
            while let Some(record) = records.next() {
                match record.expect("lanes send records") {
                    Record::Shard(routed_by) => shard = routed_by,
                    Record::Mark(mark) => marks.put(shard, &mark),
                    Record::Message { frame, layout, .. } => {
                        let topic = String::from_utf8_lossy(layout.topic(frame)).into_owned();
                        let before = marks.iter().filter(|(by, _)| *by == shard).collect();
                        assert_eq!(messages.insert(topic, before), None, "each message comes once");
                    }
                    other => panic!("{other:?} was not put in"),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Each shard routes messages and marks versions in one order; the two lanes of the node take from the shards as they
    /// come, seal and send when they like, and lose messages of full spools. Both receivers say of each message that they
    /// get behind which marks of its shard it stands.
    #[test]
    fn two_lanes_agree_behind_which_marks_each_message_stands(
        steps in prop::collection::vec((0..SHARDS, 0_u8..12, 0_usize..2), 1..150),
    ) {
        let mut lanes = [Lane::new(), Lane::new()];
        let mut read: [(Marks, BTreeMap<_, _>); 2] = Default::default();
        let mut versions = [[0; 2]; SHARDS as usize];
        for (step, (shard, action, one)) in steps.iter().enumerate() {
            let put = match action {
                0..4 => Some(Put::Message(format!("{shard}/{step}"))),
                4..6 => {
                    // Shards come to a version in any order, each in its own.
                    let version = &mut versions[usize::from(*shard)][*one];
                    *version += 1;
                    Some(Put::Mark(mark(*one as u8, *version)))
                }
                6..12 => None,
                _ => unreachable!("actions are below 12"),
            };
            match (put, action) {
                (Some(put), _) => lanes.iter_mut().for_each(|lane| lane.queues[usize::from(*shard)].push(put.clone())),
                (None, 6..10) => lanes[*one].arrive(*shard),
                (None, 10) => lanes[*one].read(&mut read[*one].0, &mut read[*one].1),
                (None, _) => drop(lanes[*one].out.drop_oldest(NOW)),
            }
        }
        for (lane, (marks, messages)) in lanes.iter_mut().zip(&mut read) {
            (0..SHARDS).for_each(|shard| while !lane.queues[usize::from(shard)].is_empty() { lane.arrive(shard) });
            lane.read(marks, messages);
        }
        let [(_, first), (_, second)] = &read;
        for (message, marks) in first {
            if let Some(others) = second.get(message) {
                prop_assert_eq!(marks, others, "{}", message);
            }
        }
    }
}
