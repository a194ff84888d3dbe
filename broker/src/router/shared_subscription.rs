//! A shared subscription of the clients of one node, as that node tells the other nodes of its cluster.

use std::sync::Arc;

use crate::topic::Filter;

/// The members of a shared subscription at one node, as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSubscription {
    /// The share name.
    pub group: Arc<str>,
    /// The filter.
    pub filter: Filter,
    /// Given by the node, unique there in its life: a message for a member of it bears this number.
    pub number: u32,
    /// Members that are connected.
    pub online: u32,
    /// Members that are away. With no member of either kind the node has left the group.
    pub offline: u32,
}

// === impl SharedSubscription ===

impl SharedSubscription {
    /// No member is left.
    pub fn is_empty(&self) -> bool {
        self.online == 0 && self.offline == 0
    }
}
