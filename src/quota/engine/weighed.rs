//! A quota, where it stands in time: what counts for it now, and which rows have that.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono_tz::Tz;

use super::super::period::clock::{day_begins, day_of};
use super::super::period::{self, Span};
use super::super::rule::{Consequence, Measure, Period, Quota, Who};
use super::super::watch;
use crate::account::day::DayNumber;
use crate::account::delta::Amount;
use crate::usage::snapshot::{MinuteNeed, Needs};

/// All minutes of a day in one sum: enough where they belong to a period or do not.
const ONE_SUM: u32 = u32::MAX;
/// The year 1000: no database has days before it, and no line that anybody sent.
const FIRST_DAY: DayNumber = -354_285;
/// A threshold is a bit.
const MAX_THRESHOLDS: usize = 64;
/// How finely a rolling window slides.
const WINDOW_STEPS: u32 = 288;

/// A percentage at which a verdict changes.
#[derive(Debug, Clone)]
pub(super) struct Threshold {
    pub(super) at: u32,
    /// What follows; `None`: somebody is warned.
    pub(super) consequence: Option<Consequence>,
}

/// Where a rolling window stands. It slides by whole buckets of so many minutes, the same on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sliding {
    minutes: i64,
    pub(super) step: u32,
    /// The first bucket of which a minute counts; all of it does.
    pub(super) first_bucket: i64,
    /// The day in which that bucket begins.
    first_day: DayNumber,
}

impl Sliding {
    fn at(minutes: u32, zone: Tz, now: i64) -> Self {
        let step = (minutes / WINDOW_STEPS).max(1);
        let minutes = i64::from(minutes.max(1));
        let first_minute = now.div_euclid(60) - minutes + 1;
        let first_bucket = first_minute.div_euclid(i64::from(step));
        let first_bucket_minute = first_bucket * i64::from(step);
        Self {
            minutes,
            step,
            first_bucket,
            first_day: day_of(zone, first_bucket_minute.saturating_mul(60)),
        }
    }

    /// The bucket of a minute.
    pub(super) fn bucket(&self, minute: i64) -> i64 {
        minute.div_euclid(i64::from(self.step))
    }

    /// When the first bucket leaves.
    fn next(&self) -> i64 {
        let first_minute = (self.first_bucket + 1).saturating_mul(i64::from(self.step));
        (first_minute + self.minutes - 1).saturating_mul(60)
    }
}

/// A quota and its place in time.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) quota: Quota,
    /// Rising; of a warning and a rung at the same percentage, the rung.
    pub(super) thresholds: Vec<Threshold>,
    pub(super) span: Span,
    /// Of a rolling one.
    pub(super) sliding: Option<Sliding>,
    /// The first minute of the period.
    first_minute: i64,
    by_minute: bool,
    /// The first minute of `part_days`.
    part_days_minute: i64,
    /// The limit, as far as it is open, and when more is.
    pub(super) opened: u64,
    pub(super) next_slice: Option<i64>,
    /// The rows that are there were asked for so that all that counts is in them.
    pub(super) has_rows: bool,
    /// All that counts is in those rows, or in lines of ours.
    pub(super) known: bool,
    /// Which of the sums of minutes are of it,
    pub(super) minute_sums: Option<MinuteNeed>,
    /// and which are of all of the days that lie in it in part.
    pub(super) day_sums: Option<MinuteNeed>,
    /// Days of which it matters how much no row tells the minute of.
    pub(super) part_days: Range<DayNumber>,
    /// Its meters, by number.
    pub(super) meters: Vec<u32>,
    /// Whether one of these may have used something.
    pub(super) is_used: bool,
}

impl Weighed {
    pub(super) fn new(quota: Quota, zone: Tz, now: i64) -> Self {
        let mut weighed = Self {
            thresholds: thresholds(&quota),
            span: period::at(&quota.period, zone, now),
            sliding: None,
            first_minute: i64::MIN,
            by_minute: watch::by_minute(&quota.period),
            part_days_minute: 0,
            opened: quota.limit,
            next_slice: None,
            has_rows: false,
            known: false,
            minute_sums: None,
            day_sums: None,
            part_days: 0..0,
            meters: Vec::new(),
            is_used: false,
            quota,
        };
        weighed.set_now(zone, now);
        weighed
    }

    pub(super) fn is_leech(&self) -> bool {
        matches!(self.quota.who, Who::Leech(_))
    }

    /// Whether thresholds are told again once usage has been below them: of what has no periods.
    pub(super) fn has_no_periods(&self) -> bool {
        matches!(self.quota.period, Period::Rolling { .. } | Period::Endless)
    }

    /// What names the period in what is told.
    pub(super) fn told_begin(&self) -> i64 {
        match self.has_no_periods() {
            true => 0,
            false => self.span.begins,
        }
    }

    /// Moves on in time. Returns whether another period has begun.
    pub(super) fn set_now(&mut self, zone: Tz, now: i64) -> bool {
        let Quota { period, limit, .. } = &self.quota;
        let span = period::at(period, zone, now);
        (self.opened, self.next_slice) =
            period::opened(period, self.quota.slice_minutes, *limit, zone, now);
        if let Period::Rolling { minutes } = *period {
            self.sliding = Some(Sliding::at(minutes, zone, now));
        }
        let is_other = span != self.span && self.sliding.is_none();
        self.span = span;
        // The minute of a second within it is left out: a row cannot be cut.
        self.first_minute = span.begins.div_euclid(60) + i64::from(span.begins.rem_euclid(60) > 0);
        self.part_days = match self.sliding {
            Some(sliding) => sliding.first_day..DayNumber::MAX,
            None if self.by_minute => day_of(zone, span.begins)..self.first_day(),
            None => 0..0,
        };
        self.part_days_minute = day_begins(zone, self.part_days.start).div_euclid(60);
        is_other
    }

