//! The other nodes as a shard sees them: who can be reached, in which life, and by what their lanes are routed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::link::Version;

use super::trail::Tag;

/// Whether a node can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A connection stands.
    Connected,
    /// None does, and the node is waited for.
    Unreachable,
    /// None does, and nobody waits.
    Suspended,
}

/// All nodes of the list, this one among them.
#[derive(Debug)]
pub struct Nodes {
    /// This node.
    pub me: Arc<str>,
    /// Its life.
    pub life: u64,
    others: BTreeMap<Arc<str>, Node>,
    /// Lanes of this node's own shards.
    own: Vec<Arc<Tag>>,
}

#[derive(Debug)]
struct Node {
    reach: Reach,
    /// It did not answer a look-up in time, and was not heard of since: for look-ups it can't be reached.
    silent: bool,
    /// Its life, once it was reached.
    life: Option<u64>,
    /// By its shards.
    lanes: Vec<Arc<Tag>>,
}

// === impl Nodes ===

impl Nodes {
    /// This node alone, which has so many shards.
    pub fn new(me: Arc<str>, life: u64, shards: u8) -> Self {
        let own = (0..shards).map(|_| Arc::new(Tag::new(me.clone()))).collect();
        Self { me, life, others: BTreeMap::new(), own }
    }

    /// A node is in the list; nothing if it was before.
    pub fn add(&mut self, node: Arc<str>) {
        if node != self.me {
            self.others.entry(node).or_insert(Node {
                reach: Reach::Unreachable,
                silent: false,
                life: None,
                lanes: Vec::new(),
            });
        }
    }

    /// It is in the list no more; false if it was not.
    pub fn remove(&mut self, node: &str) -> bool {
        self.others.remove(node).is_some()
    }

    /// A connection with it stands. True if it lives anew: what it said before is void, and nothing of its lanes is known.
    pub fn connected(&mut self, node: &Arc<str>, life: u64, shards: u8) -> bool {
        self.add(node.clone());
        let Some(known) = self.others.get_mut(node) else { return false };
        let renewed = known.life.is_some_and(|before| before != life);
        if known.life != Some(life) || known.lanes.len() != usize::from(shards) {
            known.lanes = (0..shards).map(|_| Arc::new(Tag::new(node.clone()))).collect();
        }
        (known.reach, known.silent, known.life) = (Reach::Connected, false, Some(life));
        renewed
    }

    /// There is none any more; false if the node is not known.
    pub fn lost(&mut self, node: &str, reach: Reach) -> bool {
        self.others.get_mut(node).map(|known| known.reach = reach).is_some()
    }

    /// It said something.
    pub fn heard(&mut self, node: &str) {
        if let Some(known) = self.others.get_mut(node).filter(|known| known.silent) {
            known.silent = false;
        }
    }

    /// These were asked and did not answer in time.
    pub fn silenced(&mut self, nodes: &[Arc<str>]) {
        for node in nodes {
            if let Some(known) = self.others.get_mut(node) {
                known.silent = true;
            }
        }
    }

    /// The others, with whether a look-up can reach them: one that is silent is as one that was just lost.
    pub fn to_ask(&self) -> impl Iterator<Item = (&Arc<str>, Reach)> {
        self.others.iter().map(|(node, known)| {
            let lost = known.silent && known.reach == Reach::Connected;
            (node, if lost { Reach::Unreachable } else { known.reach })
        })
    }

    /// Whether it can be reached; a node that is not in the list can't.
    pub fn is_connected(&self, node: &str) -> bool {
        self.others.get(node).is_some_and(|known| known.reach == Reach::Connected)
    }

    /// Whether nobody waits for it.
    pub fn is_suspended(&self, node: &str) -> bool {
        self.others.get(node).is_some_and(|known| known.reach == Reach::Suspended)
    }

    /// Whether it is in the list.
    pub fn contains(&self, node: &str) -> bool {
        self.others.contains_key(node)
    }

    /// Its life, as it was last connected.
    pub fn life_of(&self, node: &str) -> Option<u64> {
        if *node == *self.me { Some(self.life) } else { self.others.get(node)?.life }
    }

    /// Whether that life of a node is over, or the node is out of the list. Lives grow, so one that was not heard of yet is
    /// not over.
    pub fn is_dead(&self, node: &str, life: u64) -> bool {
        if *node == *self.me {
            return life != self.life;
        }
        self.others.get(node).is_none_or(|known| known.life.is_some_and(|now| now > life))
    }

    /// The others, with whether they can be reached.
    pub fn others(&self) -> impl Iterator<Item = (&Arc<str>, Reach)> {
        self.others.iter().map(|(node, known)| (node, known.reach))
    }

    /// Those that can be reached and of which this does not hold.
    pub fn reachable_but(&self, holds: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let reachable = self.others().filter(|(node, reach)| *reach == Reach::Connected && !holds(node));
        reachable.map(|(node, _)| node.clone()).collect()
    }

    /// A shard of a node routes by this version of a node's interest from here on.
    pub fn mark(&mut self, origin: &str, shard: u8, about: &Arc<str>, version: Version) {
        let own = *origin == *self.me;
        let lanes = if own { Some(&mut self.own) } else { self.others.get_mut(origin).map(|known| &mut known.lanes) };
        if let Some(lane) = lanes.and_then(|lanes| lanes.get_mut(usize::from(shard))) {
            Arc::make_mut(lane).put(about, version);
        }
    }

    /// By what the messages of a lane are routed; `None` if there is no such lane.
    pub fn tag(&self, origin: &str, shard: u8) -> Option<&Arc<Tag>> {
        let own = *origin == *self.me;
        let lanes = if own { &self.own } else { &self.others.get(origin)?.lanes };
        lanes.get(usize::from(shard))
    }

    /// Whether all lanes of this node's own shards fulfil this.
    pub fn own_lanes(&self, holds: impl Fn(&Tag) -> bool) -> bool {
        self.own.iter().all(|lane| holds(lane))
    }

    /// Whether all lanes fulfil this.
    pub fn all_lanes(&self, holds: impl Fn(&Tag) -> bool) -> bool {
        self.own_lanes(&holds) && self.others.values().all(|known| known.fulfils(&holds))
    }

    /// Nodes of which a lane does not fulfil this, but for those that are suspended.
    pub fn behind<'a>(&'a self, holds: impl Fn(&Tag) -> bool + 'a) -> impl Iterator<Item = &'a Arc<str>> {
        let own = (!self.own_lanes(&holds)).then_some(&self.me);
        let is_behind = move |known: &Node| known.reach != Reach::Suspended && !known.fulfils(&holds);
        self.others.iter().filter(move |(_, known)| is_behind(known)).map(|(node, _)| node).chain(own)
    }
}

// === impl Node ===

impl Node {
    fn fulfils(&self, holds: impl Fn(&Tag) -> bool) -> bool {
        !self.lanes.is_empty() && self.lanes.iter().all(|lane| holds(lane))
    }
}
