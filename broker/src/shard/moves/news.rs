//! What sessions that move must know in the order of the messages that came: offers, marks, and nodes that come and go.

use std::sync::Arc;

use crate::link::{Mark, Version};
use crate::message::Delivery;
use crate::peer::{Entrance, Lane};
use crate::shard::batch::Note;
use crate::shard::{Control, Shard};

/// Something for sessions that move.
pub enum Told {
    /// A message for a session that another node had, or has.
    Offered(Offered),
    /// Something about nodes or lanes.
    News(News),
}

/// A message for a row that is watched.
pub struct Offered {
    /// The row.
    pub slot: u32,
    /// Its life.
    pub epoch: u16,
    /// The other node that let it enter; none: this one did.
    pub node: Option<Arc<str>>,
    /// The shard there that routed it.
    pub shard: u8,
    /// Where it came from another cluster, if it did.
    pub entrance: Option<Entrance>,
    /// It came by another node before, and not for a member of a shared subscription.
    pub repeat: bool,
    /// The message.
    pub delivery: Delivery,
    /// It came by a shared subscription of which this member was chosen.
    pub shared: bool,
}

/// What has become of other nodes and of lanes.
#[derive(Clone, Debug)]
pub enum News {
    /// A shard of a node routes by this version of what `about` wants from here on.
    Mark {
        /// The node.
        origin: Arc<str>,
        /// Its shard.
        shard: u8,
        /// Who wants it.
        about: Arc<str>,
        /// The version.
        version: Version,
    },
    /// A connection with a node stands.
    Connected {
        /// The node.
        node: Arc<str>,
        /// Its life.
        life: u64,
        /// Its shards.
        shards: u8,
    },
    /// None does any more.
    Lost {
        /// The node.
        node: Arc<str>,
        /// Nobody waits for it any more.
        suspended: bool,
    },
    /// Its row is gone: it left the list.
    Gone {
        /// The node.
        node: Arc<str>,
    },
}

// === impl Shard ===

impl Shard {
    /// Tells all shards, each behind the messages that this one has for it.
    pub(in crate::shard) fn spread(&mut self, news: &News) {
        let own = usize::from(self.core.shard);
        for (to, batch) in self.core.outboxes.iter_mut().enumerate() {
            if to != own {
                batch.note(Note::News(news.clone()));
            }
        }
        self.core.told.push(Told::News(news.clone()));
    }

    /// Puts a mark of this node into all lanes. Of versions of what this very node wants an older one may come late: the
    /// newer says the same of what this shard routes.
    pub(in crate::shard) fn take_mark(&mut self, mark: &Mark) {
        let local = &self.shared.local;
        if (&mark.cluster, &mark.node) == (&local.cluster_id, &local.node) {
            if self.own_mark.as_ref().is_some_and(|own| own.version >= mark.version) {
                return;
            }
            self.own_mark = Some(mark.clone());
        }
        self.mark_lanes(mark);
    }

    /// Gives a mark to all shards of the node.
    pub(in crate::shard) fn announce(&mut self, mark: &Mark) {
        let own = usize::from(self.core.shard);
        for (shard, inbox) in self.shared.inboxes.iter().enumerate() {
            if shard != own {
                inbox.send(Control::Mark(mark.clone()));
            }
        }
        self.take_mark(mark);
    }

    /// Gives sessions that move what gathered for them.
    pub(in crate::shard) fn take_told(&mut self) {
        while self.moves.is_some() && !self.core.told.is_empty() {
            for told in std::mem::take(&mut self.core.told) {
                match told {
                    Told::Offered(offered) => self.offer(offered),
                    Told::News(news) => self.take_news(news),
                }
            }
        }
    }

    fn offer(&mut self, offered: Offered) {
        let Offered { slot, epoch, node, shard, entrance, repeat, delivery, shared } = offered;
        let Some(row) = self.core.rows.get(slot as usize).filter(|row| row.epoch == epoch) else { return };
        let Some(id) = row.client().map(|client| client.id.clone()) else { return };
        let node = node.unwrap_or_else(|| Arc::clone(&self.shared.local.node));
        if !row.watched {
            // It was settled while the message was on its way here.
            if repeat {
                return;
            }
            return self.append_delivery(slot, delivery, false);
        }
        let lane = Lane { node: &node, shard, entrance: entrance.as_ref(), repeat };
        self.act_moves(|moves, out, now| moves.offer(out, &id, lane, delivery, shared, now));
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Mark { origin, shard, about, version } => {
                self.act_moves(|moves, _, _| moves.mark(&origin, shard, &about, version));
            }
            News::Connected { node, life, shards } => {
                // Who is being emptied says so again and again; a life that has just begun is not.
                let now = self.core.now;
                self.shared.evacuation.hear(&node, false, now);
                if let Some(claims) = &mut self.claims {
                    claims.node_connected(&node, life, now);
                }
                self.act_moves(|moves, out, now| moves.node_connected(out, &node, life, shards, now));
            }
            News::Lost { node, suspended } => {
                if let Some(claims) = &mut self.claims {
                    claims.node_lost(&node);
                }
                self.act_moves(|moves, out, now| moves.node_lost(out, &node, suspended, now));
            }
            News::Gone { node } => {
                self.forget_node(&node);
                // It is in the list again, and a new row of it was made.
                if self.nodes.contains(&node) {
                    self.act_moves(|moves, _, _| moves.node_added(node));
                }
            }
        }
    }
}
