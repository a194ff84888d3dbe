//! What operator and broker say to each other: the operator writes a `Config`, the broker answers with a `Status`.

mod config;
mod quantity;
mod status;

pub use config::*;
pub use quantity::{ByteSize, QuantityError, Seconds};
pub use status::*;
