//! A trie of the filters that have no table of their shape: those with very many levels, or of a shape too many.
//!
//! Branches lie in one slab, and the ways from a branch to its children in one hash table, so that neither a deep nor a
//! wide trie needs memory for each branch's own map. A look-up goes level by level with all branches reached so far;
//! nothing recurses, because the depth is what clients choose.

use super::hash::Seed;
use super::node::Node;
use crate::topic::Filter;
use hashbrown::HashTable;
use slab::Slab;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// The trie.
#[derive(Debug)]
pub(super) struct Trie {
    branches: Slab<Branch>,
    /// Children by parent and level; those that are `+` stand in the parent.
    children: HashTable<u32>,
    filters: usize,
}

#[derive(Debug)]
struct Branch {
    parent: u32,
    /// The child that is `+`, or [`NONE`].
    plus: u32,
    /// How many children, `+` counted.
    degree: u32,
    hash: u64,
    level: Box<str>,
    /// The filter that ends here.
    here: Option<Box<Node>>,
    /// The filter that goes on with `#`.
    multi: Option<Box<Node>>,
}

// === impl Trie ===

impl Trie {
    pub fn new() -> Self {
        let mut branches = Slab::new();
        branches.insert(Branch::new(NONE, 0, ""));
        Self { branches, children: HashTable::new(), filters: 0 }
    }

    pub fn len(&self) -> usize {
        self.filters
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.branches.iter().flat_map(|(_, branch)| branch.here.iter().chain(&branch.multi)).map(Box::as_ref)
    }

    /// The node of a filter, made if it is not there.
    pub fn node(&mut self, seed: &Seed, hash: u64, filter: &Filter) -> &mut Node {
        let (path, multi) = split(filter);
        let at = path.fold(ROOT, |at, level| match self.child(seed, at, level) {
            Some(child) => child,
            None => self.grow(seed, at, level),
        });
        let branch = &mut self.branches[at as usize];
        let place = if multi { &mut branch.multi } else { &mut branch.here };
        place.get_or_insert_with(|| {
            self.filters += 1;
            Box::new(Node::new(hash, filter.clone()))
        })
    }

    /// Changes the node of a filter, and removes it if it is empty then; `None` if it is not there.
    pub fn change<T>(&mut self, seed: &Seed, filter: &Filter, change: impl FnOnce(&mut Node) -> T) -> Option<T> {
        let (mut path, multi) = split(filter);
        let at = path.try_fold(ROOT, |at, level| self.child(seed, at, level))?;
        let branch = &mut self.branches[at as usize];
        let place = if multi { &mut branch.multi } else { &mut branch.here };
        let node = place.as_mut()?;
        let result = change(node);
        if node.is_empty() {
            *place = None;
            self.filters -= 1;
            self.prune(at);
        }
        Some(result)
    }

    /// Every filter that matches.
    pub fn look_up<'a>(&'a self, seed: &Seed, topic: &str, mut found: impl FnMut(&'a Node)) {
        if self.filters == 0 {
            return;
        }
        let dollar = topic.starts_with('$');
        let (mut reached, mut next) = (vec![ROOT], Vec::new());
        for (depth, level) in topic.split('/').enumerate() {
            let hash = seed.level(level.as_bytes(), 0).0;
            let wild = depth > 0 || !dollar;
            for at in reached.drain(..) {
                let branch = &self.branches[at as usize];
                if wild {
                    branch.multi.as_deref().into_iter().for_each(&mut found);
                    next.extend((branch.plus != NONE).then_some(branch.plus));
                }
                next.extend(self.literal_child(seed, at, hash, level));
            }
            std::mem::swap(&mut reached, &mut next);
        }
        for at in reached {
            let branch = &self.branches[at as usize];
            branch.here.iter().chain(&branch.multi).map(Box::as_ref).for_each(&mut found);
        }
    }

    fn child(&self, seed: &Seed, parent: u32, level: &str) -> Option<u32> {
        if level == "+" {
            let plus = self.branches[parent as usize].plus;
            return (plus != NONE).then_some(plus);
        }
        self.literal_child(seed, parent, seed.level(level.as_bytes(), 0).0, level)
    }

    fn literal_child(&self, seed: &Seed, parent: u32, level_hash: u64, level: &str) -> Option<u32> {
        let is = |id: &u32| {
            let branch = &self.branches[*id as usize];
            branch.parent == parent && *branch.level == *level
        };
        self.children.find(seed.fold(u64::from(parent), level_hash), is).copied()
    }

    fn grow(&mut self, seed: &Seed, parent: u32, level: &str) -> u32 {
        let hash = seed.fold(u64::from(parent), seed.level(level.as_bytes(), 0).0);
        let id = self.branches.insert(Branch::new(parent, hash, level)) as u32;
        self.branches[parent as usize].degree += 1;
        if level == "+" {
            self.branches[parent as usize].plus = id;
        } else {
            self.children.insert_unique(hash, id, |id| self.branches[*id as usize].hash);
        }
        id
    }

    /// Removes branches that lead nowhere, from `at` towards the root.
    fn prune(&mut self, mut at: u32) {
        while at != ROOT && self.branches[at as usize].is_bare() {
            let Branch { parent, hash, .. } = self.branches.remove(at as usize);
            let above = &mut self.branches[parent as usize];
            above.degree -= 1;
            if above.plus == at {
                above.plus = NONE;
            } else if let Ok(entry) = self.children.find_entry(hash, |id| *id == at) {
                entry.remove();
            }
            at = parent;
        }
    }
}

// === impl Branch ===

impl Branch {
    fn new(parent: u32, hash: u64, level: &str) -> Self {
        Self { parent, plus: NONE, degree: 0, hash, level: level.into(), here: None, multi: None }
    }

    fn is_bare(&self) -> bool {
        self.degree == 0 && self.here.is_none() && self.multi.is_none()
    }
}

/// The levels of a filter, and whether `#` follows them.
fn split(filter: &Filter) -> (impl Iterator<Item = &str>, bool) {
    let text = filter.as_str();
    (text.split('/').filter(|level| *level != "#"), text.ends_with('#'))
}

#[cfg(test)]
mod tests {
    use super::super::node::Entry;
    use super::super::receiver::{Kind, Receiver, ReceiverFlags};
    use super::*;

    #[test]
    fn an_emptied_trie_holds_nothing() {
        let seed = Seed::new(10);
        let mut trie = Trie::new();
        let deep = "x/".repeat(5_000) + "+";
        let filters: Vec<Filter> = ["a/+/b", "a/+/#", "a/+", "+/+", "#", &deep]
            .iter()
            .map(|text| Filter::parse(text, 10_000).unwrap())
            .collect();
        let receiver = Receiver { slot: 1, epoch: 1, shard: 0, flags: ReceiverFlags::new(Kind::Client, 0) };
        for filter in &filters {
            trie.node(&seed, 0, filter).put(&seed, Entry { receiver, id: 0 });
        }
        assert_eq!((trie.len(), trie.iter().count()), (6, 6));
        let mut matching = Vec::new();
        trie.look_up(&seed, "a/x/b", |node| matching.push(node.filter.as_str()));
        matching.sort_unstable();
        assert_eq!(matching, ["#", "a/+/#", "a/+/b"]);
        for filter in &filters {
            assert!(trie.change(&seed, filter, |node| node.take(&seed, None, receiver)).is_some());
            assert!(trie.change(&seed, filter, |node| node.take(&seed, None, receiver)).is_none());
        }
        assert_eq!((trie.len(), trie.branches.len(), trie.children.len()), (0, 1, 0));
    }
}
