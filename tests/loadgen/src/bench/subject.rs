//! What is measured: a relay, a broker, or two of them linked, as processes that end with the measurement.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::linked::LINK_FILES;
use super::nodes::{certificates, join};
use crate::clock::nonce;
use crate::relay::Mode;

/// How long a process may take to serve.
const START: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A relay with acknowledgements.
    Relay {
        /// How it is built.
        mode: Mode,
        /// Its threads.
        threads: usize,
    },
    /// A broker that lets anyone in.
    Broker {
        /// Its shards.
        shards: u8,
    },
    /// Two relays on raw epoll: publishers at the first, subscribers at the second.
    LinkedRelays,
    /// Two brokers of one shard each: publishers at the first, which dials the second.
    LinkedBrokers,
    /// Two clusters of two nodes, of one shard each, each node of one dialling one of the other: publishers at the nodes of
    /// one, subscribers at those of the other.
    LinkedClusters,
    /// Two nodes of one cluster, of one shard each: publishers at one, subscribers at the other.
    TwoNodes,
    /// Three nodes of one cluster, of one shard each: publishers and subscribers at all of them.
    ThreeNodes {
        /// SUBACK waits for the other nodes, as is the default.
        suback_waits: bool,
    },
}

/// Running processes; they end when dropped.
pub struct Subject {
    /// Where publishers connect: to each in turn.
    pub publish: Vec<SocketAddr>,
    /// Where subscribers connect, in the same way.
    pub subscribe: Vec<SocketAddr>,
    /// The admin ports of the nodes of a cluster.
    pub admins: Vec<SocketAddr>,
    /// Name and process id of each.
    pub processes: Vec<(&'static str, u32)>,
    children: Vec<Child>,
    folder: Folder,
    programs: PathBuf,
}

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is not worth a failed bench.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(local(0)).context("127.0.0.1 has no free port")?;
    Ok(listener.local_addr()?.port())
}

impl Subject {
    /// Starts it and waits until it serves.
    pub fn start(programs: &Path, kind: Kind) -> Result<Self> {
        let folder = Folder(std::env::temp_dir().join(format!("tombolo-bench-{}", nonce())));
        fs::create_dir_all(&folder.0).with_context(|| format!("{} cannot be made", folder.0.display()))?;
        let address = local(free_port()?);
        let (publish, subscribe) = (vec![address], vec![address]);
        let (admins, processes, children) = (Vec::new(), Vec::new(), Vec::new());
        let programs_kept = programs.to_owned();
        let mut subject = Self { publish, subscribe, admins, processes, children, folder, programs: programs_kept };
        match kind {
            Kind::Relay { mode, threads } => subject.relay(programs, "relay", mode, threads, address, None)?,
            Kind::Broker { shards } => {
                let admin = local(free_port()?);
                subject.broker(programs, "broker", &config("bench", address, admin, shards), &[], admin)?;
            }
            Kind::LinkedRelays => {
                let far = local(free_port()?);
                subject.subscribe = vec![far];
                subject.relay(programs, "far", Mode::Epoll, 1, far, None)?;
                subject.relay(programs, "near", Mode::Epoll, 1, address, Some(far))?;
            }
            Kind::LinkedBrokers => subject.linked_brokers(programs, address)?,
            Kind::LinkedClusters => subject.linked_clusters(programs)?,
            Kind::TwoNodes => {
                let far = local(free_port()?);
                subject.subscribe = vec![far];
                subject.nodes(programs, "bench", &[("near", address), ("far", far)], |_, _| {})?;
            }
            Kind::ThreeNodes { suback_waits } => {
                let all = vec![address, local(free_port()?), local(free_port()?)];
                (subject.publish, subject.subscribe) = (all.clone(), all.clone());
                let three = [("one", all[0]), ("two", all[1]), ("three", all[2])];
                subject.nodes(programs, "bench", &three, |_, config| {
                    if !suback_waits {
                        config["tuning"]["cluster"] = json!({"subscribeTimeout": 0});
                    }
                })?;
            }
        }
        Ok(subject)
    }

    fn relay(
        &mut self,
        programs: &Path,
        name: &'static str,
        mode: Mode,
        threads: usize,
        at: SocketAddr,
        link: Option<SocketAddr>,
    ) -> Result<()> {
        let mode = mode.to_possible_value().context("every mode has a name")?;
        let mut command = Command::new(programs.join("relay"));
        command.args([mode.get_name(), &at.port().to_string(), "--acks", "--threads", &threads.to_string()]);
        if let Some(link) = link {
            command.args(["--link", &link.to_string()]);
        }
        self.spawn(name, command)?;
        self.until(&format!("{name} listens"), || TcpStream::connect(at).is_ok())
    }

