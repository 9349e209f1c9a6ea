//! Log times into instants.
//!
//! Every shape that the servers write is read at fixed positions, without allocating, and every part
//! is checked for its range: a 30th of February is no time, it is an error. The years are 1970 to
//! 9999. A leap second counts as the second before it, as it does in Unix time. Fractions of a
//! second are checked and dropped; nothing is billed by them.

mod pattern;

pub(crate) use pattern::LastText;
pub use pattern::{Pattern, PatternError};

/// When a line says it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Seconds since 1970-01-01 00:00 UTC.
    Instant(i64),
    /// A calendar time without a zone: seconds since 1970-01-01 00:00 on the clock of the server
    /// that wrote it, whose zone the caller knows.
    Local(i64),
}

/// The length of [`clf`]'s shape.
pub const CLF_BYTES: usize = 26;

/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Reads the Common Log Format's time, `22/Nov/2026:08:23:11 +0000`: exactly these 26 bytes.
#[must_use]
pub fn clf(bytes: &[u8]) -> Option<Time> {
    Clf::default().read(bytes)
}

/// Reads one [`clf`] time after another: the date and the zone seldom change between two lines, and
/// on a busy server not even the second does, so the last time is remembered.
#[derive(Debug, Clone)]
pub struct Clf {
    /// The last text, and its time.
    last: ([u8; CLF_BYTES], i64),
    /// `22/Nov/2026:`
    date: [u8; 12],
    /// ` +0000`
    zone: [u8; 6],
    /// When that day begins in that zone.
    midnight: i64,
    /// `08:23:11`
    clock: [u8; 8],
    /// Seconds from midnight to it.
    second: i64,
}

impl Default for Clf {
    fn default() -> Self {
        Self {
            last: (*b"01/Jan/1970:00:00:00 +0000", 0),
            date: *b"01/Jan/1970:",
            zone: *b" +0000",
            midnight: 0,
            clock: *b"00:00:00",
            second: 0,
        }
    }
}

impl Clf {
    /// As [`clf`].
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> Option<Time> {
        let bytes: &[u8; CLF_BYTES] = bytes.try_into().ok()?;
        if *bytes == self.last.0 {
            return Some(Time::Instant(self.last.1));
        }
        let time = self.read_other(bytes)?;
        self.last = (*bytes, time);
        Some(Time::Instant(time))
    }

    fn read_other(&mut self, bytes: &[u8; CLF_BYTES]) -> Option<i64> {
        let (date, rest) = bytes.split_first_chunk()?;
        let (&clock, zone) = rest.split_first_chunk()?;
        if *date != self.date || *zone != self.zone {
            self.turn(*date, zone.try_into().ok()?)?;
        }
        if clock != self.clock {
            let [a, b, b':', c, d, b':', e, f] = clock else {
                return None;
            };
            self.second = second_of_day(two(a, b)?, two(c, d)?, two(e, f)?)?;
            self.clock = clock;
        }
        Some(self.midnight + self.second)
    }

    #[cold]
    fn turn(&mut self, date: [u8; 12], zone: [u8; 6]) -> Option<()> {
        let [a, b, b'/', c, d, e, b'/', f, g, h, i, b':'] = date else {
            return None;
        };
        let [b' ', offset_of_zone @ ..] = zone else {
            return None;
        };
        let day = days(
            four([f, g, h, i])?,
            month_from_short([c, d, e])?,
            two(a, b)?,
        )?;
        self.midnight = day * 86_400 - offset(offset_of_zone)?;
        self.date = date;
        self.zone = zone;
        Some(())
    }
}

/// Reads `2026-11-22T08:23:11` followed by `Z`, `+00:00`, `+0000` or nothing (a local time), and
/// nothing more. A fraction of a second may stand before the zone.
#[must_use]
pub fn iso8601(bytes: &[u8]) -> Option<Time> {
    let (head, mut tail) = bytes.split_first_chunk::<19>()?;
    let separators = [head[4], head[7], head[10], head[13], head[16]];
    if separators != *b"--T::" && separators != *b"-- ::" {
        return None;
    }
    let year = four([head[0], head[1], head[2], head[3]])?;
    let month = two(head[5], head[6])?;
    let day = two(head[8], head[9])?;
    let hour = two(head[11], head[12])?;
    let minute = two(head[14], head[15])?;
    let second = two(head[17], head[18])?;
    let local = days(year, month, day)? * 86_400 + second_of_day(hour, minute, second)?;
    if let [b'.' | b',', fraction @ ..] = tail {
        let digits = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits == 0 {
            return None;
        }
        tail = &fraction[digits..];
    }
    match *tail {
        [] => Some(Time::Local(local)),
        [b'Z'] => Some(Time::Instant(local)),
        [sign, a, b, c, d] | [sign, a, b, b':', c, d] => {
            Some(Time::Instant(local - offset([sign, a, b, c, d])?))
        }
        _ => None,
    }
}

