//! Clusters of several nodes, as processes: one broker to its clients, whatever happens between the nodes.

mod certificates;
mod evacuation;
mod faults;
mod flow;
mod links;
mod members;
mod odd_nodes;
mod partings;
mod retained;
mod sessions;
mod shared;
mod wills;
