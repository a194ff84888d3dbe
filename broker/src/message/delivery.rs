//! One message as one session will get it.

use std::sync::Arc;

use super::Message;
use crate::codec::Qos;

/// A message together with what this session's subscriptions make of it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message, shared by all that wait for it.
    pub message: Arc<Message>,
    /// Subscription identifiers to tell `[MQTT-3.3.4-3]`; `None` for none.
    pub subscription_ids: Option<Box<[u32]>>,
    /// QoS of the delivery: the lower of publish and subscription `[MQTT-3.8.4-8]`.
    pub qos: Qos,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// The number of the shared subscription by which it came; 0: by none.
    pub group: u32,
}

// === impl Delivery ===

impl Delivery {
    /// Bytes that this delivery is charged with in a queue.
    pub fn cost(&self) -> usize {
        self.message.frame().len() + self.subscription_ids.as_ref().map_or(0, |ids| ids.len() * 4)
    }
}
