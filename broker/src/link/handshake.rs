//! The handshake of a link: who is at the other end, and from where the lanes go on.

use super::PACKET_MIN;
use super::batch::{LANE_INTEREST, LANE_LOSSY, LANE_MESSAGES, TOPIC_HELLO};
use super::connection::Phase;
use super::greeting::{Greeting, Step, common_version, refuse};
use super::listener::Listener;
use super::outlet::{Conn, Now, Outlet, Role};
use super::refusal::{Refusal, Why};
use super::settings::{Local, Scope};
use super::source::Source;
use super::spool::Spool;
use super::state::Link;
use super::way;

/// Nodes of the remote cluster that a link remembers.
const NODES_MAX: usize = 64;

// === impl Link ===

impl<S: Spool> Link<S> {
    /// We dialled: who we are, and whom we want.
    pub(super) fn say_hello(&mut self, out: &mut impl Outlet, conn: Conn) {
        let hello = self.greeting(Step::Hello);
        out.publish(conn, TOPIC_HELLO, None, &hello.encode());
    }

    /// A part of the handshake came.
    pub(super) fn greeted(&mut self, out: &mut impl Outlet, conn: Conn, payload: &[u8], now: Now) {
        let greeting = match Greeting::decode(payload) {
            Ok(greeting) => greeting,
            Err(what) => return self.refuse(out, conn, Refusal::new(Why::ProtocolError, what), now),
        };
        if let Some(refusal) = greeting.refused() {
            return self.close(out, conn, &refusal, now);
        }
        let Some(phase) = self.connection(conn).map(|connection| connection.phase) else { return };
        let done = match (phase, greeting.step) {
            (Phase::AwaitHello, Step::Hello) => self.hello(out, conn, &greeting, now),
            (Phase::AwaitWelcome, Step::Welcome) => self.welcome(out, conn, &greeting, now),
            (Phase::AwaitBegin, Step::Begin) => self.begin(out, conn, &greeting, now),
            (
                Phase::AwaitHello | Phase::AwaitWelcome | Phase::AwaitBegin | Phase::Up,
                Step::Hello | Step::Welcome | Step::Begin | Step::Refused,
            ) => Err(Refusal::new(Why::ProtocolError, "this part of the handshake is not expected now")),
        };
        if let Err(refusal) = done {
            self.refuse(out, conn, refusal, now);
        }
    }

    /// Tells the other end why, and closes.
    pub(super) fn refuse(&mut self, out: &mut impl Outlet, conn: Conn, refusal: Refusal, now: Now) {
        let (topic, payload) = refuse(&refusal, &self.local);
        out.publish(conn, topic, None, &payload);
        self.close(out, conn, &refusal, now);
    }

    fn hello(&mut self, out: &mut impl Outlet, conn: Conn, hello: &Greeting, now: Now) -> Result<(), Refusal> {
        self.meet(out, conn, hello, now)?;
        let mut welcome = self.greeting(Step::Welcome);
        self.tell_taken(&mut welcome, hello);
        out.publish(conn, TOPIC_HELLO, None, &welcome.encode());
        if let Some(connection) = self.connection(conn) {
            connection.phase = Phase::AwaitBegin;
        }
        Ok(())
    }

    fn welcome(&mut self, out: &mut impl Outlet, conn: Conn, welcome: &Greeting, now: Now) -> Result<(), Refusal> {
        self.meet(out, conn, welcome, now)?;
        let mut begin = self.greeting(Step::Begin);
        self.tell_taken(&mut begin, welcome);
        out.publish(conn, TOPIC_HELLO, None, &begin.encode());
        self.begin(out, conn, welcome, now)
    }

