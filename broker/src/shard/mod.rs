//! A shard: the sessions and connections that one thread serves, and the turns in which it serves them.
//!
//! Before CONNECT a connection is an async task; after it, a row in this table. Everything a turn decides is appended to
//! outputs and batches; at its end each of them is written once.

mod attach;
mod awaited;
mod batch;
mod close;
mod control;
mod deliver;
mod evacuate;
mod guard;
mod inbox;
mod linger;
mod link;
mod moves;
mod output;
mod packet;
mod peer;
mod publication;
mod publish;
mod read;
mod ready;
mod resend;
mod retain;
mod route;
mod row;
#[cfg(test)]
mod sim;
mod subscribe;
mod timers;
mod turn;
mod write;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use slab::Slab;
use tokio::sync::mpsc;

pub use awaited::Awaited;
pub use control::{Attach, AttachLink, Control, LinkKey, Peer, Report, Stays, Stream, Tuning};
pub use evacuate::Evacuation;
pub use guard::ConnectionGuard;
pub use inbox::Inbox;
pub use linger::answer_and_close;
pub use link::DialRequest;
pub use link::pressure::Pressure;
pub use peer::settled::Settled;
pub use ready::Ready;
pub use turn::serve;

use crate::clock::{Clock, Millis, StampClock};
use crate::digest::digest;
use crate::link::{Local, Mark, Origin, Seen};
use crate::metrics::{Board, Counters};
use crate::peer::{Claims, Directory, Moves};
use crate::retained::Retained;
use crate::router::{Cache, Choices, Index, Receiver};
use crate::store::Store;
use attach::Arrival;
use batch::Batch;
use deliver::Core;
use evacuate::Progress;
use moves::stake::Asked;
use output::Pool;
use peer::settled::WaitingList;
use peer::unclaimed::Unclaimed;
use publication::Scratch;
use timers::Timers;

/// What all shards of a node share.
pub struct Shared {
    /// All subscriptions.
    pub index: Arc<Index>,
    /// All retained messages.
    pub retained: Retained,
    /// Counters as last published.
    pub board: Arc<Board>,
    /// One inbox for each shard.
    pub inboxes: Vec<Inbox<Control>>,
    /// A bit for each shard that has links: they are told of changed interest.
    pub shards_with_links: AtomicU64,
    /// Links that are waited for before publishers are read.
    pub awaited: Awaited,
    /// Sessions of the node, for `maxSessions`.
    pub sessions: AtomicU64,
    /// Links that ask publishers to wait.
    pub pressure: Pressure,
    /// How far the other nodes route by what is wanted here.
    pub settled: Settled,
    /// Which messages of other clusters this node has had, by whichever node they came.
    pub seen: Mutex<Seen>,
    /// The order of what happens in the cluster.
    pub stamps: StampClock,
    /// Which persistent sessions other nodes say that they have.
    pub directory: RwLock<Directory>,
    /// Versions of what is wanted here that this node counted for itself.
    pub own_versions: AtomicU64,
    /// Whether this node, or another one, is being emptied.
    pub evacuation: Evacuation,
    /// The clock of the node.
    pub clock: Clock,
    /// Who we are to other clusters.
    pub local: Local,
    /// Who dials for links.
    pub dialler: mpsc::Sender<DialRequest>,
}

/// How client ids and subscriptions are hashed: in each process otherwise, so that nobody can choose some that collide.
#[cfg(not(test))]
type Hashing = hashbrown::DefaultHashBuilder;
/// In a simulation always alike.
#[cfg(test)]
type Hashing = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// One shard.
pub struct Shard {
    core: Core,
    cache: Cache,
    shared: Arc<Shared>,
    ready: Arc<Ready>,
    /// Rows by client id.
    by_id: HashTable<u32>,
    ids_hasher: Hashing,
    /// Rows of links.
    links: Vec<u32>,
    /// The other nodes of the cluster, whichever shards their rows are on.
    peers: Vec<Receiver>,
    /// The same with their names.
    peer_names: Vec<(Arc<str>, Receiver)>,
    /// SUBACKs that wait for other nodes.
    waiting: WaitingList,
    /// The other nodes of the configuration.
    nodes: Vec<Arc<str>>,
    /// These are known.
    nodes_listed: bool,
    /// What all of them want was known once, or they were given up.
    has_heard: bool,
    /// Clients' publishes are taken.
    has_begun: bool,
    /// Wills that wait for that.
    wills: awaited::Wills,
    /// Sessions that move; taken out while they do.
    moves: Option<Box<Moves>>,
    /// Which persistent sessions are here, as other nodes are told; none while this node is alone.
    claims: Option<Box<Claims>>,
    /// CONNECTs that wait until it is known where their session is, by client id. As many as there are look-ups.
    parked: HashMap<Box<str>, Arrival>,
    /// The newest version of what this node wants that this shard marked.
    own_mark: Option<Mark>,
    /// Stakes that this shard asked for.
    asked: Asked,
    /// How far it is with the evacuation of the node.
    evacuating: Progress,
    /// Members of shared subscriptions that get the message under way.
    choices: Choices,
    timers: Timers,
    /// The thread's read buffer.
    buffer: Vec<u8>,
    /// Rows that have more to read than one turn takes.
    again: Vec<u32>,
    /// Rows whose publishes wait for other shards or a link.
    paused: Vec<u32>,
    /// Filters of local clients may have changed this turn.
    interest_changed: bool,
    /// Marks that this shard puts into all lanes of the node as soon as the link that acts has done so.
    marks: Vec<Mark>,
    /// Another shard's lane is full.
    congested: bool,
    /// A packet with its topic alias spelled out.
    spelled: Vec<u8>,
    /// Subscription identifiers of one receiver.
    ids: Vec<u32>,
    epochs: u16,
    connections_made: u64,
    /// Frames of ways that came over a link which acts.
    heard_ways: Vec<link::way::Heard>,
    /// What others wait for that the peers of this shard are to take.
    receipts: link::passing::Receipts,
    /// Ways that links of this shard have asked for.
    ways_asked: u64,
    /// An empty batch, to be exchanged for a full one.
    spare: Batch,
    /// The node stops: until when links may go on.
    stopping: Option<Millis>,
    /// Held by each farewell under way: the thread ends after the last of them.
    farewells: mpsc::Sender<()>,
    /// Outputs wait for this commit of the store.
    awaited_commit: Option<u64>,
}

