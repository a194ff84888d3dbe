//! The next levels of a node in a tree of filters: most nodes have none or one, so that these are small.

use std::collections::BTreeMap;

/// Nodes by the level that leads to them.
#[derive(Debug, Default)]
pub(super) enum Children {
    /// It is a leaf.
    #[default]
    None,
    /// One level, and its node.
    One(Box<str>, usize),
    /// Several; not fewer than two.
    Many(BTreeMap<Box<str>, usize>),
}

// === impl Children ===

impl Children {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The node behind a level, with the level.
    pub fn entry(&self, level: &str) -> Option<(&str, usize)> {
        match self {
            Self::None => None,
            Self::One(own, child) => (**own == *level).then_some((&**own, *child)),
            Self::Many(all) => all.get_key_value(level).map(|(own, child)| (&**own, *child)),
        }
    }

    /// The node behind a level.
    pub fn get(&self, level: &str) -> Option<usize> {
        self.entry(level).map(|(_, child)| child)
    }

    /// All, in the order of their levels.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(level, child) => (Some((&**level, *child)), None),
            Self::Many(all) => (None, Some(all.iter().map(|(level, child)| (&**level, *child)))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Puts a node behind a level that has none.
    pub fn insert(&mut self, level: &str, child: usize) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(level.into(), child),
            Self::One(other, its) => Self::Many([(other, its), (level.into(), child)].into()),
            Self::Many(mut all) => {
                all.insert(level.into(), child);
                Self::Many(all)
            }
        };
    }

    /// Takes away the node behind a level.
    pub fn remove(&mut self, level: &str) {
        *self = match std::mem::take(self) {
            Self::None => Self::None,
            Self::One(own, _) if *own == *level => Self::None,
            Self::One(own, child) => Self::One(own, child),
            Self::Many(mut all) => {
                all.remove(level);
                match all.len() {
                    1 => all.pop_first().map_or(Self::None, |(level, child)| Self::One(level, child)),
                    _ => Self::Many(all),
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_hold_what_a_map_holds(changes in prop::collection::vec((0_usize..4, any::<bool>()), 0..40)) {
            let levels = ["", "+", "a", "b"];
            let (mut children, mut twin) = (Children::default(), BTreeMap::new());
            for (at, (level, comes)) in changes.into_iter().enumerate() {
                let level = levels[level];
                if !comes {
                    children.remove(level);
                    twin.remove(level);
                } else if twin.insert(level, at).is_none() {
                    children.insert(level, at);
                } else {
                    children.remove(level);
                    children.insert(level, at);
                }
                prop_assert!(children.iter().eq(twin.iter().map(|(level, child)| (*level, *child))));
                prop_assert_eq!(children.is_empty(), twin.is_empty());
                prop_assert!(levels.iter().all(|level| children.get(level) == twin.get(level).copied()));
            }
        }
    }
}
