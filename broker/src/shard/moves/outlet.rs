//! What sessions that move ask of the shard around them.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::auth::{self, Identity};
use crate::clock::{self, Millis, Stamp};
use crate::codec::Reason;
use crate::link::LaneRuns;
use crate::message::{Delivery, Message};
use crate::metrics::Closed;
use crate::peer::{Claim, Entrance, Outlet, Refusal, Serve, Session, SessionHead, SubscriptionHead, WillHead};
use crate::router::{Kind, Presence, Receiver, ReceiverFlags, SubscriptionEntry};
use crate::session::{Flow, Inbound, Limits, Outbound};
use crate::shard::row::{Custody, Role, Row, SubscriptionState, Will};
use crate::shard::{Hashing, Shard};
use crate::store::Change;
use crate::topic::Subscription;

/// The shard, as sessions that move see it while they do.
pub struct MovesOutlet<'a> {
    /// The shard.
    pub shard: &'a mut Shard,
}

/// Said to a client whose session goes to another node, where a newer connection uses its client id.
const TAKEN_OVER: &str = "a newer connection uses the client id";

impl Outlet for MovesOutlet<'_> {
    fn control(&mut self, node: &Arc<str>, payload: &[u8]) -> bool {
        self.shard.say_to(node, payload)
    }

    fn stamp(&mut self) -> Stamp {
        self.shard.shared.stamps.now(clock::unix_micros())
    }

    fn merge(&mut self, stamp: Stamp) -> bool {
        self.shard.shared.stamps.merge(stamp, clock::unix_micros())
    }

    fn claims(&self, node: &str, id: &str) -> Claim {
        self.shard.shared.directory().claims(node, id)
    }

    fn session(&self, id: &str) -> Option<Session> {
        let row = self.shard.core.rows.get(self.shard.find(id)? as usize)?;
        let client = row.client().filter(|_| row.custody != Custody::Given)?;
        let (persistent, online) = (client.is_persistent(), row.connection.is_some());
        Some(Session { epoch: client.epoch, connected: client.connected, persistent, online })
    }

    fn limits(&self) -> Limits {
        self.shard.queue_limits()
    }

    fn freeze(&mut self, id: &str) {
        let Some(slot) = self.shard.find(id) else { return };
        let Some(row) = self.shard.core.rows.get_mut(slot as usize) else { return };
        row.watched = true;
        self.shard.disconnect(slot, Closed::SessionTakenOver, Reason::SessionTakenOver, TAKEN_OVER);
        // Its will, if it has no delay, is published by now.
        if let Some(row) = self.shard.core.rows.get_mut(slot as usize) {
            row.custody = Custody::Frozen;
        }
    }

    fn head(&mut self, id: &str) -> Option<SessionHead> {
        let row = self.shard.core.rows.get(self.shard.find(id)? as usize)?;
        head(row, self.shard.core.now)
    }

    fn take_queue(&mut self, id: &str) -> Vec<Delivery> {
        let slot = self.shard.find(id);
        let row = slot.and_then(|slot| self.shard.core.rows.get_mut(slot as usize));
        row.and_then(|row| row.flow.as_mut()).map(|flow| flow.queue.take_all().into()).unwrap_or_default()
    }

    fn thaw(&mut self, id: &str) {
        let Some(slot) = self.shard.find(id) else { return };
        if let Some(row) = self.shard.core.rows.get_mut(slot as usize) {
            row.custody = Custody::Own;
        }
        self.shard.schedule(slot);
    }

    fn strip(&mut self, id: &str) {
        let Some(slot) = self.shard.find(id) else { return };
        let core = &mut self.shard.core;
        let Some(row) = core.rows.get_mut(slot as usize) else { return };
        row.custody = Custody::Given;
        row.flow = None;
        (row.persistent, row.keeps) = (false, false);
        if let Some(client) = row.client_mut() {
            (client.will, client.will_at, client.ends_at) = (None, None, None);
        }
        core.store.write(Change::Ended { client_id: id });
        self.shard.count_session(-1);
        self.shard.note_claim(slot);
        self.shard.shared.evacuation.count_moved();
    }

    fn leave_groups(&mut self, id: &str) -> bool {
        self.shard.find(id).is_some_and(|slot| self.shard.leave_groups(slot))
    }

    fn discard(&mut self, id: &str) {
        let Some(slot) = self.shard.find(id) else { return };
        if self.shard.core.rows.get(slot as usize).is_some_and(|row| row.custody != Custody::Given) {
            self.shard.count_session(-1);
            self.shard.core.store.write(Change::Ended { client_id: id });
        }
        self.shard.remove_row(slot);
    }

    fn install(&mut self, id: &str, epoch: Stamp, head: SessionHead) {
        self.shard.install(id, epoch, head);
    }

    fn append(&mut self, id: &str, delivery: Delivery, admitted: bool) {
        if let Some(slot) = self.shard.find(id) {
            self.shard.append_delivery(slot, delivery, admitted);
        }
    }

    fn forwarded(&mut self, id: &str, from: &Arc<str>, delivery: Delivery) {
        if let Some(slot) = self.shard.find(id) {
            self.shard.append_forwarded(slot, from, delivery);
        }
    }

    fn bequeath(&mut self, id: &str, delivery: Delivery) {
        let row = self.shard.find(id);
        self.shard.bequeath_left(row, &delivery);
    }

    fn unwatch(&mut self, id: &str) {
        let slot = self.shard.find(id);
        if let Some(row) = slot.and_then(|slot| self.shard.core.rows.get_mut(slot as usize)) {
            row.watched = false;
        }
    }

    fn end(&mut self, id: &str) {
        if let Some(slot) = self.shard.find(id) {
            self.shard.replace_session(slot, TAKEN_OVER);
        }
    }

    fn taken(&self) -> Vec<LaneRuns> {
        self.shard.shared.seen().taken()
    }

    fn has_had(&self, entrance: &Entrance) -> bool {
        self.shard.shared.seen().has(&entrance.lane, entrance.place)
    }

    fn stake(&mut self, token: u64) {
        self.shard.ask_for_stake(token);
    }

    fn serve(&mut self, id: &str, how: Serve) {
        self.shard.serve_parked(id, how);
    }

    fn refuse(&mut self, id: &str, why: Refusal) {
        self.shard.refuse_waiting(id, why);
    }
}

