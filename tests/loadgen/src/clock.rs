//! The monotonic clock as nanoseconds since the first look at it.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the first call in this process.
pub fn now_ns() -> u64 {
    START.elapsed().as_nanos() as u64
}

/// A number that differs from run to run, for client ids: the low 24 bits of wall clock and process id.
pub fn nonce() -> String {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", (wall.as_nanos() as u64 >> 10 ^ u64::from(std::process::id())) & 0xff_ffff)
}
