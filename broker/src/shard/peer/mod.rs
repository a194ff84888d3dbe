//! The other nodes of the cluster: rows made from the configuration, what they are told, what becomes of a silent one.

pub(in crate::shard) mod bequeath;
pub(in crate::shard) mod debt;
pub(in crate::shard) mod level;
pub(in crate::shard) mod settled;
pub(in crate::shard) mod unclaimed;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tombolo_broker_api as api;

use crate::clock::Millis;
use crate::codec::Qos;
use crate::link::backoff::Dialling;
use crate::link::{Aside, Forward, Link, Settings, Version};
use crate::message::Message;
use crate::retained::level::Leveller;
use crate::router::{Audience, Path, Presence, Shares};
use crate::shard::control::Peer;
use crate::shard::link::config::wanted;
use crate::shard::link::passing::Passing;
use crate::shard::link::way::Ways;
use crate::shard::link::{Dial, LinkRow, Target};
use crate::shard::moves::news::News;
use crate::shard::peer::debt::Debts;
use crate::shard::peer::settled::{Cursors, Settled};
use crate::shard::{Control, LinkKey, Shard, Shared, shard_of};

/// Keep alive between nodes: heartbeats go three times in it, and one from which nothing comes for as long is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(6);

/// Longest pause between two tries to reach a node.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Versions told to a node and not yet routed by that are remembered one by one; when there are more, the oldest are
/// taken for as late as the next.
const TOLD_MAX: usize = 64;

/// Longest time for which a node that is connected keeps this one from being ready, since what it retains is not all here.
const LEVEL_WAIT_MAX: Millis = Millis(300_000);

/// Another node of the cluster.
pub struct PeerRow {
    /// Its name.
    pub node: Arc<str>,
    /// We dial it; else it dials us.
    pub dials: bool,
    /// It is connected: for those who choose among the members of a shared subscription.
    pub presence: Presence,
    /// It is connected, as was last told.
    connected: bool,
    /// In which life it is connected, and with how many shards, as sessions that move were told.
    life: Option<(u64, u8)>,
    /// Since when it is, or is not.
    lost: Millis,
    /// It was silent for `suspendAfter`.
    suspended: bool,
    /// How far the log of shared subscriptions was read.
    shares_cursor: u64,
    /// Versions of what is wanted here that it was told, with the places in the logs that they stand for.
    told: VecDeque<(Version, Cursors)>,
    /// How far it routes by what is wanted here.
    reached: Cursors,
    /// Where those who wait for it look.
    place: Option<usize>,
    /// It was in sync once, and what it retains was here once, or it was given up: readiness does not wait for it.
    met: bool,
    /// It has told what it wants, or was given up: links with other clusters do not wait for it.
    heard: bool,
    /// Control messages of it that wait for the link to be done.
    pub said: Vec<Box<[u8]>>,
    /// What is retained at both; taken out while it acts.
    pub leveller: Option<Box<Leveller>>,
    /// When the leveller is looked at next.
    pub level_at: Millis,
    /// What goes back to it as soon as its link has done what it does.
    pub going_back: Vec<GoingBack>,
    /// What members of shared subscriptions have not acknowledged, here and there.
    pub debts: Debts,
}

/// A message that another node sent for a member of a shared subscription that is no longer here: a member there gets it.
pub struct GoingBack {
    /// The message.
    pub message: Arc<Message>,
    /// Its QoS.
    pub qos: Qos,
    /// Numbers of that node's shared subscriptions.
    pub shares: Box<[u32]>,
}

// === impl Shared ===

impl Shared {
    /// These are the other nodes of the cluster now: each shard hears of all, and which of their rows live on it.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        let others: Arc<[Arc<str>]> = peers.iter().map(|peer| Arc::clone(&peer.node)).collect();
        let mut by_shard: Vec<Vec<Peer>> = vec![Vec::new(); self.inboxes.len()];
        for peer in peers {
            by_shard[shard_of(peer.node.as_bytes(), self.inboxes.len())].push(peer);
        }
        self.settled.list(self.inboxes.len());
        for (inbox, here) in self.inboxes.iter().zip(by_shard) {
            inbox.send(Control::Peers { here, others: Arc::clone(&others) });
        }
    }
}

// === impl Shard ===