/// The shard of a client id, or of a link by the name of its remote cluster; the same on every thread.
pub fn shard_of(key: &[u8], shards: usize) -> usize {
    (digest(key) % shards as u64) as usize
}

// === impl Shared ===

impl Shared {
    /// Whether a message of another cluster comes to this node for the first time.
    pub fn is_first(&self, origin: &Origin) -> bool {
        self.seen().take(origin)
    }

    /// Whether this node decides now which member of a group gets a message of another cluster: it has not decided so
    /// before, nor had the message for a member here.
    fn decides(&self, origin: &Origin, group: u32) -> bool {
        self.seen().decide(origin, group)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic between its lines leaves at most one message unknown.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which persistent sessions other nodes say that they have.
    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change it.
    fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        // A message is read as a whole before anything of it is taken.
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shard ===

impl Shard {
    /// The shard `number` of a node, whose turns `ready` asks for. Nothing is sent on `farewells`: it is closed when the
    /// shard and the last word to each of its connections are over.
    pub fn new(
        number: u8,
        shared: Arc<Shared>,
        ready: Arc<Ready>,
        tuning: Arc<Tuning>,
        store: Box<dyn Store>,
        farewells: mpsc::Sender<()>,
    ) -> Self {
        let shards = shared.inboxes.len();
        let (me, life) = (Arc::clone(&shared.local.node), shared.local.incarnation);
        let moves = Box::new(Moves::new(me, life, shared.local.shards, moves::settings(&tuning)));
        let core = Core {
            shard: number,
            now: shared.clock.now(),
            rows: Slab::new(),
            dirty: Vec::new(),
            searching: Vec::new(),
            dirty_links: Vec::new(),
            told: Vec::new(),
            passing: false,
            orphans: Vec::new(),
            unclaimed: Unclaimed::default(),
            pool: Pool::default(),
            outboxes: (0..shards).map(|_| Batch::default()).collect(),
            counters: Counters::default(),
            tuning: Arc::clone(&tuning),
            scratch: Scratch::default(),
            store,
            shared: Arc::clone(&shared),
        };
        Self {
            core,
            cache: Cache::new(tuning.mqtt.max_topic_levels),
            shared,
            ready,
            by_id: HashTable::new(),
            ids_hasher: Hashing::default(),
            links: Vec::new(),
            peers: Vec::new(),
            peer_names: Vec::new(),
            waiting: WaitingList::new(),
            nodes: Vec::new(),
            nodes_listed: false,
            has_heard: false,
            has_begun: false,
            wills: awaited::Wills::default(),
            moves: Some(moves),
            claims: None,
            parked: HashMap::new(),
            own_mark: None,
            asked: Asked::new(),
            evacuating: Progress::default(),
            choices: Choices::default(),
            timers: Timers::default(),
            buffer: vec![0; read::READ_MAX],
            again: Vec::new(),
            paused: Vec::new(),
            interest_changed: false,
            marks: Vec::new(),
            congested: false,
            spelled: Vec::new(),
            ids: Vec::new(),
            epochs: 0,
            connections_made: 0,
            heard_ways: Vec::new(),
            receipts: link::passing::Receipts::default(),
            ways_asked: 0,
            spare: Batch::default(),
            stopping: None,
            farewells,
            awaited_commit: None,
        }
    }

    /// A number for a row that begins; it comes back only after 65,536 others.
    fn next_epoch(&mut self) -> u16 {
        self.epochs = self.epochs.wrapping_add(1);
        self.epochs
    }
}

#[cfg(test)]
mod tests {
    use super::shard_of;

    #[test]
    fn clients_whose_ids_differ_in_a_number_alone_are_spread_over_all_shards() {
        let names: [fn(usize) -> String; 4] = [
            |number| format!("{number}"),
            |number| format!("sensor-{number:06}"),
            |number| format!("plant 7/line {number}/pump"),
            |number| format!("lg.5f3a.s.0.{}", number * 10),
        ];
        for (shards, name) in [2, 3, 4, 8, 64].into_iter().flat_map(|shards| names.map(|name| (shards, name))) {
            let mut counts = vec![0; shards];
            (0..100 * shards).for_each(|number| counts[shard_of(name(number).as_bytes(), shards)] += 1);
            assert!(counts.iter().all(|count| (50..=150).contains(count)), "{}: {counts:?}", name(0));
        }
    }
}
