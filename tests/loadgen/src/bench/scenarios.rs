//! The scenarios: what is run, against which relay, and which ratio is wanted.

use super::Kind;
use crate::relay::Mode;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// CPU seconds per million deliveries.
    Deliveries,
    /// CPU seconds per million publishes.
    Publishes,
    /// KiB of memory per connection.
    Memory,
    /// Seconds until it is so.
    Seconds,
}

/// What is done to a subject.
pub enum Work {
    /// The load generator runs with these arguments.
    Load(Vec<String>),
    /// Nodes tell each other many filters.
    Interest(Since),
}

/// From when on the time counts until all nodes hold what all others want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The last SUBACK, which does not wait for other nodes.
    LastSuback,
    /// A node that was killed is started again.
    Restart,
}

/// A scenario of one subject.
pub struct Scenario {
    /// Its name in the table.
    pub name: String,
    /// What is measured.
    pub kind: Kind,
    /// What is done to it.
    pub work: Work,
    /// What it is compared with, if anything can be.
    pub relay: Option<Comparison>,
    /// What the figure counts.
    pub unit: Unit,
    /// The ratio (for memory, the KiB; for time, the seconds) to reach in the end.
    pub target: Option<f64>,
    /// The ratio (for memory, the KiB; for time, the seconds) that must not be missed.
    pub floor: Option<f64>,
}

/// The relay's side of a scenario.
pub struct Comparison {
    /// Which relay, or what else.
    pub kind: Kind,
    /// What is done to it.
    pub work: Work,
}

/// A load that brokers and relays can both carry.
struct Load {
    name: &'static str,
    arguments: &'static str,
    /// When the relay cannot speak the same, what it does instead.
    relay: Option<&'static str>,
}

const PAIRS_Q0: Load = load("pairs QoS 0", "pairs --n 100 --count 2000000 --warmup 200000");
const PAIRS_Q1: Load = load("pairs QoS 1", "pairs --n 100 --qos 1 --count 700000 --warmup 70000");
const PAIRS_Q2: Load = Load {
    name: "pairs QoS 2",
    arguments: "pairs --n 100 --qos 2 --window 16 --count 300000 --warmup 30000",
    relay: Some("pairs --n 100 --qos 1 --window 16 --count 500000 --warmup 30000"),
};
const FAN_IN_Q0: Load = load("fan-in QoS 0", "fan-in --count 3000000 --warmup 200000");
const FAN_IN_1K: Load = load("fan-in QoS 0, 1 KiB", "fan-in --payload 1024 --count 1000000 --warmup 100000");
const FAN_IN_Q1: Load = load("fan-in QoS 1", "fan-in --qos 1 --count 1000000 --warmup 100000");
const FAN_OUT_Q0: Load = load("fan-out QoS 0", "fan-out --count 6000 --warmup 600 --window 64");
const FAN_OUT_Q1: Load = load("fan-out QoS 1", "fan-out --qos 1 --count 4000 --warmup 400 --window 64");
const PACED_Q0: Load = load("paced QoS 0", "pairs --n 100 --rate 6000 --count 36000 --warmup 3000");
const PACED_Q1: Load = load("paced QoS 1", "pairs --n 100 --qos 1 --rate 6000 --count 36000 --warmup 3000");
const LINK_Q0: Load = load("link QoS 0", "pairs --n 100 --count 1000000 --warmup 100000 --settle-ms 1500");
const LINK_Q1: Load = load("link QoS 1", "pairs --n 100 --qos 1 --count 500000 --warmup 50000 --settle-ms 1500");

const NODES_Q0: Load = load("nodes QoS 0", "pairs --n 100 --count 1000000 --warmup 100000 --settle-ms 1500");
const NODES_Q1: Load = load("nodes QoS 1", "pairs --n 100 --qos 1 --count 500000 --warmup 50000 --settle-ms 1500");

// Of 99 pairs, 33 have both at one node.
const SPREAD_Q0: Load = load("spread QoS 0", "pairs --n 99 --count 1000000 --warmup 100000 --settle-ms 1500");
const SPREAD_Q1: Load = load("spread QoS 1", "pairs --n 99 --qos 1 --count 500000 --warmup 50000 --settle-ms 1500");

const fn load(name: &'static str, arguments: &'static str) -> Load {
    Load { name, arguments, relay: None }
}

fn words(text: &str) -> Work {
    Work::Load(text.split_whitespace().map(str::to_owned).collect())
}