/// A session without its queue.
fn head(row: &Row, now: Millis) -> Option<SessionHead> {
    let client = row.client()?;
    let will = client.will.as_ref().map(|will| WillHead {
        message: Message::new(will.message.frame(), will.message.layout(), None),
        due_in: client.will_at.map_or(Millis(u64::from(will.delay) * 1000), |at| at.since(now)),
        expiry: will.expiry,
    });
    let subscriptions = client.subscriptions.iter().map(|(subscription, state)| SubscriptionHead {
        subscription: subscription.clone(),
        options: state.flags.qos()
            | u8::from(state.flags.no_local()) << 2
            | u8::from(state.flags.retain_as_published()) << 3,
        id: state.id,
    });
    let (outbound, inbound) = match &row.flow {
        Some(flow) => (flow.outbound.snapshot(), flow.inbound.ids()),
        None => (Vec::new(), Vec::new()),
    };
    Some(SessionHead {
        version: row.version,
        principal: client.identity.user.as_deref().unwrap_or_default().into(),
        expiry: client.expiry,
        ends_in: client.ends_at.map(|at| at.since(now)),
        will,
        subscriptions: subscriptions.collect(),
        next_id: row.flow.as_ref().map_or(1, |flow| flow.outbound.next_id()),
        in_flight: outbound,
        inbound,
    })
}

// === impl Shard ===

