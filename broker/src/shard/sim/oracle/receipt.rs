//! What a client receives, looked at as it comes.

use super::{Class, Message, Oracle, Session, Subscription, Weather, matches};
use crate::codec::Qos;
use crate::shard::sim::network::Micros;

/// How long the node where a session is surely keeps the parts of its queue in order.
const FOLLOWS: Micros = 7_500_000;

/// How much earlier a node may have seen another one suspended than the client of a session hears that it has moved.
const NOTICED: Micros = 2_500_000;

/// A PUBLISH that came to a client.
#[derive(Clone, Debug)]
pub struct Receipt<'a> {
    /// The message's number, from its payload.
    pub message: usize,
    /// Topic.
    pub topic: &'a str,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// QoS 2 with a packet id that the client holds already: a repeat on the same exchange.
    pub repeat: bool,
    /// Subscription Identifiers.
    pub ids: Vec<u32>,
    /// The client speaks version 5.
    pub v5: bool,
    /// Message Expiry Interval.
    pub expiry: Option<u32>,
}

// === impl Oracle ===

impl Oracle {
    /// Looks at what a session got.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn received(
        &mut self,
        session: usize,
        receipt: &Receipt<'_>,
        now: Micros,
        weather: &Weather,
    ) -> Result<(), String> {
        self.receipts += 1;
        let number = receipt.message;
        let sessions = &mut self.sessions;
        let Some(message) = self.messages.get_mut(number) else { return Err("it was never published".into()) };
        let state = &mut sessions[session];
        if message.topic != receipt.topic {
            return Err(format!("it was published to {}", message.topic));
        }
        if message.forbidden {
            return Err("the will of a client that said goodbye was published".into());
        }
        if message.will && message.sent_at == Micros::MAX {
            // The broker noticed before the client did.
            message.sent_at = now;
        }
        if !message.reaches(state.cluster) {
            return Err("it is of another cluster, and the link does not receive its topic".into());
        }
        state.check_subscriptions(message, receipt)?;
        message.check_expiry(receipt, now)?;
        let is_member = |filter: &String| filter.starts_with('$') && matches(filter, &message.topic);
        let is_shared = state.subscriptions.keys().any(is_member);
        if receipt.repeat {
            return if receipt.dup { Ok(()) } else { Err("the packet id is still in use by another message".into()) };
        }
        let received = state.received.entry(number).or_default();
        let first = received.any == 0;
        received.any += 1;
        if receipt.retain && !message.retain {
            return Err("RETAIN is set, and it was not published so".into());
        }
        if receipt.retain {
            state.retained.insert(message.topic.clone(), number);
        }
        // What was retained is sent for each SUBSCRIBE.
        let is_replay = receipt.retain && message.retain;
        let is_new = !receipt.dup || receipt.qos == Qos::ExactlyOnce;
        received.new += u32::from(is_new && !is_replay);
        let copies = received.new;
        if is_shared {
            let cluster = state.cluster;
            message.copies[cluster] += u32::from(is_new);
            let total = message.copies[cluster];
            let allowed = self.allowed_copies(number, cluster, now, weather);
            if total > allowed {
                // Which member was chosen for a message of another cluster is remembered for so many.
                if self.forgetful && self.messages[number].cluster != cluster {
                    self.repeated += 1;
                    return Ok(());
                }
                return Err(format!("members of groups got it {total} times, and {allowed} are allowed"));
            }
            return Ok(());
        }
        if copies > message.sends {
            // What a session that moves had over links is remembered for so many messages and lanes.
            if self.forgetful && message.cluster != state.cluster {
                self.repeated += 1;
                return Ok(());
            }
            return Err(format!("it was sent {} times, and is new for the {copies}th time", message.sends));
        }
        let follows = state.is_out_of_hold(message, weather) || message.is_overtaken(state, weather);
        // What was sent again may come behind what was sent once; at another node it entered there, perhaps. What was published
        // before the client subscribed to it comes if its node gets it late.
        let is_sent_again = message.sends > 1 || !message.again_at.is_empty();
        if first && !is_replay && !message.will && !is_sent_again && !follows && !state.came_later(message) {
            let class = match message.qos {
                Qos::AtMostOnce if message.retain && message.node != state.node => Class::Retained,
                Qos::AtMostOnce => Class::Quick,
                Qos::AtLeastOnce | Qos::ExactlyOnce => Class::Kept,
            };
            let key = (message.client, message.node, class, receipt.qos == Qos::AtMostOnce);
            let last = state.last.insert(key, number);
            if last.is_some_and(|last| last > number) {
                return Err(format!("it comes behind {}, which the same client published later", last.unwrap_or(0)));
            }
        }
        Ok(())
    }

    /// Copies that all members of groups of a cluster together may get: one for each group that has or had members, another
    /// one for each session that ended with one, and more if nodes died that may have taken it, or lanes of links turned.
    fn allowed_copies(&self, number: usize, cluster: usize, now: Micros, weather: &Weather) -> u32 {
        let message = &self.messages[number];
        let sessions = || self.sessions.iter().filter(|session| session.cluster == cluster);
        let mut groups: Vec<&str> = sessions()
            .flat_map(|session| session.subscriptions.keys())
            .filter(|filter| filter.starts_with('$') && matches(filter, &message.topic))
            .map(|filter| &**filter)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        let is_over = |session: &&Session| session.ended.is_some() || session.ends_at.is_some_and(|at| at <= now);
        let ended = sessions().filter(is_over);
        let inherited: u32 =
            ended.filter_map(|session| session.received.get(&number)).map(|received| received.any).sum();
        groups.len() as u32 * (message.sends + message.comes_back + message.turns(cluster, weather)) + inherited
    }
}

