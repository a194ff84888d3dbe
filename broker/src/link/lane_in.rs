//! The receiving end of a lane: what was taken, and what may be taken next.

/// The receiving end of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneIn {
    /// The life of the sender's lane; another one begins anew.
    epoch: u64,
    /// The place from which on all was taken, but for what was dropped by the sender while it was sent here.
    from: u64,
    /// The place up to which all was taken, or was dropped by the sender.
    taken: u64,
    /// The same, as far as it would outlive us.
    durable: u64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is the next: take it.
    Take,
    /// It was taken before: acknowledge it again.
    Repeat,
    /// One before it is missing: taking it would lose that one.
    Hole,
}

// === impl LaneIn ===

impl LaneIn {
    /// The lane as its sender names it now; true if it is another life of it, so that nothing was taken yet.
    pub fn is_renewed(&mut self, epoch: u64) -> bool {
        let renewed = self.epoch != epoch;
        if renewed {
            *self = Self { epoch, from: 1, taken: 0, durable: 0 };
        }
        renewed
    }

    /// Judges a batch of a lane where all counts.
    pub fn offer(&self, previous: u64, sequence: u64) -> Offer {
        if sequence <= self.taken {
            Offer::Repeat
        } else if previous > self.taken {
            Offer::Hole
        } else {
            Offer::Take
        }
    }

    /// Judges a batch of a lane that may lose: only what is older than what was taken is refused.
    pub fn offer_lossy(&self, sequence: u64) -> Offer {
        if sequence <= self.taken { Offer::Repeat } else { Offer::Take }
    }

    /// The batch at this place was taken.
    pub fn take(&mut self, sequence: u64) {
        assert!(sequence > self.taken, "only an offer that is taken moves the mark, and always forward");
        // What is missing may have gone to another node of this cluster.
        if sequence > self.taken + 1 {
            self.from = sequence;
        }
        self.taken = sequence;
    }

    /// What was taken up to this place in this life of the lane is durable.
    pub fn made_durable(&mut self, epoch: u64, sequence: u64) {
        if self.epoch == epoch {
            self.durable = self.durable.max(sequence);
        }
    }

    /// The life of the lane.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The place from which on all was taken, without a gap.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The place up to which all was taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The place up to which all was taken and is durable: what the sender may forget.
    pub fn durable(&self) -> u64 {
        self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_taken_only_if_none_before_it_is_missing() {
        let mut lane = LaneIn::default();
        assert!(lane.is_renewed(9));
        lane.take(4);
        // previous, sequence, verdict
        let table = [
            (3, 4, Offer::Repeat),
            (0, 2, Offer::Repeat),
            (4, 5, Offer::Take),
            (2, 7, Offer::Take), // 3 to 6 were dropped, some of them after they had been taken
            (5, 6, Offer::Hole),
            (6, 9, Offer::Hole),
        ];
        for (previous, sequence, verdict) in table {
            assert_eq!(lane.offer(previous, sequence), verdict, "{previous} {sequence}");
        }
    }

    #[test]
    fn a_renewed_lane_begins_anew() {
        let mut lane = LaneIn::default();
        lane.is_renewed(1);
        lane.take(8);
        assert!(!lane.is_renewed(1));
        assert_eq!(lane.taken(), 8);
        assert!(lane.is_renewed(2));
        assert_eq!(lane.taken(), 0);
    }
}
