//! What is known of one node of the other side, and must outlive connections: lanes, marks, interest.

use std::sync::Arc;

use super::batch::{LANE_INTEREST, LANE_LOSSY, LANE_MESSAGES};
use super::interest_in::InterestIn;
use super::lane_in::LaneIn;
use super::marks::Marks;

/// One node of the other side.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub node: Arc<str>,
    /// Its life, as it last said.
    pub incarnation: u64,
    /// What it wants.
    pub interest: InterestIn,
    /// By which versions its lane of messages is routed.
    pub marks: Marks,
    lanes: [LaneIn; 3],
}

// === impl Source ===

impl Source {
    /// A node of which nothing is known.
    pub fn new(node: Arc<str>) -> Self {
        Self {
            node,
            incarnation: 0,
            interest: InterestIn::default(),
            marks: Marks::default(),
            lanes: Default::default(),
        }
    }

    /// The node says which lanes it has. Of a lane that lives anew nothing was taken, and no mark holds.
    pub fn greet(&mut self, incarnation: u64, lanes: &[(u8, u64)]) {
        self.incarnation = incarnation;
        for (number, epoch) in lanes {
            let Some(lane) = self.lanes.get_mut(usize::from(*number)) else { continue };
            if lane.is_renewed(*epoch) && *number == LANE_MESSAGES {
                self.marks.clear();
            }
        }
    }

    /// What was taken of its lanes and is durable: number, life, place.
    pub fn taken(&self) -> Vec<(u8, u64, u64)> {
        let lanes = [LANE_MESSAGES, LANE_INTEREST, LANE_LOSSY].into_iter().zip(&self.lanes);
        lanes.map(|(number, lane)| (number, lane.epoch(), lane.durable())).collect()
    }

    /// One of its lanes, if there is one of that number.
    pub fn lane(&mut self, number: u8) -> Option<&mut LaneIn> {
        self.lanes.get_mut(usize::from(number))
    }
}
