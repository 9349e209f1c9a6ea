//! Sums deltas between flushes.
//!
//! A ledger knows names by number: each is stored once, however many days and users it has. The
//! deltas that are taken from it are sorted by key, and hold exactly what was added since the last
//! time.

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::account::class::Classes;
use crate::account::day::{self, DayNumber};
use crate::account::delta::{Amount, Delta, Deltas};
use crate::account::growth::Growth;
use crate::account::name;

/// A name's number in one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u32);

/// Stands where there is no user.
pub const NO_USER: NameId = NameId(u32::MAX);

/// Names that stay in memory between flushes, so that the next lines find them; beyond, all are
/// forgotten at a flush.
const MAX_NAMES_KEPT: usize = 200_000;

/// Sums by account and day.
#[derive(Debug, Default)]
pub struct Ledger {
    names: Names,
    hasher: RandomState,
    entries: Vec<Entry>,
    by_key: HashTable<u32>,
    /// By vhost, the entry that its last request without a user went to. It may be an entry of a
    /// batch that is gone, so whoever looks here compares the key.
    without_user: Vec<u32>,
    classes: Vec<Entry>,
    by_class: HashTable<u32>,
    /// What servers behind the edge logged. No part of `entries`: the edge has counted it.
    layers: Vec<Entry>,
    by_layer: HashTable<u32>,
    /// Names that [`Ledger::hand_over`] has told.
    told: usize,
}

/// What a ledger has summed, on its way to the [`Ledger::receive`] of another one, which knows the
/// names of all that was handed over before.
#[derive(Debug)]
pub struct Sums {
    entries: Vec<Entry>,
    classes: Vec<Entry>,
    layers: Vec<Entry>,
    /// Names that the other one knows; none: it is to forget all.
    known: usize,
    new_names: Vec<Box<str>>,
}

/// What one account moved on one day. `part` is a user, a layer, or the number of a class.
#[derive(Debug, Clone, Copy)]
struct Entry {
    day: DayNumber,
    vhost: NameId,
    part: NameId,
    amount: Amount,
}

impl Entry {
    /// Day, vhost and part in one number, which is hashed and compared as one.
    #[inline]
    fn key(&self) -> u128 {
        let day = u128::from(self.day.cast_unsigned());
        day << 64 | u128::from(self.vhost.0) << 32 | u128::from(self.part.0)
    }
}

impl Ledger {
    /// The number of a name.
    pub fn name(&mut self, name: &str) -> NameId {
        self.names.intern(&self.hasher, name)
    }

    /// Adds to an account.
    #[inline]
    pub fn add(&mut self, day: DayNumber, vhost: NameId, user: NameId, amount: Amount) {
        let new = Entry {
            day,
            vhost,
            part: user,
            amount,
        };
        let has_user = user != NO_USER;
        if !has_user
            && let Some(&at) = self.without_user.get(vhost.0 as usize)
            && let Some(entry) = self.entries.get_mut(at as usize)
            && entry.key() == new.key()
        {
            entry.amount.add(amount);
            return;
        }
        let at = add(&self.hasher, &mut self.entries, &mut self.by_key, new);
        if !has_user {
            self.remember(vhost, at);
        }
    }

    fn remember(&mut self, vhost: NameId, at: u32) {
        let index = vhost.0 as usize;
        if index >= self.without_user.len() {
            self.without_user.resize(index + 1, u32::MAX);
        }
        self.without_user[index] = at;
    }

    /// Adds to a class of a vhost's clients.
    pub fn add_class(&mut self, day: DayNumber, vhost: NameId, class: u16, amount: Amount) {
        let part = NameId(u32::from(class));
        add(
            &self.hasher,
            &mut self.classes,
            &mut self.by_class,
            Entry {
                day,
                vhost,
                part,
                amount,
            },
        );
    }

    /// Adds to what a layer behind the edge logged of a vhost.
    pub fn add_layer(&mut self, day: DayNumber, vhost: NameId, layer: NameId, amount: Amount) {
        add(
            &self.hasher,
            &mut self.layers,
            &mut self.by_layer,
            Entry {
                day,
                vhost,
                part: layer,
                amount,
            },
        );
    }

