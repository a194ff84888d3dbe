//! `loadgen SCENARIO`: one run, one JSON object on one line.

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::to_string;
use tokio::task::LocalSet;
use tombolo_loadgen::connections::{self, Connections};
use tombolo_loadgen::load::{self, Common, Load};
use tombolo_loadgen::scenario::{self, CHUNK};

/// Load generator for any MQTT broker; prints one JSON object per run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Many publishers, few subscribers; subscriber s takes `fi/s/+` (its share), or all with --all
    FanIn {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 50)]
        pubs: usize,
        #[arg(long, default_value_t = 5)]
        subs: usize,
        /// Every subscriber takes every message
        #[arg(long)]
        all: bool,
    },
    /// Few publishers, many subscribers of the same topic
    FanOut {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 1)]
        pubs: usize,
        #[arg(long, default_value_t = 500)]
        subs: usize,
    },
    /// n publishers, each with its own subscriber on its own topic
    Pairs {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 100)]
        n: usize,
    },
    /// `filters` wildcard subscriptions over `subs` clients, half `w/N/+/t`, half `w/+/bN/#`; each publish matches two
    Wild {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 10)]
        pubs: usize,
        #[arg(long, default_value_t = 100)]
        subs: usize,
        #[arg(long, default_value_t = 100_000)]
        filters: usize,
        /// Filters in one SUBSCRIBE
        #[arg(long, default_value_t = CHUNK)]
        chunk: usize,
    },
    /// Connection rate, CPU per connection and resident memory per idle connection
    Conns {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: Connections,
    },
}

async fn run(scenario: Scenario) -> Result<String> {
    let (common, load, plan) = match scenario {
        Scenario::FanIn { common, load, pubs, subs, all: false } => (common, load, scenario::fan_in(pubs, subs)),
        Scenario::FanIn { common, load, pubs, subs, all: true } => (common, load, scenario::fan_in_all(pubs, subs)),
        Scenario::FanOut { common, load, pubs, subs } => (common, load, scenario::fan_out(pubs, subs)),
        Scenario::Pairs { common, load, n } => (common, load, scenario::pairs(n)),
        Scenario::Wild { common, load, pubs, subs, filters, chunk } => {
            (common, load, scenario::wild(pubs, subs, filters, chunk))
        }
        Scenario::Conns { common, options } => return Ok(to_string(&connections::run(common, options).await?)?),
    };
    Ok(to_string(&load::run(common, load, plan?).await?)?)
}

fn main() -> Result<()> {
    tombolo_loadgen::process::raise_open_files();
    let scenario = Arguments::parse().scenario;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(31).build()?;
    println!("{}", LocalSet::new().block_on(&runtime, run(scenario))?);
    Ok(())
}
