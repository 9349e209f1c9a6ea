//! What a value says: numbers in any way that JSON writes them, times, keys with escapes.

use crate::format::{Clock, Unit};
use crate::text::Escape;
use crate::time::{self, Clf, Parts, Time};

/// A value that is one thing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'l> {
    /// What stands between the quotes, escapes still in place.
    Text(&'l [u8]),
    /// A number in JSON's form.
    Number(&'l [u8]),
}

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

impl Unit {
    /// The power of ten that the unit is of a second.
    fn power(self) -> i64 {
        match self {
            Self::Seconds => 0,
            Self::Millis => -3,
            Self::Micros => -6,
            Self::Nanos => -9,
        }
    }
}

impl<'l> Value<'l> {
    /// As it stands.
    #[inline]
    pub(super) fn text(self) -> &'l [u8] {
        match self {
            Self::Text(text) | Self::Number(text) => text,
        }
    }

    /// The number that it is, in quotes or not.
    #[inline]
    fn number(self) -> Option<&'l [u8]> {
        match self {
            Self::Number(number) => Some(number),
            Self::Text(text) => (number_end(text, 0) == Ok(text.len())).then_some(text),
        }
    }

    /// A number of bytes; a fraction is dropped. `Some(None)`: one below zero. `None`: no number.
    #[inline]
    pub(super) fn count(self) -> Option<Option<u64>> {
        self.number().map(|number| scaled(number, 0))
    }

    /// Three digits, or a lone 0 where the server never chose one.
    #[inline]
    pub(super) fn status(self) -> Option<u16> {
        match *self.text() {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
            }
            [b'0'] => Some(0),
            // 200.0, say.
            _ => {
                let status = u16::try_from(self.count()??).ok()?;
                (status == 0 || (100..1000).contains(&status)).then_some(status)
            }
        }
    }

    /// In microseconds. `Some(None)`: one below zero, or a whole number where its unit is unknown.
    /// `None`: no duration.
    pub(super) fn duration(self, unit: Unit, whole_is_unknown: bool) -> Option<Option<u64>> {
        let Some(number) = self.number() else {
            return go_duration(self.text()).map(Some);
        };
        let is_whole = number.iter().all(u8::is_ascii_digit);
        if whole_is_unknown && is_whole && number != b"0" {
            return Some(None);
        }
        Some(scaled(number, unit.power() + 6))
    }

    /// A time; `None`: it is none.
    #[inline]
    pub(super) fn time(self, clock: &Clock, clf: &mut Clf) -> Option<Time> {
        match (clock, self.number()) {
            (Clock::Told { .. }, Some(number)) => {
                // The last second of one unit is early in 1978 in the next finer one: of two
                // readings of a number only one lies between that day and the year 9999.
                // The largest stands for all that are larger.
                let count = scaled(number, 0).filter(|count| *count < u64::MAX)?;
                let seconds = [1, 1_000, 1_000_000, 1_000_000_000]
                    .map(|per_second| count / per_second)
                    .into_iter()
                    .find(|seconds| *seconds <= LAST_SECOND)?;
                Some(Time::Instant(i64::try_from(seconds).ok()?))
            }
            (Clock::Told { utc }, None) => match (text_time(self.text(), clf)?, utc) {
                (Time::Local(seconds), true) => Some(Time::Instant(seconds)),
                (time, _) => Some(time),
            },
            (Clock::Since1970(unit), number) => {
                let seconds = scaled(number?, unit.power())?;
                let seconds = Some(seconds).filter(|seconds| *seconds <= LAST_SECOND)?;
                Some(Time::Instant(i64::try_from(seconds).ok()?))
            }
            (Clock::Pattern(pattern), _) => {
                let mut parts = Parts::default();
                let text = self.text();
                let length = pattern.read(text, &mut parts)?;
                (length == text.len()).then(|| parts.time())?
            }
        }
    }
}

/// `2026-11-22T08:23:11.214Z`, the same with a space or with slashes, or `22/Nov/2026:08:23:11 +0000`.
#[inline]
fn text_time(text: &[u8], clf: &mut Clf) -> Option<Time> {
    match text {
        [b'[', inside @ .., b']'] => clf.read(inside),
        [_, _, b'/', ..] => clf.read(text),
        [_, _, _, _, b'/', ..] => {
            // Nine digits of a fraction and a zone fit.
            let mut dashed = [0; 40];
            let copy = dashed.get_mut(..text.len())?;
            copy.copy_from_slice(text);
            for byte in copy.get_mut(..10)? {
                match byte {
                    b'/' => *byte = b'-',
                    b'-' => return None,
                    _ => {}
                }
            }
            time::iso8601(copy)
        }
        _ => time::iso8601(text),
    }
}

