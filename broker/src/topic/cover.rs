//! The minimal cover of many filters, kept up to date with each change: what one side of a link asks the other for.

use std::collections::BTreeSet;

use super::children::Children;
use super::{Filter, filter::levels};
use crate::digest::digest;

/// A multiset of filters and its minimal cover: the members that no other member covers.
///
/// `+/#` counts as `#` and `/+/#` as `/#`, for they match the same names. To add a filter costs a walk along the filters
/// that cover it and to the members that it covers; to remove a member, a walk along all filters that it covered. On the
/// way a `+` looks at all texts of its level, nothing else at filters that a change does not concern.
#[derive(Debug, Default)]
pub struct Cover {
    /// The filters by level; the root is the first, once there is one.
    nodes: Vec<Node>,
    /// Nodes without content, to be used again.
    free: Vec<usize>,
    /// The cover itself, in the order of its texts.
    members: BTreeSet<Filter>,
    digest: u64,
}

/// How a change of the multiset changed the cover. No filter stands twice in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The filters that came into the cover.
    pub added: Vec<Filter>,
    /// The filters that left it.
    pub removed: Vec<Filter>,
}

/// The filters that begin with the same levels.
#[derive(Debug, Default)]
struct Node {
    /// By the next level, `+` among them, but not `#`.
    children: Children,
    /// The filter that ends here.
    here: Option<Box<Entry>>,
    /// The filter that ends with `#` behind these levels.
    hash: Option<Box<Entry>>,
    /// Members of the cover here and below, so that a walk in search of them skips the rest.
    members: usize,
}

#[derive(Debug)]
struct Entry {
    filter: Filter,
    /// How often it was added.
    count: usize,
    member: bool,
}

/// A filter taken apart.
struct Pattern<'a> {
    filter: &'a Filter,
    /// The levels without a `#` at the end.
    levels: Vec<&'a str>,
    hash: bool,
}

const ROOT: usize = 0;

// === impl Cover ===

impl Cover {
    /// An empty cover.
    #[must_use]
    pub fn new() -> Cover {
        Cover::default()
    }

    /// The filters of the cover, in the order of their texts.
    pub fn iter(&self) -> impl Iterator<Item = &Filter> {
        self.members.iter()
    }

    /// How many filters the cover has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the cover is empty, and so the multiset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The wrapping sum of [`digest`] over the cover: equal for equal covers, on every machine.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Adds a filter once more.
    pub fn add(&mut self, filter: Filter) -> Delta {
        let filter = filter.shortest();
        let pattern = Pattern::of(&filter);
        let path = self.make_path(&pattern);
        let slot = self.slot(&path, &pattern);
        if let Some(entry) = slot {
            entry.count += 1;
            return Delta::default();
        }
        *slot = Some(Box::new(Entry { filter: filter.clone(), count: 1, member: false }));
        if self.is_covered(&pattern) {
            return Delta::default();
        }
        let removed = self.members_below(&pattern);
        for old in &removed {
            self.set_member(old, false);
        }
        self.set_member(&filter, true);
        Delta { added: vec![filter], removed }
    }

    /// Takes a filter away once; without effect when it is not there.
    pub fn remove(&mut self, filter: &Filter) -> Delta {
        let filter = filter.clone().shortest();
        let pattern = Pattern::of(&filter);
        let Some(path) = self.path(&pattern) else { return Delta::default() };
        let Some(entry) = self.slot(&path, &pattern) else { return Delta::default() };
        entry.count -= 1;
        if entry.count > 0 {
            return Delta::default();
        }
        let was_member = entry.member;
        if was_member {
            self.set_member(&filter, false);
        }
        *self.slot(&path, &pattern) = None;
        let added = if was_member { self.uncovered_below(&pattern) } else { Vec::new() };
        for new in &added {
            self.set_member(new, true);
        }
        self.prune(&path, &pattern);
        Delta { added, removed: if was_member { vec![filter] } else { Vec::new() } }
    }

