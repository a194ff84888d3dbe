//! What a run prints: one JSON object on one line.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::histogram::Summary;

/// The figures of a load.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "each name is the key that readers of the JSON know")]
pub struct LoadReport {
    pub label: String,
    pub scenario: &'static str,
    pub qos: u8,
    pub level: u8,
    pub payload: usize,
    pub pubs: usize,
    pub subs: usize,
    pub window: u64,
    pub batch: u64,
    pub rate: f64,
    /// `done`, `stalled` after 4 s without progress, `time`, `failed`.
    pub end: &'static str,
    pub error: Option<String>,
    pub secs: f64,
    pub published: u64,
    pub delivered: u64,
    pub wanted: u64,
    pub pub_per_s: f64,
    pub del_per_s: f64,
    pub cpu_s: f64,
    /// CPU seconds of all processes per million publishes between warm-up and last delivery.
    pub cpu_s_per_m_pub: f64,
    /// The same per million deliveries.
    pub cpu_s_per_m_del: f64,
    pub user_share: f64,
    pub ctxsw_per_k_pub: f64,
    pub own_cpu_s_per_m_del: f64,
    pub del_per_read: f64,
    pub gaps: u64,
    pub reordered: u64,
    pub dups: u64,
    pub dup_flag: u64,
    pub lag_ms: f64,
    pub lat_us: Option<Summary>,
    #[serde(flatten)]
    pub filters: Option<FilterReport>,
    pub procs: BTreeMap<String, ProcessReport>,
}

/// What subscribing cost, where there are more than 1,000 filters.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "each name is the key that readers of the JSON know")]
pub struct FilterReport {
    pub filters: usize,
    pub sub_per_s: f64,
    pub sub_cpu_us: f64,
    pub bytes_per_filter: f64,
}

/// One process of those accounted.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "each name is the key that readers of the JSON know")]
pub struct ProcessReport {
    pub cpu_s: f64,
    pub per_m_pub: f64,
    pub rss0_mib: f64,
    pub rss_mib: f64,
}

/// The figures of idle connections.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "each name is the key that readers of the JSON know")]
pub struct ConnectionsReport {
    pub label: String,
    pub scenario: &'static str,
    pub level: u8,
    pub n: usize,
    pub connected: usize,
    pub errors: usize,
    pub first_error: Option<String>,
    pub subscribe: bool,
    pub secs: f64,
    pub conn_per_s: f64,
    pub cpu_s_per_10k: f64,
    pub rss0_mib: f64,
    pub rss_mib: f64,
    pub kib_per_conn: f64,
    pub idle_cpu_pct: f64,
    pub lat_us: Option<Summary>,
}

/// Rounds to so many decimals: digits beyond the measurement are noise.
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}