    pub(super) fn broker(
        &mut self,
        programs: &Path,
        name: &'static str,
        config: &Value,
        files: &[(&str, &str)],
        admin: SocketAddr,
    ) -> Result<()> {
        self.launch(programs, name, config, files)?;
        self.until(&format!("{name} is ready"), || get(admin, "/readyz").is_ok_and(|a| a.contains(" 200 ")))
    }

    /// Starts a broker and does not wait.
    fn launch(&mut self, programs: &Path, name: &'static str, config: &Value, files: &[(&str, &str)]) -> Result<()> {
        let folder = self.folder.0.join(name);
        fs::create_dir_all(&folder)?;
        for (file, content) in files {
            fs::write(folder.join(file), content)?;
        }
        fs::write(folder.join("broker.yaml"), config.to_string())?;
        let mut command = Command::new(programs.join("tombolo-broker"));
        command.arg("--config").arg(folder.join("broker.yaml"));
        self.spawn(name, command)
    }

    /// Nodes of one cluster: name of the process, and where clients connect. `change` says what else is in the
    /// configuration of each.
    pub(super) fn nodes(
        &mut self,
        programs: &Path,
        cluster: &str,
        nodes: &[(&'static str, SocketAddr)],
        change: impl Fn(usize, &mut Value),
    ) -> Result<()> {
        let names: Vec<String> = (0..nodes.len()).map(|i| format!("{cluster}-{i}")).collect();
        let certificates = certificates(&names)?;
        let files: Vec<(&str, &str)> =
            certificates.iter().map(|(file, content)| (*file, content.as_str())).chain(LINK_FILES).collect();
        let binds = nodes.iter().map(|_| free_port().map(local)).collect::<Result<Vec<_>>>()?;
        let admins = nodes.iter().map(|_| free_port().map(local)).collect::<Result<Vec<_>>>()?;
        let members: Vec<(String, SocketAddr)> = names.iter().cloned().zip(binds.iter().copied()).collect();
        // All are started before any is awaited: a node waits for the others before it is ready.
        for (i, (process, mqtt)) in nodes.iter().enumerate() {
            let mut config = config(cluster, *mqtt, admins[i], 1);
            join(&mut config, &names[i], binds[i], &members);
            change(i, &mut config);
            self.launch(programs, process, &config, &files)?;
        }
        let ready = |admin: &SocketAddr| get(*admin, "/readyz").is_ok_and(|a| a.contains(" 200 "));
        self.until("the nodes have found each other", || admins.iter().all(ready))?;
        self.admins.extend(admins);
        Ok(())
    }

    /// Kills the process at this place and starts it again.
    pub fn restart(&mut self, at: usize) -> Result<()> {
        self.children[at].kill()?;
        self.children[at].wait()?;
        let (name, _) = self.processes.remove(at);
        drop(self.children.remove(at));
        let mut command = Command::new(self.programs.join("tombolo-broker"));
        command.arg("--config").arg(self.folder.0.join(name).join("broker.yaml"));
        self.spawn(name, command)
    }

    fn spawn(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let log = fs::File::create(self.folder.0.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let program = command.get_program().display().to_string();
        let child = command.spawn().with_context(|| format!("{program} does not start; `make bench` builds it"))?;
        self.processes.push((name, child.id()));
        self.children.push(child);
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "one thread, which has nothing to do but wait for other processes")]
    pub(super) fn until(&mut self, what: &str, holds: impl Fn() -> bool) -> Result<()> {
        let end = Instant::now() + START;
        while !holds() {
            let ended = self.children.iter_mut().any(|c| c.try_wait().is_ok_and(|status| status.is_some()));
            if ended || Instant::now() > end {
                bail!("waited in vain until {what}; logs:\n{}", self.logs());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What the processes printed.
    pub fn logs(&self) -> String {
        let read = |(name, _): &(&str, u32)| {
            let text = fs::read(self.folder.0.join(format!("{name}.log"))).unwrap_or_default();
            format!("--- {name}\n{}", String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]))
        };
        self.processes.iter().map(read).collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn config(cluster: &str, mqtt: SocketAddr, admin: SocketAddr, shards: u8) -> Value {
    json!({
        "clusterName": cluster,
        "nodeName": format!("{cluster}-0"),
        "dataDir": "data",
        "listeners": [{"name": "mqtt", "protocol": "MQTT", "bind": mqtt}],
        "admin": {"bind": admin},
        "authentication": {"anonymous": "Allowed"},
        "tuning": {"shards": shards},
    })
}

/// The whole answer to a GET.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
