//! What a link counted.

use std::collections::BTreeMap;

use super::outlet::DropReason;

/// Counters since the start of the node.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Messages that the remote acknowledged; of QoS 0: that were written.
    pub sent: u64,
    /// Messages taken from the remote.
    pub received: u64,
    /// Messages from the remote that were taken before.
    pub repeated: u64,
    dropped: [u64; DropReason::ALL.len()],
}

// === impl Counters ===

impl Counters {
    /// Counts messages dropped.
    pub fn dropped(&mut self, reason: DropReason, messages: u64) {
        self.dropped[reason as usize] += messages;
    }

    /// Dropped messages by the names of the reasons; those that never occurred are left out.
    pub fn by_reason(&self) -> BTreeMap<String, u64> {
        let counted = DropReason::ALL.into_iter().zip(self.dropped).filter(|(_, messages)| *messages > 0);
        counted.map(|(reason, messages)| (reason.name().to_owned(), messages)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        let mut counters = Counters::default();
        for (count, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, count);
            counters.dropped(reason, count as u64);
        }
        let by_reason = counters.by_reason();
        assert_eq!(by_reason.len(), DropReason::ALL.len() - 1);
        assert_eq!(by_reason[DropReason::Malformed.name()], 10);
    }
}
