//! The network of the world: lanes, interest, marks, cuts, deaths, and what shards ask for.

use std::sync::Arc;

use crate::clock::Millis;
use crate::link::Version;
use crate::peer::{Moves, Outlet, PAYLOAD_MAX};

use super::network::{Interest, Local, Record};
use super::node::{Node, name_of, shards_of};
use super::plan::Sabotage;
use super::table::{Effect, Table};
use super::world::{Event, World};

// === impl World ===

impl World {
    // --- shards ---

    /// A turn of a shard.
    pub fn in_shard(&mut self, node: usize, shard: usize, act: impl FnOnce(&mut Moves, &mut Table, Millis)) {
        let now = Millis(self.now);
        let deaf = (0..self.plan.nodes).filter(|other| *other != node && !self.ways[&(node, *other)].seen);
        let deaf = deaf.map(name_of).collect();
        let unix = 1_000_000 + self.now + self.nodes[node].ahead;
        let ids: Vec<String> = self.devices.iter().map(|device| device.id.clone()).collect();
        let state = &mut self.nodes[node].shards[shard];
        (state.table.now, state.table.unix, state.table.deaf) = (now, unix, deaf);
        state.table.dropped = None;
        act(&mut state.moves, &mut state.table, now);
        state.moves.turn(&mut state.table, now);
        for id in ids {
            let claimed = state.table.session(&id).is_some_and(|session| session.persistent);
            state.claims.set(&id, claimed);
        }
        let mut said = Vec::new();
        state.claims.turn(
            |to, payload| {
                said.push(Effect::Control(to.clone(), payload.to_vec()));
                true
            },
            now,
        );
        let effects: Vec<Effect> = std::mem::take(&mut state.table.effects).into_iter().chain(said).collect();
        let due = state.moves.due().min(state.claims.due()).0.max(self.now + 1);
        if due < u64::MAX && state.alarm.is_none_or(|alarm| due < alarm) {
            state.alarm = Some(due);
            let life = self.nodes[node].life;
            self.at(due, Event::Alarm { node, life, shard });
        }
        effects.into_iter().for_each(|effect| self.do_effect(node, shard, effect));
    }

    /// The same in all shards of a node.
    pub fn in_shards(&mut self, node: usize, act: impl Fn(&mut Moves, &mut Table, Millis)) {
        (0..self.nodes[node].shards.len()).for_each(|shard| self.in_shard(node, shard, &act));
    }

    fn do_effect(&mut self, node: usize, shard: usize, effect: Effect) {
        match effect {
            Effect::Control(to, payload) => {
                let to = (0..self.plan.nodes).find(|other| name_of(*other) == to).expect("it is a node");
                self.send_control(node, to, payload);
            }
            Effect::Send(conn, packet) => {
                let wait = self.delay();
                let state = self.conns.get_mut(&conn).expect("it exists");
                if state.open[1] {
                    state.last[0] = state.last[0].max(self.now + wait);
                    let time = state.last[0];
                    self.at(time, Event::ToDevice { conn, packet });
                }
            }
            Effect::Close(conn) | Effect::Refused(conn) => {
                self.note(|| format!("node {node} closes {conn}: {effect:?}"));
                let wait = self.delay();
                let state = self.conns.get_mut(&conn).expect("it exists");
                if std::mem::replace(&mut state.open[1], false) {
                    let time = state.last[0].max(self.now + wait);
                    self.at(time, Event::Closed { conn });
                }
            }
            Effect::InterestChanged => {
                for to in (0..self.plan.nodes).filter(|to| *to != node) {
                    self.ways.get_mut(&(node, to)).expect("a way").untold = true;
                    let wait = self.delay();
                    self.after(wait, Event::Tell { from: node, to });
                }
            }
            Effect::Stake(token) => self.stake(node, shard, token),
            Effect::Assigned(life, message) => self.oracle.assigned(life, message),
            Effect::Ended(life) => {
                self.note(|| format!("life {life} ends at {node}"));
                self.oracle.ended(life);
            }
            Effect::Discarded(life) => {
                self.note(|| format!("life {life} is discarded at {node}"));
                self.oracle.discarded(life);
            }
            Effect::Overwritten(life) => self.overwritten(life, node),
            Effect::Began(life, id) => {
                self.note(|| format!("life {life} of {id} begins at {node}"));
                self.oracle.began(life, id);
            }
        }
    }

    pub fn send_control(&mut self, from: usize, to: usize, payload: Vec<u8>) {
        assert!(payload.len() <= PAYLOAD_MAX, "a control payload of {} bytes", payload.len());
        let way = &self.ways[&(from, to)];
        if way.cut || !way.seen {
            return;
        }
        let (loss, twice) = if self.calm { (0, 0) } else { (self.plan.loss, self.plan.twice) };
        let times = if self.random.chance(loss) { 0 } else { 1 + usize::from(self.random.chance(twice)) };
        for _ in 0..times {
            let wait = self.delay();
            self.after(wait, Event::Control { from, to, payload: payload.clone() });
        }
    }

    // --- lanes, interest, marks ---

