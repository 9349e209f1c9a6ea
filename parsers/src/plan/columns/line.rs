//! One pass over a line whose columns are known.
//!
//! The W3C's draft quotes text that holds separators; IIS does not quote, and clients can put quotes
//! into its lines. So a line with as many separators as columns is taken as it is, which all of IIS's
//! are, and quotes are looked at only in lines with more.

use memchr::{memchr, memchr_iter};

use crate::error::{Expected, LineError};
use crate::format::w3c::{Header, Means, SITE_NAME_RANK};
use crate::record::{Logged, Record};
use crate::text::Escape;
use crate::time::{self, Time};

/// One pass over a line.
#[derive(Debug)]
pub(super) struct Walk {
    separator: u8,
    /// Seconds, not milliseconds.
    in_seconds: bool,
    escape: Escape,
    may_quote: bool,
    /// What each column means, up to the last one that is read.
    takes: Box<[Means]>,
    /// How many there are in all.
    columns: u16,
    has_in: bool,
    /// The vhost is IIS's name of the site, not a host's.
    pub(super) has_site_name: bool,
    pub(super) has_vhost: bool,
}

impl Walk {
    pub(super) fn of(header: &Header, is_cloudfront: bool) -> Self {
        let vhost = header.vhost();
        let mut takes: Vec<Means> = header.columns.iter().map(|column| column.means).collect();
        for (index, means) in takes.iter_mut().enumerate() {
            let is_vhost = matches!(means, Means::Vhost { .. });
            if is_vhost && vhost.is_none_or(|(chosen, _)| chosen != index) {
                *means = Means::Nothing;
            }
        }
        let last = takes.iter().rposition(|means| *means != Means::Nothing);
        takes.truncate(last.map_or(0, |last| last + 1));
        let by_tabs = is_cloudfront || header.by_tabs;
        Self {
            separator: if by_tabs { b'\t' } else { b' ' },
            in_seconds: is_cloudfront,
            escape: if is_cloudfront {
                Escape::Percent
            } else {
                Escape::None
            },
            may_quote: !is_cloudfront,
            takes: takes.into_boxed_slice(),
            // A header names at most 256.
            columns: u16::try_from(header.columns.len()).unwrap_or(u16::MAX),
            has_in: header.has(Means::In),
            has_site_name: vhost.is_some_and(|(_, rank)| rank == SITE_NAME_RANK),
            has_vhost: vhost.is_some(),
        }
    }

    pub(super) fn read<'l>(&self, line: &'l [u8]) -> Result<Record<'l>, LineError> {
        // Old versions of IIS end their lines with a space.
        let line = match self.separator {
            b' ' => line.trim_ascii_end(),
            _ => line,
        };
        let plain = self.read_plain(line);
        if plain.is_err() && self.may_quote && self.has_more_columns(line) {
            return self.read_quoted(line);
        }
        plain
    }

    #[cold]
    fn has_more_columns(&self, line: &[u8]) -> bool {
        memchr_iter(self.separator, line).count() >= usize::from(self.columns)
            && memchr(b'"', line).is_some()
    }

    fn read_plain<'l>(&self, line: &'l [u8]) -> Result<Record<'l>, LineError> {
        let mut values = Values::new(self);
        let mut separators = memchr_iter(self.separator, line);
        let (mut start, mut left) = (0, usize::from(self.columns));
        for means in &self.takes {
            left -= 1;
            let end = match separators.next() {
                Some(end) => end,
                None if left == 0 => line.len(),
                None => return Err(self.miscounted(line.len())),
            };
            // What stands in a column is looked at only where all columns may be there.
            if left == 0 && end != line.len() {
                return Err(self.miscounted(end));
            }
            values.take(*means, &line[start..end], start)?;
            start = end + 1;
        }
        if left > 0 && separators.count() + 1 != left {
            return Err(self.miscounted(line.len()));
        }
        values.finish()
    }

    /// As the draft has it: text in quotes, in which two quotes are one.
    #[cold]
    fn read_quoted<'l>(&self, line: &'l [u8]) -> Result<Record<'l>, LineError> {
        let mut values = Values::new(self);
        let mut start = 0;
        for index in 0..self.columns {
            let rest = line.get(start..).ok_or(self.miscounted(line.len()))?;
            let (inside, length, is_doubled) = match rest.first() {
                Some(b'"') => quoted(rest).ok_or(self.miscounted(start))?,
                _ => {
                    let length = memchr(self.separator, rest).unwrap_or(rest.len());
                    (&rest[..length], length, false)
                }
            };
            let end = start + length;
            let is_last = index + 1 == self.columns;
            let is_ended = match line.get(end) {
                Some(byte) => !is_last && *byte == self.separator,
                None => is_last,
            };
            if !is_ended {
                return Err(self.miscounted(end));
            }
            if let Some(means) = self.takes.get(usize::from(index)) {
                values.escape = if is_doubled {
                    Escape::Doubled
                } else {
                    self.escape
                };
                values.take(*means, inside, start)?;
            }
            start = end + 1;
        }
        values.finish()
    }

    fn miscounted(&self, at: usize) -> LineError {
        LineError {
            at,
            expected: Expected::Columns(self.columns),
        }
    }
}

