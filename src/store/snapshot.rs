//! A snapshot as its rows come in.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::NaiveDate;

use super::part_number;
use crate::account::day::{self, DayNumber};
use crate::account::delta::{Amount, PartOf};
use crate::usage::snapshot::{Key, MinuteNeed, Needs, Part, Snapshot};

/// Sums that one statement makes.
const MAX_SUMS: usize = 8;

/// Collects rows. Names are kept once each; rows of nothing are left out.
#[derive(Debug)]
pub(super) struct Builder {
    names: HashSet<Arc<str>>,
    snapshot: Snapshot,
}

impl Builder {
    pub(super) fn new(needs: &Needs) -> Self {
        let snapshot = Snapshot {
            needs: needs.clone(),
            ..Snapshot::default()
        };
        Self {
            names: HashSet::new(),
            snapshot,
        }
    }

    pub(super) fn built(self) -> Snapshot {
        self.snapshot
    }

    pub(super) fn seq(&mut self, seq: u64) {
        self.snapshot.seq = seq;
    }

    pub(super) fn key(&mut self, of: PartOf, vhost: &str, part: &str) -> Key {
        let vhost = self.name(vhost);
        let part = match of {
            PartOf::Vhost => Part::All,
            PartOf::User => Part::User(self.name(part)),
            PartOf::Class => Part::Class(self.name(part)),
        };
        Key { vhost, part }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(name);
        self.names.insert(Arc::clone(&name));
        name
    }

    /// Of one day.
    pub(super) fn day(&mut self, key: Key, day: DayNumber, amount: Amount) {
        if amount != Amount::default() {
            self.snapshot.days.push((key, day, amount));
        }
    }

    /// Of the days from `from` on.
    pub(super) fn sum(&mut self, from: DayNumber, key: &Key, amount: Amount) {
        if amount != Amount::default() {
            self.snapshot.sums.push((from, key.clone(), amount));
        }
    }

    /// Of one minute.
    pub(super) fn minute(&mut self, key: Key, day: DayNumber, minute: i64, amount: Amount) {
        if amount != Amount::default() {
            self.snapshot.minutes.push((key, day, minute, amount));
        }
    }

    /// Of one step of minutes.
    pub(super) fn step(
        &mut self,
        need: MinuteNeed,
        key: Key,
        day: DayNumber,
        step: i64,
        amount: Amount,
    ) {
        if amount != Amount::default() {
            let sums = &mut self.snapshot.minute_sums;
            sums.push((need, key, day, step, amount));
        }
    }

    /// A row of mod_leech's table.
    pub(super) fn leech(&mut self, user: &str, bytes: Option<i64>, max_bytes: Option<i64>) {
        let row = super::leech::row(user, bytes, max_bytes);
        self.snapshot.leech.push(row);
    }
}

/// Of which parts rows are needed.
pub(super) fn parts(needs: &Needs) -> Vec<PartOf> {
    let mut parts = vec![PartOf::Vhost];
    if needs.users {
        parts.push(PartOf::User);
    }
    if needs.classes {
        parts.push(PartOf::Class);
    }
    parts
}

/// The first day that is told day by day.
pub(super) fn first_day(needs: &Needs) -> DayNumber {
    let more = needs.days_from.filter(|_| needs.full);
    more.map_or(needs.recent_day, |day| day.min(needs.recent_day))
}

/// The first days of sums, so many at a time as go into one statement.
pub(super) fn sums(needs: &Needs) -> Vec<Vec<DayNumber>> {
    let wanted = needs.sums_from.range(..needs.recent_day);
    let wanted: Vec<DayNumber> = wanted.copied().filter(|_| needs.full).collect();
    wanted.chunks(MAX_SUMS).map(<[DayNumber]>::to_vec).collect()
}

/// The minutes that are added up.
pub(super) fn steps(needs: &Needs) -> Vec<MinuteNeed> {
    let wanted = needs.minutes.iter().copied();
    let wanted = wanted.filter(|need| needs.full && need.from < needs.recent_minute);
    wanted.collect()
}

/// What a row of minutes is of.
pub(super) fn part_of(number: i64) -> Option<PartOf> {
    let parts = [PartOf::Vhost, PartOf::User, PartOf::Class];
    parts.into_iter().find(|of| part_number(*of) == number)
}

/// A day as the databases can compare it: a year of four digits.
pub(super) fn date(day: DayNumber) -> NaiveDate {
    let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or_default();
    let last = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or_default();
    day::date(day).clamp(first, last)
}

/// A sum as an amount: a table that somebody edited may be negative, and counts as nothing.
pub(super) fn clamped(sum: i128) -> u64 {
    u64::try_from(sum.max(0)).unwrap_or(u64::MAX)
}