/// Reads seconds since 1970, whole or with a decimal fraction (nginx `$msec`).
#[must_use]
pub fn epoch(bytes: &[u8]) -> Option<Time> {
    let (whole, fraction) = match memchr::memchr(b'.', bytes) {
        Some(point) => (&bytes[..point], Some(&bytes[point + 1..])),
        None => (bytes, None),
    };
    if fraction.is_some_and(|digits| digits.is_empty() || !digits.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    epoch_in_units(whole, 1)
}

/// Reads a whole number of units since 1970, of which `per_second` make a second.
#[must_use]
pub fn epoch_in_units(bytes: &[u8], per_second: u64) -> Option<Time> {
    // 20 digits are more than any u64 of nanoseconds; the check keeps the sum from overflowing.
    if bytes.is_empty() || bytes.len() > 19 {
        return None;
    }
    let mut units: u64 = 0;
    for &byte in bytes {
        units = units * 10 + u64::from(digit(byte)?);
    }
    let seconds = i64::try_from(units.checked_div(per_second)?).ok()?;
    (seconds <= LAST_SECOND).then_some(Time::Instant(seconds))
}

/// The parts of a time as they are found, in any order, in one directive or in several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    pub(crate) epoch: Option<i64>,
    pub(crate) year: Option<u32>,
    pub(crate) century: Option<u32>,
    pub(crate) year_of_century: Option<u32>,
    pub(crate) month: Option<u32>,
    pub(crate) day: Option<u32>,
    pub(crate) day_of_year: Option<u32>,
    pub(crate) hour: Option<u32>,
    pub(crate) hour_of_half: Option<u32>,
    pub(crate) afternoon: Option<bool>,
    pub(crate) minute: Option<u32>,
    pub(crate) second: Option<u32>,
    pub(crate) offset: Option<i64>,
}

impl Parts {
    /// The time that the parts make, if they are enough: seconds since 1970, or a whole date with
    /// an hour. `None` too where a part is out of its range.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        if let Some(seconds) = self.epoch {
            return (0..=LAST_SECOND)
                .contains(&seconds)
                .then_some(Time::Instant(seconds));
        }
        let year = match (self.year, self.century, self.year_of_century) {
            (Some(year), ..) => year,
            (None, Some(century), Some(year)) => century * 100 + year,
            // POSIX: 69 to 99 are the 1900s.
            (None, None, Some(year)) => year + if year < 69 { 2000 } else { 1900 },
            _ => return None,
        };
        let day = match (self.month, self.day, self.day_of_year) {
            (Some(month), Some(day), _) => days(year, month, day)?,
            (_, _, Some(day)) => {
                let last = if is_leap(year) { 366 } else { 365 };
                if !(1..=last).contains(&day) {
                    return None;
                }
                days(year, 1, 1)? + i64::from(day) - 1
            }
            _ => return None,
        };
        let hour = match (self.hour, self.hour_of_half, self.afternoon) {
            (Some(hour), ..) => hour,
            (None, Some(hour @ 1..=12), Some(afternoon)) => {
                hour % 12 + if afternoon { 12 } else { 0 }
            }
            _ => return None,
        };
        let local =
            day * 86_400 + second_of_day(hour, self.minute.unwrap_or(0), self.second.unwrap_or(0))?;
        Some(match self.offset {
            Some(offset) => Time::Instant(local - offset),
            None => Time::Local(local),
        })
    }

    /// Takes over a time that was read whole.
    pub(crate) fn set(&mut self, time: Time) {
        match time {
            Time::Instant(seconds) => self.epoch = Some(seconds),
            Time::Local(_) => {}
        }
    }
}

