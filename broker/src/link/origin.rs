//! Where a message came into this cluster from: its place in the lane of a remote's node. Every node of the cluster takes
//! each place once, whichever of the nodes that lane comes to, and comes to next.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::bound;

/// A lane of messages of another cluster's node.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LaneId {
    /// Id of the cluster.
    pub cluster: Arc<str>,
    /// The node.
    pub node: Arc<str>,
    /// The life of the lane, with [`LOSSY`] if it is that of messages of QoS 0.
    pub life: u64,
}

/// The lanes of a link live equally long; this bit, which no life has, tells that of QoS 0 apart.
pub const LOSSY: u64 = 1 << 63;

/// A message's place in such a lane: the batch, and the message's number in it. It is the same whenever the batch is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The place of the batch.
    pub batch: u64,
    /// Counts the batch's messages from 0.
    pub message: u32,
}

/// Where a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The lane.
    pub lane: Arc<LaneId>,
    /// The batch from which on the node that took the message took all of the lane, without a gap; 0 with QoS 0, where what
    /// has not come before something later does not come any more.
    pub from: u64,
    /// Its place.
    pub place: Place,
}

/// What a node has had of one lane: from where to where, both included, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRuns {
    /// The lane.
    pub lane: Arc<LaneId>,
    /// The places.
    pub runs: Vec<(Place, Place)>,
}

/// Which messages of other clusters this node has had.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of the lane that something came of last, first.
    lanes: VecDeque<SeenLane>,
    /// For which groups a member was chosen, or was to be chosen here, oldest first.
    decided: VecDeque<Decision>,
    known: HashSet<Decision>,
}

/// A message, and the number of a group of which somebody gets it.
type Decision = (Arc<LaneId>, Place, u32);

#[derive(Debug)]
struct SeenLane {
    id: Arc<LaneId>,
    /// From where to where, both included; they do not touch, and ascend.
    runs: Vec<(Place, Place)>,
}

/// Lanes that are remembered: four lives of as many nodes as a remote may have, for each of some remotes.
const LANES_MAX: usize = 1024;

/// Runs of a lane that are remembered. There is one, and another one for each time that a lane went on at another node while
/// that node lacked something; of more, the two oldest are taken for one.
const RUNS_MAX: usize = 32;

/// Lanes that a session takes along when it moves, those of which something came last: as many as a remote may have nodes.
pub const LANES_ALONG_MAX: usize = 64;

/// Seeds the lots of groups, at every node and in every version alike.
const LOTS: u64 = 0x006c_6f74_7300_0001;

/// Decisions that are remembered: a window of batches, and more. What is older may go to a second member.
const DECIDED_MAX: usize = 65_536;

// === impl LaneId ===

impl LaneId {
    /// Whether it is that of QoS 0.
    pub fn is_lossy(&self) -> bool {
        self.life & LOSSY != 0
    }
}

// === impl Origin ===

impl Origin {
    /// A number for this message, a group and a node, the same at all nodes: by it they choose a member alike.
    pub fn lot(&self, group: u32, node: &str) -> u64 {
        let Self { lane, from: _, place } = self;
        let numbers = [lane.life, place.batch, u64::from(place.message) << 32 | u64::from(group)];
        let seeded = numbers.iter().fold(LOTS, |seed, number| mix(seed ^ number));
        lane.node.bytes().chain([0]).chain(node.bytes()).fold(seeded, |seed, byte| mix(seed ^ u64::from(byte)))
    }
}

/// Scatters the bits of a number over all of them: the finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

// === impl LaneRuns ===

impl LaneRuns {
    /// Whether this place was had.
    pub fn has(&self, lane: &LaneId, place: Place) -> bool {
        *self.lane == *lane && is_within(&self.runs, place)
    }

    /// What was had besides, of the same lane.
    pub fn add(&mut self, runs: &[(Place, Place)]) {
        self.runs.extend_from_slice(runs);
        self.runs.sort_unstable();
        self.runs.dedup();
        let beyond = self.runs.len().saturating_sub(RUNS_MAX);
        self.runs.drain(..beyond);
    }
}

