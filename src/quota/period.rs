//! An instant into the period that it lies in; the share of a limit that is open by then.
//!
//! Periods of one kind tile time: each instant lies in exactly one, which ends where the next begins.
//! Those of the calendar are whole days, and days are those of [`clock`]; so a row of a day belongs to
//! the period that the day lies in, whatever the clock did in that night. Periods of minutes are time
//! that passes: as long in a night in which the clock is set as in any other.
//!
//! Instants that chrono does not hold are taken as the first or the last that it does.

pub mod clock;

use std::ops::Range;

use chrono::{Datelike as _, NaiveDate, NaiveTime};
use chrono_tz::Tz;

use self::clock::{day_at, day_begins, first_day_from, held, instant_of};
use super::rule::Period;
use crate::account::day::{DayNumber, number};

const MINUTE_SECONDS: i64 = 60;
const DAY_MINUTES: u32 = 1_440;

/// A period, as it lies in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first second since 1970; `i64::MIN` for an endless one.
    pub begins: i64,
    /// Behind its last second; `None` where it slides along, or has no end.
    pub ends: Option<i64>,
    /// The first day of which all that has been counted so far lies in the period. Of one that is
    /// shorter than a day: the first that begins when it is over, so that only minutes count.
    pub first_whole_day: DayNumber,
}

/// The period that an instant lies in. A rolling one ends with the minute of `now`.
#[must_use]
pub fn at(period: &Period, zone: Tz, now: i64) -> Span {
    match place(period, zone, now) {
        Place::Days(days) => Span {
            begins: day_begins(zone, days.start),
            ends: Some(day_begins(zone, days.end)),
            first_whole_day: days.start,
        },
        Place::Time(time) => {
            let is_short = time.end - time.start < i64::from(DAY_MINUTES) * MINUTE_SECONDS;
            let whole_from = if is_short { time.end } else { time.start };
            Span {
                begins: time.start,
                ends: Some(time.end),
                first_whole_day: first_day_from(zone, whole_from),
            }
        }
        Place::Sliding(begins) => Span {
            begins,
            ends: None,
            first_whole_day: first_day_from(zone, begins),
        },
        Place::Endless => Span {
            begins: i64::MIN,
            ends: None,
            first_whole_day: DayNumber::MIN,
        },
    }
}

/// How much of a limit is open at an instant in a period, and when more is.
///
/// Slices open one after another from the beginning of the period on, each as much of the limit as it
/// is of the period: 100 G in four weeks are 25, 50, 75 and 100 G by weeks. The last one is cut where
/// the period ends, and opens what is left. Whole days of a period of the calendar are counted as such,
/// however long they are; everything else is time that passes. Fractions of a byte stay closed until
/// the last slice. Rolling and endless periods have no slices.
#[must_use]
pub fn opened(
    period: &Period,
    slice_minutes: Option<u32>,
    limit: u64,
    zone: Tz,
    now: i64,
) -> (u64, Option<i64>) {
    let Some(slice_minutes) = slice_minutes.filter(|minutes| *minutes > 0) else {
        return (limit, None);
    };
    let time = match place(period, zone, now) {
        Place::Days(days) if slice_minutes.is_multiple_of(DAY_MINUTES) => {
            let length = i64::from(days.end) - i64::from(days.start);
            let begun = i64::from(day_at(zone, now)) - i64::from(days.start);
            let until = slice_end(begun, i64::from(slice_minutes / DAY_MINUTES), length);
            // It is at most the length, which is that of a range of this type.
            let next = || day_begins(zone, days.start + until as DayNumber);
            return (share(limit, until, length), (until < length).then(next));
        }
        Place::Days(days) => day_begins(zone, days.start)..day_begins(zone, days.end),
        Place::Time(time) => time,
        Place::Sliding(_) | Place::Endless => return (limit, None),
    };
    let length = time.end - time.start;
    let slice = i64::from(slice_minutes) * MINUTE_SECONDS;
    let until = slice_end(held(now) - time.start, slice, length);
    let next = (until < length).then_some(time.start + until);
    (share(limit, until, length), next)
}

