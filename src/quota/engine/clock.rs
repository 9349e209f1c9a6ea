//! The days of a zone.

use chrono::{DateTime, NaiveTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

use crate::account::day::{DAY_SECONDS, DayNumber, date};

/// The day that an instant lies in; instants that no calendar holds are taken as the nearest that one does.
pub(super) fn day_of(zone: Tz, instant: i64) -> DayNumber {
    const YEARS: i64 = 200_000 * 366 * DAY_SECONDS;
    let instant = instant.clamp(-YEARS, YEARS);
    let offset = DateTime::from_timestamp(instant, 0).map_or(0, |utc| {
        let offset = zone.offset_from_utc_datetime(&utc.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    });
    i32::try_from((instant + offset).div_euclid(DAY_SECONDS)).unwrap_or_default()
}

/// The first instant of a day. Where the clock leaves midnight out, the day begins when it goes on.
pub(super) fn day_begins(zone: Tz, day: DayNumber) -> i64 {
    let midnight = date(day).and_time(NaiveTime::MIN);
    // A gap is a quarter, half or whole hour; once it was a day.
    let quarters = (0..=100).map(|quarter| TimeDelta::minutes(15 * quarter));
    quarters
        .filter_map(|later| midnight.checked_add_signed(later))
        .find_map(|time| zone.from_local_datetime(&time).earliest())
        .map_or(i64::from(day) * DAY_SECONDS, |instant| instant.timestamp())
}