    pub fn push_lane(&mut self, from: usize, to: usize, record: Record) {
        let wait = self.delay();
        let lives = (self.nodes[from].life, self.nodes[to].life);
        let way = self.ways.get_mut(&(from, to)).expect("a way");
        if way.lives != Some(lives) {
            return;
        }
        let interest = matches!(record, Record::Interest(..));
        let last = &mut way.last[usize::from(interest)];
        *last = (*last).max(self.now + wait);
        let time = *last;
        if interest {
            way.interest.push_back((time, record))
        } else {
            way.lane.push_back((time, record))
        }
        self.at(time, Event::Lane { from, to, interest });
    }

    /// Delivers what is due of a lane, if both ends see a connection.
    pub fn lane_arrives(&mut self, from: usize, to: usize, interest: bool) {
        let now = self.now;
        while self.is_open(from, to) {
            let way = self.ways.get_mut(&(from, to)).expect("a way");
            let queue = if interest { &mut way.interest } else { &mut way.lane };
            let Some((_, record)) = queue.pop_front_if(|(due, _)| *due <= now) else { return };
            self.record_arrives(from, to, record);
        }
    }

    fn record_arrives(&mut self, from: usize, to: usize, record: Record) {
        let origin = name_of(from);
        let by = from % self.nodes[to].shards.len();
        match record {
            Record::Message(shard, published) => {
                for (own, id, slot) in self.nodes[to].matching(published.topic, &self.filters) {
                    let delivery = published.delivery.clone();
                    let local = Local::Message { id, slot, origin: origin.clone(), shard, delivery };
                    self.push_local(to, by, own, local);
                }
            }
            Record::Mark(shard, about, version) => {
                for own in 0..self.nodes[to].shards.len() {
                    self.push_local(to, by, own, Local::Mark(origin.clone(), shard, about.clone(), version));
                }
            }
            Record::Interest(number, wanted) => {
                let life = self.nodes[from].life;
                self.note(|| format!("{to} takes up {from}'s {number}"));
                let version = Version { epoch: life << 20, number };
                self.nodes[to].index.insert(from, (life, number, wanted.clone()));
                self.will_mark(to, Some(from), version, &wanted);
            }
        }
    }

    fn is_open(&self, from: usize, to: usize) -> bool {
        let (way, back) = (&self.ways[&(from, to)], &self.ways[&(to, from)]);
        let lives = Some((self.nodes[from].life, self.nodes[to].life));
        let met = |one: usize, other: usize| self.nodes[one].met.get(&other) == Some(&self.nodes[other].life);
        !way.cut && way.seen && back.seen && way.lives == lives && met(from, to) && met(to, from)
    }

    /// The shards of a node are to put a mark, each when it comes to it.
    fn will_mark(&mut self, node: usize, about: Option<usize>, version: Version, wanted: &Arc<Interest>) {
        let life = self.nodes[node].life;
        for shard in 0..self.nodes[node].shards.len() {
            self.nodes[node].to_mark[shard].push_back((about, version, wanted.clone()));
            let wait = self.random.next() % 20;
            self.after(wait, Event::Mark { node, life, shard });
        }
    }

    pub fn put_mark(&mut self, node: usize, shard: usize) {
        let Some((about, version, wanted)) = self.nodes[node].to_mark[shard].pop_front() else { return };
        let lane = u8::try_from(shard).expect("few shards");
        let me = name_of(node);
        let name = about.map_or(me.clone(), name_of);
        self.nodes[node].marks.insert((lane, name.clone()), version);
        if let Some(about) = about {
            self.nodes[node].marked.insert((lane, about), (version.epoch >> 20, wanted));
        }
        for to in (0..self.plan.nodes).filter(|to| *to != node) {
            self.push_lane(node, to, Record::Mark(lane, name.clone(), version));
        }
        for to in 0..self.nodes[node].shards.len() {
            self.push_local(node, shard, to, Local::Mark(me.clone(), lane, name.clone(), version));
        }
    }

    pub fn tell(&mut self, from: usize, to: usize) {
        let wanted = Arc::new(self.nodes[from].wants());
        let lives = Some((self.nodes[from].life, self.nodes[to].life));
        let way = self.ways.get_mut(&(from, to)).expect("a way");
        if way.untold && way.seen && way.lives == lives {
            way.untold = false;
            way.told += 1;
            let number = way.told;
            self.note(|| format!("{from} tells {to} its {number}"));
            self.push_lane(from, to, Record::Interest(number, wanted));
        }
    }

    fn stake(&mut self, node: usize, shard: usize, token: u64) {
        let life = self.nodes[node].life;
        let old = self.plan.sabotage == Some(Sabotage::OldStake);
        let mut numbers = Vec::new();
        for to in (0..self.plan.nodes).filter(|to| *to != node) {
            let way = self.ways.get_mut(&(node, to)).expect("a way");
            way.untold = true;
            let number = if old { way.told } else { way.told + 1 };
            numbers.push((name_of(to), Version { epoch: life << 20, number }));
            let wait = self.delay();
            self.after(wait, Event::Tell { from: node, to });
        }
        self.nodes[node].own += 1;
        let version = Version { epoch: life << 20, number: self.nodes[node].own };
        numbers.push((name_of(node), version));
        self.will_mark(node, None, version, &Arc::new(Interest::default()));
        let wait = self.random.next() % 20;
        self.after(wait, Event::Staked { node, life, shard, token, numbers });
    }

