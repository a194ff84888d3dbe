//! Where session state, queues and retained messages outlive a process.
//!
//! A shard tells its store what changes as it changes, commits once at the end of a turn, and lets nothing leave
//! that the commit covers before it is durable: neither an acknowledgement to a publisher nor a packet id to a
//! subscriber. One write for all that a turn did is what makes durability cheap.

mod memory;

pub use memory::Memory;

use crate::message::{Delivery, Message};

/// One change of hard state. Only sessions that outlive their connection are told of.
#[derive(Debug)]
pub enum Change<'a> {
    /// A session began, or its connection changed what is to be remembered of it.
    Session {
        /// Client id.
        client_id: &'a str,
        /// Seconds that it outlives its connection.
        expiry_seconds: u32,
    },
    /// A session ended.
    Ended {
        /// Client id.
        client_id: &'a str,
    },
    /// A subscription was made or changed; `options` as the packet has them.
    Subscribed {
        /// Client id.
        client_id: &'a str,
        /// The filter as the client wrote it, with `$share` if so.
        filter: &'a str,
        /// Subscription Options byte `[MQTT-3.8.3-1]`.
        options: u8,
        /// Subscription Identifier, 0 for none.
        subscription_id: u32,
    },
    /// A subscription ended.
    Unsubscribed {
        /// Client id.
        client_id: &'a str,
        /// The filter as the client wrote it.
        filter: &'a str,
    },
    /// A message waits for the client.
    Queued {
        /// Client id.
        client_id: &'a str,
        /// The message.
        delivery: &'a Delivery,
    },
    /// A message that waited got a packet id: it must be durable before the PUBLISH leaves.
    Assigned {
        /// Client id.
        client_id: &'a str,
        /// Its packet id.
        packet_id: u16,
        /// The message; the oldest of the queue if `from_queue`.
        delivery: &'a Delivery,
        /// It stood in the queue.
        from_queue: bool,
    },
    /// PUBREC came: from here on only PUBREL is sent.
    Received {
        /// Client id.
        client_id: &'a str,
        /// Packet id.
        packet_id: u16,
    },
    /// The last acknowledgement came.
    Completed {
        /// Client id.
        client_id: &'a str,
        /// Packet id.
        packet_id: u16,
    },
    /// A QoS 2 publish of the client was taken: durable before PUBREC.
    InboundTaken {
        /// Client id.
        client_id: &'a str,
        /// Packet id.
        packet_id: u16,
    },
    /// The client released it.
    InboundReleased {
        /// Client id.
        client_id: &'a str,
        /// Packet id.
        packet_id: u16,
    },
    /// The retained message of a topic, or none any more.
    Retained {
        /// The topic.
        topic: &'a str,
        /// The message.
        message: Option<&'a Message>,
    },
}

/// Whether what was written before a commit is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is.
    Durable,
    /// It will be when `Store::durable` has reached this number.
    Pending(u64),
}

/// The hard state of one shard.
pub trait Store: Send {
    /// Takes a change; it is durable after the next commit is.
    fn write(&mut self, change: Change<'_>);

    /// Ends a turn.
    fn commit(&mut self) -> Commit;

    /// The highest commit that is durable.
    fn durable(&self) -> u64;

    /// Whether a session can outlive the process; told in documentation and status.
    fn is_persistent(&self) -> bool;
}
