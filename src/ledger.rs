//! Sums deltas between flushes.
//!
//! A ledger knows names by number: each is stored once, however many days and users it has. The
//! deltas that are taken from it are sorted by key, and hold exactly what was added since the last
//! time. A name beyond its day's cap is not kept: what it moved goes to the overflow row at once,
//! where a ledger takes over from another one, or at the latest where the deltas are taken.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::account::class::Classes;
use crate::account::day::{self, DayNumber};
use crate::account::delta::{Amount, Deltas};
use crate::account::growth::Growth;
use crate::account::name::{self, Hashed};

#[cfg(test)]
mod model;
mod names;
mod rows;

use names::{Names, Texts, number};
use rows::{Ranks, Rows};

/// A name's number in one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u32);

/// Stands where there is no user.
pub const NO_USER: NameId = NameId(u32::MAX);

/// Names that stay in memory between flushes, so that the next lines find them; beyond, all are
/// forgotten at a flush,
const MAX_NAMES_KEPT: usize = 65_536;
/// and so they are where they have so many bytes: a client may send names as long as its requests.
const MAX_NAME_BYTES_KEPT: usize = 8 << 20;
/// Entries whose memory is kept for the next ones.
const MAX_ENTRIES_KEPT: usize = 65_536;

/// Sums by account and day.
#[derive(Debug, Default)]
pub struct Ledger {
    names: Names,
    hasher: RandomState,
    accounts: Table,
    /// By vhost, the account that its last request without a user went to. It may be one of a batch
    /// that is gone, so whoever looks here compares the key.
    without_user: Vec<u32>,
    /// `part` is the number of a class.
    classes: Table,
    /// What servers behind the edge logged; `part` is a layer. No part of the accounts: the edge has
    /// counted it.
    layers: Table,
    /// Names that [`Ledger::hand_over`] has told.
    told: usize,
    renumbered: Renumbered,
    /// The number of the overflow, once there was any.
    overflow: Option<NameId>,
}

/// What a ledger has summed, on its way to the [`Ledger::receive`] of another one, which knows the
/// names of all that was handed over before.
#[derive(Debug)]
pub struct Sums {
    accounts: Vec<Entry>,
    classes: Vec<Entry>,
    layers: Vec<Entry>,
    /// Names that the other one knows; none: it is to forget all.
    known: usize,
    new_names: Texts,
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

/// Which accounts a ledger takes over from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Each user's.
    Users,
    /// Each vhost's alone.
    Vhosts,
}

