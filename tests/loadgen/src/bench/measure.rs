//! One measurement: a subject is started, the load generator runs against it, its figures are read.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::interest;
use super::scenarios::Work;
use super::subject::{Kind, Subject};

/// The figures of one run.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// CPU seconds per million deliveries.
    pub per_delivery: f64,
    /// CPU seconds per million publishes.
    pub per_publish: f64,
    /// KiB per connection.
    pub kib_per_connection: f64,
    /// Seconds that something took.
    pub seconds: f64,
    /// Everything came, once and in order.
    pub clean: bool,
}

/// Options whose value counts messages.
const COUNTS: [&str; 2] = ["--count", "--warmup"];

/// Does this work against a subject of its own.
pub fn run(programs: &Path, kind: Kind, work: &Work, scale: f64) -> Result<Figures> {
    let subject = Subject::start(programs, kind)?;
    match work {
        Work::Load(arguments) => load(programs, &subject, arguments, scale),
        Work::Interest(since) => interest::run(subject, *since, scale),
    }
}

fn load(programs: &Path, subject: &Subject, arguments: &[String], scale: f64) -> Result<Figures> {
    let mut command = Command::new(programs.join("loadgen"));
    let mut count = false;
    for argument in arguments {
        let scaled = argument.parse::<f64>().ok().filter(|_| count).map(|n| ((n * scale) as u64).max(1).to_string());
        command.arg(scaled.as_ref().unwrap_or(argument));
        count = COUNTS.contains(&argument.as_str());
    }
    for (option, addresses) in [("--addr", &subject.publish), ("--sub-addr", &subject.subscribe)] {
        for address in addresses {
            command.arg(option).arg(address.to_string());
        }
    }
    for (name, pid) in &subject.processes {
        command.arg("--pid").arg(format!("{name}={pid}"));
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("loadgen does not start")?;
    ensure!(output.status.success(), "{command:?} failed; logs:\n{}", subject.logs());
    let report: Value = serde_json::from_slice(&output.stdout).context("loadgen printed no JSON")?;
    Ok(figures(&report, subject))
}

fn figures(report: &Value, subject: &Subject) -> Figures {
    let number = |key: &str| report[key].as_f64().unwrap_or(0.0);
    let faults: f64 = ["gaps", "reordered", "dups", "errors"].map(number).iter().sum();
    // Connections have no end of deliveries.
    let clean = faults == 0.0 && report.get("end").is_none_or(|end| end == "done");
    if !clean {
        eprintln!("not clean: {report}\n{}", subject.logs());
    }
    Figures {
        per_delivery: number("cpu_s_per_m_del"),
        per_publish: number("cpu_s_per_m_pub"),
        kib_per_connection: number("kib_per_conn"),
        seconds: 0.0,
        clean,
    }
}
