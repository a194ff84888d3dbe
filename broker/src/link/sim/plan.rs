//! What a schedule is made of: clusters, links, loads and faults.

use std::time::Duration;

use tombolo_broker_api as api;

use crate::link::{Local, Route, Scope, Settings};
use crate::topic::Filter;

/// A schedule's ingredients; the seed does the rest.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of clusters, of one node each; or of nodes of one cluster.
    pub clusters: usize,
    /// They are nodes of one cluster.
    pub peers: bool,
    /// Shards of a node, at most.
    pub shards: u8,
    /// Pairs of clusters that are linked, and who dials: the first, or both.
    pub links: Vec<(usize, usize, Dials)>,
    /// Links that a message may cross.
    pub max_hops: u8,
    /// How long faults, publishers and subscribers go on.
    pub active: Duration,
    /// Times at which messages are published.
    pub messages: usize,
    /// Messages published at each of these times; some are large if there are several.
    pub burst: usize,
    /// Changes of subscriptions in that time.
    pub subscriptions: usize,
    /// Cuts and black holes in that time.
    pub cuts: usize,
    /// Restarts of a node in that time; what was synced survives.
    pub restarts: usize,
    /// Changes of settings in that time.
    pub reconfigurations: usize,
    /// State is synced with a delay; else it is as good as durable at once.
    pub durable: bool,
    /// Bounds of every spool.
    pub spool: api::Spool,
    /// Filters that every link receives.
    pub receive: &'static str,
    /// What is broken on purpose, to see that it is found.
    pub sabotage: Option<Sabotage>,
}

/// Who dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dials {
    /// The first of the pair.
    First,
    /// Both.
    Both,
}

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The store says that all is durable long before it is.
    DurableTooEarly,
    /// The receiver forgets at a restart what it took.
    ForgetTaken,
    /// A batch is lost on the way, and the next one says that there was none.
    ResendWithHole,
    /// Marks overtake the messages that they stand behind.
    MarkTooEarly,
    /// The mark of one shard counts for all.
    MarkOfOneShard,
    /// Marks wait for those of the other shards, and then count for all from there on.
    MarkBehindBarrier,
    /// Interest is forgotten when the last connection breaks.
    ForgetInterest,
}

/// Topics that are published to.
pub const TOPICS: [&str; 6] = ["t/0", "t/1", "t/2", "x/y", "x/z/w", "q"];

/// Filters that are subscribed to.
pub const FILTERS: [&str; 10] = ["t/0", "t/1", "t/+", "t/#", "#", "x/y", "+/y", "x/#", "+/+/w", "q"];

// === impl Plan ===

impl Plan {
    /// Two clusters that dial each other, with all kinds of trouble.
    pub fn pair() -> Self {
        Self {
            clusters: 2,
            peers: false,
            shards: 3,
            links: vec![(0, 1, Dials::Both)],
            max_hops: 1,
            active: Duration::from_secs(8),
            messages: 120,
            burst: 1,
            subscriptions: 16,
            cuts: 4,
            restarts: 2,
            reconfigurations: 2,
            durable: true,
            spool: api::Spool::default(),
            receive: "#",
            sabotage: None,
        }
    }

    /// Nodes of one cluster, each connected with each other, the first of a pair dialling, with all kinds of trouble.
    pub fn cluster(nodes: usize) -> Self {
        let pairs = (0..nodes).flat_map(|first| (first + 1..nodes).map(move |second| (first, second, Dials::First)));
        Self { clusters: nodes, peers: true, links: pairs.collect(), ..Self::pair() }
    }

    /// True if what is durable outlives every death: lanes and marks go on where they were.
    pub fn remembers(&self) -> bool {
        self.durable || self.restarts == 0
    }

    /// True if nothing may be lost: the spools are large, and what dies has a disk.
    pub fn is_lossless(&self) -> bool {
        self.spool == api::Spool::default() && self.remembers()
    }

    /// Bytes that a spool may hold beyond its bound: a message that came when it was not quite full, and marks.
    pub fn overrun(&self) -> u64 {
        let marks = 100 * u64::from(self.shards);
        match self.spool.when_full {
            api::WhenFull::DropOldest | api::WhenFull::DropNewest => 600 + marks,
            api::WhenFull::Backpressure => 4000 + marks,
        }
    }

    /// The settings of a link of this plan, before any reconfiguration.
    pub fn settings(&self, local: usize, remote: usize) -> Settings {
        if self.peers {
            let (node, three_seconds) = (format!("node-{remote}"), Duration::from_secs(3));
            let settings = Settings::peer(&node, &self.local(local, 1), self.spool.clone(), three_seconds);
            return Settings { window: 4, ..settings };
        }
        Settings {
            scope: Scope::Cluster,
            name: format!("{local}-{remote}").into(),
            remote_cluster: format!("cluster-{remote}").into(),
            remote_cluster_id: None,
            enabled: true,
            receive: vec![route(&[self.receive], &[])],
            send: None,
            max_hops: self.max_hops,
            spool: self.spool.clone(),
            window: 4,
            heartbeat: Duration::from_secs(1),
        }
    }

    /// How many shards a node has in one of its lives: not always the same.
    pub fn shards_of(&self, cluster: usize, life: u64) -> u8 {
        1 + ((cluster as u64 + life) % u64::from(self.shards)) as u8
    }

    /// Who a node is in one of its lives.
    pub fn local(&self, cluster: usize, life: u64) -> Local {
        let (name, id, node) = if self.peers { (0, 0, cluster) } else { (cluster, cluster, 0) };
        Local {
            cluster_name: format!("cluster-{name}").into(),
            cluster_id: format!("id-{id}").into(),
            node: format!("node-{node}").into(),
            incarnation: life,
            shards: match self.sabotage {
                Some(Sabotage::MarkOfOneShard) => 1,
                Some(_) | None => self.shards_of(cluster, life),
            },
        }
    }
}

/// A route with these filters, of any QoS.
pub fn route(filters: &[&str], except: &[&str]) -> Route {
    let parse = |texts: &[&str]| texts.iter().map(|text| filter(text)).collect();
    Route { filters: parse(filters), except: parse(except), max_qos: crate::codec::Qos::ExactlyOnce }
}

/// A filter from its text.
pub fn filter(text: &str) -> Filter {
    Filter::parse(text, 16).expect("the filters of the simulation are filters")
}
