//! How many lines of the log events get that anybody can bring about, as often as he likes.

use std::sync::{Mutex, PoisonError};

use crate::clock::Millis;

/// Lines of the log about one kind of event.
#[derive(Debug, Default)]
pub struct Lines {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The second of the last line.
    second: u64,
    /// How many it had.
    lines: u32,
    /// Events since then that got none.
    unlogged: u64,
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
        // Numbers alone: nothing in between can fail.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.second != second {
            (told.second, told.lines) = (second, 0);
        }
        if told.lines == LINES_MAX {
            told.unlogged += 1;
            return None;
        }
        told.lines += 1;
        Some(Some(std::mem::take(&mut told.unlogged)).filter(|unlogged| *unlogged > 0))
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
