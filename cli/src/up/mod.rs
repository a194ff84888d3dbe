//! `tombolo up`: runs the clusters of manifest files on this machine, and follows the files as they change.

mod events;
mod fleet;
mod kept;
mod names;
mod plan;
mod process;
pub mod run_file;
mod running;
mod screen;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::check::{self, Desired};
use crate::data_dir::{self, DataDir};
use crate::node::log_filter;
use crate::problem::{Problem, count};
use crate::signals::Signals;
use crate::source::{self, Source};
use crate::table;
use crate::view::Readiness;
use events::Follow;
use fleet::{Fleet, TakenPort};
use running::Mode;
use screen::Screen;

/// Exit code for manifests with a mistake.
pub const WRONG_MANIFEST: u8 = 2;

/// How often files and nodes are looked at. Files are read whole and compared: that costs microseconds for what people
/// write by hand, and works on every file system and with every way editors have of saving.
const LOOK: Duration = Duration::from_millis(250);
/// How often the table is drawn when nothing happens.
const DRAW: Duration = Duration::from_secs(1);

/// Flags of `tombolo up`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Manifest file, or folder of them; may be given several times.
    #[arg(short, long, value_name = "FILE|DIR", required = true, num_args = 1..)]
    pub file: Vec<PathBuf>,
    /// Where nodes keep their data [default: $XDG_STATE_HOME/tombolo or ~/.local/state/tombolo].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address that listeners are opened on.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,
    /// File that exists while every listener listens and every enabled link is ready.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Run each node in a process of its own; one that ends is started again.
    #[arg(long)]
    pub processes: bool,
    /// Print lines, also on a terminal.
    #[arg(long)]
    pub plain: bool,
}