    // --- faults ---

    pub fn cut(&mut self, one: usize, other: usize, cut: bool) {
        for (from, to) in [(one, other), (other, one)] {
            self.ways.get_mut(&(from, to)).expect("a way").cut = cut;
            self.will_see(from, to);
        }
    }

    fn will_see(&mut self, node: usize, other: usize) {
        let life = self.nodes[node].life;
        let wait = self.random.next() % 400;
        self.after(wait, Event::See { node, life, other });
    }

    /// A node sees that a connection stands, or that none does.
    pub fn see(&mut self, node: usize, other: usize) {
        let name = name_of(other);
        let way = &self.ways[&(node, other)];
        let (cut, seen, lives) = (way.cut, way.seen, (self.nodes[node].life, self.nodes[other].life));
        let renewed = self.nodes[node].met.get(&other).is_some_and(|life| *life != lives.1);
        if cut || seen && renewed {
            if seen {
                self.ways.get_mut(&(node, other)).expect("a way").seen = false;
                let nodes = &mut self.nodes[node];
                nodes.shards.iter_mut().for_each(|shard| shard.claims.node_lost(&name));
                self.in_shards(node, |moves, table, now| moves.node_lost(table, &name, false, now));
                let life = self.nodes[node].life;
                self.after(5_000, Event::Suspend { node, life, other });
            }
            if !cut {
                self.will_see(node, other);
            }
            return;
        }
        if seen {
            // The cut was over before anybody noticed: what was under way arrives late.
            return self.resume(node, other);
        }
        let (life, now) = (lives.1, Millis(self.now));
        self.nodes[node].met.insert(other, life);
        if self.nodes[node].index.get(&other).is_some_and(|(known, _, _)| *known != life) {
            self.nodes[node].index.remove(&other);
        }
        let way = self.ways.get_mut(&(node, other)).expect("a way");
        way.seen = true;
        if way.lives != Some(lives) {
            way.lives = Some(lives);
            way.lane.clear();
            way.interest.clear();
            let marks: Vec<_> = self.nodes[node].marks.clone().into_iter().collect();
            for ((shard, about), version) in marks {
                self.push_lane(node, other, Record::Mark(shard, about, version));
            }
            self.ways.get_mut(&(node, other)).expect("a way").untold = true;
        }
        let shards = shards_of(other);
        self.nodes[node].directory.borrow_mut().node_connected(&name, life, shards);
        self.nodes[node].shards.iter_mut().for_each(|shard| shard.claims.node_connected(&name, life, now));
        self.in_shards(node, |moves, table, now| moves.node_connected(table, &name, life, shards, now));
        self.tell(node, other);
        self.resume(node, other);
        self.resume(other, node);
    }

    /// What stopped at a cut goes on.
    fn resume(&mut self, from: usize, to: usize) {
        self.after(0, Event::Lane { from, to, interest: false });
        self.after(0, Event::Lane { from, to, interest: true });
    }

    /// A node dies with all it had, and lives anew at once; others notice.
    pub fn restart(&mut self, node: usize) {
        self.oracle_death(node);
        let life = self.nodes[node].life + 1;
        let ahead = self.nodes[node].ahead;
        self.nodes[node] = Node::new(&self.plan, node, life, ahead);
        let conns: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.node == (node, life - 1) && conn.open[1])
            .map(|(c, _)| *c)
            .collect();
        for conn in conns {
            self.conns.get_mut(&conn).expect("it exists").open[1] = false;
            let wait = self.delay();
            self.after(wait, Event::Closed { conn });
        }
        for other in (0..self.plan.nodes).filter(|other| *other != node) {
            for pair in [(node, other), (other, node)] {
                let way = self.ways.get_mut(&pair).expect("a way");
                way.lives = None;
                way.lane.clear();
                way.interest.clear();
                if pair.0 == node {
                    (way.seen, way.told) = (false, 0);
                }
            }
            self.will_see(node, other);
            self.will_see(other, node);
        }
    }

    /// A session whose client is away ends, or is offered to another node.
    pub fn offline(&mut self, pick: usize, offer: bool) {
        let mut away = Vec::new();
        for (node, state) in self.nodes.iter().enumerate() {
            for (shard, state) in state.shards.iter().enumerate() {
                let rows = state.table.rows.iter();
                let idle = rows.filter(|(_, row)| row.conn.is_none() && !row.frozen && !row.stripped);
                away.extend(idle.map(|(id, row)| (node, shard, id.clone(), row.session)));
            }
        }
        if away.is_empty() {
            return;
        }
        let (node, shard, id, session) = away.swap_remove(pick % away.len());
        let to = name_of((node + 1) % self.plan.nodes);
        self.in_shard(node, shard, |moves, table, now| {
            if offer {
                moves.offer_away(table, &id, &to, now);
            } else {
                table.end_row(&id);
                moves.ended(table, &id, session.connected, now);
            }
        });
    }
}