    /// When something changes by itself; `slides`: windows count as something.
    pub(super) fn next_change(&self, slides: bool) -> Option<i64> {
        let slides = self
            .sliding
            .filter(|_| slides)
            .map(|sliding| sliding.next());
        [self.span.ends, self.next_slice, slides]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn measure(&self, amount: &Amount) -> u64 {
        match self.quota.measure {
            Measure::In => amount.bytes_in,
            Measure::Out => amount.bytes_out,
            Measure::Both => amount.bytes_in.saturating_add(amount.bytes_out),
            Measure::Requests => amount.requests,
        }
    }

    fn first_day(&self) -> DayNumber {
        self.span.first_whole_day.max(FIRST_DAY)
    }

    /// Whether a row of a day counts, as far as the rows of days go.
    pub(super) fn has_day(&self, day: DayNumber) -> bool {
        day >= self.first_day()
    }

    /// Whether a row of a minute counts beside those of days.
    pub(super) fn has_minute(&self, day: DayNumber, minute: i64) -> bool {
        self.by_minute && day < self.first_day() && minute >= self.first_minute
    }

    /// Whether this sum, of the days from one to `recent_day`, is that of the period.
    pub(super) fn has_sum(&self, from: DayNumber, recent_day: DayNumber) -> bool {
        from == self.first_day() && from < recent_day
    }

    /// Adds what it needs to what a full snapshot is to hold; those of days and minutes are given.
    pub(super) fn add_needs(&self, needs: &mut Needs) {
        self.add_kinds(needs);
        if self.is_leech() {
            return;
        }
        let first_day = self.part_days.start;
        if !self.part_days.is_empty() && first_day < needs.recent_day {
            needs.days_from = Some(needs.days_from.map_or(first_day, |had| had.min(first_day)));
        }
        let is_before = |need: &MinuteNeed| need.from < needs.recent_minute;
        let minutes = [self.need_of_minutes(), self.need_of_part_days()];
        let minutes: Vec<_> = minutes.into_iter().flatten().filter(is_before).collect();
        needs.minutes.extend(minutes);
        if self.sliding.is_none() && self.first_day() < needs.recent_day {
            needs.sums_from.insert(self.first_day());
        }
    }

    /// The minutes of the period that the rows of days do not tell.
    fn need_of_minutes(&self) -> Option<MinuteNeed> {
        match self.sliding {
            Some(_) => self.need_of_part_days(),
            None => self.by_minute.then_some(MinuteNeed {
                from: self.first_minute,
                step: ONE_SUM,
            }),
        }
    }

    /// All minutes of the days that lie in it in part.
    fn need_of_part_days(&self) -> Option<MinuteNeed> {
        let need = MinuteNeed {
            from: self.part_days_minute,
            step: self.sliding.map_or(ONE_SUM, |sliding| sliding.step),
        };
        (!self.part_days.is_empty()).then_some(need)
    }

    fn add_kinds(&self, needs: &mut Needs) {
        needs.by_minute |= self.by_minute;
        needs.users |= matches!(self.quota.who, Who::User { .. });
        needs.classes |= self.quota.class.is_some();
        needs.leech |= self.is_leech();
    }

    /// The first minute of which rows are needed.
    pub(super) fn oldest_minute(&self) -> Option<i64> {
        self.by_minute.then_some(self.part_days_minute)
    }

    /// Looks whether rows that were asked for so have all that counts.
    pub(super) fn set_rows(&mut self, had: &Needs) {
        let mut kinds = had.clone();
        self.add_kinds(&mut kinds);
        let has_kinds = (kinds.by_minute, kinds.users, kinds.classes, kinds.leech)
            == (had.by_minute, had.users, had.classes, had.leech);
        let need = self.need_of_minutes();
        self.day_sums = self
            .need_of_part_days()
            .and_then(|need| latest(&had.minutes, need));
        self.minute_sums = match self.sliding {
            Some(_) => self.day_sums,
            None => need.filter(|need| had.minutes.contains(need)),
        };
        let has_minutes =
            need.is_none_or(|need| need.from >= had.recent_minute) || self.minute_sums.is_some();
        let day = self.first_day();
        let has_days = match self.sliding {
            Some(sliding) => {
                let days_from = had.days_from.unwrap_or(had.recent_day);
                days_from.min(had.recent_day) <= sliding.first_day
            }
            None => day >= had.recent_day || had.sums_from.contains(&day),
        };
        self.has_rows = has_kinds && (self.is_leech() || has_minutes && has_days);
    }
}

/// The need with the same step that begins last, and not behind this one.
fn latest(needs: &BTreeSet<MinuteNeed>, wanted: MinuteNeed) -> Option<MinuteNeed> {
    let fits = |need: &&MinuteNeed| need.step == wanted.step && need.from <= wanted.from;
    needs.iter().rev().find(fits).copied()
}

fn thresholds(quota: &Quota) -> Vec<Threshold> {
    let rungs = quota.exceeded.iter().map(|rung| Threshold {
        at: rung.at,
        consequence: Some(rung.consequence.clone()),
    });
    let mut all: Vec<_> = rungs.take(MAX_THRESHOLDS).collect();
    for at in &quota.warn {
        let is_new = all.iter().all(|threshold| threshold.at != *at);
        if is_new && all.len() < MAX_THRESHOLDS {
            let (at, consequence) = (*at, None);
            all.push(Threshold { at, consequence });
        }
    }
    all.sort_by_key(|threshold| threshold.at);
    all
}
