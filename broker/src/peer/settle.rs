//! Sessions that began while a node could not be asked: when it is back, the later of two of one name wins.

use std::sync::Arc;

use crate::clock::{Millis, Stamp};

use super::bounds::{DWELL_FORGET, Repeat};
use super::control::{Control, Denial, Purpose};
use super::outlet::{Outlet, Session};
use super::record::{Cx, Record, Role};

// === impl Record ===

impl Record {
    /// Does all that is due.
    pub fn wake<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let now = cx.now;
        if self.moved.is_some_and(|(at, _)| at + DWELL_FORGET <= now) {
            self.moved = None;
        }
        if self.tomb.is_some_and(|(_, until)| until <= now) {
            self.tomb = None;
            self.unasked.clear();
            self.settling = None;
        }
        match &self.role {
            Role::None => {}
            Role::Owner => self.ask_for_streams(cx),
            Role::Frozen(frozen) if frozen.until <= now => self.thaw(cx),
            Role::Frozen(frozen) if frozen.repeat.is_due(now) => self.say_export(cx),
            Role::Frozen(_) => {}
            Role::Drain(drain) if drain.until <= now => {
                cx.common.stats.abandoned += 1;
                self.forget(cx);
            }
            // Whoever looks at a drain lets it progress.
            Role::Drain(_) => {}
        }
        self.search(cx);
        self.settle(cx);
    }

    /// A node can be reached: what waits for it is said at once.
    pub fn reach(&mut self, node: &Arc<str>, now: Millis) {
        match &mut self.role {
            Role::None | Role::Owner | Role::Frozen(_) => {}
            Role::Drain(drain) => {
                if drain.to.as_ref().is_none_or(|(to, _)| to == node) {
                    drain.repeat = Repeat::now(now);
                }
            }
        }
        if let Some(lookup) = &mut self.lookup {
            lookup.repeat = Repeat::now(now);
        }
    }

    /// Asks the nodes that could not be asked to end what they have of this name, if it is older.
    pub fn settle<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        if self.unasked.is_empty() {
            self.settling = None;
            return;
        }
        let Some((stamp, repeat)) = &mut self.settling else { return };
        if !repeat.is_due(cx.now) {
            return;
        }
        repeat.said(cx.now);
        let connected = match (&self.role, self.tomb) {
            (Role::Owner, _) => cx.out.session(cx.id).map(latest),
            (Role::None, Some((stamp, _))) => Some(stamp),
            // It is decided first to whom it belongs.
            (Role::None, None) | (Role::Frozen(_) | Role::Drain(_), _) => None,
        };
        let Some(connected) = connected else { return };
        *stamp = connected;
        let nodes = &cx.common.nodes;
        let reachable: Vec<Arc<str>> = self.unasked.iter().filter(|node| nodes.is_connected(node)).cloned().collect();
        if reachable.is_empty() {
            self.settling = None;
        }
        reachable.iter().for_each(|node| cx.say(node, &Control::Ask { stamp: connected, purpose: Purpose::End }));
    }

    /// A node that was asked so has nothing of this name, or nothing any more.
    pub fn on_settled(&mut self, from: &Arc<str>, stamp: Stamp) {
        if self.settling.is_some_and(|(asked, _)| asked == stamp) {
            self.settle_one(from);
        }
    }

    /// A node need not be asked any more.
    pub fn settle_one(&mut self, from: &Arc<str>) {
        self.unasked.remove(from);
        if self.unasked.is_empty() {
            self.settling = None;
            self.tomb = None;
        }
    }

    /// The other session is the later one.
    pub fn on_overruled<O: Outlet>(
        &mut self,
        cx: &mut Cx<'_, O>,
        from: &Arc<str>,
        stamp: Stamp,
        winner: Stamp,
        why: Denial,
    ) {
        if self.settling.is_none_or(|(asked, _)| asked != stamp) || why != Denial::Owner {
            return;
        }
        cx.out.merge(winner);
        match &self.role {
            Role::None => self.settle_one(from),
            Role::Owner if cx.out.session(cx.id).map(latest) == Some(stamp) => {
                cx.out.end(cx.id);
                cx.common.stats.discarded += 1;
                self.unasked.clear();
                self.settling = None;
                self.reset(cx);
            }
            // It is asked again, by a later stamp.
            Role::Owner | Role::Frozen(_) | Role::Drain(_) => {}
        }
    }
}

fn latest(session: Session) -> Stamp {
    session.connected.max(session.epoch)
}
