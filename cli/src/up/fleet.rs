//! The nodes that run in this process, brought to what the manifests plan.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tombolo_broker::Broker;
use tombolo_broker_api::Config;
use tombolo_operator::plan::config::{Placement, Rendered, render};
use tombolo_operator::validate::ValidCluster;

use super::run_file;
use crate::data_dir::{DataDir, make_private};
use crate::folder;
use crate::ports;
use crate::view::View;

/// Time that a node has to say goodbye to its clients.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The nodes, by namespace and name.
pub struct Fleet {
    data_dir: DataDir,
    bind: IpAddr,
    nodes: BTreeMap<(String, String), Node>,
    written: Vec<u8>,
}

struct Node {
    cluster: String,
    config_file: PathBuf,
    config: Config,
    broker: Broker,
}

/// A node as it should be.
struct Planned {
    namespace: String,
    cluster: String,
    node: String,
    rendered: Rendered,
    folder: PathBuf,
}

// === impl Fleet ===

impl Fleet {
    /// No node yet.
    pub fn new(data_dir: DataDir, bind: IpAddr) -> Self {
        Self { data_dir, bind, nodes: BTreeMap::new(), written: Vec::new() }
    }

    /// Listeners of these clusters that could not be opened, as the place of each in its manifest and what is wrong;
    /// what runs already is not asked.
    pub fn taken_ports(&self, clusters: &[ValidCluster]) -> Vec<(String, String, String, String)> {
        let ours: Vec<SocketAddr> =
            self.nodes.values().flat_map(|node| node.config.listeners.iter().map(|listener| listener.bind)).collect();
        let mut taken = Vec::new();
        for cluster in clusters.iter().filter(|cluster| cluster.spec.replicas > 0) {
            for (at, listener) in cluster.listeners.iter().enumerate() {
                let address = SocketAddr::new(self.bind, listener.port);
                if let Err(problem) = if ours.contains(&address) { Ok(()) } else { ports::check(address) } {
                    let field = format!("spec.listeners[{at}].port");
                    taken.push((cluster.namespace.clone(), cluster.name.clone(), field, problem));
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
        let planned: Vec<Planned> =
            clusters.iter().filter(|cluster| cluster.spec.replicas > 0).map(|cluster| self.plan(cluster)).collect();
        let gone: Vec<_> = self
            .nodes
            .keys()
            .filter(|(namespace, name)| !planned.iter().any(|plan| (&plan.namespace, &plan.node) == (namespace, name)))
            .cloned()
            .collect();
        for key in gone {
            if let Some(node) = self.nodes.remove(&key) {
                node.broker.stop(STOP_DEADLINE).await;
                say(format!("stopped: {}", key.1));
            }
        }
        let mut starting = Vec::new();
        for plan in planned {
            make_private(&plan.folder.join("data"))?;
            folder::write(&plan.folder.join("config"), &plan.rendered.files)?;
            if let Some(node) = self.nodes.get_mut(&(plan.namespace.clone(), plan.node.clone())) {
                node.config = plan.rendered.config;
                continue;
            }
            // All at once, so that links find the other side.
            let config_file = plan.folder.join("config").join(folder::CONFIG_FILE);
            starting.push((tokio::spawn(start(plan.node.clone(), config_file.clone())), config_file, plan));
        }
        let mut outcome = Ok(());
        for (started, config_file, plan) in starting {
            let Planned { namespace, cluster, node, rendered, .. } = plan;
            match started.await.with_context(|| format!("{node} ended while it started")).flatten() {
                Ok(broker) => {
                    say(format!("started: {node} of {cluster}, admin on http://{}", broker.admin_address()));
                    self.nodes
                        .insert((namespace, node), Node { cluster, config_file, config: rendered.config, broker });
                }
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    fn plan(&self, cluster: &ValidCluster) -> Planned {
        // As the StatefulSet will name its first pod.
        let node = format!("{}-0", cluster.name);
        let folder = self.data_dir.node(&cluster.namespace, &node);
        let placement =
            Placement { node_name: node.clone(), bind: self.bind, admin_port: 0, data_dir: folder.join("data") };
        let rendered = render(cluster, &placement);
        Planned { namespace: cluster.namespace.clone(), cluster: cluster.name.clone(), node, rendered, folder }
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
            let settled = |node: &Node| node.config.hash == status.config_hash;
            if !self.nodes.get(&key).is_some_and(settled) {
                continue;
            }
            let Some(node) = self.nodes.remove(&key) else { continue };
            say(format!("restarting: {}, as {} changed", view.node, status.restart_required.join(", ")));
            node.broker.stop(STOP_DEADLINE).await;
            let broker = start(view.node.clone(), node.config_file.clone()).await?;
            say(format!("started: {} of {}, admin on http://{}", view.node, node.cluster, broker.admin_address()));
            self.nodes.insert(key, Node { broker, ..node });
        }
        Ok(())
    }

    /// The nodes as they are now.
    pub async fn views(&self) -> Vec<View> {
        let mut views = Vec::with_capacity(self.nodes.len());
        for ((namespace, name), node) in &self.nodes {
            views.push(View {
                namespace: namespace.clone(),
                cluster: node.cluster.clone(),
                node: name.clone(),
                admin: node.broker.admin_address().to_string(),
                pid: std::process::id(),
                status: Some(node.broker.status().await),
            });
        }
        views
    }

    /// Whether every node runs the configuration that was written for it.
    pub fn is_current(&self, views: &[View]) -> bool {
        self.nodes.iter().all(|((namespace, name), node)| {
            let view = views.iter().find(|view| (&view.namespace, &view.node) == (namespace, name));
            let status = view.and_then(|view| view.status.as_ref());
            status.is_some_and(|status| status.config_hash == node.config.hash)
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
        let stopping: Vec<_> = nodes
            .into_values()
            .map(|node| tokio::spawn(async move { node.broker.stop(STOP_DEADLINE).await }))
            .collect();
        for stopped in stopping {
            // A node that panicked while stopping has stopped.
            let _ = stopped.await;
        }
        run_file::remove(self.data_dir.path());
    }
}

async fn start(node: String, config_file: PathBuf) -> Result<Broker> {
    let name = config_file.display().to_string();
    Broker::start(config_file).await.with_context(|| format!("{node} does not start (its configuration: {name})"))
}
