//! Names, each once, by number: a ledger under a flood of forged names has hardly anything else.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::{MAX_NAME_BYTES_KEPT, MAX_NAMES_KEPT, NameId};
use crate::account::name::Hashed;

/// Names one behind the other in one text, so that none takes memory of its own.
///
/// They come to less than 4 GB: a ledger has few more names than accounts, is flushed long before it
/// has two million of those, and no name is longer than 1,020 bytes.
#[derive(Debug, Default)]
pub(super) struct Texts {
    text: String,
    /// Where each ends, which is where the next one begins.
    ends: Vec<u32>,
    hashes: Vec<u64>,
}

impl Texts {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn get(&self, id: NameId) -> Option<Hashed<'_>> {
        let at = id.0 as usize;
        let hash = *self.hashes.get(at)?;
        let text = self.text.get(self.start(at)..self.ends[at] as usize)?;
        Some(Hashed { text, hash })
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |last| self.ends[last] as usize)
    }

    fn push(&mut self, name: Hashed<'_>) {
        self.text.push_str(name.text);
        self.ends.push(number(self.text.len()));
        self.hashes.push(name.hash);
    }

    /// A copy of all from the one with this number on.
    pub(super) fn since(&self, first: usize) -> Self {
        let start = self.start(first);
        Self {
            text: self.text[start..].to_owned(),
            ends: self.ends[first..]
                .iter()
                .map(|end| end - number(start))
                .collect(),
            hashes: self.hashes[first..].to_vec(),
        }
    }

    /// Forgets all, but keeps the memory, unless it is very much.
    pub(super) fn clear(&mut self) {
        if self.text.capacity() > 2 * MAX_NAME_BYTES_KEPT
            || self.ends.capacity() > 2 * MAX_NAMES_KEPT
        {
            *self = Self::default();
        }
        self.text.clear();
        self.ends.clear();
        self.hashes.clear();
    }

    pub(super) fn append(&mut self, others: &Self) {
        let start = number(self.text.len());
        self.text.push_str(&others.text);
        self.ends
            .extend(others.ends.iter().map(|end| end.saturating_add(start)));
        self.hashes.extend_from_slice(&others.hashes);
    }
}

/// Names that are found by their text.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) texts: Texts,
    index: HashTable<u32>,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        if self.index.capacity() > 4 * MAX_NAMES_KEPT {
            self.index = HashTable::new();
        }
        self.index.clear();
    }

    /// Whether there may be a name with this hash.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let hashes = &self.texts.hashes;
        let found = self.index.find(hash, |&at| hashes[at as usize] == hash);
        found.is_some()
    }

    pub(super) fn intern(&mut self, name: Hashed<'_>) -> NameId {
        let texts = &mut self.texts;
        let slot = self.index.entry(
            name.hash,
            |&at| {
                texts.hashes[at as usize] == name.hash
                    && texts
                        .get(NameId(at))
                        .is_some_and(|found| found.text == name.text)
            },
            |&at| texts.hashes[at as usize],
        );
        match slot {
            Slot::Occupied(found) => NameId(*found.get()),
            Slot::Vacant(slot) => {
                let id = number(texts.len());
                slot.insert(id);
                texts.push(name);
                NameId(id)
            }
        }
    }
}

/// Counts of names, of entries and of bytes are far below 2^32.
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_in_parts_is_the_same() {
        let (mut names, mut told) = (Names::default(), Texts::default());
        for round in 0..3 {
            let first = names.texts.len();
            for number in 0..3 {
                names.intern(format!("{round}.{number}").as_str().into());
            }
            told.append(&names.texts.since(first));
        }
        for id in (0..9).map(NameId) {
            let (name, again) = (names.texts.get(id), told.get(id));
            assert_eq!(name.map(|name| name.text), again.map(|name| name.text));
            assert_eq!(name.map(|name| name.hash), again.map(|name| name.hash));
        }
        assert!(told.get(NameId(9)).is_none());
    }
}
