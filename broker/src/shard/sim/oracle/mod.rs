//! A plain model of MQTT: who must, may and must not receive what; it knows nothing of how the broker does it.

mod across;
mod ending;
mod filter;
mod receipt;
mod whereabouts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tombolo_broker_api::WhenFull;

use super::network::Micros;
use super::plan::Plan;
use crate::codec::Qos;
use crate::codec::subscribe::Options;

pub use filter::matches;
pub use receipt::Receipt;

/// What was seen of the nodes from outside, and of what they say themselves about their connections.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Counts the lives of each node.
    pub lives: Vec<u32>,
    /// Whether a node is up.
    pub alive: Vec<bool>,
    /// When the life of a node began.
    pub since: Vec<Micros>,
    /// When a node last said that another one is not connected.
    pub disconnected: Vec<Vec<Micros>>,
    /// When a node last said that it is in sync with another one.
    pub ready: Vec<Vec<Option<Micros>>>,
    /// When nothing of a node waited for another one last.
    pub empty: Vec<Vec<Micros>>,
    /// When a node last had no session under way, and nothing of one that had left.
    pub unmoved: Vec<Micros>,
    /// The same, each time that it came to be so, or died.
    pub unmoved_since: Vec<Vec<Micros>>,
    /// Whether a node was connected with another one since both began.
    pub met: Vec<Vec<bool>>,
    /// When whatever stood between two nodes last will be, or was, over.
    pub troubled: Vec<Vec<Micros>>,
    /// When a node last said that another one is suspended.
    pub suspended: Vec<Vec<Micros>>,
    /// The number of each node's cluster.
    pub cluster: Vec<usize>,
    /// When the link of a node last said that a node of the other cluster routes by all that it wants.
    pub told: Vec<Vec<Option<Micros>>>,
    /// The node of the other cluster at which the lanes of a node's link end.
    pub lane: Vec<Option<Arc<str>>>,
    /// When they turned to another one.
    pub turned: Vec<Vec<Micros>>,
    /// Until when each cluster received less over its link than it does.
    pub narrowed: [Micros; 2],
}

/// Everything that clients did and saw.
#[derive(Default)]
pub struct Oracle {
    /// All messages, by their number.
    pub messages: Vec<Message>,
    /// All sessions, by their number.
    pub sessions: Vec<Session>,
    owed: Vec<Owed>,
    owed_to_groups: Vec<OwedToGroup>,
    /// How many deliveries were looked at.
    pub receipts: usize,
    /// How many deliveries were found to be owed, and made.
    pub fulfilled: usize,
    /// Bounds are so small that messages are lost.
    lossy: bool,
    /// What waits for another cluster has so little room that messages are lost.
    lossy_across: bool,
    /// Little is remembered of what came over links.
    forgetful: bool,
    /// Messages that came again since no more was remembered.
    pub repeated: usize,
    /// Messages that somebody should have got and did not, where that may be since they were dropped.
    pub missing: BTreeSet<usize>,
    /// Clocks are wrong: what is retained is later only if its node had the other.
    pub skewed: bool,
    /// Some stray so far that nobody follows them: what is retained is later only at its own node.
    pub strayed: bool,
}

/// A message, from its publisher's view.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its publisher.
    pub client: usize,
    /// The node where it was published, and which life of it.
    pub node: usize,
    life: u32,
    /// The cluster of that node.
    cluster: usize,
    /// Its topic.
    pub topic: String,
    /// Its QoS.
    pub qos: Qos,
    /// RETAIN was set.
    pub retain: bool,
    /// It had no payload.
    pub empty: bool,
    /// When it was sent first; a will: when its connection ended.
    pub sent_at: Micros,
    /// When its acknowledgement came; a will: when it must have been published at the latest.
    pub acked_at: Option<Micros>,
    /// How often it was sent as something new.
    pub sends: u32,
    /// It is a will.
    pub will: bool,
    /// A will that must not be published.
    pub forbidden: bool,
    /// It may have been lost with its node.
    pub doubtful: bool,
    /// Other nodes where it was sent again.
    again_at: BTreeSet<usize>,
    /// First receipts over all sessions of each cluster, for messages to groups.
    copies: [u32; 2],
    /// Retained messages of its topic that its node had taken when it was sent.
    knew: BTreeSet<usize>,
    /// Nodes that died while it was under way to them: what they took and had not acknowledged comes back.
    comes_back: u32,
    /// Seconds after which it expires.
    pub expires: Option<u32>,
}

