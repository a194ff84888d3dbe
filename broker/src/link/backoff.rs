//! When to dial, and which server: each in turn, with pauses that double and have jitter.

use std::time::Duration;

/// The state of dialling for one link.
#[derive(Clone, Copy, Debug)]
pub struct Dialling {
    servers: usize,
    longest: Duration,
    /// Failures since the last success.
    failures: u32,
    next: usize,
}

/// The shortest pause.
const SHORTEST: Duration = Duration::from_millis(250);

// === impl Dialling ===

impl Dialling {
    /// Begins with the first of so many servers (at least one); no pause is longer than `longest`.
    pub fn new(servers: usize, longest: Duration) -> Self {
        Self { servers: servers.max(1), longest: longest.max(SHORTEST), failures: 0, next: 0 }
    }

    /// The same, beginning with this server, or the one that many places on from the first.
    #[must_use]
    pub fn beginning_with(self, server: usize) -> Self {
        Self { next: server % self.servers, ..self }
    }

    /// The index of the server to dial.
    pub fn server(&self) -> usize {
        self.next
    }

    /// It failed, or what stood broke: the next server is next, after this pause. `random` spreads those that failed
    /// together: the pause is between a half and the whole of a quarter second doubled with each failure.
    pub fn failed(&mut self, random: u64) -> Duration {
        self.next = (self.next + 1) % self.servers;
        let doubled = SHORTEST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.longest);
        let half = whole / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_millis(random % spread)
    }

    /// A link stands over it: the same server is dialled when it breaks, and pauses begin anew.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_tried_in_turn() {
        let mut dialling = Dialling::new(3, Duration::from_secs(10));
        let tried: Vec<_> = (0..5)
            .map(|_| {
                let server = dialling.server();
                dialling.failed(0);
                server
            })
            .collect();
        assert_eq!(tried, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_lie_in_its_upper_half() {
        let longest = Duration::from_secs(10);
        for random in [0, 1, 77, u64::MAX] {
            let mut dialling = Dialling::new(1, longest);
            for failure in 0..80 {
                let whole = longest.min(Duration::from_millis(250) * 2_u32.pow(failure.min(20)));
                let pause = dialling.failed(random);
                assert!(pause >= whole / 2 && pause <= whole, "{failure}: {pause:?}");
            }
            dialling.succeeded();
            assert!(dialling.failed(random) <= Duration::from_millis(250));
        }
    }
}
