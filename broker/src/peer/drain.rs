//! What is left of a session that was given away: its queue, and what still comes for it, goes to the owner until nothing
//! can come any more.

use std::sync::Arc;

use crate::clock::Stamp;

use super::bounds::{FORWARD_BYTES_MAX, FORWARD_MAX, Repeat};
use super::control::Control;
use super::delivery;
use super::forward::Forward;
use super::outlet::Outlet;
use super::record::{Cx, Groups, Record, Role};
use super::trail::{Since, Tag, Trail};

// === impl Record ===

impl Record {
    /// Says what is to be said to the owner now.
    pub fn progress<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let (stream, now) = (self.epoch, cx.now);
        let knows_owner = self.knows_owner(&cx.me());
        let Role::Drain(drain) = &mut self.role else { return };
        let Some((to, _)) = drain.to.clone() else { return self.seek(cx) };
        let nodes = &cx.common.nodes;
        let is_all_sent = knows_owner && self.log.is_empty();
        let mut drained = is_all_sent && nodes.all_lanes(|tag| is_over(&self.trail, &nodes.me, tag));
        if drained && matches!(drain.groups, Groups::In) {
            // Its successor is in the groups, as every lane says: it is needed there no more.
            drain.groups = if cx.out.leave_groups(cx.id) { Groups::Leaving } else { Groups::Left(Since::Always) };
            if let Groups::Leaving = drain.groups {
                self.staking = Some(cx.common.token);
                cx.common.unstaked.push(cx.id.clone());
            }
        }
        drained &= nodes.all_lanes(|tag| drain.groups.is_passed(&nodes.me, tag));
        let behind =
            is_all_sent.then(|| nodes.behind(|tag| is_over(&self.trail, &nodes.me, tag)).cloned().collect::<Vec<_>>());
        let is_known = behind.is_none() || drain.heard && drain.behind == behind;
        let news = !self.log.is_empty() || drained || !knows_owner || !is_known;
        // What is under way is said again when it is due; when nothing is, news go at once.
        if drain.waits && !drain.repeat.is_due(now) || !drain.waits && !news && !drain.repeat.is_due(now) {
            return;
        }
        if !cx.common.nodes.is_connected(&to) {
            return drain.repeat.said(now);
        }
        if drained {
            drain.waits = true;
            drain.repeat.said(now);
            return cx.say(&to, &Control::Drained { stream, epoch: drain.epoch });
        }
        // With nothing to tell it still asks now and then whether the owner is where it was.
        drain.waits = news;
        if news {
            drain.repeat.said(now)
        } else {
            drain.repeat.idle(now)
        }
        let epoch = drain.epoch;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in self.log.iter().take(FORWARD_MAX) {
            bytes += delivery::len(&entry.delivery) + 12;
            if bytes > FORWARD_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        if drain.behind != behind {
            (drain.behind, drain.heard) = (behind.clone(), false);
        }
        let caught_up = behind.is_some();
        let behind = behind.unwrap_or_default();
        let forward = Forward { stream, epoch, wants_trail: !knows_owner, caught_up, behind, entries };
        cx.say(&to, &Control::Forward(forward));
    }

    /// Whether the trail tells since when somebody after this node takes messages directly.
    fn knows_owner(&self, me: &str) -> bool {
        let stays = self.trail.stays();
        stays.len() > self.trail.last_of(me).map_or(0, |place| place + 1)
    }

    /// The owner has all up to an index.
    pub fn on_forwarded<O: Outlet>(
        &mut self,
        cx: &mut Cx<'_, O>,
        from: &Arc<str>,
        (stream, index, heard): (Stamp, u64, Option<usize>),
        trail: Option<Trail>,
    ) {
        let Role::Drain(drain) = &mut self.role else { return };
        if stream != self.epoch || drain.to.as_ref().is_none_or(|(to, _)| to != from) {
            return;
        }
        let before = self.log.len();
        while let Some(entry) = self.log.pop_front_if(|entry| entry.index <= index) {
            self.log_bytes -= entry.delivery.cost();
        }
        cx.common.stats.forwarded += (before - self.log.len()) as u64;
        let is_heard = drain.behind.as_ref().is_some_and(|behind| heard == Some(behind.len()));
        let news = self.log.len() < before || trail.is_some() || is_heard && !drain.heard;
        drain.heard |= is_heard;
        if let Some(trail) = trail {
            self.trail = trail;
        }
        if news {
            drain.waits = false;
            drain.repeat = Repeat::now(cx.now);
        }
    }

    /// Another node owns it by now, or the owner asks whether anything is left here.
    pub fn on_moved<O: Outlet>(
        &mut self,
        cx: &mut Cx<'_, O>,
        from: &Arc<str>,
        (owner, epoch): (Arc<str>, Stamp),
        trail: Trail,
        stream: Stamp,
    ) {
        let me = cx.me();
        let drain = match &mut self.role {
            Role::Drain(drain) if stream == self.epoch => drain,
            Role::None | Role::Owner | Role::Frozen(_) | Role::Drain(_) => {
                return cx.say(from, &Control::Dropped { stream });
            }
        };
        let Some(last) = trail.stays().last() else { return };
        if epoch <= drain.epoch || owner == me || last.node != owner {
            return;
        }
        // An owner that is dead by now is sought as any other.
        drain.to = (!cx.common.nodes.is_dead(&owner, last.life)).then_some((owner, last.life));
        drain.epoch = epoch;
        drain.waits = false;
        drain.heard = false;
        drain.votes.clear();
        drain.repeat = Repeat::now(cx.now);
        self.trail = trail;
    }

    /// Nobody waits for this stream at that node.
    pub fn on_closed<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stream: Stamp) {
        let Role::Drain(drain) = &mut self.role else { return };
        if stream != self.epoch {
            return;
        }
        match &drain.to {
            Some((to, _)) if to == from => self.forget(cx),
            Some(_) => {}
            None => {
                drain.votes.insert(from.clone());
                if cx.common.nodes.others().all(|(node, _)| drain.votes.contains(node)) {
                    self.forget(cx);
                }
            }
        }
    }

    /// Nothing is left of it here.
    pub fn forget<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        cx.out.discard(cx.id);
        self.reset(cx);
    }

    /// The owner died: perhaps it had given the session away before.
    pub fn owner_died<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let Role::Drain(drain) = &mut self.role else { return };
        drain.to = None;
        drain.waits = false;
        drain.votes.clear();
        drain.repeat = Repeat::now(cx.now);
        self.seek(cx);
    }

    fn seek<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let stream = self.epoch;
        let Role::Drain(drain) = &mut self.role else { return };
        if !drain.repeat.is_due(cx.now) {
            return;
        }
        drain.repeat.said(cx.now);
        let silent = cx.common.nodes.others().map(|(node, _)| node).filter(|node| !drain.votes.contains(*node));
        let silent: Vec<Arc<str>> = silent.cloned().collect();
        if silent.is_empty() {
            return self.forget(cx);
        }
        silent.iter().for_each(|node| cx.say(node, &Control::Seek { stream }));
    }
}

/// Whether nothing that is still to come by a lane is this node's duty.
fn is_over(trail: &Trail, me: &str, tag: &Tag) -> bool {
    match trail.last_of(me) {
        Some(place) => trail.is_passed(place, tag),
        None => trail.duty(tag).is_some(),
    }
}
