//! `tombolo render`: prints what the operator would apply for manifests.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use tombolo_operator::plan::children;

use crate::check;
use crate::problem::count;
use crate::source;
use crate::up::WRONG_MANIFEST;

/// Flags of `tombolo render`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Manifest file, or folder of them; may be given several times.
    #[arg(short, long, value_name = "FILE|DIR", required = true, num_args = 1..)]
    pub file: Vec<PathBuf>,
}

/// Prints the objects as YAML documents; exit code 2 when the manifests have a mistake.
///
/// # Errors
/// Files that cannot be read.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let sources = source::read(&flags.file)?;
    let desired = match check::check(&sources, &[]) {
        Ok(desired) => desired,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            eprintln!("{}; nothing is rendered", count(problems.len(), "problem"));
            return Ok(ExitCode::from(WRONG_MANIFEST));
        }
    };
    for cluster in &desired.clusters {
        for child in children(cluster) {
            let yaml = serde_saphyr::to_string(&child.to_json()).context("an object cannot be written as YAML")?;
            // A reader that went away needs no more.
            if write!(std::io::stdout(), "---\n{yaml}").is_err() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
