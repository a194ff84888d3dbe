//! A node in a process of its own: `tombolo node`, told to stop by the end of its standard input.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::oneshot;
use tracing_subscriber::fmt::MakeWriter;

use super::screen::Screen;
use crate::node::{STOP_DEADLINE, Said};

/// Time until it must say that it serves, or why not.
const START_MAX: Duration = Duration::from_secs(30);
/// Time from its own deadline for stopping until it is killed.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// Longest line that it may say of its start, in bytes.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// A process that runs; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    admin: SocketAddr,
}

// === impl Process ===

impl Process {
    /// Starts the node of a configuration and waits until it serves. What it logs comes to `screen`, behind its name.
    ///
    /// # Errors
    /// It does not start, and why.
    pub async fn start(node: &str, config_file: &Path, screen: &Screen) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        let mut command = Command::new(&program);
        command.arg("node").arg("--config").arg(config_file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for `tombolo up`, which then stops its nodes.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
        // From here on it is killed if anything fails.
        let mut process = Self { child, admin: SocketAddr::from(([0, 0, 0, 0], 0)) };
        if let Some(log) = process.child.stderr.take() {
            show(node.to_owned(), log, screen.clone())?;
        }
        let output = process.child.stdout.take().context("its output was not captured")?;
        let (line, said) = oneshot::channel();
        let read = move || {
            let mut text = String::new();
            // An error leaves an empty line, as an end does.
            let _ = BufReader::new(output.take(SAID_BYTES_MAX)).read_line(&mut text);
            // Whoever waited may have given up.
            let _ = line.send(text);
        };
        std::thread::Builder::new().name("said".to_owned()).spawn(read).context("no thread for its output")?;
        match tokio::time::timeout(START_MAX, said).await {
            Err(_) => bail!("it does not serve within {} s", START_MAX.as_secs()),
            Ok(text) => match serde_json::from_str(&text.unwrap_or_default()) {
                Ok(Said::Started(admin)) => {
                    process.admin = admin;
                    Ok(process)
                }
                Ok(Said::Failed(error)) => bail!("{error}"),
                Err(_) => bail!("it ended while it started{}", process.end_in_words()),
            },
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // It is our child, so that asking does not fail.
        self.child.try_wait().ok().flatten()
    }

    /// Has it stop, and kills it if it does not.
    pub async fn stop(mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + STOP_DEADLINE + KILL_AFTER;
        while self.ended().is_none() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn end_in_words(&mut self) -> String {
        self.child.wait().map(|status| format!(" ({status})")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows each line that the node logs.
fn show(node: String, log: ChildStderr, screen: Screen) -> Result<()> {
    let read = move || {
        for line in BufReader::new(log).split(b'\n').map_while(|line| line.ok()) {
            // A screen that is gone is no reason to stop the node.
            let line = format!("{node}: {}\n", String::from_utf8_lossy(&line));
            let _ = screen.make_writer().write_all(line.as_bytes());
        }
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(read).context("no thread for its log")?;
    Ok(())
}
