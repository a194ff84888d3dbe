//! What happened, in short: the last of it to be printed, all of it as one number.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use super::network::Micros;

/// Lines that are kept.
const KEPT: usize = 400;

/// What happened.
#[derive(Default)]
pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    /// All of it is printed at once.
    pub aloud: bool,
}

// === impl Trace ===

impl Trace {
    /// Something happened.
    pub fn say(&mut self, now: Micros, what: fmt::Arguments<'_>) {
        let mut line = if self.lines.len() < KEPT { String::new() } else { self.lines.pop_front().unwrap_or_default() };
        line.clear();
        let _ = write!(line, "{:>6}.{:03} {what}", now / 1000, now % 1000);
        if self.aloud {
            println!("{line}");
        }
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash = line.as_bytes().iter().fold(self.hash ^ 0xcbf2_9ce4_8422_2325, add);
        self.lines.push_back(line);
    }

    /// All that happened, as one number.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last that happened.
    pub fn last(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