    /// Accounts and days with something to flush.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + self.classes.len() + self.layers.len()
    }

    /// Whether there is nothing to flush.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All amounts of the edge together.
    #[must_use]
    pub fn total(&self) -> Amount {
        let mut total = Amount::default();
        for entry in &self.entries {
            total.add(entry.amount);
        }
        total
    }

    /// Hands over what has been summed. Names and their numbers stay, unless there are very many:
    /// the second value says that they were forgotten.
    pub fn hand_over(&mut self) -> (Sums, bool) {
        let sums = Sums {
            entries: std::mem::take(&mut self.entries),
            classes: std::mem::take(&mut self.classes),
            layers: std::mem::take(&mut self.layers),
            known: self.told,
            new_names: self.names.texts[self.told..].to_vec(),
        };
        self.told = self.names.texts.len();
        self.by_key.clear();
        self.by_class.clear();
        self.by_layer.clear();
        let forget = self.told > MAX_NAMES_KEPT;
        if forget {
            *self = Self::default();
        }
        (sums, forget)
    }

    /// Takes what one other ledger, always the same, has handed over, in the order in which it did.
    /// What this one held before is gone; what it holds now is for [`Ledger::absorb`].
    pub fn receive(&mut self, sums: Sums) {
        if sums.known == 0 {
            *self = Self::default();
        }
        for name in &sums.new_names {
            self.name(name);
        }
        self.entries = sums.entries;
        self.classes = sums.classes;
        self.layers = sums.layers;
    }

    /// Takes over what another ledger has summed, and leaves it empty. The numbers that the other one
    /// has handed out stay good.
    pub fn absorb(&mut self, other: &mut Self) {
        let mut renumbered = vec![None; other.names.texts.len()];
        let mut rename = |names: &mut Names, hasher: &RandomState, id: NameId| -> NameId {
            match renumbered.get_mut(id.0 as usize) {
                Some(slot) => *slot
                    .get_or_insert_with(|| names.intern(hasher, &other.names.texts[id.0 as usize])),
                None => id,
            }
        };
        for entry in other.entries.drain(..) {
            let vhost = rename(&mut self.names, &self.hasher, entry.vhost);
            let part = rename(&mut self.names, &self.hasher, entry.part);
            add(
                &self.hasher,
                &mut self.entries,
                &mut self.by_key,
                Entry {
                    vhost,
                    part,
                    ..entry
                },
            );
        }
        for entry in other.classes.drain(..) {
            let vhost = rename(&mut self.names, &self.hasher, entry.vhost);
            add(
                &self.hasher,
                &mut self.classes,
                &mut self.by_class,
                Entry { vhost, ..entry },
            );
        }
        for entry in other.layers.drain(..) {
            let vhost = rename(&mut self.names, &self.hasher, entry.vhost);
            let part = rename(&mut self.names, &self.hasher, entry.part);
            add(
                &self.hasher,
                &mut self.layers,
                &mut self.by_layer,
                Entry {
                    vhost,
                    part,
                    ..entry
                },
            );
        }
        other.by_key.clear();
        other.by_class.clear();
        other.by_layer.clear();
    }

    /// Takes everything out, as sorted deltas; names beyond the caps share the overflow row.
    /// The second value says that names were forgotten: numbers handed out before are void.
    pub fn take(&mut self, growth: &mut Growth, classes: &Classes) -> (Deltas, bool) {
        self.cap(growth);
        let ranks = self.names.ranks();
        let rank = |id: NameId| ranks.get(id.0 as usize).map_or(0, |rank| rank + 1);
        let text = |id: NameId| {
            self.names
                .texts
                .get(id.0 as usize)
                .map_or("", AsRef::as_ref)
        };

        self.entries
            .sort_unstable_by_key(|entry| (rank(entry.vhost), rank(entry.part), entry.day));
        let mut users: Vec<Delta> = Vec::new();
        let mut totals: Vec<Entry> = Vec::new();
        for entry in &self.entries {
            if entry.part != NO_USER {
                merge(&mut users, text(entry.vhost), text(entry.part), entry);
            }
            totals.push(Entry {
                part: NO_USER,
                ..*entry
            });
        }
        totals.sort_by_key(|entry| (rank(entry.vhost), entry.day));
        let mut vhosts: Vec<Delta> = Vec::new();
        for entry in &totals {
            merge(&mut vhosts, text(entry.vhost), "", entry);
        }
        let mut class_entries: Vec<(&str, &str, &Entry)> = self
            .classes
            .iter()
            .map(|entry| {
                (
                    text(entry.vhost),
                    classes.name(u16::try_from(entry.part.0).unwrap_or(u16::MAX)),
                    entry,
                )
            })
            .collect();
        class_entries.sort_unstable_by_key(|&(vhost, class, entry)| (vhost, class, entry.day));
        let mut by_class: Vec<Delta> = Vec::new();
        for (vhost, class, entry) in class_entries {
            merge(&mut by_class, vhost, class, entry);
        }
        self.layers
            .sort_unstable_by_key(|entry| (rank(entry.vhost), rank(entry.part), entry.day));
        let mut layers: Vec<Delta> = Vec::new();
        for entry in &self.layers {
            merge(&mut layers, text(entry.vhost), text(entry.part), entry);
        }
        let new_names = growth
            .take_added()
            .into_iter()
            .map(|((day, vhost), n)| ((day::date(day), vhost), n))
            .collect();

        self.entries.clear();
        self.classes.clear();
        self.layers.clear();
        self.by_key.clear();
        self.by_class.clear();
        self.by_layer.clear();
        let forget = self.names.texts.len() > MAX_NAMES_KEPT;
        if forget {
            *self = Self::default();
        }
        (
            Deltas {
                vhosts,
                users,
                classes: by_class,
                layers,
                new_names,
            },
            forget,
        )
    }

    /// Moves what is beyond the caps to the overflow rows, in the order of arrival. Keys may then
    /// stand twice; whoever takes the entries merges them.
    fn cap(&mut self, growth: &mut Growth) {
        let overflow = self.name(name::OVERFLOW);
        let names = &self.names.texts;
        let text = |id: NameId| names.get(id.0 as usize).map_or("", AsRef::as_ref);
        for entry in &mut self.entries {
            if !growth.admits_vhost(entry.day, text(entry.vhost)) {
                entry.vhost = overflow;
            }
            if entry.part != NO_USER
                && !growth.admits_user(entry.day, text(entry.vhost), text(entry.part))
            {
                entry.part = overflow;
            }
        }
        for entry in &mut self.classes {
            if !growth.admits_vhost(entry.day, text(entry.vhost)) {
                entry.vhost = overflow;
            }
        }
        // After the edge: what it admits needs no place among the names of a layer.
        for entry in &mut self.layers {
            if !growth.admits_in_layer(entry.day, text(entry.part), text(entry.vhost)) {
                entry.vhost = overflow;
            }
        }
    }
}

