//! The board on which publishers and subscribers of one thread write what they did.

use std::cell::{Cell, RefCell};

use tokio::sync::Notify;

use crate::histogram::Histogram;

/// Counters of a run; index of vectors is the publisher.
pub struct Board {
    /// 4 or 5.
    pub level: u8,
    /// QoS of publishes.
    pub qos: u8,
    /// Messages per publisher that may be undelivered or unacknowledged.
    pub window: u64,
    /// Messages per write.
    pub batch: u64,
    /// Sequences are checked for gaps, order and repeats.
    pub check_order: bool,
    /// Latencies go to the histogram.
    pub record_latency: Cell<bool>,
    /// Deliveries that follow from one publish.
    pub fan: Vec<u64>,
    /// Published.
    pub sent: Vec<Cell<u64>>,
    /// Delivered, to all subscribers together.
    pub delivered: Vec<Cell<u64>>,
    /// Acknowledged, above QoS 0.
    pub acked: Vec<Cell<u64>>,
    /// Wakes a publisher whose window has room again.
    pub wake: Vec<Notify>,
    /// Sum of `delivered`.
    pub total_delivered: Cell<u64>,
    /// Sum of `sent`.
    pub total_sent: Cell<u64>,
    /// Sum of `acked`.
    pub total_acked: Cell<u64>,
    /// Messages missing in some subscriber's sequence, still.
    pub gaps: Cell<u64>,
    /// Messages that came after later ones.
    pub reordered: Cell<u64>,
    /// Messages that came twice.
    pub dups: Cell<u64>,
    /// Messages with the DUP flag.
    pub dup_flag: Cell<u64>,
    /// Reads of subscribers.
    pub sub_reads: Cell<u64>,
    /// Greatest delay of the pacing itself.
    pub lag_ns: Cell<u64>,
    /// Time from publish to delivery.
    pub latency: RefCell<Histogram>,
    /// Why the run failed.
    pub failed: RefCell<Option<String>>,
}

impl Board {
    /// A board for publishers with these numbers of deliveries per publish.
    pub fn new(level: u8, qos: u8, window: u64, batch: u64, check_order: bool, fan: Vec<u64>) -> Self {
        let zeros = || fan.iter().map(|_| Cell::new(0)).collect();
        Self {
            level,
            qos,
            window,
            batch,
            check_order,
            record_latency: Cell::new(false),
            sent: zeros(),
            delivered: zeros(),
            acked: zeros(),
            wake: fan.iter().map(|_| Notify::new()).collect(),
            fan,
            total_delivered: Cell::new(0),
            total_sent: Cell::new(0),
            total_acked: Cell::new(0),
            gaps: Cell::new(0),
            reordered: Cell::new(0),
            dups: Cell::new(0),
            dup_flag: Cell::new(0),
            sub_reads: Cell::new(0),
            lag_ns: Cell::new(0),
            latency: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    /// Ends the run; the first reason stays.
    pub fn fail(&self, why: String) {
        self.failed.borrow_mut().get_or_insert(why);
    }

    /// Takes note of `done` acknowledgements that publisher `i` has now.
    pub(super) fn acknowledged(&self, i: usize, done: u64) {
        add(&self.total_acked, done - self.acked[i].get());
        self.acked[i].set(done);
    }
}

/// Adds to a counter.
#[inline]
pub(super) fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}