/// Where the number ends that starts at `at`; where it is none, the place.
#[inline]
pub(super) fn number_end(line: &[u8], at: usize) -> Result<usize, usize> {
    let digits = |from: usize| {
        let rest = line.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let some_digits = |from: usize| match digits(from) {
        end if end > from => Ok(end),
        _ => Err(from),
    };
    let at = at + usize::from(line.get(at) == Some(&b'-'));
    let mut end = match line.get(at) {
        Some(b'0') => at + 1,
        _ => some_digits(at)?,
    };
    if line.get(end) == Some(&b'.') {
        end = some_digits(end + 1)?;
    }
    if let Some(b'e' | b'E') = line.get(end) {
        let sign = matches!(line.get(end + 1), Some(b'+' | b'-'));
        end = some_digits(end + 1 + usize::from(sign))?;
    }
    Ok(end)
}

/// A number in JSON's form times a power of ten: its whole part; the largest there is where it is
/// larger; none below zero.
#[inline]
fn scaled(number: &[u8], power: i64) -> Option<u64> {
    // Nineteen digits always fit.
    if power == 0 && number.len() <= 19 {
        let mut value = 0_u64;
        for &byte in number {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                // Of a fraction and no exponent the whole part is all that counts.
                let is_fraction =
                    byte == b'.' && !number.iter().any(|byte| matches!(byte, b'e' | b'E'));
                return if is_fraction {
                    Some(value)
                } else {
                    scaled_slowly(number, power)
                };
            }
            value = value * 10 + u64::from(digit);
        }
        return Some(value);
    }
    scaled_slowly(number, power)
}

#[inline(never)]
fn scaled_slowly(number: &[u8], power: i64) -> Option<u64> {
    let (is_negative, number) = match number {
        [b'-', number @ ..] => (true, number),
        number => (false, number),
    };
    // More digits than these are beyond any number of bytes; those of a fraction do not count.
    const MAX_MANTISSA: u128 = u128::MAX / 10 - 1;
    let mut mantissa = 0_u128;
    let mut power = power;
    let mut bytes = number.iter();
    let mut in_fraction = false;
    for byte in bytes.by_ref() {
        match byte {
            b'.' => in_fraction = true,
            b'e' | b'E' => break,
            digit => {
                if mantissa <= MAX_MANTISSA {
                    mantissa = mantissa * 10 + u128::from(digit.wrapping_sub(b'0'));
                    power -= i64::from(in_fraction);
                } else {
                    power += i64::from(!in_fraction);
                }
            }
        }
    }
    power = power.saturating_add(exponent(bytes.as_slice()));
    let value = match u32::try_from(power.unsigned_abs()) {
        _ if mantissa == 0 => 0,
        Ok(power_of_ten) if power < 0 => 10_u128
            .checked_pow(power_of_ten)
            .map_or(0, |divisor| mantissa / divisor),
        Ok(power_of_ten) => 10_u128
            .checked_pow(power_of_ten)
            .and_then(|factor| mantissa.checked_mul(factor))
            .unwrap_or(u128::MAX),
        Err(_) if power < 0 => 0,
        Err(_) => u128::MAX,
    };
    if is_negative && value > 0 {
        return None;
    }
    Some(u64::try_from(value).unwrap_or(u64::MAX))
}

/// The digits behind an `e`, with their sign; very large ones as a large number.
fn exponent(digits: &[u8]) -> i64 {
    let (sign, digits) = match digits {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let value = digits.iter().fold(0_i64, |value, digit| {
        (value * 10 + i64::from(digit.wrapping_sub(b'0'))).min(1_000_000_000)
    });
    sign * value
}

/// Go's `1h2m3.5s`, `9.057ms`, `69.1µs`, in microseconds.
fn go_duration(text: &[u8]) -> Option<u64> {
    let mut micros = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = number_end(rest, 0).ok()?;
        let (number, unit) = rest.split_at(end);
        let length = unit
            .iter()
            .take_while(|byte| !byte.is_ascii_digit() && **byte != b'-')
            .count();
        let (unit, behind) = unit.split_at(length);
        let (power, factor) = match unit {
            b"h" => (6, 3600),
            b"m" => (6, 60),
            b"s" => (6, 1),
            b"ms" => (3, 1),
            b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => (0, 1),
            b"ns" => (-3, 1),
            _ => return None,
        };
        micros = micros.saturating_add(scaled(number, power)?.saturating_mul(factor));
        rest = behind;
    }
    (!text.is_empty()).then_some(micros)
}

/// Whether a key with escapes in it is `key` once they are undone.
pub(super) fn is_escaped_form(written: &[u8], key: &[u8]) -> bool {
    // An escape has at most six times as many bytes as what it stands for.
    written.len() <= 6 * key.len() && *Escape::Json.decode(written) == *key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Spec;
    use crate::plan::Plan;
    use crate::record::Line;

    /// Found by fuzzing, as a difference to a check that looked for the unit in the text as it is written.
    #[test]
    fn the_units_of_a_duration_may_be_written_as_escapes() {
        let Ok(Spec::Format(format)) = Spec::parse("json:time:s=t,out=o,duration=d") else {
            panic!("a format");
        };
        let plan = Plan::compile(&format).expect("a plan");
        for (written, micros) in [
            ("1h2m3.5s", Some(3_723_500_000)),
            (r"0\u006832\u006898\u0068", Some(130 * 3_600_000_000)),
            ("69.1\u{b5}s", Some(69)),
            (r"69.1\u00b5s", Some(69)),
        ] {
            let line = format!(r#"{{"t":1718452800,"o":1,"d":"{written}"}}"#);
            match plan.read(line.as_bytes()) {
                Ok(Line::Record(record)) => assert_eq!(record.duration_us, micros, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert_eq!(go_duration(b"1h2"), None);
    }
}