/// Which entry it went to.
fn add(
    hasher: &RandomState,
    entries: &mut Vec<Entry>,
    index: &mut HashTable<u32>,
    new: Entry,
) -> u32 {
    let key = new.key();
    let hash = hasher.hash_one(key);
    let found = index.find(hash, |&at| entries[at as usize].key() == key);
    match found {
        Some(&at) => {
            entries[at as usize].amount.add(new.amount);
            at
        }
        None => {
            let at = number(entries.len());
            index.insert_unique(hash, at, |&at| hasher.hash_one(entries[at as usize].key()));
            entries.push(new);
            at
        }
    }
}

/// Appends a sorted entry, or adds it to the last delta where the key is the same.
fn merge(deltas: &mut Vec<Delta>, vhost: &str, part: &str, entry: &Entry) {
    let day = day::date(entry.day);
    match deltas.last_mut() {
        Some(last) if last.day == day && last.vhost == vhost && last.part == part => {
            last.amount.add(entry.amount)
        }
        _ => deltas.push(Delta {
            vhost: vhost.to_owned(),
            part: part.to_owned(),
            day,
            amount: entry.amount,
        }),
    }
}

/// A ledger is flushed long before it has 2^32 entries.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Names, each once.
#[derive(Debug, Default)]
struct Names {
    texts: Vec<Box<str>>,
    index: HashTable<u32>,
}

