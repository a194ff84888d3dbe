//! Heartbeats of one connection: they cross, come back, and bear what each side wants and holds.

use std::time::Duration;

use super::Now;
use super::marks::Version;

/// A heartbeat, or the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// It answers one of ours.
    pub answer: bool,
    /// The sender's lanes of messages go over this connection.
    pub brings: bool,
    /// The number of the heartbeat, which the answer repeats.
    pub number: u64,
    /// What the sender wants: version and digest.
    pub wanted: (Version, u64),
    /// What the sender holds of what the receiver wants.
    pub held: (Version, u64),
}

/// The state of heartbeats on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    interval: Duration,
    number: u64,
    /// When the newest was sent.
    sent: Option<Now>,
    /// When a heartbeat of ours was last known to have crossed and come back.
    answered: Now,
    /// When anything was last heard.
    heard: Now,
    /// Bytes that came on the connection by then.
    received: u64,
    /// Of these, what had come when the last answer did.
    received_before: u64,
    round_trip: Option<Duration>,
}

/// What the pulse asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urge {
    /// Nothing.
    Wait,
    /// Send a heartbeat with this number.
    Beat(u64),
    /// The connection is dead.
    Lost,
}

/// Intervals without anything heard after which a connection is dead.
const SILENT: u32 = 3;

/// Intervals without an answer, while other things are heard, after which it is dead, beside the time that those may take:
/// a heartbeat waits behind what is under way, and the answer behind what came since the last one.
const UNANSWERED: u32 = 12;

/// Bytes that the slowest network carries in a second. On one that is slower, a window of large batches is sent again
/// and again.
const SLOWEST: u64 = 4096;

/// Bytes of a heartbeat.
const LEN: usize = 57;

// === impl Beat ===

impl Beat {
    /// The payload.
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0] = u8::from(self.answer) | u8::from(self.brings) << 1;
        let (wanted, held) = (self.wanted, self.held);
        let numbers = [self.number, wanted.0.epoch, wanted.0.number, wanted.1, held.0.epoch, held.0.number, held.1];
        for (place, number) in out[1..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        out
    }

    /// Reads a payload; longer ones are of a newer version, and read as far as they are known.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (flags, numbers) = payload.first_chunk::<LEN>()?.split_first()?;
        let mut numbers =
            numbers.chunks_exact(8).map(|n| u64::from_be_bytes(n.try_into().expect("chunks of 8 have 8 bytes")));
        let mut next = || numbers.next();
        let number = next()?;
        let wanted = (Version { epoch: next()?, number: next()? }, next()?);
        let held = (Version { epoch: next()?, number: next()? }, next()?);
        let (answer, brings) = (flags & 1 != 0, flags & 2 != 0);
        (*flags <= 3).then_some(Self { answer, brings, number, wanted, held })
    }
}

// === impl Pulse ===

impl Pulse {
    /// The pulse of a connection that stands since now.
    pub fn new(interval: Duration, now: Now) -> Self {
        Self {
            interval,
            number: 0,
            sent: None,
            answered: now,
            heard: now,
            received: 0,
            received_before: 0,
            round_trip: None,
        }
    }

    /// Another interval from now on.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// What is due, with so many bytes under way.
    pub fn tick(&mut self, under_way: usize, now: Now) -> Urge {
        let silent = now.saturating_sub(self.heard) > self.interval * SILENT;
        let before_it = under_way as u64 + (self.received - self.received_before);
        let patience = self.interval * UNANSWERED + Duration::from_secs(before_it / SLOWEST);
        if silent || now.saturating_sub(self.answered) > patience {
            Urge::Lost
        } else if self.sent.is_none_or(|sent| now.saturating_sub(sent) >= self.interval) {
            Urge::Beat(self.beat(now))
        } else {
            Urge::Wait
        }
    }

    /// A heartbeat is sent now, due or not; its number.
    pub fn beat(&mut self, now: Now) -> u64 {
        self.number += 1;
        self.sent = Some(now);
        self.number
    }

    /// Anything was heard.
    pub fn heard(&mut self, now: Now) {
        self.heard = self.heard.max(now);
    }

    /// So many bytes came in all, the last of them at this time.
    pub fn received(&mut self, bytes: u64, at: Now) {
        self.received = self.received.max(bytes);
        self.heard(at);
    }

    /// An answer came.
    pub fn answered(&mut self, number: u64, now: Now) {
        self.answered = now;
        self.received_before = self.received;
        if let Some(sent) = self.sent.filter(|_| number == self.number) {
            self.round_trip = Some(now.saturating_sub(sent));
        }
    }

    /// True if a heartbeat came back lately.
    pub fn is_steady(&self, now: Now) -> bool {
        self.round_trip.is_some() && now.saturating_sub(self.answered) <= self.interval * SILENT
    }

    /// The time that the last answered heartbeat took there and back.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_heartbeat_comes_out_as_it_went_in() {
        let beat = Beat {
            answer: true,
            brings: true,
            number: 1,
            wanted: (Version { epoch: 2, number: 3 }, 4),
            held: (Version { epoch: 5, number: 6 }, u64::MAX),
        };
        assert_eq!(Beat::decode(&beat.encode()), Some(beat));
        assert_eq!(Beat::decode(&beat.encode()[1..]), None);
    }

    #[test]
    fn silence_of_three_intervals_is_death() {
        let mut pulse = Pulse::new(SECOND, SECOND);
        assert_eq!(pulse.tick(0, SECOND), Urge::Beat(1));
        assert_eq!(pulse.tick(0, SECOND * 4), Urge::Beat(2));
        assert_eq!(pulse.tick(0, SECOND * 4 + SECOND / 2), Urge::Lost);
    }

    #[test]
    fn an_unanswered_heartbeat_is_death_even_if_other_things_are_heard() {
        let mut pulse = Pulse::new(SECOND, Duration::ZERO);
        for second in 0..=12 {
            pulse.heard(SECOND * second);
            assert_ne!(pulse.tick(0, SECOND * second), Urge::Lost, "{second}");
        }
        pulse.heard(SECOND * 13);
        assert_eq!(pulse.tick(0, SECOND * 13), Urge::Lost);
    }

    #[test]
    fn a_heartbeat_has_the_time_that_what_is_under_way_before_it_may_take() {
        let mut pulse = Pulse::new(SECOND, Duration::ZERO);
        pulse.heard(SECOND * 268);
        assert_ne!(pulse.tick(1 << 20, SECOND * 268), Urge::Lost);
        pulse.heard(SECOND * 269);
        assert_eq!(pulse.tick(1 << 20, SECOND * 269), Urge::Lost);
    }

    #[test]
    fn an_answer_has_the_time_that_what_came_before_it_took() {
        let mut pulse = Pulse::new(SECOND, Duration::ZERO);
        pulse.received(1 << 20, SECOND * 268);
        assert_ne!(pulse.tick(0, SECOND * 268), Urge::Lost);
        pulse.answered(1, SECOND * 268);
        pulse.received(1 << 20, SECOND * 281);
        assert_eq!(pulse.tick(0, SECOND * 281), Urge::Lost);
    }

    #[test]
    fn the_round_trip_is_that_of_the_newest_heartbeat() {
        let mut pulse = Pulse::new(SECOND, Duration::ZERO);
        assert_eq!(pulse.beat(SECOND), 1);
        assert!(!pulse.is_steady(SECOND));
        pulse.answered(1, SECOND * 3 / 2);
        assert_eq!(pulse.round_trip(), Some(SECOND / 2));
        assert!(pulse.is_steady(SECOND * 4) && !pulse.is_steady(SECOND * 5));
    }
}
