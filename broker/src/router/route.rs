//! A route: who receives the messages of one topic.

use super::choices::Choices;
use super::group::Group;
use super::member::Member;
use super::node::{Entry, Node};
use super::receiver::{Kind, Receiver};

/// Who receives the messages of one topic. Reused for one topic after another, so that it seldom allocates.
#[derive(Debug, Default)]
pub struct Route {
    /// Those who subscribed outside of groups, each once however many of its filters match: see
    /// [`ReceiverFlags::merge`](super::ReceiverFlags::merge).
    pub receivers: Vec<Receiver>,
    /// Subscription Identifiers: index into `receivers` and identifier, ordered by both `[MQTT-3.3.4-4]`.
    pub ids: Vec<(u32, u32)>,
    /// Groups of shared subscriptions: one member of each receives the message, besides `receivers`.
    pub groups: Vec<Group>,
    /// The peers among `receivers`, if a group has members at other nodes.
    peers: Vec<Receiver>,
    /// A receiver may stand there more than once until [`finish`](Self::finish).
    repeats: bool,
}

/// Up to this many receivers are searched for one by one among any number of others.
const LINEAR_MAX: usize = 16;

// === impl Route ===

impl Route {
    /// Whether nobody receives.
    pub fn is_empty(&self) -> bool {
        self.receivers.is_empty() && self.groups.is_empty()
    }

    /// The Subscription Identifiers of `receivers[index]`.
    pub fn ids_of(&self, index: usize) -> impl ExactSizeIterator<Item = u32> {
        let from = self.ids.partition_point(|(at, _)| (*at as usize) < index);
        let count = self.ids[from..].partition_point(|(at, _)| *at as usize == index);
        self.ids[from..from + count].iter().map(|(_, id)| *id)
    }

    /// Chooses a member of each group for one message: see [`Group::choose`].
    ///
    /// Groups go by their turns and know nothing of each other: a session that is in two of them may get two copies, as
    /// one that also subscribes alone. A peer gets one, with all that is to become of it there.
    pub fn choose(&self, local_first: bool, into: &mut Choices) {
        self.choose_each(into, |group| Some(group.choose(local_first)));
    }

    /// The same, chosen by somebody else: of each group one or nobody.
    pub fn choose_each<'a>(&'a self, into: &mut Choices, mut choose: impl FnMut(&'a Group) -> Option<&'a Member>) {
        into.clear();
        self.groups.iter().filter_map(&mut choose).for_each(|member| into.push(member));
        into.unite(&self.peers);
    }

    /// The group that this node has given a number to, if it still stands; for a message of which a peer says that a
    /// member here gets it.
    pub fn local_group(&self, number: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.number() == number)
    }

    /// Empties it, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.receivers.clear();
        self.ids.clear();
        self.groups.clear();
        self.peers.clear();
        self.repeats = false;
    }

    /// Adds the subscribers of a filter that matches.
    pub(super) fn add(&mut self, node: &Node) {
        let plain = node.plain();
        let mut known = self.receivers.len();
        if known.min(plain.len()) > LINEAR_MAX {
            self.repeats = true;
            known = 0;
        }
        if known == 0 {
            let at = self.receivers.len();
            self.receivers.extend(plain.iter().map(|entry| entry.receiver));
            let with_ids = plain.iter().enumerate().filter(|(_, entry)| entry.id != 0);
            self.ids.extend(with_ids.map(|(i, entry)| ((at + i) as u32, entry.id)));
        } else {
            for entry in plain {
                self.add_one(known, *entry);
            }
        }
        self.groups.extend(node.teams().map(|team| team.group()));
    }

    /// Adds a subscriber who may be among the first `known` receivers.
    fn add_one(&mut self, known: usize, entry: Entry) {
        let Entry { receiver, id } = entry;
        let index = match self.receivers[..known].iter().position(|other| other.same(receiver)) {
            Some(index) => {
                self.receivers[index] = self.receivers[index].merge(receiver);
                index
            }
            None => {
                self.receivers.push(receiver);
                self.receivers.len() - 1
            }
        };
        if id != 0 {
            self.ids.push((index as u32, id));
        }
    }

    /// Makes one receiver of those that came more than once, when all filters have been added.
    pub(super) fn finish(&mut self) {
        if self.repeats {
            self.unite();
        }
        self.ids.sort_unstable();
        if self.groups.iter().any(Group::spans_nodes) {
            let peers = self.receivers.iter().filter(|receiver| receiver.flags.kind() == Kind::Peer);
            self.peers.extend(peers);
        }
    }

    fn unite(&mut self) {
        let ids = self.ids.iter().map(|(index, id)| (self.receivers[*index as usize], *id));
        let mut all: Vec<(Receiver, u32)> = self.receivers.iter().map(|receiver| (*receiver, 0)).chain(ids).collect();
        all.sort_unstable_by_key(|(receiver, _)| receiver.key());
        self.receivers.clear();
        self.ids.clear();
        for (receiver, id) in all {
            match self.receivers.last_mut() {
                Some(last) if last.same(receiver) => *last = last.merge(receiver),
                Some(_) | None => self.receivers.push(receiver),
            }
            if id != 0 {
                self.ids.push((self.receivers.len() as u32 - 1, id));
            }
        }
    }

    /// Bytes on the heap; of a group that other routes hold too, a part.
    pub(super) fn weight(&self) -> usize {
        self.receivers.capacity() * size_of::<Receiver>()
            + self.ids.capacity() * size_of::<(u32, u32)>()
            + self.groups.capacity() * size_of::<Group>()
            + self.peers.capacity() * size_of::<Receiver>()
            + self.groups.iter().map(Group::weight).sum::<usize>()
    }

    /// Gives back memory that a much larger route has left behind.
    pub(super) fn shrink(&mut self) {
        if self.receivers.capacity() > 64 && self.receivers.len() < self.receivers.capacity() / 4 {
            self.receivers.shrink_to_fit();
        }
        if self.ids.capacity() > 64 && self.ids.len() < self.ids.capacity() / 4 {
            self.ids.shrink_to_fit();
        }
        if self.groups.capacity() > 64 && self.groups.len() < self.groups.capacity() / 4 {
            self.groups.shrink_to_fit();
        }
    }
}
