//! Links of a shard as the configuration wants them: added, changed in place, drained and removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tombolo_broker_api as api;

use crate::clock::Millis;
use crate::codec::Version;
use crate::link::backoff::Dialling;
use crate::link::{Link, Settings};
use crate::router::{Audience, Change, Interest};
use crate::shard::link::passing::Passing;
use crate::shard::link::way::Ways;
use crate::shard::link::{Dial, Draining, LinkRow, Target};
use crate::shard::row::{Role, Row};
use crate::shard::{Control, LinkKey, Shard, shard_of};
use crate::topic::Filter;

/// Longest time that a removed link has to send what waits in its spool.
const DRAIN_MAX: Millis = Millis(10_000);

// === impl Shard ===

impl Shard {
    /// Links of this shard as the configuration has them now; others are drained, and so are those that it is about to remove.
    pub(in crate::shard) fn configure_links(&mut self, configs: Vec<api::Link>) {
        let (leaving, configs): (Vec<_>, Vec<_>) =
            configs.into_iter().partition(|config| config.spool.drain_for.is_some());
        let gone: Vec<u32> = self
            .links
            .iter()
            .copied()
            .filter(|slot| {
                let Some(row) = self.link_row(*slot) else { return true };
                match &row.target {
                    Target::Cluster(old) => !configs.iter().any(|config| is_same(config, old)),
                    Target::Peer(_) => false,
                }
            })
            .collect();
        for slot in gone {
            let target = self.link_row(slot).map(|row| &row.target);
            let announced = leaving
                .iter()
                .find(|config| matches!(target, Some(Target::Cluster(old)) if is_same(config, old) && config.enabled));
            let (longest, patient) = match announced.and_then(|config| config.spool.drain_for) {
                Some(longest) => (Millis::from(longest), true),
                None => (DRAIN_MAX, false),
            };
            self.drain_link_for(slot, longest, patient);
        }
        let before = self.links.len();
        for config in configs {
            let existing = self.links.iter().copied().find(|slot| {
                self.link_row(*slot)
                    .is_some_and(|row| matches!(&row.target, Target::Cluster(old) if is_same(&config, old)))
            });
            let settings = match Settings::new(&config, self.core.tuning.mqtt.max_topic_levels) {
                Ok(settings) => settings,
                Err(error) => {
                    // The configuration was checked by the same rules before it came here.
                    tracing::error!(link = config.name, %error, "A link is left as it was.");
                    self.await_no_more(&LinkKey::Cluster(config.name.as_str().into()));
                    continue;
                }
            };
            match existing {
                Some(slot) => self.change_link(slot, config, settings),
                None => self.add_link(config, settings),
            }
        }
        self.note_links(before);
    }

    /// Lets the other shards know whether this one has links, of which it had `before` so many.
    pub(in crate::shard) fn note_links(&mut self, before: usize) {
        let bit = 1 << self.core.shard;
        if self.links.is_empty() {
            self.shared.shards_with_links.fetch_and(!bit, Ordering::AcqRel);
        } else {
            self.shared.shards_with_links.fetch_or(bit, Ordering::AcqRel);
        }
        // What changed before the bit was up.
        self.update_interest();
        if self.links.len() > before {
            for (shard, inbox) in self.shared.inboxes.iter().enumerate() {
                if shard != usize::from(self.core.shard) {
                    inbox.send(Control::AnnounceMarks);
                }
            }
            self.announce_marks();
        }
    }

    fn add_link(&mut self, config: api::Link, settings: Settings) {
        let (filters, interest_cursor) = wanted(self.shared.index.interest_since(Audience::Links, 0));
        let link = Box::new(Link::new(self.shared.local.clone(), settings, filters));
        let now = self.core.now;
        let row = LinkRow {
            key: LinkKey::Cluster(config.name.as_str().into()),
            link: Some(link),
            connections: Vec::new(),
            dirty: false,
            dialling: dialling(&config, &self.shared.local.node),
            target: Target::Cluster(Arc::new(config)),
            dial: Dial::At(now),
            interest_cursor,
            draining: None,
            passing: Passing::default(),
            ways: Ways::default(),
        };
        self.insert_link(row);
    }

    /// Puts the row of a new link into the table.
    pub(in crate::shard) fn insert_link(&mut self, row: LinkRow) -> u32 {
        let (epoch, now) = (self.next_epoch(), self.core.now);
        let slot = self.core.rows.insert(Row::new(epoch, Version::V5, Role::Link(Box::new(row)), now)) as u32;
        self.links.push(slot);
        self.tick_link(slot);
        self.schedule(slot);
        slot
    }

