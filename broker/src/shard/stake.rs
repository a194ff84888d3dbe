//! Stakes: versions of what this node wants that contain what the index holds now, told to every other node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::control::Stake;
use super::{Control, Shard};
use crate::link::{Mark, Version};

/// A stake that nodes of this shard were given.
pub struct StakeHere {
    stake: Stake,
    /// Rows that have not told it yet.
    waiting: Vec<u32>,
    /// What the others were told.
    versions: Vec<(Arc<str>, Version)>,
}

/// Stakes that this shard asked for: how many shards are still to answer, and what those that have said.
pub type Asked = HashMap<u64, (usize, Vec<(Arc<str>, Version)>)>;

// === impl Shard ===

impl Shard {
    /// Asks all shards for versions that contain what the index holds now.
    pub(super) fn ask_for_stake(&mut self, token: u64) {
        let local = &self.shared.local;
        // The index was changed before the number is taken: who marks a later number routes by what this one means, too.
        let number = self.shared.own_versions.fetch_add(1, Ordering::AcqRel) + 1;
        let version = Version { epoch: local.incarnation, number };
        let mark = Mark { cluster: Arc::clone(&local.cluster_id), node: Arc::clone(&local.node), version };
        self.asked.insert(token, (self.shared.inboxes.len(), vec![(Arc::clone(&local.node), version)]));
        let stake = Stake { shard: self.core.shard, token };
        // This shard too finds it among its messages: whoever moves sessions is not to be called back.
        for inbox in &self.shared.inboxes {
            inbox.send(Control::Stake(stake));
        }
        self.announce(&mark);
    }

    /// Has the nodes of this shard told a version of what is wanted now.
    pub(super) fn stake_here(&mut self, stake: Stake) {
        self.update_interest();
        let mut waiting = Vec::new();
        for at in 0..self.links.len() {
            let slot = self.links[at];
            if self.link_row_mut(slot).is_some_and(|row| row.peer_mut().is_some()) {
                self.with_link(slot, |link, _| link.stake());
                waiting.push(slot);
            }
        }
        self.stakes.push(StakeHere { stake, waiting, versions: Vec::new() });
    }

    /// Answers the stakes that all nodes of this shard have been told.
    pub(super) fn answer_stakes(&mut self) {
        if self.stakes.is_empty() {
            return;
        }
        let mut stakes = std::mem::take(&mut self.stakes);
        stakes.retain_mut(|here| {
            let waiting = std::mem::take(&mut here.waiting);
            for slot in waiting {
                match self.version_staked(slot) {
                    Some(Ok(told)) => here.versions.push(told),
                    Some(Err(())) => here.waiting.push(slot),
                    // The node has left: if it comes back, it begins with all that is wanted then.
                    None => {}
                }
            }
            if here.waiting.is_empty() {
                let (token, versions) = (here.stake.token, std::mem::take(&mut here.versions));
                self.shared.inboxes[usize::from(here.stake.shard)].send(Control::Staked { token, versions });
            }
            !here.waiting.is_empty()
        });
        self.stakes = stakes;
    }

    /// The version that a node is told, or that it was not told yet; `None` if it is gone.
    fn version_staked(&mut self, slot: u32) -> Option<Result<(Arc<str>, Version), ()>> {
        let row = self.link_row_mut(slot)?;
        let node = Arc::clone(&row.peer_mut()?.node);
        let version = row.link.as_mut()?.staked();
        Some(version.map(|version| (node, version)).ok_or(()))
    }

    /// A shard has answered; when all have, the sessions that came know since when messages come here directly.
    pub(super) fn staked(&mut self, token: u64, versions: Vec<(Arc<str>, Version)>) {
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