/// A session, from its client's view.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Its client.
    pub client: usize,
    /// The node where it is.
    pub node: usize,
    /// The cluster of that node.
    cluster: usize,
    /// When it ended, if it has.
    pub ended: Option<Micros>,
    /// It may be lost with a node where it was about to go.
    pub doubtful: bool,
    /// Its client got another one, since it was at a node that could not be reached.
    pub forsaken: bool,
    /// It ended with its node.
    died: bool,
    /// When it may end, though its client does not know yet.
    pub ends_at: Option<Micros>,
    /// Where its client has knocked since it was connected last.
    pub tried: BTreeSet<usize>,
    /// When it came to its node.
    pub moved_at: Micros,
    /// Nodes that it left, and when.
    left: BTreeMap<usize, Micros>,
    /// The same, each time.
    departures: Vec<(usize, Micros)>,
    subscriptions: BTreeMap<String, Subscription>,
    received: BTreeMap<usize, Received>,
    /// What came as retained: the last of each topic.
    pub retained: BTreeMap<String, usize>,
    /// The last message in each order that is promised.
    last: BTreeMap<Lane, usize>,
}

/// Messages of one order: publisher, its node, how it was published, and whether it came with QoS 0.
type Lane = (usize, usize, Class, bool);

/// How a message was published, as far as others may overtake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// With QoS 0.
    Quick,
    /// With QoS 0 and RETAIN, at another node: it goes from node to node as those below do.
    Retained,
    /// With QoS 1 or 2.
    Kept,
}

/// A subscription and what became of it.
#[derive(Clone, Debug, Default)]
struct Subscription {
    /// How it was made, each time.
    options: Vec<Options>,
    ids: BTreeSet<u32>,
    /// When the first SUBSCRIBE was sent.
    asked_at: Micros,
    /// When the first SUBACK came.
    acked_at: Option<Micros>,
    /// Nodes that were waited for, with their lives.
    waited: BTreeSet<(usize, u32)>,
    unasked_at: Option<Micros>,
    unacked_at: Option<Micros>,
    /// Lives before it was given up and made again.
    serial: u32,
}

#[derive(Clone, Debug, Default)]
struct Received {
    /// As something new, not as a repeat and not as a retained message.
    new: u32,
    any: u32,
}

/// A message that a session must get.
#[derive(Clone, Debug)]
struct Owed {
    message: usize,
    session: usize,
    filter: String,
    serial: u32,
    excused: bool,
}

/// A message that some member of a group must get.
#[derive(Clone, Debug)]
struct OwedToGroup {
    message: usize,
    /// The cluster of the group.
    cluster: usize,
    filter: String,
    /// Sessions that were members all along, and the subscription of each.
    members: Vec<(usize, u32)>,
    excused: bool,
    /// A node died that may have had it, and the node where it was published gives it to another member.
    comes_back: bool,
}

// === impl Oracle ===

impl Oracle {
    /// Nothing happened yet.
    pub fn new(plan: &Plan) -> Self {
        let lossy_across = plan.small_links.is_some_and(|when_full| when_full != WhenFull::Backpressure);
        Self {
            lossy: plan.small,
            forgetful: plan.memory.is_some(),
            lossy_across,
            skewed: plan.skew + plan.strays as u64 > 0,
            strayed: plan.strays > 0,
            ..Self::default()
        }
    }

    /// A new session of a client.
    pub fn begin(&mut self, client: usize, node: usize, now: Micros, weather: &Weather) -> usize {
        let cluster = weather.cluster[node];
        self.sessions.push(Session { client, node, cluster, moved_at: now, ..Session::default() });
        self.sessions.len() - 1
    }

    /// A session has ended.
    pub fn end(&mut self, session: usize, now: Micros) {
        self.sessions[session].ended.get_or_insert(now);
    }

