//! Where sessions are, and what goes with a node.

use super::{Message, Oracle, Session, Subscription, Weather};
use crate::codec::Qos;
use crate::shard::sim::network::Micros;

// === impl Oracle ===

impl Oracle {
    /// A client knocks at a node, where its session may go.
    pub fn trying(&mut self, session: usize, node: usize) {
        self.sessions[session].tried.insert(node);
    }

    /// A session that was given up is there again, or another one in its place; what was lost meanwhile is lost.
    pub fn resume(&mut self, session: usize, now: Micros) {
        if self.sessions[session].ended.take().is_some() {
            self.give_up(session, now);
        }
    }

    /// Nothing that was for a session must come any more.
    fn give_up(&mut self, session: usize, now: Micros) {
        self.owed.iter_mut().filter(|owed| owed.session == session).for_each(|owed| owed.excused = true);
        self.perhaps_new(session, now);
    }

    /// A session may have expired and begun anew without its client's having heard so: nobody knows what it subscribes to.
    pub fn perhaps_new(&mut self, session: usize, now: Micros) {
        for subscription in self.sessions[session].subscriptions.values_mut() {
            subscription.unasked_at.get_or_insert(now);
        }
    }

    /// Whether a session that a client finds at a node may be an older one of its own: each of two nodes that can't reach
    /// each other serves the session that it has.
    pub fn may_be_elder(&self, session: usize, node: usize, weather: &Weather) -> bool {
        let Session { client, node: home, moved_at, .. } = self.sessions[session];
        let apart = [(node, home), (home, node)].iter().any(|(one, other)| {
            !weather.met[*one][*other]
                || weather.disconnected[*one][*other] == Micros::MAX
                || weather.troubled[*one][*other] > moved_at
        });
        home != node && apart && self.sessions[..session].iter().any(|elder| elder.client == client)
    }

    /// Whether a client has an older session that was not ended when it got another one.
    pub fn may_be_forsaken(&self, session: usize) -> bool {
        let Session { client, .. } = self.sessions[session];
        self.sessions[..=session].iter().any(|elder| elder.client == client && elder.forsaken)
    }

    /// It is this session or an older one of the same client: what any of them subscribed to may come, and nothing must.
    pub fn perhaps_elder(&mut self, session: usize, now: Micros) {
        let client = self.sessions[session].client;
        let elders = self.sessions[..session].iter().filter(|elder| elder.client == client);
        let known: Vec<(String, Subscription)> = elders.flat_map(|elder| elder.subscriptions.clone()).collect();
        let state = &mut self.sessions[session];
        for (filter, elder) in known {
            let subscription = state.subscriptions.entry(filter).or_default();
            subscription.options.extend(elder.options);
            subscription.ids.extend(elder.ids);
            subscription.unacked_at = None;
        }
        // Both had a copy of what was published meanwhile.
        state.received.values_mut().for_each(|received| received.new = 0);
        state.last.clear();
        self.give_up(session, now);
    }

    /// A session is at this node now.
    pub fn moved(&mut self, session: usize, node: usize, now: Micros, weather: &Weather) {
        let state = &mut self.sessions[session];
        state.tried.clear();
        if state.node == node {
            return;
        }
        // Who routes by its subscriptions does so from now on, too.
        let settled: Vec<(String, usize)> = state
            .subscriptions
            .iter()
            .filter_map(|(filter, subscription)| Some((filter, subscription, subscription.acked_at?)))
            .flat_map(|(filter, subscription, at)| {
                (0..weather.lives.len()).map(move |to| (filter, subscription, at, to))
            })
            .filter(|(_, subscription, at, to)| state.is_settled(subscription, *at, *to, now, weather))
            .map(|(filter, _, _, to)| (filter.clone(), to))
            .collect();
        for (filter, to) in settled {
            if let Some(subscription) = state.subscriptions.get_mut(&filter) {
                subscription.waited.insert((to, weather.lives[to]));
            }
        }
        state.left.insert(state.node, now);
        state.departures.push((state.node, now));
        (state.node, state.moved_at) = (node, now);
    }