impl Ledger {
    /// The number of a name.
    pub fn name<'n>(&mut self, name: impl Into<Hashed<'n>>) -> NameId {
        self.names.intern(name.into())
    }

    fn overflow(&mut self) -> NameId {
        match self.overflow {
            Some(id) => id,
            None => *self
                .overflow
                .insert(self.names.intern(name::OVERFLOW.into())),
        }
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
            && let Some(entry) = self.accounts.entries.get_mut(at as usize)
            && entry.key() == new.key()
        {
            entry.amount.add(amount);
            return;
        }
        let at = self.accounts.add(&self.hasher, new);
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
        let new = Entry {
            day,
            vhost,
            part: NameId(u32::from(class)),
            amount,
        };
        self.classes.add(&self.hasher, new);
    }

    /// Adds to what a layer behind the edge logged of a vhost.
    pub fn add_layer(&mut self, day: DayNumber, vhost: NameId, layer: NameId, amount: Amount) {
        let new = Entry {
            day,
            vhost,
            part: layer,
            amount,
        };
        self.layers.add(&self.hasher, new);
    }

    /// Accounts and days with something to flush.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.entries.len() + self.classes.entries.len() + self.layers.entries.len()
    }

    /// Whether there is nothing to flush.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All amounts together.
    #[must_use]
    pub fn total(&self) -> Amount {
        let mut total = Amount::default();
        for entry in &self.accounts.entries {
            total.add(entry.amount);
        }
        total
    }

    /// Forgets what has been summed. Names and their numbers stay.
    pub fn discard(&mut self) {
        self.accounts.clear();
        self.classes.clear();
        self.layers.clear();
    }

    /// Hands over what has been summed. Names and their numbers stay, unless there are very many:
    /// the second value says that they were forgotten.
    pub fn hand_over(&mut self) -> (Sums, bool) {
        let sums = Sums {
            accounts: self.accounts.hand_over(),
            classes: self.classes.hand_over(),
            layers: self.layers.hand_over(),
            known: self.told,
            new_names: self.names.texts.since(self.told),
        };
        self.told = self.names.texts.len();
        let forgets = self.has_many_names();
        if forgets {
            self.forget();
        }
        (sums, forgets)
    }

    /// Takes what one other ledger, always the same, has handed over, in the order in which it did.
    /// What this one held before is gone; what it holds now is for [`Ledger::absorb`], or
    /// [`Ledger::absorb_capped`], and nothing else: its names are known by number alone.
    pub fn receive(&mut self, sums: Sums) {
        if sums.known == 0 {
            self.forget();
        }
        self.names.texts.append(&sums.new_names);
        self.accounts.entries = sums.accounts;
        self.classes.entries = sums.classes;
        self.layers.entries = sums.layers;
    }

    /// Takes over what another ledger has summed, and leaves it empty. The numbers that the other one
    /// has handed out stay good.
    pub fn absorb(&mut self, other: &mut Self) {
        self.take_over(other, None, Detail::Users);
    }

    /// The same, where names beyond the caps share the overflow row, in the order of arrival.
    pub fn absorb_capped(&mut self, other: &mut Self, growth: &mut Growth, detail: Detail) {
        self.take_over(other, Some(growth), detail);
    }

    fn take_over(&mut self, other: &mut Self, mut growth: Option<&mut Growth>, detail: Detail) {
        other.renumbered.begin(other.names.texts.len());
        for entry in other.accounts.entries.drain(..) {
            let (vhost, vhost_name) = self.renumber_vhost(
                &other.names.texts,
                &mut other.renumbered,
                growth.as_deref_mut(),
                &entry,
            );
            let has_user = detail == Detail::Users && entry.part != NO_USER;
            let user = other.names.texts.get(entry.part).filter(|_| has_user);
            let part = match user {
                None => NO_USER,
                Some(user) => {
                    let is_admitted = growth.as_deref_mut().is_none_or(|growth| {
                        let vhost = vhost_name.unwrap_or_else(|| name::OVERFLOW.into());
                        growth.admits_user(entry.day, vhost, user)
                    });
                    let here = &mut other.renumbered.users[entry.part.0 as usize];
                    if !is_admitted {
                        self.overflow()
                    } else if *here != NO_USER {
                        *here
                    } else {
                        other.renumbered.touched.push(entry.part);
                        *here = self.names.intern(user);
                        *here
                    }
                }
            };
            self.add(entry.day, vhost, part, entry.amount);
        }
        for entry in other.classes.entries.drain(..) {
            let (vhost, _) = self.renumber_vhost(
                &other.names.texts,
                &mut other.renumbered,
                growth.as_deref_mut(),
                &entry,
            );
            self.classes.add(&self.hasher, Entry { vhost, ..entry });
        }
        // After the edge: what it admits needs no place among the names of a layer.
        for entry in other.layers.entries.drain(..) {
            let texts = &other.names.texts;
            let named = |id: NameId| texts.get(id).unwrap_or(name::INVALID.into());
            let (vhost, layer) = (named(entry.vhost), named(entry.part));
            let is_admitted = growth
                .as_deref_mut()
                .is_none_or(|growth| growth.admits_in_layer(entry.day, layer, vhost));
            let vhost = if is_admitted {
                self.names.intern(vhost)
            } else {
                self.overflow()
            };
            let part = self.names.intern(layer);
            self.layers.add(
                &self.hasher,
                Entry {
                    vhost,
                    part,
                    ..entry
                },
            );
        }
        other.accounts.clear();
        other.classes.clear();
        other.layers.clear();
        other.renumbered.end();
    }

    /// The number here of an entry's vhost, with its name, or of the overflow.
    fn renumber_vhost<'n>(
        &mut self,
        texts: &'n Texts,
        renumbered: &mut Renumbered,
        growth: Option<&mut Growth>,
        entry: &Entry,
    ) -> (NameId, Option<Hashed<'n>>) {
        let Some(name) = texts.get(entry.vhost) else {
            return (self.name(name::INVALID), Some(name::INVALID.into()));
        };
        let here = &mut renumbered.vhosts[entry.vhost.0 as usize];
        if *here != NO_USER {
            return (*here, Some(name));
        }
        if growth.is_some_and(|growth| !growth.admits_vhost(entry.day, name)) {
            // Another day may admit it.
            return (self.overflow(), None);
        }
        renumbered.touched.push(entry.vhost);
        *here = self.names.intern(name);
        (*here, Some(name))
    }

    /// Takes everything out, as sorted deltas; names beyond the caps share the overflow row.
    /// The second value says that names were forgotten: numbers handed out before are void.
    pub fn take(&mut self, growth: &mut Growth, classes: &Classes) -> (Deltas, bool) {
        self.cap(growth);
        self.take_capped(growth, classes)
    }

    /// [`Ledger::take`] where all was taken over by [`Ledger::absorb_capped`].
    pub fn take_capped(&mut self, growth: &mut Growth, classes: &Classes) -> (Deltas, bool) {
        // Room for the deltas.
        self.accounts.forget_keys();
        self.classes.forget_keys();
        self.layers.forget_keys();
        let all = [&self.accounts, &self.classes, &self.layers];
        let vhosts = all
            .iter()
            .flat_map(|table| &table.entries)
            .map(|entry| entry.vhost);
        let parts = self.accounts.entries.iter().chain(&self.layers.entries);
        let parts = parts.map(|entry| entry.part);
        let ranks = Ranks::new(&self.names.texts, vhosts.chain(parts));
        let mut rows = Rows::new(&self.names.texts, &ranks);
        self.accounts.sort(&ranks, true);
        self.classes.sort(&ranks, false);
        self.layers.sort(&ranks, true);
        let deltas = Deltas {
            vhosts: rows.totals(&self.accounts.entries),
            users: rows.by_part(&self.accounts.entries),
            classes: rows.by_class(&self.classes.entries, classes),
            layers: rows.by_part(&self.layers.entries),
            new_names: growth
                .take_added()
                .into_iter()
                .map(|((day, vhost), n)| ((day::date(day), vhost), n))
                .collect(),
        };
        self.accounts.clear();
        self.classes.clear();
        self.layers.clear();
        let forgets = self.has_many_names();
        if forgets {
            *self = Self::default();
        }
        (deltas, forgets)
    }

    fn has_many_names(&self) -> bool {
        let texts = &self.names.texts;
        texts.len() > MAX_NAMES_KEPT || texts.bytes() > MAX_NAME_BYTES_KEPT
    }

    /// Forgets all, but keeps the memory for as much again.
    fn forget(&mut self) {
        self.names.clear();
        self.accounts.clear();
        self.without_user.clear();
        self.classes.clear();
        self.layers.clear();
        self.told = 0;
        self.renumbered.clear();
        self.overflow = None;
    }

    /// Moves what is beyond the caps to the overflow rows, in the order of arrival. Keys may then
    /// stand twice; whoever takes the entries merges them.
    fn cap(&mut self, growth: &mut Growth) {
        let overflow = self.overflow();
        let texts = &self.names.texts;
        let hashed = |id: NameId| texts.get(id).unwrap_or(name::INVALID.into());
        for entry in &mut self.accounts.entries {
            if !growth.admits_vhost(entry.day, hashed(entry.vhost)) {
                entry.vhost = overflow;
            }
            if entry.part != NO_USER
                && !growth.admits_user(entry.day, hashed(entry.vhost), hashed(entry.part))
            {
                entry.part = overflow;
            }
        }
        for entry in &mut self.classes.entries {
            if !growth.admits_vhost(entry.day, hashed(entry.vhost)) {
                entry.vhost = overflow;
            }
        }
        // After the edge: what it admits needs no place among the names of a layer.
        for entry in &mut self.layers.entries {
            if !growth.admits_in_layer(entry.day, hashed(entry.part), hashed(entry.vhost)) {
                entry.vhost = overflow;
            }
        }
    }
}