    /// A SUBSCRIBE is sent.
    pub fn subscribing(&mut self, session: usize, filter: &str, options: Options, id: Option<u32>, now: Micros) {
        let subscription = self.sessions[session].subscriptions.entry(filter.to_owned()).or_default();
        if subscription.unasked_at.is_some() {
            let serial = subscription.serial + 1;
            let options = std::mem::take(&mut subscription.options);
            let ids = std::mem::take(&mut subscription.ids);
            *subscription = Subscription { serial, options, ids, asked_at: now, ..Subscription::default() };
        } else if subscription.options.is_empty() {
            subscription.asked_at = now;
        }
        subscription.options.push(options);
        subscription.ids.insert(id.unwrap_or(0));
    }

    /// Its SUBACK came; `asked_at` is when it was sent, `timeout` how long the broker may wait for other nodes.
    pub fn subscribed(
        &mut self,
        session: usize,
        filter: &str,
        asked_at: Micros,
        now: Micros,
        timeout: Micros,
        weather: &Weather,
    ) {
        let Session { node, subscriptions, .. } = &mut self.sessions[session];
        let Some(subscription) = subscriptions.get_mut(filter) else { return };
        if subscription.asked_at > asked_at {
            return;
        }
        if subscription.acked_at.is_none() && now - asked_at + ROUNDING < timeout {
            let others = 0..weather.lives.len();
            let waited = others.filter(|other| weather.disconnected[*node][*other] < asked_at);
            subscription.waited.extend(waited.map(|other| (other, weather.lives[other])));
        }
        subscription.acked_at.get_or_insert(now);
    }

    /// An UNSUBSCRIBE is sent.
    pub fn unsubscribing(&mut self, session: usize, filter: &str, now: Micros) {
        if let Some(subscription) = self.sessions[session].subscriptions.get_mut(filter) {
            subscription.unasked_at.get_or_insert(now);
        }
    }

    /// Its UNSUBACK came.
    pub fn unsubscribed(&mut self, session: usize, filter: &str, now: Micros) {
        if let Some(subscription) = self.sessions[session].subscriptions.get_mut(filter)
            && subscription.unasked_at.is_some()
        {
            subscription.unacked_at.get_or_insert(now);
        }
    }

