//! A cluster of several `tombolo-broker` processes, with a network between each two of them that can fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rustix::process::Signal;
use tombolo_broker_api::{Cluster as ClusterConfig, ClusterNode, Config, PeerState, PeerStatus};

use crate::broker::{self, Broker};
use crate::certificates::{Authority, Identity};
use crate::client::Client;
use crate::packet::Connect;
use crate::ports;
use crate::proxy::{Proxy, Way, Weather};

/// A running cluster; its nodes are named by their place, from 0.
pub struct Cluster {
    /// Its name.
    name: &'static str,
    /// Its nodes.
    pub nodes: Vec<Broker>,
    /// Who made their certificates.
    pub authority: Authority,
    /// Between each pair, by their places, the lower first.
    proxies: BTreeMap<(usize, usize), Proxy>,
}

/// Name of the cluster.
pub const NAME: &str = "cluster";

/// Name of the node at a place.
pub fn node(place: usize) -> String {
    node_of(NAME, place)
}

fn node_of(cluster: &str, place: usize) -> String {
    format!("{cluster}-{place}")
}

/// What is to be started.
struct Plan<'a> {
    name: &'static str,
    nodes: usize,
    /// Pairs with a network between them that can fail.
    failing: &'a [(usize, usize)],
    /// More files in each node's folder.
    files: &'a [(&'a str, &'a str)],
}

/// All pairs of so many nodes.
fn pairs(nodes: usize) -> Vec<(usize, usize)> {
    (0..nodes).flat_map(|high| (0..high).map(move |low| (low, high))).collect()
}

/// The certificate that a node has unless it is given another one.
fn own(authority: &Authority, place: usize) -> Identity {
    authority.node(&node(place))
}

fn files<'a>(identity: &'a Identity, authorities: &'a str) -> [(&'static str, &'a str); 3] {
    [("node.crt", &identity.certificate), ("node.key", &identity.key), ("nodes-ca.crt", authorities)]
}

impl Cluster {
    /// Starts so many nodes and awaits that each is ready with each other.
    pub async fn start(nodes: usize) -> Self {
        Self::with(nodes, |_, _| {}).await
    }

    /// The same, after a change of each node's configuration.
    pub async fn with(nodes: usize, change: impl FnMut(usize, &mut Config)) -> Self {
        Self::named(NAME, nodes, &[], change).await
    }

    /// The same of a cluster of another name, with more files in each node's folder.
    pub async fn named(
        name: &'static str,
        nodes: usize,
        files: &[(&str, &str)],
        change: impl FnMut(usize, &mut Config),
    ) -> Self {
        let own = |authority: &Authority, place| authority.node(&node_of(name, place));
        Self::launch(Plan { name, nodes, failing: &pairs(nodes), files }, change, own).await.serving().await
    }

    /// The same, without a network that can fail: what remains are nodes that reach each other by themselves.
    pub async fn direct(nodes: usize, change: impl FnMut(usize, &mut Config)) -> Vec<Broker> {
        let plan = Plan { name: NAME, nodes, failing: &[], files: &[] };
        Self::launch(plan, change, own).await.serving().await.nodes
    }

    /// Starts the nodes and does not wait.
    pub async fn spawn(nodes: usize, change: impl FnMut(usize, &mut Config)) -> Self {
        Self::spawn_as(nodes, change, own).await
    }

    /// The same with other certificates than those of the cluster's authority.
    pub async fn spawn_as(
        nodes: usize,
        change: impl FnMut(usize, &mut Config),
        identity: impl Fn(&Authority, usize) -> Identity,
    ) -> Self {
        Self::launch(Plan { name: NAME, nodes, failing: &pairs(nodes), files: &[] }, change, identity).await
    }

    async fn serving(mut self) -> Self {
        for node in &mut self.nodes {
            node.await_serving().await;
        }
        self.ready().await;
        self
    }

    /// Starts the nodes, with a network that can fail between some of them.
    async fn launch(
        plan: Plan<'_>,
        mut change: impl FnMut(usize, &mut Config),
        identity: impl Fn(&Authority, usize) -> Identity,
    ) -> Self {
        let Plan { name, nodes, failing, files: more } = plan;
        let node = |place| node_of(name, place);
        // 32 hexadecimal digits, of which the name makes the last two.
        let last = if name == NAME { 0xef } else { name.bytes().fold(0_u8, u8::wrapping_add) };
        // Who dials is the one whose name sorts first, which is the lower place with one digit.
        assert!(nodes <= 10, "names of nodes sort like their places");
        let authority = Authority::new("nodes");
        let binds: Vec<SocketAddr> = (0..nodes).map(|_| SocketAddr::from(([127, 0, 0, 1], ports::free()))).collect();
        let mut proxies = BTreeMap::new();
        for (low, high) in failing {
            proxies.insert((*low, *high), Proxy::start(binds[*high]).await);
        }
        let start = |place: usize| {
            // Each knows those that it dials by the proxy between, itself and the others as they are.
            let address = |other| proxies.get(&(place, other)).map_or(binds[other], |proxy: &Proxy| proxy.address);
            let member = |other| ClusterNode { name: node(other), address: address(other).to_string() };
            let mut config = Config { node_name: node(place), ..broker::config(name) };
            config.cluster = Some(ClusterConfig {
                id: format!("0123456789abcdef0123456789abcd{last:02x}"),
                bind: binds[place],
                certificate_file: "node.crt".into(),
                key_file: "node.key".into(),
                ca_file: "nodes-ca.crt".into(),
                nodes: (0..nodes).map(member).collect(),
                evacuating: Vec::new(),
            });
            change(place, &mut config);
            let identity = identity(&authority, place);
            let ca = authority.pem();
            let files: Vec<_> = files(&identity, &ca).into_iter().chain(more.iter().copied()).collect();
            Broker::spawn(config, &files)
        };
        let nodes = (0..nodes).map(start).collect();
        Self { name, nodes, authority, proxies }
    }

