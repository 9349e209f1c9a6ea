//! What is known of full days where lines are walked: a name that has no row there, and can get none, is
//! told from the others without being kept.
//!
//! In a flood each line names what was never met. To keep such a name until the sums are taken over costs
//! more than all the rest of its line, and what comes of it is known before: it shares the row of what is
//! beyond the cap. So [`Growth`](super::Growth) tells which days refuse names, with a filter of all names
//! that it knows. The filter errs on one side alone: a name that it does not have is none that
//! [`Growth`](super::Growth) knew when the chunk began; one that it has may be refused all the same, later.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;

use super::{VHOSTS, is_special_user, key_of_part, name_of_layer};
use crate::account::day::DayNumber;
use crate::account::name::Hashed;

/// A day, and whose names it counts: see [`Growth`](super::Growth).
pub(super) type Place = (DayNumber, u64);

/// Places that are told; of further ones the names are kept until they are refused.
const MAX_PLACES: usize = 1_024;

/// What all who walk lines look at.
#[derive(Debug, Default)]
struct Told {
    /// Moves on with each change of `now`.
    version: AtomicU64,
    now: Mutex<Arc<Full>>,
}

/// Places that refuse names, and the names that are known.
#[derive(Debug, Clone, Default)]
struct Full {
    places: HashSet<Place, RandomState>,
    known: Arc<Filter>,
}

/// Tells which places refuse names.
#[derive(Debug, Default)]
pub(super) struct Teller {
    told: Arc<Told>,
    full: Full,
    /// Names in the filter, at most.
    names: usize,
}

impl Teller {
    /// For one who walks lines.
    pub(super) fn listen(&self) -> FullDays {
        FullDays {
            told: Arc::clone(&self.told),
            version: 0,
            now: Arc::default(),
        }
    }

    /// This place refuses all names that it does not know. `known`: all of them.
    pub(super) fn is_full(&mut self, place: Place, known: impl ExactSizeIterator<Item = u64>) {
        if self.full.places.len() >= MAX_PLACES && !self.drop_oldest(place.0) {
            return;
        }
        if !self.full.places.insert(place) {
            return;
        }
        if self.full.known.capacity() == 0 {
            self.fill(known);
        }
        self.tell();
    }

    /// Makes room for a place of this day; `false`: it is the oldest.
    fn drop_oldest(&mut self, day: DayNumber) -> bool {
        let oldest = self.full.places.iter().map(|(day, _)| *day).min();
        let Some(oldest) = oldest.filter(|oldest| *oldest < day) else {
            return false;
        };
        self.full.places.retain(|(day, _)| *day > oldest);
        true
    }

    /// Another name is known. `known`: all names, that one included.
    pub(super) fn knows(&mut self, name: u64, known: impl FnOnce() -> Vec<u64>) {
        let capacity = self.full.known.capacity();
        if capacity == 0 {
            return;
        }
        if self.names < capacity {
            self.names += 1;
            self.full.known.insert(name);
        } else {
            self.fill(known().into_iter());
            self.tell();
        }
    }

    /// No place is known to be full any more.
    pub(super) fn clear(&mut self) {
        if !self.full.places.is_empty() {
            self.full = Full::default();
            self.tell();
        }
    }

    fn fill(&mut self, known: impl ExactSizeIterator<Item = u64>) {
        self.names = known.len();
        let filter = Filter::new(2 * self.names);
        known.for_each(|name| filter.insert(name));
        self.full.known = Arc::new(filter);
    }

    fn tell(&self) {
        let mut now = self.told.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = Arc::new(self.full.clone());
        self.told.version.fetch_add(1, Ordering::Release);
    }
}

/// Which days refuse names, as somebody who walks lines sees it.
#[derive(Debug, Clone, Default)]
pub struct FullDays {
    told: Arc<Told>,
    version: u64,
    now: Arc<Full>,
}

impl FullDays {
    /// Looks at what is told: to be called between chunks.
    pub fn look(&mut self) {
        let version = self.told.version.load(Ordering::Acquire);
        if version != self.version {
            let now = self.told.now.lock().unwrap_or_else(PoisonError::into_inner);
            self.now = Arc::clone(&now);
            self.version = version;
        }
    }

    /// Whether all that was refused so far would still be; `refused`: hashes of vhosts. To be asked once
    /// all is known that was to be known.
    pub fn would_still_refuse(&mut self, refused: &[u64]) -> bool {
        let version = self.version;
        self.look();
        let known = &self.now.known;
        version == self.version && refused.iter().all(|vhost| !known.may_have(*vhost))
    }

