//! The nodes that run, brought to what the manifests plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tombolo_broker_api::{EvacuationPhase, EvacuationStatus};
use tombolo_operator::plan::config::Rendered;
use tombolo_operator::validate::ValidCluster;

use super::names;
use super::plan::{ClusterPorts, Key, Planned, among_nodes, listeners, plan};
use super::run_file;
use super::running::{Mode, Revival, Running};
use crate::data_dir::{DataDir, make_private};
use crate::folder;
use crate::ports;
use crate::view::View;

/// The nodes, by namespace and name.
pub struct Fleet {
    data_dir: DataDir,
    bind: IpAddr,
    mode: Mode,
    ports: ClusterPorts,
    nodes: BTreeMap<Key, Node>,
    written: Vec<u8>,
}

struct Node {
    cluster: String,
    config_file: PathBuf,
    rendered: Rendered,
    /// None while its process is about to be started again.
    running: Option<Running>,
    revival: Revival,
    /// As it ran last.
    admin: SocketAddr,
    pid: u32,
}

/// A listener that cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub struct TakenPort {
    /// Namespace of its cluster.
    pub namespace: String,
    /// Its cluster.
    pub cluster: String,
    /// The field in the cluster's manifest.
    pub field: String,
    /// What is wrong, and what would help.
    pub message: String,
}

/// Time that a node has beyond that of its evacuation to say that it is late: it looks at its files once a second.
const LATE: Duration = Duration::from_secs(5);
/// How often a node that is being emptied is looked at.
const LOOK: Duration = Duration::from_millis(100);

// === impl Fleet ===

impl Fleet {
    /// No node yet.
    pub fn new(data_dir: DataDir, bind: IpAddr, mode: Mode) -> Self {
        let (ports, nodes) = (ClusterPorts::default(), BTreeMap::new());
        Self { data_dir, bind, mode, ports, nodes, written: Vec::new() }
    }

    /// Listeners of these clusters that could not be opened; what runs already is not asked.
    pub fn taken_ports(&self, clusters: &[ValidCluster]) -> Vec<TakenPort> {
        let ours: Vec<SocketAddr> = self
            .nodes
            .values()
            .flat_map(|node| node.rendered.config.listeners.iter().map(|listener| listener.bind))
            .collect();
        let mut taken = Vec::new();
        for cluster in clusters {
            for (ordinal, at, port) in listeners(cluster) {
                let address = SocketAddr::new(self.bind, port);
                if let Err(problem) = if ours.contains(&address) { Ok(()) } else { ports::check(address) } {
                    taken.push(TakenPort {
                        namespace: cluster.namespace.clone(),
                        cluster: cluster.name.clone(),
                        field: format!("spec.listeners[{at}].port"),
                        message: match ordinal {
                            0 => problem,
                            _ => format!("node {} listens on port + {ordinal}: {problem}", cluster.node(ordinal)),
                        },
                    });
                }
            }
        }
        taken
    }

