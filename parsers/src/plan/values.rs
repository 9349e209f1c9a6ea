//! What a field is worth: numbers, statuses, durations, texts, and the parts of a request line.

use memchr::{memchr, memrchr};

use super::scan;
use crate::error::{Expected, LineError};
use crate::record::Logged;
use crate::text::Escape;

/// nginx `$time_iso8601`: always with an offset, even where that is zero.
pub(super) const ISO_BYTES: usize = 25;

/// `-` and nothing are no value.
#[inline]
pub(super) fn logged(bytes: &[u8], escape: Escape) -> Option<Logged<'_>> {
    (!matches!(bytes, b"" | b"-")).then_some(Logged { bytes, escape })
}

/// Digits from `from` on as a number, and where they end; no number where there are none, where
/// they may be beyond 64 bits, or where a dash among them makes them none.
#[inline]
pub(super) fn digits(line: &[u8], from: usize) -> (Option<u64>, usize) {
    let word = line.get(from..).and_then(<[u8]>::first_chunk);
    if let Some((value, length)) = word.and_then(|word| scan::leading_number(*word))
        && line[from + length] != b'-'
    {
        return (Some(value), from + length);
    }
    long_digits(line, from)
}

/// The same for those that a word does not hold with the byte behind them.
#[inline(never)]
fn long_digits(line: &[u8], from: usize) -> (Option<u64>, usize) {
    let rest = line.get(from..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Nineteen digits always fit.
    let is_number = (1..=19).contains(&length) && rest.get(length) != Some(&b'-');
    let number = rest[..length].iter().fold(0_u64, |value, byte| {
        value
            .wrapping_mul(10)
            .wrapping_add(u64::from(byte.wrapping_sub(b'0')))
    });
    (is_number.then_some(number), from + length)
}

/// The number that the field `line[start..end]` is.
#[inline]
pub(super) fn number_before(line: &[u8], start: usize, end: usize) -> Result<u64, LineError> {
    let word = line.get(..end).and_then(<[u8]>::last_chunk);
    match word.and_then(|word| scan::trailing_number(*word, end - start)) {
        Some(value) => Ok(value),
        None => number(&line[start..end], start),
    }
}

/// A whole number; beyond 64 bits it is the largest that there is.
#[inline]
fn number(field: &[u8], start: usize) -> Result<u64, LineError> {
    // Nineteen digits always fit.
    if field.len() > 19 {
        return large_number(field, start);
    }
    let mut value: u64 = 0;
    for (index, &byte) in field.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(LineError {
                at: start + index,
                expected: Expected::Number,
            });
        }
        value = value * 10 + u64::from(digit);
    }
    Ok(value)
}

#[cold]
fn large_number(field: &[u8], start: usize) -> Result<u64, LineError> {
    let mut value: u64 = 0;
    for (index, &byte) in field.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(LineError {
                at: start + index,
                expected: Expected::Number,
            });
        }
        // Once at the largest, further digits leave it there.
        value = match value.checked_mul(10) {
            Some(tens) => tens.saturating_add(u64::from(digit)),
            None => u64::MAX,
        };
    }
    Ok(value)
}

/// Three digits (nginx may write 000 or 009), or a lone 0 where the server never chose one;
/// `Some(None)`: a dash. `None`: no status at all.
#[inline(always)]
pub(super) fn status(field: &[u8]) -> Option<Option<u16>> {
    match *field {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => Some(Some(
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'),
        )),
        [b'0'] => Some(Some(0)),
        // HAProxy writes -1 where nothing was answered.
        [] | [b'-'] | [b'-', b'1'] => Some(None),
        _ => None,
    }
}

/// A number of units, perhaps with a fraction, in microseconds; digits beyond those are dropped.
pub(super) fn duration(
    field: &[u8],
    per_second: u64,
    start: usize,
) -> Result<Option<u64>, LineError> {
    if matches!(field, b"" | b"-") {
        return Ok(None);
    }
    let point = memchr(b'.', field).unwrap_or(field.len());
    let whole = number(&field[..point], start)?;
    let mut micros = u128::from(whole) * 1_000_000;
    let mut unit = 100_000;
    for (index, &byte) in field.iter().enumerate().skip(point + 1) {
        micros += u128::from(number(&[byte], start + index)?) * unit;
        unit /= 10;
    }
    Ok(Some(
        u64::try_from(micros / u128::from(per_second.max(1))).unwrap_or(u64::MAX),
    ))
}

/// Method and path of a request line; neither where it is no request (a TLS hello, say).
#[inline]
pub(super) fn split_request(request: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
    let Some(space) = memchr(b' ', request).filter(|&space| space > 0) else {
        return (None, None);
    };
    let (method, target) = (&request[..space], &request[space + 1..]);
    let path = match memrchr(b' ', target) {
        Some(end) if target[end + 1..].starts_with(b"HTTP/") => &target[..end],
        _ => target,
    };
    (Some(method), Some(path))
}

/// Literals are short: to look at each byte in place takes less than a call.
#[inline]
pub(super) fn is_same(found: &[u8], literal: &[u8]) -> bool {
    found.len() == literal.len() && found.iter().zip(literal).all(|(a, b)| a == b)
}
