//! What the operator counts about its passes.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper ends of the buckets of a pass's time, in milliseconds.
const BUCKETS: [u64; 8] = [5, 10, 25, 50, 100, 250, 1_000, 5_000];

/// Counters and gauges of the queue and its passes.
#[derive(Debug, Default)]
pub struct Metrics {
    well: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len()],
    waiting: AtomicU64,
    running: AtomicU64,
}

// === impl Metrics ===

impl Metrics {
    /// A pass ended.
    pub fn passed(&self, well: bool, took: Duration) {
        if well { &self.well } else { &self.failed }.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        for (bucket, end) in self.buckets.iter().zip(BUCKETS) {
            if took <= Duration::from_millis(end) {
                bucket.fetch_add(1, Relaxed);
            }
        }
    }

    /// How many wait, and how many are under way.
    pub fn depth(&self, (waiting, running): (usize, usize)) {
        self.waiting.store(waiting as u64, Relaxed);
        self.running.store(running as u64, Relaxed);
    }

    /// As text for Prometheus.
    pub fn render(&self, text: &mut String) {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let (well, failed) = (read(&self.well), read(&self.failed));
        let seconds = read(&self.micros) as f64 / 1e6;
        let mut line = |line: std::fmt::Arguments| {
            // A String takes everything.
            let _ = text.write_fmt(line);
        };
        line(format_args!(
            "# HELP tombolo_operator_reconciles_total Passes over a BrokerCluster and its links.\n\
             # TYPE tombolo_operator_reconciles_total counter\n\
             tombolo_operator_reconciles_total{{result=\"success\"}} {well}\n\
             tombolo_operator_reconciles_total{{result=\"error\"}} {failed}\n\
             # HELP tombolo_operator_reconcile_seconds Time of a pass.\n\
             # TYPE tombolo_operator_reconcile_seconds histogram\n"
        ));
        for (bucket, end) in self.buckets.iter().zip(BUCKETS) {
            let (end, count) = (end as f64 / 1e3, read(bucket));
            line(format_args!("tombolo_operator_reconcile_seconds_bucket{{le=\"{end}\"}} {count}\n"));
        }
        let all = well + failed;
        line(format_args!(
            "tombolo_operator_reconcile_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             tombolo_operator_reconcile_seconds_sum {seconds}\n\
             tombolo_operator_reconcile_seconds_count {all}\n\
             # HELP tombolo_operator_queue Clusters that wait for a pass, and those under way.\n\
             # TYPE tombolo_operator_queue gauge\n\
             tombolo_operator_queue{{state=\"waiting\"}} {}\n\
             tombolo_operator_queue{{state=\"running\"}} {}\n",
            read(&self.waiting),
            read(&self.running),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_is_shown() {
        let metrics = Metrics::default();
        metrics.passed(true, Duration::from_millis(7));
        metrics.passed(false, Duration::from_secs(9));
        metrics.depth((3, 1));
        let mut text = String::new();
        metrics.render(&mut text);
        for line in [
            "tombolo_operator_reconciles_total{result=\"success\"} 1",
            "tombolo_operator_reconciles_total{result=\"error\"} 1",
            "tombolo_operator_reconcile_seconds_bucket{le=\"0.005\"} 0",
            "tombolo_operator_reconcile_seconds_bucket{le=\"0.01\"} 1",
            "tombolo_operator_reconcile_seconds_bucket{le=\"+Inf\"} 2",
            "tombolo_operator_queue{state=\"waiting\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
