//! Versions of interest, and the marks that say by which version a lane is routed.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A version of what one node wants: counted within one life of that node, and newer in a later life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The life of what counts; 0 with number 0: nothing known yet.
    pub epoch: u64,
    /// Counts from 1 in each epoch.
    pub number: u64,
}

/// Names of lives of links that one life of a node has: the milliseconds in which they may be made.
pub(super) const LIFE: u64 = 1 << 20;

/// "From here on what this shard put into this lane is routed by at least this version of what that node of that cluster
/// wants."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Id of the cluster whose interest it is.
    pub cluster: Arc<str>,
    /// The node that made the version.
    pub node: Arc<str>,
    /// The version.
    pub version: Version,
}

/// The newest mark for each node of each cluster, as of each shard that routes.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// By cluster and node; at the index of a shard the version that it marked last, or the zero version.
    newest: BTreeMap<(Arc<str>, Arc<str>), Vec<Version>>,
}

// === impl Version ===

impl Version {
    /// Above all versions that links of a node had which this life of it made before this time, in milliseconds since its
    /// begin; below those of links that it makes later.
    pub fn at(incarnation: u64, made: u64) -> Self {
        Self { epoch: incarnation.wrapping_mul(LIFE).wrapping_add(made).max(1), number: 0 }
    }

    /// Whether this life of the node that counts, by its incarnation, made it; an earlier life did not, nor did nobody.
    pub fn is_of(&self, incarnation: u64) -> bool {
        self.epoch >= incarnation.wrapping_mul(LIFE).max(1)
    }
}

// === impl Marks ===

impl Marks {
    /// Puts a mark of a shard in place of an earlier one for the same node.
    pub fn put(&mut self, shard: u8, mark: &Mark) {
        let versions = self.newest.entry((mark.cluster.clone(), mark.node.clone())).or_default();
        let index = usize::from(shard);
        if versions.len() <= index {
            versions.resize(index + 1, Version::default());
        }
        versions[index] = mark.version;
    }

    /// The newest version that this shard marked, or the zero version.
    pub fn get(&self, shard: u8, cluster: &str, node: &str) -> Version {
        let versions = self.versions(cluster, node);
        versions.and_then(|versions| versions.get(usize::from(shard))).copied().unwrap_or_default()
    }

    /// The newest version that each of so many shards has marked, or the zero version.
    pub fn get_all(&self, shards: u8, cluster: &str, node: &str) -> Version {
        let versions = self.versions(cluster, node).filter(|versions| versions.len() >= usize::from(shards));
        let all = versions.and_then(|versions| versions.iter().take(usize::from(shards)).min());
        all.copied().unwrap_or_default()
    }

    /// True if any shard has a mark for the same node.
    pub fn knows(&self, mark: &Mark) -> bool {
        self.newest.contains_key(&(mark.cluster.clone(), mark.node.clone()))
    }

    /// All with their shards, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Mark)> + '_ {
        self.newest.iter().flat_map(|((cluster, node), versions)| {
            let marked = (0_u8..).zip(versions).filter(|(_, version)| **version != Version::default());
            marked.map(|(shard, version)| {
                (shard, Mark { cluster: cluster.clone(), node: node.clone(), version: *version })
            })
        })
    }

    /// How many nodes have a mark.
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.newest.clear();
    }

    fn versions(&self, cluster: &str, node: &str) -> Option<&Vec<Version>> {
        self.newest.iter().find(|((c, n), _)| &**c == cluster && &**n == node).map(|(_, versions)| versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_of_the_life_that_made_it_however_long_that_lasts() {
        let (before, now) = (1_800_000_000_000, 1_800_000_600_000);
        // A link that was made at the end of the life before, ten minutes after its beginning.
        let last = Version { epoch: before * LIFE + (now - before), number: 7 };
        assert!(last.is_of(before) && !last.is_of(now));
        assert!(Version { epoch: now * LIFE + 1, number: 1 }.is_of(now));
        assert!(!Version::default().is_of(now), "nobody made it");
    }
}
