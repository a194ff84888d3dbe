//! CPU time and memory of the processes under test, read from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// CPU seconds of a process, all threads.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cpu {
    /// In user space.
    pub user: f64,
    /// In the kernel.
    pub sys: f64,
}

impl Cpu {
    /// Both together.
    pub fn total(&self) -> f64 {
        self.user + self.sys
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self { user: self.user - earlier.user, sys: self.sys - earlier.sys }
    }
}

/// A process whose CPU and memory are accounted.
#[derive(Clone, Debug)]
pub struct Process {
    /// Name in the report.
    pub name: String,
    /// Process id.
    pub pid: u32,
}

impl Process {
    /// Parses `NAME=PID`, or `PID` alone, which is named `broker`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, pid) = text.split_once('=').unwrap_or(("broker", text));
        let pid = pid.parse().with_context(|| format!("`{text}` is not NAME=PID with a number after the `=`"))?;
        Ok(Self { name: name.to_owned(), pid })
    }

    /// User and system time so far (10 ms grain in each half, exact in their sum); zero when the process is gone.
    pub fn cpu(&self) -> Cpu {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        self.stat_times().map_or(Cpu::default(), |(u, s)| Cpu { user: u as f64 / ticks, sys: s as f64 / ticks })
    }

    fn stat_times(&self) -> Option<(u64, u64)> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name stands in parentheses and may hold anything, so fields are counted after the last one.
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    }

    /// Resident memory in KiB; zero when the process is gone.
    pub fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.lines().find(|l| l.starts_with("VmRSS:")).and_then(number).unwrap_or(0)
    }

    /// Voluntary and involuntary context switches of all threads.
    pub fn context_switches(&self) -> u64 {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return 0 };
        let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let switches =
            |text: String| text.lines().filter(|l| l.contains("ctxt_switches")).filter_map(number).sum::<u64>();
        tasks.flatten().map(status).map(switches).sum()
    }
}

fn number(line: &str) -> Option<u64> {
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Lets this process hold 200,000 sockets, or as many as the machine allows.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 200_000;
    let now = getrlimit(Resource::Nofile);
    let at_least = |limit: Option<u64>| limit.map(|l| l.max(WANTED));
    let wanted = Rlimit { current: at_least(now.current), maximum: at_least(now.maximum) };
    if setrlimit(Resource::Nofile, wanted).is_err() {
        // Only root may raise the hard limit. Going to it is all that is left, and what fails then says so itself.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_context_switches() {
        let me = Process { name: "me".into(), pid: std::process::id() };
        assert!(me.rss_kib() > 100);
        assert!(me.context_switches() > 0);
        assert!(me.stat_times().is_some());
    }

    #[test]
    fn a_process_is_named_or_is_the_broker() {
        assert_eq!(Process::parse("12").expect("number").name, "broker");
        assert_eq!(Process::parse("a=12").expect("number").pid, 12);
        assert!(Process::parse("a=b").is_err());
    }
}
