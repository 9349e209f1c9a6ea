//! Names as they are logged, and what they came to: most lines name what a line before named.

use hashbrown::HashTable;
use tollkeeper_parsers::record::Logged;
use tollkeeper_parsers::text::Escape;

use crate::account::name::{self, Hashed};
use crate::ledger::NameId;

/// Raw names that are remembered with their number; beyond, all are forgotten.
const MAX_CACHED_NAMES: usize = 65_536;
/// And so they are where they have so many bytes, and one more would not fit.
const MAX_CACHED_BYTES: usize = 4 << 20;

/// Names as logged, with the number of what they came to.
#[derive(Debug, Default)]
pub(super) struct Cache {
    recent: Recent,
    slots: HashTable<Cached>,
    /// All that were logged, one behind the other.
    logged: Vec<u8>,
    /// Memory to fold names in.
    buffer: Vec<u8>,
}

/// The last name of each of some sets: most names that are met were met a moment ago, and are short
/// enough to be compared as a few words, without a look at what was logged.
#[derive(Debug, Default)]
struct Recent {
    /// None, until the first name.
    slots: Vec<Option<Recently>>,
}

/// A power of two.
const RECENT_NAMES: usize = 4_096;

/// A name of 8 to 24 bytes, and its number.
#[derive(Debug, Clone, Copy)]
struct Recently {
    words: Words,
    kind: Kind,
    id: NameId,
}

/// All bytes of a name of 8 to 24: its first eight, its last eight, and eight in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Words {
    first: u64,
    middle: u64,
    last: u64,
}

/// How many bytes a name has, and how they are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    bytes: u8,
    escape: Escape,
}

const _: () = assert!(
    size_of::<Option<Recently>>() == 32,
    "half a line of the processor's cache"
);

impl Words {
    #[inline(always)]
    fn of(name: &Logged<'_>) -> Option<(Self, Kind)> {
        let bytes = name.bytes;
        if !(8..=24).contains(&bytes.len()) {
            return None;
        }
        let word = |from: usize| {
            let word = bytes.get(from..)?.first_chunk()?;
            Some(u64::from_le_bytes(*word))
        };
        let words = Self {
            first: word(0)?,
            middle: word(bytes.len() / 2 - 4)?,
            last: word(bytes.len() - 8)?,
        };
        let kind = Kind {
            bytes: bytes.len() as u8,
            escape: name.escape,
        };
        Some((words, kind))
    }

    /// Names that share a set only push each other out, so nobody gains by choosing them.
    #[inline(always)]
    fn set(self) -> usize {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = self.first ^ self.middle.rotate_left(21) ^ self.last.rotate_left(42);
        (mixed.wrapping_mul(ODD) >> (u64::BITS - RECENT_NAMES.ilog2())) as usize
    }

    /// The same as a comparison of each, without a branch for each.
    #[inline(always)]
    fn are(self, other: Self) -> bool {
        (self.first ^ other.first) | (self.middle ^ other.middle) | (self.last ^ other.last) == 0
    }
}

impl Recent {
    #[inline(always)]
    fn find(&self, (words, kind): (Words, Kind)) -> Option<NameId> {
        match self.slots.get(words.set()) {
            Some(Some(name)) if name.words.are(words) && name.kind == kind => Some(name.id),
            _ => None,
        }
    }

    fn put(&mut self, (words, kind): (Words, Kind), id: NameId) {
        if self.slots.is_empty() {
            self.slots.resize(RECENT_NAMES, None);
        }
        self.slots[words.set()] = Some(Recently { words, kind, id });
    }
}

/// Where in [`Cache::logged`] a name is, and what it came to.
#[derive(Debug, Clone, Copy)]
struct Cached {
    hash: u32,
    start: u32,
    bytes: u32,
    escape: Escape,
    id: NameId,
}

impl Cached {
    fn is(&self, name: &Logged<'_>, logged: &[u8]) -> bool {
        let start = self.start as usize;
        self.escape == name.escape
            && logged.get(start..start + self.bytes as usize) == Some(name.bytes)
    }
}

impl Cache {
    /// The number of a name that was met a moment ago.
    #[inline(always)]
    pub(super) fn recent(&self, name: &Logged<'_>) -> Option<NameId> {
        self.recent.find(Words::of(name)?)
    }

    /// The number of a name; `make` is asked for it where it is not known, with the name's hash and
    /// memory to fold it in. What it gives no number is not remembered.
    #[inline]
    pub(super) fn number(
        &mut self,
        name: &Logged<'_>,
        make: impl FnOnce(u64, &mut Vec<u8>) -> Option<NameId>,
    ) -> Option<NameId> {
        let words = Words::of(name);
        let whole_hash = name::hash(name.bytes);
        let hash = whole_hash as u32;
        let found = self
            .slots
            .find(spread(hash), |slot| slot.is(name, &self.logged));
        let id = match found {
            Some(found) => found.id,
            None => {
                let id = make(whole_hash, &mut self.buffer)?;
                self.insert(name, hash, id);
                id
            }
        };
        if let Some(words) = words {
            self.recent.put(words, id);
        }
        Some(id)
    }

    fn insert(&mut self, name: &Logged<'_>, hash: u32, id: NameId) {
        let is_full = self.slots.len() >= MAX_CACHED_NAMES
            || self.logged.len() + name.bytes.len() > MAX_CACHED_BYTES;
        if is_full {
            self.slots.clear();
            self.logged.clear();
        }
        let place = (
            u32::try_from(self.logged.len()),
            u32::try_from(name.bytes.len()),
        );
        let (Ok(start), Ok(bytes)) = place else {
            return;
        };
        self.logged.extend_from_slice(name.bytes);
        let cached = Cached {
            hash,
            start,
            bytes,
            escape: name.escape,
            id,
        };
        self.slots
            .insert_unique(spread(hash), cached, |slot| spread(slot.hash));
    }
}

/// A name as it is stored. Nearly always that is what was logged, whose hash is known.
pub(super) fn hashed<'n>(logged: &Logged<'_>, hash: u64, text: &'n str) -> Hashed<'n> {
    if logged.bytes == text.as_bytes() {
        Hashed { text, hash }
    } else {
        text.into()
    }
}

/// The table looks at both ends of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logged(bytes: &[u8]) -> Logged<'_> {
        Logged {
            bytes,
            escape: Escape::None,
        }
    }

    proptest! {
        /// Names differ in as little as one byte, anywhere.
        #[test]
        fn words_tell_names_apart(
            name in prop::collection::vec(any::<u8>(), 0..30),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in 0..3_usize,
        ) {
            let mut other = name.clone();
            if !other.is_empty() {
                let at = at.index(other.len());
                other[at] = byte;
                other.truncate(other.len().saturating_sub(cut));
            }
            let (a, b) = (Words::of(&logged(&name)), Words::of(&logged(&other)));
            prop_assert_eq!(a.is_some(), (8..=24).contains(&name.len()));
            if a.is_some() || b.is_some() {
                prop_assert_eq!(a == b, name == other);
            }
        }

        /// Whatever was met before, a name has the number that it was given first.
        #[test]
        fn numbers_stay(names in prop::collection::vec("[ab]{7,9}|[a-c]{0,3}|[ab]{22,26}", 1..200)) {
            let mut ledger = crate::ledger::Ledger::default();
            let mut cache = Cache::default();
            for name in &names {
                let number = |_, _: &mut Vec<u8>| Some(ledger.name(name.as_str()));
                let id = cache.number(&logged(name.as_bytes()), number);
                prop_assert_eq!(id, Some(ledger.name(name.as_str())));
            }
        }
    }
}
