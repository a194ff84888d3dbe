//! `bench`: the scenarios of the house against a bare relay, as one table.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tombolo_loadgen::bench;

fn main() -> Result<ExitCode> {
    let reached = bench::run(&bench::Options::parse())?;
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