    /// Gives a node another certificate, and those whom it trusts.
    pub fn certify(&mut self, place: usize, identity: &Identity, authorities: &str) {
        let config = self.nodes[place].config.clone();
        self.nodes[place].rewrite(config, &files(identity, authorities));
    }

    /// Awaits that each node is ready with each other.
    pub async fn ready(&self) {
        for here in 0..self.nodes.len() {
            for there in (0..self.nodes.len()).filter(|there| *there != here) {
                self.nodes[here].admin.peer_ready(&node_of(self.name, there)).await;
            }
        }
    }

    /// Where clients of a node connect.
    pub fn address(&self, place: usize) -> SocketAddr {
        self.nodes[place].address
    }

    /// Awaits that a node sees another one as wanted.
    pub async fn sees(&self, here: usize, there: usize, holds: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
        self.nodes[here].admin.peer_when(&node_of(self.name, there), "as wanted", holds).await
    }

    /// Cuts two nodes off from each other, and awaits that both know.
    pub async fn part(&self, one: usize, other: usize) {
        self.cut(one, other);
        self.sees(one, other, |peer| peer.state != PeerState::Connected).await;
        self.sees(other, one, |peer| peer.state != PeerState::Connected).await;
    }

    /// Ends a cut between two nodes, and awaits that they are ready with each other.
    pub async fn join(&self, one: usize, other: usize) {
        self.heal(one, other);
        self.sees(one, other, |peer| peer.ready).await;
        self.sees(other, one, |peer| peer.ready).await;
    }

    /// A client of a node, with a clean start and MQTT 5.0.
    pub async fn client(&self, place: usize, id: &str) -> Client {
        Client::connect(self.nodes[place].address, &Connect::new(5, id)).await.0
    }

    /// The network between two nodes.
    pub fn between(&self, one: usize, other: usize) -> &Proxy {
        let pair = (one.min(other), one.max(other));
        self.proxies.get(&pair).unwrap_or_else(|| panic!("there is no network between {one} and {other}"))
    }

    /// Closes the connection between two nodes and lets no new one come about.
    pub fn cut(&self, one: usize, other: usize) {
        let proxy = self.between(one, other);
        proxy.set(Weather { refuse: true, ..Weather::default() });
        proxy.cut();
    }

    /// What the two send each other vanishes, and nobody is told.
    pub fn black_hole(&self, one: usize, other: usize) {
        self.between(one, other).set(Weather { forth: Way::Swallowed, back: Way::Swallowed, refuse: false });
    }

    /// What `from` sends `to` vanishes; what `to` sends arrives.
    pub fn swallow(&self, from: usize, to: usize) {
        // The lower place dials.
        let (forth, back) = if from < to { (Way::Swallowed, Way::Open) } else { (Way::Open, Way::Swallowed) };
        self.between(from, to).set(Weather { forth, back, refuse: false });
    }

    /// Ends a cut or a black hole between two nodes; connections that lost bytes are closed.
    pub fn heal(&self, one: usize, other: usize) {
        let proxy = self.between(one, other);
        proxy.set(Weather { forth: Way::Swallowed, back: Way::Swallowed, refuse: true });
        proxy.cut();
        proxy.set(Weather::default());
    }

    /// Cuts every connection between nodes of `one` and nodes of `other`.
    pub fn partition(&self, one: &[usize], other: &[usize]) {
        one.iter().for_each(|here| other.iter().for_each(|there| self.cut(*here, *there)));
    }

    /// Ends every cut and every black hole.
    pub fn heal_all(&self) {
        self.proxies.keys().for_each(|(one, other)| self.heal(*one, *other));
    }

    /// Kills a node without a warning.
    pub fn kill(&mut self, place: usize) {
        self.nodes[place].child.kill();
    }

    /// Starts a node again after its end, with what it kept.
    pub async fn restart(&mut self, place: usize) {
        self.nodes[place].restart().await;
    }

    /// Starts a node again after its end, with nothing in its data folder.
    pub async fn restart_empty(&mut self, place: usize) {
        let data = self.nodes[place].folder().join(&self.nodes[place].config.data_dir);
        std::fs::remove_dir_all(data).expect("the node has ended");
        self.restart(place).await;
    }

    /// Freezes a node: its connections stay and nobody answers on them.
    pub fn freeze(&self, place: usize) {
        self.nodes[place].child.signal(Signal::STOP);
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self, place: usize) {
        self.nodes[place].child.signal(Signal::CONT);
    }
}
