//! The end of a schedule: all is mended, everybody gets what is theirs, everybody leaves, and nothing is left.

use std::collections::BTreeMap;

use super::client::{Client, State, number_of};
use super::network::Micros;
use super::node::Life;
use super::plan::{Connecting, Deed, Message, Mood};
use super::world::World;
use crate::clock::{Millis, Stamp};
use crate::codec::subscribe::Options;
use crate::codec::{Qos, Version};
use crate::router::Audience;
use crate::shard::Shard;
use crate::shard::row::{Custody, Role};

/// Longest time for nodes to find each other after all was mended: a lost heartbeat, a pause, a handshake, and the
/// heartbeat that proves it.
const MEET_MAX: Micros = 40_000_000;

/// Longest time for everything else.
const REST_MAX: Micros = 30_000_000;

/// Topics where probes publish, by node.
const PROBES: [&str; 8] = ["p/0", "p/1", "p/2", "p/3", "p/4", "p/5", "p/6", "p/7"];

type Kept = BTreeMap<String, (Option<usize>, Stamp)>;

// === impl World ===

impl World {
    pub async fn finish(&mut self) -> Result<(), String> {
        self.heal();
        if !self.until(self.now + MEET_MAX, Self::is_in_sync).await? {
            return Err(format!("the nodes are not in sync: {}", self.out_of_sync()));
        }
        self.come_back();
        if !self.until(self.now + REST_MAX, Self::is_quiet).await? {
            return Err(format!("it does not become quiet: {}", self.unrest()));
        }
        let is_level = |world: &Self| {
            let digest = |life: &Life| life.shared.retained.digest();
            world.clusters().all(|members| members.iter().all(|life| digest(life) == digest(members[0])))
        };
        if !self.until(self.now + REST_MAX, is_level).await? {
            return Err(format!("what is retained differs: {:?}", self.lives().map(kept).collect::<Vec<_>>()));
        }
        self.probe().await?;
        if !self.until(self.now + REST_MAX, |world| world.owned_twice().is_none()).await? {
            return Err(format!("a client id has two owners: {}", self.owned_twice().unwrap_or_default()));
        }
        // What is held for the sake of order after a move comes before anything is counted.
        if !self.until(self.now + REST_MAX, |world| world.lives().all(Life::is_unmoved)).await? {
            return Err(format!("a session that moved is held for ever: [{}]", self.unmoved()));
        }
        self.check()?;
        self.leave().await
    }