/// Runs until a signal says stop; exit code 0 then, 2 when the manifests have a mistake, and nothing was started.
///
/// # Errors
/// The data folder is in use or cannot be written, a port is taken, a node does not start.
pub async fn run(flags: Flags) -> Result<ExitCode> {
    let screen = if flags.plain { Screen::lines() } else { Screen::standard() };
    log_to(&screen);
    let mut signals = Signals::listen()?;
    let sources = source::read(&flags.file)?;
    let desired = match check::check(&sources, &[]) {
        Ok(desired) => desired,
        Err(problems) => {
            report(&problems);
            eprintln!("{}; nothing was started", count(problems.len(), "problem"));
            return Ok(ExitCode::from(WRONG_MANIFEST));
        }
    };
    let data_dir = DataDir::open(&flags.data_dir.clone().map_or_else(data_dir::default_path, Ok)?)?;
    let mode = if flags.processes { Mode::Processes(screen.clone()) } else { Mode::Here };
    let mut fleet = Fleet::new(data_dir, flags.bind, mode);
    let taken = taken_ports(&fleet, &desired);
    if !taken.is_empty() {
        report(&taken);
        eprintln!("{}; nothing was started", count(taken.len(), "problem"));
        return Ok(ExitCode::FAILURE);
    }
    let mut ready_file = ReadyFile { path: flags.ready_file.clone() };
    ready_file.set(None)?;
    let outcome = tokio::select! {
        outcome = follow(&flags, &screen, &mut fleet, &mut ready_file, sources, desired) => outcome,
        () = signals.next() => Ok(()),
    };
    screen.release();
    screen.line("stopping");
    ready_file.set(None)?;
    tokio::select! {
        () = fleet.stop() => screen.line("stopped"),
        () = signals.next() => screen.line("stopped at once, as asked twice"),
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Starts what is desired, then goes on for ever: looks at files and nodes, and tells what changed.
async fn follow(
    flags: &Flags,
    screen: &Screen,
    fleet: &mut Fleet,
    ready_file: &mut ReadyFile,
    sources: Vec<Source>,
    mut desired: Desired,
) -> Result<()> {
    let mut say = |line: String| screen.line(&line);
    remarks(&desired, &mut say);
    fleet.apply(&desired.clusters, &mut say).await?;
    let mut files = Files { paths: &flags.file, seen: Ok(sources.clone()), applied: Ok(sources) };
    let mut following = Follow::default();
    let (mut was_ready, mut drawn_at) = (false, None::<Instant>);
    loop {
        match files.look() {
            None => {}
            Some(Err(error)) => say(format!("{error}; what ran before goes on")),
            Some(Ok(sources)) => {
                if let Some(changed) = accept(fleet, &sources, &desired, &mut say) {
                    say("manifests changed".to_owned());
                    remarks(&changed, &mut say);
                    // The files may be put right; a node that does not start is no reason to stop the others.
                    match fleet.apply(&changed.clusters, &mut say).await {
                        Ok(()) => desired = changed,
                        Err(error) => say(format!("error: {error:#}")),
                    }
                    was_ready = false;
                }
            }
        }
        fleet.revive(&mut say).await;
        let views = fleet.views().await;
        let changes = following.changes(&views);
        let changed = !changes.is_empty();
        changes.into_iter().for_each(&mut say);
        if let Err(error) = fleet.restart_where_required(&views, &mut say).await {
            say(format!("error: {error:#}"));
        }
        fleet.write_run_file(&views)?;
        let readiness = following.readiness();
        let ready = readiness.ready && fleet.is_current(&views);
        if ready && !was_ready {
            say(format!("ready: {readiness}"));
            ready_file.set(Some(readiness))?;
        } else if was_ready && !ready {
            ready_file.set(None)?;
        }
        was_ready = ready;
        if screen.is_live() && (changed || drawn_at.is_none_or(|at| at.elapsed() >= DRAW)) {
            let mut lines = table::render(&views, Screen::size().columns);
            lines.insert(0, String::new());
            lines.push(format!("{} (Ctrl-C stops)", if ready { "ready" } else { "not ready" }));
            screen.table(lines);
            drawn_at = Some(Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Checks changed files; none, and the reason said, if what ran before has to go on.
fn accept(fleet: &Fleet, sources: &[Source], running: &Desired, say: &mut impl FnMut(String)) -> Option<Desired> {
    let problems = match check::check(sources, &running.objects) {
        Ok(desired) => {
            let taken = taken_ports(fleet, &desired);
            if taken.is_empty() {
                return Some(desired);
            }
            taken
        }
        Err(problems) => problems,
    };
    let number = count(problems.len(), "problem");
    problems.iter().for_each(|problem| say(problem.to_string()));
    say(format!("{number} in the changed manifests; what ran before goes on"));
    None
}

fn taken_ports(fleet: &Fleet, desired: &Desired) -> Vec<Problem> {
    let problem = |TakenPort { namespace, cluster, field, message }| {
        let kind = crate::manifest::Kind::BrokerCluster;
        let same = |object: &&crate::manifest::Object| {
            (object.kind, &object.namespace, &object.name) == (kind, &namespace, &cluster)
        };
        desired.objects.iter().find(same).map(|object| object.problem(&field, message))
    };
    fleet.taken_ports(&desired.clusters).into_iter().filter_map(problem).collect()
}

fn remarks(desired: &Desired, say: &mut impl FnMut(String)) {
    desired.notes.iter().for_each(|note| say(format!("note: {note}")));
    desired.warnings.iter().for_each(|warning| say(format!("warning: {warning}")));
    for cluster in desired.clusters.iter().filter(|cluster| cluster.nodes() == 0) {
        say(format!("note: {} has replicas: 0 and is not started", cluster.name));
    }
}

fn report(problems: &[Problem]) {
    problems.iter().for_each(|problem| eprintln!("{problem}"));
}

/// Warnings of the broker, unless `RUST_LOG` asks for more or less.
fn log_to(screen: &Screen) {
    // A test may have set another already.
    let _ =
        tracing_subscriber::fmt().with_env_filter(log_filter()).with_ansi(false).with_writer(screen.clone()).try_init();
}

/// The manifest files as they were last seen.
struct Files<'a> {
    paths: &'a [PathBuf],
    seen: Result<Vec<Source>, String>,
    applied: Result<Vec<Source>, String>,
}

impl Files<'_> {
    /// Reads the files; what they hold once it is new and was the same twice, as saving may take two steps.
    fn look(&mut self) -> Option<Result<Vec<Source>, String>> {
        let now = source::read(self.paths).map_err(|error| format!("{error:#}"));
        let settled = now == self.seen;
        self.seen = now;
        if !settled || self.seen == self.applied {
            return None;
        }
        self.applied = self.seen.clone();
        Some(self.seen.clone())
    }
}

/// The file that says ready to scripts.
struct ReadyFile {
    path: Option<PathBuf>,
}

impl ReadyFile {
    fn set(&mut self, readiness: Option<Readiness>) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let path: &Path = path;
        let done = match readiness {
            Some(readiness) => std::fs::write(path, format!("ready: {readiness}\n")),
            None => match std::fs::remove_file(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        done.with_context(|| format!("{}: cannot be written", path.display()))
    }
}