    fn change_link(&mut self, slot: u32, config: api::Link, settings: Settings) {
        let (now, node) = (self.core.now, Arc::clone(&self.shared.local.node));
        let Some(row) = self.link_row_mut(slot) else { return };
        let was_passed_over = row.draining.take().is_some_and(|draining| !draining.patient);
        if was_passed_over && row.dial == Dial::UnderWay {
            // What came of that was for a link that takes no connections any more.
            row.dial = Dial::At(now);
        }
        let Target::Cluster(old) = &row.target else { return };
        if **old == config {
            return;
        }
        let redial = old.dial != config.dial;
        let regreet = old.accept != config.accept;
        row.dialling = dialling(&config, &node);
        row.target = Target::Cluster(Arc::new(config));
        let (filters, cursor) = wanted(self.shared.index.interest_since(Audience::Links, 0));
        if let Some(row) = self.link_row_mut(slot) {
            row.interest_cursor = cursor;
        }
        self.with_link(slot, |link, out| link.configure(out, settings, filters, now.duration()));
        if redial {
            self.drop_connections(slot, true);
        }
        if regreet {
            // Who may still come in does so at once.
            self.drop_connections(slot, false);
        }
        self.tick_link(slot);
    }

    /// A link was removed: what waits for its remote is sent first, within [`DRAIN_MAX`].
    pub(in crate::shard) fn drain_link(&mut self, slot: u32) {
        self.drain_link_for(slot, DRAIN_MAX, false);
    }

    /// A link is removed: what waits for its remote is sent first, within `longest`, or what is left of the time that it had.
    fn drain_link_for(&mut self, slot: u32, longest: Millis, patient: bool) {
        if self.is_drained(slot, patient) {
            self.remove_link(slot);
            return;
        }
        let until = self.core.now + longest;
        if let Some(row) = self.link_row_mut(slot) {
            let until = row.draining.map_or(until, |draining| draining.until.min(until));
            row.draining = Some(Draining { until, patient });
        }
    }

    /// Ends a link; what is still in its spool is lost, which its last status shows.
    pub(in crate::shard) fn remove_link(&mut self, slot: u32) {
        let now = self.core.now.duration();
        self.with_link(slot, |link, out| link.shut(out, now));
        self.forget_peer(slot);
        self.set_pressure(slot, false);
        self.links.retain(|link| *link != slot);
        self.core.dirty_links.retain(|link| *link != slot);
        let receiver = self.link_receiver(slot);
        let Some(row) = self.core.rows.try_remove(slot as usize) else { return };
        self.timers.remove(&row, slot);
        if let Role::Link(row) = &row.role {
            self.await_no_more(&row.key);
        }
        if let Role::Link(row) = row.role
            && let LinkRow { link: Some(mut link), target: Target::Peer(_), .. } = *row
            && self.stopping.is_none()
        {
            self.bequeath_lane(&mut link, receiver);
        }
    }

    /// Shuts all links: the node stops.
    pub(in crate::shard) fn shut_links(&mut self) {
        for slot in std::mem::take(&mut self.links) {
            self.remove_link(slot);
        }
    }
}

/// Whether both configure the same link: another remote is another link.
fn is_same(one: &api::Link, other: &api::Link) -> bool {
    one.name == other.name && one.remote_cluster == other.remote_cluster
}

/// Each node begins with another server, so that they do not all go to one.
fn dialling(config: &api::Link, node: &str) -> Dialling {
    let dial = config.dial.as_ref();
    let longest = dial.map_or(std::time::Duration::ZERO, |dial| dial.retry_interval.duration());
    let servers = dial.map_or(1, |dial| dial.servers.len().max(1));
    let ordinal = node.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok());
    Dialling::new(servers, longest).beginning_with(ordinal.unwrap_or_else(|| shard_of(node.as_bytes(), servers)))
}

/// All that local clients want, from a reader that has seen nothing.
pub(in crate::shard) fn wanted(interest: Interest) -> (Vec<Filter>, u64) {
    match interest {
        Interest::Snapshot(filters, cursor) => (filters, cursor),
        Interest::Changes(changes, cursor) => {
            let mut filters = BTreeSet::new();
            for (filter, change) in changes {
                match change {
                    Change::Added => filters.insert(filter),
                    Change::Removed => filters.remove(&filter),
                };
            }
            (filters.into_iter().collect(), cursor)
        }
    }
}
