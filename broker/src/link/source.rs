//! What is known of one node of the other side, and must outlive connections: lanes, marks, interest.

use std::sync::Arc;

use super::batch::{LANE_INTEREST, LANE_LOSSY, LANE_MESSAGES};
use super::interest_in::InterestIn;
use super::lane_in::LaneIn;
use super::marks::{Marks, Version};

/// One node of the other side.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub node: Arc<str>,
    /// Its life, as it last said.
    pub incarnation: u64,
    /// Its shards: a version is marked in its lane when all of them have marked it.
    pub shards: u8,
    /// What it wants.
    pub interest: InterestIn,
    /// The version of it that was announced last: durable, and routed by.
    pub announced: Version,
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
            shards: 1,
            interest: InterestIn::default(),
            announced: Version::default(),
            marks: Marks::default(),
            lanes: Default::default(),
        }
    }

    /// The node says how many shards and which lanes it has. Of a lane that lives anew nothing was taken, and no mark
    /// holds.
    pub fn greet(&mut self, incarnation: u64, shards: u8, lanes: &[(u8, u64)]) {
        self.incarnation = incarnation;
        self.shards = shards;
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
