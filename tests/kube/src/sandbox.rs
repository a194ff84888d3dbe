//! Runs this program again in namespaces of its own, so that a whole node of Kubernetes leaves the machine as it was.
//!
//! Network, mounts and processes end with the namespaces, whatever fails. Control groups and three settings of the kernel have
//! none; they are put back by the process outside.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tokio::signal::unix::{SignalKind, signal};

/// First argument of the process inside; its folder and its control group follow.
pub const INSIDE: &str = "--inside";
/// What a kubelet sets for the whole machine.
const KERNEL_SETTINGS: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
/// How long a control group may take to become empty.
const GROUP_MAX: Duration = Duration::from_secs(10);
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// What is put back at the end.
struct Outside {
    folder: tempfile::TempDir,
    settings: Vec<(PathBuf, String)>,
    group: String,
}

/// Runs the program again, inside.
pub async fn run() -> ExitCode {
    let missing = missing();
    if !missing.is_empty() {
        missing.iter().for_each(|what| eprintln!("{what}"));
        return ExitCode::from(2);
    }
    let outside = Outside::new();
    let mut child = outside.spawn();
    let mut interrupted = signal(SignalKind::interrupt()).expect("a signal can be awaited");
    let mut terminated = signal(SignalKind::terminate()).expect("a signal can be awaited");
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = tick.tick() => if child.try_wait().is_ok_and(|status| status.is_some()) {
                break;
            },
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        }
    }
    // All of the namespace ends with it, if it has not ended.
    let _ = child.kill();
    let ended = child.wait();
    outside.put_back().await;
    if ended.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What must be there before anything begins, each with the way to get it.
fn missing() -> Vec<String> {
    if !geteuid().is_root() {
        return vec![
            "a node of Kubernetes needs root, for namespaces, mounts and control groups: sudo -E make e2e".to_owned(),
        ];
    }
    let found = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let programs = [
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("iptables", "iptables"),
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("cc", "build-essential"),
    ];
    let mut missing: Vec<_> = programs
        .into_iter()
        .filter(|(program, _)| !found(program))
        .map(|(program, package)| format!("{program} is missing. Get it with: sudo apt-get install {package}"))
        .collect();
    if plugins().is_none() {
        missing.push(
            "the network plugins are missing. Get them with: sudo apt-get install containernetworking-plugins"
                .to_owned(),
        );
    }
    missing
}

/// Folder of the network plugins.
pub fn plugins() -> Option<PathBuf> {
    ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"]
        .map(PathBuf::from)
        .into_iter()
        .find(|at| at.join("ptp").is_file())
}

/// Inside: mounts and addresses that nobody else sees. The folder is one that goes when all has ended.
pub fn furnish(folder: &Path, address: &str) {
    for part in ["var-upper", "var-work", "node"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    let layers = format!(
        "lowerdir=/var,upperdir={},workdir={}",
        folder.join("var-upper").display(),
        folder.join("var-work").display()
    );
    command("mount", &["-t", "overlay", "overlay", "-o", &layers, "/var"]);
    command("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    command("ip", &["link", "set", "lo", "up"]);
    command("ip", &["link", "add", "tombolo0", "type", "bridge"]);
    command("ip", &["addr", "add", &format!("{address}/32"), "dev", "tombolo0"]);
    command("ip", &["link", "set", "tombolo0", "up"]);
    // Services have addresses that no device has.
    command("ip", &["route", "add", "default", "dev", "tombolo0"]);
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a setting of the namespace");
}

/// Runs a program that must succeed.
pub fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

// === impl Outside ===

impl Outside {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tombolo-node-").tempdir().expect("a folder");
        let setting = |name: &str| {
            let path = Path::new("/proc/sys").join(name);
            fs::read_to_string(&path).ok().map(|value| (path, value))
        };
        let group = format!("tombolo-node-{}", std::process::id());
        let outside = Self { folder, settings: KERNEL_SETTINGS.into_iter().filter_map(setting).collect(), group };
        for hierarchy in hierarchies() {
            let group = hierarchy.join(&outside.group);
            fs::create_dir(&group).unwrap_or_else(|e| panic!("{}: {e}", group.display()));
            // A group of processors and memory begins without any.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(all) = fs::read(hierarchy.join(file)) {
                    fs::write(group.join(file), all).expect("a control group of ours");
                }
            }
        }
        outside
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg(std::env::current_exe().expect("a running program has a path"));
        command.arg(INSIDE).arg(self.folder.path()).arg(&self.group);
        // Interrupts are for the process outside, which ends the one inside.
        command.process_group(0);
        command.spawn().unwrap_or_else(|error| panic!("unshare does not start: {error}"))
    }

    async fn put_back(self) {
        for (path, value) in &self.settings {
            if fs::read_to_string(path).is_ok_and(|now| now != *value) {
                // It was read from there, and root may write it.
                let _ = fs::write(path, value);
            }
        }
        for hierarchy in hierarchies() {
            let group = hierarchy.join(&self.group);
            let begun = Instant::now();
            while group.exists() && begun.elapsed() < GROUP_MAX {
                remove_group(&group);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Mounted hierarchies of control groups; with version 2 there is one.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(CONTROL_GROUPS);
    if root.join("cgroup.controllers").is_file() {
        return vec![root];
    }
    let folders = fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path());
    // Names such as `cpu` and `cpuacct` may be links to one hierarchy.
    folders.filter(|path| path.join("cgroup.procs").is_file() && !path.is_symlink()).collect()
}

/// Only empty ones can be removed; their processes ended with the namespace.
fn remove_group(group: &Path) {
    let inner = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    inner.filter(|path| path.is_dir()).for_each(|path| remove_group(&path));
    // One whose processes are still ending is tried again.
    let _ = fs::remove_dir(group);
}