    /// Whether the vhost with this hash has no row of its own on this day, and can get none.
    #[inline]
    #[must_use]
    pub fn refuses_vhost(&self, day: DayNumber, vhost: u64) -> bool {
        self.is_full((day, VHOSTS)) && !self.now.known.may_have(vhost)
    }

    /// The same for a user of a vhost.
    #[inline]
    #[must_use]
    pub fn refuses_user(&self, day: DayNumber, vhost: Hashed<'_>, user: Hashed<'_>) -> bool {
        self.is_full((day, vhost.hash))
            && !is_special_user(user.text)
            && !self.now.known.may_have(key_of_part(vhost.hash, user.hash))
    }

    /// The same for a vhost of a layer behind the edge. As long as the edge has room, it may admit what
    /// the layer does not.
    #[must_use]
    pub fn refuses_in_layer(&self, day: DayNumber, layer: &str, vhost: u64) -> bool {
        if !self.is_full((day, VHOSTS)) {
            return false;
        }
        let of = name_of_layer(layer);
        let of = Hashed::from(of.as_str());
        let known = &self.now.known;
        self.is_full((day, of.hash))
            && !known.may_have(vhost)
            && !known.may_have(key_of_part(of.hash, vhost))
    }

    fn is_full(&self, place: Place) -> bool {
        !self.now.places.is_empty() && self.now.places.contains(&place)
    }
}

/// A set of names that may also say yes to some that are not in it: a Bloom filter, each name in one word.
/// Some are written while others look.
#[derive(Debug, Default)]
struct Filter {
    /// A power of two, or none.
    words: Box<[AtomicU64]>,
}

/// With so many bits for each name, of which three are set, one in a hundred others is taken for one of
/// them where the filter is full.
const BITS_A_NAME: usize = 16;

impl Filter {
    fn new(names: usize) -> Self {
        let words = (names * BITS_A_NAME).div_ceil(64).next_power_of_two();
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Names that it has room for.
    fn capacity(&self) -> usize {
        self.words.len() * 64 / BITS_A_NAME
    }

    fn insert(&self, name: u64) {
        let (at, bits) = self.place(name);
        if let Some(word) = self.words.get(at) {
            word.fetch_or(bits, Ordering::Relaxed);
        }
    }

    fn may_have(&self, name: u64) -> bool {
        let (at, bits) = self.place(name);
        let word = self.words.get(at);
        word.is_none_or(|word| word.load(Ordering::Relaxed) & bits == bits)
    }

    /// Where a name is: a word, and bits of it.
    fn place(&self, name: u64) -> (usize, u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = name.wrapping_mul(ODD);
        let bits = [18, 24, 30].map(|shift| 1 << (mixed >> shift & 63));
        let at = (mixed >> 36) as usize & self.words.len().wrapping_sub(1);
        (at, bits[0] | bits[1] | bits[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_has_what_was_put_in_and_little_else() {
        let filter = Filter::new(10_000);
        let name = |number: u64| Hashed::from(format!("{number}.example").as_str()).hash;
        (0..10_000).for_each(|number| filter.insert(name(number)));
        assert!((0..10_000).all(|number| filter.may_have(name(number))));
        let others = (10_000..110_000).filter(|number| filter.may_have(name(*number)));
        let others = others.count();
        assert!(others < 2_000, "{others} of 100,000");
    }

    #[test]
    fn who_listens_hears_of_full_days_and_of_names_at_once() {
        let name = |number: u64| Hashed::from(format!("{number}.example").as_str()).hash;
        let refuses = |full: &FullDays, day, number: u64| full.refuses_vhost(day, name(number));
        let mut teller = Teller::default();
        let mut full = teller.listen();
        let mut known: Vec<u64> = (0..10).map(name).collect();
        teller.is_full((1, VHOSTS), known.iter().copied());
        assert!(!refuses(&full, 1, 77), "it has not looked yet");
        full.look();
        let refused = (10..1_000).filter(|number| refuses(&full, 1, *number));
        assert!(refused.count() > 900);
        assert!((10..1_000).all(|number| !refuses(&full, 2, number)));
        // More than the filter had room for.
        for number in 10..500 {
            known.push(name(number));
            teller.knows(name(number), || known.clone());
            full.look();
            assert!((0..=number).all(|number| !refuses(&full, 1, number)));
        }
        teller.clear();
        full.look();
        assert!((0..1_000).all(|number| !refuses(&full, 1, number)));
    }
}
