//! Wildcard filters grouped by shape: where their wildcards stand.
//!
//! All filters of one shape lie in one hash table, keyed by their literal levels. A topic has one key in each shape,
//! so a look-up probes each shape once, however many filters it has. Somebody may subscribe to filters of very many
//! shapes and slow every look-up; therefore only [`SHAPES_MAX`] shapes have a table.

use super::hash::{DEPTH, Levels, Seed};
use super::node::Node;
use super::stamps::Position;
use crate::topic::Filter;
use hashbrown::HashTable;

/// Shapes that have a table of their own.
pub(super) const SHAPES_MAX: usize = 64;

/// Where a filter's wildcards stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// Bit `i`: level `i` is `+`.
    plus: u16,
    /// Levels, a last `#` not counted; at most [`DEPTH`].
    levels: u8,
    /// Whether it ends with `#`.
    multi: bool,
}

/// What the index needs to know of a filter's text.
pub(super) struct Pattern {
    pub form: Form,
    /// The key in the table of its form: its literal levels, folded.
    pub hash: u64,
    /// The counter that a change of it bumps.
    pub position: Position,
}

/// Which table a filter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// No wildcard.
    Exact,
    /// Wildcards, and not too many levels.
    Shaped(Shape),
    /// Wildcards and more than [`DEPTH`] levels.
    Deep,
}

/// Filters by hash.
#[derive(Debug, Default)]
pub(super) struct Table(HashTable<Node>);

/// The tables of all shapes that have one.
#[derive(Debug, Default)]
pub(super) struct Shapes(Vec<(Shape, Table)>);

// === impl Pattern ===

impl Pattern {
    pub fn of(seed: &Seed, filter: &str) -> Self {
        let bytes = filter.as_bytes();
        let mut shape = Shape { plus: 0, levels: 0, multi: false };
        let (mut levels, mut hash, mut exact) = (0, seed.start(), true);
        let (mut lead, mut led) = ([0; 2], 0);
        let mut at = 0;
        loop {
            let (level, end) = seed.level(bytes, at);
            match &bytes[at..end] {
                b"#" => (shape.multi, exact) = (true, false),
                b"+" => {
                    exact = false;
                    if levels < DEPTH {
                        shape.plus |= 1 << levels;
                    }
                    levels += 1;
                }
                _ => {
                    if exact && led < lead.len() {
                        lead[led] = level;
                        led += 1;
                    }
                    hash = seed.fold(hash, level);
                    levels += 1;
                }
            }
            if end == bytes.len() {
                break;
            }
            at = end + 1;
        }
        shape.levels = levels.min(DEPTH) as u8;
        let form = match (exact, levels > DEPTH) {
            (true, _) => Form::Exact,
            (false, true) => Form::Deep,
            (false, false) => Form::Shaped(shape),
        };
        Self { form, hash, position: Position::of(seed, exact, hash, &lead[..led]) }
    }
}

// === impl Shape ===

impl Shape {
    /// Whether filters of this shape can match a topic of so many levels; `dollar`: it begins with `$`
    /// `[MQTT-4.7.2-1]`.
    fn fits(self, count: usize, dollar: bool) -> bool {
        let levels = usize::from(self.levels);
        let long_enough = if self.multi { count >= levels } else { count == levels };
        let wild = self.plus & 1 != 0 || levels == 0;
        long_enough && !(dollar && wild)
    }

    /// The key of the one filter of this shape that can match the topic.
    fn hash(self, seed: &Seed, levels: &Levels) -> u64 {
        let count = usize::from(self.levels);
        let lead = count.min(self.plus.trailing_zeros() as usize);
        let literal = (lead..count).filter(|i| self.plus & 1 << i == 0);
        literal.fold(levels.folds[lead], |so_far, i| seed.fold(so_far, levels.hashes[i]))
    }
}

// === impl Table ===

