//! A `tombolo up` process with manifests and a data folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use serde_json::Value;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::binaries::binary;
use crate::child::Child;
use crate::wait;

/// A running `tombolo up`.
#[derive(Debug)]
pub struct Up {
    /// The process.
    pub child: Child,
    flags: &'static [&'static str],
    folder: TempDir,
}

/// A node that it runs.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: i32,
    /// Where it tells about itself.
    pub admin: Admin,
    /// Its first listener; none before it answered.
    pub listener: Option<SocketAddr>,
}

/// Name and text of manifest files.
pub type Manifests<'a> = &'a [(&'a str, &'a str)];

impl Up {
    /// Starts it with these manifests and does not wait.
    pub fn spawn(manifests: Manifests<'_>) -> Self {
        Self::spawn_with(manifests, &[])
    }

    /// The same with further flags.
    pub fn spawn_with(manifests: Manifests<'_>, flags: &'static [&'static str]) -> Self {
        let folder = tempfile::Builder::new().prefix("tombolo-up-").tempdir().expect("a folder can be made");
        fs::create_dir(folder.path().join("manifests")).expect("a folder can be made");
        for (name, text) in manifests {
            write(&folder.path().join("manifests"), name, text);
        }
        let child = run(folder.path(), flags);
        Self { child, flags, folder }
    }

    /// Starts it with these manifests and awaits that it is ready.
    pub async fn start(manifests: Manifests<'_>) -> Self {
        let mut up = Self::spawn(manifests);
        up.ready().await;
        up
    }

    /// Runs it to its end: how it ended, and what it printed.
    pub async fn fails(manifests: Manifests<'_>) -> (ExitStatus, String) {
        let mut up = Self::spawn(manifests);
        let status = up.child.end().await;
        (status, up.child.output())
    }

    /// Awaits the ready file.
    pub async fn ready(&mut self) {
        let end = tokio::time::Instant::now() + wait::PATIENCE;
        while !self.folder.path().join("ready").exists() {
            let output = self.child.output();
            assert!(self.child.ended().is_none(), "`tombolo up` ended:\n{output}");
            assert!(tokio::time::Instant::now() < end, "`tombolo up` is not ready:\n{output}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Starts it again after its end, with the same manifests and data.
    pub async fn restart(&mut self) {
        self.child = run(self.folder.path(), self.flags);
        self.ready().await;
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of the manifests.
    pub fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    /// Writes a manifest in place of the one of this name, as an editor does.
    pub fn rewrite(&self, name: &str, text: &str) {
        write(&self.manifests(), name, text);
    }

    /// The nodes of a cluster that run now, in the order of their names.
    pub fn nodes(&self, cluster: &str) -> Vec<Node> {
        let text = fs::read_to_string(self.data_dir().join("up.json")).unwrap_or_else(|_| "{}".to_owned());
        let all: Value = serde_json::from_str(&text).expect("it is JSON");
        let nodes = all["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().filter(|node| node["cluster"] == cluster).map(Node::read).collect()
    }

    /// Awaits that exactly these nodes of a cluster run and listen.
    pub async fn nodes_when(&self, cluster: &str, names: &[&str]) -> Vec<Node> {
        let run = |nodes: &Vec<Node>| nodes.iter().map(|node| &*node.name).eq(names.iter().copied());
        let listen = |nodes: &Vec<Node>| nodes.iter().all(|node| node.listener.is_some());
        let look = || async { Some(self.nodes(cluster)).filter(|nodes| run(nodes) && listen(nodes)) };
        wait::until(&format!("{} run", names.join(", ")), look).await
    }

    fn node(&self, cluster: &str) -> Node {
        self.nodes(cluster).into_iter().next().unwrap_or_else(|| panic!("{cluster} does not run"))
    }

    /// Where the first node of a cluster tells about itself.
    pub fn admin(&self, cluster: &str) -> Admin {
        self.node(cluster).admin
    }

    /// The first listener of a cluster's first node.
    pub fn listener(&self, cluster: &str) -> SocketAddr {
        self.node(cluster).listener.expect("the node has a listener")
    }

    /// Awaits a text in what it printed.
    pub async fn says(&self, text: &str) {
        let said = || async { self.child.output().contains(text) };
        wait::until_true(&format!("it says `{text}`"), said).await;
    }
}

impl Node {
    fn read(node: &Value) -> Self {
        let address = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        Self {
            name: node["node"].as_str().expect("a node has a name").to_owned(),
            pid: node["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a node has a process"),
            admin: Admin(address(&node["admin"]).expect("a node has an admin listener")),
            listener: address(&node["listeners"][0]["address"]),
        }
    }
}

fn run(folder: &Path, flags: &[&str]) -> Child {
    // Left by a run before.
    let _ = fs::remove_file(folder.join("ready"));
    let mut command = Command::new(binary("tombolo"));
    command.arg("up").args(flags).args(["--plain", "-f"]).arg(folder.join("manifests"));
    command.arg("--data-dir").arg(folder.join("data")).arg("--ready-file").arg(folder.join("ready"));
    Child::spawn("tombolo up", command, folder.join("up.log"))
}

fn write(folder: &Path, name: &str, text: &str) {
    let beside = folder.join(format!(".{name}.new"));
    fs::write(&beside, text).expect("files can be written");
    fs::rename(beside, folder.join(name)).expect("files can be renamed");
}

/// The manifests of a folder below `examples`, with its ports replaced by free ones.
pub fn example(name: &str, ports: &[u16]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository");
    let folder = root.join("examples").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths =
        entries.map(|e| e.expect("folders can be read").path()).filter(|p| p.extension().is_some_and(|e| e == "yaml"));
    let mut manifests = Vec::new();
    for path in paths {
        let mut text = fs::read_to_string(&path).expect("examples can be read");
        for port in ports {
            text = text.replace(&port.to_string(), &replacement(*port, ports).to_string());
        }
        let name = path.file_name().and_then(|n| n.to_str()).expect("examples have plain names").to_owned();
        manifests.push((name, text));
    }
    manifests
}

/// The same free port for the same port and list, for as long as the test runs.
fn replacement(port: u16, ports: &[u16]) -> u16 {
    use std::cell::RefCell;
    use std::collections::HashMap;
    thread_local! {
        static CHOSEN: RefCell<HashMap<u16, u16>> = RefCell::default();
    }
    debug_assert!(ports.contains(&port));
    CHOSEN.with_borrow_mut(|chosen| *chosen.entry(port).or_insert_with(crate::ports::free))
}
