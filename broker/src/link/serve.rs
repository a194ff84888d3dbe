//! What the other side wants, as it stands in the topic index: the filters of a cluster within what may leave, those of a
//! peer as they are.

use super::connection::Phase;
use super::interest_in::Changed;
use super::outlet::{Now, Outlet};
use super::settings::{Route, Scope};
use super::source::Source;
use super::spool::Spool;
use super::state::Link;

/// How long a node may be away before what it wanted is left to the others of its cluster.
const LOST_MAX: std::time::Duration = std::time::Duration::from_secs(30);

// === impl Link ===

impl<S: Spool> Link<S> {
    /// Puts what a node newly wants into the index, and takes out what it does not want any more.
    pub(super) fn serve(&mut self, out: &mut impl Outlet, changed: &Changed) {
        match self.settings.scope {
            Scope::Cluster => {
                let send = self.settings.send.as_deref();
                self.served.add(out, &changed.added, send);
                self.served.remove(out, &changed.removed, send);
                self.sends.set_except(self.except());
            }
            // A peer is one node, whose filters are no parts of others: they need no count.
            Scope::Peer(_) => {
                changed.added.iter().for_each(|filter| out.subscribe(filter));
                changed.removed.iter().for_each(|filter| out.unsubscribe(filter));
                changed.shared.iter().for_each(|share| out.share(share));
                changed.unshared.iter().for_each(|(group, filter)| out.unshare(group, filter));
            }
        }
    }

    /// Takes all that these nodes want out of the index.
    pub(super) fn unserve(&mut self, out: &mut impl Outlet, gone: &[Source]) {
        for source in gone {
            match self.settings.scope {
                Scope::Cluster => self.served.remove(out, source.interest.filters(), self.settings.send.as_deref()),
                Scope::Peer(_) => {
                    source.interest.filters().iter().for_each(|filter| out.unsubscribe(filter));
                    source.interest.shares().for_each(|share| out.unshare(&share.group, &share.filter));
                }
            }
        }
    }

    /// What a node of another cluster wanted is forgotten when it has had no connection with this one for long, while
    /// another node of that cluster has: each of them tells what all of them want. If none has, all is kept.
    pub(super) fn forget_lost(&mut self, out: &mut impl Outlet, now: Now) {
        if self.settings.is_peer() {
            return;
        }
        let connected = |node: &str| self.connections.iter().any(|c| c.phase == Phase::Up && *c.node == *node);
        let mut spoken_for = false;
        for source in &mut self.sources {
            let is_lost = !connected(&source.node);
            spoken_for |= !is_lost && source.interest.version().number > 0;
            source.lost = is_lost.then(|| source.lost.unwrap_or(now));
        }
        let over = |source: &Source| source.lost.is_some_and(|lost| now.saturating_sub(lost) >= LOST_MAX);
        for at in 0..self.sources.len() {
            if spoken_for && over(&self.sources[at]) && self.sources[at].interest.version().number > 0 {
                let gone = std::mem::take(&mut self.sources[at].interest);
                self.sources[at].announced = Default::default();
                let filters = gone.filters().iter().cloned().collect();
                self.serve(out, &Changed { removed: filters, ..Changed::default() });
            }
        }
    }

    /// Other filters may leave from now on.
    pub(super) fn serve_within(&mut self, out: &mut impl Outlet, send: Option<&[Route]>) {
        if self.settings.is_peer() {
            return;
        }
        // The new ones first, so that a filter in both never leaves the index.
        for source in &self.sources {
            self.served.add(out, source.interest.filters(), send);
            self.served.remove(out, source.interest.filters(), self.settings.send.as_deref());
        }
    }

    /// How many filters and shared subscriptions of the other side stand in the index.
    pub(super) fn served_len(&self) -> usize {
        match self.settings.scope {
            Scope::Cluster => self.served.len(),
            Scope::Peer(_) => self.sources.iter().map(|source| source.interest.len()).sum(),
        }
    }
}
