//! What is known of one node of the other side, and must outlive connections: lanes, marks, interest.

use std::sync::Arc;

use super::Now;
use super::batch::{LANE_INTEREST, LANE_LOSSY, LANE_MESSAGES};
use super::interest_in::InterestIn;
use super::lane_in::LaneIn;
use super::marks::{Marks, Version};
use super::origin::{LOSSY, LaneId};

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
    /// The version of it that was announced last, durable and routed by, and its digest.
    pub announced: (Version, u64),
    /// By which versions its lane of messages is routed.
    pub marks: Marks,
    /// Since when it has had no connection, as far as ticks have seen it.
    pub lost: Option<Now>,
    /// Its lanes as other nodes of this cluster know them, that of messages and that of QoS 0, and of a peer those of another
    /// cluster of which it passed something on last.
    origins: [Option<Arc<LaneId>>; 2],
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
            announced: Default::default(),
            marks: Marks::default(),
            lost: None,
            origins: Default::default(),
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

    /// The version of what it wants that this node routes by, come what may, and its digest.
    pub fn held(&self) -> (Version, u64) {
        let (version, digest) = self.announced;
        // As it is, not as it was: what has gone wrong since is to be seen.
        (version, if self.interest.version() == version { self.interest.digest() } else { digest })
    }

    /// What was taken of its lanes and is durable: number, life, place.
    pub fn taken(&self) -> Vec<(u8, u64, u64)> {
        let lanes = [LANE_MESSAGES, LANE_INTEREST, LANE_LOSSY].into_iter().zip(&self.lanes);
        lanes.map(|(number, lane)| (number, lane.epoch(), lane.durable())).collect()
    }

    /// The lane of this cluster's node in this life, by a name that is made once.
    pub fn origin(&mut self, cluster: &str, node: &str, life: u64) -> Arc<LaneId> {
        let is = |id: &&Arc<LaneId>| id.life == life && *id.node == *node && *id.cluster == *cluster;
        let origin = &mut self.origins[usize::from(life & LOSSY != 0)];
        match origin.as_ref().filter(is) {
            Some(id) => id.clone(),
            None => origin.insert(Arc::new(LaneId { cluster: cluster.into(), node: node.into(), life })).clone(),
        }
    }

    /// One of its lanes, if there is one of that number.
    pub fn lane(&mut self, number: u8) -> Option<&mut LaneIn> {
        self.lanes.get_mut(usize::from(number))
    }
}
