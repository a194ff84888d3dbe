//! What MQTT calls session state: messages on their way to a client, messages on their way from it, and its queue.
//!
//! All of it is pure: no socket, no clock, no store. The shard that owns a session drives it.

mod inbound;
mod outbound;
mod queue;

pub use inbound::{Arrival, Inbound};
pub use outbound::{Acknowledged, InFlight, NotInFlight, Outbound, Stage};
pub use queue::{Limits, Queue};

/// Everything a session needs from its first QoS 1 or 2 message on; sessions without one pay nothing for it.
#[derive(Default)]
pub struct Flow {
    /// Towards the client.
    pub outbound: Outbound,
    /// From the client.
    pub inbound: Inbound,
    /// What waits for room in `outbound`, or for the client to come back.
    pub queue: Queue,
}
