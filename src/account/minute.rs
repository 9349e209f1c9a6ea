//! Times into minutes since 1970.

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::Tz;
use tollkeeper_parsers::time::Time;

const MINUTE_SECONDS: i64 = 60;
const SLOTS: usize = 64;
/// No clock has ever been put forward by more than a day.
const MAX_GAP_HOURS: i64 = 25;

/// A minute since 1970; what is carried between a line and its row.
pub type MinuteNumber = i32;

/// Turns times into minutes, and remembers what it has just been asked about clocks without a zone.
#[derive(Debug, Clone)]
pub struct Minutes {
    zone: Tz,
    /// A minute of the local clock, and the one since 1970 that it is.
    slots: [(i64, MinuteNumber); SLOTS],
}

impl Minutes {
    /// Of a zone: the one whose days the rows are.
    #[must_use]
    pub fn new(zone: Tz) -> Self {
        Self {
            zone,
            slots: [(i64::MIN, 0); SLOTS],
        }
    }

    /// The minute of a time; `None` for times that no calendar holds.
    ///
    /// A time without a zone that the clock shows twice is the earlier one; one that it leaves out is
    /// what it would be had the clock not been put forward yet.
    pub fn of(&mut self, time: Time) -> Option<MinuteNumber> {
        let local = match time {
            Time::Instant(seconds) => {
                return MinuteNumber::try_from(seconds.div_euclid(MINUTE_SECONDS)).ok();
            }
            Time::Local(seconds) => seconds.div_euclid(MINUTE_SECONDS),
        };
        let slot = &mut self.slots[local.rem_euclid(SLOTS as i64) as usize];
        if slot.0 != local {
            let clock = DateTime::from_timestamp(local.checked_mul(MINUTE_SECONDS)?, 0)?;
            let seconds = instant(self.zone, clock.naive_utc())?;
            let minute = MinuteNumber::try_from(seconds.div_euclid(MINUTE_SECONDS)).ok()?;
            *slot = (local, minute);
        }
        Some(slot.1)
    }
}

/// When a clock of this zone shows this, in seconds since 1970.
fn instant(zone: Tz, clock: NaiveDateTime) -> Option<i64> {
    (0..=MAX_GAP_HOURS).find_map(|hours| {
        let before = clock.checked_sub_signed(TimeDelta::hours(hours))?;
        let offset = zone.offset_from_local_datetime(&before).earliest()?;
        Some(clock.and_utc().timestamp() - i64::from(offset.fix().local_minus_utc()))
    })
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDateTime;

    use super::*;

    /// What a clock without a zone shows, as an instant.
    fn shown(zone: Tz, clock: &str) -> String {
        let seconds = NaiveDateTime::parse_from_str(clock, "%Y-%m-%d %H:%M:%S")
            .expect("a time")
            .and_utc()
            .timestamp();
        let minute = Minutes::new(zone).of(Time::Local(seconds));
        let minute = i64::from(minute.expect("a minute"));
        let instant = DateTime::from_timestamp(minute * 60, 0).expect("an instant");
        instant.format("%Y-%m-%d %H:%M").to_string()
    }

    #[test]
    fn nights_in_which_the_clock_changes() {
        for (zone, clock, expected) in [
            (
                Tz::Europe__Warsaw,
                "2026-03-29 01:59:59",
                "2026-03-29 00:59",
            ),
            // There is no such time: the clock went from 02:00 to 03:00.
            (
                Tz::Europe__Warsaw,
                "2026-03-29 02:30:00",
                "2026-03-29 01:30",
            ),
            (
                Tz::Europe__Warsaw,
                "2026-03-29 03:00:00",
                "2026-03-29 01:00",
            ),
            // Twice: from 03:00 back to 02:00.
            (
                Tz::Europe__Warsaw,
                "2026-10-25 02:30:59",
                "2026-10-25 00:30",
            ),
            (
                Tz::Europe__Warsaw,
                "2026-10-25 03:00:00",
                "2026-10-25 02:00",
            ),
            // Half an hour.
            (
                Tz::Australia__Lord_Howe,
                "2026-10-04 02:15:00",
                "2026-10-03 15:45",
            ),
            // All of a day.
            (Tz::Pacific__Apia, "2011-12-30 12:00:00", "2011-12-30 22:00"),
            (Tz::UTC, "1969-12-31 23:59:59", "1969-12-31 23:59"),
        ] {
            assert_eq!(shown(zone, clock), expected, "{zone} {clock}");
        }
    }

    #[test]
    fn remembered_minutes_are_the_same() {
        for zone in [Tz::Europe__Warsaw, Tz::Australia__Lord_Howe, Tz::UTC] {
            let mut remembering = Minutes::new(zone);
            // The nights of both changes among them.
            for step in 0..100_000_i64 {
                let time = Time::Local(1_760_000_000 + step * 331);
                assert_eq!(remembering.of(time), Minutes::new(zone).of(time));
            }
        }
    }

    #[test]
    fn what_no_row_can_hold_has_no_minute() {
        let mut minutes = Minutes::new(Tz::UTC);
        for time in [
            Time::Instant(i64::MAX),
            Time::Local(i64::MAX),
            Time::Local(i64::MIN),
        ] {
            assert_eq!(minutes.of(time), None);
        }
        assert_eq!(minutes.of(Time::Instant(-1)), Some(-1));
    }
}
