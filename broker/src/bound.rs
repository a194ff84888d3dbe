//! Bounds that are constants, as they are in force: a simulation makes them small, to see what happens at them.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    /// No bound is larger than this on this thread, in a simulation.
    static SMALL: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// From now on, no bound is larger than this on this thread.
#[cfg(test)]
pub fn make_small(most: usize) {
    SMALL.set(most);
}

/// What a bound is that is usually so.
#[inline]
pub fn now(usual: usize) -> usize {
    #[cfg(test)]
    let usual = usual.min(SMALL.get());
    usual
}
