//! Whether a message may pass on to a receiver, given where it has been.

use std::iter;

/// Longest text of a cluster id within a [`Path`], in bytes.
pub const CLUSTER_ID_MAX: usize = 255;

/// The ids of the clusters that a message has passed, oldest first: each as a length byte and its text.
///
/// Borrowed bytes, so that it travels between shards and over links as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<'a>(&'a [u8]);

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A client of this node, or the node itself.
    Client,
    /// Another node of this cluster.
    Peer,
    /// A link; the path ends with the cluster at its other end.
    Link(Path<'a>),
}

/// Whom a message would go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A client of this node.
    Client,
    /// Another node of this cluster.
    Peer,
    /// A link.
    Link {
        /// Id of the cluster at its other end.
        cluster: &'a str,
        /// Links that a message may cross, from where it was published; 1: it is never sent on.
        max_hops: u8,
    },
}

/// Whether a message from `origin` may go to `to`.
///
/// Clients get every message. The node where a message enters a cluster tells its peers and its links, and nobody tells
/// them again. A message that came by a link is sent on by another one if that one's cluster is not on the path and
/// the path is not full, so that no message goes round in circles.
pub fn may_pass(to: Destination<'_>, origin: Origin<'_>) -> bool {
    match (to, origin) {
        (Destination::Client, Origin::Client | Origin::Peer | Origin::Link(_)) => true,
        (Destination::Peer, Origin::Client | Origin::Link(_)) => true,
        (Destination::Peer, Origin::Peer) => false,
        (Destination::Link { .. }, Origin::Peer) => false,
        (Destination::Link { max_hops, .. }, Origin::Client) => max_hops > 0,
        (Destination::Link { cluster, max_hops }, Origin::Link(path)) => {
            path.hops() < usize::from(max_hops) && !path.contains(cluster)
        }
    }
}

// === impl Path ===

impl<'a> Path<'a> {
    /// The path of a message that has passed no other cluster.
    pub const EMPTY: Self = Self(&[]);

    /// A path from its bytes; `None` if they end within an id, or an id is empty or not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while let Some((id, after)) = split(rest) {
            std::str::from_utf8(id).ok().filter(|id| !id.is_empty())?;
            rest = after;
        }
        rest.is_empty().then_some(Self(bytes))
    }

    /// The bytes, as [`Path::parse`] takes them.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The ids, oldest first.
    pub fn ids(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        iter::from_fn(move || {
            let (id, after) = split(rest)?;
            rest = after;
            Some(id)
        })
    }

    /// How many clusters the message has passed, which is how many links it has crossed.
    pub fn hops(self) -> usize {
        self.ids().count()
    }

    /// Whether a cluster is on the path.
    pub fn contains(self, cluster: &str) -> bool {
        self.ids().any(|id| id == cluster.as_bytes())
    }

    /// Appends this path and one more cluster to `out`.
    ///
    /// # Panics
    /// If the id is empty or longer than [`CLUSTER_ID_MAX`]; ids are checked where a cluster gets or tells its id.
    pub fn extend(self, cluster: &str, out: &mut Vec<u8>) {
        assert!(!cluster.is_empty() && cluster.len() <= CLUSTER_ID_MAX, "a cluster id has 1 to {CLUSTER_ID_MAX} bytes");
        out.extend_from_slice(self.0);
        out.push(cluster.len() as u8);
        out.extend_from_slice(cluster.as_bytes());
    }
}

/// The first id and what follows it; `None` at the end or if the bytes end within the id.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path_of(ids: &[&str]) -> Vec<u8> {
        ids.iter().fold(Vec::new(), |bytes, id| {
            let mut longer = Vec::new();
            Path(&bytes).extend(id, &mut longer);
            longer
        })
    }

    #[test]
    fn a_message_passes_by_these_rules() {
        let (one, two) = (path_of(&["A"]), path_of(&["A", "B"]));
        let (from_a, from_a_and_b) = (Origin::Link(Path(&one)), Origin::Link(Path(&two)));
        let link = |cluster, max_hops| Destination::Link { cluster, max_hops };
        let table = [
            (Destination::Client, Origin::Client, true),
            (Destination::Client, Origin::Peer, true),
            (Destination::Client, from_a, true),
            (Destination::Peer, Origin::Client, true),
            (Destination::Peer, Origin::Peer, false),
            (Destination::Peer, from_a, true),
            (link("C", 1), Origin::Client, true),
            (link("C", 0), Origin::Client, false),
            (link("C", 9), Origin::Peer, false),
            (link("C", 1), from_a, false),
            (link("C", 2), from_a, true),
            (link("A", 9), from_a, false),
            (link("A", 9), from_a_and_b, false),
            (link("B", 9), from_a_and_b, false),
            (link("C", 2), from_a_and_b, false),
            (link("C", 3), from_a_and_b, true),
        ];
        for (to, origin, passes) in table {
            assert_eq!(may_pass(to, origin), passes, "{origin:?} to {to:?}");
        }
    }

    #[test]
    fn a_path_that_ends_within_an_id_is_refused() {
        for bytes in [&[1][..], &[2, b'a'], &[1, b'a', 3, b'b'], &[0], &[1, 0xff]] {
            assert_eq!(Path::parse(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_gives_back_its_ids(ids in prop::collection::vec("[a-zé]{1,8}", 0..5)) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let bytes = path_of(&ids);
            let path = Path::parse(&bytes).unwrap();
            prop_assert!(path.ids().eq(ids.iter().map(|id| id.as_bytes())));
            prop_assert_eq!(path.hops(), ids.len());
            prop_assert!(ids.iter().all(|id| path.contains(id)) && !path.contains("none"));
            prop_assert_eq!(path.bytes(), &bytes);
        }

        #[test]
        fn any_bytes_are_a_path_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(path) = Path::parse(&bytes) {
                let ids: Vec<&str> = path.ids().map(|id| std::str::from_utf8(id).unwrap()).collect();
                prop_assert_eq!(path_of(&ids), bytes);
            }
        }
    }
}