impl Shard {
    /// Nodes whose rows live here, as the configuration has them now; others are drained and removed.
    pub(in crate::shard) fn configure_peers(&mut self, peers: Vec<Peer>) {
        let is_wanted = |key: &LinkKey| peers.iter().any(|peer| *key == LinkKey::Peer(Arc::clone(&peer.node)));
        let rows = self.links.iter().copied().filter_map(|slot| Some((slot, self.link_row(slot)?)));
        let gone: Vec<u32> = rows
            .filter(|(_, row)| matches!(row.target, Target::Peer(_)) && !is_wanted(&row.key))
            .map(|(slot, _)| slot)
            .collect();
        for slot in gone {
            if let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) {
                // No member there is chosen any more while there is another one.
                peer.presence.set(false);
            }
            self.drain_link(slot);
        }
        let before = self.links.len();
        for peer in peers {
            let key = LinkKey::Peer(Arc::clone(&peer.node));
            // One that was on its way out and is wanted again goes on.
            let existing =
                self.links.iter().copied().find(|slot| self.link_row(*slot).is_some_and(|row| row.key == key));
            match existing {
                Some(slot) => {
                    if let Some(row) = self.link_row_mut(slot) {
                        row.draining = None;
                        row.peer_mut().iter().for_each(|peer| peer.presence.set(peer.connected));
                    }
                }
                None => self.add_peer(peer, key),
            }
        }
        self.note_links(before);
    }

    fn add_peer(&mut self, peer: Peer, key: LinkKey) {
        let (filters, interest_cursor) = wanted(self.shared.index.interest_since(Audience::Peers, 0));
        let settings = self.peer_settings(&peer.node, false);
        let link = Box::new(Link::new(self.shared.local.clone(), settings, filters));
        let now = self.core.now;
        let name = Arc::clone(&peer.node);
        let row = PeerRow {
            node: peer.node,
            dials: peer.dials,
            presence: Presence::new(false),
            connected: false,
            life: None,
            lost: now,
            suspended: false,
            shares_cursor: u64::MAX,
            told: VecDeque::new(),
            reached: Cursors::default(),
            place: self.shared.settled.enter(),
            met: false,
            heard: false,
            said: Vec::new(),
            leveller: Some(Box::default()),
            level_at: now,
            going_back: Vec::new(),
            debts: Debts::default(),
        };
        let slot = self.insert_link(LinkRow {
            key,
            link: Some(link),
            connections: Vec::new(),
            dirty: false,
            dialling: Dialling::new(1, RETRY_MAX),
            target: Target::Peer(Box::new(row)),
            dial: Dial::At(now),
            interest_cursor,
            draining: None,
            passing: Passing::default(),
            ways: Ways::default(),
        });
        self.update_shares(slot);
        let receiver = self.link_receiver(slot);
        self.tell_all(|| Control::PeerMade(Arc::clone(&name), receiver));
    }

    /// A peer's row is going: nothing more is sent there, and nobody waits for it.
    pub(in crate::shard) fn forget_peer(&mut self, slot: u32) {
        let receiver = self.link_receiver(slot);
        let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) else { return };
        peer.presence.set(false);
        let place = peer.place.take();
        let node = Arc::clone(&peer.node);
        self.shared.directory_mut().node_removed(&node);
        if let Some(place) = place {
            self.shared.settled.leave(place);
            self.tell_settled();
        }
        self.tell_all(|| Control::PeerGone(receiver));
        self.spread(&News::Gone { node });
        self.drop_receipts(slot);
    }

    /// Says something to all shards, this one too.
    pub(in crate::shard) fn tell_all(&self, control: impl Fn() -> Control) {
        for inbox in &self.shared.inboxes {
            inbox.send(control());
        }
    }

    /// New bounds for what waits for other nodes.
    pub(in crate::shard) fn retune_peers(&mut self) {
        let slots: Vec<u32> = self.links.clone();
        for slot in slots {
            if self.link_row_mut(slot).is_some_and(|row| row.peer_mut().is_some()) {
                self.resettle_peer(slot);
            }
        }
    }

    /// Gives the link of a peer its settings anew.
    fn resettle_peer(&mut self, slot: u32) {
        let now = self.core.now.duration();
        let (filters, cursor) = wanted(self.shared.index.interest_since(Audience::Peers, 0));
        let Some(row) = self.link_row_mut(slot) else { return };
        row.interest_cursor = cursor;
        let Some(peer) = row.peer_mut() else { return };
        let (node, suspended) = (Arc::clone(&peer.node), peer.suspended);
        let settings = self.peer_settings(&node, suspended);
        self.with_link(slot, |link, out| link.configure(out, settings, filters, now));
    }

    /// While a node can be reached, or may be soon, publishers are held at the bound of its outbox; for one that is
    /// suspended the oldest messages give way.
    fn peer_settings(&self, node: &Arc<str>, suspended: bool) -> Settings {
        let tuning = &self.core.tuning.cluster;
        let spool = api::Spool {
            max_bytes: tuning.max_outbox_bytes,
            max_age: tuning.max_outbox_age,
            when_full: if suspended { api::WhenFull::DropOldest } else { api::WhenFull::Backpressure },
            ..api::Spool::default()
        };
        Settings::peer(node, &self.shared.local, spool, KEEP_ALIVE)
    }

    /// Tells a peer which shared subscriptions have changed.
    pub(in crate::shard) fn update_shares(&mut self, slot: u32) {
        let index = Arc::clone(&self.shared.index);
        let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) else { return };
        if peer.shares_cursor == index.shares_end() {
            return;
        }
        // A new peer's cursor is none: it gets all.
        let shares = index.shares_since(peer.shares_cursor);
        let (Shares::Changes(_, cursor) | Shares::Snapshot(_, cursor)) = &shares;
        peer.shares_cursor = *cursor;
        self.with_link(slot, |link, _| match shares {
            Shares::Changes(changes, _) => changes.iter().for_each(|share| link.share_changed(share)),
            Shares::Snapshot(all, _) => link.shares_replaced(all),
        });
    }

    /// Takes note of what has become of a peer after its link has acted.
    pub(in crate::shard) fn note_peer(&mut self, slot: u32) {
        let (now, shared) = (self.core.now, Arc::clone(&self.shared));
        let Some(row) = self.link_row_mut(slot) else { return };
        let interest = row.interest_cursor;
        let (Some(link), Target::Peer(peer)) = (&row.link, &mut row.target) else { return };
        let (before, heard) = (peer.connected, peer.heard);
        let news = peer.note(link, interest, &shared.settled, now);
        let said = !peer.said.is_empty();
        let life = peer.note_life(link);
        let is_reborn = matches!(&life, Some(News::Connected { life, .. }) if peer.debts.connected(*life));
        let lost = (before && !peer.connected).then(|| Arc::clone(&peer.node));
        let is_heard = peer.heard && !heard;
        if is_heard {
            self.tell_publishers();
        }
        if news || is_heard {
            self.tell_settled();
        }
        if let Some(life) = life {
            if let News::Connected { node, life, shards } = &life {
                self.shared.directory_mut().node_connected(node, *life, *shards);
            }
            self.spread(&life);
        }
        if let Some(node) = lost {
            self.tell_all(|| Control::PeerLost(Arc::clone(&node)));
        }
        self.note_receipts(slot);
        if is_reborn {
            self.bequeath_held(slot);
        }
        if said {
            self.take_said(slot);
        }
        self.say_debts(slot);
    }

    /// What time brings to a peer: one that was silent for long is suspended.
    pub(in crate::shard) fn tick_peer(&mut self, slot: u32) {
        let now = self.core.now;
        self.tick_level(slot);
        let after = Millis::from(self.core.tuning.cluster.suspend_after);
        let shared = Arc::clone(&self.shared);
        let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) else { return };
        let suspended = !peer.connected && now.since(peer.lost) >= after;
        if suspended == peer.suspended {
            return;
        }
        peer.suspended = suspended;
        peer.meet(&shared.settled);
        peer.hear(&shared.settled);
        let (node, is_away) = (Arc::clone(&peer.node), peer.life.is_none());
        let silent = now.since(peer.lost).0;
        if suspended && is_away {
            self.spread(&News::Lost { node: Arc::clone(&node), suspended });
        }
        if suspended {
            tracing::warn!(%node, "A node is suspended: it was silent for {silent} ms.");
        } else {
            tracing::info!(%node, "A node that was suspended is back.");
        }
        self.tell_publishers();
        self.resettle_peer(slot);
    }

    /// A control message of a peer came: it is taken when its link is done with what it does.
    pub(in crate::shard) fn hear_peer(&mut self, slot: u32, payload: &[u8]) {
        if let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) {
            peer.said.push(payload.into());
        }
    }

    /// The state of a peer.
    pub(in crate::shard) fn peer_status(&self, slot: u32, now: Duration, unix: u64) -> Option<api::PeerStatus> {
        let row = self.link_row(slot)?;
        let (Some(link), Target::Peer(peer)) = (&row.link, &row.target) else { return None };
        let mut status = link.peer_status(now, unix);
        if peer.suspended && status.state != api::PeerState::Connected {
            status.state = api::PeerState::Suspended;
        }
        // A node that goes waits until what its members acknowledged was said.
        status.outbox.messages += u64::from(peer.owes_word());
        status.sessions_claimed = self.shared.directory().count(&peer.node) as u64;
        Some(status)
    }
}

