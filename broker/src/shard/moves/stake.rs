//! Stakes: versions of what this node wants that contain what the index holds now, told to every other node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::link::{Mark, Version};
use crate::peer;
use crate::shard::control::Stake;
use crate::shard::{Control, Shard};

/// Stakes that this shard asked for: how many shards are still to answer, and what those that have said.
pub type Asked = HashMap<u64, (usize, Vec<(Arc<str>, Version)>)>;

// === impl Shard ===

impl Shard {
    /// Asks all shards for versions that contain what the index holds now.
    pub(in crate::shard) fn ask_for_stake(&mut self, token: u64) {
        let local = &self.shared.local;
        // The index was changed before the number is taken: who marks a later number routes by what this one means, too.
        let number = self.shared.own_versions.fetch_add(1, Ordering::AcqRel) + 1;
        let version = Version { epoch: local.incarnation, number };
        let mark = Mark { cluster: Arc::clone(&local.cluster_id), node: Arc::clone(&local.node), version };
        let others = (Arc::from(peer::OTHERS), Version::at(local.incarnation, self.core.now.0));
        let versions = vec![(Arc::clone(&local.node), version), others];
        self.asked.insert(token, (self.shared.inboxes.len(), versions));
        let stake = Stake { shard: self.core.shard, token };
        // This shard too finds it among its messages: whoever moves sessions is not to be called back.
        for inbox in &self.shared.inboxes {
            inbox.send(Control::Stake(stake));
        }
        self.announce(&mark);
    }

    /// Makes a version for each node of this shard, and answers with them. Of a node that is not here nothing is said: it
    /// begins with all that is wanted when it comes; `OTHERS` says since when.
    pub(in crate::shard) fn stake_here(&mut self, stake: Stake) {
        self.update_interest();
        let mut versions = Vec::new();
        for at in 0..self.links.len() {
            let slot = self.links[at];
            let Some(node) = self.link_row_mut(slot).and_then(|row| Some(Arc::clone(&row.peer_mut()?.node))) else {
                continue;
            };
            if let Some(version) = self.with_link(slot, |link, _| link.stake()) {
                versions.push((node, version));
            }
        }
        let answer = Control::Staked { token: stake.token, versions };
        self.shared.inboxes[usize::from(stake.shard)].send(answer);
    }

    /// A shard has answered; when all have, the sessions that came know since when messages come here directly.
    pub(in crate::shard) fn staked(&mut self, token: u64, versions: Vec<(Arc<str>, Version)>) {
        let Some((missing, all)) = self.asked.get_mut(&token) else { return };
        all.extend(versions);
        *missing -= 1;
        if *missing == 0
            && let Some((_, versions)) = self.asked.remove(&token)
        {
            self.with_moves(|moves, out, now| moves.staked(out, token, versions, now));
        }
    }
}
