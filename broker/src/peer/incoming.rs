//! Messages that come to a session directly, while others have it or had it: whose they are.

use std::sync::Arc;

use crate::clock::Stamp;
use crate::codec::Qos;
use crate::message::Delivery;
use crate::topic::Filter;

use super::bounds::Repeat;
use super::forward::Entry;
use super::had::Entrance;
use super::head::SessionHead;
use super::order::Part;
use super::outlet::Outlet;
use super::record::{Cx, Record, Role, Undecided};
use super::trail::{Stay, Tag};

/// The filters of a session during a stay, without those of shared subscriptions.
#[derive(Debug, Default)]
pub struct Wants {
    /// When it was taken; none if it began here. Those before take what matches them, and nothing else.
    inherited: Vec<Filter>,
    /// When it was given away.
    given: Vec<Filter>,
}

/// A stay of this node before its present one, for which a lane may still bring something.
#[derive(Debug)]
pub struct Earlier {
    /// The stay.
    pub stay: Stay,
    /// By which stamp it began.
    pub epoch: Stamp,
    /// What the session wanted then.
    pub wants: Wants,
}

// === impl Wants ===

impl Wants {
    /// A session is taken.
    pub fn taken(head: &SessionHead) -> Self {
        Self { inherited: filters(head), given: Vec::new() }
    }

    /// It is given away.
    pub fn give(&mut self, head: &SessionHead) {
        self.given = filters(head);
    }

    fn is_new(&self, delivery: &Delivery) -> bool {
        Self::matches(&self.given, delivery) && !Self::matches(&self.inherited, delivery)
    }

    fn matches(filters: &[Filter], delivery: &Delivery) -> bool {
        let message = &delivery.message;
        let topic = std::str::from_utf8(message.layout().topic(message.frame()));
        topic.is_ok_and(|topic| filters.iter().any(|filter| filter.matches(topic)))
    }
}

fn filters(head: &SessionHead) -> Vec<Filter> {
    let plain = head.subscriptions.iter().filter(|held| !held.subscription.is_shared());
    plain.map(|held| held.subscription.filter().clone()).collect()
}

// === impl Record ===

impl Record {
    /// A message for a session that another node had, or has: it is this node's duty or not.
    pub fn offer<O: Outlet>(
        &mut self,
        cx: &mut Cx<'_, O>,
        tag: &Arc<Tag>,
        entrance: Option<Entrance>,
        delivery: Delivery,
        shared: bool,
    ) {
        // What a group gets is no matter of what the session had by itself.
        let entrance = entrance.filter(|_| !shared);
        if entrance.as_ref().is_some_and(|entrance| self.had.knows(entrance)) {
            return;
        }
        // Of a shared subscription one member was chosen, and nobody else has the message.
        // What the session subscribed to here is no matter of those who had it before.
        let given = shared || self.is_new(&cx.common.nodes.me, tag, &delivery);
        let mine = given || self.is_mine(&cx.common.nodes.me, tag, &delivery);
        let lossy = delivery.qos == Qos::AtMostOnce;
        match &self.role {
            Role::None => {}
            Role::Owner if self.staking.is_some() => {
                if self.undecided.len() < cx.out.limits().messages {
                    self.undecided.push(Undecided { tag: tag.clone(), given, entrance, delivery });
                } else {
                    cx.common.stats.messages_dropped += 1;
                }
            }
            Role::Owner | Role::Frozen(_) | Role::Drain(_) if !mine => self.had.leave(entrance, cx.now),
            Role::Owner => {
                self.had.note(entrance);
                self.take(cx, Some(tag), delivery);
            }
            // QoS 0 is for who is there, and nobody is.
            Role::Frozen(_) | Role::Drain(_) if lossy => {}
            Role::Frozen(_) | Role::Drain(_) => {
                let limits = cx.out.limits();
                if self.log.len() >= limits.messages || self.log_bytes + delivery.cost() > limits.bytes {
                    cx.common.stats.messages_dropped += 1;
                    return;
                }
                self.had.take_up(entrance.as_ref());
                self.index += 1;
                self.log_bytes += delivery.cost();
                let tag = (!given).then(|| tag.clone());
                self.log.push_back(Entry { index: self.index, tag, entrance, delivery });
                if let Role::Drain(drain) = &mut self.role
                    && !drain.waits
                {
                    drain.repeat = Repeat::now(cx.now);
                }
            }
        }
    }

    /// The same of a message of another cluster that came to this node before. It entered at one node and at another, where
    /// its lane went on, and for each entrance another stay may have the duty: what was left to another node by the first
    /// that came here may be this node's by the second. A session takes the place once, whoever takes it.
    pub fn offer_again<O: Outlet>(
        &mut self,
        cx: &mut Cx<'_, O>,
        tag: &Arc<Tag>,
        entrance: Option<Entrance>,
        delivery: Delivery,
    ) {
        let is_open = |one: &Undecided| entrance.is_some() && one.entrance == entrance;
        if self.had.has_left(entrance.as_ref()) || self.undecided.iter().any(is_open) {
            self.offer(cx, tag, entrance, delivery, false);
        }
    }

    /// Whether a message would be the duty of one before this node, who can't take it: the session had no filter for it then.
    fn is_new(&self, me: &str, tag: &Tag, delivery: &Delivery) -> bool {
        let Some(duty) = self.trail.duty_place(tag) else { return false };
        let is_later = |place: Option<usize>| place.is_some_and(|place| duty < place);
        let place_of = |stay: &Stay| self.trail.stays().iter().rposition(|one| one == stay);
        is_later(self.trail.last_of(me)) && !Wants::matches(&self.wants.inherited, delivery)
            || self.earlier.iter().any(|earlier| is_later(place_of(&earlier.stay)) && earlier.wants.is_new(delivery))
    }

    /// Whether a message is the duty of this node. One of its earlier stays has no duty for what the session wanted later.
    fn is_mine(&self, me: &str, tag: &Tag, delivery: &Delivery) -> bool {
        let Some(duty) = self.trail.duty(tag).filter(|stay| &*stay.node == me) else { return false };
        let earlier = self.earlier.iter().find(|earlier| earlier.stay == *duty);
        earlier.is_none_or(|earlier| Wants::matches(&earlier.wants.given, delivery))
    }

    /// It is known by now what is this node's duty.
    pub fn decide_undecided<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        for Undecided { tag, given, entrance, delivery } in std::mem::take(&mut self.undecided) {
            if !given && !self.is_mine(&cx.common.nodes.me, &tag, &delivery) {
                self.had.leave(entrance, cx.now);
            } else if self.had.note(entrance) {
                self.take(cx, Some(&tag), delivery);
            }
        }
    }

    /// Where a message belongs that comes directly: for an earlier stay of this node, before what others have had since.
    pub fn part_of(&self, tag: &Tag) -> Part {
        let duty = self.trail.duty(tag);
        let earlier = self.earlier.iter().find(|earlier| Some(&earlier.stay) == duty);
        earlier.map_or(Part::Direct, |earlier| Part::Rest(earlier.epoch))
    }
}