impl Names {
    fn intern(&mut self, hasher: &RandomState, name: &str) -> NameId {
        let texts = &mut self.texts;
        let slot = self.index.entry(
            hasher.hash_one(name),
            |&at| *texts[at as usize] == *name,
            |&at| hasher.hash_one(&*texts[at as usize]),
        );
        match slot {
            Slot::Occupied(found) => NameId(*found.get()),
            Slot::Vacant(slot) => {
                let id = number(texts.len());
                slot.insert(id);
                texts.push(name.into());
                NameId(id)
            }
        }
    }

    /// The place of each name in bytewise order.
    fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..number(self.texts.len())).collect();
        order.sort_unstable_by_key(|&id| &self.texts[id as usize]);
        let mut ranks = vec![0; order.len()];
        for (rank, id) in order.into_iter().enumerate() {
            ranks[id as usize] = number(rank);
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::growth::KnownNames;

    #[test]
    fn sums_are_handed_over_with_the_names_that_are_new() {
        let (mut walker, mut mirror, mut batch) =
            (Ledger::default(), Ledger::default(), Ledger::default());
        let classes = Classes::default();
        let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
        let mut all = Vec::new();
        let (a, alice) = (walker.name("a.example"), walker.name("alice"));
        for round in 0..3 {
            walker.add(1, a, NO_USER, amount(1));
            walker.add(1, a, alice, amount(10));
            let next = walker.name(&format!("{round}.example"));
            walker.add(1, next, alice, amount(100));
            mirror.receive(walker.hand_over().0);
            assert!(walker.is_empty());
            batch.absorb(&mut mirror);
            assert!(mirror.is_empty());
        }
        let deltas = batch.take(&mut growth, &classes).0;
        for delta in deltas.vhosts.iter().chain(&deltas.users) {
            all.push((&*delta.vhost, &*delta.part, delta.amount.bytes_out));
        }
        assert_eq!(
            all,
            [
                ("0.example", "", 100),
                ("1.example", "", 100),
                ("2.example", "", 100),
                ("a.example", "", 33),
                ("0.example", "alice", 100),
                ("1.example", "alice", 100),
                ("2.example", "alice", 100),
                ("a.example", "alice", 30),
            ]
        );
    }

    #[test]
    fn very_many_names_are_forgotten_and_told_again() {
        let (mut walker, mut mirror, mut batch) =
            (Ledger::default(), Ledger::default(), Ledger::default());
        for round in 0..2 {
            for number in 0..=MAX_NAMES_KEPT {
                let vhost = walker.name(&format!("{}.example", number + round));
                walker.add(1, vhost, NO_USER, amount(1));
            }
            let (sums, forgotten) = walker.hand_over();
            assert!(forgotten);
            mirror.receive(sums);
            batch.absorb(&mut mirror);
        }
        assert_eq!(batch.len(), MAX_NAMES_KEPT + 2);
        assert_eq!(batch.total().requests, 2 * (MAX_NAMES_KEPT as u64 + 1));
    }

    fn amount(bytes_out: u64) -> Amount {
        Amount {
            bytes_in: 1,
            bytes_out,
            requests: 1,
        }
    }

    fn show(deltas: &[Delta]) -> Vec<String> {
        deltas
            .iter()
            .map(|d| format!("{} {} {} {}", d.vhost, d.part, d.day, d.amount.bytes_out))
            .collect()
    }

    #[test]
    fn deltas_are_sorted_and_users_are_part_of_their_vhost() {
        let mut ledger = Ledger::default();
        let (b, a, user) = (ledger.name("b"), ledger.name("a"), ledger.name("user"));
        ledger.add(1, b, NO_USER, amount(1));
        ledger.add(0, b, user, amount(2));
        ledger.add(1, b, user, amount(4));
        ledger.add(0, a, NO_USER, amount(8));
        ledger.add(0, b, user, amount(16));
        let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
        let (deltas, _) = ledger.take(&mut growth, &Classes::default());
        assert_eq!(
            show(&deltas.vhosts),
            ["a  1970-01-01 8", "b  1970-01-01 18", "b  1970-01-02 5"]
        );
        assert_eq!(
            show(&deltas.users),
            ["b user 1970-01-01 18", "b user 1970-01-02 4"]
        );
        assert!(ledger.is_empty());
    }

    #[test]
    fn absorbing_renumbers_names() {
        let (mut whole, mut part) = (Ledger::default(), Ledger::default());
        let (x, _) = (whole.name("x"), whole.name("y"));
        whole.add(0, x, NO_USER, amount(1));
        let (y, x) = (part.name("y"), part.name("x"));
        part.add(0, y, x, amount(2));
        part.add(0, x, NO_USER, amount(4));
        whole.absorb(&mut part);
        let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
        let (deltas, _) = whole.take(&mut growth, &Classes::default());
        assert_eq!(show(&deltas.vhosts), ["x  1970-01-01 5", "y  1970-01-01 2"]);
        assert_eq!(show(&deltas.users), ["y x 1970-01-01 2"]);
        assert!(part.is_empty());
    }

    #[test]
    fn what_is_beyond_the_cap_shares_one_row() {
        let mut ledger = Ledger::default();
        for (index, vhost) in ["z", "y", "x", "w"].into_iter().enumerate() {
            let vhost = ledger.name(vhost);
            ledger.add(0, vhost, NO_USER, amount(1 << index));
        }
        let mut growth = Growth::new(KnownNames::default(), [], 2, 9);
        let (deltas, _) = ledger.take(&mut growth, &Classes::default());
        assert_eq!(
            show(&deltas.vhosts),
            [
                "_overflow  1970-01-01 12",
                "y  1970-01-01 2",
                "z  1970-01-01 1"
            ]
        );
    }

    #[test]
    fn layers_are_apart_from_the_edge_all_the_way() {
        let (mut walker, mut mirror, mut batch) =
            (Ledger::default(), Ledger::default(), Ledger::default());
        let classes = Classes::default();
        let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
        // Other numbers for the same names.
        batch.name("php");
        for _ in 0..2 {
            let (b, a) = (walker.name("b"), walker.name("a"));
            let (php, backend) = (walker.name("php"), walker.name("backend"));
            walker.add(0, a, NO_USER, amount(1));
            walker.add_layer(0, a, php, amount(10));
            walker.add_layer(0, a, backend, amount(100));
            walker.add_layer(1, b, backend, amount(1_000));
            walker.add_layer(0, b, backend, amount(10_000));
            assert_eq!(walker.len(), 5);
            mirror.receive(walker.hand_over().0);
            assert!(walker.is_empty());
            batch.absorb(&mut mirror);
            assert!(mirror.is_empty());
        }
        assert_eq!(batch.total().bytes_out, 2, "layers are no part of it");
        let deltas = batch.take(&mut growth, &classes).0;
        assert_eq!(show(&deltas.vhosts), ["a  1970-01-01 2"]);
        assert!(deltas.users.is_empty() && deltas.classes.is_empty());
        assert_eq!(
            show(&deltas.layers),
            [
                "a backend 1970-01-01 200",
                "a php 1970-01-01 20",
                "b backend 1970-01-01 20000",
                "b backend 1970-01-02 2000",
            ]
        );
        assert!(batch.is_empty());
        assert!(batch.take(&mut growth, &classes).0.layers.is_empty());
    }

    #[test]
    fn a_layer_alone_is_something_to_flush() {
        let mut ledger = Ledger::default();
        let (vhost, layer) = (ledger.name("a"), ledger.name("backend"));
        ledger.add_layer(0, vhost, layer, amount(1));
        assert!(!ledger.is_empty());
    }

    #[test]
    fn the_cap_of_a_layer_is_its_own() {
        let mut ledger = Ledger::default();
        let layer = ledger.name("backend");
        for (index, vhost) in ["z", "y", "x", "w"].into_iter().enumerate() {
            let vhost = ledger.name(vhost);
            ledger.add_layer(0, vhost, layer, amount(1 << index));
        }
        let real = ledger.name("real");
        ledger.add(0, real, NO_USER, amount(64));
        ledger.add_layer(0, real, layer, amount(128));
        let mut growth = Growth::new(KnownNames::default(), [], 2, 9);
        let (deltas, _) = ledger.take(&mut growth, &Classes::default());
        assert_eq!(show(&deltas.vhosts), ["real  1970-01-01 64"]);
        assert_eq!(
            show(&deltas.layers),
            [
                "_overflow backend 1970-01-01 12",
                "real backend 1970-01-01 128",
                "y backend 1970-01-01 2",
                "z backend 1970-01-01 1"
            ]
        );
    }
}
