//! The configuration folder of a node: read whole, checked whole, watched, and compared with what runs.

mod base64;
mod cluster;
mod credential;
mod diff;
mod load;
mod problem;
mod server;
mod validate;
mod watch;

#[cfg(test)]
mod tests;

pub use cluster::check_node;
pub use credential::{Credential, CredentialError, Secret};
pub use diff::{Changes, diff};
pub use load::{DialFiles, Loaded, TlsFiles, load};
pub use problem::{Problem, Problems};
pub use server::{Server, ServerError};
pub use watch::{EVERY, Watch, watch};
