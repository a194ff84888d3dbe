//! What happened to sessions that moved, counted.

/// Counters of a shard; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions taken from other nodes.
    pub taken: u64,
    /// Sessions given to other nodes.
    pub given: u64,
    /// Sessions that were frozen for another node, which did not take them.
    pub kept: u64,
    /// Messages forwarded to new owners.
    pub forwarded: u64,
    /// CONNECTs refused since a session's home, or a node that had to be asked, could not be reached.
    pub unavailable: u64,
    /// CONNECTs refused since too much was moving.
    pub busy: u64,
    /// CONNECTs closed since a later one was made elsewhere.
    pub overtaken: u64,
    /// Sessions begun while a node that may have had one could not be asked.
    pub unasked: u64,
    /// Sessions that ended since another of the same name was later.
    pub discarded: u64,
    /// Messages that waited for a session that had moved, and ended with it or its owner.
    pub messages_dropped: u64,
    /// Open streams that ended with the node that had them.
    pub streams_lost: u64,
    /// Rests of sessions, and open streams, that were given up by age.
    pub abandoned: u64,
    /// Messages of which order was not kept, since `orderHold` or its bounds passed.
    pub holds_passed: u64,
    /// Sessions that ended and are not remembered, since too many are.
    pub tombs_refused: u64,
    /// Control messages that could not be read.
    pub garbled: u64,
}

// === impl Stats ===

impl Stats {
    /// The same with another shard's added.
    pub fn add(&mut self, other: &Self) {
        let Self {
            taken,
            given,
            kept,
            forwarded,
            unavailable,
            busy,
            overtaken,
            unasked,
            discarded,
            messages_dropped,
            streams_lost,
            abandoned,
            holds_passed,
            tombs_refused,
            garbled,
        } = other;
        self.taken += taken;
        self.given += given;
        self.kept += kept;
        self.forwarded += forwarded;
        self.unavailable += unavailable;
        self.busy += busy;
        self.overtaken += overtaken;
        self.unasked += unasked;
        self.discarded += discarded;
        self.messages_dropped += messages_dropped;
        self.streams_lost += streams_lost;
        self.abandoned += abandoned;
        self.holds_passed += holds_passed;
        self.tombs_refused += tombs_refused;
        self.garbled += garbled;
    }
}