    /// A node was killed: with it go its sessions, and what was not yet with others.
    pub fn died(&mut self, node: usize, now: Micros, weather: &Weather) {
        for session in &mut self.sessions {
            session.doubtful |= session.tried.contains(&node);
            if session.node == node && session.ended.is_none() {
                session.died = true;
                session.ended.get_or_insert(now);
            }
        }
        // What follows a session that has left may still be there.
        let follows = |session: &Session| session.left.get(&node).is_some_and(|left| *left >= weather.unmoved[node]);
        // Who has not heard yet where such a session went sends to this node alone, or to both for it to decide: what they
        // publish goes with it, too, until they have heard.
        for session in self.sessions.iter_mut().filter(|session| follows(session)) {
            let moved_at = session.moved_at;
            let before =
                session.subscriptions.values_mut().filter(|kept| kept.acked_at.is_some_and(|at| at < moved_at));
            before.for_each(|kept| kept.waited.clear());
        }
        let is_safe = |message: &Message, at: usize| {
            let was_there = message.again_at.contains(&node);
            !was_there && (message.node != node || message.life != weather.lives[node])
                || message.acked_at.is_some_and(|acked| weather.empty[node][at] > acked)
        };
        for owed in &mut self.owed {
            let session = &self.sessions[owed.session];
            // It may be on its way to a node that the session has left.
            let mut homes = session.left.keys().copied().chain([session.node]);
            let message = &self.messages[owed.message];
            owed.excused |= homes.any(|at| !is_safe(message, at)) || follows(session);
            owed.excused |= message.is_stuck_at(node, session, weather);
        }
        for owed in &mut self.owed_to_groups {
            let message = &self.messages[owed.message];
            // Whoever of the group was chosen may have been there.
            owed.excused |= (0..weather.lives.len()).any(|at| at != node && !is_safe(message, at));
            // The node where it was published would have given it to another member.
            owed.excused |= owed.comes_back && message.node == node;
            let is_of_group = |session: &&Session| {
                session.cluster == owed.cluster && session.subscriptions.contains_key(&owed.filter)
            };
            let group = || self.sessions.iter().filter(is_of_group);
            owed.excused |= group().any(|session| follows(session) || message.is_stuck_at(node, session, weather));
            if group().any(|session| session.node == node) {
                let is_kept = message.qos == Qos::AtLeastOnce
                    && !message.retain
                    && !message.will
                    && message.again_at.is_empty()
                    && message.node != node
                    && weather.cluster[message.node] == owed.cluster
                    && message.life == weather.lives[message.node]
                    && weather.alive[message.node];
                // What comes for one who leaves goes on to others, and is not kept for that.
                let stayed = |session: &Session| {
                    session.ended == Some(now)
                        && session.died
                        && session.left.is_empty()
                        && session.subscriptions.get(&owed.filter).is_some_and(|kept| {
                            kept.unasked_at.is_none()
                                && kept.options.iter().all(|options| options.qos > Qos::AtMostOnce)
                        })
                };
                owed.comes_back |= is_kept && group().filter(|session| session.node == node).all(stayed);
                owed.excused |= !owed.comes_back;
            }
        }
        let under_way = |message: &&mut Message| message.node != node && message.sent_at < now;
        for message in self.messages.iter_mut().filter(under_way) {
            // Of what it had taken nobody else may have heard yet that it was acknowledged.
            let unheard = message.qos == Qos::AtLeastOnce && message.topic.starts_with("s/");
            message.comes_back += u32::from(unheard || weather.empty[message.node][node] <= message.sent_at);
        }
        let is_other = |other: &usize| *other != node && weather.cluster[*other] == weather.cluster[node];
        let others = || (0..weather.lives.len()).filter(is_other);
        let doubtful: Vec<usize> =
            (0..self.messages.len()).filter(|at| others().any(|other| !is_safe(&self.messages[*at], other))).collect();
        for at in doubtful {
            self.messages[at].doubtful = true;
        }
        self.retained_may_go(node, now, weather);
    }

    /// A node is no more: what is retained in its cluster is gone with it, unless another one has it all.
    pub fn retained_may_go(&mut self, node: usize, now: Micros, weather: &Weather) {
        let is_other = |other: &usize| *other != node && weather.cluster[*other] == weather.cluster[node];
        let mut others = (0..weather.lives.len()).filter(is_other);
        let has_all = |other: usize| weather.since[other] == 0 || weather.since[other] + LEVEL < now;
        if !others.any(|other| weather.alive[other] && has_all(other)) {
            let cluster = weather.cluster[node];
            self.messages
                .iter_mut()
                .filter(|message| message.reaches(cluster))
                .for_each(|message| message.doubtful = true);
        }
    }
}

// === impl Session ===

impl Session {
    /// Whether a node routes by a subscription, as was promised.
    pub(super) fn is_settled(
        &self,
        subscription: &Subscription,
        acked_at: Micros,
        node: usize,
        now: Micros,
        weather: &Weather,
    ) -> bool {
        if weather.cluster[node] != self.cluster {
            return self.is_settled_across(subscription, acked_at, node, weather);
        }
        node == self.node
            || subscription.waited.contains(&(node, weather.lives[node]))
            || weather.ready[self.node][node].is_some_and(|ready| ready > acked_at.max(self.moved_at) && ready <= now)
    }
}

/// Time in which a node that begins anew has all that others retain, if it can reach them.
const LEVEL: Micros = 10_000_000;
