//! The times and bounds of sessions that move, and what happens at each.

use tombolo_broker_api::WhenHomeDown;

use crate::clock::Millis;

/// What is set for the sessions of a shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest time that a CONNECT waits for other nodes; then it is refused with 0x88.
    pub lookup: Millis,
    /// What a client meets whose session is at a node that can't be reached.
    pub when_home_down: WhenHomeDown,
    /// Age at which what is left of a session that moved is dropped while a node that it needs stays away, and the time
    /// for which a session that ended is remembered for the sake of nodes that could not be asked.
    pub keep: Millis,
    /// Sessions that may be frozen or taken at one time by this shard; beyond it an ask is denied, and its CONNECT refused
    /// with 0x89.
    pub moves_max: usize,
    /// Bytes of their heads; at the bound the same.
    pub heads_bytes_max: usize,
    /// Look-ups under way in this shard; beyond it a CONNECT is refused with 0x89.
    pub lookups_max: usize,
    /// Sessions that ended and are remembered; beyond it none more is, and it is counted.
    pub tombs_max: usize,
}

/// When something is said again until it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// When it is due.
    pub next: Millis,
    wait: Millis,
}

/// The first wait before something is said again.
const REPEAT_MIN: Millis = Millis(250);
/// The longest.
pub const REPEAT_MAX: Millis = Millis(10_000);

/// After this time without a word of a stream its node is asked about it.
pub const STREAM_QUIET: Millis = Millis(30_000);

/// After a move what belongs to a later part of the queue waits at most so long for what belongs to an earlier one, and not
/// for a node that is suspended.
pub const ORDER_HOLD: Millis = Millis(10_000);
/// Messages that wait so here; beyond it they wait no longer, and order is not kept.
pub const HELD_MAX: usize = 1_024;
/// Bytes of them; at the bound the same.
pub const HELD_BYTES_MAX: usize = 1 << 20;

/// Messages of other clusters that a session remembers by themselves while it moves; of more the oldest are forgotten, and may
/// come again.
pub const HAD_MAX: usize = 1_024;
/// Messages of other clusters of which a node remembers that it left them to another one, for a session that moves; of more
/// the oldest are forgotten, and may be lost if they came to two nodes.
pub const LEFT_MAX: usize = 1_024;
/// So long after the last of them it remembers that.
pub const LEFT_KEPT: Millis = Millis(10_000);
/// How often it is looked at whether what a session had over links can come again.
pub const HAD_LOOK: Millis = Millis(10_000);

/// A session stays so long where it moved to, in milliseconds.
const DWELL_MIN: u32 = 50;
/// At most so long, doubled with each move. Below the time of a look-up: a device that is sent from node to node waits, and
/// is not refused; two that use one client id take it from each other once in that time.
const DWELL_MAX: u32 = 1_000;
/// After this time without a move the doubling begins anew.
pub const DWELL_FORGET: Millis = Millis(10_000);

/// Bytes of the entries of one [`super::control::Forward`], if it has more than one.
pub const FORWARD_BYTES_MAX: usize = 48 * 1024;
/// Entries of one.
pub const FORWARD_MAX: usize = 512;

/// Nodes are asked about so many sessions at a time when they come back, and the next after `SETTLE_PAUSE`.
pub const SETTLE_BATCH: u64 = 64;
/// Between two such times.
pub const SETTLE_PAUSE: Millis = Millis(10);

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            lookup: Millis(2_000),
            when_home_down: WhenHomeDown::Wait,
            keep: Millis(86_400_000),
            moves_max: 1_024,
            heads_bytes_max: 32 << 20,
            lookups_max: 16_384,
            tombs_max: 65_536,
        }
    }
}

// === impl Repeat ===

impl Repeat {
    /// Due at once.
    pub const fn now(now: Millis) -> Self {
        Self { next: now, wait: REPEAT_MIN }
    }

    /// Whether it is due.
    pub fn is_due(&self, now: Millis) -> bool {
        self.next <= now
    }

    /// It was said: it is due again after a wait, which doubles.
    pub fn said(&mut self, now: Millis) {
        self.next = now + self.wait;
        self.wait = Millis(self.wait.0 * 2).min(REPEAT_MAX);
    }

    /// It was said, and nobody need hurry.
    pub fn idle(&mut self, now: Millis) {
        (self.next, self.wait) = (now + REPEAT_MAX, REPEAT_MIN);
    }
}

/// How long a session stays after a move, when it stayed so long after the one before; 0: there was none of late.
pub fn dwell_after(before: u32) -> u32 {
    before.saturating_mul(2).clamp(DWELL_MIN, DWELL_MAX)
}
