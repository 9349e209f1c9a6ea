//! Sums deltas between flushes.
//!
//! A ledger knows names by number: each is stored once, however many days and users it has. The
//! deltas that are taken from it are sorted by key, and hold exactly what was added since the last
//! time. A name beyond its day's cap is not kept: what it moved goes to the overflow row at once,
//! where a ledger takes over from another one, or at the latest where the deltas are taken.

use ahash::RandomState;

use crate::account::class::Classes;
use crate::account::day::{self, DayNumber};
use crate::account::delta::{Amount, Deltas, PartOf};
use crate::account::growth::Growth;
use crate::account::minute::MinuteNumber;
use crate::account::name::{self, Hashed};

#[cfg(test)]
mod by_minute;
mod minutes;
#[cfg(test)]
mod model;
mod names;
mod rows;
mod table;
mod take_over;
#[cfg(test)]
mod tests;

use minutes::{MinuteEntry, Refused};
use names::{Names, Texts};
use rows::{Ranks, Rows};
use table::Table;
pub use take_over::Detail;
use take_over::{Memory, Renumbered};

/// A name's number in one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u32);

impl NameId {
    /// Names are numbered one by one, from 0.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Stands where there is no user.
pub const NO_USER: NameId = NameId(u32::MAX);

/// Names that stay in memory between flushes, so that the next lines find them; beyond, all are
/// forgotten at a flush,
const MAX_NAMES_KEPT: usize = 65_536;
/// and so they are where they have so many bytes: a client may send names as long as its requests.
const MAX_NAME_BYTES_KEPT: usize = 8 << 20;

/// Sums by account and day.
#[derive(Debug, Default)]
pub struct Ledger {
    names: Names,
    hasher: RandomState,
    accounts: Table<Entry>,
    /// By vhost, the account that its last request without a user went to. It may be one of a batch
    /// that is gone, so whoever looks here compares the key.
    without_user: Vec<u32>,
    /// `part` is the number of a class.
    classes: Table<Entry>,
    /// What servers behind the edge logged; `part` is a layer. No part of the accounts: the edge has
    /// counted it.
    layers: Table<Entry>,
    /// The same as the accounts and classes once more, by minute, of those that are weighed so.
    minutes: Table<MinuteEntry>,
    /// Names that [`Ledger::hand_over`] has told.
    told: usize,
    renumbered: Renumbered,
    memory: Memory,
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
    minutes: Vec<MinuteEntry>,
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
    /// It is a user whose name no server vouches for. What else the user had is another entry.
    claimed: bool,
    amount: Amount,
}

impl Entry {
    /// Day, vhost and part in one number, which is compared as one: the key of its row.
    #[inline]
    fn row(&self) -> u128 {
        row(self.day, self.vhost, self.part)
    }

    /// The same, with whether the user is claimed.
    #[inline]
    fn key(&self) -> u128 {
        self.row() | u128::from(self.claimed) << 96
    }
}

#[inline]
fn row(day: DayNumber, vhost: NameId, part: NameId) -> u128 {
    let day = u128::from(day.cast_unsigned());
    day << 64 | u128::from(vhost.0) << 32 | u128::from(part.0)
}

impl Ledger {
    /// The number of a name.
    pub fn name<'n>(&mut self, name: impl Into<Hashed<'n>>) -> NameId {
        self.names.intern(name.into())
    }

    /// The name with this number.
    #[must_use]
    pub fn text(&self, id: NameId) -> Option<&str> {
        self.hashed(id).map(|name| name.text)
    }

