//! What comes over a link with another cluster, as far as that is promised.

use super::{Message, Oracle, Session, Subscription, Weather};
use crate::shard::sim::links::{always_enters, enters};
use crate::shard::sim::network::Micros;

// === impl Message ===

impl Message {
    /// Whether sessions of that cluster may get it.
    pub(super) fn reaches(&self, cluster: usize) -> bool {
        self.cluster == cluster || enters(cluster, &self.topic)
    }

    /// Whether it may wait for a session at a node that took it of another cluster: that one could not give it on.
    pub(super) fn is_stuck_at(&self, node: usize, session: &Session, weather: &Weather) -> bool {
        let is_between = |at: &usize| weather.troubled[node][*at] > self.sent_at;
        self.cluster != session.cluster
            && weather.cluster[node] == session.cluster
            && session.left.keys().chain([&session.node]).any(is_between)
    }

    /// Whether another node of the session's cluster may have taken it of another cluster and have it still, while what came
    /// later came by others: two nodes could not reach each other.
    pub(super) fn is_overtaken(&self, session: &Session, weather: &Weather) -> bool {
        (0..weather.lives.len()).any(|node| node != session.node && self.is_stuck_at(node, session, weather))
    }

    /// How often the lane that it came by to another cluster may have turned to another node of that: each of the two may give
    /// it to a member of a group.
    pub(super) fn turns(&self, cluster: usize, weather: &Weather) -> u32 {
        let turned = weather.turned[self.node].iter().filter(|at| **at >= self.sent_at);
        if self.cluster == cluster { 0 } else { turned.count() as u32 }
    }
}

// === impl Oracle ===

impl Oracle {
    /// Messages of which members of groups of one cluster got more than one.
    pub fn given_twice(&self) -> usize {
        self.messages.iter().filter(|message| message.copies.iter().any(|copies| *copies > 1)).count()
    }

    /// A node ends its link: what is still there for the other cluster may be lost with it.
    pub fn unlinked(&mut self, node: usize, weather: &Weather) {
        let (messages, sessions) = (&self.messages, &self.sessions);
        let is_lost = |message: usize, cluster: usize| {
            let message = &messages[message];
            let is_sent = |at: Micros| {
                (0..weather.lives.len())
                    .any(|other| weather.cluster[other] == cluster && weather.empty[node][other] > at)
            };
            message.cluster != cluster
                && (message.node == node && !message.acked_at.is_some_and(is_sent) || message.again_at.contains(&node))
        };
        for owed in &mut self.owed {
            owed.excused |= is_lost(owed.message, sessions[owed.session].cluster);
        }
        for owed in &mut self.owed_to_groups {
            owed.excused |= is_lost(owed.message, owed.cluster);
        }
    }

    /// A cluster is about to receive less: of what comes besides nothing must.
    pub fn narrowed(&mut self, cluster: usize) {
        let (messages, sessions) = (&self.messages, &self.sessions);
        for owed in &mut self.owed {
            let message = &messages[owed.message];
            let comes_in = sessions[owed.session].cluster == cluster && message.cluster != cluster;
            owed.excused |= comes_in && !always_enters(cluster, &message.topic);
        }
    }

    /// A node that began anew gives up another one of its cluster that it has never heard of: what it takes over the link from
    /// now on is lost for those there.
    pub fn gave_up(&mut self, node: usize, other: usize, weather: &Weather) {
        let (messages, sessions) = (&self.messages, &self.sessions);
        let is_deaf_to = |message: usize, session: &Session| {
            messages[message].cluster != session.cluster
                && weather.cluster[node] == session.cluster
                && (session.node == other || session.left.contains_key(&other))
        };
        for owed in &mut self.owed {
            owed.excused |= is_deaf_to(owed.message, &sessions[owed.session]);
        }
        for owed in &mut self.owed_to_groups {
            let mut members = owed.members.iter().map(|(session, _)| &sessions[*session]);
            owed.excused |= members.any(|session| is_deaf_to(owed.message, session));
        }
    }
}

// === impl Session ===

impl Session {
    /// Whether a message that enters at a node is one that the session's cluster receives, as that node has been told since it
    /// was otherwise.
    pub(super) fn lets_in(&self, message: &Message, node: usize, weather: &Weather) -> bool {
        let until = weather.narrowed[self.cluster];
        let told =
            |own: usize| weather.cluster[own] == self.cluster && weather.told[own][node].is_some_and(|at| at > until);
        until == 0
            || weather.cluster[node] == self.cluster
            || always_enters(self.cluster, &message.topic)
            || (0..weather.lives.len()).any(told)
    }

    /// Whether what enters at a node of the other cluster comes to a subscription: that node was told of it by one of this
    /// cluster, and all nodes here by which it may come know of it.
    pub(super) fn is_settled_across(
        &self,
        subscription: &Subscription,
        acked_at: Micros,
        node: usize,
        weather: &Weather,
    ) -> bool {
        let since = acked_at.max(self.moved_at);
        let knows = |own: usize| {
            own == self.node
                || subscription.waited.contains(&(own, weather.lives[own]))
                || weather.ready[self.node][own].is_some_and(|ready| ready > since)
        };
        let own = || (0..weather.lives.len()).filter(|own| weather.cluster[*own] == self.cluster);
        let told = |own: usize| weather.told[own][node].is_some_and(|told| told > since);
        let waited = |own: usize| own == self.node || subscription.waited.contains(&(own, weather.lives[own]));
        own().all(|own| knows(own) || !weather.alive[own]) && own().any(|own| waited(own) && told(own))
    }
}
