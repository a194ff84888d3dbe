//! How many lines of the log events get that anybody can bring about, as often as he likes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::Millis;

/// Lines of the log about one kind of event.
#[derive(Debug, Default)]
pub struct Lines {
    /// The second of the last one, and how many it had.
    told: Mutex<(u64, u32)>,
    /// Events since then that got none.
    unlogged: AtomicU64,
}

/// How many events got no line of the log; none if each had one.
pub type Unlogged = Option<u64>;

/// Lines of the log in a second about one kind of event.
const LINES_MAX: u32 = 10;

// === impl Lines ===

impl Lines {
    /// Whether an event gets a line, and then how many before it got none.
    pub fn tells(&self, now: Millis) -> Option<Unlogged> {
        let second = now.0 / 1000;
        // Two numbers that are written together are never half-changed.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 != second {
            *told = (second, 0);
        }
        if told.1 == LINES_MAX {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        told.1 += 1;
        Some(Some(self.unlogged.swap(0, Ordering::Relaxed)).filter(|unlogged| *unlogged > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_events_in_a_second_get_a_line_and_the_next_line_says_how_many_got_none() {
        let lines = Lines::default();
        let told = (0..500).filter_map(|n| lines.tells(Millis(n))).collect::<Vec<_>>();
        assert_eq!(told, [None; 10]);
        assert_eq!(lines.tells(Millis(1000)), Some(Some(490)));
        assert_eq!(lines.tells(Millis(1001)), Some(None));
    }
}
