//! The one hand-over between publisher and subscriber: append to the receiver's output, or to its queue.

use std::sync::Arc;

use slab::Slab;

use super::Shared;
use super::batch::Batch;
use super::control::Tuning;
use super::moves::news::{Offered, Told};
use super::output::{FLUSH_AT, Output, Pool};
use super::peer::bequeath::Orphan;
use super::peer::unclaimed::Unclaimed;
use super::publication::{Form, Publication, Scratch};
use super::row::{Client, Replay, Role, Row};
use crate::clock::Millis;
use crate::codec::{Qos, Version};
use crate::message::Delivery;
use crate::metrics::{Counters, Dropped};
use crate::peer::Entrance;
use crate::router::{Kind, Receiver, ReceiverFlags};
use crate::session::{Flow, Limits};
use crate::store::{Change, Store};

/// Retained messages fetched for a subscription at one time.
const REPLAY_PAGE: usize = 256;
/// Steps of the search for them that one client may take before others have their turn: a topic looked up is one.
const SEARCH_MAX: usize = 1024;
/// Steps that a page of a filter with wildcards counts for.
const SEARCH_PAGE: usize = 256;

/// What a delivery touches: everything of a shard but its route cache, which is being read meanwhile.
pub struct Core {
    /// Number of this shard.
    pub shard: u8,
    /// When this turn began.
    pub now: Millis,
    /// Sessions, links and their connections.
    pub rows: Slab<Row>,
    /// Rows with output, each once.
    pub dirty: Vec<u32>,
    /// Rows whose search for retained messages goes on in the next turn, each once.
    pub searching: Vec<u32>,
    /// Links that were given messages this turn, each once.
    pub dirty_links: Vec<u32>,
    /// What sessions that move must know, in order.
    pub told: Vec<Told>,
    /// What came from another cluster was given to another node of this one.
    pub passing: bool,
    /// What came for members that are gone, until the end of the turn.
    pub orphans: Vec<Orphan>,
    /// What waits for a member of a group that has none.
    pub unclaimed: Unclaimed,
    /// Output buffers.
    pub pool: Pool,
    /// What goes to each other shard.
    pub outboxes: Vec<Batch>,
    /// Counters of this shard.
    pub counters: Counters,
    /// Limits.
    pub tuning: Arc<Tuning>,
    /// Encodings of the publication under way.
    pub scratch: Scratch,
    /// Hard state.
    pub store: Box<dyn Store>,
    /// What all shards share.
    pub shared: Arc<Shared>,
}

// === impl Core ===

impl Core {
    /// Gives a publication to a receiver of this shard; `ids` are its subscription identifiers, behind the number of the group
    /// of which it is the member.
    #[inline]
    pub fn deliver(&mut self, receiver: Receiver, ids: &[u32], publication: &mut Publication<'_>) {
        let row = self.rows.get_mut(receiver.slot as usize).filter(|row| row.epoch == receiver.epoch);
        let Some(row) = row else { return self.orphan(receiver, ids, publication) };
        match &mut row.role {
            Role::Client(_) => self.deliver_to_client(receiver.slot, receiver.flags, ids, publication),
            Role::Link(_) => self.deliver_to_link(receiver, ids, publication),
            // Connections of a link subscribe to nothing.
            Role::LinkConnection(_) => {}
        }
    }

    /// Who was to get a message is gone: what was for a member of a shared subscription waits for another one.
    pub fn orphan(&mut self, receiver: Receiver, ids: &[u32], publication: &mut Publication<'_>) {
        let shares = match receiver.flags.kind() {
            Kind::Peer => ids,
            Kind::Client if receiver.flags.as_member() => ids.get(..1).unwrap_or_default(),
            Kind::Client | Kind::Link => &[],
        };
        if publication.qos > Qos::AtMostOnce && !shares.is_empty() {
            let (message, qos, shares) = (publication.kept_for_members(), publication.qos, shares.into());
            self.orphans.push(Orphan { receiver, message, qos, shares });
        }
    }