    /// The same, with its hash.
    #[must_use]
    pub fn hashed(&self, id: NameId) -> Option<Hashed<'_>> {
        self.names.texts.get(id)
    }

    /// Whether a name with this hash may have been met.
    #[must_use]
    pub fn may_know(&self, hash: u64) -> bool {
        self.names.may_have(hash)
    }

    /// Names that were met since names were last handed over.
    #[must_use]
    pub fn new_names(&self) -> usize {
        self.names.texts.len() - self.told
    }

    /// The number of the name that those share that have no row of their own.
    pub fn overflow(&mut self) -> NameId {
        match self.overflow {
            Some(id) => id,
            None => *self
                .overflow
                .insert(self.names.intern(name::OVERFLOW.into())),
        }
    }

    /// Adds to an account. `user`: one that a server vouches for, or [`NO_USER`].
    #[inline]
    pub fn add(&mut self, day: DayNumber, vhost: NameId, user: NameId, amount: Amount) {
        self.add_entry(Entry {
            day,
            vhost,
            part: user,
            claimed: false,
            amount,
        });
    }

    /// Adds to an account whose user's name is merely claimed.
    pub fn add_claimed(&mut self, day: DayNumber, vhost: NameId, user: NameId, amount: Amount) {
        self.add_entry(Entry {
            day,
            vhost,
            part: user,
            claimed: true,
            amount,
        });
    }

    #[inline(always)]
    fn add_entry(&mut self, new: Entry) {
        let Entry {
            vhost,
            part: user,
            amount,
            ..
        } = new;
        if user == NO_USER
            && let Some(&at) = self.without_user.get(vhost.0 as usize)
            && let Some(entry) = self.accounts.entries.get_mut(at as usize)
            && entry.key() == new.key()
        {
            entry.amount.add(amount);
        } else {
            self.find_entry(new);
        }
    }

    #[inline(never)]
    fn find_entry(&mut self, new: Entry) {
        let at = self.accounts.add(&self.hasher, new);
        if new.part == NO_USER {
            self.remember(new.vhost, at);
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
            claimed: false,
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
            claimed: false,
            amount,
        };
        self.layers.add(&self.hasher, new);
    }

    /// Adds to the row of a minute. What it counts is to be added to the account of the day, too.
    /// `part`: nothing ([`NO_USER`]), a user that a server vouches for, or the name of a class.
    pub fn add_minute(
        &mut self,
        (day, minute): (DayNumber, MinuteNumber),
        vhost: NameId,
        (of, part): (PartOf, NameId),
        amount: Amount,
    ) {
        let new = MinuteEntry {
            day,
            minute,
            vhost,
            of,
            part,
            amount,
        };
        self.minutes.add(&self.hasher, new);
    }

    /// Accounts with something to flush, by day, and by minute.
    #[must_use]
    pub fn len(&self) -> usize {
        let by_day = [&self.accounts, &self.classes, &self.layers];
        let by_day: usize = by_day.iter().map(|table| table.entries.len()).sum();
        by_day + self.minutes.entries.len()
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
        self.clear();
    }

    fn clear(&mut self) {
        self.accounts.clear();
        self.classes.clear();
        self.layers.clear();
        self.minutes.clear();
    }

    /// Hands over what has been summed. Names and their numbers stay, unless there are very many:
    /// the second value says that they were forgotten.
    pub fn hand_over(&mut self) -> (Sums, bool) {
        let sums = Sums {
            accounts: self.accounts.hand_over(),
            classes: self.classes.hand_over(),
            layers: self.layers.hand_over(),
            minutes: self.minutes.hand_over(),
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
        self.minutes.entries = sums.minutes;
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
        self.minutes.forget_keys();
        let all = [&self.accounts, &self.classes, &self.layers];
        let vhosts = all
            .iter()
            .flat_map(|table| &table.entries)
            .map(|entry| entry.vhost);
        let parts = self.accounts.entries.iter().chain(&self.layers.entries);
        let parts = parts.map(|entry| entry.part);
        let minutes = self.minutes.entries.iter();
        let in_minutes = minutes.flat_map(|entry| [entry.vhost, entry.part]);
        let used = vhosts.chain(parts).chain(in_minutes);
        let ranks = Ranks::new(&self.names.texts, used);
        let mut rows = Rows::new(&self.names.texts, &ranks);
        self.accounts.sort(&ranks, true);
        self.classes.sort(&ranks, false);
        self.layers.sort(&ranks, true);
        self.minutes.sort(&ranks);
        let deltas = Deltas {
            vhosts: rows.totals(&self.accounts.entries),
            users: rows.by_part(&self.accounts.entries),
            classes: rows.by_class(&self.classes.entries, classes),
            layers: rows.by_part(&self.layers.entries),
            claimed: rows.claimed(&self.accounts.entries),
            minutes: rows.by_minute(&self.minutes.entries),
            new_names: growth
                .take_added()
                .into_iter()
                .map(|((day, vhost), n)| ((day::date(day), vhost), n))
                .collect(),
        };
        self.clear();
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
        self.clear();
        self.without_user.clear();
        self.told = 0;
        self.renumbered.clear();
        self.memory = Memory::default();
        self.overflow = None;
    }

    /// Moves what is beyond the caps to the overflow rows, in the order of arrival. Keys may then
    /// stand twice; whoever takes the entries merges them.
    fn cap(&mut self, growth: &mut Growth) {
        let overflow = self.overflow();
        let texts = &self.names.texts;
        let hashed = |id: NameId| texts.get(id).unwrap_or(name::INVALID.into());
        let mut refused = Refused::of(&self.minutes);
        for entry in &mut self.accounts.entries {
            let before = *entry;
            let has_row = growth.admits_vhost(entry.day, hashed(entry.vhost));
            if !has_row {
                entry.vhost = overflow;
            }
            let is_admitted = entry.part == NO_USER
                || growth.admits_user(entry.day, hashed(entry.vhost), hashed(entry.part));
            if !is_admitted {
                entry.part = overflow;
            }
            refused.note(&before, has_row, is_admitted);
        }
        refused.drop_minutes(&mut self.minutes, overflow);
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
