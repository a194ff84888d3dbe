//! A `tombolo up` that runs beside the demo.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tombolo::data_dir::RUN_FILE;
use tombolo::up::run_file::RunFile;

/// Time until everything must be ready.
const READY: Duration = Duration::from_secs(60);
/// Time that stopping may take.
const STOP: Duration = Duration::from_secs(20);

/// Lines that wait to be shown; past it the program waits.
const LINES_MAX: usize = 1024;

/// The process; stopped when this is dropped.
pub struct Up {
    child: Child,
    lines: mpsc::Receiver<String>,
    data_dir: PathBuf,
}

impl Up {
    /// Starts it and waits until it says that it is ready; its lines are shown, indented.
    ///
    /// # Errors
    /// It does not start, ends, or is not ready in time.
    pub async fn start(tombolo: &Path, manifests: &[PathBuf], data_dir: &Path, flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(tombolo);
        command.arg("up").args(flags).arg("--data-dir").arg(data_dir);
        manifests.iter().for_each(|manifest| _ = command.arg("-f").arg(manifest));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        println!("$ tombolo {}", words.join(" "));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start; `cargo build -p tombolo` makes it", tombolo.display()))?;
        let output = child.stdout.take().context("its output was not captured")?;
        let mut up = Self { child, lines: lines_of(output), data_dir: data_dir.to_owned() };
        let deadline = Instant::now() + READY;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, up.lines.recv()).await {
                Err(_) => bail!("not ready within {} seconds", READY.as_secs()),
                Ok(None) => {
                    let status = up.child.wait().context("`tombolo up` cannot be waited for")?;
                    bail!(
                        "`tombolo up` ended before it was ready ({status}); it said why above. The ports stand in the \
                         manifests ({}): free them, or change them there",
                        manifests.first().map(|path| path.display().to_string()).unwrap_or_default()
                    );
                }
                Ok(Some(line)) => {
                    println!("  | {line}");
                    if line.starts_with("ready:") {
                        return Ok(up);
                    }
                }
            }
        }
    }

    /// What runs where.
    pub fn run_file(&self) -> Result<RunFile> {
        let path = self.data_dir.join(RUN_FILE);
        let content = std::fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        serde_json::from_slice(&content).with_context(|| format!("{}: not understood", path.display()))
    }

    /// Kills the process of a node without a warning.
    ///
    /// # Errors
    /// It does not run, or not in a process of its own.
    pub fn kill(&self, node: &str) -> Result<()> {
        let running = self.run_file()?;
        let pid = running.nodes.iter().find(|running| running.node == node).map(|running| running.pid.cast_signed());
        let pid = pid.filter(|pid| *pid != running.pid.cast_signed()).and_then(rustix::process::Pid::from_raw);
        let pid = pid.with_context(|| format!("{node} does not run in a process of its own"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .with_context(|| format!("{node} is not killed"))
    }

    /// Asks it to stop, as Ctrl-C and Kubernetes do, and waits.
    ///
    /// # Errors
    /// It did not stop in time, or failed.
    pub async fn stop(mut self) -> Result<()> {
        self.ask_to_stop();
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("`tombolo up` cannot be waited for")? {
                return ended(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("`tombolo up` did not stop within {} seconds", STOP.as_secs())
    }

    /// Shows its lines until Ctrl-C, which reaches it as well, or until it ends.
    ///
    /// # Errors
    /// It failed.
    pub async fn wait_for_interrupt(mut self) -> Result<()> {
        loop {
            tokio::select! {
                line = self.lines.recv() => match line {
                    Some(line) => println!("  | {line}"),
                    None => return ended(self.child.wait().context("`tombolo up` cannot be waited for")?),
                },
                _ = tokio::signal::ctrl_c() => return self.stop().await,
            }
        }
    }

    fn ask_to_stop(&self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.ask_to_stop();
            // Nothing of the demo is left behind.
            let _ = self.child.wait();
        }
    }
}

fn ended(status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { bail!("`tombolo up` ended with {status}") }
}

/// The lines of a program, read by a thread, as reading blocks.
fn lines_of(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
