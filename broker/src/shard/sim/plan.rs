//! What happens in a schedule: made from a seed as a whole, so that a part of it can be left out.

use std::ops::Range;

use tombolo_broker_api::WhenFull;

use super::network::Micros;
use crate::codec::Qos;
use crate::codec::subscribe::{Options, RetainHandling};
use crate::random::Random;

/// What schedules of a kind have in common.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes that the cluster ever has.
    pub nodes: usize,
    /// Shards of each node, at most.
    pub shards: usize,
    /// Clients.
    pub clients: usize,
    /// How long trouble lasts, in seconds.
    pub seconds: u64,
    /// Steps of clients.
    pub steps: usize,
    /// Connections between nodes that break.
    pub cuts: usize,
    /// Parts of the cluster that can't reach each other for a while, in one direction or both.
    pub partitions: usize,
    /// Nodes that are killed and come back with nothing.
    pub kills: usize,
    /// Nodes that stand still for a while.
    pub freezes: usize,
    /// Nodes that are emptied, stopped when nothing is left, and started anew, as a rolling update does.
    pub evacuations: usize,
    /// Of the nodes, those that are not in the list when all begins.
    pub absent: usize,
    /// Nodes that leave the list for good, emptied before or killed, and nodes that join it.
    pub changes: usize,
    /// How far the wall clock of each node is off, at most and either way.
    pub skew: Micros,
    /// Wall clocks that are set to something else while all runs.
    pub jumps: usize,
    /// `whenHomeDown` is `Fresh`: a client whose session is at a node that can't be reached gets a new one.
    pub fresh: bool,
    /// Bytes that a stream holds.
    pub capacity: usize,
    /// Outboxes and queues are so small that messages are lost: bounds are looked at, deliveries are not.
    pub small: bool,
    /// Clients come back at any node, and bring their session along.
    pub sessions_move: bool,
    /// Clients start clean now and then, and read nothing for a while: where sessions move nobody could say what such a
    /// client may find.
    pub unruly: bool,
    /// The last nodes of all, which are another cluster that is linked with that of the others; none: there is one cluster.
    pub far: usize,
    /// The other cluster alone dials.
    pub one_dials: bool,
    /// What waits for the other cluster has little room, and this happens when that is full.
    pub small_links: Option<WhenFull>,
    /// Of what came over links so much is remembered, that it does not come twice; and so much waits at a session that moved
    /// for what belongs before.
    pub memory: Option<usize>,
    /// How far the wall clocks of all nodes of a cluster are off together, at most and either way.
    pub apart: Micros,
    /// Times at which the wall clocks of a whole cluster leap.
    pub leaps: usize,
    /// Wall clocks of single nodes that stray by hours.
    pub strays: usize,
    /// Some messages expire.
    pub expiring: bool,
    /// Links that are paused, deleted and made again, or receive less for a while.
    pub link_changes: usize,
    /// A rule that is broken, to see that it is noticed.
    pub sabotage: Option<Sabotage>,
}

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A batch from shard to shard is lost.
    DropBatch,
    /// A message stands twice in a queue.
    DoubleMessage,
    /// What a session has not acknowledged is not sent again.
    ForgetInFlight,
    /// A queue goes backwards.
    SwapQueue,
    /// QoS 2 ids are forgotten when a client comes back.
    ForgetReceived,
    /// SUBACK waits for nobody.
    SettleAtOnce,
    /// A node keeps a retained message to itself.
    HideRetained,
    /// What members of shared subscriptions at other nodes have not acknowledged is let go at once.
    LetGo,
    /// A subscription outlives its session.
    LeakSubscription,
    /// What waits for a node that left the list is lost with it.
    LoseLeft,
    /// A node forgets what of another cluster it has had.
    ForgetSeen,
    /// A node takes part in links before it has heard what the others want.
    JoinEarly,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub at: Micros,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// A client does something.
    Client(usize, Deed),
    /// The connections between two nodes break.
    Cut(usize, usize),
    /// These ways are shut for so long.
    Shut(Vec<(usize, usize)>, Micros),
    /// Messages between two nodes take longer, from now on.
    Slow(usize, usize, Micros),
    /// A node is killed, comes back after so long; the bool: its system says nothing of it.
    Kill(usize, Micros, bool),
    /// A node stands still.
    Freeze(usize, Micros),
    /// A node is emptied; when it is empty it is away for so long.
    Evacuate(usize, Micros),
    /// One of the nodes of the list leaves it for good: emptied first, or killed (the bool: its system says nothing of it)
    /// and taken out after so long. The others hear of the new list within the last time.
    Leave(usize, Option<(Micros, bool)>, Micros),
    /// One of those that are not in the list joins it, of which all hear within so long.
    Join(usize, Micros),
    /// The wall clock of a node is off by so much from now on.
    Clock(usize, i64),
    /// The wall clocks of a cluster are off together by so much from now on.
    Leap(usize, i64),
    /// The link of a cluster is changed for so long. Its nodes hear of that, and of its end, within the last time.
    Link(usize, LinkChange, Micros, Micros),
}