impl Shard {
    /// Makes a session of a head, without connection, in place of what is left of an earlier stay here.
    fn install(&mut self, id: &str, epoch: Stamp, head: SessionHead) {
        let SessionHead { version, principal, expiry, ends_in, will, subscriptions, next_id, in_flight, inbound } =
            head;
        let now = self.core.now;
        let identity =
            Identity { user: (!principal.is_empty()).then(|| Arc::from(principal)), role: auth::Role::Client };
        let slot = match self.find(id) {
            Some(slot) => slot,
            None => self.insert_row(id, version, identity.clone(), epoch),
        };
        self.count_session(1);
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        (row.version, row.custody, row.watched) = (version, Custody::Own, true);
        row.persistent = expiry > 0;
        // The head was checked when it was read.
        let outbound = Outbound::restore(next_id, in_flight).unwrap_or_default();
        let inbound = Inbound::restore(inbound);
        row.flow = Some(Box::new(Flow { outbound, inbound, queue: Default::default() }));
        let Role::Client(client) = &mut row.role else { return };
        client.identity = identity;
        client.expiry = expiry;
        (client.epoch, client.connected) = (epoch, epoch);
        client.ends_at = ends_in.map(|left| now + left);
        client.will_at = will.as_ref().map(|will| now + will.due_in);
        client.will = will.map(|will| {
            let delay = u32::try_from(will.due_in.0 / 1000).unwrap_or(u32::MAX);
            Box::new(Will { message: will.message, delay, expiry: will.expiry })
        });
        self.core.store.write(Change::Session { client_id: id, expiry_seconds: expiry });
        self.install_subscriptions(slot, subscriptions);
        self.note_claim(slot);
        self.schedule(slot);
    }

    /// Takes a row out of its shared subscriptions; false if it had none.
    fn leave_groups(&mut self, slot: u32) -> bool {
        let core = &mut self.core;
        let Some(row) = core.rows.get_mut(slot as usize) else { return false };
        let me = Receiver { slot, epoch: row.epoch, shard: core.shard, flags: ReceiverFlags::default() };
        let Role::Client(client) = &mut row.role else { return false };
        let before = client.subscriptions.len();
        let left: Vec<Subscription> =
            client.subscriptions.extract_if(|held, _| held.is_shared()).map(|(held, _)| held).collect();
        self.shared.index.unsubscribe_all(&left, me);
        core.counters.subscriptions -= (before - client.subscriptions.len()) as u64;
        self.tell_links();
        !left.is_empty()
    }

    /// Makes these the subscriptions of a session; those that it has already never leave the index.
    fn install_subscriptions(&mut self, slot: u32, subscriptions: Vec<SubscriptionHead>) {
        let (core, index) = (&mut self.core, &self.shared.index);
        let Some(row) = core.rows.get_mut(slot as usize) else { return };
        let (epoch, shard) = (row.epoch, core.shard);
        let Role::Client(client) = &mut row.role else { return };
        let before = std::mem::take(&mut client.subscriptions);
        let mut now = HashMap::with_capacity_and_hasher(subscriptions.len(), Hashing::default());
        for SubscriptionHead { subscription, options, id } in subscriptions {
            let flags = ReceiverFlags::new(Kind::Client, options & 0x03)
                .with_no_local(options & 0x04 != 0)
                .with_retain_as_published(options & 0x08 != 0);
            let shared = subscription.is_shared();
            let presence = shared.then(|| client.presence.get_or_insert_with(|| Presence::new(false)).clone());
            let receiver = Receiver { slot, epoch, shard, flags };
            index.subscribe(&subscription, SubscriptionEntry { receiver, subscription_id: id, presence });
            core.store.write(Change::Subscribed {
                client_id: &client.id,
                filter: &subscription.to_string(),
                options,
                subscription_id: id.unwrap_or(0),
            });
            now.insert(subscription, SubscriptionState { flags, id });
        }
        row.keeps = row.persistent || client.presence.is_some();
        let me = Receiver { slot, epoch, shard, flags: ReceiverFlags::default() };
        index.unsubscribe_all(before.keys().filter(|subscription| !now.contains_key(*subscription)), me);
        core.counters.subscriptions = core.counters.subscriptions + now.len() as u64 - before.len() as u64;
        client.subscriptions = now;
        self.tell_links();
    }
}
