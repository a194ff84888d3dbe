//! A node that runs, in this process or in one of its own, and what happens when its process ends.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tombolo_broker::Broker;
use tombolo_broker_api::Status;

use super::process::Process;
use super::screen::Screen;
use crate::node::STOP_DEADLINE;
use crate::status::ask;

/// Time that a process has to answer; the others are shown so much later.
const ANSWER: Duration = Duration::from_secs(1);
/// First pause before a process that ended is started again; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A process that ran so long begins with the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);

/// Where nodes run.
#[derive(Clone)]
pub enum Mode {
    /// All in this process.
    Here,
    /// Each in a process of its own; what they log is shown on the screen.
    Processes(Screen),
}

/// A node that runs.
pub enum Running {
    /// In this process.
    Here(Box<Broker>),
    /// In a process of its own.
    Process(Process),
}

/// When a process that ended is started again.
#[derive(Clone, Copy, Debug)]
pub struct Revival {
    started: Instant,
    pause: Duration,
}

// === impl Running ===

impl Running {
    /// Starts the node of a configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(mode: Mode, node: String, config_file: &Path) -> Result<Self> {
        let started = match mode {
            Mode::Here => Broker::start(config_file.to_owned())
                .await
                .map(|broker| Self::Here(Box::new(broker)))
                .map_err(anyhow::Error::from),
            Mode::Processes(screen) => Process::start(&node, config_file, &screen).await.map(Self::Process),
        };
        started.with_context(|| format!("{node} does not start (its configuration: {})", config_file.display()))
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        match self {
            Self::Here(broker) => broker.admin_address(),
            Self::Process(process) => process.admin(),
        }
    }

    /// Process that it runs in.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Here(_) => std::process::id(),
            Self::Process(process) => process.id(),
        }
    }

    /// What it says about itself; none if it does not answer.
    pub async fn status(&self) -> Option<Status> {
        match self {
            Self::Here(broker) => Some(broker.status().await),
            Self::Process(process) => {
                let admin = process.admin().to_string();
                tokio::task::spawn_blocking(move || ask(&admin, ANSWER).ok()).await.ok().flatten()
            }
        }
    }

    /// How its process ended, if it did by itself.
    pub fn ended(&mut self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Process(process) => process.ended().map(|status| status.to_string()),
        }
    }

    /// Stops it: clients are told.
    pub async fn stop(self) {
        match self {
            Self::Here(broker) => broker.stop(STOP_DEADLINE).await,
            Self::Process(process) => process.stop().await,
        }
    }
}

// === impl Revival ===

impl Revival {
    /// Of a process that was started now.
    pub fn new(now: Instant) -> Self {
        Self { started: now, pause: PAUSE_MIN }
    }

    /// The pause that a process makes which ended now, and what holds for it when it is started after that.
    pub fn after(self, now: Instant) -> (Duration, Self) {
        let pause = if now.duration_since(self.started) >= STEADY { PAUSE_MIN } else { self.pause };
        (pause, Self { started: now + pause, pause: (pause * 2).min(PAUSE_MAX) })
    }

    /// Whether the pause is over.
    pub fn is_due(self, now: Instant) -> bool {
        now >= self.started
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_of_a_process_that_ends_at_once_double_and_begin_anew_when_it_ran_for_a_minute() {
        let mut now = Instant::now();
        let mut revival = Revival::new(now);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let (pause, next) = revival.after(now);
            assert_eq!(pause, Duration::from_secs(seconds));
            assert!(!next.is_due(now) && next.is_due(now + pause));
            (revival, now) = (next, now + pause);
        }
        assert_eq!(revival.after(now + STEADY).0, PAUSE_MIN);
    }
}
