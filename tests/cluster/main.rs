//! Clusters of several nodes, as processes: one broker to its clients, whatever happens between the nodes.

mod evacuation;
mod faults;
mod flow;
mod links;
mod members;
mod partings;
mod retained;
mod sessions;
mod shared;
