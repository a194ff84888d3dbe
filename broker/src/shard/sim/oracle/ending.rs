//! What must be true when all is well again and everybody had time to get what is theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Message, Oracle, Session, Weather};
use crate::codec::Qos;
use crate::codec::subscribe::Options;
use crate::shard::sim::deeds::LONG;
use crate::shard::sim::network::Micros;

// === impl Oracle ===

impl Oracle {
    /// Looks whether everything arrived that had to.
    ///
    /// # Errors
    /// The first that did not.
    pub fn check(&mut self) -> Result<(), String> {
        for owed in &self.owed {
            let (message, session) = (&self.messages[owed.message], &self.sessions[owed.session]);
            let stays = message.expires.is_none_or(|after| after == LONG);
            let is_due = message.acked_at.is_some() && stays && !owed.excused && session.ended.is_none();
            let Some(subscription) = session.subscriptions.get(&owed.filter) else { continue };
            // Who gives a subscription up, or lowers it, may miss what is on its way.
            let is_kept = subscription.serial == owed.serial
                && subscription.unasked_at.is_none()
                && subscription.options.iter().all(|options| options.qos > Qos::AtMostOnce);
            if !is_due || !is_kept {
                continue;
            }
            if !session.received.contains_key(&owed.message) {
                if self.lossy || self.lossy_across && message.cluster != session.cluster {
                    self.missing.insert(owed.message);
                    continue;
                }
                return Err(format!(
                    "message {} of client {} to {} at node {} was acknowledged, and client {} did not get it by {} \
                     in session {} at node {}",
                    owed.message,
                    message.client,
                    message.topic,
                    message.node,
                    session.client,
                    owed.filter,
                    owed.session,
                    session.node
                ));
            }
            self.fulfilled += 1;
        }
        self.check_groups()
    }

    fn check_groups(&mut self) -> Result<(), String> {
        for owed in &self.owed_to_groups {
            let message = &self.messages[owed.message];
            let is_there = |(session, serial): &(usize, u32)| {
                let session = &self.sessions[*session];
                let subscription = session.subscriptions.get(&owed.filter);
                session.ended.is_none()
                    && subscription.is_some_and(|kept| kept.serial == *serial && kept.unasked_at.is_none())
            };
            let is_of_group = |session: &&Session| {
                session.cluster == owed.cluster && session.subscriptions.contains_key(&owed.filter)
            };
            let of_group = || self.sessions.iter().filter(is_of_group);
            // Who gives its subscription up keeps what it got, and leaves it to nobody when its session ends. Nor does
            // anybody what it got with QoS 2 [MQTT-4.8.2-5].
            let took_along = of_group().any(|session| {
                let Some(subscription) = session.subscriptions.get(&owed.filter) else { return false };
                let is_two = |options: &Options| options.qos.min(message.qos) == Qos::ExactlyOnce;
                // What comes for those of a node that died does not get there any more, and goes to others.
                !session.died
                    && session.ended.is_some_and(|at| at + SLACK > message.sent_at)
                    // Known: a node whose last member has left, and that was not told of the others yet, drops it.
                    && (session.node != message.node
                        || subscription.options.iter().any(is_two)
                        || subscription.unasked_at.is_some_and(|at| at + SLACK > message.sent_at))
            });
            let stays = message.expires.is_none_or(|after| after == LONG);
            if message.acked_at.is_none() || !stays || owed.excused || took_along || !owed.members.iter().any(is_there)
            {
                continue;
            }
            if !of_group().any(|session| session.received.contains_key(&owed.message)) {
                if self.lossy || self.lossy_across && message.cluster != owed.cluster {
                    self.missing.insert(owed.message);
                    continue;
                }
                return Err(format!(
                    "message {} of client {} to {} at node {} was acknowledged, and no member of {} got it, of {:?}",
                    owed.message, message.client, message.topic, message.node, owed.filter, owed.members
                ));
            }
            self.fulfilled += 1;
        }
        Ok(())
    }

    /// Retained messages of a topic that are over and that a node has taken.
    pub(super) fn known_at(&self, node: usize, topic: &str, weather: &Weather) -> BTreeSet<usize> {
        let has = |one: &Message| {
            let is_same = one.node == node && one.life == weather.lives[node];
            one.again_at.is_empty()
                && one.acked_at.is_some_and(|at| {
                    is_same || !self.strayed && weather.since[node] < at && at < weather.empty[one.node][node]
                })
        };
        let all = self.messages.iter().enumerate();
        all.filter(|(_, one)| one.retain && !one.will && one.topic == topic && has(one)).map(|(at, _)| at).collect()
    }

    /// Looks whether what is retained in a cluster, by topic the number of the message, can be so. When a message of another
    /// cluster comes, and whether it is wanted at that time, nobody can say.
    ///
    /// # Errors
    /// What can't be.
    pub fn check_retained(&self, cluster: usize, retained: &BTreeMap<String, usize>) -> Result<(), String> {
        let is_published = |message: &Message| message.retain && message.reaches(cluster);
        let published = || self.messages.iter().enumerate().filter(|(_, message)| is_published(message));
        let topics: BTreeSet<&String> = published().map(|(_, message)| &message.topic).collect();
        for topic in topics {
            let all: Vec<(usize, &Message)> = published().filter(|(_, message)| message.topic == *topic).collect();
            // Later than all that were over before it began, whatever the clocks of the nodes say.
            let is_superseded = |at: usize, one: &Message| {
                all.iter().any(|(_, later)| {
                    let is_certain =
                        later.acked_at.is_some() && !later.doubtful && !later.will && later.cluster == cluster;
                    let over = if one.will || one.cluster != cluster { None } else { one.acked_at };
                    let knew = !self.skewed || later.again_at.is_empty() && later.knew.contains(&at);
                    is_certain && knew && over.is_some_and(|over| over + SKEW < later.sent_at)
                })
            };
            let candidates: Vec<usize> =
                all.iter().filter(|(at, message)| !is_superseded(*at, message)).map(|(at, _)| *at).collect();
            match retained.get(topic) {
                Some(number) if candidates.contains(number) && !self.messages[*number].empty => {}
                // Nothing: if something removed it, or nothing is certain.
                None if candidates.iter().any(|at| self.messages[*at].empty)
                    || all.iter().all(|(_, message)| {
                        let is_certain = message.acked_at.is_some() && message.cluster == cluster;
                        message.doubtful || !is_certain || message.empty || message.will
                    }) => {}
                found => {
                    return Err(format!("retained of {topic} is {found:?}, and it must be one of {candidates:?}"));
                }
            }
        }
        match retained.keys().find(|topic| !published().any(|(_, message)| message.topic == **topic)) {
            Some(topic) => Err(format!("{topic} was never retained")),
            None => Ok(()),
        }
    }
}

/// How much later than its client a broker may notice that a connection is gone.
const SLACK: Micros = 20_000_000;

/// How far the clocks of nodes are apart.
const SKEW: Micros = 50_000;
