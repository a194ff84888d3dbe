//! The head of a batch: which lane it belongs to, and its place there.

/// Topic of the handshake.
pub const TOPIC_HELLO: &str = "$LINK/v1/hello";
/// Topic of batches.
pub const TOPIC_LANE: &str = "$LINK/v1/lane";
/// Topic of heartbeats.
pub const TOPIC_BEAT: &str = "$LINK/v1/beat";
/// Topic of control messages.
pub const TOPIC_CONTROL: &str = "$LINK/v1/control";
/// Topic of what passes along ways.
pub const TOPIC_WAY: &str = "$LINK/v1/way";

/// Bytes of a batch, head included, beyond which no second record is put in.
pub const BATCH_MAX: usize = 65_536;

/// Bytes that the PUBLISH around a payload has at most: fixed header, topic, packet id, no properties.
pub const PUBLISH_MAX: usize = 5 + 2 + TOPIC_CONTROL.len() + 2 + 1;

/// Lane of QoS 1 and 2 messages and marks: in order, delivered once.
pub const LANE_MESSAGES: u8 = 0;
/// Lane of interest: in order, delivered once, and not behind a backlog of messages.
pub const LANE_INTEREST: u8 = 1;
/// Lane of QoS 0 messages: in order, may lose.
pub const LANE_LOSSY: u8 = 2;

/// Bytes of a head.
pub const HEAD: usize = 20;

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The lane.
    pub lane: u8,
    /// Records that follow.
    pub records: u16,
    /// The place of this batch in the lane, from 1.
    pub sequence: u64,
    /// All between this place and `sequence` was dropped, or is known to have been taken.
    pub previous: u64,
}

// === impl Head ===

impl Head {
    /// The head and what follows it; `None` if the bytes are too few, the numbers impossible, or a flag is set that
    /// this version does not know.
    pub fn read(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = payload.split_first_chunk::<HEAD>()?;
        let [lane, flags, high, low, places @ ..] = head;
        let (sequence, previous) = places.split_at(8);
        let head = Self {
            lane: *lane,
            records: u16::from_be_bytes([*high, *low]),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
            previous: u64::from_be_bytes(previous.try_into().ok()?),
        };
        (*flags == 0 && head.previous < head.sequence).then_some((head, rest))
    }

    /// Writes the head over the first [`HEAD`] bytes of a batch.
    pub fn write(&self, batch: &mut [u8]) {
        batch[0] = self.lane;
        batch[1] = 0;
        batch[2..4].copy_from_slice(&self.records.to_be_bytes());
        batch[4..12].copy_from_slice(&self.sequence.to_be_bytes());
        batch[12..HEAD].copy_from_slice(&self.previous.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head { lane: LANE_LOSSY, records: 513, sequence: 7 << 40, previous: 3 };
        let mut batch = vec![0; HEAD + 2];
        head.write(&mut batch);
        assert_eq!(Head::read(&batch), Some((head, [0, 0].as_slice())));
        assert_eq!(Head::read(&batch[..HEAD - 1]), None);
        batch[1] = 1;
        assert_eq!(Head::read(&batch), None, "an unknown flag");
    }

    #[test]
    fn a_batch_that_follows_itself_is_refused() {
        let mut batch = vec![0; HEAD];
        Head { lane: 0, records: 0, sequence: 4, previous: 4 }.write(&mut batch);
        assert_eq!(Head::read(&batch), None);
    }
}
