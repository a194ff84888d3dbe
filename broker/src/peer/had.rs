//! What a session that moves has had over links: where a lane of another cluster goes on at another node, it is sent there
//! again, and the session may have come there meanwhile.
//!
//! A node takes each message of such a lane once, and so does a session that stays at it. One that moves takes along what
//! the node that it leaves has had by then; what comes directly at the next one, and is in it, came before. What that node
//! gets later for the session it forwards with its place in the lane, and the owner takes each place once, whichever way it
//! comes first. Where a lane goes on at another node while the session moves, a message may enter at both, and each may say
//! that it is the duty of another stay; so a node remembers what it left to others, and decides anew when it comes again. All
//! of this is over when this node itself has had the last of it: a lane is sent again in order, and not from
//! before what was acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bound;
use crate::clock::Millis;
use crate::link::{LANES_ALONG_MAX, LaneId, LaneRuns, Origin, Place};

use super::bounds::{HAD_LOOK, HAD_MAX, LEFT_KEPT, LEFT_MAX};
use super::outlet::Outlet;
use super::wire::{Garbled, Reader, Writer};

/// The place by which a message came from another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// The lane.
    pub lane: Arc<LaneId>,
    /// The place in it.
    pub place: Place,
}

/// What a session has had.
#[derive(Clone, Debug, Default)]
pub struct Had {
    /// What nodes had that it left, when it did.
    taken: Vec<LaneRuns>,
    /// What it was given since, oldest first.
    given: VecDeque<Entrance>,
    /// What came to this node and was left to another one, oldest first.
    left: VecDeque<Entrance>,
    /// Until when that is remembered.
    left_until: Millis,
    /// When it is looked at next whether it is over.
    look_at: Millis,
    /// When it is given up.
    until: Millis,
}

// === impl Entrance ===

impl Entrance {
    /// Where a message came from; none with QoS 0, of which nothing is sent again.
    pub fn of(origin: &Origin) -> Option<Self> {
        (!origin.lane.is_lossy()).then(|| Self { lane: origin.lane.clone(), place: origin.place })
    }
}

// === impl Had ===

impl Had {
    /// Whether a message that comes directly was had.
    pub fn knows(&self, entrance: &Entrance) -> bool {
        let Entrance { lane, place } = entrance;
        self.given.contains(entrance) || self.taken.iter().any(|taken| taken.has(lane, *place))
    }

    /// Takes note of a message that goes on here; false if it was had by itself, be it directly or from a node before.
    pub fn note(&mut self, entrance: Option<Entrance>) -> bool {
        let Some(entrance) = entrance else { return true };
        self.take_up(Some(&entrance));
        if self.given.contains(&entrance) {
            return false;
        }
        self.given.push_back(entrance);
        if self.given.len() > bound::now(HAD_MAX) {
            self.given.pop_front();
        }
        true
    }

    /// A message that came directly is left to another node.
    pub fn leave(&mut self, entrance: Option<Entrance>, now: Millis) {
        let Some(entrance) = entrance.filter(|entrance| !self.left.contains(entrance)) else { return };
        self.left.push_back(entrance);
        if self.left.len() > LEFT_MAX {
            self.left.pop_front();
        }
        self.left_until = now + LEFT_KEPT;
    }

    /// It is taken here after all.
    pub fn take_up(&mut self, entrance: Option<&Entrance>) {
        if let Some(entrance) = entrance {
            self.left.retain(|left| left != entrance);
        }
    }

    /// Whether it was left to another node, and not taken since.
    pub fn has_left(&self, entrance: Option<&Entrance>) -> bool {
        entrance.is_some_and(|entrance| self.left.contains(entrance))
    }

