//! The simulation of a cluster: the real shards of several nodes, clients, and a network that fails, from a seed.
//!
//! One thread, no socket, no clock: `network` carries bytes, `node` takes the turns of shards in any order, `client` speaks
//! MQTT, `plan` says what happens, and `oracle` knows what MQTT promises. A failure prints the seed, the fewest steps that
//! still fail, and what happened last. `SEED=n` with the name of a test runs that schedule alone, `TRACE=1` prints all of it,
//! `SCHEDULES=n` runs so many of each kind, `FROM=n` those from that seed on, `ALL=1` goes on after a failure and lists them.

mod client;
mod crossing;
mod deeds;
mod ending;
mod leaving;
mod linking;
mod links;
mod members;
mod network;
mod node;
mod observe;
mod oracle;
mod packets;
mod plan;
mod run;
mod sabotage;
mod steps;
mod trace;
mod tuning;
mod world;
