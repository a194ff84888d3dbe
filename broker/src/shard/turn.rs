//! One turn of a shard: read what is ready, take what others sent, do what is due, hand over, write each output once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use super::batch::{Batch, Note, Step};
use super::control::{Control, Report, Stays};
use super::inbox::{HandOver, LANE_BYTES_MAX};
use super::moves::news::Told;
use super::publication::Publication;
use super::row::Role;
use super::{Shard, Tuning, linger};
use crate::clock::{Millis, UnixSeconds};
use crate::codec::Reason;
use crate::metrics::Closed;
use crate::store::Commit;

/// Memory that an empty batch may keep.
const BATCH_KEEP: usize = 1 << 20;
/// Longest time that links have at the end to send what waits in memory.
const DRAIN_MAX: Millis = Millis(5_000);
/// Time between two turns of a shard that is stopping.
const STOPPING: Millis = Millis(20);
/// Longest time between two turns of a shard that has nothing to do.
const IDLE: Millis = Millis(60_000);

/// Runs the turns of a shard until it is told to stop; to be spawned unconstrained on a current_thread runtime.
pub async fn serve(mut shard: Shard) {
    let start = Instant::now() - shard.shared.clock.now().duration();
    let mut sleep = pin!(sleep_until(start + IDLE.duration()));
    let mut woken = Vec::new();
    poll_fn(|cx| {
        shard.ready.set_task(cx.waker());
        shard.turn(&mut woken);
        if shard.has_stopped() {
            return Poll::Ready(());
        }
        if shard.has_more() {
            cx.waker().wake_by_ref();
        }
        let at = start + shard.next_turn().duration();
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

// === impl Shard ===

impl Shard {
    /// Whether the next turn should come at once.
    pub(super) fn has_more(&self) -> bool {
        !self.again.is_empty()
            || !self.core.searching.is_empty()
            || (!self.core.dirty.is_empty() && self.awaited_commit.is_none())
    }

    /// When the next turn should come, if nothing asks for one before.
    pub(super) fn next_turn(&self) -> Millis {
        let now = self.core.now;
        // A shard that is stopping looks often whether it is done.
        let idle = if self.stopping.is_some() { STOPPING } else { IDLE };
        let due = [
            self.timers.next(),
            self.waiting_until(),
            self.moves_due(),
            self.evacuation_due(),
            self.core.unclaimed.due(),
        ];
        let due = due.into_iter().flatten().min();
        due.unwrap_or(now + idle).clamp(now + Millis(1), now + idle)
    }

    /// One turn; `woken` is empty before and after.
    pub(super) fn turn(&mut self, woken: &mut Vec<u32>) {
        self.core.now = self.shared.clock.now();
        self.core.counters.turns += 1;
        self.ready.take(woken);
        woken.append(&mut self.again);
        for slot in woken.drain(..) {
            if self.bury(slot) {
                continue;
            }
            if self.core.rows.get(slot as usize).is_some_and(|row| row.blocked) {
                self.unblock(slot);
            }
            self.readable(slot);
        }
        if self.shared.inboxes[usize::from(self.core.shard)].take_pending() {
            self.take_batches();
            self.take_control();
        }
        if self.timers.next().is_some_and(|at| at <= self.core.now) {
            self.run_timers();
        }
        if self.waiting_until().is_some_and(|at| at <= self.core.now) {
            self.answer_settled();
        }
        for slot in std::mem::take(&mut self.core.searching) {
            self.core.pump(slot);
        }
        self.evacuate();
        self.give_orphans();
        self.give_unclaimed();
        self.end_moves_turn();
        self.end_links_turn();
        // Others work on what they get while we write our own sockets.
        self.hand_over();
        // Nothing leaves before it is durable; the store nudges the shard when it is.
        self.awaited_commit = match self.core.store.commit() {
            Commit::Durable => None,
            Commit::Pending(commit) => Some(commit),
        };
        if self.awaited_commit.is_none_or(|commit| commit <= self.core.store.durable()) {
            self.awaited_commit = None;
            self.flush_dirty();
        }
    }

    /// Takes what other shards routed to rows of this one. Nothing here is sent to another shard, so shards can't wait
    /// for each other in a circle.
    fn take_batches(&mut self) {
        let own = usize::from(self.core.shard);
        let mut batch = std::mem::take(&mut self.spare);
        for from in (0..self.shared.inboxes.len()).filter(|from| *from != own) {
            if self.shared.inboxes[own].take_batch(from, &mut batch) {
                self.shared.inboxes[from].ready().nudge();
            }
            for step in batch.steps() {
                let item = match step {
                    Step::Message(item) => item,
                    Step::Note(Note::Mark(mark)) => {
                        self.mark_own_links(from as u8, mark);
                        continue;
                    }
                    Step::Note(Note::News(news)) => {
                        self.core.told.push(Told::News(news.clone()));
                        continue;
                    }
                    Step::Note(Note::Receipt(receipt)) => {
                        self.await_receipt(*receipt);
                        continue;
                    }
                };
                let mut publication = Publication::new(item.frame, item.layout, item.path, item.expires_at);
                publication.qos = item.qos;
                publication.shard = from as u8;
                publication.passage.stamp = item.stamp;
                publication.passage.lane = item.lane;
                (publication.passage.origin, publication.passage.repeat) = (item.origin, item.repeat);
                publication.passage.debt = item.debt;
                let mut ids = item.ids;
                for (at, receiver) in item.receivers.iter().enumerate() {
                    let mine = ids.iter().take_while(|(index, _)| *index as usize == at).count();
                    let (own, rest) = ids.split_at(mine);
                    ids = rest;
                    if own.is_empty() {
                        self.core.deliver(*receiver, &[], &mut publication);
                    } else {
                        self.ids.clear();
                        self.ids.extend(own.iter().map(|(_, id)| *id));
                        self.core.deliver(*receiver, &self.ids, &mut publication);
                    }
                }
            }
            batch.clear(BATCH_KEEP);
        }
        self.spare = batch;
    }

    fn hand_over(&mut self) {
        let own = usize::from(self.core.shard);
        let mut congested = false;
        for to in (0..self.shared.inboxes.len()).filter(|to| *to != own) {
            let batch = &mut self.core.outboxes[to];
            if batch.is_empty() {
                continue;
            }
            if self.shared.inboxes[to].hand_over(own, batch) == HandOver::Full {
                congested |= batch.size() > LANE_BYTES_MAX;
            }
        }
        if self.congested && !congested {
            self.resume_paused();
        }
        self.congested = congested;
    }

    fn take_control(&mut self) {
        for control in self.shared.inboxes[usize::from(self.core.shard)].take_control() {
            match control {
                Control::Attach(attach) if self.stopping.is_some() => {
                    linger::refuse_attach(*attach, &self.shared.board.events)
                }
                Control::Attach(attach) => self.attach(*attach),
                Control::AttachLink(attach) => self.attach_link(*attach),
                Control::Settled => self.answer_settled(),
                Control::Peers { here, others } => {
                    self.configure_peers(here);
                    self.list_nodes(&others);
                    self.shared.settled.listed();
                }
                Control::PeerMade(name, peer) => {
                    self.peers.push(peer);
                    self.peer_names.push((name, peer));
                }
                Control::PeerGone(peer) => {
                    self.peers.retain(|known| !known.same(peer));
                    self.peer_names.retain(|(_, known)| !known.same(peer));
                }
                Control::Say { node, payload } => drop(self.say_to(&node, &payload)),
                Control::Said { node, payload } => self.hear(&node, &payload),
                Control::Stake(stake) => self.stake_here(stake),
                Control::Staked { token, versions } => self.staked(token, versions),
                Control::Received(receipt, shard) => self.received(receipt, shard),
                Control::PeerLost(node) => self.end_ways_of(&node),
                Control::WayToPeers(payload) => self.way_to_peers(&payload),
                Control::WayToPeer { node, payload } => self.way_to_peer(&node, &payload),
                Control::WayFromPeer { node, payload } => self.way_from_peer(&node, &payload),
                Control::DialFailed { link, error } => self.dial_failed(&link, error),
                Control::Mark(mark) => self.take_mark(&mark),
                Control::AnnounceMarks => self.announce_marks(),
                Control::InterestChanged => self.update_interest(),
                Control::Pressure => {
                    // Perhaps wills wait, and no publisher.
                    self.takes_publishes();
                    self.resume_paused();
                }
                Control::Tuning(tuning) => self.retune(tuning),
                Control::Links(links) => self.configure_links(links),
                Control::DropUsers(stays) => self.drop_users(&*stays),
                Control::Report(answer) => {
                    // Who asked may have given up.
                    let _ = answer.send(self.report());
                }
                Control::Stop => self.stop(),
            }
        }
    }

    fn count_queued(&mut self) {
        let (mut messages, mut bytes) = (0, 0);
        for (_, row) in &self.core.rows {
            if let Some(flow) = &row.flow {
                messages += flow.queue.len() as u64;
                bytes += flow.queue.bytes() as u64;
            }
        }
        self.core.counters.queued_messages = messages;
        self.core.counters.queued_bytes = bytes;
    }

    fn retune(&mut self, tuning: std::sync::Arc<Tuning>) {
        for (_, row) in &mut self.core.rows {
            if let Some(client) = row.client() {
                row.window = client.receive_maximum.min(tuning.mqtt.max_inflight);
            }
        }
        let peers_differ = self.core.tuning.cluster != tuning.cluster;
        self.core.tuning = tuning;
        self.retune_moves();
        if peers_differ {
            self.retune_peers();
        }
    }

    fn drop_users(&mut self, stays: &Stays) {
        let rows = self.core.rows.iter();
        let gone: Vec<u32> = rows
            .filter(|(_, row)| row.connection.is_some())
            .filter(|(_, row)| match &row.role {
                Role::Client(client) => !stays(client.identity.user.as_deref()),
                Role::LinkConnection(link) => link.user.as_deref().is_some_and(|user| !stays(Some(user))),
                Role::Link(_) => false,
            })
            .map(|(slot, _)| slot as u32)
            .collect();
        for slot in gone {
            let what = "the user was removed or its password changed";
            self.disconnect(slot, Closed::Administrative, Reason::AdministrativeAction, what);
        }
    }

    /// Takes no more clients and says farewell to those that are here. Links go on until they have sent what waits, or
    /// [`DRAIN_MAX`] is over.
    fn stop(&mut self) {
        self.stopping = Some(self.core.now + DRAIN_MAX);
        self.wait_no_longer();
        let online = self.core.rows.iter().filter(|(_, row)| row.connection.is_some() && row.client().is_some());
        let online: Vec<u32> = online.map(|(slot, _)| slot as u32).collect();
        for slot in online {
            self.disconnect(slot, Closed::Shutdown, Reason::ServerShuttingDown, "the node is stopping");
        }
        self.refuse_parked();
    }

    /// Ends the links once nothing waits any more; true if all is done.
    pub(super) fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let now = self.core.now;
        let drained = self.core.outboxes.iter().all(Batch::is_empty)
            && self.links.iter().all(|slot| self.is_drained(*slot, false));
        if !drained && now < deadline {
            return false;
        }
        self.shut_links();
        true
    }

    fn report(&mut self) -> Report {
        if self.core.shard == 0 {
            self.shared.retained.expire(self.core.now);
        }
        self.count_queued();
        self.shared.board.publish(usize::from(self.core.shard), &self.core.counters);
        let (now, unix) = (self.core.now.duration(), UnixSeconds::now().0);
        Report {
            links: self.links.iter().filter_map(|slot| self.link_status(*slot, now, unix)).collect(),
            peers: self.links.iter().filter_map(|slot| self.peer_status(*slot, now, unix)).collect(),
            moves: self.moves_report(),
        }
    }
}
