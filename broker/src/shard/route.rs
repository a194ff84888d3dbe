//! The way of a publication to all who receive it: clients, links, other nodes.

use tombolo_broker_api::SharedSubscriptions;

use super::Shard;
use super::deliver::Core;
use super::inbox::LANE_BYTES_MAX;
use super::publication::{Passage, Publication};
use crate::codec::{Error, Qos};
use crate::metrics::Dropped;
use crate::router::{Group, Kind, Member, Receiver, Route};

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// At least one receiver took it.
    Delivered,
    /// Nobody subscribes to the topic.
    Nobody,
    /// The topic name is not valid.
    Invalid(Error),
}

// === impl Shard ===

impl Shard {
    /// Hands a publication to all who subscribe to its topic, and to the retained store if it is to be retained.
    /// `publisher` is the row of the client that sent it.
    pub(super) fn route(&mut self, publisher: Option<u32>, publication: &mut Publication<'_>) -> Routed {
        let topic = publication.layout.topic(publication.frame);
        // What another node passes on without a stamp was retained when it entered the cluster.
        if publication.layout.retain() && (!publication.passage.from_peer || publication.passage.stamp.is_some()) {
            // Before its receivers are looked up: whoever subscribes meanwhile finds it here, or is found below.
            if let Err(error) = self.cache.find(&self.shared.index, topic) {
                return Routed::Invalid(Error::topic_name(error));
            }
            self.retain(publication);
        }
        let index = &*self.shared.index;
        let last = publisher.and_then(|slot| self.core.rows.get(slot as usize)).and_then(|row| row.last_route);
        let entry = match last {
            Some(entry) if self.cache.still(index, entry as usize, topic) => entry as usize,
            Some(_) | None => match self.cache.find(index, topic) {
                Ok(entry) => {
                    if let Some(row) = publisher.and_then(|slot| self.core.rows.get_mut(slot as usize)) {
                        row.last_route = Some(entry as u32);
                    }
                    entry
                }
                Err(error) => return Routed::Invalid(Error::topic_name(error)),
            },
        };
        publication.shard = self.core.shard;
        if publication.passage.from_peer {
            return self.route_from_peer(entry, publication);
        }
        // Every node keeps what is retained, whoever subscribes to it there.
        let for_all = publication.passage.stamp.is_some() && !self.peers.is_empty();
        let route = self.cache.entry(entry);
        if route.is_empty() && !for_all {
            return Routed::Nobody;
        }
        let core = &mut self.core;
        // Who sent it, for those that want none of their own messages; only this shard can have that session.
        let own = publisher.map(|slot| (core.shard, slot));
        let mut begun: u64 = 0;
        let mut delivered = !route.groups.is_empty();
        let repeat = publication.passage.repeat;
        let local_first = core.tuning.cluster.shared_subscriptions == SharedSubscriptions::LocalFirst;
        match publication.passage.origin {
            None => route.choose(local_first, &mut self.choices),
            // It may come to another node as well, if its lane goes on there, which is to choose alike: there is no node where
            // it was published.
            Some(origin) => {
                let (shared, names) = (&self.shared, &self.peer_names);
                let name_of = |peer| names.iter().find(|(_, known)| known.same(peer)).map_or("", |(name, _)| name);
                let draw = |group: &Group, peer: Option<Receiver>| {
                    origin.lot(group.number(), peer.map_or(&*shared.local.node, name_of))
                };
                route.choose_each(&mut self.choices, |group| {
                    let decides = shared.decides(origin, group.number());
                    decides.then(|| group.choose_drawn(|peer| draw(group, peer)))
                });
            }
        }
        for (at, receiver) in route.receivers.iter().enumerate() {
            if receiver.flags.no_local() && own == Some((receiver.shard, receiver.slot)) {
                continue;
            }
            // Other nodes may lack what was had here, and so may sessions that move.
            if repeat && receiver.flags.kind() == Kind::Link {
                continue;
            }
            delivered = true;
            if receiver.flags.has_ids() {
                self.ids.clear();
                self.ids.extend(route.ids_of(at));
                hand_over(core, *receiver, &self.ids, publication, &mut begun);
            } else if receiver.flags.kind() == Kind::Peer {
                hand_over(core, *receiver, self.choices.shares_of(*receiver), publication, &mut begun);
            } else {
                hand_over(core, *receiver, &[], publication, &mut begun);
            }
        }
        for (receiver, ids) in self.choices.others() {
            hand_over(core, receiver, ids, publication, &mut begun);
        }
        if for_all {
            for peer in self.peers.iter().filter(|peer| !is_told(route, &self.choices, **peer)) {
                hand_over(core, *peer, &[], publication, &mut begun);
            }
        }
        self.note_congestion(begun);
        if delivered { Routed::Delivered } else { Routed::Nobody }
    }