/// Entries that are found by their key.
#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    by_key: HashTable<u32>,
}

impl Table {
    /// Which entry it went to.
    fn add(&mut self, hasher: &RandomState, new: Entry) -> u32 {
        let key = new.key();
        let hash = hasher.hash_one(key);
        let entries = &mut self.entries;
        let found = self
            .by_key
            .find(hash, |&at| entries[at as usize].key() == key);
        match found {
            Some(&at) => {
                entries[at as usize].amount.add(new.amount);
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
    fn hand_over(&mut self) -> Vec<Entry> {
        self.by_key.clear();
        let next = Vec::with_capacity(self.entries.len());
        std::mem::replace(&mut self.entries, next)
    }

    fn forget_keys(&mut self) {
        if self.by_key.capacity() > 2 * MAX_ENTRIES_KEPT {
            self.by_key = HashTable::new();
        } else {
            self.by_key.clear();
        }
    }

    fn clear(&mut self) {
        self.forget_keys();
        if self.entries.capacity() > MAX_ENTRIES_KEPT {
            self.entries = Vec::new();
        } else {
            self.entries.clear();
        }
    }

    /// Sorts by vhost, part, and day. Instead of a name there is its rank then; `with_names`: `part` is
    /// a user or a layer, whose rank is counted from 1, and 0 for none.
    fn sort(&mut self, ranks: &Ranks, with_names: bool) {
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

/// What the names of another ledger are here: scratch, of which a take-over leaves nothing.
#[derive(Debug, Default)]
struct Renumbered {
    /// By the other's number; [`NO_USER`]: not known yet.
    users: Vec<NameId>,
    /// The same, of those that have a row of their own.
    vhosts: Vec<NameId>,
    touched: Vec<NameId>,
}

impl Renumbered {
    fn begin(&mut self, names: usize) {
        self.users.resize(names, NO_USER);
        self.vhosts.resize(names, NO_USER);
    }

    fn clear(&mut self) {
        self.users.clear();
        self.vhosts.clear();
    }

    fn end(&mut self) {
        for id in self.touched.drain(..) {
            self.users[id.0 as usize] = NO_USER;
            self.vhosts[id.0 as usize] = NO_USER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::delta::Delta;
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
    fn a_name_beyond_the_cap_is_never_kept() {
        let (mut walker, mut mirror, mut batch) =
            (Ledger::default(), Ledger::default(), Ledger::default());
        let mut growth = Growth::new(KnownNames::default(), [], 2, 1);
        for round in 0..3_u64 {
            for number in 0..50 {
                let vhost = walker.name(&format!("{number}.example"));
                let user = walker.name(&format!("user{number}"));
                walker.add(0, vhost, NO_USER, amount(1));
                walker.add(1, vhost, user, amount(10));
                walker.add_class(0, vhost, 0, amount(1));
            }
            mirror.receive(walker.hand_over().0);
            batch.absorb_capped(&mut mirror, &mut growth, Detail::Users);
            assert!(mirror.is_empty());
            assert_eq!(batch.total().requests, (round + 1) * 100);
            // Two hosts on each day, a user of each and of what is beyond, and the overflow.
            assert_eq!(batch.names.texts.len(), 4 + 5 + 1);
        }
        let (deltas, _) = batch.take_capped(&mut growth, &Classes::default());
        assert!(
            growth.take_added().is_empty(),
            "they were taken with the deltas"
        );
        assert_eq!(deltas.new_names.values().sum::<u64>(), 4 + 5);
        assert_eq!(
            show(&deltas.vhosts),
            [
                "0.example  1970-01-01 3",
                "0.example  1970-01-02 30",
                "1.example  1970-01-01 3",
                "1.example  1970-01-02 30",
                // The second day admitted them behind their first request of the first.
                "2.example  1970-01-01 2",
                "2.example  1970-01-02 30",
                "3.example  1970-01-01 2",
                "3.example  1970-01-02 30",
                "_overflow  1970-01-01 140",
                "_overflow  1970-01-02 1380",
            ]
        );
        assert_eq!(deltas.classes.len(), 5);
        assert_eq!(
            show(&deltas.users)[4..],
            [
                "_overflow _overflow 1970-01-02 1350",
                "_overflow user4 1970-01-02 30"
            ]
        );
    }

    #[test]
    fn vhosts_alone_are_taken_over_with_all_that_their_users_moved() {
        let (mut part, mut whole) = (Ledger::default(), Ledger::default());
        let (vhost, alice) = (part.name("a.example"), part.name("alice"));
        part.add(0, vhost, alice, amount(1));
        part.add(0, vhost, NO_USER, amount(2));
        let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
        whole.absorb_capped(&mut part, &mut growth, Detail::Vhosts);
        assert_eq!(whole.len(), 1);
        let (deltas, _) = whole.take_capped(&mut growth, &Classes::default());
        assert_eq!(show(&deltas.vhosts), ["a.example  1970-01-01 3"]);
        assert!(deltas.users.is_empty());
    }

    #[test]
    fn long_names_are_forgotten_before_there_are_many() {
        let mut ledger = Ledger::default();
        let mut most = 0;
        for number in 0..20_000 {
            let user = ledger.name(&format!("{number:01000}"));
            let vhost = ledger.name("a.example");
            ledger.add(0, vhost, user, amount(1));
            most = most.max(ledger.names.texts.bytes());
            ledger.hand_over();
        }
        assert!(most <= MAX_NAME_BYTES_KEPT + 2_000, "{most}");
    }

    #[test]
    fn what_is_discarded_is_gone_and_its_names_are_not() {
        let (mut walker, mut mirror, mut batch) =
            (Ledger::default(), Ledger::default(), Ledger::default());
        let a = walker.name("a.example");
        for bytes in [1, 10] {
            walker.add(0, a, NO_USER, amount(bytes));
            mirror.receive(walker.hand_over().0);
            if bytes == 1 {
                mirror.discard();
            }
        }
        batch.absorb(&mut mirror);
        let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
        let (deltas, _) = batch.take(&mut growth, &Classes::default());
        assert_eq!(show(&deltas.vhosts), ["a.example  1970-01-01 10"]);
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
