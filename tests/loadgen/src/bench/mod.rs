//! The bench of the house: each scenario against a bare relay and against the broker, one after the other.

mod interest;
mod linked;
mod measure;
mod nodes;
mod scenarios;
mod subject;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use scenarios::{Scenario, scenarios};
use subject::Kind;
use table::{Row, Table};

/// Runs the scenarios, all on 127.0.0.1, and prints CPU seconds per million deliveries beside those of a bare relay.
#[derive(Parser)]
pub struct Options {
    /// Runs; each figure is the median over them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only scenarios whose name contains one of these words, such as `pairs,link`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Names of the scenarios, and nothing else
    #[arg(long)]
    list: bool,
    /// Part of the messages, such as 0.1 for a quick look (short runs are noisy)
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Exit with 1 when a floor is missed
    #[arg(long)]
    strict: bool,
    /// Folder of `tombolo-broker`, `loadgen` and `relay`; by default that of this program
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Runs the bench; false when a floor was missed.
pub fn run(options: &Options) -> Result<bool> {
    ensure!(options.scale > 0.0, "--scale {} leaves no messages", options.scale);
    let chosen: Vec<Scenario> = scenarios().into_iter().filter(|s| is_chosen(s, &options.only)).collect();
    ensure!(!chosen.is_empty(), "no scenario is called {:?}; --list shows all", options.only);
    if options.list {
        chosen.iter().for_each(|s| println!("{}", s.name));
        return Ok(true);
    }
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => own_folder()?,
    };
    let mut table = Table::new(chosen.iter().map(Row::new).collect());
    for run in 1..=options.runs {
        for (i, scenario) in chosen.iter().enumerate() {
            eprintln!("run {run} of {}: {}", options.runs, scenario.name);
            // The relay right before the broker, so that both meet the same machine.
            let floor = scenario.relay.as_ref().map(|r| measure::run(&programs, r.kind, &r.work, options.scale));
            let own = measure::run(&programs, scenario.kind, &scenario.work, options.scale)?;
            table.add(i, floor.transpose()?, own);
        }
    }
    print!("{table}");
    let missed = table.missed();
    ensure!(table.clean(), "a run lost, reordered or repeated messages, or did not end");
    Ok(!(options.strict && missed > 0))
}

fn is_chosen(scenario: &Scenario, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|word| scenario.name.contains(word.trim()))
}

fn own_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no path")?;
    Ok(program.parent().context("this program lies in no folder")?.to_owned())
}
