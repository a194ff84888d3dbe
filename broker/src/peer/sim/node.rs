//! A node: its shards, what others want, and how it routes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::{Millis, StampClock};
use crate::codec::Qos;
use crate::link::Version;
use crate::message::{Delivery, Message};
use crate::peer::{Claims, Directory, Moves, Settings};
use crate::topic::Filter;

use super::network::{Interest, Local, Published};
use super::plan::{FILTERS, Plan};
use super::table::Table;

/// A node in one of its lives.
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Its life.
    pub life: u64,
    /// Its shards.
    pub shards: Vec<Shard>,
    /// What other nodes want: life, number, filters.
    pub index: BTreeMap<usize, (u64, u64, Arc<Interest>)>,
    /// What each shard marked of it: by shard and node.
    pub marked: BTreeMap<(u8, usize), (u64, Arc<Interest>)>,
    /// The marks that each shard put, to be put again in new lanes.
    pub marks: BTreeMap<(u8, Arc<str>), Version>,
    /// Marks that shards are still to put, in order.
    pub to_mark: Vec<VecDeque<ToMark>>,
    /// Versions of its own.
    pub own: u64,
    /// What the others claim.
    pub directory: Rc<RefCell<Directory>>,
    /// Milliseconds that its clock is ahead.
    pub ahead: u64,
    /// The lives of other nodes with which it had a connection.
    pub met: BTreeMap<usize, u64>,
}

/// A mark that a shard is still to put: about which node, or this one; the version; what it says.
pub type ToMark = (Option<usize>, Version, Arc<Interest>);

/// A shard of a node.
pub struct Shard {
    /// Moving sessions.
    pub moves: Moves,
    /// Sessions.
    pub table: Table,
    /// What it claims.
    pub claims: Claims,
    /// What other shards of the node have for it, in order, by shard, and when the last arrives.
    pub inbox: Vec<(VecDeque<Local>, u64)>,
    /// When it is to be woken, if that is arranged.
    pub alarm: Option<u64>,
}

/// Shards of a node: the first has one, the second two, and so on in turn.
pub fn shards_of(node: usize) -> u8 {
    1 + (node % 2) as u8
}

/// The name of a node.
pub fn name_of(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

/// The filters of the list.
pub fn filters() -> Vec<Filter> {
    FILTERS.iter().map(|text| Filter::parse(text, 16).expect("a filter")).collect()
}

/// A message with this number.
pub fn publication(number: u32, topic: &'static str, qos: Qos, bytes: usize) -> Published {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(payload.len() + bytes, 0x55);
    let message: Message = crate::message::tests::message(topic, &payload);
    let delivery = Delivery { message: Arc::new(message), subscription_ids: None, qos, retain: false, group: 0 };
    Published { number, topic, delivery }
}

// === impl Node ===

impl Node {
    /// A node with an empty store.
    pub fn new(plan: &Plan, node: usize, life: u64, ahead: u64) -> Self {
        let (name, count) = (name_of(node), shards_of(node));
        let directory = Rc::new(RefCell::new(Directory::new(life)));
        let clock = Rc::new(StampClock::new(node as u64 + 1));
        let settings = Settings { when_home_down: plan.when_home_down, ..Settings::default() };
        let shard = |number: u8| {
            let mut moves = Moves::new(name.clone(), life, count, settings.clone());
            (0..plan.nodes).for_each(|other| moves.node_added(name_of(other)));
            let table = Table {
                rows: BTreeMap::new(),
                parked: BTreeMap::new(),
                effects: Vec::new(),
                clock: clock.clone(),
                unix: 0,
                directory: directory.clone(),
                deaf: BTreeSet::new(),
                next: node as u64 * 10_000_000 + life * 100_000 + u64::from(number) * 10_000,
                sabotage: plan.sabotage,
                dropped: None,
                window: 3,
                now: Millis(0),
            };
            let inbox = (0..count).map(|_| (VecDeque::new(), 0)).collect();
            Shard { moves, table, claims: Claims::new(number, life, life ^ 0x5a5a), inbox, alarm: None }
        };
        Self {
            shards: (0..count).map(shard).collect(),
            name: name.clone(),
            life,
            index: BTreeMap::new(),
            marked: BTreeMap::new(),
            marks: BTreeMap::new(),
            to_mark: vec![VecDeque::new(); usize::from(count)],
            own: 0,
            directory,
            ahead,
            met: BTreeMap::new(),
        }
    }

    /// The shard of a client id.
    pub fn shard_of(&self, id: &str) -> usize {
        let sum: usize = id.bytes().map(usize::from).sum();
        sum % self.shards.len()
    }

    /// All that its sessions want, those too that were given away.
    pub fn wants(&self) -> Interest {
        let rows = self.shards.iter().flat_map(|shard| shard.table.rows.values());
        let wanted = rows.flat_map(|row| row.filters.iter().map(|filter| (row.stay, *filter)));
        let mut wanted: Vec<(u64, usize)> = wanted.collect();
        wanted.sort_unstable();
        Interest { wanted }
    }

    /// Its sessions that a topic matches: shard, client id, row.
    pub fn matching(&self, topic: &str, filters: &[Filter]) -> Vec<(usize, String, u64)> {
        let mut all = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            for (id, row) in &shard.table.rows {
                if row.filters.iter().any(|filter| filters[*filter].matches(topic)) {
                    all.push((number, id.clone(), row.slot));
                }
            }
        }
        all
    }

    /// Other nodes that want a topic.
    pub fn wanting(&self, topic: &str, filters: &[Filter]) -> Vec<usize> {
        let wants = |interest: &Interest| interest.wanted.iter().any(|(_, filter)| filters[*filter].matches(topic));
        self.index.iter().filter(|(_, (_, _, interest))| wants(interest)).map(|(node, _)| *node).collect()
    }
}
