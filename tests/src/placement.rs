//! Where the clients of a scenario are: all at one node, or those that publish and those that subscribe at two nodes of
//! a cluster, which must make no difference to any of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tombolo_broker_api::{Config, Status};

use crate::broker::{self, Broker};
use crate::client::Client;
use crate::cluster::Cluster;
use crate::wait;

/// Makes each scenario, an `async fn` of a [`Placement`], two tests: `at_one_node::…` and `at_two_nodes::…`.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod at_one_node {
            $(#[tokio::test] async fn $name() { super::$name($crate::placement::Placement::OneNode).await })+
        }
        mod at_two_nodes {
            $(#[tokio::test] async fn $name() { super::$name($crate::placement::Placement::TwoNodes).await })+
        }
    };
}

/// How many nodes a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One process.
    OneNode,
    /// Two processes that are one cluster.
    TwoNodes,
}

/// What a scenario runs against. A client stays at its node; one and the same client publishes where it subscribes.
pub struct Site {
    /// Where clients that publish connect.
    pub near: SocketAddr,
    /// Where clients that subscribe connect.
    pub far: SocketAddr,
    /// The nodes, that of `near` first.
    pub nodes: Vec<Broker>,
}

/// Filters that no scenario uses, each once.
static PROBES: AtomicU64 = AtomicU64::new(0);

// === impl Placement ===

impl Placement {
    /// Starts it; anyone is let in.
    pub async fn start(self) -> Site {
        self.with(|_| {}).await
    }

    /// The same, after a change of each node's configuration.
    pub async fn with(self, change: impl Fn(&mut Config)) -> Site {
        let nodes = match self {
            Self::OneNode => {
                let mut config = broker::config("wire");
                change(&mut config);
                vec![Broker::start(config, &[]).await]
            }
            Self::TwoNodes => Cluster::direct(2, |_, config| change(config)).await,
        };
        let address = |node: Option<&Broker>| node.expect("there is a node").address;
        Site { near: address(nodes.first()), far: address(nodes.last()), nodes }
    }
}

// === impl Site ===

impl Site {
    /// Awaits what holds of all nodes.
    pub async fn when(&self, what: &str, holds: impl Fn(&[Status]) -> bool) {
        let look = || async {
            let mut all = Vec::new();
            for node in &self.nodes {
                all.push(node.admin.status().await.ok()?);
            }
            holds(&all).then_some(())
        };
        wait::until(what, look).await
    }

    /// Awaits that so many clients are connected, wherever.
    pub async fn connections(&self, count: u64) {
        let what = format!("{count} clients are connected");
        self.when(&what, |all| all.iter().map(|status| status.connections).sum::<u64>() == count).await;
    }

    /// Awaits that there are so many sessions, wherever.
    pub async fn sessions(&self, count: u64) {
        let what = format!("there are {count} sessions");
        self.when(&what, |all| all.iter().map(|status| status.sessions).sum::<u64>() == count).await;
    }

    /// Awaits that every node keeps so many retained messages.
    pub async fn retains(&self, count: u64) {
        let what = format!("{count} messages are retained");
        self.when(&what, |all| all.iter().all(|status| status.retained == count)).await;
    }

    /// Awaits that the metrics of this series reach `at_least` together.
    pub async fn counted(&self, series: &str, at_least: f64) {
        let look = || async {
            let mut sum = 0.0;
            for node in &self.nodes {
                sum += node.admin.metrics().await.ok()?.value(series);
            }
            (sum >= at_least).then_some(())
        };
        wait::until(&format!("{series} ≥ {at_least}"), look).await
    }

    /// Awaits that nothing of QoS 1 and 2 is on its way between nodes any more: what was acknowledged has arrived.
    pub async fn crossed(&self) {
        let is_empty = |status: &Status| status.peers.iter().all(|peer| peer.outbox.messages == 0);
        self.when("nothing waits between the nodes", |all| all.iter().all(is_empty)).await;
    }

    /// Awaits that each node knows of the other's clients what was true before this call. A SUBACK waits for that, and
    /// what nodes tell each other comes in order.
    pub async fn agreed(&self) {
        for node in &self.nodes {
            let probe = format!("probe/{}", PROBES.fetch_add(1, Ordering::Relaxed));
            Client::subscriber(node.address, 5, &probe, &[(&probe, 0)]).await.disconnect().await;
        }
    }
}
