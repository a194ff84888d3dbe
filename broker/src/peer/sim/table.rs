//! The table of a shard: sessions with their queues and what is in flight, driven by moves as a real one is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::{Millis, Stamp, StampClock};
use crate::codec::{Qos, Version};
use crate::link::LaneRuns;
use crate::message::Delivery;
use crate::peer::{Claim, Directory, Entrance, Outlet, Refusal, Serve, Session, SessionHead, SubscriptionHead};
use crate::session::{Flow, Inbound, Limits, Outbound};
use crate::topic::Subscription;

use super::plan::Sabotage;

/// What a table asks of its world.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a control payload.
    Control(Arc<str>, Vec<u8>),
    /// Send a packet to a client.
    Send(u64, Packet),
    /// Close a connection.
    Close(u64),
    /// What the node's clients want has changed.
    InterestChanged,
    /// Answer with versions.
    Stake(u64),
    /// A message got a packet id in a life of a session.
    Assigned(u64, u32),
    /// A life of a session ended as it should.
    Ended(u64),
    /// A life of a session ended in favour of another.
    Discarded(u64),
    /// The rest of a life that was given away went in favour of a new session.
    Overwritten(u64),
    /// A life of a session began here.
    Began(u64, String),
    /// A client's CONNECT was refused, or its connection is of no more use.
    Refused(u64),
}

/// What goes between client and node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// With Session Present, and the life of the session.
    Connack(bool, u64),
    /// Packet id, message, QoS.
    Publish(u16, u32, Qos),
    /// Acknowledgements.
    Puback(u16),
    /// Of QoS 2.
    Pubrec(u16),
    /// Of QoS 2.
    Pubrel(u16),
    /// Of QoS 2.
    Pubcomp(u16),
    /// Subscribe to a filter of the list.
    Subscribe(usize),
    /// Done.
    Suback(usize),
}

/// A session.
pub struct Row {
    /// Life of the session: another after each clean start, the same after a move.
    pub life: u64,
    /// Life of the row.
    pub slot: u64,
    /// The time of owning: another each time that the session comes here.
    pub stay: u64,
    /// As told to moves.
    pub session: Session,
    /// Filters by number in the list.
    pub filters: BTreeSet<usize>,
    /// The connection.
    pub conn: Option<u64>,
    /// Messages.
    pub flow: Flow,
    /// It is frozen.
    pub frozen: bool,
    /// Only its subscriptions are left.
    pub stripped: bool,
    /// Messages for it are offered to moves.
    pub watched: bool,
}

/// A CONNECT that waits.
#[derive(Clone, Copy, Debug)]
pub struct Parked {
    /// Its connection.
    pub conn: u64,
    /// The session is to outlive it.
    pub persistent: bool,
}

/// The sessions of a shard.
pub struct Table {
    /// By client id.
    pub rows: BTreeMap<String, Row>,
    /// CONNECTs that wait.
    pub parked: BTreeMap<String, Parked>,
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// The node's clock of stamps.
    pub clock: Rc<StampClock>,
    /// What its wall clock says.
    pub unix: u64,
    /// The node's directory.
    pub directory: Rc<RefCell<Directory>>,
    /// The node can't send to these.
    pub deaf: BTreeSet<Arc<str>>,
    /// Numbers lives; each table has a range of its own.
    pub next: u64,
    /// What is broken.
    pub sabotage: Option<Sabotage>,
    /// The rest of a session that was taken out in this turn.
    pub dropped: Option<(String, u64)>,
    /// Messages in flight at one time.
    pub window: u16,
    /// The time.
    pub now: Millis,
}

