//! `tombolo-demo`: plays the project's story with `tombolo up` and an MQTT client of somebody else.

mod certificates;
mod process;
mod second_act;
mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use process::Up;

/// Plays the story: two clusters, linked both ways; one message published at one side is seen once at each.
#[derive(Parser)]
#[command(name = "tombolo-demo", version, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    play: Play,
}

#[derive(Subcommand)]
enum Action {
    /// Make the certificates of examples/tls: Secrets for the clusters, files for clients.
    Certificates {
        /// Folder that they are written to.
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct Play {
    /// The example to play.
    #[arg(long, value_name = "DIR", default_value = "examples/hybrid-cloud")]
    example: PathBuf,
    /// The example of the second act, in which each side has several nodes; only after the first example.
    #[arg(long, value_name = "DIR", default_value = "examples/hybrid-nodes")]
    second: PathBuf,
    /// The program `tombolo` [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    tombolo: Option<PathBuf>,
    /// Leave everything running, and print commands to try by hand.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let Command { action, play: flags } = Command::parse();
    let outcome = match action {
        Some(Action::Certificates { folder }) => certificates::write(&folder).map(|()| {
            println!("written to {}: {}", folder.display(), certificates::FILES.join(", "));
        }),
        None => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime for asynchronous work")
            .and_then(|runtime| runtime.block_on(play(&flags))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(flags: &Play) -> Result<()> {
    if !flags.example.is_dir() {
        bail!(
            "{} is no folder; run this from the root of the repository, or name one with --example",
            flags.example.display()
        );
    }
    let tombolo = match &flags.tombolo {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("this program's own path is not known")?.with_file_name("tombolo"),
    };
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let mut manifests = vec![flags.example.clone()];
    // The example names Secrets of certificates that are never stored: they are made here for this run.
    let certificates = flags.example.ends_with("tls").then(|| scratch.path().join("certificates"));
    if let Some(folder) = &certificates {
        certificates::write(folder)?;
        if !flags.example.join(certificates::FILES[0]).exists() {
            manifests.push(folder.join(certificates::FILES[0]));
        }
    }
    let certificates = match certificates {
        Some(_) if flags.example.join(certificates::FILES[0]).exists() => Some(flags.example.clone()),
        other => other,
    };
    let mut up = Up::start(&tombolo, &manifests, &scratch.path().join("data"), &[]).await?;
    let outcome = story::play(&mut up, certificates.as_deref()).await;
    match (outcome, flags.keep) {
        (Ok(sides), true) => {
            story::print_commands(&sides, certificates.as_deref());
            up.wait_for_interrupt().await?;
            Ok(())
        }
        (outcome, _) => {
            let stopped = up.stop().await;
            let sides = outcome?;
            stopped?;
            println!(
                "passed: what is published at one side is seen once at each, {} and {}",
                sides[0].name, sides[1].name
            );
            if flags.example.ends_with("hybrid-cloud") {
                second_act(flags, &tombolo, scratch.path()).await
            } else {
                Ok(())
            }
        }
    }
}

async fn second_act(flags: &Play, tombolo: &Path, scratch: &Path) -> Result<()> {
    println!();
    let up = Up::start(tombolo, std::slice::from_ref(&flags.second), &scratch.join("data-of-nodes"), &["--processes"])
        .await?;
    let outcome = second_act::play(&up).await;
    let stopped = up.stop().await;
    outcome?;
    stopped?;
    println!("passed: a node was killed, and nothing that the others have acknowledged was lost or doubled");
    Ok(())
}
