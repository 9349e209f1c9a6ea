//! Rows of minutes: what accounts that are weighed by the minute had, once more.
//!
//! They follow the rows of days: what has no row of its own there has none here. So the minutes of an
//! account never come to more than its days.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;

use super::rows::Ranks;
use super::table::{Sum, Table};
use super::{Detail, Entry, Ledger, NO_USER, NameId, row};
use crate::account::day::DayNumber;
use crate::account::delta::{Amount, PartOf};
use crate::account::minute::MinuteNumber;

/// What one account moved in one minute. `part` is a user, or the name of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct MinuteEntry {
    pub(super) day: DayNumber,
    pub(super) minute: MinuteNumber,
    pub(super) vhost: NameId,
    pub(super) of: PartOf,
    pub(super) part: NameId,
    pub(super) amount: Amount,
}

impl MinuteEntry {
    /// What it is of, and when: the key of its row.
    pub(super) fn row(&self) -> (NameId, PartOf, NameId, DayNumber, MinuteNumber) {
        (self.vhost, self.of, self.part, self.day, self.minute)
    }
}

impl Sum for MinuteEntry {
    type Key = (u128, u64);

    fn key(&self) -> Self::Key {
        let of = self.of as u64;
        let minute = u64::from(self.minute.cast_unsigned());
        (row(self.day, self.vhost, self.part), of << 32 | minute)
    }

    fn amount(&mut self) -> &mut Amount {
        &mut self.amount
    }
}

impl Table<MinuteEntry> {
    /// Sorts by vhost, part, day and minute. Instead of a name there is its rank then; that of a part
    /// is counted from 1, and 0 for none.
    pub(super) fn sort(&mut self, ranks: &Ranks) {
        for entry in &mut self.entries {
            entry.vhost = NameId(ranks.of(entry.vhost).unwrap_or_default());
            entry.part = NameId(ranks.of(entry.part).map_or(0, |rank| rank + 1));
        }
        self.entries.sort_unstable_by_key(MinuteEntry::row);
    }
}

/// Accounts that some of the rows of days were refused, as far as minutes ask about them.
#[derive(Debug)]
pub(super) struct Refused {
    /// Whether there are minutes at all.
    asked: bool,
    /// Day and vhost.
    vhosts: HashSet<u128, RandomState>,
    /// Day, vhost and user: `true`, its row is one of the overflow.
    users: HashMap<u128, bool, RandomState>,
}

/// Where a row of a minute goes.
enum Place {
    OwnVhost,
    Overflow,
    Nowhere,
}

impl Refused {
    /// None so far, of those in these minutes.
    pub(super) fn of(minutes: &Table<MinuteEntry>) -> Self {
        Self {
            asked: !minutes.entries.is_empty(),
            vhosts: HashSet::default(),
            users: HashMap::default(),
        }
    }

    /// What became of an account: whether its vhost, and whether its user has a row.
    pub(super) fn note(&mut self, entry: &Entry, has_vhost: bool, has_user: bool) {
        if !self.asked || has_vhost && has_user {
            return;
        }
        if !has_vhost {
            self.vhosts.insert(row(entry.day, entry.vhost, NO_USER));
        }
        if entry.part != NO_USER && !entry.claimed {
            self.users.insert(entry.row(), has_user);
        }
    }

    fn place(&self, entry: &MinuteEntry) -> Place {
        let refused = match entry.of {
            PartOf::User => self.users.get(&row(entry.day, entry.vhost, entry.part)),
            PartOf::Vhost | PartOf::Class => self
                .vhosts
                .get(&row(entry.day, entry.vhost, NO_USER))
                .map(|_| &false),
        };
        match refused {
            None => Place::OwnVhost,
            // A user spends its quota wherever it does.
            Some(true) => Place::Overflow,
            Some(false) => Place::Nowhere,
        }
    }

    /// Drops the minutes of what was refused. Keys may then stand twice.
    pub(super) fn drop_minutes(&self, minutes: &mut Table<MinuteEntry>, overflow: NameId) {
        minutes.entries.retain_mut(|entry| match self.place(entry) {
            Place::OwnVhost => true,
            Place::Overflow => {
                entry.vhost = overflow;
                true
            }
            Place::Nowhere => false,
        });
    }
}

impl Ledger {
    /// Takes over the minutes of another ledger, once its accounts have been.
    pub(super) fn take_over_minutes(
        &mut self,
        other: &mut Self,
        detail: Detail,
        refused: &Refused,
    ) {
        if detail == Detail::Vhosts {
            return;
        }
        let (texts, renumbered) = (&other.names.texts, &mut other.renumbered);
        for entry in other.minutes.entries.drain(..) {
            let vhost = match refused.place(&entry) {
                Place::OwnVhost => {
                    let (day, vhost) = (entry.day, entry.vhost);
                    self.renumber_vhost(texts, renumbered, None, (day, vhost)).0
                }
                Place::Overflow => self.overflow(),
                Place::Nowhere => continue,
            };
            let part = match texts.get(entry.part) {
                Some(name) => self.renumber_part(name, renumbered, entry.part),
                None => NO_USER,
            };
            let new = MinuteEntry {
                vhost,
                part,
                ..entry
            };
            self.minutes.add(&self.hasher, new);
        }
    }
}