    /// Whether every node but the root was given back.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.nodes.len() <= self.free.len() + 1
    }

    /// The nodes from the root along the levels of a filter.
    fn path(&self, pattern: &Pattern<'_>) -> Option<Vec<usize>> {
        let mut at = ROOT;
        let mut path = vec![at];
        self.nodes.first()?;
        for &level in &pattern.levels {
            at = self.nodes[at].children.get(level)?;
            path.push(at);
        }
        Some(path)
    }

    /// The same, with nodes made where there are none.
    fn make_path(&mut self, pattern: &Pattern<'_>) -> Vec<usize> {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = ROOT;
        let mut path = vec![at];
        for &level in &pattern.levels {
            at = match self.nodes[at].children.get(level) {
                Some(child) => child,
                None => {
                    let child = self.free.pop().unwrap_or_else(|| {
                        self.nodes.push(Node::default());
                        self.nodes.len() - 1
                    });
                    self.nodes[at].children.insert(level, child);
                    child
                }
            };
            path.push(at);
        }
        path
    }

    /// Where the entry of a filter belongs, given its path.
    fn slot(&mut self, path: &[usize], pattern: &Pattern<'_>) -> &mut Option<Box<Entry>> {
        let node = &mut self.nodes[path[path.len() - 1]];
        if pattern.hash { &mut node.hash } else { &mut node.here }
    }

    /// Takes a filter of the multiset into the cover, or out of it.
    fn set_member(&mut self, filter: &Filter, member: bool) {
        let pattern = Pattern::of(filter);
        let path = self.path(&pattern).expect("the filter is in the tree");
        for &at in &path {
            let members = &mut self.nodes[at].members;
            *members = if member { *members + 1 } else { *members - 1 };
        }
        self.slot(&path, &pattern).as_mut().expect("the filter is in the tree").member = member;
        if member {
            self.members.insert(filter.clone());
            self.digest = self.digest.wrapping_add(digest(filter.as_str()));
        } else {
            self.members.remove(filter);
            self.digest = self.digest.wrapping_sub(digest(filter.as_str()));
        }
    }

    /// Frees the nodes at the end of a path that hold nothing any more.
    fn prune(&mut self, path: &[usize], pattern: &Pattern<'_>) {
        for (depth, &level) in pattern.levels.iter().enumerate().rev() {
            let node = &self.nodes[path[depth + 1]];
            if !node.children.is_empty() || node.here.is_some() || node.hash.is_some() {
                return;
            }
            self.nodes[path[depth]].children.remove(level);
            self.free.push(path[depth + 1]);
        }
    }

    /// Whether another filter of the multiset covers this one.
    fn is_covered(&self, pattern: &Pattern<'_>) -> bool {
        let other = |entry: &Option<Box<Entry>>| entry.as_ref().is_some_and(|entry| entry.filter != *pattern.filter);
        let mut open = vec![(ROOT, 0)];
        while let Some((at, depth)) = open.pop() {
            let node = &self.nodes[at];
            if other(&node.hash) {
                return true;
            }
            match pattern.levels.get(depth) {
                Some(&level) => open.extend(self.wider(at, depth, level).map(|child| (child, depth + 1))),
                None if pattern.hash => {}
                None if other(&node.here) => return true,
                None => {}
            }
        }
        false
    }

    /// The members of the cover that a filter covers, without itself.
    fn members_below(&self, pattern: &Pattern<'_>) -> Vec<Filter> {
        let mut found = Vec::new();
        let mut open = vec![(ROOT, 0)];
        while let Some((at, depth)) = open.pop() {
            let node = &self.nodes[at];
            if node.members == 0 {
                continue;
            }
            let entries = pattern.entries(node, depth).into_iter().flatten();
            found.extend(entries.filter(|entry| entry.member).map(|entry| entry.filter.clone()));
            open.extend(pattern.children(node, depth).map(|(_, child)| (child, depth + 1)));
        }
        found
    }

    /// The filters that a filter covers, which is not in the multiset any more, and that no other filter covers.
    fn uncovered_below(&self, pattern: &Pattern<'_>) -> Vec<Filter> {
        let mut found = Vec::new();
        // Beside each node go all nodes whose levels match at least what its levels match; it is one of them.
        let mut open = vec![(ROOT, 0, vec![ROOT])];
        while let Some((at, depth, wider)) = open.pop() {
            let node = &self.nodes[at];
            let mut others = wider.iter().filter(|&&other| other != at).map(|&other| &self.nodes[other]);
            if others.clone().any(|other| other.hash.is_some()) {
                continue;
            }
            let [here, hash] = pattern.entries(node, depth);
            if node.hash.is_some() {
                found.extend(hash.map(|entry| entry.filter.clone()));
                continue;
            }
            if !others.any(|other| other.here.is_some()) {
                found.extend(here.map(|entry| entry.filter.clone()));
            }
            for (level, child) in pattern.children(node, depth) {
                let wider = wider.iter().flat_map(|&other| self.wider(other, depth, level)).collect();
                open.push((child, depth + 1, wider));
            }
        }
        found
    }

    /// The children of a node that match at least what a level matches: that level, and `+` [MQTT-4.7.2-1].
    fn wider(&self, at: usize, depth: usize, level: &str) -> impl Iterator<Item = usize> {
        let children = &self.nodes[at].children;
        let same = children.get(level);
        let plus = if level == "+" || (depth == 0 && level.starts_with('$')) { None } else { children.get("+") };
        same.into_iter().chain(plus)
    }
}

// === impl Pattern ===

impl<'a> Pattern<'a> {
    fn of(filter: &'a Filter) -> Pattern<'a> {
        let mut levels = levels(filter.as_str()).collect::<Vec<_>>();
        let hash = levels.pop_if(|last| *last == "#").is_some();
        Pattern { filter, levels, hash }
    }

    /// What the filter covers of a node that it leads to.
    fn entries<'n>(&self, node: &'n Node, depth: usize) -> [Option<&'n Entry>; 2] {
        let all = self.hash && depth >= self.levels.len();
        let here = all || depth == self.levels.len();
        [node.here.as_deref().filter(|_| here), node.hash.as_deref().filter(|_| all)]
    }

    /// The children of a node that the filter leads to, with their levels.
    fn children<'n>(&self, node: &'n Node, depth: usize) -> impl Iterator<Item = (&'n str, usize)> + use<'n> {
        let (all, one) = match self.levels.get(depth) {
            Some(&"+") => (true, None),
            Some(&level) => (false, node.children.entry(level)),
            None => (self.hash, None),
        };
        // Wildcards at the first level do not match what begins with `$` [MQTT-4.7.2-1].
        let hidden = depth == 0 && self.levels[0] == "+";
        let all = all.then(|| node.children.iter()).into_iter().flatten();
        all.chain(one).filter(move |(level, _)| !(hidden && level.starts_with('$')))
    }
}