/// Days from 1970-01-01 to a date, which must exist and lie in the years 1970 to 9999.
fn days(year: u32, month: u32, day: u32) -> Option<i64> {
    const BEFORE_MONTH: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const IN_MONTH: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let index = month as usize - 1;
    let leap = is_leap(year);
    let in_month = u32::from(IN_MONTH[index]) + u32::from(leap && month == 2);
    if !(1..=in_month).contains(&day) {
        return None;
    }
    let before = year - 1;
    // Leap years up to the end of `before`; there were 477 up to the end of 1969.
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let in_year = u32::from(BEFORE_MONTH[index]) + u32::from(leap && month > 2) + day - 1;
    Some(i64::from((year - 1970) * 365 + leap_days + in_year))
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn second_of_day(hour: u32, minute: u32, second: u32) -> Option<i64> {
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(i64::from(hour * 3600 + minute * 60 + second.min(59)))
}

/// `+HHMM` in seconds east of Greenwich.
fn offset([sign, a, b, c, d]: [u8; 5]) -> Option<i64> {
    let hours = two(a, b)?;
    let minutes = two(c, d)?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn month_from_short(name: [u8; 3]) -> Option<u32> {
    Some(match &name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

fn digit(byte: u8) -> Option<u32> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(u32::from(value))
}

fn two(a: u8, b: u8) -> Option<u32> {
    Some(digit(a)? * 10 + digit(b)?)
}

fn four([a, b, c, d]: [u8; 4]) -> Option<u32> {
    Some(two(a, b)? * 100 + two(c, d)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(seconds: i64) -> Option<Time> {
        Some(Time::Instant(seconds))
    }

    #[test]
    fn a_remembered_time_changes_nothing() {
        let mut remembering = Clf::default();
        for text in [
            "01/Jan/1970:00:00:00 +0000",
            "22/Nov/2026:08:23:11 +0000",
            "22/Nov/2026:08:23:11 +0100",
            "22/Nov/2026:08:23:61 +0100",
            "22/Nov/2026:08:23:11 +0100",
            "23/Nov/2026:08:23:11 +0100",
            "31/Nov/2026:08:23:12 +0100",
            "23/Nov/2026:08:23:12 +9900",
            "23/Nov/2026:08:23:12 +0100",
            "23/Nov/2026:08-23:12 +0100",
            "23/Nov/2026:08:23:11 -0000",
            "23/Nov/2026:08:23:11",
        ] {
            assert_eq!(
                remembering.read(text.as_bytes()),
                clf(text.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn common_log_times() {
        for (text, expected) in [
            ("22/Nov/2026:08:23:11 +0000", instant(1_795_335_791)),
            ("22/Nov/2026:09:23:11 +0100", instant(1_795_335_791)),
            ("22/Nov/2026:02:53:11 -0530", instant(1_795_335_791)),
            ("01/Jan/1970:00:00:00 +0000", instant(0)),
            ("01/Jan/1970:00:00:00 +0200", instant(-7200)),
            ("31/Dec/9999:23:59:59 +0000", instant(253_402_300_799)),
            ("29/Feb/2024:00:00:00 +0000", instant(1_709_164_800)),
            ("31/Dec/2016:23:59:60 +0000", instant(1_483_228_799)),
            ("29/Feb/2023:00:00:00 +0000", None),
            ("29/Feb/2100:00:00:00 +0000", None),
            ("00/Jan/2023:00:00:00 +0000", None),
            ("32/Jan/2023:00:00:00 +0000", None),
            ("31/Apr/2023:00:00:00 +0000", None),
            ("01/jan/2023:00:00:00 +0000", None),
            ("01/Foo/2023:00:00:00 +0000", None),
            ("01/Jan/2023:24:00:00 +0000", None),
            ("01/Jan/2023:00:60:00 +0000", None),
            ("01/Jan/2023:00:00:61 +0000", None),
            ("01/Jan/2023:00:00:00 +2400", None),
            ("01/Jan/2023:00:00:00 +0060", None),
            ("01/Jan/2023:00:00:00 00000", None),
            ("01/Jan/1969:00:00:00 +0000", None),
            ("01/Jan/2023:00:00:00 +000", None),
            ("01/Jan/2023:00:00:00 +00000", None),
            ("0x/Jan/2023:00:00:00 +0000", None),
            ("", None),
        ] {
            assert_eq!(clf(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn iso_times() {
        for (text, expected) in [
            ("2026-11-22T08:23:11+00:00", instant(1_795_335_791)),
            ("2026-11-22T08:23:11Z", instant(1_795_335_791)),
            ("2026-11-22T10:23:11+0200", instant(1_795_335_791)),
            ("2026-11-22T08:23:11.214Z", instant(1_795_335_791)),
            ("2026-11-22 08:23:11", Some(Time::Local(1_795_335_791))),
            ("2026-11-22T08:23:11", Some(Time::Local(1_795_335_791))),
            ("2026-13-22T08:23:11Z", None),
            ("2026-11-22T08:23:11.Z", None),
            ("2026-11-22T08:23:11+", None),
            ("2026-11-22T08:23:11Zx", None),
            ("2026-11-22", None),
        ] {
            assert_eq!(iso8601(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn seconds_since_1970() {
        for (text, expected) in [
            ("1795335791.214", instant(1_795_335_791)),
            ("1795335791", instant(1_795_335_791)),
            ("0", instant(0)),
            ("253402300799", instant(253_402_300_799)),
            ("253402300800", None),
            ("99999999999999999999999", None),
            ("1795335791.", None),
            ("1795335791.2x", None),
            (".5", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(epoch(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(
            epoch_in_units(b"1795335791214113", 1_000_000),
            instant(1_795_335_791)
        );
        assert_eq!(
            epoch_in_units(b"1795335844824742311", 1_000_000_000),
            instant(1_795_335_844)
        );
        assert_eq!(epoch_in_units(b"9", 0), None);
    }
}
