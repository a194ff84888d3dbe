//! The receiving half of a link: what comes on a connection is judged, taken once, and delivered.

use crate::codec::Qos;

use super::aside::{Aside, AsideBytes};
use super::batch::{Head, LANE_INTEREST, LANE_LOSSY, LANE_MESSAGES};
use super::batch::{TOPIC_BEAT, TOPIC_CONTROL, TOPIC_HELLO, TOPIC_LANE, TOPIC_WAY};
use super::connection::Phase;
use super::heartbeat::Beat;
use super::interest_in::{Changed, InterestFault};
use super::lane_in::Offer;
use super::marks::Mark;
use super::origin::{LOSSY, Origin, Place};
use super::outlet::{Conn, Delivery, DropReason, Incoming, Now, Outlet};
use super::policy::Verdict;
use super::record::{Record, Records};
use super::refusal::{Refusal, Why};
use super::settings::Scope;
use super::source::Source;
use super::spool::Spool;
use super::state::Link;
use super::syncing::Taken;
use crate::codec::publish::Layout;
use crate::router::Path;

/// Nodes of all clusters whose marks are remembered for one node of the remote.
const MARKS_MAX: usize = 4096;

// === impl Link ===

impl<S: Spool> Link<S> {
    /// A PUBLISH below `$LINK/` came on a connection of the link.
    pub fn received(&mut self, out: &mut impl Outlet, conn: Conn, incoming: Incoming<'_>, now: Now) {
        let Some(connection) = self.connection(conn) else { return };
        connection.pulse.heard(now);
        let phase = connection.phase;
        self.dirty = true;
        let is = |topic: &str| incoming.topic == topic.as_bytes();
        if is(TOPIC_LANE) && phase == Phase::Up {
            self.take_batch(out, conn, incoming, now);
            return;
        }
        if let Some(packet_id) = incoming.packet_id {
            out.acknowledge(conn, packet_id);
        }
        if is(TOPIC_HELLO) {
            self.greeted(out, conn, incoming.payload, now);
        } else if is(TOPIC_BEAT) && phase == Phase::Up {
            self.take_beat(out, conn, incoming.payload, now);
        } else if is(TOPIC_CONTROL) && phase == Phase::Up && self.settings.is_peer() {
            let node = self.connection(conn).map(|connection| connection.node.clone());
            node.iter().for_each(|node| out.control(node, incoming.payload));
        } else if is(TOPIC_WAY) && phase == Phase::Up {
            if self.connection(conn).is_some_and(|connection| connection.role.is_direct()) {
                out.way(conn, incoming.payload);
            }
        } else if phase != Phase::Up {
            let message = "the handshake is not done, and this is no part of it";
            self.refuse(out, conn, Refusal::new(Why::ProtocolError, message), now);
        }
        // Other topics are of a newer version, which says before what it needs the other side to understand.
    }

    fn take_batch(&mut self, out: &mut impl Outlet, conn: Conn, incoming: Incoming<'_>, now: Now) {
        let Some((head, records)) = Head::read(incoming.payload) else {
            self.refuse(out, conn, Refusal::new(Why::ProtocolError, "the head of a batch is malformed"), now);
            return;
        };
        let Some(node) = self.connection(conn).map(|connection| connection.node.clone()) else { return };
        let Some(source) = self.sources.iter().position(|source| source.node == node) else { return };
        let Some(lane) = self.sources[source].lane(head.lane) else {
            let message = format!("a batch of lane {}, which was not announced", head.lane);
            self.refuse(out, conn, Refusal::new(Why::ProtocolError, message), now);
            return;
        };
        let epoch = lane.epoch();
        let offer = if head.lane == LANE_LOSSY {
            lane.offer_lossy(head.sequence)
        } else {
            lane.offer(head.previous, head.sequence)
        };
        match offer {
            Offer::Take => {
                lane.take(head.sequence);
                let from = lane.from();
                if !self.take_records(out, conn, source, &head, from, records, now) {
                    return;
                }
            }
            Offer::Repeat if head.lane == LANE_INTEREST => {}
            Offer::Repeat => self.counters.repeated += u64::from(head.records),
            Offer::Hole => {
                let message = format!(
                    "batch {} of lane {} follows {}, and {} was the last",
                    head.sequence,
                    head.lane,
                    head.previous,
                    lane.taken()
                );
                self.refuse(out, conn, Refusal::new(Why::ProtocolError, message), now);
                return;
            }
        }
        if let Some(packet_id) = incoming.packet_id {
            let Head { lane, sequence, .. } = head;
            self.syncing.taken(Taken { conn, packet_id, node, lane, epoch, sequence });
        }
    }

