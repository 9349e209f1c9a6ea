//! What usage is made of: the store's rows, and what this process has summed beside them.
//!
//! A line of ours is in exactly one place: in `current`, in the batch that took it, or, once a snapshot
//! has that batch, in the snapshot's rows. Snapshots that are not full have no rows before
//! `recent_day` and `recent_minute`; lines that were committed since the last full one and lie before
//! those are kept in `late_days` and `late_minutes`, until the next full one has them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::account::day::DayNumber;
use crate::account::delta::Amount;
use crate::account::spent::Spent;
use crate::usage::snapshot::{Key, LeechRow, MinuteNeed, Needs, Part, Snapshot};

/// Lines that were spent alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) vhost: Arc<str>,
    pub(super) user: Option<Arc<str>>,
    pub(super) class: Option<Arc<str>>,
    pub(super) day: DayNumber,
    pub(super) minute: i64,
}

impl Line {
    /// The rows that it is added to.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let user = self.user.clone().map(Part::User);
        let class = self.class.clone().map(Part::Class);
        let parts = [Some(Part::All), user, class];
        parts.into_iter().flatten().map(|part| Key {
            vhost: Arc::clone(&self.vhost),
            part,
        })
    }
}

pub(super) type Lines = HashMap<Line, Amount, ahash::RandomState>;

/// The part of a full snapshot that those after it do not have.
#[derive(Debug, Default)]
pub(super) struct Full {
    pub(super) needs: Needs,
    pub(super) seq: u64,
    pub(super) sums: Vec<(DayNumber, Key, Amount)>,
    /// Before `needs.recent_day`.
    pub(super) days: Vec<(Key, DayNumber, Amount)>,
    pub(super) minute_sums: Vec<(MinuteNeed, Key, DayNumber, i64, Amount)>,
    /// When it came, in seconds since 1970, and on which day.
    pub(super) at: i64,
    pub(super) day: DayNumber,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) full: Option<Full>,
    pub(super) late_days: HashMap<(Key, DayNumber), Amount, ahash::RandomState>,
    pub(super) late_minutes: HashMap<(Key, DayNumber, i64), Amount, ahash::RandomState>,
    /// From `needs.recent_day` of the full one on.
    pub(super) days: Vec<(Key, DayNumber, Amount)>,
    /// From `needs.recent_minute` of the full one on.
    pub(super) minutes: Vec<(Key, DayNumber, i64, Amount)>,
    pub(super) leech: Vec<LeechRow>,
    /// The number of the last batch in them.
    pub(super) seq: u64,
    /// Batches that no snapshot has yet, by number.
    pub(super) batches: BTreeMap<u64, Lines>,
    /// In no batch yet.
    pub(super) current: Lines,
}

impl Rows {
    /// Lines that are in no row yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&Line, &Amount)> {
        self.batches.values().chain([&self.current]).flatten()
    }

    pub(super) fn spend(&mut self, line: Line, amount: Amount) {
        self.current.entry(line).or_default().add(amount);
    }

    /// All that is current is in this batch. Returns whether rows have it already: a snapshot may be ahead
    /// of the word that its batch was taken.
    pub(super) fn taken(&mut self, seq: u64) -> bool {
        if self.current.is_empty() {
            return false;
        }
        let current = std::mem::take(&mut self.current);
        if seq <= self.seq {
            if self.full.as_ref().is_some_and(|full| full.seq < seq) {
                self.keep_late(current);
            }
            return true;
        }
        let batch = self.batches.entry(seq).or_default();
        if batch.is_empty() {
            *batch = current;
            return false;
        }
        for (line, amount) in current {
            batch.entry(line).or_default().add(amount);
        }
        false
    }

    /// What is in no batch up to this one is to be read again.
    pub(super) fn start_over(&mut self, seq: u64) {
        self.current.clear();
        self.batches.retain(|batch, _| *batch <= seq);
    }

    /// Takes over a snapshot, unless it is older than what is there, or tells less; returns whether it
    /// did. `day`: today.
    pub(super) fn take_over(&mut self, snapshot: Snapshot, now: i64, day: DayNumber) -> bool {
        let Snapshot {
            needs,
            seq,
            sums,
            mut days,
            minute_sums,
            mut minutes,
            leech,
        } = snapshot;
        if seq < self.seq {
            return false;
        }
        let is_full = needs.full;
        if is_full {
            let mut earlier = Vec::new();
            days.retain(|row| {
                let is_recent = row.1 >= needs.recent_day;
                if !is_recent {
                    earlier.push(row.clone());
                }
                is_recent
            });
            self.late_days.clear();
            self.late_minutes.clear();
            self.full = Some(Full {
                needs,
                seq,
                sums,
                days: earlier,
                minute_sums,
                at: now,
                day,
            });
        } else {
            let Some(had) = self.full.as_ref().map(|full| &full.needs) else {
                return false;
            };
            if !goes_on_from(&needs, had) {
                return false;
            }
            days.retain(|(_, day, _)| *day >= had.recent_day);
            minutes.retain(|(_, _, minute, _)| *minute >= had.recent_minute);
        }
        let waiting = self.batches.split_off(&seq.saturating_add(1));
        let in_rows = std::mem::replace(&mut self.batches, waiting);
        self.days = days;
        self.minutes = minutes;
        self.leech = leech;
        self.seq = seq;
        if !is_full {
            for lines in in_rows.into_values() {
                self.keep_late(lines);
            }
        }
        true
    }

    /// Lines that are in the store now, and that the snapshots to come do not tell.
    fn keep_late(&mut self, lines: Lines) {
        let Some(had) = self.full.as_ref().map(|full| &full.needs) else {
            return;
        };
        for (line, amount) in lines {
            let (day, minute) = (line.day, line.minute);
            for key in line.keys() {
                if had.by_minute && minute < had.recent_minute {
                    let late = (key.clone(), day, minute);
                    self.late_minutes.entry(late).or_default().add(amount);
                }
                if day < had.recent_day {
                    self.late_days.entry((key, day)).or_default().add(amount);
                }
            }
        }
    }
}

/// What was spent, as it is kept.
pub(super) fn line(spent: Spent) -> (Line, Amount) {
    let line = Line {
        vhost: spent.vhost,
        user: spent.user,
        class: spent.class,
        day: spent.day,
        minute: spent.minute,
    };
    (line, spent.amount)
}

/// Whether a snapshot that is not full has all that the last full one leaves to it.
fn goes_on_from(needs: &Needs, full: &Needs) -> bool {
    needs.recent_day <= full.recent_day
        && needs.recent_minute <= full.recent_minute
        && needs.by_minute >= full.by_minute
        && needs.users >= full.users
        && needs.classes >= full.classes
        && needs.leech >= full.leech
}
