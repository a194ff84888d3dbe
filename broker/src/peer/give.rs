//! The owner's side of a move: asked, it freezes the session, offers it, gives it, and knows no more of it than its queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::{Millis, Stamp};

use super::bounds::{DWELL_FORGET, Repeat};
use super::control::{Control, Denial, Export, Purpose};
use super::envelope::MESSAGE_MAX;
use super::forward::Entry;
use super::order::Part;
use super::outlet::{Claim, Outlet, Refusal};
use super::record::{Cx, Drain, Frozen, Groups, Record, Role};
use super::trail::TRAIL_MAX;

// === impl Record ===

impl Record {
    /// A node looks for the session.
    pub fn on_ask<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp, purpose: Purpose) {
        let clean = purpose == Purpose::End;
        if !cx.out.merge(stamp) {
            let winner = cx.out.stamp();
            return cx.say(from, &Control::Denied { stamp, winner, why: Denial::Clock });
        }
        if purpose == Purpose::Offered && self.is_used(cx, from) {
            // An offer may come late: no client loses its session by that, whoever has the later stamp. Which session is the
            // later one is not said by it.
            let winner = cx.out.stamp();
            return cx.say(from, &Control::Denied { stamp, winner, why: Denial::LookUp });
        }
        if !self.later_wins(cx, from, stamp) {
            return;
        }
        match &mut self.role {
            Role::None => self.none_here(cx, from, stamp, clean),
            Role::Owner => self.asked_for(cx, from, stamp, clean),
            Role::Frozen(frozen) if frozen.stamp > stamp => {
                // A copy of an older ask of the same node is nothing new.
                if frozen.to != *from {
                    let winner = frozen.stamp;
                    cx.say(from, &Control::Denied { stamp, winner, why: Denial::LookUp });
                }
            }
            Role::Frozen(frozen) if frozen.stamp == stamp && frozen.to == *from && !clean => {
                frozen.until = cx.now + cx.common.settings.lookup + cx.common.settings.lookup;
                frozen.repeat = Repeat::now(cx.now);
                self.say_export(cx);
            }
            // It was not given yet, so the later ask has it.
            Role::Frozen(_) => {
                self.thaw(cx);
                self.asked_for(cx, from, stamp, clean);
            }
            Role::Drain(drain) if drain.epoch > stamp => {
                let winner = drain.epoch;
                cx.say(from, &Control::Denied { stamp, winner, why: Denial::Owner });
            }
            Role::Drain(_) if clean => self.none_here(cx, from, stamp, clean),
            Role::Drain(drain) => {
                // While an owner is sought nothing can be said.
                if let Some((owner, _)) = &drain.to {
                    let owner = owner.clone();
                    cx.say(from, &Control::Elsewhere { stamp, owner });
                }
            }
        }
    }

    /// Whether a client has the session here or waits for it, or it is on offer to another node than this.
    fn is_used<O: Outlet>(&self, cx: &Cx<'_, O>, but: &Arc<str>) -> bool {
        let waits = self.serving.is_some() || self.lookup.as_ref().is_some_and(|lookup| lookup.client.is_some());
        match &self.role {
            Role::None | Role::Drain(_) => waits,
            Role::Frozen(frozen) => waits || frozen.to != *but,
            Role::Owner => waits || cx.out.session(cx.id).is_some_and(|session| session.online),
        }
    }

    /// A later CONNECT elsewhere ends a look-up of ours, whatever our role; an earlier one is denied. False: it is answered,
    /// or will be when what is being taken has been.
    fn later_wins<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp) -> bool {
        let Some(lookup) = &mut self.lookup else { return true };
        let mine = lookup.client.map_or(lookup.stamp, |client| client.stamp.max(lookup.stamp));
        if mine > stamp {
            cx.say(from, &Control::Denied { stamp, winner: mine, why: Denial::LookUp });
            return false;
        }
        if lookup.taking.is_some() {
            if lookup.client.take().is_some() {
                cx.common.stats.overtaken += 1;
                cx.out.refuse(cx.id, Refusal::TakenOver);
            }
            return false;
        }
        self.end_lookup(cx, Some(Refusal::TakenOver));
        true
    }

    /// "I have nothing" is a promise too: no older look-up of ours goes on.
    fn none_here<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp, clean: bool) {
        let others = cx.common.nodes.others().map(|(node, _)| node).filter(|node| *node != from);
        let homes = others.filter(|node| !clean && cx.out.claims(node, cx.id) == Claim::Yes).cloned().collect();
        cx.say(from, &Control::NoneHere { stamp, homes });
    }

    /// The owner is asked.
    fn asked_for<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp, clean: bool) {
        let Some(session) = cx.out.session(cx.id) else {
            self.reset(cx);
            return self.none_here(cx, from, stamp, clean);
        };
        let latest = session.connected.max(session.epoch);
        if latest >= stamp {
            return cx.say(from, &Control::Denied { stamp, winner: latest, why: Denial::Owner });
        }
        if clean || !session.persistent {
            cx.out.end(cx.id);
            cx.common.stats.discarded += u64::from(session.persistent);
            self.reset(cx);
            self.bury(cx, latest);
            return self.none_here(cx, from, stamp, true);
        }
        let denied = |why| Control::Denied { stamp, winner: latest, why };
        if let Some((at, dwell)) = self.moved {
            let left = (at + Millis(u64::from(dwell))).since(cx.now);
            if left > cx.common.settings.lookup {
                return cx.say(from, &denied(Denial::Busy));
            } else if left > Millis(0) {
                // The next repeat of the ask will find it free.
                return;
            }
        }
        // It has hardly come here; the next repeat of the ask will find it settled.
        if self.staking.is_some() || self.serving.is_some() {
            return;
        }
        let weight = cx.out.head(cx.id).map_or(0, |head| head.weight());
        let (moves, bytes) = cx.common.load;
        let settings = &cx.common.settings;
        if weight > MESSAGE_MAX.min(settings.heads_bytes_max) {
            return cx.say(from, &denied(Denial::TooLarge));
        }
        let full = moves >= settings.moves_max || bytes + weight > settings.heads_bytes_max;
        if full || self.trail.stays().len() >= TRAIL_MAX {
            return cx.say(from, &denied(Denial::Busy));
        }
        self.freeze(cx, from, stamp, session.epoch);
    }

    fn freeze<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, to: &Arc<str>, stamp: Stamp, epoch: Stamp) {
        cx.out.freeze(cx.id);
        let Some(head) = cx.out.head(cx.id) else { return };
        self.wants.give(&head);
        self.epoch = epoch;
        self.watched = true;
        let cut = self.index;
        let queue = cx.out.take_queue(cx.id);
        self.queued = cut + queue.len() as u64;
        let held = std::mem::take(&mut self.held);
        // What this owner took no other can have taken.
        for delivery in queue.into_iter().chain(held.iter().map(|waiting| waiting.delivery.clone())) {
            self.index += 1;
            self.log_bytes += delivery.cost();
            self.log.push_back(Entry { index: self.index, tag: None, entrance: None, delivery });
        }
        let dwell = self.moved.filter(|(at, _)| cx.now.since(*at) < DWELL_FORGET).map_or(0, |(_, dwell)| dwell);
        cx.common.offers += 1;
        let offer = cx.common.offers;
        let export = Control::Export(Box::new(Export {
            stamp,
            offer,
            epoch,
            cut,
            queued: self.queued,
            streams: self.streams.iter().map(|open| open.stream.clone()).collect(),
            trail: self.trail.clone(),
            unasked: self.unasked.iter().filter(|node| *node != to).cloned().collect(),
            dwell,
            had: self.had.with(cx.out.taken()),
            head,
        }));
        self.role = Role::Frozen(Frozen {
            to: to.clone(),
            stamp,
            offer,
            until: cx.now + cx.common.settings.lookup + cx.common.settings.lookup,
            export: export.encode(cx.now),
            held,
            repeat: Repeat::now(cx.now),
        });
        self.say_export(cx);
    }

    /// Says what is on offer, again.
    pub fn say_export<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let Role::Frozen(Frozen { to, export: (kind, body), repeat, .. }) = &mut self.role else { return };
        repeat.said(cx.now);
        cx.say_encoded(&to.clone(), *kind, body);
    }

    /// The session goes on here after all.
    pub fn thaw<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let Role::Frozen(frozen) = &mut self.role else { return };
        self.held = std::mem::take(&mut frozen.held);
        self.role = Role::Owner;
        self.log_bytes = 0;
        cx.common.stats.kept += 1;
        cx.out.thaw(cx.id);
        let held_up_to = self.queued + self.held.len() as u64;
        // What came meanwhile was this node's duty, and nobody owned the session in between.
        for entry in std::mem::take(&mut self.log) {
            if entry.index <= self.queued {
                cx.out.append(cx.id, entry.delivery, true);
            } else if entry.index > held_up_to && self.had.note(entry.entrance) {
                self.take(cx, entry.tag.as_deref(), entry.delivery);
            }
        }
    }

    /// A node holds the head and asks for the session: the moment at which it changes hands.
    pub fn on_take<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, life: u64, (stamp, offer): (Stamp, u64)) {
        match &self.role {
            // Between an older offer and this one it may have been served here.
            Role::Frozen(frozen) if frozen.to == *from && frozen.stamp == stamp && frozen.offer == offer => {
                cx.common.stats.given += 1;
                // What is left of an earlier stay here goes on behind what is later than it.
                let earlier = frozen.held.iter().filter(|waiting| waiting.part != Part::Direct);
                cx.common.stats.holds_passed += earlier.count() as u64;
                cx.out.strip(cx.id);
                self.role = Role::Drain(Drain {
                    to: Some((from.clone(), life)),
                    epoch: stamp,
                    waits: false,
                    repeat: Repeat::now(cx.now),
                    behind: None,
                    heard: false,
                    groups: Groups::In,
                    votes: BTreeSet::new(),
                    until: cx.now + cx.common.settings.keep,
                });
                self.moved = None;
                // The new owner asks those who could not be asked.
                self.unasked.clear();
                self.settling = None;
                cx.say(from, &Control::Given { stamp });
            }
            Role::Drain(Drain { to: Some((to, _)), epoch, .. }) if to == from && *epoch == stamp => {
                cx.say(from, &Control::Given { stamp });
            }
            Role::None | Role::Owner | Role::Frozen(_) | Role::Drain(_) => {
                cx.say(from, &Control::Kept { stamp, offer })
            }
        }
    }

    /// The node to which it was offered does not want it.
    pub fn on_abort<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp) {
        if matches!(&self.role, Role::Frozen(frozen) if frozen.to == *from && frozen.stamp == stamp) {
            self.thaw(cx);
        }
    }

    /// The session ended here: nodes that could not be asked are told to end theirs, if they claim one.
    pub fn bury<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, connected: Stamp) {
        let (out, id) = (&*cx.out, cx.id);
        self.unasked.retain(|node| out.claims(node, id) != Claim::No);
        self.settling = None;
        self.tomb = None;
        if self.unasked.is_empty() {
            return;
        }
        if cx.common.tombs >= cx.common.settings.tombs_max {
            cx.common.stats.tombs_refused += 1;
            self.unasked.clear();
            return;
        }
        self.tomb = Some((connected, cx.now + cx.common.settings.keep));
        self.settling = Some((connected, Repeat::now(cx.now)));
    }
}