impl Table {
    /// The node of a filter, made if it is not there.
    pub fn node(&mut self, hash: u64, filter: &Filter) -> &mut Node {
        let entry = self.0.entry(hash, |node| node.hash == hash && node.filter == *filter, |node| node.hash);
        entry.or_insert_with(|| Node::new(hash, filter.clone())).into_mut()
    }

    /// Changes the node of a filter, and removes it if it is empty then; `None` if it is not there.
    pub fn change<T>(&mut self, hash: u64, filter: &Filter, change: impl FnOnce(&mut Node) -> T) -> Option<T> {
        let mut entry = self.0.find_entry(hash, |node| node.hash == hash && node.filter == *filter).ok()?;
        let result = change(entry.get_mut());
        if entry.get().is_empty() {
            entry.remove();
            if self.0.capacity() > 64 && self.0.len() < self.0.capacity() / 8 {
                self.0.shrink_to(self.0.len() * 2, |node| node.hash);
            }
        }
        Some(result)
    }

    /// The filter with this hash that matches the topic.
    pub fn find(&self, hash: u64, topic: &str) -> Option<&Node> {
        self.0.find(hash, |node| node.hash == hash && node.filter.matches(topic))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }
}

// === impl Shapes ===

impl Shapes {
    pub fn table(&mut self, shape: Shape) -> Option<&mut Table> {
        self.0.iter_mut().find(|(of, _)| *of == shape).map(|(_, table)| table)
    }

    /// Gives a shape a table; nothing when there are too many.
    pub fn add(&mut self, shape: Shape) -> Option<&mut Table> {
        if self.0.len() == SHAPES_MAX {
            return None;
        }
        self.0.push((shape, Table::default()));
        self.0.last_mut().map(|(_, table)| table)
    }

    /// Takes the table of a shape away if no filter is left in it.
    pub fn settle(&mut self, shape: Shape) {
        self.0.retain(|(of, table)| *of != shape || table.len() > 0);
    }

    /// Every filter that matches.
    pub fn look_up<'a>(&'a self, seed: &Seed, levels: &Levels, topic: &str, mut found: impl FnMut(&'a Node)) {
        let dollar = topic.starts_with('$');
        for (shape, table) in &self.0 {
            if shape.fits(levels.count, dollar)
                && let Some(node) = table.find(shape.hash(seed, levels), topic)
            {
                found(node);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter().flat_map(|(_, table)| table.iter())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn filters(&self) -> usize {
        self.0.iter().map(|(_, table)| table.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_goes_to_the_table_of_its_shape() {
        let form = |filter: &str| Pattern::of(&Seed::new(8), filter).form;
        let shaped = |levels, plus, multi| Form::Shaped(Shape { plus, levels, multi });
        let deep = format!("+{}", "/x".repeat(DEPTH));
        let deepest_shaped = format!("+{}/#", "/x".repeat(DEPTH - 1));
        let table = [
            ("a/b", Form::Exact),
            ("#", shaped(0, 0, true)),
            ("+", shaped(1, 1, false)),
            ("a/+/b/#", shaped(3, 2, true)),
            ("/+", shaped(2, 2, false)),
            (deep.as_str(), Form::Deep),
            (deepest_shaped.as_str(), shaped(DEPTH as u8, 1, true)),
        ];
        for (filter, expected) in table {
            assert_eq!(form(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_topic_has_the_hash_of_the_filter_that_matches_it() {
        let seed = Seed::new(9);
        for (filter, topic) in
            [("a/+/c", "a/b/c"), ("+/b/+/d/#", "a/b/c/d/e/f"), ("a/#", "a"), ("+/+", "a/b"), ("#", "x/y")]
        {
            let pattern = Pattern::of(&seed, filter);
            let Form::Shaped(shape) = pattern.form else { panic!("{filter} has a wildcard") };
            let levels = Levels::of(&seed, topic);
            assert!(shape.fits(levels.count, false));
            assert_eq!(shape.hash(&seed, &levels), pattern.hash, "{filter} {topic}");
        }
    }
}
