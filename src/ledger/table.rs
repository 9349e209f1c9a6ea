//! Sums that are found by their key, in the order in which they were first added to.

use std::hash::Hash;

use ahash::RandomState;
use hashbrown::HashTable;

use super::names::number;
use super::rows::Ranks;
use super::{Entry, NameId};
use crate::account::delta::Amount;

/// Entries whose memory is kept for the next ones.
const MAX_ENTRIES_KEPT: usize = 65_536;

/// A sum, and what it is of.
pub(super) trait Sum {
    type Key: Hash + Eq;

    fn key(&self) -> Self::Key;
    fn amount(&mut self) -> &mut Amount;
}

impl Sum for Entry {
    type Key = u128;

    #[inline]
    fn key(&self) -> u128 {
        Self::key(self)
    }

    #[inline]
    fn amount(&mut self) -> &mut Amount {
        &mut self.amount
    }
}

/// Entries that are found by their key.
#[derive(Debug)]
pub(super) struct Table<E> {
    pub(super) entries: Vec<E>,
    by_key: HashTable<u32>,
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            by_key: HashTable::new(),
        }
    }
}

impl<E: Sum> Table<E> {
    /// Which entry it went to.
    pub(super) fn add(&mut self, hasher: &RandomState, mut new: E) -> u32 {
        let key = new.key();
        let hash = hasher.hash_one(&key);
        let entries = &mut self.entries;
        let found = self
            .by_key
            .find(hash, |&at| entries[at as usize].key() == key);
        match found {
            Some(&at) => {
                let amount = *new.amount();
                entries[at as usize].amount().add(amount);
                at
            }
            None => {
                let at = number(entries.len());
                self.by_key
                    .insert_unique(hash, at, |&at| hasher.hash_one(entries[at as usize].key()));
                entries.push(new);
                at
            }
        }
    }

    /// Its entries; there will be about as many again.
    pub(super) fn hand_over(&mut self) -> Vec<E> {
        self.by_key.clear();
        let next = Vec::with_capacity(self.entries.len());
        std::mem::replace(&mut self.entries, next)
    }

    pub(super) fn forget_keys(&mut self) {
        if self.by_key.capacity() > 2 * MAX_ENTRIES_KEPT {
            self.by_key = HashTable::new();
        } else {
            self.by_key.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.forget_keys();
        if self.entries.capacity() > MAX_ENTRIES_KEPT {
            self.entries = Vec::new();
        } else {
            self.entries.clear();
        }
    }
}

impl Table<Entry> {
    /// Sorts by vhost, part, and day. Instead of a name there is its rank then; `with_names`: `part` is
    /// a user or a layer, whose rank is counted from 1, and 0 for none.
    pub(super) fn sort(&mut self, ranks: &Ranks, with_names: bool) {
        for entry in &mut self.entries {
            entry.vhost = NameId(ranks.of(entry.vhost).unwrap_or_default());
            if with_names {
                entry.part = NameId(ranks.of(entry.part).map_or(0, |rank| rank + 1));
            }
        }
        self.entries
            .sort_unstable_by_key(|entry| (entry.vhost, entry.part, entry.day));
    }
}
