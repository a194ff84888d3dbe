//! One node of the other side as it is told what is wanted here: over which connection, and how far it has come.

use std::sync::Arc;

use super::batch::LANE_INTEREST;
use super::connection::Connection;
use super::interest_out::InterestOut;
use super::lane_out::LaneOut;
use super::marks::Version;
use super::outlet::{Conn, Now};
use super::spool::MemorySpool;

/// A node of the other side that is told what is wanted here.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub node: Arc<str>,
    /// The connection over which it is told, the best of those with it.
    pub conn: Option<Conn>,
    /// What it is told, in order.
    pub lane: LaneOut<MemorySpool>,
    /// The version that it was told last, or is being told, and its digest.
    told: (Version, u64),
    /// The version that it was told when last nothing was under way.
    settled: Version,
    /// It does not hold what it was told, and is told everything.
    anew: bool,
}

// === impl Listener ===

impl Listener {
    /// A node that was told nothing in this life of the link.
    pub fn new(node: Arc<str>, epoch: u64) -> Self {
        let mut lane = LaneOut::new(LANE_INTEREST, MemorySpool::default());
        lane.set_epoch(epoch);
        Self { node, conn: None, lane, told: Default::default(), settled: Version::default(), anew: false }
    }

    /// It is told over another connection from now on, or over none.
    pub fn turn_to(&mut self, connection: Option<&Connection>) {
        let conn = connection.map(|connection| connection.conn);
        if conn == self.conn {
            return;
        }
        self.conn = conn;
        let Some(connection) = connection else { return self.lane.pause() };
        self.lane.begin(connection.taken[1], |_| {});
        let held = connection.held;
        let holds_what_it_was_told =
            if self.lane.is_settled() { held == self.told } else { held.0 >= self.settled && held.0 <= self.told.0 };
        self.anew |= self.told.0.number > 0 && !holds_what_it_was_told;
    }

    /// It can be told something now: it is connected, and has taken all that it was told before.
    pub fn is_idle(&self) -> bool {
        self.conn.is_some() && self.lane.is_settled()
    }

    /// It was told all that is wanted, or is being told.
    pub fn is_told(&self, wanted: &InterestOut) -> bool {
        !self.anew && self.told.0 == wanted.version() && !wanted.has_untold()
    }

    /// It says that it holds something else than it was told, and it has had time.
    pub fn repair(&mut self, wanted: &mut InterestOut) {
        self.anew = true;
        wanted.stake();
    }

    /// Tells it the newest version.
    pub fn tell(&mut self, wanted: &InterestOut, now: Now) {
        for piece in wanted.tell(self.told.0, self.anew) {
            self.lane.record(piece.len(), now, |out| out.extend_from_slice(&piece));
        }
        self.lane.seal(now);
        self.lane.made_durable(self.lane.sealed());
        self.told = (wanted.version(), wanted.digest());
        self.anew = false;
    }

    /// It has taken what stood in its lane up to this place.
    pub fn acknowledged(&mut self, conn: Conn, place: u64) {
        self.lane.acknowledge(place, self.conn == Some(conn), |_| {});
        if self.lane.is_settled() {
            self.settled = self.told.0;
        }
    }

    /// The version that it was told last.
    pub fn told(&self) -> Version {
        self.told.0
    }
}