// === impl GoingBack ===

impl GoingBack {
    /// Sends it.
    pub fn forward(&self, link: &mut Link, shard: u8, now: Duration) {
        let (frame, layout) = (self.message.frame(), self.message.layout());
        let aside = Aside { stamp: None, shares: &self.shares, shares_only: true, origin: None };
        link.forward(&Forward { frame, layout, qos: self.qos, path: Path::EMPTY, shard, aside }, now);
    }
}

// === impl PeerRow ===

impl PeerRow {
    /// Looks whether it is connected, and how far it routes by what is wanted here, of which `interest` is what its link
    /// knows of the log of filters. True if somebody may have waited for that.
    fn note(&mut self, link: &Link, interest: u64, settled: &Settled, now: Millis) -> bool {
        let mut news = self.note_connection(link.is_connected(), settled, now);
        if !link.has_untold() {
            let (version, cursors) = (link.told(), Cursors { interest, shares: self.shares_cursor });
            match self.told.back_mut() {
                Some(last) if last.0 == version => last.1 = cursors,
                Some(_) | None => self.told.push_back((version, cursors)),
            }
            if self.told.len() > TOLD_MAX {
                self.told.pop_front();
            }
        }
        if !self.connected {
            return news;
        }
        let reached = link.settled();
        while self.told.get(1).is_some_and(|(version, _)| *version <= reached) {
            self.told.pop_front();
        }
        if let Some((_, cursors)) = self.told.front().filter(|(version, _)| *version <= reached)
            && self.reached != *cursors
        {
            self.reached = *cursors;
            self.place.inspect(|place| settled.set(*place, self.reached));
            news = true;
        }
        if !self.heard && link.has_heard() {
            self.hear(settled);
        }
        if !self.met && link.is_ready(now.duration()) && self.is_retained_here(now) {
            self.meet(settled);
        }
        news
    }

