//! The clock of a zone: where its days begin, and what a time on it means.
//!
//! All follows from one rule: a time on the clock is the first instant at which the clock shows it, or
//! a later one. So a day whose midnight is skipped begins with its first instant that exists; one that
//! has two begins with the first; one that is skipped whole is empty, and begins with the next.

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;

use crate::account::day::{self, DAY_SECONDS, DayNumber};

/// An instant that chrono holds: those beyond are its first or last one.
pub(super) fn held(instant: i64) -> i64 {
    instant.clamp(
        DateTime::<Utc>::MIN_UTC.timestamp(),
        DateTime::<Utc>::MAX_UTC.timestamp(),
    )
}

/// The first second of a day since 1970.
///
/// Whatever [`crate::account::day::Days`] puts on this day or a later one is at or behind it. Behind
/// it is also what it puts on the day before where a clock was set back over midnight: since 1985 the
/// second 23 o'clock of Newfoundland, Goose Bay and Moncton, last in 2010, and of Casey station in that
/// year. No zone does so now; a clock that is set back at midnight itself has one midnight only.
#[must_use]
pub fn day_begins(zone: Tz, day: DayNumber) -> i64 {
    first_instant(zone, i64::from(day) * DAY_SECONDS)
}

/// The day that the clock shows at an instant: that of the row of a line, as
/// [`crate::account::day::Days`] says it. It goes back where a clock is set back over midnight.
pub(in crate::quota) fn day_of(zone: Tz, instant: i64) -> DayNumber {
    let instant = held(instant);
    day_number((instant + offset(zone, instant)).div_euclid(DAY_SECONDS))
}

/// The last day that has begun at an instant: that on the clock, but where the clock shows a day again whose
/// next one has begun. It never goes back, so that periods follow one another.
#[must_use]
pub fn day_at(zone: Tz, instant: i64) -> DayNumber {
    let instant = held(instant);
    let mut day = day_of(zone, instant);
    while day_begins(zone, day + 1) <= instant {
        day += 1;
    }
    day
}

/// The first day that begins at an instant or behind it.
pub(super) fn first_day_from(zone: Tz, instant: i64) -> DayNumber {
    let instant = held(instant);
    let mut day = day_at(zone, instant) + 1;
    while day_begins(zone, day - 1) >= instant {
        day -= 1;
    }
    day
}

/// A time on the clock: the earlier one of two; one that is skipped, by the clock as it was before.
pub(super) fn instant_of(zone: Tz, time: NaiveDateTime) -> i64 {
    let local = time.and_utc().timestamp();
    let first = first_instant(zone, local);
    match first + offset(zone, first) == local {
        true => first,
        false => local - offset(zone, first - 1),
    }
}

/// The first instant at which the clock shows this time or a later one; `local`: seconds since 1970 on
/// that clock.
fn first_instant(zone: Tz, local: i64) -> i64 {
    // No clock is a day away from UTC, and none was ever set twice within two days.
    let (mut earlier, mut later) = (local - DAY_SECONDS, local + DAY_SECONDS);
    let (before, after) = (offset(zone, earlier), offset(zone, later));
    if before == after {
        return local - before;
    }
    while later - earlier > 1 {
        let middle = earlier + (later - earlier) / 2;
        match offset(zone, middle) == before {
            true => earlier = middle,
            false => later = middle,
        }
    }
    let change = later;
    match local - before < change {
        true => local - before,
        false => change.max(local - after),
    }
}

/// Seconds that the clock is ahead of UTC.
pub(super) fn offset(zone: Tz, instant: i64) -> i64 {
    day::offset(zone, held(instant)).unwrap_or_default()
}

fn day_number(day: i64) -> DayNumber {
    let limit = |day: DayNumber| i64::from(day);
    // What chrono holds is far inside.
    DayNumber::try_from(day.clamp(limit(DayNumber::MIN), limit(DayNumber::MAX))).unwrap_or_default()
}