    fn deliver_to_client(&mut self, slot: u32, flags: ReceiverFlags, ids: &[u32], publication: &mut Publication<'_>) {
        let Self { rows, dirty, pool, counters, tuning, scratch, store, now, told, .. } = self;
        let Some(row) = rows.get_mut(slot as usize) else { return };
        let Row {
            epoch,
            watched,
            output,
            flow,
            role: Role::Client(client),
            connection,
            version,
            persistent,
            keeps,
            window,
            maximum_packet_size,
            ..
        } = row
        else {
            return;
        };
        let (persistent, keeps, window, maximum_packet_size) = (*persistent, *keeps, *window, *maximum_packet_size);
        // With a message to a member the number of its group comes first.
        let (group, ids) = match ids {
            [group, ids @ ..] if flags.as_member() => (*group, ids),
            ids => (0, ids),
        };
        let granted = Qos::from_u8(flags.qos()).unwrap_or_default();
        let qos = publication.qos.min(granted);
        let retain = flags.retain_as_published() && publication.layout.retain();
        let online = connection.is_some();
        if qos == Qos::AtMostOnce && !online {
            return;
        }
        let repeat = publication.passage.repeat && !flags.as_member();
        if *watched {
            let delivery = delivery(publication, ids, qos, retain, group);
            let (lane, shard) = (publication.passage.lane, publication.shard);
            let (node, shard) = lane.map_or((None, shard), |(node, shard)| (Some(Arc::clone(node)), shard));
            let (epoch, shared) = (*epoch, flags.as_member());
            let entrance = publication.passage.origin.and_then(Entrance::of);
            told.push(Told::Offered(Offered { slot, epoch, node, shard, entrance, repeat, delivery, shared }));
            return;
        }
        // Who takes messages as they come has had it. One that moves may have left it to another node.
        if repeat {
            return;
        }
        if qos == Qos::AtMostOnce {
            if output.len() > tuning.mqtt.max_output_bytes.0 as usize {
                counters.drop_message(Dropped::OutputFull);
                return;
            }
            if flow.as_ref().is_none_or(|flow| !flow.queue.holds_qos0()) {
                let form = Form {
                    version: *version,
                    qos,
                    retain,
                    dup: false,
                    packet_id: 0,
                    ids,
                    maximum_packet_size,
                    expiry_left: None,
                };
                match publication.append(&form, output, pool, scratch) {
                    Ok(()) => {
                        counters.messages_sent[0] += 1;
                        counters.packets_sent += 1;
                    }
                    Err(_) => counters.drop_message(Dropped::PacketTooLarge),
                }
                let large = output.len() >= FLUSH_AT;
                mark_dirty(row, slot, dirty);
                if large {
                    self.flush_if_large(slot);
                }
                return;
            }
        }
        let flow = flow.get_or_insert_default();
        let direct = online
            && flow.queue.is_empty()
            && flow.outbound.has_room(window)
            && output.len() <= tuning.mqtt.max_output_bytes.0 as usize;
        if direct && qos != Qos::AtMostOnce {
            let delivery = keeps.then(|| delivery(publication, ids, qos, retain, group));
            send(
                client,
                flow,
                *version,
                output,
                pool,
                scratch,
                counters,
                &mut **store,
                *now,
                Sending { publication, qos, retain, ids, delivery, persistent, maximum_packet_size, from_queue: false },
            );
            let large = output.len() >= FLUSH_AT;
            mark_dirty(row, slot, dirty);
            if large {
                self.flush_if_large(slot);
            }
            return;
        }
        let limits = Limits {
            messages: tuning.mqtt.max_queued_messages as usize,
            bytes: tuning.mqtt.max_queued_bytes.0 as usize,
        };
        let mut outcome = flow.queue.push(delivery(publication, ids, qos, retain, group), limits);
        if let Err(refused) = outcome {
            let expired = flow.queue.drop_expired(*now);
            (0..expired).for_each(|_| counters.drop_message(Dropped::Expired));
            outcome = flow.queue.push(refused, limits);
        }
        match outcome {
            Ok(()) => {
                if persistent && let Some(delivery) = flow.queue.back() {
                    store.write(Change::Queued { client_id: &client.id, delivery });
                }
            }
            Err(_) => counters.drop_message(Dropped::QueueFull),
        }
    }

    /// Sends from a session's queue as much as its window and output allow.
    pub fn pump(&mut self, slot: u32) {
        self.resend(slot);
        loop {
            self.fetch_replay(slot);
            let Self { rows, dirty, pool, counters, scratch, store, now, .. } = self;
            let Some(row) = rows.get_mut(slot as usize) else { return };
            let Row {
                output,
                flow: Some(flow),
                role: Role::Client(client),
                connection: Some(_),
                version,
                persistent,
                keeps,
                window,
                maximum_packet_size,
                blocked: false,
                ..
            } = row
            else {
                return;
            };
            let (persistent, keeps, window, maximum_packet_size) = (*persistent, *keeps, *window, *maximum_packet_size);
            let mut sent = false;
            while output.len() < FLUSH_AT
                && let Some(next) = flow.queue.front()
                && (next.qos == Qos::AtMostOnce || flow.outbound.has_room(window))
                && let Some(next) = flow.queue.pop()
            {
                if next.message.is_expired(*now) {
                    counters.drop_message(Dropped::Expired);
                    continue;
                }
                sent = true;
                let message = Arc::clone(&next.message);
                let mut publication = Publication::of(&message);
                let ids = next.subscription_ids.clone();
                let sending = Sending {
                    publication: &mut publication,
                    qos: next.qos,
                    retain: next.retain,
                    ids: ids.as_deref().unwrap_or_default(),
                    delivery: keeps.then_some(next),
                    persistent,
                    maximum_packet_size,
                    from_queue: true,
                };
                send(client, flow, *version, output, pool, scratch, counters, &mut **store, *now, sending);
            }
            if !sent {
                return;
            }
            let large = output.len() >= FLUSH_AT;
            let more = !client.replays.is_empty();
            mark_dirty(row, slot, dirty);
            if large && store.is_persistent() {
                // The rest follows when this has been written.
                return;
            } else if large {
                self.flush(slot);
            } else if !more {
                return;
            }
        }
    }