    /// A client id whose session is at two nodes.
    fn owned_twice(&self) -> Option<String> {
        let rows = self.lives().flat_map(|life| &life.shards).flat_map(|shard| &shard.core.rows);
        let owned = rows.filter(|(_, row)| row.custody != Custody::Given);
        let mut ids: Vec<&str> = owned.filter_map(|(_, row)| row.client()).map(|client| &*client.id).collect();
        ids.sort_unstable();
        ids.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_owned())
    }

    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.nodes.iter().filter_map(|node| node.life.as_ref())
    }

    /// The nodes that are alive, by cluster.
    fn clusters(&self) -> impl Iterator<Item = Vec<&Life>> {
        let members = (0..=usize::from(self.plan.far > 0)).map(|cluster| self.plan.members(cluster));
        members.map(|members| self.nodes[members].iter().filter_map(|node| node.life.as_ref()).collect())
    }

    fn is_in_sync(&self) -> bool {
        self.members().into_iter().all(|one| {
            let mut others = self.others(one).into_iter();
            others.all(|other| self.weather.ready[one][other].is_some_and(|at| at + 2_000_000 > self.now))
        }) && self.lives().all(Life::is_ready)
            && self.is_linked()
    }

    /// The other nodes in the list of a node's cluster.
    fn others(&self, node: usize) -> Vec<usize> {
        let members = self.members_of(self.plan.cluster(node)).into_iter();
        members.filter(|other| *other != node).collect()
    }

    fn out_of_sync(&self) -> String {
        let of = |(at, life): (usize, &Life)| {
            let states = self.others(at).into_iter().filter_map(|other| life.peer(&super::node::name(other)));
            let states = states.map(|state| (state.node, state.state, state.ready, state.last_error));
            format!("{at}: {:?} {:?}\n", states.collect::<Vec<_>>(), life.link())
        };
        self.lives().enumerate().map(of).collect()
    }

    /// All clients connect again as they are, and take everything.
    fn come_back(&mut self) {
        for at in 0..self.clients.len() {
            let now = self.now;
            let (client, mut around) = self.client(at);
            client.todo.clear();
            if client.withheld || client.mood == Mood::Deaf {
                client.tear();
                client.lost(&mut around, "it comes to its senses");
            }
            client.mood = Mood::Prompt;
            client.wish.set();
            client.connecting = Connecting { will: None, clean: false, ..client.connecting.clone() };
            if client.state == State::Away {
                client.wanted_from = Some(now);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let all_done = self.clients.iter().all(|client| {
            client.state == State::Up
                && client.todo.is_empty()
                && client.unacked.is_empty()
                && client.unanswered.is_empty()
                && client.acks.is_empty()
                && !client.wish.is_set()
        });
        all_done
            && self.network.next().is_none_or(|at| at > self.now + 100_000)
            && self.lives().all(|life| life.is_handed_over() && life.shards.iter().all(is_idle))
            && self.nodes.iter().enumerate().all(|(one, node)| {
                let Some(life) = &node.life else { return !node.member };
                let others = self.others(one).into_iter();
                let mut states = others.filter_map(|other| life.peer(&super::node::name(other)));
                states.all(|state| state.outbox.messages == 0)
                    && life.link().is_none_or(|link| link.spool.messages == 0)
            })
    }

    /// What each node has dropped, for people.
    pub fn dropped(&self) -> String {
        let of = |(at, life): (usize, &Life)| {
            let by_shard = life.shards.iter().map(|shard| shard.core.counters.dropped_by_label());
            let by_shard: Vec<_> =
                by_shard.map(|all| all.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>()).collect();
            let others = (0..self.nodes.len()).filter_map(|other| life.peer(&super::node::name(other)));
            let by_peer: Vec<_> = others.map(|peer| (peer.node, peer.messages_dropped)).collect();
            format!("node {at} dropped {by_shard:?}, for others {by_peer:?}\n")
        };
        self.lives().enumerate().map(of).collect()
    }

    /// What is kept of sessions that moved where something of them is under way, for people.
    fn unmoved(&self) -> String {
        let moving = self.lives().filter(|life| !life.is_unmoved());
        let records = moving.flat_map(|life| &life.shards).filter_map(|shard| shard.moves.as_ref());
        records.map(|moves| format!("{:?}\n", moves.records())).collect()
    }

    fn unrest(&self) -> String {
        let clients = self.clients.iter().map(|client| {
            let unacked = client.unacked.iter().map(|unacked| (unacked.id, unacked.message));
            let (number, state, todo, acks) = (client.number, client.state, client.todo.len(), client.acks.len());
            let unanswered: Vec<_> = client.unanswered.keys().collect();
            let unacked: Vec<_> = unacked.collect();
            format!("client {number}: {state:?}, to do {todo}, {unacked:?}, {unanswered:?}, acks {acks}\n")
        });
        let shards = self.lives().flat_map(|life| &life.shards).map(|shard| {
            let rows = shard.core.rows.iter().filter(|(_, row)| !is_row_idle(row));
            let rows = rows.map(|(slot, row)| {
                let flow = row.flow.as_ref().map(|flow| (flow.queue.len(), flow.outbound.in_flight()));
                let id = row.client().map(|client| client.id.clone());
                (slot, id, flow, row.output.len(), row.paused, row.blocked)
            });
            format!("shard {}: {:?}\n", shard.core.shard, rows.collect::<Vec<_>>())
        });
        clients.chain(shards).collect()
    }

    /// At each node somebody new subscribes and publishes.
    async fn probe(&mut self) -> Result<(), String> {
        let first = self.clients.len();
        let members = self.members();
        for (at, node) in members.iter().copied().enumerate() {
            let mut client = Client::new(first + at, &mut self.random, 1);
            (client.version, client.expiry, client.home) = (Version::V5, 0, node);
            client.node = node;
            client.connecting.node = node;
            client.wanted_from = Some(self.now);
            let options = Options { qos: Qos::AtLeastOnce, ..Options::default() };
            client.todo.extend(["t/#", "p/#"].map(|filter| Deed::Subscribe(filter, options, false)));
            self.clients.push(client);
        }
        if !self.until(self.now + REST_MAX, Self::is_quiet).await? {
            return Err(format!("probes do not come in: {}", self.unrest()));
        }
        // By then each link has told what they want.
        if self.plan.far > 0 && !self.until(self.now + REST_MAX, Self::is_in_sync).await? {
            return Err(format!("the clusters do not hear what probes want: {}", self.out_of_sync()));
        }
        for (at, topic) in (0..members.len()).zip(PROBES) {
            let message = Message { topic, qos: Qos::AtLeastOnce, retain: false, empty: false, padding: 0 };
            let client = &mut self.clients[first + at];
            client.todo.push_back(Deed::Publish(1, message));
            client.wish.set();
        }
        if !self.until(self.now + REST_MAX, Self::is_quiet).await? {
            return Err(format!("probes do not arrive: {}", self.unrest()));
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        self.oracle.check()?;
        let (missing, dropped) = (self.oracle.missing.len() as u64, self.counted());
        if missing > dropped {
            let first = self.oracle.missing.iter().next();
            return Err(format!("{missing} messages are missing, {first:?} is the first, and {dropped} were counted"));
        }
        let clusters: Vec<Vec<Kept>> = self.clusters().map(|lives| lives.into_iter().map(kept).collect()).collect();
        for (cluster, all) in clusters.iter().enumerate() {
            if all.iter().any(|kept| *kept != all[0]) {
                return Err(format!("what is retained differs: {all:?}"));
            }
            let numbers: BTreeMap<String, usize> =
                all[0].iter().filter_map(|(topic, (number, _))| Some((topic.clone(), (*number)?))).collect();
            if !self.plan.small {
                self.oracle.check_retained(cluster, &numbers)?;
            }
            let probes = &self.clients[self.plan.clients..];
            for probe in probes.iter().filter(|probe| self.plan.cluster(probe.node) == cluster) {
                let session = probe.session.map(|session| &self.oracle.sessions[session].retained);
                if session != Some(&numbers) {
                    return Err(format!("a new subscriber got {session:?}, and {numbers:?} are retained"));
                }
            }
            self.kept.push(numbers);
        }
        Ok(())
    }

    /// All clients end their sessions and leave; nothing of them stays.
    async fn leave(&mut self) -> Result<(), String> {
        for at in 0..self.clients.len() {
            let now = self.now;
            let (client, mut around) = self.client(at);
            client.tear();
            client.lost(&mut around, "it leaves");
            client.expiry = 0;
            client.connecting = Connecting { will: None, clean: true, ..client.connecting.clone() };
            client.wanted_from = Some(now);
        }
        if !self.until(self.now + REST_MAX, Self::is_quiet).await? {
            return Err(format!("clients that leave do not come back: {}", self.unrest()));
        }
        for at in 0..self.clients.len() {
            let (client, mut around) = self.client(at);
            client.wanted_from = None;
            client.tear();
            client.lost(&mut around, "it is over");
        }
        // What a node of another cluster wanted is remembered for so long, if it is connected no more.
        let longest = if self.plan.far > 0 { 2 * REST_MAX } else { REST_MAX };
        if !self.until(self.now + longest, |world| world.leaks().is_none()).await? {
            return Err(format!("something is left: {}", self.leaks().unwrap_or_default()));
        }
        Ok(())
    }

    /// What is left, though no client is.
    fn leaks(&self) -> Option<String> {
        let pairs: usize = self.clusters().map(|lives| lives.len() * (lives.len() - 1) / 2).sum();
        let links = self.links();
        let streams = self.network.open_streams();
        if streams.len() != pairs + links {
            return Some(format!("{} streams of {pairs} pairs and {links} links: {streams:?}", streams.len()));
        }
        if let Some(remnant) = self.remnants() {
            return Some(remnant);
        }
        if let Some(remnant) = self.remnants() {
            return Some(remnant);
        }
        self.nodes.iter().enumerate().find_map(|(at, node)| {
            let life = node.life.as_ref()?;
            let guests = node.guests.load(std::sync::atomic::Ordering::Acquire);
            let sessions = life.shared.sessions.load(std::sync::atomic::Ordering::Acquire);
            let counts = life.shared.index.counts();
            let waiting = life.shared.settled.waiting();
            if (guests, sessions, waiting) != (0, 0, 0) || counts.subscriptions + counts.filters > 0 {
                return Some(format!("node {at}: {guests} guests, {sessions} sessions, {waiting} waiting, {counts:?}"));
            }
            let left = life.shards.iter().find_map(leaks)?;
            Some(format!("node {at}: {left}"))
        })
    }
}

fn is_idle(shard: &Shard) -> bool {
    shard.core.rows.iter().all(|(_, row)| is_row_idle(row)) && shard.waiting.is_empty()
}

fn is_row_idle(row: &crate::shard::row::Row) -> bool {
    let flow = row.flow.as_ref();
    let is_done = flow.is_none_or(|flow| flow.queue.is_empty() && flow.outbound.in_flight() == 0);
    is_done && row.output.is_empty() && row.client().is_none_or(|client| client.replays.is_empty())
}

fn leaks(shard: &Shard) -> Option<String> {
    let of = |is: fn(&Role) -> bool| shard.core.rows.iter().filter(|(_, row)| is(&row.role)).count();
    let clients = of(|role| matches!(role, Role::Client(_)));
    let connections = of(|role| matches!(role, Role::LinkConnection(_)));
    let rows_of_links = shard.links.iter().filter_map(|slot| shard.link_row(*slot));
    // How many connections a link has with another cluster depends on who dials.
    let (links, known) = rows_of_links.fold((0, 0), |(links, known), row| match row.audience() {
        Audience::Peers => (links + 1, known + 1),
        Audience::Links => (links + 1, known + row.connections.len()),
    });
    let rows = shard.core.rows.len();
    let pending = shard.moves_report().0;
    let lists = [
        shard.by_id.len(),
        shard.waiting.len(),
        shard.paused.len(),
        shard.core.searching.len(),
        shard.core.dirty.len(),
        shard.core.outboxes.iter().filter(|batch| !batch.is_empty()).count(),
        shard.parked.len(),
        pending.lookups,
        pending.moves,
        pending.unsettled,
    ];
    let timers = shard.timers.len();
    let is_clean = clients == 0
        && links == of(|role| matches!(role, Role::Link(_)))
        && connections == known
        && lists == [0; 10]
        && timers <= rows;
    (!is_clean).then(|| {
        format!(
            "{clients} clients, {links} links, {connections} connections, {timers} timers, ids, waiting, paused, \
             searching, dirty, outboxes, parked, look-ups, moves, unsettled {lists:?}"
        )
    })
}

/// What a node retains: number of the message, if it has one, and stamp, by topic.
fn kept(life: &Life) -> Kept {
    let page = life.shared.retained.all(None, Millis(0), usize::MAX);
    let of = |kept: crate::retained::Kept| {
        let (frame, layout) = (kept.message.frame(), kept.message.layout());
        (kept.topic.to_string(), (number_of(layout.payload(frame)), kept.stamp))
    };
    page.messages.into_iter().map(of).collect()
}
