//! TLS of listeners and of dialled links: configurations from PEM files, certificates' names and dates, faults by name.

mod build;
mod certificate;
mod fault;

pub use build::{TlsError, client_config, random, server_config};
pub use certificate::{Certificate, ends, expiring, is_for};
pub use fault::TlsFault;

#[cfg(test)]
pub mod fixture;

#[cfg(test)]
mod tests;