    /// Takes the records of a batch. What cannot be read is counted and passed over: the batch was taken, and would be
    /// no better if it came again. False if the connection was closed.
    #[expect(clippy::too_many_arguments, reason = "a batch, where it stands in its lane, and who brings it")]
    fn take_records(
        &mut self,
        out: &mut impl Outlet,
        conn: Conn,
        source: usize,
        head: &Head,
        from: u64,
        records: &[u8],
        now: Now,
    ) -> bool {
        let lane = head.lane;
        let mut records = Records::new(records);
        let (mut shard, mut number) = (0, 0);
        let mut origin = self.origin_of(source, head, from);
        // Between clusters every message has an origin, between peers that of which one is told.
        let counts = origin.is_some();
        let mut told = false;
        while let Some(record) = records.next() {
            let fault = match record {
                Ok(Record::Message { path, aside, frame, layout }) if lane != LANE_INTEREST => {
                    let came_from = origin.as_ref().filter(|_| counts || std::mem::take(&mut told));
                    let batch = if lane == LANE_MESSAGES { head.sequence } else { 0 };
                    let place = Place { batch, message: number };
                    number += 1;
                    self.take_message(out, source, shard, place, came_from, path, aside, frame, layout);
                    if let Some(origin) = origin.as_mut().filter(|_| counts) {
                        origin.place.message += 1;
                    }
                    continue;
                }
                Ok(Record::Origin { cluster, node, life, from, place })
                    if lane != LANE_INTEREST && self.settings.is_peer() =>
                {
                    let lane = self.sources[source].origin(cluster, node, life);
                    origin = Some(Origin { lane, from, place });
                    told = true;
                    continue;
                }
                Ok(Record::OriginNext(message)) if origin.is_some() && self.settings.is_peer() => {
                    origin.iter_mut().for_each(|origin| origin.place.message = message);
                    told = true;
                    continue;
                }
                Ok(Record::Shard(routed_by)) if lane != LANE_INTEREST => {
                    shard = routed_by;
                    continue;
                }
                Ok(Record::Mark(mark)) if lane == LANE_MESSAGES => {
                    self.take_mark(out, conn, source, shard, &mark, now);
                    continue;
                }
                Ok(Record::Page(page)) if lane == LANE_INTEREST => self.sources[source].interest.page(page),
                Ok(Record::Delta(delta)) if lane == LANE_INTEREST => self.sources[source].interest.delta(delta),
                Ok(Record::Unknown) => continue,
                Ok(
                    Record::Message { .. }
                    | Record::Mark(_)
                    | Record::Shard(_)
                    | Record::Origin { .. }
                    | Record::OriginNext(_)
                    | Record::Page(_)
                    | Record::Delta(_),
                ) => {
                    self.malformed("a record stands in a lane where it does not belong", now);
                    continue;
                }
                Err(fault) => {
                    self.malformed(&fault.to_string(), now);
                    break;
                }
            };
            match fault {
                Ok(Some(changed)) => self.take_interest(out, source, &changed),
                Ok(None) => {}
                Err(fault @ InterestFault::TooMany) => {
                    self.refuse(out, conn, Refusal::new(Why::InterestTooLarge, fault.to_string()), now);
                    return false;
                }
                // The digest in our next heartbeat makes the other side send a snapshot.
                Err(
                    fault @ (InterestFault::Record(_)
                    | InterestFault::Filter(_)
                    | InterestFault::Share(_)
                    | InterestFault::Digest(_)),
                ) => {
                    self.malformed(&fault.to_string(), now);
                }
            }
        }
        true
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a message's record, and where it stands")]
    fn take_message(
        &mut self,
        out: &mut impl Outlet,
        source: usize,
        shard: u8,
        place: Place,
        origin: Option<&Origin>,
        path: Path<'_>,
        aside: AsideBytes<'_>,
        frame: &[u8],
        layout: Layout,
    ) {
        let from_peer = self.settings.is_peer();
        let drop = if !from_peer && path.contains(&self.local.cluster_id) {
            Err(DropReason::Loop)
        } else if !from_peer && path.hops() + 1 > usize::from(self.settings.max_hops) {
            Err(DropReason::TooManyHops)
        } else if !from_peer && !aside.is_empty() {
            // Stamps and shared subscriptions are this cluster's own.
            Err(DropReason::Malformed)
        } else if layout.expiry(frame) == Some(0) {
            Err(DropReason::Expired)
        } else if layout.alias() != 0 {
            Err(DropReason::Malformed)
        } else {
            match self.receives.judge(layout.topic(frame)) {
                Verdict::Passes(highest) => Ok(highest.min(layout.qos())),
                Verdict::Refused => Err(DropReason::NotAllowed),
                Verdict::Malformed => Err(DropReason::Malformed),
            }
        };
        let qos: Qos = match drop {
            Ok(qos) => qos,
            Err(reason) => {
                self.counters.dropped(reason, 1);
                return;
            }
        };
        let whole = match self.settings.scope {
            Scope::Peer(_) => path.bytes(),
            Scope::Cluster if path == Path::EMPTY => &self.remote_path,
            Scope::Cluster => {
                self.scratch.clear();
                self.scratch.extend_from_slice(path.bytes());
                self.scratch.extend_from_slice(&self.remote_path);
                &self.scratch
            }
        };
        let Some(path) = Path::parse(whole) else { return };
        let aside = Aside { origin, ..aside.decode(&mut self.scratch_shares) };
        let Source { node, marks, .. } = &self.sources[source];
        if out.deliver(&Delivery { frame, layout, qos, path, from_peer, node, shard, place, marks, aside }) {
            self.counters.received += 1;
        } else {
            self.counters.repeated += 1;
        }
    }

    /// Where the first message of a batch of another cluster comes from.
    fn origin_of(&mut self, source: usize, head: &Head, from: u64) -> Option<Origin> {
        let cluster = self.remote_id.clone().filter(|_| !self.settings.is_peer() && head.lane != LANE_INTEREST)?;
        let source = &mut self.sources[source];
        let (node, life) = (source.node.clone(), source.lane(head.lane)?.epoch());
        let (life, from) = if head.lane == LANE_LOSSY { (life | LOSSY, 0) } else { (life, from) };
        let lane = source.origin(&cluster, &node, life);
        Some(Origin { lane, from, place: Place { batch: head.sequence, message: 0 } })
    }

    fn take_mark(&mut self, out: &mut impl Outlet, conn: Conn, source: usize, shard: u8, mark: &Mark, now: Now) {
        let is_ours = mark.cluster == self.local.cluster_id && mark.node == self.local.node;
        let marks = &mut self.sources[source].marks;
        if marks.len() < MARKS_MAX || marks.knows(mark) {
            marks.put(shard, mark);
        }
        if self.settings.is_peer() {
            out.passed(&self.sources[source].node, shard, mark);
        }
        let Source { marks, shards, .. } = &self.sources[source];
        // All shards of the node route by what we want: a heartbeat proves by digest that it is what we meant.
        if is_ours
            && mark.version == self.wanted.version()
            && marks.get_all(*shards, &mark.cluster, &mark.node) == mark.version
            && let Some(connection) = self.connection(conn)
        {
            let number = connection.pulse.beat(now);
            self.say_beat(out, conn, number, false);
        }
    }

    fn take_interest(&mut self, out: &mut impl Outlet, source: usize, changed: &Changed) {
        self.serve(out, changed);
        let Some(cluster) = self.remote_id.clone() else { return };
        let source = &self.sources[source];
        let mark = Mark { cluster, node: source.node.clone(), version: source.interest.version() };
        self.syncing.applied(mark, source.interest.digest());
    }

    fn take_beat(&mut self, out: &mut impl Outlet, conn: Conn, payload: &[u8], now: Now) {
        let Some(beat) = Beat::decode(payload) else {
            self.refuse(out, conn, Refusal::new(Why::ProtocolError, "a heartbeat is malformed"), now);
            return;
        };
        let told = (self.wanted.version(), self.wanted.digest());
        let listener = self.listeners.iter().find(|listener| listener.conn == Some(conn));
        let quiet = listener.is_some_and(|listener| listener.is_idle() && listener.is_told(&self.wanted));
        let Some(connection) = self.connection(conn) else { return };
        connection.held = beat.held;
        connection.brings = beat.brings;
        // A heartbeat may have left before what is told came, and come after it was acknowledged: two must agree.
        connection.mismatches = if quiet && beat.held != told { connection.mismatches.saturating_add(1) } else { 0 };
        let repair = connection.mismatches >= 2;
        if repair {
            connection.mismatches = 0;
        }
        if beat.answer {
            connection.pulse.answered(beat.number, now);
        } else {
            self.say_beat(out, conn, beat.number, true);
        }
        if repair && let Some(listener) = self.listeners.iter_mut().find(|listener| listener.conn == Some(conn)) {
            listener.repair(&mut self.wanted);
        }
    }

    /// Sends a heartbeat, or the answer to one.
    pub(super) fn say_beat(&mut self, out: &mut impl Outlet, conn: Conn, number: u64, answer: bool) {
        let wanted = (self.wanted.version(), self.wanted.digest());
        let Some(node) = self.connection(conn).map(|connection| connection.node.clone()) else { return };
        let held = self.source(&node).map(|source| source.held()).unwrap_or_default();
        let brings = self.active == Some(conn);
        out.publish(conn, TOPIC_BEAT, None, &Beat { answer, brings, number, wanted, held }.encode());
    }

    fn malformed(&mut self, message: &str, now: Now) {
        self.counters.dropped(DropReason::Malformed, 1);
        self.failed(Why::ProtocolError.name(), message, now);
    }
}