/// The number that a message bears.
pub fn number(delivery: &Delivery) -> u32 {
    let message = &delivery.message;
    let payload = message.layout().payload(message.frame());
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

// === impl Table ===

impl Table {
    /// A connection meets its session, or a new one.
    pub fn attach(&mut self, id: &str, parked: Parked, stamp: Stamp, clean: bool) {
        if clean || self.rows.get(id).is_some_and(|row| !row.session.persistent) {
            self.end_row(id);
        }
        let present = self.rows.contains_key(id);
        if !present {
            self.begin(id, stamp, parked.persistent);
        }
        let Some(row) = self.rows.get_mut(id) else { return };
        assert!(!row.stripped && !row.frozen, "{id} is served by a node that gave it away");
        if let Some(old) = row.conn.replace(parked.conn) {
            self.effects.push(Effect::Close(old));
        }
        row.session.connected = stamp;
        row.session.persistent = parked.persistent;
        let life = row.life;
        self.effects.push(Effect::Send(parked.conn, Packet::Connack(present, life)));
        if present {
            for id in row.flow.outbound.begin_resend() {
                self.effects.push(Effect::Send(parked.conn, Packet::Pubrel(id)));
            }
        }
        self.pump(id);
    }

    fn begin(&mut self, id: &str, epoch: Stamp, persistent: bool) {
        self.next += 1;
        let session = Session { epoch, connected: epoch, persistent, online: false };
        let row = Row {
            life: self.next,
            slot: self.next,
            stay: self.next,
            session,
            filters: BTreeSet::new(),
            conn: None,
            flow: Flow::default(),
            frozen: false,
            stripped: false,
            watched: false,
        };
        self.rows.insert(id.to_owned(), row);
        self.effects.push(Effect::Began(self.next, id.to_owned()));
    }

    /// A session ends.
    pub fn end_row(&mut self, id: &str) {
        if let Some(row) = self.rows.remove(id) {
            self.effects.extend(row.conn.map(Effect::Close));
            self.effects.push(Effect::Ended(row.life));
            self.effects.push(Effect::InterestChanged);
        }
    }

    /// Appends to the queue and sends what may be sent.
    pub fn enqueue(&mut self, id: &str, delivery: Delivery) {
        if let Some(row) = self.rows.get_mut(id) {
            row.flow.queue.admit(delivery);
            self.pump(id);
        }
    }

    /// Sends what may be sent.
    pub fn pump(&mut self, id: &str) {
        let window = self.window;
        let Some(row) = self.rows.get_mut(id) else { return };
        let Some(conn) = row.conn.filter(|_| !row.frozen && !row.stripped) else { return };
        while let Some((packet_id, delivery)) = row.flow.outbound.next_resend(window) {
            let packet = Packet::Publish(packet_id, number(delivery), delivery.qos);
            self.effects.push(Effect::Send(conn, packet));
        }
        while row.flow.outbound.has_room(window)
            && let Some(delivery) = row.flow.queue.pop()
        {
            let (message, qos) = (number(&delivery), delivery.qos);
            let packet_id = row.flow.outbound.assign(qos, Some(delivery));
            self.effects.push(Effect::Assigned(row.life, message));
            self.effects.push(Effect::Send(conn, Packet::Publish(packet_id, message, qos)));
        }
    }
}

impl Outlet for Table {
    fn control(&mut self, node: &Arc<str>, payload: &[u8]) -> bool {
        self.effects.push(Effect::Control(node.clone(), payload.to_vec()));
        !self.deaf.contains(node)
    }

    fn stamp(&mut self) -> Stamp {
        self.clock.now(self.unix)
    }

    fn merge(&mut self, stamp: Stamp) -> bool {
        self.clock.merge(stamp, self.unix)
    }

    fn claims(&self, node: &str, id: &str) -> Claim {
        self.directory.borrow().claims(node, id)
    }

    fn session(&self, id: &str) -> Option<Session> {
        self.rows.get(id).filter(|row| !row.stripped).map(|row| Session { online: row.conn.is_some(), ..row.session })
    }

    fn limits(&self) -> Limits {
        Limits { messages: 10_000, bytes: 64 << 20 }
    }

    fn freeze(&mut self, id: &str) {
        let row = self.rows.get_mut(id).expect("only an owner freezes");
        (row.frozen, row.watched) = (true, true);
        if self.sabotage != Some(Sabotage::ReadAfterFreeze) {
            self.effects.extend(row.conn.take().map(Effect::Close));
        }
    }

    fn head(&mut self, id: &str) -> Option<SessionHead> {
        let row = self.rows.get(id)?;
        let mut next_id = row.flow.outbound.next_id();
        let mut in_flight = row.flow.outbound.snapshot();
        if self.sabotage == Some(Sabotage::NewPacketIds) {
            in_flight.iter_mut().for_each(|flying| flying.packet_id += 7);
            next_id += 7;
        }
        let mut inbound = row.flow.inbound.ids();
        inbound.sort_unstable();
        if self.sabotage == Some(Sabotage::NoInbound) {
            inbound.clear();
        }
        let subscription = |filter: &usize| SubscriptionHead {
            subscription: Subscription::parse(super::plan::FILTERS[*filter], 16).expect("a filter"),
            options: 2,
            id: Some(*filter as u32 + 1),
        };
        Some(SessionHead {
            version: Version::V5,
            principal: row.life.to_string().into(),
            expiry: if row.session.persistent { 1000 } else { 0 },
            ends_in: None,
            will: None,
            subscriptions: row.filters.iter().map(subscription).collect(),
            next_id,
            in_flight,
            inbound,
        })
    }

    fn take_queue(&mut self, id: &str) -> Vec<Delivery> {
        self.rows.get_mut(id).map(|row| row.flow.queue.take_all().into()).unwrap_or_default()
    }

    fn thaw(&mut self, id: &str) {
        self.rows.get_mut(id).expect("it was frozen").frozen = false;
    }

    fn strip(&mut self, id: &str) {
        let row = self.rows.get_mut(id).expect("it was frozen");
        assert!(row.frozen && row.flow.queue.is_empty());
        self.effects.extend(row.conn.take().map(Effect::Close));
        (row.frozen, row.stripped, row.flow) = (false, true, Flow::default());
    }

    fn leave_groups(&mut self, _id: &str) -> bool {
        false
    }

    fn discard(&mut self, id: &str) {
        let row = self.rows.remove(id).expect("something was left");
        assert!(row.stripped || row.frozen, "only what was given away is discarded");
        if row.stripped {
            self.dropped = Some((id.to_owned(), row.life));
        }
        if row.frozen {
            self.effects.push(Effect::Discarded(row.life));
        }
        self.effects.push(Effect::InterestChanged);
    }

    fn install(&mut self, id: &str, epoch: Stamp, head: SessionHead) {
        self.next += 1;
        let slot = match self.rows.remove(id) {
            Some(row) => {
                assert!(row.stripped, "{id} is installed over a session");
                if head.principal.parse() != Ok(row.life) {
                    self.effects.push(Effect::Overwritten(row.life));
                }
                row.slot
            }
            None => self.next,
        };
        let outbound = Outbound::restore(head.next_id, head.in_flight).expect("it was checked");
        let flow = Flow { outbound, inbound: Inbound::restore(head.inbound), queue: Default::default() };
        let row = Row {
            life: head.principal.parse().expect("a number"),
            slot,
            stay: self.next,
            session: Session { epoch, connected: epoch, persistent: head.expiry > 0, online: false },
            filters: head.subscriptions.iter().filter_map(|held| held.id).map(|id| id as usize - 1).collect(),
            conn: None,
            flow,
            frozen: false,
            stripped: false,
            watched: true,
        };
        self.rows.insert(id.to_owned(), row);
        self.effects.push(Effect::InterestChanged);
    }

    fn append(&mut self, id: &str, delivery: Delivery, _admitted: bool) {
        let row = self.rows.get(id).expect("only an owner appends");
        assert!(!row.stripped && !row.frozen);
        self.enqueue(id, delivery);
    }

    fn forwarded(&mut self, id: &str, _from: &Arc<str>, delivery: Delivery) {
        self.append(id, delivery, true);
    }

    fn bequeath(&mut self, _: &str, _: Delivery) {}

    fn unwatch(&mut self, id: &str) {
        self.rows.get_mut(id).expect("it was watched").watched = false;
    }

    fn end(&mut self, id: &str) {
        self.end_row(id);
    }

    fn taken(&self) -> Vec<LaneRuns> {
        Vec::new()
    }

    fn has_had(&self, _: &Entrance) -> bool {
        false
    }

    fn stake(&mut self, token: u64) {
        self.effects.push(Effect::Stake(token));
    }

    fn serve(&mut self, id: &str, how: Serve) {
        let parked = self.parked.remove(id).expect("a CONNECT waits");
        match how {
            Serve::Fresh(stamp) => {
                assert!(!self.rows.contains_key(id), "a new session beside an old one");
                if let Some((_, life)) = self.dropped.take().filter(|(dropped, _)| dropped == id) {
                    self.effects.push(Effect::Overwritten(life));
                }
                self.attach(id, parked, stamp, false);
            }
            Serve::Present(stamp) => {
                assert!(self.rows.contains_key(id), "a session is there");
                self.attach(id, parked, stamp, false);
            }
        }
    }

    fn refuse(&mut self, id: &str, _why: Refusal) {
        let parked = self.parked.remove(id).expect("a CONNECT waits");
        self.effects.push(Effect::Refused(parked.conn));
    }
}
