//! What the tests over processes, sockets and bytes share: brokers, raw clients, a network that fails.

pub mod admin;
pub mod binaries;
pub mod broker;
pub mod certificates;
pub mod child;
pub mod client;
pub mod cluster;
pub mod http;
pub mod links;
pub mod packet;
pub mod placement;
pub mod ports;
pub mod property;
pub mod proxy;
pub mod received;
pub mod rumqtt;
pub mod up;
pub mod wait;
