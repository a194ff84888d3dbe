//! A publication that outlives the read it came with: kept once, shared by all that wait for it.

mod debt;
mod delivery;

pub use debt::{Account, Debt, LISTED_MAX, Ledger};
pub use delivery::Delivery;

use crate::clock::Millis;
use crate::codec::publish::Layout;

/// A PUBLISH packet with its layout, without topic alias, and the moment it expires.
#[derive(Debug)]
pub struct Message {
    frame: Box<[u8]>,
    layout: Layout,
    expires_at: Option<Millis>,
    debt: Option<Debt>,
}

// === impl Message ===

impl Message {
    /// Keeps a copy of `frame`, which `layout` describes.
    pub fn new(frame: &[u8], layout: Layout, expires_at: Option<Millis>) -> Self {
        Self { frame: frame.into(), layout, expires_at, debt: None }
    }

    /// The same, held for another node.
    pub fn with_debt(self, debt: Option<Debt>) -> Self {
        Self { debt, ..self }
    }

    /// What another node keeps for the sake of it.
    pub fn debt(&self) -> Option<&Debt> {
        self.debt.as_ref()
    }

    /// The whole packet.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Where its parts are.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// When it must not be delivered any more `[MQTT-3.3.2-5]`; `None`: never.
    pub fn expires_at(&self) -> Option<Millis> {
        self.expires_at
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What is left of the Message Expiry Interval, in seconds rounded up, to be sent instead of the one that came
    /// `[MQTT-3.3.2-6]`; `None` if it never expires.
    pub fn expiry_left(&self, now: Millis) -> Option<u32> {
        self.expires_at.map(|at| u32::try_from(at.since(now).0.div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::publish::{self, Parts};
    use crate::codec::{Qos, Version};

    /// A QoS 1 message of version 5.
    pub fn message(topic: &str, payload: &[u8]) -> Message {
        let mut frame = Vec::new();
        let layout = publish::encode(
            &mut frame,
            &Parts {
                version: Version::V5,
                qos: Qos::AtLeastOnce,
                retain: false,
                dup: false,
                packet_id: 1,
                topic: topic.as_bytes(),
                properties: &[],
                subscription_ids: &[],
                payload,
            },
        );
        Message::new(&frame, layout, None)
    }

    #[test]
    fn what_is_left_of_the_expiry_is_rounded_up_and_never_negative() {
        let layout = message("t", b"").layout();
        let message = Message::new(message("t", b"").frame(), layout, Some(Millis(2_500)));
        assert_eq!(message.expiry_left(Millis(0)), Some(3));
        assert_eq!(message.expiry_left(Millis(2_000)), Some(1));
        assert_eq!(message.expiry_left(Millis(9_000)), Some(0));
        assert!(!message.is_expired(Millis(2_499)) && message.is_expired(Millis(2_500)));
    }
}
