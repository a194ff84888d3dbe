//! The new owner's side of a move: it makes the session, lets the queue of those before follow, and closes their streams
//! one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::{Millis, Stamp};

use super::bounds::{REPEAT_MAX, Repeat, dwell_after};
use super::control::{Control, Stream};
use super::forward::Forward;
use super::incoming::{Earlier, Wants};
use super::order::Part;
use super::outlet::{Outlet, Serve};
use super::record::{Answer, Cx, Groups, Open, Record, Role};
use super::trail::{Since, Stay};

// === impl Record ===

impl Record {
    /// Whether what this node says means that it gave the session by this stamp, and it was waited for.
    fn is_given(&self, from: &Arc<str>, stamp: Stamp) -> bool {
        let taking =
            self.lookup.as_ref().filter(|lookup| lookup.stamp == stamp).and_then(|lookup| lookup.taking.as_ref());
        taking.is_some_and(|(node, _)| node == from)
    }

    /// The session is this node's.
    pub fn on_given<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp) {
        if self.is_given(from, stamp) {
            self.own(cx);
        }
    }

    /// It was not given, and won't be.
    pub fn on_kept<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp, offer: u64) {
        if self.is_given(from, stamp) && self.offer_of(from) == Some(offer) {
            self.not_given(cx);
        }
    }

    /// The offer of a node that was heard of last.
    pub fn offer_of(&self, node: &Arc<str>) -> Option<u64> {
        match self.lookup.as_ref()?.answers.get(node)? {
            Answer::Export(export) => Some(export.offer),
            Answer::None(_) | Answer::Elsewhere(_) => None,
        }
    }

    /// What was to be taken is not given. Who waits for it goes on waiting, for what is found by another look.
    fn not_given<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let Some(lookup) = &mut self.lookup else { return };
        lookup.taking = None;
        lookup.answers.clear();
        lookup.repeat = Repeat::now(cx.now);
        let Some(client) = &mut lookup.client else { return self.end_lookup(cx, None) };
        // By the stamp of the client, if that came later, else by a new one: no answer to the old one counts.
        if client.stamp == lookup.stamp {
            client.stamp = cx.out.stamp();
        }
        (lookup.stamp, lookup.clean) = (client.stamp, client.clean);
        self.search(cx);
    }

    /// Takes what was given: from here on this node is the owner.
    pub fn own<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let Some(lookup) = self.lookup.take() else { return };
        let Some((from, life)) = lookup.taking else { return };
        let mut given = None;
        let mut answered = BTreeSet::new();
        for (node, answer) in lookup.answers {
            match answer {
                Answer::Export(export) if node == from => given = Some(export),
                // Two that could not reach each other had a session of this name: its other one is to end.
                Answer::Export(_) => continue,
                Answer::None(_) | Answer::Elsewhere(_) => {}
            }
            answered.insert(node);
        }
        let Some(export) = given else { return };
        let (me, nodes) = (cx.me(), &cx.common.nodes);
        let mut trail = export.trail;
        let mut streams = export.streams;
        streams.push(Stream { node: from, life, id: export.epoch, index: export.cut, queued: export.queued });
        // A stream of this node's own, from when it had the session before, ends here.
        let own = streams.iter().find(|stream| stream.node == me).map(|stream| (stream.id, stream.index));
        streams.retain(|stream| stream.node != me && !nodes.is_dead(&stream.node, stream.life));
        let before = trail.last_of(&me).map(|place| trail.stays()[place].clone());
        trail.push(Stay { node: me.clone(), life: nodes.life, since: Since::Unknown });
        // What is left of that stream is still this node's duty, and is final now.
        let log = std::mem::take(&mut self.log);
        let kept = own.filter(|(id, _)| *id == self.epoch && matches!(self.role, Role::Drain(_)));
        let rest = log.into_iter().filter(|entry| {
            let is_mine = || entry.tag.as_ref().is_none_or(|tag| trail.accepts(&me, tag));
            kept.is_some_and(|(_, index)| entry.index > index) && is_mine()
        });
        self.had = export.had.begin(cx.now + cx.common.settings.keep, std::mem::take(&mut self.had));
        for entry in rest {
            if !self.had.note(entry.entrance) {
                continue;
            }
            let origin = entry.tag.map(|tag| tag.origin.clone());
            self.held.push(Part::of(self.epoch, entry.index, self.queued), origin, entry.delivery);
        }
        (self.log_bytes, self.index, self.queued) = (0, 0, 0);
        self.trail = trail;
        self.streams = streams.into_iter().map(|stream| Open::new(stream, cx.now)).collect();
        (self.role, self.epoch, self.watched) = (Role::Owner, lookup.stamp, true);
        self.moved = Some((cx.now, dwell_after(export.dwell)));
        self.unasked.extend(export.unasked.into_iter().filter(|node| *node != me));
        self.hold(cx.now);
        let wants = std::mem::replace(&mut self.wants, Wants::taken(&export.head));
        match before.zip(kept) {
            Some((stay, (epoch, _))) => self.earlier.push(Earlier { stay, epoch, wants }),
            None => self.earlier.clear(),
        }
        let Self { earlier, trail, .. } = self;
        earlier.retain(|earlier| trail.stays().contains(&earlier.stay));
        cx.out.install(cx.id, self.epoch, export.head);
        self.note_unasked(cx, &answered);
        cx.common.stats.taken += 1;
        // One stake serves all that come in one turn.
        self.staking = Some(cx.common.token);
        cx.common.unstaked.push(cx.id.clone());
        match lookup.client {
            Some(client) if client.clean => {
                cx.out.end(cx.id);
                self.reset(cx);
                (self.role, self.epoch) = (Role::Owner, client.stamp);
                cx.out.serve(cx.id, Serve::Fresh(client.stamp));
            }
            Some(client) => self.serving = Some(client),
            None => {}
        }
    }

    /// A node has another session of this name, which is to end.
    pub fn outdo<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, node: Arc<str>) {
        self.unasked.insert(node);
        self.settling = Some((Stamp::default(), Repeat::now(cx.now)));
        self.settle(cx);
    }

    /// It is known since when messages come here directly.
    pub fn on_staked<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, token: u64, since: &Since) {
        if self.staking != Some(token) {
            return;
        }
        self.staking = None;
        if let Role::Drain(drain) = &mut self.role {
            // What was staked is that it is in no group any more.
            drain.groups = Groups::Left(since.clone());
            return;
        }
        self.trail.settle_last(since.clone());
        self.decide_undecided(cx);
        // Those before need it to know when they are done; those who believe another the owner learn of this one.
        for open in &self.streams {
            let Stream { node, id, .. } = open.stream.clone();
            let (owner, epoch, trail) = (cx.me(), self.epoch, self.trail.clone());
            cx.say(&node, &Control::Moved { stream: id, owner, epoch, trail: trail.clone() });
            let index = open.stream.index;
            cx.say(&node, &Control::Forwarded { stream: id, index, heard: None, trail: Some(trail) });
        }
    }

    /// A part of the queue of one who had the session before.
    pub fn on_forward<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, forward: Forward) {
        if self.is_given(from, forward.epoch) {
            self.own(cx);
        }
        let stream = forward.stream;
        if !self.may_take(cx, from, stream, forward.epoch) {
            return;
        }
        let Some(place) = self.streams.iter().position(|open| is_of(&open.stream, from, stream)) else { return };
        self.streams[place].hear(cx.now);
        let mut caught_up = forward.caught_up;
        for entry in forward.entries {
            if entry.index <= self.streams[place].stream.index {
                continue;
            }
            // Whose duty it is can't be said before it is known since when messages come here directly; it is said again. So
            // is what belongs behind what is still to come.
            let origin = entry.tag.as_ref().map(|tag| tag.origin.clone());
            if self.staking.is_some() && entry.tag.is_some() || !self.may_follow(cx, place, origin) {
                caught_up = false;
                break;
            }
            self.streams[place].stream.index = entry.index;
            // What is not the sender's duty somebody else takes, or has taken.
            let is_theirs = entry.tag.as_ref().is_none_or(|tag| self.trail.accepts(from, tag));
            if is_theirs && self.had.note(entry.entrance) {
                cx.out.forwarded(cx.id, from, entry.delivery);
            }
        }
        let open = &mut self.streams[place];
        open.caught_up = caught_up;
        let heard = caught_up.then_some(forward.behind.len());
        open.behind = forward.behind;
        let index = open.stream.index;
        let trail = (forward.wants_trail && self.staking.is_none()).then(|| self.trail.clone());
        cx.say(from, &Control::Forwarded { stream, index, heard, trail });
    }

    /// Nothing can come by a stream any more.
    pub fn on_drained<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stream: Stamp, epoch: Stamp) {
        if self.is_given(from, epoch) {
            self.own(cx);
        }
        if !self.may_take(cx, from, stream, epoch) {
            return;
        }
        if let Some(open) = self.streams.iter_mut().find(|open| is_of(&open.stream, from, stream)) {
            (open.caught_up, open.drained) = (true, true);
            open.behind.clear();
            open.hear(cx.now);
        }
    }

    /// Closes streams by which nothing can come any more: older ones first, so that each finds the one to which it gave until
    /// it knows of the next.
    pub fn close_drained<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let place = |open: &Open| self.trail.last_of(&open.stream.node);
        while let Some(at) = (0..self.streams.len()).min_by_key(|at| place(&self.streams[*at]))
            && self.streams[at].drained
        {
            let Stream { node, id, .. } = self.streams.remove(at).stream;
            cx.say(&node, &Control::Closed { stream: id });
        }
    }

    /// Those of whose streams nothing was heard for a while are asked whether they still have them.
    pub fn ask_for_streams<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let keep = Millis(cx.common.settings.keep.0.saturating_mul(2));
        let before = self.streams.len();
        self.streams.retain(|open| open.heard + keep > cx.now);
        cx.common.stats.abandoned += (before - self.streams.len()) as u64;
        let now = cx.now;
        for open in self.streams.iter_mut().filter(|open| open.ask_at <= now) {
            open.ask_at = now + REPEAT_MAX;
            let (stream, owner, trail) = (open.stream.id, cx.me(), self.trail.clone());
            cx.say(&open.stream.node, &Control::Moved { stream, owner, epoch: self.epoch, trail });
        }
    }

    /// A node has nothing of a stream any more.
    pub fn on_dropped<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stream: Stamp) {
        if let Role::Owner = self.role {
            let before = self.streams.len();
            self.streams.retain(|open| !is_of(&open.stream, from, stream));
            cx.common.stats.streams_lost += (before - self.streams.len()) as u64;
        }
    }

    /// Whether a stream is open here and its sender knows what there is to know; if not, it is told where to turn.
    fn may_take<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stream: Stamp, epoch: Stamp) -> bool {
        let is_open = self.streams.iter().any(|open| is_of(&open.stream, from, stream));
        match &self.role {
            Role::Owner if is_open && epoch == self.epoch => return true,
            Role::Owner if is_open => {
                if self.staking.is_none() {
                    let (owner, epoch, trail) = (cx.me(), self.epoch, self.trail.clone());
                    cx.say(from, &Control::Moved { stream, owner, epoch, trail });
                }
            }
            // It waits until this is decided.
            Role::Frozen(_) if is_open => {}
            Role::Drain(drain) if is_open => {
                if let Some((owner, _)) = drain.to.clone().filter(|(owner, _)| owner != from) {
                    let (epoch, trail) = (drain.epoch, self.trail.clone());
                    cx.say(from, &Control::Moved { stream, owner, epoch, trail });
                }
            }
            Role::None | Role::Owner | Role::Frozen(_) | Role::Drain(_) => {
                if !self.is_taking(from, stream) {
                    cx.say(from, &Control::Closed { stream });
                }
            }
        }
        false
    }

    /// A node that gave the session to one who died looks for the owner.
    pub fn on_seek<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stream: Stamp) {
        let is_open = self.streams.iter().any(|open| is_of(&open.stream, from, stream));
        let (me, trail) = (cx.me(), self.trail.clone());
        match &self.role {
            Role::Owner if is_open => {
                if self.staking.is_none() {
                    cx.say(from, &Control::Moved { stream, owner: me, epoch: self.epoch, trail });
                }
            }
            Role::Frozen(_) if is_open => {}
            Role::Drain(drain) if is_open && drain.to.is_some() => {
                if let Some((owner, _)) = drain.to.clone().filter(|(owner, _)| owner != from) {
                    cx.say(from, &Control::Moved { stream, owner, epoch: drain.epoch, trail });
                }
            }
            Role::None | Role::Owner | Role::Frozen(_) | Role::Drain(_) => {
                if !self.is_taking(from, stream) {
                    cx.say(from, &Control::Closed { stream });
                }
            }
        }
    }

    /// Whether what is being taken has this stream open.
    fn is_taking(&self, from: &Arc<str>, stream: Stamp) -> bool {
        let answers = self.lookup.iter().flat_map(|lookup| lookup.answers.values());
        answers.into_iter().any(|answer| match answer {
            Answer::Export(export) => export.streams.iter().any(|open| is_of(open, from, stream)),
            Answer::None(_) | Answer::Elsewhere(_) => false,
        })
    }

    /// Other lives of a node than the present one are over, or it left the list: its streams end.
    pub fn on_death<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, node: &Arc<str>) {
        let nodes = &cx.common.nodes;
        let is_over = |of: &Arc<str>, life: u64| of == node && nodes.is_dead(node, life);
        let before = self.streams.len();
        self.streams.retain(|open| !is_over(&open.stream.node, open.stream.life));
        cx.common.stats.streams_lost += (before - self.streams.len()) as u64;
        if !nodes.contains(node) && self.unasked.contains(node) {
            self.settle_one(node);
        }
        let owner = if let Role::Drain(drain) = &self.role { drain.to.as_ref() } else { None };
        let giver = self.lookup.as_ref().and_then(|lookup| lookup.taking.as_ref());
        let [owner_died, giver_died] = [owner, giver].map(|who| who.is_some_and(|(of, life)| is_over(of, *life)));
        if owner_died {
            self.owner_died(cx);
        }
        if giver_died {
            // It may have changed its mind and served, before it died: what is here may be old.
            self.not_given(cx);
        }
    }

    /// A node can't be reached: its answers count no more, and what was on offer to it is not.
    pub fn on_lost_node<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, node: &Arc<str>) {
        if matches!(&self.role, Role::Frozen(frozen) if frozen.to == *node) {
            self.thaw(cx);
        }
        if let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.taking.is_none()) {
            lookup.answers.remove(node);
            lookup.repeat = Repeat::now(cx.now);
        }
    }
}

/// Whether it is this stream.
fn is_of(stream: &Stream, node: &Arc<str>, id: Stamp) -> bool {
    stream.node == *node && stream.id == id
}