    /// Whether this node had all that the other one retains, or has waited for it as long as it may: a node that came with
    /// nothing and says that it is ready may be the last one when the others are replaced next.
    fn is_retained_here(&self, now: Millis) -> bool {
        // While it acts it is not here; then the next look finds it.
        let is_level = self.leveller.as_ref().is_some_and(|leveller| leveller.is_level());
        let is_over = now.since(self.lost) >= LEVEL_WAIT_MAX;
        if is_over && !is_level {
            let (node, seconds) = (&self.node, LEVEL_WAIT_MAX.0 / 1000);
            tracing::warn!(%node, "What the node retains is not all here after {seconds} s; nobody waits for it any more.");
        }
        is_level || is_over
    }

    /// A connection stands.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// It was silent for `suspendAfter`.
    #[cfg(test)]
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether sessions that move must hear of a connection, or of its end.
    fn note_life(&mut self, link: &Link) -> Option<News> {
        let life = link.remote_life();
        if life == self.life {
            return None;
        }
        self.life = life;
        let node = Arc::clone(&self.node);
        Some(match life {
            Some((life, shards)) => News::Connected { node, life, shards },
            None => News::Lost { node, suspended: false },
        })
    }

    fn note_connection(&mut self, connected: bool, settled: &Settled, now: Millis) -> bool {
        if connected == self.connected {
            return false;
        }
        self.connected = connected;
        self.presence.set(connected);
        self.lost = now;
        self.level_at = now;
        self.reached = Cursors::default();
        if let Some(leveller) = self.leveller.as_mut().filter(|_| !connected) {
            leveller.disconnected(now);
        }
        if let Some(place) = self.place {
            if connected {
                settled.set(place, self.reached);
            } else {
                settled.leave_alone(place);
            }
        }
        true
    }

    fn hear(&mut self, settled: &Settled) {
        self.heard = true;
        self.place.inspect(|place| settled.hear(*place));
    }

    fn meet(&mut self, settled: &Settled) {
        self.met = true;
        self.place.inspect(|place| settled.meet(*place));
    }
}
