//! A load generator for any MQTT broker, and bare relays that give the limit of the machine.

pub mod bench;
pub mod clock;
pub mod connections;
pub mod histogram;
pub mod load;
pub mod login;
pub mod mqtt;
pub mod process;
pub mod relay;
pub mod report;
pub mod scenario;
pub mod traffic;