/// What becomes of a link for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// It is disabled.
    Pause,
    /// It is deleted, and made again.
    Delete,
    /// It receives less.
    Narrow,
}

/// What a client does.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Connects (again), with a clean start or not, with a will or not.
    Connect(Box<Connecting>),
    /// Says goodbye.
    Disconnect,
    /// Its connection breaks; it comes back after so long.
    Tear(Micros),
    /// It is gone without a word, and comes back after so long.
    Vanish(Micros),
    /// Subscribes.
    Subscribe(&'static str, Options, bool),
    /// Unsubscribes.
    Unsubscribe(&'static str),
    /// Publishes so many messages.
    Publish(usize, Message),
    /// Acknowledges otherwise from now on.
    Mood(Mood),
}

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Connecting {
    /// At which node, if sessions move.
    pub node: usize,
    /// Clean Start.
    pub clean: bool,
    /// Will: topic, QoS, retained, delay in seconds.
    pub will: Option<(&'static str, Qos, bool, u32)>,
    /// Receive Maximum, with version 5.
    pub receive_maximum: u16,
}

/// A message to publish.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Its topic.
    pub topic: &'static str,
    /// Its QoS.
    pub qos: Qos,
    /// It is to be retained.
    pub retain: bool,
    /// It has no payload, and removes what is retained.
    pub empty: bool,
    /// Additional bytes.
    pub padding: usize,
}

/// How a client acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// At once.
    Prompt,
    /// After so long.
    Late(Micros),
    /// Not at all on this connection.
    Never,
    /// It does not even read.
    Deaf,
}

const TOPICS: [&str; 6] = ["t/0/0", "t/0/1", "t/1/0", "t/1/1", "t/1", "t/2/0"];
const SHARED_TOPICS: [&str; 2] = ["s/0", "s/1"];
const FILTERS: [&str; 9] = ["t/0/0", "t/0/1", "t/+/0", "t/1/+", "t/#", "t/1/#", "t/+", "t/0/#", "t/2/0"];
const SHARES: [&str; 3] = ["$share/one/s/#", "$share/two/s/0", "$share/three/s/+"];

// === impl Plan ===

impl Plan {
    /// Three nodes and every kind of trouble with connections.
    pub fn usual() -> Self {
        Self {
            nodes: 3,
            shards: 2,
            clients: 7,
            seconds: 16,
            steps: 110,
            cuts: 2,
            partitions: 2,
            kills: 0,
            freezes: 1,
            evacuations: 0,
            absent: 0,
            changes: 0,
            skew: 0,
            jumps: 0,
            fresh: false,
            capacity: 64 << 10,
            small: false,
            sessions_move: false,
            unruly: true,
            far: 0,
            one_dials: false,
            small_links: None,
            memory: None,
            apart: 0,
            leaps: 0,
            strays: 0,
            expiring: false,
            link_changes: 0,
            sabotage: None,
        }
    }

