//! Counters: plain numbers that each shard owns, atomics for what is rare, and their text for Prometheus.

mod board;
mod lines;
mod moves;
mod peers;
mod reason;
mod render;
mod text;

pub use board::{Board, Counters, Events};
pub use reason::{Closed, Dropped, Refused};
pub use render::render;
pub use text::CONTENT_TYPE;
