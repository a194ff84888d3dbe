//! SIGINT and SIGTERM, which ask a program to stop.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals.
pub struct Signals(Signal, Signal);

impl Signals {
    /// Listens to them from now on: they no longer end the process by themselves.
    ///
    /// # Errors
    /// The system lets no handler be set.
    pub fn listen() -> Result<Self> {
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        match signals {
            (Ok(interrupt), Ok(terminate)) => Ok(Self(interrupt, terminate)),
            (Err(error), _) | (_, Err(error)) => Err(error).context("signals cannot be listened for"),
        }
    }

    /// Awaits the next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
