//! In what order the messages of a session go on that come from several nodes: what belongs to a later part of its queue
//! waits for what is still to come of an earlier one.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::bound;
use crate::clock::{Millis, Stamp};
use crate::message::Delivery;

use super::bounds::{HELD_BYTES_MAX, HELD_MAX, ORDER_HOLD};
use super::control::Control;
use super::incoming::Earlier;
use super::outlet::Outlet;
use super::record::{Cx, Open, Record};
use super::trail::Tag;

/// A part of the queue of a session, earlier ones first. The stamp is that by which a node took the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What stood in the queue of a node when it gave the session away. The queue of a later node comes first: what it has of
    /// an earlier one is older than what is left there.
    Queue(Reverse<Stamp>),
    /// What that node has besides, which waited there for earlier nodes or came after it had given the session away.
    Rest(Stamp),
    /// What comes here directly.
    Direct,
}

/// The node where a message entered the cluster, if that is known here.
pub type Origin = Option<Arc<str>>;

/// A message that waits for earlier parts.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Where it belongs.
    pub part: Part,
    /// What is to come of other nodes is no matter of it.
    pub origin: Origin,
    /// The message.
    pub delivery: Delivery,
}

/// Messages that wait, in order.
#[derive(Debug, Default)]
pub struct Held {
    all: Vec<Waiting>,
    bytes: usize,
}

// === impl Part ===

impl Part {
    /// Where a message of a node's stream belongs, by its index; up to `queued` are those that stood in the queue.
    pub fn of(stream: Stamp, index: u64, queued: u64) -> Self {
        if index <= queued { Self::Queue(Reverse(stream)) } else { Self::Rest(stream) }
    }
}

// === impl Held ===

impl Held {
    /// A message that waits, behind all others of its part and of those before.
    pub fn push(&mut self, part: Part, origin: Origin, delivery: Delivery) {
        self.bytes += delivery.cost();
        let place = self.all.partition_point(|waiting| waiting.part <= part);
        self.all.insert(place, Waiting { part, origin, delivery });
    }

    /// Whether nothing waits of a part and of those before.
    fn has_none_upto(&self, part: Part) -> bool {
        self.all.first().is_none_or(|waiting| waiting.part > part)
    }

    /// Those that need not wait for more than the part that `bar` says for an origin. Behind one whose origin is not known
    /// all wait.
    pub fn release(&mut self, bar: impl Fn(&Origin) -> Part) -> Vec<Waiting> {
        let mut shut = false;
        let may_go = |waiting: &mut Waiting| {
            let goes = !shut && waiting.part <= bar(&waiting.origin);
            shut |= !goes && waiting.origin.is_none();
            goes
        };
        let gone: Vec<Waiting> = self.all.extract_if(.., may_go).collect();
        self.bytes -= gone.iter().map(|waiting| waiting.delivery.cost()).sum::<usize>();
        gone
    }

    /// More waits than may.
    pub fn is_over(&self) -> bool {
        self.all.len() > bound::now(HELD_MAX) || self.bytes > HELD_BYTES_MAX
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The messages.
    pub fn into_deliveries(self) -> impl Iterator<Item = Delivery> {
        self.all.into_iter().map(|waiting| waiting.delivery)
    }

    /// All that waits, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.all.iter()
    }
}

// === impl Open ===

impl Open {
    /// The part of it that is still to come and that later ones wait for, of what entered at a node.
    fn awaited(&self, origin: &Origin) -> Option<Part> {
        let next = self.next();
        let is_behind = || match origin {
            Some(origin) => self.behind.contains(origin),
            None => !self.behind.is_empty(),
        };
        (!self.caught_up || next < Part::Rest(self.stream.id) || is_behind()).then_some(next)
    }

    /// The part of its next message.
    fn next(&self) -> Part {
        Part::of(self.stream.id, self.stream.index + 1, self.stream.queued)
    }
}

// === impl Record ===

impl Record {
    /// Begins to keep the parts of the queue in order.
    pub fn hold(&mut self, now: Millis) {
        self.hold_until = now + ORDER_HOLD;
    }