    /// Two clusters that are linked, of so many nodes.
    pub fn linked(near: usize, far: usize) -> Self {
        Self { nodes: near + far, far, cuts: 4, partitions: 3, unruly: false, ..Self::usual() }
    }

    /// The nodes of a cluster, by its number.
    pub fn members(&self, cluster: usize) -> Range<usize> {
        let near = self.nodes - self.far;
        if cluster == 0 { 0..near } else { near..self.nodes }
    }

    /// Whether a node is in the list when all begins: the last ones of each cluster are not.
    pub fn is_there_at_first(&self, node: usize) -> bool {
        node + self.absent < self.members(self.cluster(node)).end
    }

    /// The number of a node's cluster.
    pub fn cluster(&self, node: usize) -> usize {
        usize::from(node >= self.nodes - self.far)
    }

    /// The steps of one schedule.
    pub fn steps(&self, seed: u64) -> Vec<Step> {
        let mut random = Random::new(seed ^ 0x005e_ed0f_5e55_1045);
        let end = self.seconds * 1_000_000;
        let mut steps = Vec::new();
        for client in 0..self.clients {
            let at = random.next() % 500_000;
            steps.push(Step { at, what: What::Client(client, Deed::Connect(Box::new(self.connecting(&mut random)))) });
            for _ in 0..1 + random.below(2) {
                let at = at + random.next() % 2_000_000;
                steps.push(Step { at, what: What::Client(client, subscribe(&mut random)) });
            }
        }
        for _ in 0..self.steps {
            let what = What::Client(random.below(self.clients), self.deed(&mut random));
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..random.below(self.cuts + 1) {
            let (one, other) = self.pair(&mut random);
            steps.push(Step { at: random.next() % end, what: What::Cut(one, other) });
        }
        for _ in 0..random.below(self.partitions + 1) {
            let what = What::Shut(self.partition(&mut random), 100_000 + random.next() % (end / 2));
            steps.push(Step { at: random.next() % end, what });
        }
        if random.chance(20) {
            let (one, other) = self.pair(&mut random);
            steps.push(Step { at: random.next() % end, what: What::Slow(one, other, random.next() % 300_000) });
        }
        for _ in 0..random.below(self.kills + 1) {
            let what = What::Kill(random.below(self.nodes), random.next() % (end / 2), random.chance(40));
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..random.below(self.freezes + 1) {
            let what = What::Freeze(random.below(self.nodes), random.next() % (end / 2));
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..self.evacuations {
            let what = What::Evacuate(random.below(self.nodes), random.next() % (end / 4));
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..self.changes {
            let spread = random.next() % 1_500_000;
            let what = match random.below(5) {
                0 | 1 => What::Leave(random.below(self.nodes), None, spread),
                2 => {
                    What::Leave(random.below(self.nodes), Some((random.next() % (end / 3), random.chance(40))), spread)
                }
                _ => What::Join(random.below(self.nodes), spread),
            };
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..self.jumps {
            let what = What::Clock(random.below(self.nodes), off(self.skew, &mut random));
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..self.leaps {
            let what = What::Leap(random.below(2), off(self.apart, &mut random));
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..self.strays {
            let what = What::Clock(random.below(self.nodes), off(STRAY, &mut random));
            steps.push(Step { at: random.next() % end, what });
        }
        for _ in 0..self.link_changes {
            let change = *random.pick(&[LinkChange::Pause, LinkChange::Delete, LinkChange::Narrow]);
            let what = What::Link(random.below(2), change, random.next() % (end / 3), random.next() % 1_500_000);
            steps.push(Step { at: random.next() % end, what });
        }
        steps.sort_by_key(|step| step.at);
        if self.far > 0 {
            // Some want outside of groups what others share.
            let deeds = steps.iter_mut().filter_map(|step| match &mut step.what {
                What::Client(client, deed) if *client % 4 == 3 => Some(deed),
                _ => None,
            });
            deeds.for_each(Deed::leave_group);
        }
        steps
    }

    fn pair(&self, random: &mut Random) -> (usize, usize) {
        let one = random.below(self.nodes);
        (one, (one + 1 + random.below(self.nodes - 1)) % self.nodes)
    }

    /// Ways to shut: between two nodes in one direction or both, around one node, or between two clusters.
    fn partition(&self, random: &mut Random) -> Vec<(usize, usize)> {
        let (one, other) = self.pair(random);
        match random.below(if self.far > 0 { 4 } else { 3 }) {
            0 => vec![(one, other)],
            1 => vec![(one, other), (other, one)],
            3 => {
                let apart = |near| self.members(1).flat_map(move |far| [(near, far), (far, near)]);
                self.members(0).flat_map(apart).collect()
            }
            _ => (0..self.nodes).filter(|node| *node != one).flat_map(|node| [(one, node), (node, one)]).collect(),
        }
    }

    fn connecting(&self, random: &mut Random) -> Connecting {
        Connecting {
            node: random.below(self.nodes),
            clean: random.chance(15) && self.unruly,
            will: random.chance(30).then(|| {
                let delay = if random.chance(70) { 0 } else { 1 + random.below(4) as u32 };
                (*random.pick(&TOPICS), qos(random), random.chance(20), delay)
            }),
            receive_maximum: if random.chance(50) { 1 + random.below(10) as u16 } else { u16::MAX },
        }
    }

    fn deed(&self, random: &mut Random) -> Deed {
        match random.below(100) {
            0..8 => Deed::Connect(Box::new(self.connecting(random))),
            8..12 => Deed::Disconnect,
            12..17 => Deed::Tear(random.next() % 4_000_000),
            17..19 => Deed::Vanish(random.next() % 4_000_000),
            19..32 => subscribe(random),
            32..37 => Deed::Unsubscribe(if random.chance(30) {
                random.pick::<&str>(&SHARES)
            } else {
                random.pick::<&str>(&FILTERS)
            }),
            37..46 => Deed::Mood(match random.below(10) {
                0..5 => Mood::Prompt,
                5..8 => Mood::Late(random.next() % 800_000),
                8 => Mood::Never,
                _ if self.unruly => Mood::Deaf,
                _ => Mood::Prompt,
            }),
            _ => {
                let shared = random.chance(25);
                let topic = if shared { *random.pick(&SHARED_TOPICS) } else { *random.pick(&TOPICS) };
                let retain = !shared && random.chance(25);
                let message = Message {
                    topic,
                    qos: qos(random),
                    retain,
                    empty: retain && random.chance(20),
                    padding: if random.chance(8) { random.below(20_000) } else { random.below(30) },
                };
                Deed::Publish(if random.chance(30) { 1 + random.below(20) } else { 1 + random.below(3) }, message)
            }
        }
    }
}

// === impl Deed ===

impl Deed {
    /// Makes an ordinary subscription of one in a group.
    fn leave_group(&mut self) {
        if let Self::Subscribe(filter, _, _) | Self::Unsubscribe(filter) = self
            && let Some((_, plain)) = filter.strip_prefix("$share/").and_then(|shared| shared.split_once('/'))
        {
            *filter = plain;
        }
    }
}

/// How far a clock strays at most.
const STRAY: Micros = 5 * 3_600_000_000;

/// By how much a wall clock is off, at most and either way.
pub fn off(most: Micros, random: &mut Random) -> i64 {
    if most == 0 {
        return 0;
    }
    let off = random.next() % (2 * most + 1);
    off.cast_signed() - most.cast_signed()
}

fn qos(random: &mut Random) -> Qos {
    *random.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce])
}

fn subscribe(random: &mut Random) -> Deed {
    if random.chance(25) {
        // All members of a group keep what they get, so that a message can't be lost with the one that is chosen.
        let qos = *random.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]);
        return Deed::Subscribe(random.pick::<&str>(&SHARES), Options { qos, ..Options::default() }, random.chance(30));
    }
    let options = Options {
        qos: qos(random),
        no_local: random.chance(10),
        retain_as_published: random.chance(20),
        retain_handling: *random.pick(&[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]),
    };
    Deed::Subscribe(random.pick::<&str>(&FILTERS), options, random.chance(30))
}