    /// Starts what is new, stops what is gone, and writes the files of what changed; its node notices by itself.
    ///
    /// # Errors
    /// A folder that cannot be written, a node that does not start. What was begun goes on.
    pub async fn apply(&mut self, clusters: &[ValidCluster], say: &mut impl FnMut(String)) -> Result<()> {
        self.ports.assign(clusters, self.bind)?;
        let mut planned = Vec::new();
        for cluster in &names::resolve(clusters, among_nodes(self.bind)) {
            planned.extend(plan(cluster, &self.data_dir, self.bind, &self.ports)?);
        }
        let stays = |key: &Key| planned.iter().any(|plan| (&plan.namespace, &plan.node) == (&key.0, &key.1));
        let gone: Vec<_> = self.nodes.keys().filter(|key| !stays(key)).cloned().collect();
        self.evacuate(&gone, &planned, say).await?;
        // The last of a cluster first, as pods go.
        for key in gone.into_iter().rev() {
            if let Some(node) = self.nodes.remove(&key) {
                if let Some(running) = node.running {
                    running.stop().await;
                }
                say(format!("stopped: {}", key.1));
            }
        }
        let mut starting = Vec::new();
        for plan in planned {
            make_private(&plan.folder.join("data"))?;
            folder::write(&plan.folder.join("config"), &plan.rendered.files)?;
            if let Some(node) = self.nodes.get_mut(&(plan.namespace.clone(), plan.node.clone())) {
                node.rendered = plan.rendered;
                continue;
            }
            // All at once, so that links and nodes find the other side.
            let config_file = plan.folder.join("config").join(folder::CONFIG_FILE);
            let (mode, node, file) = (self.mode.clone(), plan.node.clone(), config_file.clone());
            let started = tokio::spawn(async move { Running::start(mode, node, &file).await });
            starting.push((started, config_file, plan));
        }
        let mut outcome = Ok(());
        for (started, config_file, plan) in starting {
            let Planned { namespace, cluster, node, rendered, folder: _ } = plan;
            match started.await.with_context(|| format!("{node} ended while it started")).flatten() {
                Ok(running) => {
                    say(started_line(&node, &cluster, &running));
                    let (admin, pid, revival) = (running.admin(), running.pid(), Revival::new(Instant::now()));
                    let running = Some(running);
                    let started = Node { cluster, config_file, rendered, running, revival, admin, pid };
                    self.nodes.insert((namespace, node), started);
                }
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Has nodes emptied that go while others of their cluster stay, so that these have all that they had.
    async fn evacuate(&self, gone: &[Key], planned: &[Planned], say: &mut impl FnMut(String)) -> Result<()> {
        let mut leaving = Vec::new();
        let clusters: BTreeSet<(&String, &String)> =
            planned.iter().map(|plan| (&plan.namespace, &plan.cluster)).collect();
        for (namespace, cluster) in clusters {
            let all = || self.nodes.iter().filter(move |(key, node)| key.0 == *namespace && node.cluster == *cluster);
            let names: Vec<String> =
                all().filter(|(key, _)| gone.contains(key)).map(|(key, _)| key.1.clone()).collect();
            if names.is_empty() || all().all(|(key, _)| gone.contains(key)) {
                continue;
            }
            for (_, node) in all() {
                let folder = node.config_file.parent().context("a configuration lies in a folder")?;
                folder::write(folder, &node.rendered.evacuating(&names).files)?;
            }
            names.iter().for_each(|name| say(format!("evacuating: {name}")));
            leaving.extend(all().filter(|(key, _)| gone.contains(key)));
        }
        for ((_, name), node) in leaving {
            let Some(running) = &node.running else { continue };
            let deadline = Instant::now() + node.rendered.config.tuning.cluster.evacuation.timeout.duration() + LATE;
            loop {
                let left = running.status().await.map(|status| status.evacuation);
                match left.as_ref().map(|evacuation| evacuation.as_ref().map(|evacuation| evacuation.phase)) {
                    Some(Some(EvacuationPhase::Empty)) => break say(format!("empty: {name}")),
                    Some(Some(EvacuationPhase::TimedOut)) => break say(not_empty(name, left.flatten())),
                    Some(Some(EvacuationPhase::Evacuating) | None) | None if Instant::now() > deadline => {
                        break say(not_empty(name, left.flatten()));
                    }
                    Some(Some(EvacuationPhase::Evacuating) | None) | None => tokio::time::sleep(LOOK).await,
                }
            }
        }
        Ok(())
    }

    /// Restarts nodes that took a configuration of which some keys wait for that, as the operator replaces pods.
    ///
    /// # Errors
    /// A node that does not start again.
    pub async fn restart_where_required(&mut self, views: &[View], say: &mut impl FnMut(String)) -> Result<()> {
        for view in views {
            let Some(status) = view.status.as_ref().filter(|status| !status.restart_required.is_empty()) else {
                continue;
            };
            let key = (view.namespace.clone(), view.node.clone());
            let Some(node) = self.nodes.get_mut(&key) else { continue };
            if node.rendered.config.hash != status.config_hash {
                continue;
            }
            let Some(running) = node.running.take() else { continue };
            say(format!("restarting: {}, as {} changed", view.node, status.restart_required.join(", ")));
            running.stop().await;
            node.start(self.mode.clone(), &view.node, say).await?;
        }
        Ok(())
    }

    /// Tells of processes that ended by themselves, and starts them again after a pause.
    pub async fn revive(&mut self, say: &mut impl FnMut(String)) {
        for ((_, name), node) in &mut self.nodes {
            let now = Instant::now();
            if let Some(how) = node.running.as_mut().and_then(Running::ended) {
                node.running = None;
                let (pause, revival) = node.revival.after(now);
                node.revival = revival;
                say(format!("ended: {name} ({how}); it is started again in {} s", pause.as_secs()));
            } else if node.running.is_none()
                && node.revival.is_due(now)
                && let Err(error) = node.start(self.mode.clone(), name, say).await
            {
                let (pause, revival) = node.revival.after(Instant::now());
                node.revival = revival;
                say(format!("error: {error:#}; it is tried again in {} s", pause.as_secs()));
            }
        }
    }

    /// The nodes as they are now.
    pub async fn views(&self) -> Vec<View> {
        let mut views = Vec::with_capacity(self.nodes.len());
        for ((namespace, name), node) in &self.nodes {
            views.push(View {
                namespace: namespace.clone(),
                cluster: node.cluster.clone(),
                node: name.clone(),
                admin: node.admin.to_string(),
                pid: node.pid,
                status: match &node.running {
                    Some(running) => running.status().await,
                    None => None,
                },
            });
        }
        views
    }

    /// Whether every node runs the configuration that was written for it.
    pub fn is_current(&self, views: &[View]) -> bool {
        self.nodes.iter().all(|((namespace, name), node)| {
            let view = views.iter().find(|view| (&view.namespace, &view.node) == (namespace, name));
            let status = view.and_then(|view| view.status.as_ref());
            status.is_some_and(|status| status.config_hash == node.rendered.config.hash)
        })
    }

    /// Writes what runs where, for `tombolo status`, if that changed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_run_file(&mut self, views: &[View]) -> Result<()> {
        let content = run_file::render(self.data_dir.path(), views)?;
        if content != self.written {
            run_file::write(self.data_dir.path(), &content)?;
            self.written = content;
        }
        Ok(())
    }

    /// Stops every node at once, and removes the run file.
    pub async fn stop(mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        let running = nodes.into_values().filter_map(|node| node.running);
        let stopping: Vec<_> = running.map(|running| tokio::spawn(running.stop())).collect();
        for stopped in stopping {
            // A node that panicked while stopping has stopped.
            let _ = stopped.await;
        }
        run_file::remove(self.data_dir.path());
    }
}

// === impl Node ===

impl Node {
    async fn start(&mut self, mode: Mode, name: &str, say: &mut impl FnMut(String)) -> Result<()> {
        let running = Running::start(mode, name.to_owned(), &self.config_file).await?;
        say(started_line(name, &self.cluster, &running));
        (self.admin, self.pid) = (running.admin(), running.pid());
        self.running = Some(running);
        Ok(())
    }
}

fn not_empty(node: &str, left: Option<EvacuationStatus>) -> String {
    let EvacuationStatus { connections, sessions, draining, waiting_messages, .. } = left.unwrap_or_default();
    format!(
        "warning: {node} goes though it is not empty: {connections} clients, {} sessions and {waiting_messages} messages \
         are lost with it",
        sessions + draining
    )
}

fn started_line(node: &str, cluster: &str, running: &Running) -> String {
    let process = match running {
        Running::Here(_) => String::new(),
        Running::Process(process) => format!(", process {}", process.id()),
    };
    format!("started: {node} of {cluster}, admin on http://{}{process}", running.admin())
}
