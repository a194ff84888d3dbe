//! Time: the only place that reads the clocks of the machine; everything else takes time as an argument.

#[cfg(test)]
use std::cell::Cell;
use std::fmt;
use std::ops::{Add, AddAssign};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tombolo_broker_api::Seconds;

mod stamp;

pub use stamp::{AHEAD_MAX, Stamp, StampClock};

/// Milliseconds since the start of the [`Clock`] that was read; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// Seconds since 1970, as the machine's wall clock tells them: for people, and for the age of certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

/// A monotonic clock that began at zero when the broker started. Shards read it once for each turn. It is that of the
/// runtime, so that a simulation can hold it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

// === impl Millis ===

impl Millis {
    /// Later than every deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// Time gone since `earlier`; zero when that lies ahead.
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The same as a length of time.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Seconds> for Millis {
    fn from(seconds: Seconds) -> Self {
        Self(seconds.0.saturating_mul(1000))
    }
}

/// Saturates, so that [`Millis::NEVER`] stays what it is.
impl Add for Millis {
    type Output = Self;

    fn add(self, length: Self) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl AddAssign for Millis {
    fn add_assign(&mut self, length: Self) {
        *self = *self + length;
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

// === impl UnixSeconds ===

impl UnixSeconds {
    /// What the wall clock says now; zero if it stands before 1970.
    pub fn now() -> Self {
        Self(unix_micros() / 1_000_000)
    }
}

#[cfg(test)]
thread_local! {
    /// What the wall clock says on this thread, in a simulation.
    static WALL: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on, the wall clock says this on this thread; `None`: what the machine's says.
#[cfg(test)]
pub fn set_unix_micros(micros: Option<u64>) {
    WALL.set(micros);
}

/// Microseconds since 1970, as the wall clock says now; zero if it stands before 1970. For stamps, and for the lives of a node.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
pub fn unix_micros() -> u64 {
    #[cfg(test)]
    if let Some(micros) = WALL.get() {
        return micros;
    }
    let past = SystemTime::now().duration_since(UNIX_EPOCH);
    past.map_or(0, |past| u64::try_from(past.as_micros()).unwrap_or(u64::MAX))
}

// === impl Clock ===

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Millis {
        Millis::from(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_begins_at_zero_and_never_goes_back() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(first < Millis(60_000));
        assert!(clock.now() >= first);
        assert!(UnixSeconds::now() > UnixSeconds(1_700_000_000));
    }

    #[test]
    fn sums_and_differences_of_times_stop_at_their_ends() {
        assert_eq!(Millis::NEVER + Millis(1), Millis::NEVER);
        assert_eq!(Millis(3).since(Millis(5)), Millis(0));
        assert_eq!(Millis(5).since(Millis(3)), Millis(2));
        assert_eq!(Millis::from(Seconds(u64::MAX)), Millis::NEVER);
        assert_eq!(Millis(2_999).seconds(), 2);
    }
}