/// What stands in the quotes that `bytes` begin with, how long it is with them, and whether there are
/// quotes in it.
fn quoted(bytes: &[u8]) -> Option<(&[u8], usize, bool)> {
    let (mut at, mut is_doubled) = (1, false);
    loop {
        at += memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some((&bytes[1..at], at + 1, is_doubled));
        }
        is_doubled = true;
        at += 2;
    }
}

/// What has been read of a line.
struct Values<'l> {
    record: Record<'l>,
    date: Option<&'l [u8]>,
    time: Option<&'l [u8]>,
    /// Where the last of the two stands.
    time_at: usize,
    escape: Escape,
    units_per_second: u64,
    strips_quotes: bool,
}

impl<'l> Values<'l> {
    fn new(walk: &Walk) -> Self {
        Self {
            record: Record {
                vhost: None,
                user: None,
                client: None,
                time: None,
                bytes_in: (!walk.has_in).then_some(0),
                bytes_out: None,
                status: None,
                duration_us: None,
                method: None,
                path: None,
            },
            date: None,
            time: None,
            time_at: 0,
            escape: walk.escape,
            units_per_second: if walk.in_seconds { 1 } else { 1_000 },
            strips_quotes: walk.may_quote,
        }
    }

    #[inline]
    fn take(&mut self, means: Means, field: &'l [u8], at: usize) -> Result<(), LineError> {
        if means == Means::Nothing {
            return Ok(());
        }
        let field = match field {
            [b'"', inside @ .., b'"'] if self.strips_quotes => inside,
            _ => field,
        };
        let value = (!matches!(field, b"" | b"-")).then_some(field);
        let escape = self.escape;
        let logged = value.map(|bytes| Logged { bytes, escape });
        match means {
            Means::Nothing => {}
            Means::Date => (self.date, self.time_at) = (value, at),
            Means::Time => (self.time, self.time_at) = (value, at),
            // CloudFront's documentation has lines with a dash here: what was sent counts all the same.
            Means::In => self.record.bytes_in = number(value, at)?.or(Some(0)),
            Means::Out => self.record.bytes_out = number(value, at)?,
            Means::Vhost { .. } => self.record.vhost = logged,
            Means::User => self.record.user = logged,
            Means::Client => self.record.client = value,
            Means::Status => self.record.status = status(value, at)?,
            Means::Duration => {
                self.record.duration_us = duration(value, self.units_per_second, at)?;
            }
            Means::Method => self.record.method = logged,
            Means::Path => self.record.path = logged,
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Record<'l>, LineError> {
        // Both are UTC, in IIS and in CloudFront.
        if let (Some(date), Some(time)) = (self.date, self.time) {
            let Some(seconds) = instant(date, time) else {
                return Err(LineError {
                    at: self.time_at,
                    expected: Expected::Time,
                });
            };
            self.record.time = Some(Time::Instant(seconds));
        }
        Ok(self.record)
    }
}

/// `2026-11-22` and `08:23:11`, perhaps with a fraction, as seconds since 1970.
#[inline]
pub(super) fn instant(date: &[u8], time: &[u8]) -> Option<i64> {
    let date: &[u8; 10] = date.try_into().ok()?;
    let (clock, fraction) = time.split_first_chunk::<8>()?;
    if let [first, digits @ ..] = fraction
        && (*first != b'.' || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit))
    {
        return None;
    }
    let mut both = *b"0000-00-00T00:00:00Z";
    both[..10].copy_from_slice(date);
    both[11..19].copy_from_slice(clock);
    match time::iso8601(&both)? {
        Time::Instant(seconds) => Some(seconds),
        Time::Local(_) => None,
    }
}

/// A whole number; beyond 64 bits it is the largest that there is.
#[inline]
fn number(field: Option<&[u8]>, at: usize) -> Result<Option<u64>, LineError> {
    let Some(field) = field else { return Ok(None) };
    let mut value: u64 = 0;
    for (index, byte) in field.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(LineError {
                at: at + index,
                expected: Expected::Number,
            });
        }
        value = match value.checked_mul(10) {
            Some(tens) => tens.saturating_add(u64::from(digit)),
            None => u64::MAX,
        };
    }
    Ok(Some(value))
}

/// Three digits; CloudFront writes 000 where the client left before there was an answer.
fn status(field: Option<&[u8]>, at: usize) -> Result<Option<u16>, LineError> {
    match field {
        None => Ok(None),
        Some(&[a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) => Ok(Some(
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'),
        )),
        Some(b"0") => Ok(Some(0)),
        Some(_) => Err(LineError {
            at,
            expected: Expected::Status,
        }),
    }
}

/// A number of units, perhaps with a fraction, in microseconds; digits beyond those are dropped.
fn duration(
    field: Option<&[u8]>,
    units_per_second: u64,
    at: usize,
) -> Result<Option<u64>, LineError> {
    let Some(field) = field else { return Ok(None) };
    let point = memchr(b'.', field).unwrap_or(field.len());
    let whole = number(Some(&field[..point]), at)?.unwrap_or(0);
    let mut micros = u128::from(whole) * 1_000_000;
    let mut unit = 100_000;
    for (index, byte) in field.iter().enumerate().skip(point + 1) {
        let digit = number(Some(std::slice::from_ref(byte)), at + index)?.unwrap_or(0);
        micros += u128::from(digit) * unit;
        unit /= 10;
    }
    let micros = micros / u128::from(units_per_second);
    Ok(Some(u64::try_from(micros).unwrap_or(u64::MAX)))
}
