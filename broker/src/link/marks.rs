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

/// "From here on this lane is routed by at least this version of what that node of that cluster wants."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Id of the cluster whose interest it is.
    pub cluster: Arc<str>,
    /// The node that made the version.
    pub node: Arc<str>,
    /// The version.
    pub version: Version,
}

/// The newest mark for each node of each cluster.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    newest: BTreeMap<(Arc<str>, Arc<str>), Version>,
}

// === impl Marks ===

impl Marks {
    /// Takes a mark. Marks of one lane come in order: what comes later is newer, even if the node counts anew.
    pub fn put(&mut self, mark: &Mark) {
        self.newest.insert((mark.cluster.clone(), mark.node.clone()), mark.version);
    }

    /// The newest version marked, or the zero version.
    pub fn get(&self, cluster: &str, node: &str) -> Version {
        self.newest.iter().find(|((c, n), _)| &**c == cluster && &**n == node).map(|(_, v)| *v).unwrap_or_default()
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        self.newest.iter().map(|((cluster, node), version)| Mark {
            cluster: cluster.clone(),
            node: node.clone(),
            version: *version,
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
}
