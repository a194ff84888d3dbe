//! Who subscribed to one filter, or belongs to one group: joined and left in constant time, however many there are.

use super::hash::Seed;
use super::receiver::Receiver;
use hashbrown::HashTable;

/// Up to this many are searched one by one.
const LINEAR_MAX: usize = 16;

/// What a roster lists: each receiver at most once.
pub(super) trait Listed {
    /// Who it is.
    fn receiver(&self) -> Receiver;
}

/// A list without order, with a table of places once it is long.
#[derive(Debug)]
pub(super) struct Roster<T> {
    all: Vec<T>,
    places: HashTable<u32>,
}

// === impl Roster ===

impl<T: Listed> Roster<T> {
    pub fn new() -> Self {
        Self { all: Vec::new(), places: HashTable::new() }
    }

    pub fn all(&self) -> &[T] {
        &self.all
    }

    /// What stands there for a receiver.
    pub fn find(&self, seed: &Seed, receiver: Receiver) -> Option<&T> {
        self.place(seed, receiver).map(|place| &self.all[place])
    }

    /// The same, to be changed; it must go on to list the same receiver.
    pub fn find_mut(&mut self, seed: &Seed, receiver: Receiver) -> Option<&mut T> {
        self.place(seed, receiver).map(|place| &mut self.all[place])
    }

    /// Enters `item`; gives back what stood there for the same receiver.
    pub fn put(&mut self, seed: &Seed, item: T) -> Option<T> {
        if let Some(place) = self.place(seed, item.receiver()) {
            return Some(std::mem::replace(&mut self.all[place], item));
        }
        let hash = hash(seed, item.receiver());
        self.all.push(item);
        let Self { all, places } = self;
        let of = |place: &u32| self::hash(seed, all[*place as usize].receiver());
        if places.is_empty() && all.len() > LINEAR_MAX {
            for place in 0..all.len() as u32 {
                places.insert_unique(of(&place), place, of);
            }
        } else if !places.is_empty() {
            places.insert_unique(hash, all.len() as u32 - 1, of);
        }
        None
    }

    /// Strikes a receiver off; gives back what stood there.
    pub fn take(&mut self, seed: &Seed, receiver: Receiver) -> Option<T> {
        let place = self.place(seed, receiver)?;
        let last = self.all.len() - 1;
        if !self.places.is_empty() {
            self.forget(seed, receiver, place as u32);
            if place != last {
                let moved = hash(seed, self.all[last].receiver());
                if let Some(at) = self.places.find_mut(moved, |at| *at as usize == last) {
                    *at = place as u32;
                }
            }
        }
        let taken = self.all.swap_remove(place);
        if self.all.len() <= LINEAR_MAX / 2 {
            self.places = HashTable::new();
        }
        if self.all.capacity() > LINEAR_MAX && self.all.len() < self.all.capacity() / 4 {
            self.all.shrink_to(self.all.len() * 2);
            let Self { all, places } = self;
            places.shrink_to(all.len() * 2, |place| hash(seed, all[*place as usize].receiver()));
        }
        Some(taken)
    }

    fn place(&self, seed: &Seed, receiver: Receiver) -> Option<usize> {
        if self.places.is_empty() {
            return self.all.iter().position(|item| item.receiver().same(receiver));
        }
        let same = |place: &u32| self.all[*place as usize].receiver().same(receiver);
        self.places.find(hash(seed, receiver), same).map(|place| *place as usize)
    }

    fn forget(&mut self, seed: &Seed, receiver: Receiver, place: u32) {
        if let Ok(entry) = self.places.find_entry(hash(seed, receiver), |at| *at == place) {
            entry.remove();
        }
    }
}

fn hash(seed: &Seed, receiver: Receiver) -> u64 {
    seed.fold(seed.start(), receiver.key())
}

#[cfg(test)]
mod tests {
    use super::super::receiver::{Kind, ReceiverFlags};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Listed for (Receiver, u32) {
        fn receiver(&self) -> Receiver {
            self.0
        }
    }

    proptest! {
        #[test]
        fn a_roster_is_a_map_by_receiver(steps in prop::collection::vec((any::<bool>(), 0_u32..60, any::<u32>()), 0..400)) {
            let seed = Seed::new(6);
            let (mut roster, mut twin) = (Roster::new(), BTreeMap::new());
            for (put, slot, value) in steps {
                let receiver = Receiver { slot, epoch: 1, shard: 0, flags: ReceiverFlags::new(Kind::Client, 0) };
                if put {
                    let before = roster.put(&seed, (receiver, value));
                    prop_assert_eq!(before.map(|item| item.1), twin.insert(slot, value));
                } else {
                    prop_assert_eq!(roster.take(&seed, receiver).map(|item| item.1), twin.remove(&slot));
                }
                let listed: BTreeMap<u32, u32> = roster.all().iter().map(|item| (item.0.slot, item.1)).collect();
                prop_assert_eq!(&listed, &twin);
                prop_assert_eq!(roster.find(&seed, receiver).map(|item| item.1), twin.get(&slot).copied());
                prop_assert_eq!(roster.all().len(), twin.len());
            }
        }
    }
}
