//! Instants into days of the store's zone.

use chrono::{DateTime, Datelike as _, NaiveDate, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use tollkeeper_parsers::time::Time;

/// Seconds in a day without a clock change.
pub const DAY_SECONDS: i64 = 86_400;
/// No zone has changed its offset at other than a whole minute since logs exist.
const SLOT_SECONDS: i64 = 60;
const SLOTS: usize = 64;

/// A day as days since 1970-01-01; what the hot path carries.
pub type DayNumber = i32;

/// Turns instants into days, and remembers the minutes that it has just seen.
#[derive(Debug, Clone)]
pub struct Days {
    zone: Tz,
    /// The minute that the last time was in: where it begins, and its day.
    last: (i64, DayNumber),
    slots: [(i64, DayNumber); SLOTS],
}

impl Days {
    /// Of a zone.
    #[must_use]
    pub fn new(zone: Tz) -> Self {
        Self {
            zone,
            last: (i64::MIN, 0),
            slots: [(i64::MIN, 0); SLOTS],
        }
    }

    /// The day of a time; `None` for times that no calendar holds.
    #[inline]
    pub fn of(&mut self, time: Time) -> Option<DayNumber> {
        let seconds = match time {
            Time::Local(seconds) => return i32::try_from(seconds.div_euclid(DAY_SECONDS)).ok(),
            Time::Instant(seconds) => seconds,
        };
        let (begins, day) = self.last;
        if (begins..begins.saturating_add(SLOT_SECONDS)).contains(&seconds) {
            return Some(day);
        }
        self.of_minute(seconds)
    }

    #[inline(never)]
    fn of_minute(&mut self, seconds: i64) -> Option<DayNumber> {
        let minute = seconds.div_euclid(SLOT_SECONDS);
        let slot = &mut self.slots[minute.rem_euclid(SLOTS as i64) as usize];
        if slot.0 == minute {
            self.last = (minute * SLOT_SECONDS, slot.1);
            return Some(slot.1);
        }
        let local = seconds + offset(self.zone, seconds)?;
        let day = i32::try_from(local.div_euclid(DAY_SECONDS)).ok()?;
        *slot = (minute, day);
        self.last = (minute * SLOT_SECONDS, day);
        Some(day)
    }
}

/// Seconds that the clock of a zone is ahead of UTC at an instant, in seconds since 1970; `None` for
/// instants that no calendar holds.
#[must_use]
pub fn offset(zone: Tz, instant: i64) -> Option<i64> {
    let utc = DateTime::from_timestamp(instant, 0)?.naive_utc();
    let offset = zone.offset_from_utc_datetime(&utc).fix();
    Some(i64::from(offset.local_minus_utc()))
}

/// Whether two names stand for one clock, as `UTC` and `Etc/UTC` do: the same offset at every quarter
/// of a day since 1990, as far as such data reaches.
#[must_use]
pub fn same_clock(one: Tz, other: Tz) -> bool {
    const FROM: i64 = 631_152_000;
    const TO: i64 = 2_145_916_800;
    let mut instants = (FROM..TO).step_by(DAY_SECONDS as usize / 4);
    one == other || instants.all(|at| offset(one, at) == offset(other, at))
}

/// The date of a day number.
#[must_use]
pub fn date(day: DayNumber) -> NaiveDate {
    const CE_1970: i32 = 719_163;
    NaiveDate::from_num_days_from_ce_opt(day.saturating_add(CE_1970)).unwrap_or(NaiveDate::MAX)
}

/// The day number of a date.
#[must_use]
pub fn number(date: NaiveDate) -> DayNumber {
    const CE_1970: i32 = 719_163;
    date.num_days_from_ce() - CE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(zone: Tz, instant: &str) -> String {
        let seconds = DateTime::parse_from_rfc3339(instant)
            .expect("an instant")
            .timestamp();
        date(Days::new(zone).of(Time::Instant(seconds)).expect("a day")).to_string()
    }

    #[test]
    fn nights_in_which_the_clock_changes() {
        let warsaw = Tz::Europe__Warsaw;
        assert_eq!(day(warsaw, "2026-03-28T22:59:59Z"), "2026-03-28");
        assert_eq!(day(warsaw, "2026-03-28T23:00:00Z"), "2026-03-29");
        assert_eq!(day(warsaw, "2026-03-29T21:59:59Z"), "2026-03-29");
        assert_eq!(day(warsaw, "2026-03-29T22:00:00Z"), "2026-03-30");
        assert_eq!(day(warsaw, "2026-10-25T22:59:59Z"), "2026-10-25");
        assert_eq!(day(warsaw, "2026-10-25T23:00:00Z"), "2026-10-26");
        // Newfoundland once went back over midnight: Sunday, Saturday again, Sunday.
        let newfoundland = Tz::America__St_Johns;
        assert_eq!(day(newfoundland, "2006-10-29T02:30:30Z"), "2006-10-29");
        assert_eq!(day(newfoundland, "2006-10-29T02:31:00Z"), "2006-10-28");
        assert_eq!(day(newfoundland, "2006-10-29T03:30:00Z"), "2006-10-29");
    }

    #[test]
    fn remembered_minutes_give_the_same_days() {
        for zone in [
            Tz::UTC,
            Tz::Asia__Kathmandu,
            Tz::America__New_York,
            Tz::Australia__Lord_Howe,
        ] {
            let mut remembering = Days::new(zone);
            for step in 0..200_000_i64 {
                let time = Time::Instant(1_700_000_000 + step * 157);
                assert_eq!(remembering.of(time), Days::new(zone).of(time));
            }
        }
    }

    #[test]
    fn names_of_one_clock() {
        for (one, other, same) in [
            (Tz::UTC, Tz::Etc__UTC, true),
            (Tz::UTC, Tz::Zulu, true),
            (Tz::Asia__Calcutta, Tz::Asia__Kolkata, true),
            (Tz::UTC, Tz::Europe__London, false),
            (Tz::Europe__Warsaw, Tz::Europe__Kyiv, false),
        ] {
            assert_eq!(same_clock(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn times_without_a_zone_keep_their_date() {
        let mut days = Days::new(Tz::Pacific__Auckland);
        assert_eq!(
            date(days.of(Time::Local(86_399)).expect("a day")).to_string(),
            "1970-01-01"
        );
        assert_eq!(number(date(20_000)), 20_000);
    }
}