    /// Brings the next page of the retained messages that a client's subscriptions still have to get, once those before
    /// have left its queue. A search that finds little among many goes on in the next turn.
    fn fetch_replay(&mut self, slot: u32) {
        let Self { rows, shared, now, searching, .. } = self;
        if searching.contains(&slot) {
            return;
        }
        let mut left = SEARCH_MAX;
        let Some(row) = rows.get_mut(slot as usize) else { return };
        let Row { flow, role: Role::Client(client), .. } = row else { return };
        while let Some(Replay { filter, after, granted, id }) = client.replays.front_mut() {
            let flow = flow.get_or_insert_default();
            if flow.queue.is_replaying() {
                return;
            }
            if left == 0 {
                searching.push(slot);
                return;
            }
            left = left.saturating_sub(if filter.is_exact() { 1 } else { SEARCH_PAGE });
            let page = shared.retained.page(filter, after.as_deref(), *now, REPLAY_PAGE);
            let (granted, id) = (*granted, *id);
            match page.next {
                Some(next) => *after = Some(next),
                None => drop(client.replays.pop_front()),
            }
            flow.queue.replay(page.messages.into_iter().map(|kept| Delivery {
                qos: kept.message.layout().qos().min(granted),
                message: kept.message,
                subscription_ids: id.map(|id| [id].into()),
                retain: true,
                group: 0,
            }));
        }
    }

    /// Puts a row on the dirty list.
    pub fn mark_dirty(&mut self, slot: u32) {
        if let Some(row) = self.rows.get_mut(slot as usize) {
            mark_dirty(row, slot, &mut self.dirty);
        }
    }

    /// Writes at once what would not stay in cache until the end of the turn. Only what is still there afterwards
    /// counts against the limit of the output.
    #[inline]
    pub fn flush_if_large(&mut self, slot: u32) {
        // With a store that takes time, nothing leaves before the turn's commit.
        if self.store.is_persistent() {
            return;
        }
        if self.rows.get(slot as usize).is_some_and(|row| row.output.len() >= FLUSH_AT && !row.blocked) {
            self.flush(slot);
        }
    }
}

/// One message about to be sent to one client.
struct Sending<'a, 'p> {
    publication: &'a mut Publication<'p>,
    qos: Qos,
    retain: bool,
    ids: &'a [u32],
    /// What a redelivery will need; `None` if there can be none.
    delivery: Option<Delivery>,
    persistent: bool,
    maximum_packet_size: u32,
    from_queue: bool,
}

#[expect(clippy::too_many_arguments, reason = "the parts of a row and of the shard, borrowed one by one")]
fn send(
    client: &Client,
    flow: &mut Flow,
    version: Version,
    output: &mut Output,
    pool: &mut Pool,
    scratch: &mut Scratch,
    counters: &mut Counters,
    store: &mut dyn Store,
    now: Millis,
    sending: Sending<'_, '_>,
) {
    let Sending { publication, qos, retain, ids, delivery, persistent, maximum_packet_size, from_queue } = sending;
    let expiry_left = if from_queue {
        publication.expires_at.map(|at| u32::try_from(at.since(now).0.div_ceil(1000)).unwrap_or(u32::MAX))
    } else {
        None
    };
    let mut form = Form { version, qos, retain, dup: false, packet_id: 0, ids, maximum_packet_size, expiry_left };
    if qos != Qos::AtMostOnce {
        form.packet_id = flow.outbound.next_id();
    }
    if publication.append(&form, output, pool, scratch).is_err() {
        counters.drop_message(Dropped::PacketTooLarge);
        return;
    }
    counters.messages_sent[qos as usize] += 1;
    counters.packets_sent += 1;
    if qos != Qos::AtMostOnce {
        if persistent && let Some(delivery) = &delivery {
            store.write(Change::Assigned { client_id: &client.id, packet_id: form.packet_id, delivery, from_queue });
        }
        flow.outbound.assign(qos, delivery);
    }
}

fn delivery(publication: &mut Publication<'_>, ids: &[u32], qos: Qos, retain: bool, group: u32) -> Delivery {
    let subscription_ids = (!ids.is_empty()).then(|| ids.into());
    let message = if group == 0 { publication.kept() } else { publication.kept_for_members() };
    Delivery { message, subscription_ids, qos, retain, group }
}

/// Puts a row on the dirty list, once.
pub fn mark_dirty(row: &mut Row, slot: u32, dirty: &mut Vec<u32>) {
    if !row.dirty {
        row.dirty = true;
        dirty.push(slot);
    }
}
