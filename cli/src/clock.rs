//! The wall clock, for client ids that differ and for messages that are printed with their time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970; zero if the machine's clock stands before that.
#[expect(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
