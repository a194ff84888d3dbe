//! A `tombolo-broker` process with a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tombolo_broker_api::{Admin as AdminConfig, Anonymous, Authentication, Config, Link, Listener, Protocol, Shards};

use crate::admin::Admin;
use crate::binaries::binary;
use crate::child::Child;
use crate::{ports, wait};

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    /// What it runs with.
    pub config: Config,
    /// Its first listener.
    pub address: SocketAddr,
    /// Where it tells about itself.
    pub admin: Admin,
    /// The process.
    pub child: Child,
    folder: TempDir,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The configuration of a node of `cluster`: MQTT on a free port, two shards, anonymous clients let in.
pub fn config(cluster: &str) -> Config {
    let mut config = Config {
        hash: String::new(),
        cluster_name: cluster.to_owned(),
        node_name: format!("{cluster}-0"),
        data_dir: PathBuf::from("data"),
        listeners: vec![listener("mqtt", Protocol::Mqtt)],
        admin: AdminConfig { bind: local(ports::free()), secure: None },
        authentication: Authentication { anonymous: Anonymous::Allowed, users_file: None },
        tuning: Default::default(),
        cluster: None,
        links: Vec::<Link>::new(),
    };
    // More than one, so that whatever crosses shards is met by every test; not all cores, so that runs are alike.
    config.tuning.shards = Shards::Count(2);
    config
}

/// A listener on a free port of 127.0.0.1.
pub fn listener(name: &str, protocol: Protocol) -> Listener {
    Listener { name: name.to_owned(), protocol, bind: local(ports::free()), max_connections: 10_000, tls: None }
}

/// Files beside `broker.yaml`: relative path and content.
pub type Files<'a> = &'a [(&'a str, &'a str)];

impl Broker {
    /// Starts a broker of its own cluster that lets anyone in.
    pub async fn anonymous() -> Self {
        Self::start(config("wire"), &[]).await
    }

    /// Starts a broker with this configuration and awaits that it serves.
    pub async fn start(config: Config, files: Files<'_>) -> Self {
        let broker = Self::spawn(config, files);
        broker.serving().await
    }

    /// Starts a broker and does not wait.
    pub fn spawn(config: Config, files: Files<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("tombolo-test-").tempdir().expect("a folder can be made");
        write(folder.path(), &config, files);
        let child = run(&config, folder.path());
        let address = config.listeners.first().expect("a configuration has a listener").bind;
        let admin = Admin(config.admin.bind);
        Self { config, address, admin, child, folder }
    }

    async fn serving(mut self) -> Self {
        self.await_serving().await;
        self
    }

    /// Awaits that it serves. Panics when it ends.
    pub async fn await_serving(&mut self) {
        let end = tokio::time::Instant::now() + wait::PATIENCE;
        while !self.admin.ready().await {
            if let Some(status) = self.child.ended() {
                panic!("the broker ended with {status}; it printed:\n{}", self.child.output());
            }
            assert!(tokio::time::Instant::now() < end, "the broker is not ready; it printed:\n{}", self.child.output());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The folder of its configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a changed configuration, with further files, while the broker runs.
    pub fn rewrite(&mut self, config: Config, files: Files<'_>) {
        self.config = config;
        write(self.folder.path(), &self.config, files);
    }

    /// Kills it without a warning and starts it again with the same folder.
    pub async fn crash_and_restart(&mut self) {
        self.child.kill();
        self.child = run(&self.config, self.folder.path());
        self.await_serving().await;
    }

    /// Starts it again after its end, with the same folder.
    pub async fn restart(&mut self) {
        self.respawn();
        self.await_serving().await;
    }

    /// The same, and does not wait.
    pub fn respawn(&mut self) {
        self.child = run(&self.config, self.folder.path());
    }
}

fn run(config: &Config, folder: &Path) -> Child {
    let mut command = Command::new(binary("tombolo-broker"));
    command.arg("--config").arg(folder.join("broker.yaml"));
    Child::spawn(&format!("broker {}", config.node_name), command, folder.join("broker.log"))
}

fn write(folder: &Path, config: &Config, files: Files<'_>) {
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders can be made");
        std::fs::write(path, content).expect("files can be written");
    }
    // JSON is YAML. Written beside and renamed, so that the broker never reads a half.
    let text = serde_json::to_string_pretty(config).expect("a configuration has a text");
    let beside = folder.join("broker.yaml.new");
    std::fs::write(&beside, text).expect("files can be written");
    std::fs::rename(beside, folder.join("broker.yaml")).expect("files can be renamed");
}