    /// The same with what this node has had, for the next.
    pub fn with(&self, taken: Vec<LaneRuns>) -> Self {
        let mut all = taken;
        for LaneRuns { lane, runs } in &self.taken {
            if let Some(known) = all.iter_mut().find(|known| known.lane == *lane) {
                known.add(runs);
            } else if all.len() < bound::now(LANES_ALONG_MAX) {
                all.push(LaneRuns { lane: lane.clone(), runs: runs.clone() });
            }
        }
        Self { taken: all, given: self.given.clone(), ..Self::default() }
    }

    /// It came with a session to a node that knows what it left to others.
    pub fn begin(self, until: Millis, before: Self) -> Self {
        let Self { left, left_until, .. } = before;
        Self { until, left, left_until, ..self }
    }

    /// Whether nothing of it can come again; it is looked at now and then. Ask when nothing is forwarded any more.
    pub fn is_over(&mut self, out: &impl Outlet, now: Millis) -> bool {
        if self.is_empty() {
            return true;
        } else if now < self.look_at {
            return false;
        }
        self.look_at = now + HAD_LOOK;
        let is_past = now >= self.until;
        let has_had = |lane: &Arc<LaneId>, place| out.has_had(&Entrance { lane: lane.clone(), place });
        self.taken.retain(|taken| !is_past && taken.runs.last().is_some_and(|(_, last)| !has_had(&taken.lane, *last)));
        self.given.retain(|given| !is_past && !out.has_had(given));
        if now >= self.left_until {
            self.left.clear();
        }
        self.is_empty()
    }

    /// When it is to be looked at.
    pub fn due(&self) -> Option<Millis> {
        (!self.is_empty()).then_some(self.look_at)
    }

    fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.given.is_empty() && self.left.is_empty()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.count(self.taken.len());
        for LaneRuns { lane, runs } in &self.taken {
            write_lane(out, lane);
            out.count(runs.len());
            for (first, last) in runs {
                write_place(out, *first);
                write_place(out, *last);
            }
        }
        out.count(self.given.len());
        for Entrance { lane, place } in &self.given {
            write_lane(out, lane);
            write_place(out, *place);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Garbled> {
        let taken = reader.list(16, |reader| {
            let lane = read_lane(reader)?;
            let runs = reader.list(24, |reader| Ok((read_place(reader)?, read_place(reader)?)))?;
            Ok(LaneRuns { lane, runs })
        })?;
        let mut given: VecDeque<Entrance> = VecDeque::new();
        for mut entrance in
            reader.list(24, |reader| Ok(Entrance { lane: read_lane(reader)?, place: read_place(reader)? }))?
        {
            // Most are of one lane.
            if let Some(last) = given.back().filter(|last| last.lane == entrance.lane) {
                entrance.lane = last.lane.clone();
            }
            given.push_back(entrance);
        }
        if taken.len() > LANES_ALONG_MAX || given.len() > HAD_MAX {
            Err(Garbled)
        } else {
            Ok(Self { taken, given, ..Self::default() })
        }
    }
}

/// Appends a lane of another cluster.
pub fn write_lane(out: &mut Writer, lane: &LaneId) {
    out.text(&lane.cluster);
    out.text(&lane.node);
    out.u64(lane.life);
}

/// Reads one.
///
/// # Errors
/// It is none.
pub fn read_lane(reader: &mut Reader<'_>) -> Result<Arc<LaneId>, Garbled> {
    Ok(Arc::new(LaneId { cluster: reader.name()?, node: reader.name()?, life: reader.u64()? }))
}

/// Appends a place in it.
pub fn write_place(out: &mut Writer, place: Place) {
    out.u64(place.batch);
    out.u32(place.message);
}

/// Reads one.
///
/// # Errors
/// It is none.
pub fn read_place(reader: &mut Reader<'_>) -> Result<Place, Garbled> {
    Ok(Place { batch: reader.u64()?, message: reader.u32()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(life: u64, batch: u64) -> Entrance {
        let lane = Arc::new(LaneId { cluster: "far".into(), node: "far-0".into(), life });
        Entrance { lane, place: Place { batch, message: 0 } }
    }

    fn runs(life: u64, runs: &[(u64, u64)]) -> LaneRuns {
        let place = |batch| Place { batch, message: 0 };
        let runs = runs.iter().map(|(first, last)| (place(*first), place(*last))).collect();
        LaneRuns { lane: entrance(life, 0).lane, runs }
    }

    #[test]
    fn what_the_node_before_had_when_the_session_left_it_came_before_and_what_it_forwards_did_not() {
        let mut had = Had::default().with(vec![runs(1, &[(3, 9)])]);
        for (life, batch, knows) in [(1, 2, false), (1, 3, true), (1, 9, true), (1, 10, false), (2, 5, false)] {
            assert_eq!(had.knows(&entrance(life, batch)), knows, "{life} {batch}");
        }
        // It was on its way to the session when that was offered.
        assert!(had.note(Some(entrance(1, 9))));
    }

    #[test]
    fn what_comes_directly_and_from_a_node_before_is_taken_once() {
        let mut had = Had::default();
        assert!(had.note(Some(entrance(1, 4))) && !had.note(Some(entrance(1, 4))), "directly first");
        assert!(had.note(Some(entrance(1, 5))) && had.knows(&entrance(1, 5)), "forwarded first");
        assert!(had.note(None) && had.note(None), "it was published in this cluster");
        let next = had.with(vec![runs(2, &[(1, 1)])]);
        assert!(next.knows(&entrance(1, 4)) && next.knows(&entrance(2, 1)), "at the node after that, too");
    }

    #[test]
    fn of_a_session_that_moves_on_all_that_nodes_had_before_counts() {
        let first = Had::default().with(vec![runs(1, &[(1, 4)])]);
        let second = first.with(vec![runs(1, &[(6, 8)]), runs(2, &[(1, 1)])]);
        for (life, batch, knows) in [(1, 4, true), (1, 5, false), (1, 6, true), (2, 1, true)] {
            assert_eq!(second.knows(&entrance(life, batch)), knows, "{life} {batch}");
        }
    }

    #[test]
    fn so_much_is_remembered_and_no_more() {
        let mut had = Had::default();
        for batch in 0..=HAD_MAX as u64 {
            assert!(had.note(Some(entrance(1, batch))));
        }
        assert_eq!(had.given.len(), HAD_MAX);
        assert!(!had.knows(&entrance(1, 0)) && had.knows(&entrance(1, 1)));
        let lanes = (0..LANES_ALONG_MAX as u64 + 1).map(|life| runs(life, &[(1, 1)]));
        let before = Had { taken: lanes.collect(), ..Had::default() };
        assert_eq!(before.with(vec![runs(99, &[(1, 1)])]).taken.len(), LANES_ALONG_MAX);
    }

    #[test]
    fn what_was_left_to_another_node_is_known_until_it_is_taken_here_after_all() {
        let mut had = Had::default();
        (0..=LEFT_MAX as u64).for_each(|batch| had.leave(Some(entrance(1, batch)), Millis(0)));
        for (batch, left) in [(0, false), (1, true), (LEFT_MAX as u64, true)] {
            assert_eq!(had.has_left(Some(&entrance(1, batch))), left, "{batch}");
        }
        assert!(had.note(Some(entrance(1, 1))) && !had.has_left(Some(&entrance(1, 1))));
        let later = Had::default().begin(Millis(1), had);
        assert!(later.has_left(Some(&entrance(1, 2))), "when the session comes back, too");
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut had = Had::default().with(vec![runs(1, &[(1, 4), (6, 7)]), runs(2, &[])]);
        assert!(had.note(Some(entrance(3, 1))) && had.note(Some(entrance(3, 2))));
        let mut out = Writer::default();
        had.write(&mut out);
        let mut reader = Reader::new(&out.bytes);
        let read = Had::read(&mut reader).unwrap();
        assert!(reader.end().is_ok());
        assert_eq!((read.taken, read.given), (had.taken, had.given));
    }
}