// === impl Message ===

impl Message {
    /// Looks at what is said to be left of the time after which it expires, of which no wall clock has a say.
    fn check_expiry(&self, receipt: &Receipt<'_>, now: Micros) -> Result<(), String> {
        let Some(all) = self.expires.filter(|_| receipt.v5) else { return Ok(()) };
        let least = u64::from(all).saturating_sub((now - self.sent_at).div_ceil(1_000_000) + 1);
        match receipt.expiry {
            Some(left) if u64::from(left) >= least && left <= all => Ok(()),
            left => Err(format!("it expires after {all} s, and {left:?} are left, of at least {least}")),
        }
    }
}

// === impl Session ===

impl Session {
    /// Whether the client subscribed to a message when it was published already.
    fn came_later(&self, message: &Message) -> bool {
        let fits = self.subscriptions.iter().filter(|(filter, _)| matches(filter, &message.topic));
        fits.into_iter().all(|(_, subscription)| message.sent_at < subscription.asked_at)
    }

    /// Whether a node that had the session may have forwarded a message behind what came directly: nothing waited for that any
    /// more, since some time had passed, or the node, or the one where the message entered, was suspended.
    fn is_out_of_hold(&self, message: &Message, weather: &Weather) -> bool {
        let was_suspended = |by: usize, node: usize, since: Micros| {
            let seen = weather.suspended[by][node];
            seen > 0 && seen + NOTICED > since
        };
        self.departures.iter().any(|(node, left_at)| {
            let over = weather.unmoved_since[*node].iter().find(|at| *at >= left_at).copied().unwrap_or(Micros::MAX);
            let given_up = over > left_at + FOLLOWS
                || was_suspended(*node, message.node, *left_at)
                || (0..weather.lives.len()).any(|by| was_suspended(by, *node, *left_at));
            message.sent_at <= over && given_up
        })
    }

    fn check_subscriptions(&self, message: &Message, receipt: &Receipt<'_>) -> Result<(), String> {
        let fits = self.subscriptions.iter().filter(|(filter, _)| matches(filter, &message.topic));
        let all: Vec<&Subscription> = fits.map(|(_, subscription)| subscription).collect();
        let is_over = |subscription: &Subscription| subscription.unacked_at.is_some_and(|at| at < message.sent_at);
        let open: Vec<&&Subscription> = all.iter().filter(|subscription| !is_over(subscription)).collect();
        if open.is_empty() {
            let what =
                if all.is_empty() { "the session never subscribed to it" } else { "it was published after UNSUBACK" };
            return Err(what.into());
        }
        let options = || open.iter().flat_map(|subscription| &subscription.options);
        let highest = options().map(|options| options.qos).max().unwrap_or_default();
        if receipt.qos > highest.min(message.qos) {
            return Err(format!("QoS {:?} is more than was granted", receipt.qos));
        }
        // What waited at another node since before its client came here is not known as its own.
        let came_later = message.node != self.node
            && open.iter().all(|subscription| message.sent_at < subscription.asked_at.max(self.moved_at));
        let is_own = message.client == self.client && !came_later;
        if is_own && !receipt.retain && options().all(|options| options.no_local) {
            return Err("No Local: it is the client's own".into());
        }
        if message.retain && !receipt.retain && options().all(|options| options.retain_as_published) {
            return Err("RETAIN is not as it was published".into());
        }
        if !receipt.v5 && !receipt.ids.is_empty() {
            return Err("version 3.1.1 has no subscription identifiers".into());
        }
        let known = |id: &u32| all.iter().any(|subscription| subscription.ids.contains(id));
        if let Some(id) = receipt.ids.iter().find(|id| !known(id)) {
            return Err(format!("no subscription that matches has the identifier {id}"));
        }
        Ok(())
    }
}
