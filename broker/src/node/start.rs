//! Starting and stopping a node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tombolo_broker_api::{self as api, Status};

use super::apply::Applier;
use super::identity::{Identity, IdentityError};
use super::shards::{self, Shards};
use super::status::Node;
use crate::admin::{Admin, AdminError, Source};
use crate::auth::Verifier;
use crate::clock::{Clock, StampClock, UnixSeconds};
use crate::config::{self, Loaded, Problems};
use crate::digest::digest;
use crate::link::{Local, SHARDS_MAX};
use crate::metrics::Board;
use crate::net::{ListenError, Prepared, run_dialler};
use crate::peer::Directory;
use crate::retained::{Limits, Retained, TOMBSTONES_MAX};
use crate::router::Index;
use crate::shard::{Awaited, Evacuation, Inbox, Pressure, Settled, Shared, Tuning};
use crate::tls;

/// Password hashes computed at one time: they take a core each.
const HASHES_AT_ONCE: usize = 2;
/// Dial requests that wait; a link has at most one.
const DIAL_REQUESTS_MAX: usize = 1024;
/// Certificates that end within this many seconds are told in the log at each load.
const EXPIRES_SOON: u64 = 14 * 86_400;
/// Memory for retained messages, in bytes.
const RETAINED_BYTES_MAX: usize = 1 << 30;

/// A running node. Dropping it stops it without waiting.
pub struct Broker {
    node: Arc<Node>,
    admin: SocketAddr,
    ended: watch::Receiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A node can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used.
    #[error("{0}")]
    Config(Problems),
    /// The data folder can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A listener can't be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin server can't be started.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The system has no thread or event queue for us.
    #[error("the system refuses a thread: {0}; look at the limits of processes and files")]
    System(#[from] std::io::Error),
}

// === impl Broker ===

impl Broker {
    /// Starts the node that a configuration file describes, on threads of its own, and watches the file.
    ///
    /// # Errors
    /// Whatever keeps it from serving: nothing of it runs then.
    pub async fn start(config_file: PathBuf) -> Result<Self, StartError> {
        Self::start_with(config_file, None).await
    }

    /// The same with another node name than the file says, as one file serves all nodes of a cluster.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_with(config_file: PathBuf, node_name: Option<String>) -> Result<Self, StartError> {
        let (started, outcome) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control(&config_file, node_name, started, stopped))?;
        let ended = || std::io::Error::other("the control thread has ended");
        let (node, admin, ended) = outcome.await.map_err(|_| StartError::System(ended()))??;
        Ok(Self { node, admin, ended, stop: Some(stop), thread: Some(thread) })
    }

    /// The state of the node, now.
    pub async fn status(&self) -> Status {
        self.node.status().await
    }

    /// Where the admin server listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Waits until the node has ended by itself, which only a bug can make it do.
    pub async fn ended(&mut self) {
        // An error means that all who could tell are gone.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// Empties the node, so that it can be stopped and nobody loses anything: clients and sessions go to other nodes of the
    /// cluster, what waits is sent. Returns when nothing is left, at the latest after `tuning.cluster.evacuation.timeout`
    /// or its `stopTimeout`; at once if it is alone.
    pub async fn leave(&self) {
        self.node.leave().await;
    }

    /// Stops the node: clients are told, links closed. Returns when its threads have ended, at the latest after
    /// `deadline`.
    pub async fn stop(mut self, deadline: Duration) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(deadline, joined).await.is_err() {
                tracing::warn!("The node did not end within its deadline.");
            }
        }
    }
}

type Started = Result<(Arc<Node>, SocketAddr, watch::Receiver<bool>), StartError>;