/// Where the slice that has begun ends: counted, as all of these, from the beginning of the period.
fn slice_end(begun: i64, slice: i64, length: i64) -> i64 {
    ((begun.max(0) / slice + 1) * slice).min(length)
}

/// So much of a limit as `part` is of `whole`, rounded down.
fn share(limit: u64, part: i64, whole: i64) -> u64 {
    if part >= whole {
        return limit;
    }
    let (part, whole) = (part.max(0) as u128, whole as u128);
    u64::try_from(u128::from(limit) * part / whole).unwrap_or(limit)
}

/// Where a period lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// On whole days of the calendar.
    Days(Range<DayNumber>),
    /// In time that passes; seconds since 1970.
    Time(Range<i64>),
    /// From here to now.
    Sliding(i64),
    /// Everywhere.
    Endless,
}

fn place(period: &Period, zone: Tz, now: i64) -> Place {
    let now = held(now);
    let day = || day_at(zone, now);
    match *period {
        Period::Day => Place::Days(every(1, 0, day())),
        Period::Week => {
            const A_MONDAY: DayNumber = 4;
            Place::Days(every(7, A_MONDAY, day()))
        }
        Period::Month { day: billing } => Place::Days(month(billing, day())),
        Period::Year { month, day: on } => Place::Days(year(month, on, day())),
        Period::Minutes { minutes, anchor } => {
            let minutes = minutes.max(1);
            if minutes.is_multiple_of(DAY_MINUTES) && anchor.time() == NaiveTime::MIN {
                let length = minutes / DAY_MINUTES;
                return Place::Days(every(length, number(anchor.date()), day()));
            }
            let length = i64::from(minutes) * MINUTE_SECONDS;
            let anchor = instant_of(zone, anchor);
            let begins = anchor + (now - anchor).div_euclid(length) * length;
            Place::Time(begins..begins + length)
        }
        Period::Rolling { minutes } => {
            let minute = now.div_euclid(MINUTE_SECONDS);
            Place::Sliding((minute + 1 - i64::from(minutes.max(1))) * MINUTE_SECONDS)
        }
        Period::Endless => Place::Endless,
    }
}

/// Of periods of so many days, one of which begins on the anchor's: the one that a day lies in.
fn every(length: u32, anchor: DayNumber, day: DayNumber) -> Range<DayNumber> {
    let length = i64::from(length);
    let since = i64::from(day) - i64::from(anchor);
    let begins = i64::from(anchor) + since.div_euclid(length) * length;
    // Days and lengths are far smaller than this type can hold.
    begins as DayNumber..(begins + length) as DayNumber
}

fn month(billing: u32, day: DayNumber) -> Range<DayNumber> {
    const MONTHS: i32 = 12;
    let date = held_date(day);
    // Months since the year 0.
    let month = date.year() * MONTHS + date.month0() as i32;
    let begins = |month: i32| {
        let of_year = month.rem_euclid(MONTHS) as u32 + 1;
        date_or_last(month.div_euclid(MONTHS), of_year, billing)
    };
    match day < begins(month) {
        true => begins(month - 1)..begins(month),
        false => begins(month)..begins(month + 1),
    }
}

fn year(month: u32, on: u32, day: DayNumber) -> Range<DayNumber> {
    let year = held_date(day).year();
    let begins = |year: i32| date_or_last(year, month.clamp(1, 12), on);
    match day < begins(year) {
        true => begins(year - 1)..begins(year),
        false => begins(year)..begins(year + 1),
    }
}

/// The day of a month, or its last one. Beyond what chrono holds: the first or last that it does.
fn date_or_last(year: i32, month: u32, day: u32) -> DayNumber {
    let date = |day| NaiveDate::from_ymd_opt(year, month, day);
    let last = (1..=day.clamp(1, 31)).rev().find_map(date);
    last.map_or_else(
        || match year < 0 {
            true => number(NaiveDate::MIN) - 1,
            // A clock may be ahead of chrono's last day.
            false => number(NaiveDate::MAX) + 2,
        },
        number,
    )
}

fn held_date(day: DayNumber) -> NaiveDate {
    let day = day.clamp(number(NaiveDate::MIN), number(NaiveDate::MAX));
    crate::account::day::date(day)
}

#[cfg(test)]
mod tests;