    /// The other end said what it took: batches flow.
    fn begin(&mut self, out: &mut impl Outlet, conn: Conn, greeting: &Greeting, now: Now) -> Result<(), Refusal> {
        let interest_epoch = self.wanted.version().epoch;
        let Some(node) = self.connection(conn).map(|connection| connection.node.clone()) else { return Ok(()) };
        if self.listener(&node).is_none() {
            self.listeners.push(Listener::new(node.clone(), interest_epoch));
        }
        let told = self.listener(&node).map_or(0, |listener| listener.lane.sealed());
        let lanes =
            [(LANE_MESSAGES, self.messages.epoch(), self.messages.sealed()), (LANE_INTEREST, interest_epoch, told)];
        let taken = lanes.map(|(lane, epoch, _)| greeting.taken_of(lane, epoch));
        for ((lane, _, sealed), taken) in lanes.into_iter().zip(taken) {
            if taken > sealed {
                let message = format!(
                    "the remote says that it took batch {taken} of lane {lane}, of which {sealed} is the last; was the \
                     data folder of this node restored from a copy? Then delete the link's spool"
                );
                return Err(Refusal::new(Why::ProtocolError, message));
            }
        }
        let Some(connection) = self.connection(conn) else { return Ok(()) };
        connection.phase = Phase::Up;
        connection.taken = taken;
        connection.held = greeting.held;
        connection.pulse.heard(now);
        self.elect(out, now);
        if self.active != Some(conn)
            && let Some(number) = self.connection(conn).map(|connection| connection.pulse.beat(now))
        {
            self.say_beat(out, conn, number, false);
        }
        Ok(())
    }

    /// Checks who is at the other end, and remembers what it said of itself.
    fn meet(&mut self, out: &mut impl Outlet, conn: Conn, greeting: &Greeting, now: Now) -> Result<(), Refusal> {
        self.check(conn, greeting)?;
        let older: Vec<Conn> = self
            .connections
            .iter()
            .filter(|c| c.conn != conn && c.node == greeting.node && c.incarnation != greeting.incarnation)
            .map(|c| c.conn)
            .collect();
        for older in older {
            // What its earlier life still has on the way must not come behind what its new life sends.
            let message = "the node at the other end was started anew";
            self.close(out, older, &Refusal::new(Why::StaleIncarnation, message), now);
        }
        if self.remote_id.is_some() && self.remote_id.as_ref() != Some(&greeting.cluster_id) {
            // Another cluster took the name over, as when its data was lost. Nodes that it lacks want nothing any more.
            let (kept, gone) = self.sources.drain(..).partition(|source| source.node == greeting.node);
            self.sources = kept;
            let gone: Vec<Source> = gone;
            self.unserve(out, &gone);
            self.sources.iter_mut().for_each(|source| source.announced = Default::default());
        }
        self.identify(&greeting.cluster_id);
        if self.source(&greeting.node).is_none() {
            self.sources.push(Source::new(greeting.node.clone()));
        }
        if let Some(source) = self.source(&greeting.node) {
            source.greet(greeting.incarnation, greeting.shards, &greeting.lanes);
        }
        if let Some(connection) = self.connection(conn) {
            connection.node = greeting.node.clone();
            connection.incarnation = greeting.incarnation;
        }
        Ok(())
    }

    fn check(&mut self, conn: Conn, greeting: &Greeting) -> Result<(), Refusal> {
        let Some(connection) = self.connection(conn) else { return Ok(()) };
        let (role, packet_max) = (connection.role, connection.limits.maximum_packet_size);
        let Greeting { cluster_name: name, cluster_id: id, node, .. } = greeting;
        let settings = &self.settings;
        let refuse = |why, message: String| Err(Refusal::new(why, message));
        let (ours, theirs) = (self.speech.versions, greeting.speech.versions);
        if common_version(ours, theirs).is_none() {
            let message =
                format!("cluster `{name}` speaks versions {theirs:?} of the link protocol, this one {ours:?}");
            return refuse(Why::NoCommonVersion, message);
        }
        match &settings.scope {
            Scope::Cluster => self.check_cluster(role, greeting)?,
            Scope::Peer(expected) => self.check_peer(role, greeting, expected)?,
        }
        let others = || self.connections.iter().filter(|c| c.conn != conn && c.phase == Phase::Up);
        if let Some(known) = self.remote_id.as_ref().filter(|known| *known != id && others().next().is_some()) {
            let message = format!("cluster `{name}` has id `{id}`, and one of id `{known}` is connected");
            return refuse(Why::ClusterIdMismatch, message);
        }
        if others().any(|other| other.node == *node && other.incarnation > greeting.incarnation) {
            let message = format!("node `{node}` was started anew, and its new life is connected");
            return refuse(Why::StaleIncarnation, message);
        }
        if !settings.enabled {
            return refuse(Why::LinkDisabled, format!("the link with `{name}` is disabled on this side"));
        }
        // A way leaves less, and a full batch has room in it all the same.
        if packet_max < if role.is_direct() { PACKET_MIN } else { PACKET_MIN - 2 * way::OVERHEAD } {
            let message = format!("the remote takes packets of {packet_max} bytes; links need {PACKET_MIN} at least");
            return refuse(Why::PacketSizeTooSmall, message);
        }
        if self.sources.len() >= NODES_MAX && !self.sources.iter().any(|source| source.node == *node) {
            let message = format!("more than {NODES_MAX} nodes of cluster `{name}` have been seen");
            return refuse(Why::TooManyConnections, message);
        }
        Ok(())
    }