/// The control thread: everything of a node but its shards.
fn control(
    config_file: &Path,
    node_name: Option<String>,
    started: oneshot::Sender<Started>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error.into()))),
    };
    runtime.block_on(async {
        match run(config_file, node_name).await {
            Err(error) => drop(started.send(Err(error))),
            Ok(running) => {
                let told = (Arc::clone(&running.node), running.admin.address(), running.ended.clone());
                if started.send(Ok(told)).is_ok() {
                    // An error means that the handle was dropped, which stops the node too.
                    let _ = stopped.await;
                }
                running.stop().await;
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

/// What runs, as the control thread holds it.
struct Running {
    node: Arc<Node>,
    admin: Admin,
    shards: Shards,
    applier: tokio::task::JoinHandle<()>,
    ended: watch::Receiver<bool>,
    _identity: Identity,
}

async fn run(config_file: &Path, node_name: Option<String>) -> Result<Running, StartError> {
    // Read once ahead of the watch, for what the watch itself needs to know.
    let first = config::load(config_file).map_err(StartError::Config)?;
    let count = shard_count(first.config.tuning.shards);
    let board = Arc::new(Board::new(count));
    let verifier = Arc::new(Verifier::new(tls::random(), HASHES_AT_ONCE, Arc::clone(&board)));
    let file = config_file.to_owned();
    let prepare = move |mut loaded: Loaded| {
        if let Some(name) = &node_name {
            loaded.config.node_name.clone_from(name);
        }
        config::check_node(&file, &loaded.config)?;
        for files in loaded.tls_files() {
            for sentence in tls::expiring(files, UnixSeconds::now(), EXPIRES_SOON) {
                tracing::warn!("{sentence}.");
            }
        }
        Prepared::new(loaded, Arc::clone(&verifier))
    };
    let reloads = Arc::clone(&board);
    let told = move |result: Result<(), &Problems>| {
        reloads.events.reload(result.is_ok());
        match result {
            Ok(()) => tracing::info!("A changed configuration was taken."),
            Err(problems) => tracing::error!("A changed configuration is refused, the one before goes on: {problems}"),
        }
    };
    let (watched, watching) =
        config::watch(config_file.to_owned(), config::EVERY, prepare, told).map_err(StartError::Config)?;
    let prepared = watched.current.borrow().clone();
    let config = &prepared.loaded.config;
    let identity = Identity::open(&config.data_dir, config.cluster.as_ref().map(|cluster| &*cluster.id))?;
    let tuning = Arc::new(Tuning { mqtt: config.tuning.mqtt.clone(), cluster: config.tuning.cluster.clone() });
    let (dialler, requests) = mpsc::channel(DIAL_REQUESTS_MAX);
    let ready = shards::wakers(count);
    let shared = Arc::new(Shared {
        index: Arc::new(Index::new(u64::from_be_bytes(tls::random()))),
        retained: Retained::new(retained_limits(config)),
        board,
        inboxes: ready.iter().map(|ready| Inbox::new(count, Arc::clone(ready))).collect(),
        shards_with_links: 0.into(),
        awaited: Awaited::default(),
        sessions: 0.into(),
        pressure: Pressure::default(),
        seen: Default::default(),
        settled: Settled::default(),
        stamps: StampClock::new(hash_of(&identity.cluster_id, &config.node_name)),
        directory: RwLock::new(Directory::new(identity.incarnation)),
        own_versions: 0.into(),
        evacuation: Evacuation::default(),
        clock: Clock::start(),
        local: Local {
            cluster_name: config.cluster_name.as_str().into(),
            cluster_id: identity.cluster_id.as_str().into(),
            node: config.node_name.as_str().into(),
            incarnation: identity.incarnation,
            shards: u8::try_from(count).unwrap_or(SHARDS_MAX),
        },
        dialler,
    });
    let (ended_in, ended) = watch::channel(false);
    let shards = Shards::start(&shared, &ready, &tuning, &ended_in)?;
    tokio::spawn(run_dialler(requests, Arc::downgrade(&shared), watched.current.clone()));
    let node = Arc::new(Node::new(Arc::clone(&shared), watched.clone(), ended.clone()));
    let mut applier = Applier::new(Arc::clone(&node), shards.handles.clone());
    let outcome = async {
        applier.begin(&prepared).await?;
        Ok::<_, StartError>(Admin::start(&config.admin, Arc::clone(&node)).await?)
    };
    let admin = match outcome.await {
        Ok(admin) => admin,
        Err(error) => {
            drop(applier);
            stop_shards(shards, shared).await;
            return Err(error);
        }
    };
    tokio::spawn(watching);
    let applier = tokio::spawn(applier.follow(watched.current));
    tracing::info!(
        cluster = config.cluster_name,
        node = config.node_name,
        shards = count,
        admin = %admin.address(),
        "The node serves."
    );
    Ok(Running { node, admin, shards, applier, ended, _identity: identity })
}

// === impl Running ===

impl Running {
    async fn stop(self) {
        self.node.begin_stop();
        self.applier.abort();
        self.node.close_listeners();
        stop_shards(self.shards, Arc::clone(self.node.shared())).await;
        self.admin.stop(Duration::from_secs(1)).await;
    }
}

async fn stop_shards(shards: Shards, shared: Arc<Shared>) {
    // It waits for threads, which must not hold up this one: they may need it.
    let _ = tokio::task::spawn_blocking(move || shards.stop(&shared)).await;
}

/// What may be retained. A node that is alone need not remember what was removed.
pub(super) fn retained_limits(config: &api::Config) -> Limits {
    let messages = config.tuning.mqtt.max_retained_messages as usize;
    let tombstones = if config.cluster.is_some() { messages.min(TOMBSTONES_MAX) } else { 0 };
    Limits { messages, bytes: RETAINED_BYTES_MAX, tombstones }
}

/// Who makes stamps: differs from node to node.
fn hash_of(cluster_id: &str, node_name: &str) -> u64 {
    digest(format!("{cluster_id}/{node_name}"))
}

fn shard_count(configured: api::Shards) -> usize {
    match configured {
        api::Shards::Auto => std::thread::available_parallelism().map_or(1, usize::from).min(64),
        api::Shards::Count(count) => usize::from(count.clamp(1, 64)),
    }
}