    /// A message is published for the first time: its number.
    #[expect(clippy::too_many_arguments, reason = "the parts of a message")]
    pub fn publishing(
        &mut self,
        client: usize,
        node: usize,
        topic: &str,
        qos: Qos,
        retain: bool,
        empty: bool,
        now: Micros,
        weather: &Weather,
    ) -> usize {
        let number = self.note(client, node, topic, qos, retain, empty, weather);
        self.messages[number].sent_at = now;
        if retain && self.skewed {
            self.messages[number].knew = self.known_at(node, topic, weather);
        }
        self.owe(number, now, weather);
        number
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a message")]
    fn note(
        &mut self,
        client: usize,
        node: usize,
        topic: &str,
        qos: Qos,
        retain: bool,
        empty: bool,
        weather: &Weather,
    ) -> usize {
        let number = self.messages.len();
        self.messages.push(Message {
            client,
            node,
            life: weather.lives[node],
            cluster: weather.cluster[node],
            topic: topic.to_owned(),
            qos,
            retain,
            empty,
            sent_at: Micros::MAX,
            acked_at: None,
            sends: 1,
            will: false,
            forbidden: false,
            doubtful: false,
            again_at: BTreeSet::new(),
            copies: [0; 2],
            knew: BTreeSet::new(),
            comes_back: 0,
            expires: None,
        });
        number
    }

    /// A will is left with the broker: its number.
    pub fn will(
        &mut self,
        client: usize,
        node: usize,
        topic: &str,
        qos: Qos,
        retain: bool,
        weather: &Weather,
    ) -> usize {
        let number = self.note(client, node, topic, qos, retain, false, weather);
        let will = &mut self.messages[number];
        (will.will, will.sent_at) = (true, Micros::MAX);
        number
    }

    /// The connection of a will has ended; if it must be published, that is done until `latest`.
    pub fn will_due(&mut self, number: usize, now: Micros, latest: Option<Micros>, weather: &Weather) {
        self.messages[number].sent_at = now;
        if latest.is_some() {
            self.messages[number].acked_at = latest;
            self.owe(number, now, weather);
        }
    }

    /// Notes who must get a message that is published now.
    fn owe(&mut self, number: usize, now: Micros, weather: &Weather) {
        let message = &self.messages[number];
        if message.qos == Qos::AtMostOnce
            || message.empty
            || weather.lives[message.node] != message.life
            || !weather.alive[message.node]
        {
            return;
        }
        let mut groups: BTreeMap<(usize, &str), Vec<(usize, u32)>> = BTreeMap::new();
        let reaches = |session: &Session| session.ended.is_none() && message.reaches(session.cluster);
        for (at, session) in self.sessions.iter().enumerate().filter(|(_, session)| reaches(session)) {
            for (filter, subscription) in &session.subscriptions {
                let Some(acked_at) = subscription.acked_at else { continue };
                let is_own = session.client == message.client && subscription.options.iter().any(|o| o.no_local);
                let is_kept = subscription.options.iter().all(|options| options.qos > Qos::AtMostOnce);
                if subscription.unasked_at.is_some()
                    || is_own
                    || !is_kept
                    || !matches(filter, &message.topic)
                    || !session.is_settled(subscription, acked_at, message.node, now, weather)
                    || !session.lets_in(message, message.node, weather)
                {
                    continue;
                }
                if filter.starts_with('$') {
                    groups.entry((session.cluster, filter)).or_default().push((at, subscription.serial));
                } else {
                    let (filter, serial) = (filter.clone(), subscription.serial);
                    self.owed.push(Owed { message: number, session: at, filter, serial, excused: false });
                }
            }
        }
        let owed = groups.into_iter().map(|((cluster, filter), members)| OwedToGroup {
            message: number,
            cluster,
            filter: filter.to_owned(),
            members,
            excused: false,
            comes_back: false,
        });
        self.owed_to_groups.extend(owed);
    }

    /// A message is sent again, perhaps at another node.
    pub fn resent(&mut self, number: usize, node: usize, now: Micros, weather: &Weather) {
        self.resent_release(number, node);
        let Message { node: before, life, .. } = self.messages[number];
        // A node that began anew is another one too: perhaps it is not told yet what is wanted elsewhere.
        if (node, weather.lives[node]) != (before, life) {
            for owed in self.owed.iter_mut().filter(|owed| owed.message == number) {
                let session = &self.sessions[owed.session];
                let subscription = session.subscriptions.get(&owed.filter);
                owed.excused |= !session.lets_in(&self.messages[number], node, weather);
                owed.excused |= subscription.is_none_or(|subscription| {
                    let settled = |at| session.is_settled(subscription, at, node, now, weather);
                    !subscription.acked_at.is_some_and(settled)
                });
            }
            let settled = |(session, _): &(usize, u32), filter: &str| {
                let session = &self.sessions[*session];
                session.subscriptions.get(filter).is_some_and(|subscription| {
                    subscription.acked_at.is_some_and(|at| session.is_settled(subscription, at, node, now, weather))
                })
            };
            for owed in self.owed_to_groups.iter_mut().filter(|owed| owed.message == number) {
                owed.members.retain(|member| settled(member, &owed.filter));
            }
        }
        let message = &mut self.messages[number];
        // The broker knows a QoS 2 message by its id, as long as the session goes on; its client may not know that another one
        // has taken its place.
        let died = self.sessions.iter().any(|session| session.client == message.client && session.died);
        message.sends += u32::from(died || message.qos == Qos::AtLeastOnce);
    }

    /// The release of a message is sent again, perhaps at another node.
    pub fn resent_release(&mut self, number: usize, node: usize) {
        let message = &mut self.messages[number];
        if node != message.node {
            message.again_at.insert(node);
        }
    }

    /// How many messages of a topic a client got, in all its sessions.
    pub fn received_by(&self, client: usize, topic: &str) -> usize {
        let sessions = self.sessions.iter().filter(|session| session.client == client);
        let numbers: BTreeSet<usize> = sessions.flat_map(|session| session.received.keys().copied()).collect();
        numbers.into_iter().filter(|number| self.messages[*number].topic == topic).count()
    }

    /// A message was acknowledged.
    pub fn acked(&mut self, number: usize, now: Micros) {
        self.messages[number].acked_at.get_or_insert(now);
    }
}

/// What the broker's clock may round away.
const ROUNDING: Micros = 5_000;
