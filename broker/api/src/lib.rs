//! What operator and broker say to each other: the operator writes a `Config`, the broker answers with a `Status`.

mod access;
mod config;
mod quantity;
mod status;

pub use access::*;
pub use config::*;
pub use quantity::{ByteSize, QuantityError, Seconds};
pub use status::*;