impl Load {
    fn against(&self, suffix: &str, kind: Kind, relay: Kind, target: Option<f64>, floor: Option<f64>) -> Scenario {
        let relay = Comparison { kind: relay, work: words(self.relay.unwrap_or(self.arguments)) };
        Scenario {
            name: format!("{}{suffix}", self.name),
            kind,
            work: words(self.arguments),
            relay: Some(relay),
            unit: Unit::Deliveries,
            target,
            floor,
        }
    }

    fn one_shard(&self, target: f64, floor: Option<f64>) -> Scenario {
        let relay = Kind::Relay { mode: Mode::TokioCt, threads: 1 };
        self.against("", Kind::Broker { shards: 1 }, relay, Some(target), floor)
    }

    fn two_shards(&self) -> Scenario {
        let relay = Kind::Relay { mode: Mode::TokioMt, threads: 2 };
        self.against(", 2 shards", Kind::Broker { shards: 2 }, relay, Some(1.15), Some(1.3))
    }

    fn linked(&self, target: f64, floor: f64) -> Scenario {
        self.against("", Kind::LinkedBrokers, Kind::LinkedRelays, Some(target), Some(floor))
    }

    fn linked_clusters(&self) -> Scenario {
        self.against(", 2x2 : 1x1", Kind::LinkedClusters, Kind::LinkedBrokers, Some(2.0), None)
    }

    fn across_nodes(&self, target: f64, floor: f64) -> Scenario {
        self.against("", Kind::TwoNodes, Kind::LinkedRelays, Some(target), Some(floor))
    }

    fn spread(&self) -> Scenario {
        let (three, one) = (Kind::ThreeNodes { suback_waits: true }, Kind::Broker { shards: 1 });
        self.against(", 3 : 1 node", three, one, Some(2.2), Some(3.0))
    }
}

fn alone(name: &str, arguments: &str, unit: Unit, target: Option<f64>, floor: Option<f64>) -> Scenario {
    let kind = Kind::Broker { shards: 1 };
    Scenario { name: name.to_owned(), kind, work: words(arguments), relay: None, unit, target, floor }
}

/// 100,000 filters at each of three nodes.
fn interest(name: &str, since: Since) -> Scenario {
    let (kind, work, unit) = (Kind::ThreeNodes { suback_waits: false }, Work::Interest(since), Unit::Seconds);
    Scenario { name: name.to_owned(), kind, work, relay: None, unit, target: Some(2.0), floor: Some(4.0) }
}

/// All of them, in the order of the table.
pub fn scenarios() -> Vec<Scenario> {
    vec![
        PAIRS_Q0.one_shard(1.25, Some(1.6)),
        PAIRS_Q1.one_shard(1.3, Some(1.6)),
        PAIRS_Q2.one_shard(2.3, Some(3.0)),
        FAN_IN_Q0.one_shard(1.3, Some(1.7)),
        FAN_IN_1K.one_shard(1.4, Some(1.7)),
        FAN_IN_Q1.one_shard(1.25, None),
        FAN_OUT_Q0.one_shard(1.4, Some(1.8)),
        FAN_OUT_Q1.one_shard(1.6, None),
        PACED_Q0.one_shard(1.1, Some(1.25)),
        PACED_Q1.one_shard(1.1, None),
        LINK_Q0.linked(2.5, 4.0),
        LINK_Q1.linked(2.0, 3.2),
        LINK_Q0.linked_clusters(),
        LINK_Q1.linked_clusters(),
        NODES_Q0.across_nodes(2.5, 4.0),
        NODES_Q1.across_nodes(2.0, 3.2),
        SPREAD_Q0.spread(),
        SPREAD_Q1.spread(),
        interest("filters, last SUBACK", Since::LastSuback),
        interest("filters, restart", Since::Restart),
        PAIRS_Q0.two_shards(),
        PAIRS_Q1.two_shards(),
        FAN_IN_Q0.two_shards(),
        FAN_IN_Q1.two_shards(),
        FAN_OUT_Q0.two_shards(),
        FAN_OUT_Q1.two_shards(),
        PACED_Q0.two_shards(),
        PACED_Q1.two_shards(),
        alone("100k wildcards", "wild --count 400000 --warmup 40000 --max-secs 60", Unit::Publishes, None, None),
        alone("idle connection", "conns --n 5000 --hold 1", Unit::Memory, Some(1.0), Some(1.5)),
        alone("idle, one subscription", "conns --n 5000 --hold 1 --subscribe", Unit::Memory, Some(2.0), None),
    ]
}
