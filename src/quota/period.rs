//! An instant into the period that it lies in; the share of a limit that is open by then.

use chrono_tz::Tz;

use super::rule::Period;
use crate::account::day::DayNumber;

/// A period, as it lies in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first second since 1970; `i64::MIN` for an endless one.
    pub begins: i64,
    /// Behind its last second; `None` where it slides along, or has no end.
    pub ends: Option<i64>,
    /// The first day of which all that has been counted so far lies in the period.
    pub first_whole_day: DayNumber,
}

/// The period that an instant lies in. A rolling one ends with the minute of `now`.
#[must_use]
pub fn at(period: &Period, zone: Tz, now: i64) -> Span {
    let _ = (period, zone, now);
    Span {
        begins: now,
        ends: None,
        first_whole_day: 0,
    }
}

/// How much of a limit is open at an instant in a period, and when more is.
#[must_use]
pub fn opened(
    period: &Period,
    slice_minutes: Option<u32>,
    limit: u64,
    zone: Tz,
    now: i64,
) -> (u64, Option<i64>) {
    let _ = (period, slice_minutes, zone, now);
    (limit, None)
}
