//! The monotonic clock as nanoseconds since the first look at it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the first call in this process.
pub fn now_ns() -> u64 {
    START.elapsed().as_nanos() as u64
}

/// A number that differs from run to run, for names: 24 random bits.
pub fn nonce() -> String {
    format!("{:x}", RandomState::new().build_hasher().finish() & 0xff_ffff)
}