fn is_within(runs: &[(Place, Place)], place: Place) -> bool {
    runs.iter().any(|(first, last)| (*first..=*last).contains(&place))
}

// === impl Seen ===

impl Seen {
    /// A message came; true if it did not come before.
    ///
    /// What came from the node that took it came in that node's order, and that one has taken all since `from`: so nothing
    /// between `from` and the message's place is still to come, but by others, as a repeat.
    pub fn take(&mut self, origin: &Origin) -> bool {
        let at = self.lanes.iter().position(|lane| Arc::ptr_eq(&lane.id, &origin.lane) || lane.id == origin.lane);
        match at {
            Some(0) => {}
            Some(at) => {
                if let Some(lane) = self.lanes.remove(at) {
                    self.lanes.push_front(lane);
                }
            }
            None => {
                self.lanes.truncate(bound::now(LANES_MAX) - 1);
                self.lanes.push_front(SeenLane { id: origin.lane.clone(), runs: Vec::new() });
            }
        }
        self.lanes.front_mut().is_some_and(|lane| lane.take(origin.from, origin.place))
    }

    /// What was had of the lanes of which something came last, without QoS 0.
    pub fn taken(&self) -> Vec<LaneRuns> {
        let kept = self.lanes.iter().filter(|lane| !lane.id.is_lossy()).take(bound::now(LANES_ALONG_MAX));
        kept.map(|lane| LaneRuns { lane: lane.id.clone(), runs: lane.runs.clone() }).collect()
    }

    /// Whether this place was had.
    pub fn has(&self, lane: &LaneId, place: Place) -> bool {
        self.lanes.iter().any(|known| *known.id == *lane && is_within(&known.runs, place))
    }