    /// The owner takes a message that came directly, by the lane of that tag: behind what others have that belongs before, if
    /// that is still to come.
    pub fn take<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, tag: Option<&Tag>, delivery: Delivery) {
        let part = tag.map_or(Part::Direct, |tag| self.part_of(tag));
        let origin = tag.map(|tag| tag.origin.clone());
        if self.held.has_none_upto(part) && part <= self.bar(cx, &origin) {
            return give(cx, part, delivery);
        }
        self.held.push(part, origin, delivery);
        if self.held.is_over() {
            self.hold_until = Millis(0);
        }
    }

    /// Whether the next message of an open stream may go on; what waits here and belongs before it has gone on then. If not,
    /// its node is told when it may.
    pub fn may_follow<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, place: usize, origin: Origin) -> bool {
        self.let_go(cx);
        let (bar, awaited) = (self.bar(cx, &origin), self.awaited(cx, &origin, |_| true));
        let Some(open) = self.streams.get_mut(place) else { return false };
        let part = open.next();
        let may = part <= bar;
        open.refused = (!may).then_some(origin);
        cx.common.stats.holds_passed += u64::from(may && awaited < part);
        may
    }

    /// Lets go what need not wait any more, here and at those before.
    pub fn go_on<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        self.let_go(cx);
        if self.staking.is_some() {
            return;
        }
        for place in 0..self.streams.len() {
            let open = &self.streams[place];
            if open.refused.as_ref().is_some_and(|origin| open.next() <= self.bar(cx, origin)) {
                let (node, stream, index) = (open.stream.node.clone(), open.stream.id, open.stream.index);
                self.streams[place].refused = None;
                let trail = Some(self.trail.clone());
                cx.say(&node, &Control::Forwarded { stream, index, heard: None, trail });
            }
        }
    }

    fn let_go<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        if self.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let gone = held.release(|origin| self.bar(cx, origin));
        self.held = held;
        for Waiting { part, origin, delivery } in gone {
            cx.common.stats.holds_passed += u64::from(self.awaited(cx, &origin, |_| true) < part);
            give(cx, part, delivery);
        }
    }

    /// The last part that need not wait, of what entered at a node: all may go on once the time is over. Nobody waits for a
    /// node that is suspended.
    fn bar<O: Outlet>(&self, cx: &Cx<'_, O>, origin: &Origin) -> Part {
        let nodes = &cx.common.nodes;
        if cx.now < self.hold_until { self.awaited(cx, origin, |node| !nodes.is_suspended(node)) } else { Part::Direct }
    }

    /// The first part of which something that entered at a node is still to come: from such a one, or directly for an earlier
    /// stay of this node.
    fn awaited<O: Outlet>(&self, cx: &Cx<'_, O>, origin: &Origin, from: impl Fn(&str) -> bool) -> Part {
        let open = self.streams.iter().filter(|open| from(&open.stream.node));
        let others = open.filter_map(|open| open.awaited(origin));
        let own = self.earlier.iter().filter(|earlier| self.is_behind(cx, earlier, origin));
        others.chain(own.map(|earlier| Part::Rest(earlier.epoch))).min().unwrap_or(Part::Direct)
    }

    /// Whether what entered at a node may still come for an earlier stay of this node.
    fn is_behind<O: Outlet>(&self, cx: &Cx<'_, O>, earlier: &Earlier, origin: &Origin) -> bool {
        let Some(place) = self.trail.stays().iter().rposition(|stay| *stay == earlier.stay) else { return false };
        let mut behind = cx.common.nodes.behind(|tag| self.trail.is_passed(place, tag));
        behind.any(|node| origin.as_ref().is_none_or(|origin| node == origin))
    }
}

/// A message goes on: one that comes directly, or one of an earlier part, as what others forward.
fn give<O: Outlet>(cx: &mut Cx<'_, O>, part: Part, delivery: Delivery) {
    match part {
        Part::Direct => cx.out.append(cx.id, delivery, false),
        Part::Queue(_) | Part::Rest(_) => cx.out.forwarded(cx.id, &cx.me(), delivery),
    }
}

#[cfg(test)]
mod tests;
