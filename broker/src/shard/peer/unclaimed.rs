//! What was for members of a shared subscription at a node that died, when there is no member anywhere: it waits for one.
//!
//! A group ends with its last session, and so it may have with its only member's when a node dies. Its client comes back a
//! moment later, at any node, and subscribes again: what was acknowledged to its publishers is this one's then.

use std::collections::VecDeque;
use std::sync::Arc;

use tombolo_broker_api::SharedSubscriptions;

use crate::clock::Millis;
use crate::codec::Qos;
use crate::message::Message;
use crate::metrics::{Counters, Dropped};
use crate::shard::deliver::Core;
use crate::shard::publication::Publication;
use crate::shard::{Shard, route};

/// Bytes that wait so on a shard; beyond that the oldest message is dropped.
const BYTES_MAX: usize = 4 << 20;

/// How often it is looked whether a group has a member again.
const LOOK_EVERY: Millis = Millis(250);

/// Messages that wait, oldest first.
#[derive(Default)]
pub struct Unclaimed {
    all: VecDeque<Unclaim>,
    bytes: usize,
    look_at: Millis,
}

struct Unclaim {
    share: u32,
    message: Arc<Message>,
    qos: Qos,
    until: Millis,
}

// === impl Unclaimed ===

impl Unclaimed {
    /// A message waits for a member of the group of this number, at most until then.
    pub fn keep(&mut self, share: u32, publication: &mut Publication<'_>, until: Millis, counters: &mut Counters) {
        if publication.qos == Qos::AtMostOnce {
            return counters.drop_message(Dropped::NoSubscription);
        }
        let message = publication.kept_for_members();
        self.bytes += message.frame().len();
        self.all.push_back(Unclaim { share, message, qos: publication.qos, until });
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.all.pop_front()
        {
            self.bytes -= oldest.message.frame().len();
            counters.drop_message(Dropped::NoSubscription);
        }
    }

    /// When it is to be looked at.
    pub fn due(&self) -> Option<Millis> {
        (!self.all.is_empty()).then_some(self.look_at)
    }
}

// === impl Core ===

impl Core {
    /// A message waits for a member of the group of this number.
    pub(in crate::shard) fn keep_unclaimed(&mut self, share: u32, publication: &mut Publication<'_>) {
        let until = self.now + Millis::from(self.tuning.cluster.max_outbox_age);
        self.unclaimed.keep(share, publication, until, &mut self.counters);
    }
}

// === impl Shard ===

impl Shard {
    /// Gives what waits to members that have come.
    pub(in crate::shard) fn give_unclaimed(&mut self) {
        let now = self.core.now;
        if self.core.unclaimed.due().is_none_or(|due| due > now) {
            return;
        }
        let mut waiting = std::mem::take(&mut self.core.unclaimed);
        let local_first = self.core.tuning.cluster.shared_subscriptions == SharedSubscriptions::LocalFirst;
        // Groups that have none: most of what waits is for a few.
        let mut without: Vec<u32> = Vec::new();
        waiting.all.retain(|Unclaim { share, message, qos, until }| {
            let is_over = *until <= now || message.is_expired(now);
            if !is_over && without.contains(share) {
                return true;
            }
            let topic = message.layout().topic(message.frame());
            let entry = self.cache.find(&self.shared.index, topic).ok().filter(|_| !is_over);
            let group = entry.and_then(|entry| self.cache.entry(entry).local_group(*share));
            match group {
                Some(group) => {
                    let mut publication = Publication::of(message);
                    publication.qos = *qos;
                    route::pass_on(&mut self.core, group.choose(local_first), &publication);
                }
                None if is_over => {
                    let why = if message.is_expired(now) { Dropped::Expired } else { Dropped::NoSubscription };
                    self.core.counters.drop_message(why);
                }
                None => {
                    without.push(*share);
                    return true;
                }
            }
            waiting.bytes -= message.frame().len();
            false
        });
        // What was given may have come back meanwhile.
        let come_back = std::mem::take(&mut self.core.unclaimed);
        waiting.bytes += come_back.bytes;
        waiting.all.extend(come_back.all);
        waiting.look_at = now + LOOK_EVERY;
        self.core.unclaimed = waiting;
    }
}
