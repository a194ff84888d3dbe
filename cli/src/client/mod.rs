//! `tombolo pub`, `tombolo sub` and `tombolo ping`: MQTT clients for the command line, with the flags of mosquitto's.

pub mod connection;
pub mod format;
pub mod options;
pub mod ping;
pub mod publish;
pub mod subscribe;
pub mod tls;

#[cfg(test)]
mod flags_tests;