    /// A member of a group is to be chosen for a message; true if that was not done before. That the message itself came
    /// before says nothing of this: it may have come for others.
    pub fn decide(&mut self, origin: &Origin, group: u32) -> bool {
        let decision = (origin.lane.clone(), origin.place, group);
        let is_new = self.known.insert(decision.clone());
        if is_new {
            self.decided.push_back(decision);
            if self.decided.len() > bound::now(DECIDED_MAX)
                && let Some(oldest) = self.decided.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        is_new
    }
}

// === impl SeenLane ===

impl SeenLane {
    fn take(&mut self, from: u64, place: Place) -> bool {
        if is_within(&self.runs, place) {
            return false;
        }
        let mut run = (Place { batch: from, message: 0 }.min(place), place);
        // All that it meets becomes one with it.
        self.runs.retain(|(first, last)| {
            let meets = *first <= run.1 && *last >= run.0;
            if meets {
                run = (run.0.min(*first), run.1.max(*last));
            }
            !meets
        });
        let at = self.runs.partition_point(|other| *other < run);
        self.runs.insert(at, run);
        if self.runs.len() > RUNS_MAX {
            let oldest = self.runs.remove(0);
            self.runs[0].0 = oldest.0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane(life: u64) -> Arc<LaneId> {
        Arc::new(LaneId { cluster: "far".into(), node: "far-0".into(), life })
    }

    fn origin(lane: &Arc<LaneId>, from: u64, batch: u64, message: u32) -> Origin {
        Origin { lane: lane.clone(), from, place: Place { batch, message } }
    }

    #[test]
    fn what_came_by_one_node_is_a_repeat_when_it_comes_by_another() {
        let (mut seen, lane) = (Seen::default(), lane(1));
        assert!(seen.take(&origin(&lane, 1, 1, 0)) && seen.take(&origin(&lane, 1, 7, 2)));
        for (batch, message) in [(1, 0), (3, 9), (7, 0), (7, 2)] {
            assert!(!seen.take(&origin(&lane, 6, batch, message)), "{batch} {message}");
        }
        assert!(seen.take(&origin(&lane, 6, 7, 3)));
        assert!(!seen.take(&origin(&lane, 1, 7, 3)));
    }

    #[test]
    fn what_is_late_by_the_node_before_is_no_repeat() {
        let (mut seen, lane) = (Seen::default(), lane(1));
        assert!(seen.take(&origin(&lane, 1, 4, 0)));
        // The lane went on elsewhere, and what the node before took meanwhile waits in that one's outbox.
        assert!(seen.take(&origin(&lane, 9, 9, 0)) && seen.take(&origin(&lane, 9, 12, 0)));
        assert!(seen.take(&origin(&lane, 1, 8, 5)));
        assert!(!seen.take(&origin(&lane, 1, 9, 0)) && !seen.take(&origin(&lane, 1, 6, 0)));
        assert!(seen.take(&origin(&lane, 1, 12, 1)));
    }

    #[test]
    fn what_comes_behind_something_later_of_qos_0_is_not_taken() {
        let (mut seen, lane) = (Seen::default(), lane(1 | LOSSY));
        assert!(seen.take(&origin(&lane, 0, 3, 1)) && seen.take(&origin(&lane, 0, 9, 0)));
        assert!(!seen.take(&origin(&lane, 0, 3, 2)) && !seen.take(&origin(&lane, 0, 8, 0)));
        assert!(seen.take(&origin(&lane, 0, 9, 1)));
    }

    #[test]
    fn a_member_of_each_group_is_chosen_once_whatever_came_before() {
        let (mut seen, lane) = (Seen::default(), lane(1));
        assert!(seen.take(&origin(&lane, 1, 4, 0)) && !seen.take(&origin(&lane, 1, 3, 0)));
        assert!(seen.decide(&origin(&lane, 1, 3, 0), 7), "it came for others");
        assert!(!seen.decide(&origin(&lane, 2, 3, 0), 7) && seen.decide(&origin(&lane, 2, 3, 0), 8));
        for batch in 0..DECIDED_MAX as u64 {
            assert!(seen.decide(&origin(&lane, 1, 10 + batch, 0), 7));
        }
        assert_eq!((seen.decided.len(), seen.known.len()), (DECIDED_MAX, DECIDED_MAX));
    }

    #[test]
    fn another_life_of_the_lane_begins_anew_and_the_last_one_is_remembered() {
        let (mut seen, old, new) = (Seen::default(), lane(1), lane(2));
        assert!(seen.take(&origin(&old, 1, 5, 0)) && seen.take(&origin(&new, 1, 1, 0)));
        assert!(!seen.take(&origin(&lane(1), 1, 5, 0)) && seen.take(&origin(&old, 1, 6, 0)));
    }

    proptest! {
        /// Two nodes take a lane in turns, each in order; the second begins where the first has told the sender that all
        /// is well, and their messages mix in any way.
        #[test]
        fn each_message_is_new_once_however_two_lanes_mix(
            messages in 1_u64..40, from in 1_u64..40, until in 1_u64..40, mixing in prop::collection::vec(any::<bool>(), 80),
        ) {
            let (mut seen, lane) = (Seen::default(), lane(1));
            let (from, until) = (from.min(until + 1).min(messages), until.min(messages));
            let mut first = (1..=until).peekable();
            let mut second = (from..=messages).peekable();
            let mut taken = Vec::new();
            for second_is_next in mixing {
                let (next, from) = if second_is_next { (second.next(), from) } else { (first.next(), 1) };
                if let Some(batch) = next && seen.take(&origin(&lane, from, batch, 0)) {
                    taken.push(batch);
                }
            }
            for (rest, from) in [(&mut first, 1), (&mut second, from)] {
                taken.extend(rest.filter(|batch| seen.take(&origin(&lane, from, *batch, 0))));
            }
            taken.sort_unstable();
            prop_assert_eq!(taken, (1..=messages.max(until)).collect::<Vec<_>>());
        }
    }
}
