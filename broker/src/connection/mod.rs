//! A connection before it is a client: TLS, CONNECT, authentication, each within one time limit.

mod handshake;

pub use handshake::{Door, Guests, Handshake, greet};