    /// What came from another node goes to clients of this one, and to members of those groups here that it was sent for:
    /// who told us told all other nodes, and its own links.
    fn route_from_peer(&mut self, entry: usize, publication: &mut Publication<'_>) -> Routed {
        let Passage { shares, shares_only, back, origin, .. } = publication.passage;
        let route = self.cache.entry(entry);
        let core = &mut self.core;
        let mut begun: u64 = 0;
        let clients = route.receivers.iter().enumerate().filter(|(_, receiver)| receiver.flags.kind() == Kind::Client);
        for (at, receiver) in clients.filter(|_| !shares_only) {
            self.ids.clear();
            self.ids.extend(route.ids_of(at));
            hand_over(core, *receiver, &self.ids, publication, &mut begun);
        }
        let shared = &self.shared;
        for number in shares.iter().filter(|number| origin.is_none_or(|at| shared.decides(at, **number))) {
            let Some(group) = route.local_group(*number) else {
                match back {
                    // A member of an earlier life of this node was chosen, and nobody has told it yet who is in the group now,
                    // if anybody is.
                    Some(_) => core.keep_unclaimed(*number, publication),
                    // The last member anywhere has left while the message was on its way.
                    None => core.counters.drop_message(Dropped::NoSubscription),
                }
                continue;
            };
            match group.choose_local() {
                Some(member) => hand_over(core, member.receiver, member.words(), publication, &mut begun),
                // The last one here has left meanwhile: it goes on to another node.
                None => {
                    let other = back.and_then(|sender| group.choose_other(sender, false));
                    pass_on(core, other.unwrap_or_else(|| group.choose(false)), publication);
                }
            }
        }
        self.note_congestion(begun);
        Routed::Delivered
    }

    fn note_congestion(&mut self, begun: u64) {
        if begun != 0 && self.core.outboxes.iter().any(|batch| batch.size() > LANE_BYTES_MAX) {
            // The publishers behind this one wait for the turn's end already: a turn reads from very many.
            self.congested = true;
        }
    }
}

/// Whether a peer gets the publication as a subscriber, or for a group.
fn is_told(route: &Route, choices: &crate::router::Choices, peer: Receiver) -> bool {
    route.receivers.iter().any(|receiver| receiver.same(peer))
        || choices.others().any(|(receiver, _)| receiver.same(peer))
}

/// Gives a publication to one receiver: at once on this shard, else by the batch for its shard. `begun` has a bit for
/// each shard whose batch has the message already.
#[inline]
pub(super) fn hand_over(
    core: &mut Core,
    receiver: Receiver,
    ids: &[u32],
    publication: &mut Publication<'_>,
    begun: &mut u64,
) {
    // What is of QoS 0 nobody waits for.
    let must_pass = publication.passage.origin.is_some() && publication.qos > Qos::AtMostOnce;
    core.passing |= must_pass && receiver.flags.kind() == Kind::Peer;
    if receiver.shard == core.shard {
        core.deliver(receiver, ids, publication);
        return;
    }
    let batch = &mut core.outboxes[usize::from(receiver.shard)];
    let bit = 1 << receiver.shard;
    if *begun & bit == 0 {
        *begun |= bit;
        batch.begin(publication);
    }
    batch.receiver(receiver, ids.iter().copied());
}

/// Gives a message to one member of a group, here or at another node, and to nobody else.
pub(super) fn pass_on(core: &mut Core, member: &Member, publication: &Publication<'_>) {
    send_alone(core, member.receiver, member.words(), publication);
}

fn send_alone(core: &mut Core, receiver: Receiver, words: &[u32], publication: &Publication<'_>) {
    let mut alone = Publication::new(publication.frame, publication.layout, publication.path, publication.expires_at);
    alone.qos = publication.qos;
    alone.shard = core.shard;
    alone.passage.debt = publication.passage.debt;
    hand_over(core, receiver, words, &mut alone, &mut 0);
}
