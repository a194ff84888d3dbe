//! What a node knows of itself, for status, metrics and readiness.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tombolo_broker_api::{self as api, ListenerStatus, Status};

use crate::admin::Source;
use crate::clock::UnixSeconds;
use crate::config::Watch;
use crate::connection::Door;
use crate::metrics;
use crate::net::{Listener, Prepared};
use crate::peer::{Pending, Stats};
use crate::shard::{Control, Report, Shared};

/// A shard that does not report in this time is left out.
const REPORT_MAX: Duration = Duration::from_secs(2);

/// A node as others than its shards see it.
pub struct Node {
    shared: Arc<Shared>,
    config: Watch<Prepared>,
    ended: watch::Receiver<bool>,
    listeners: Mutex<BTreeMap<String, Result<Listener, String>>>,
    restart_required: Mutex<Vec<String>>,
    ready: AtomicBool,
    stopping: AtomicBool,
}

// === impl Node ===

impl Node {
    /// A node without listeners.
    pub fn new(shared: Arc<Shared>, config: Watch<Prepared>, ended: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            config,
            ended,
            listeners: Mutex::default(),
            restart_required: Mutex::default(),
            ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// What its shards share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The configuration that runs.
    pub(super) fn config(&self) -> Arc<Prepared> {
        self.config.current.borrow().clone()
    }

    /// All listeners of the first configuration are open.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// It is no longer ready from now on.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Keys whose change waits for a restart: added to those that wait already.
    pub fn set_restart_required(&self, keys: &[String]) {
        let mut all = lock(&self.restart_required);
        for key in keys {
            if !all.contains(key) {
                all.push(key.clone());
            }
        }
    }

    /// Takes an open listener.
    pub fn add_listener(&self, name: &str, listener: Listener) {
        lock(&self.listeners).insert(name.to_owned(), Ok(listener));
    }

    /// Takes note of a listener that can't be opened.
    pub fn listener_failed(&self, name: &str, error: String) {
        lock(&self.listeners).insert(name.to_owned(), Err(error));
    }

    /// Has new connections of a listener go by another configuration; false if it is not open.
    pub fn update_listener(&self, config: &api::Listener, door: &Arc<Door>) -> bool {
        match lock(&self.listeners).get(&config.name) {
            Some(Ok(listener)) => {
                listener.update(config.max_connections, Arc::clone(door));
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// Closes a listener; its connections stay.
    pub fn close_listener(&self, name: &str) {
        lock(&self.listeners).remove(name);
    }

    /// Closes all listeners.
    pub fn close_listeners(&self) {
        lock(&self.listeners).clear();
    }

    /// What all shards say of links, of other nodes, and of sessions that move.
    async fn reports(&self) -> Report {
        let mut all = Report::default();
        for inbox in &self.shared.inboxes {
            let (answer, report) = oneshot::channel();
            inbox.send(Control::Report(answer));
            if let Ok(Ok(report)) = tokio::time::timeout(REPORT_MAX, report).await {
                let Report { links, peers, moves: (pending, stats) } = report;
                all.links.extend(links);
                all.peers.extend(peers);
                all.moves.0.add(&pending);
                all.moves.1.add(&stats);
            }
        }
        all.links.sort_by(|a, b| a.name.cmp(&b.name));
        all.peers.sort_by(|a, b| a.node.cmp(&b.node));
        all
    }

    fn listeners(&self, config: &api::Config) -> Vec<ListenerStatus> {
        let listeners = lock(&self.listeners);
        let status = |config: &api::Listener| match listeners.get(&config.name) {
            Some(Ok(listener)) => ListenerStatus {
                name: config.name.clone(),
                address: listener.address().to_string(),
                connections: listener.connections(),
                error: None,
            },
            other => ListenerStatus {
                name: config.name.clone(),
                address: config.bind.to_string(),
                connections: 0,
                error: Some(match other {
                    Some(Err(error)) => error.clone(),
                    Some(Ok(_)) | None => "it is not open".to_owned(),
                }),
            },
        };
        config.listeners.iter().map(status).collect()
    }
}

impl Source for Node {
    async fn status(&self) -> Status {
        let Report { links, peers, moves } = self.reports().await;
        let counters = self.shared.board.total();
        let prepared = self.config();
        let config = &prepared.loaded.config;
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_name: config.cluster_name.clone(),
            cluster_id: self.shared.local.cluster_id.to_string(),
            node_name: config.node_name.clone(),
            uptime_seconds: self.shared.clock.now().seconds(),
            config_hash: config.hash.clone(),
            config_error: self.config.refused.borrow().as_ref().map(ToString::to_string),
            restart_required: lock(&self.restart_required).clone(),
            certificates: certificates(&prepared),
            shards: self.shared.inboxes.len() as u32,
            listeners: self.listeners(config),
            sessions: counters.sessions,
            connections: counters.connections,
            subscriptions: counters.subscriptions,
            retained: self.shared.retained.counts().messages as u64,
            messages_received: counters.messages_received.iter().sum(),
            messages_sent: counters.messages_sent.iter().sum(),
            messages_dropped: counters.dropped_by_label(),
            links,
            peers,
            session_moves: session_moves(&moves.0, &moves.1),
            evacuation: None,
        };
        Status { evacuation: self.evacuation(&status), ..status }
    }

    fn readiness(&self) -> Result<(), String> {
        if *self.ended.borrow() {
            return Err("a shard has ended; the node must be restarted".to_owned());
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err("the node is stopping".to_owned());
        }
        if self.shared.evacuation.is_active() {
            return Err("the node is being emptied".to_owned());
        }
        if !self.ready.load(Ordering::Acquire) {
            return Err("the listeners are not open yet".to_owned());
        }
        match self.shared.settled.unmet() {
            Some(0) => {}
            Some(unmet) => {
                return Err(format!(
                    "{unmet} other nodes of the cluster are not in sync with this one yet, or retain what is not here yet"
                ));
            }
            None => return Err("not every shard knows yet which other nodes the cluster has".to_owned()),
        }
        let failed: Vec<String> = lock(&self.listeners).values().filter_map(|l| l.as_ref().err().cloned()).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    async fn metrics(&self) -> String {
        let status = self.status().await;
        metrics::render(&self.shared.board.total(), &self.shared.board.events, &status)
    }
}

/// Until when each file with certificates is good, as status has it.
fn certificates(prepared: &Prepared) -> Vec<api::CertificateStatus> {
    let status = |(file, end): (&PathBuf, &UnixSeconds)| api::CertificateStatus {
        file: file.display().to_string(),
        not_after: end.0,
    };
    prepared.certificates.iter().map(status).collect()
}

/// Sessions that move, as status has them.
fn session_moves(pending: &Pending, stats: &Stats) -> api::SessionMoves {
    let Pending { lookups, moves, unsettled, records: _, unasked: divergent } = *pending;
    let Stats {
        taken,
        given,
        kept,
        forwarded,
        unavailable,
        busy,
        overtaken,
        unasked,
        discarded,
        messages_dropped,
        streams_lost,
        abandoned,
        holds_passed,
        tombs_refused,
        garbled,
    } = *stats;
    api::SessionMoves {
        looked_up: lookups as u64,
        moving: moves as u64,
        unsettled: unsettled as u64,
        divergent: divergent as u64,
        taken,
        given,
        kept,
        forwarded,
        unavailable,
        busy,
        overtaken,
        began_unasked: unasked,
        discarded,
        messages_dropped,
        streams_lost,
        abandoned,
        holds_passed,
        tombs_refused,
        garbled,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What stands behind these locks is put in or taken out whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