    /// Another cluster must be the one that the link is for, and call this one.
    fn check_cluster(&self, role: Role, greeting: &Greeting) -> Result<(), Refusal> {
        let Greeting { cluster_name: name, cluster_id: id, .. } = greeting;
        let settings = &self.settings;
        let refuse = |why, message: String| Err(Refusal::new(why, message));
        if *id == self.local.cluster_id {
            let message = format!("cluster `{name}` is this cluster itself: the address of the remote leads back here");
            return refuse(Why::OwnCluster, message);
        }
        if *name != settings.remote_cluster {
            let expected = &settings.remote_cluster;
            return if role.is_ours() {
                let message = format!("the address belongs to cluster `{name}`, and this link is for `{expected}`");
                refuse(Why::ClusterNameMismatch, message)
            } else {
                let message = format!("this link is for cluster `{expected}`, and `{name}` called");
                refuse(Why::UnknownCluster, message)
            };
        }
        if !role.is_ours() && greeting.target != self.local.cluster_name {
            let (target, own) = (&greeting.target, &self.local.cluster_name);
            return refuse(Why::ClusterNameMismatch, format!("`{target}` was called, and this is cluster `{own}`"));
        }
        if let Some(pinned) = settings.remote_cluster_id.as_ref().filter(|pinned| *pinned != id) {
            let message = format!("cluster `{name}` has id `{id}`, and `{pinned}` is pinned");
            return refuse(Why::ClusterIdMismatch, message);
        }
        Ok(())
    }

    /// A peer must be of this cluster, another node, the one that is meant, and call this one.
    fn check_peer(&self, role: Role, greeting: &Greeting, expected: &str) -> Result<(), Refusal> {
        let Greeting { cluster_name: name, cluster_id: id, node, target, .. } = greeting;
        let Local { cluster_name: own_name, cluster_id: own_id, node: own_node, .. } = &self.local;
        let refuse = |why, message: String| Err(Refusal::new(why, message));
        if name != own_name {
            let message = format!("node `{node}` belongs to cluster `{name}`, and this is a node of `{own_name}`");
            return refuse(Why::ClusterNameMismatch, message);
        }
        if id != own_id {
            let message = format!("node `{node}` of cluster `{name}` has cluster id `{id}`, and this node `{own_id}`");
            return refuse(Why::ClusterIdMismatch, message);
        }
        if node == own_node {
            let message =
                format!("the other node is `{node}` too: its address leads back here, or two nodes have one name");
            return refuse(Why::OwnNode, message);
        }
        if **node != *expected {
            let message = if role.is_ours() {
                format!("the address belongs to node `{node}`, and should be that of `{expected}`")
            } else {
                format!("node `{node}` called where `{expected}` was to")
            };
            return refuse(Why::NodeMismatch, message);
        }
        if !role.is_ours() && target != own_node {
            return refuse(Why::NodeMismatch, format!("node `{target}` was called, and this is `{own_node}`"));
        }
        Ok(())
    }

    fn greeting(&self, step: Step) -> Greeting {
        let mut greeting = Greeting::new(step, &self.local, self.settings.target());
        greeting.speech = self.speech;
        greeting.lanes = vec![
            (LANE_MESSAGES, self.messages.epoch()),
            (LANE_INTEREST, self.wanted.version().epoch),
            (LANE_LOSSY, self.lossy.epoch()),
        ];
        greeting
    }

    fn tell_taken(&mut self, answer: &mut Greeting, greeting: &Greeting) {
        let Some(source) = self.source(&greeting.node) else { return };
        answer.taken = source.taken();
        answer.held = source.held();
    }
}
