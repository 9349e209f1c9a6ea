//! "100G", "1Mbps" into numbers.
//!
//! Units are mod_cband's: K, M, G, T and P are powers of 1000, Ki, Mi, Gi, Ti and Pi of 1024. The
//! numbers may have a fraction, and are computed without floating point, so that a quota is what it
//! says to the byte. A unit is required: nobody can tell whether a bare 100 was meant to be bytes.

use std::ops::Range;

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::character::complete::{char as byte, digit0, digit1, space0};
use nom::combinator::{all_consuming, opt, value};
use nom::error::Error;
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use crate::error::FormatError;

const SIZE_HELP: &str = "write a number and a unit: 500M, 1.5G, 100GiB (K M G T P are powers of 1000, Ki Mi Gi Ti Pi of 1024), or B for bytes";
const SPEED_HELP: &str = "write a number and a unit: 512kbps, 1Mbps, 1.5Gbps (bits a second) or 100kB/s, 2MiB/s (bytes a second)";

/// Reads a number of bytes.
///
/// # Errors
/// With the place in `text`: no number, no unit, an unknown unit, or more than `i64::MAX` bytes.
pub fn bytes(text: &str) -> Result<u64, FormatError> {
    let unit = (prefix, opt(byte('B'))).map(|(scale, _)| Scale {
        times: scale,
        over: 1,
    });
    let plain = value(Scale { times: 1, over: 1 }, byte('B'));
    read(text, alt((unit, plain)), SIZE_HELP)
}

/// Reads a speed, into bytes a second.
///
/// # Errors
/// As [`bytes()`].
pub fn bytes_per_second(text: &str) -> Result<u64, FormatError> {
    let bits = (opt(prefix), alt((tag("bps"), tag("bit/s"), tag("b/s")))).map(|(times, _)| Scale {
        times: times.unwrap_or(1),
        over: 8,
    });
    let whole = (opt(prefix), tag("B/s")).map(|(times, _)| Scale {
        times: times.unwrap_or(1),
        over: 1,
    });
    read(text, alt((bits, whole)), SPEED_HELP)
}

/// What a unit does to a number.
#[derive(Debug, Clone, Copy)]
struct Scale {
    times: u64,
    over: u64,
}

/// `K`, `Ki` and so on. A small k is common in speeds.
fn prefix(text: &str) -> IResult<&str, u64> {
    let scale = |letter: &'static str, power: u32| {
        (tag_no_case(letter), opt(byte('i'))).map(move |(found, binary): (&str, _)| {
            let base: u64 = if binary.is_some() { 1024 } else { 1000 };
            // A small m would be a thousandth; only k is written small.
            (found == letter || found == "k").then(|| base.pow(power))
        })
    };
    let (rest, scale) = alt((
        scale("K", 1),
        scale("M", 2),
        scale("G", 3),
        scale("T", 4),
        scale("P", 5),
    ))
    .parse(text)?;
    match scale {
        Some(scale) => Ok((rest, scale)),
        None => Err(nom::Err::Error(Error::new(
            text,
            nom::error::ErrorKind::Tag,
        ))),
    }
}

fn read<'t>(
    text: &'t str,
    unit: impl Parser<&'t str, Output = Scale, Error = Error<&'t str>>,
    help: &str,
) -> Result<u64, FormatError> {
    let error = |span: Range<usize>, message: &str| FormatError {
        span,
        message: message.to_owned(),
        help: Some(help.to_owned()),
    };
    let start = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    let end = start + trimmed.len();
    let Ok((after, (whole, fraction))) = number(trimmed) else {
        return Err(error(start..end, "a number belongs here"));
    };
    let unit_at = end - after.len();
    if after.is_empty() {
        return Err(error(start..end, "the unit is missing"));
    }
    let Ok((_, scale)) = all_consuming(terminated(unit, space0)).parse(after) else {
        return Err(error(unit_at..end, "unknown unit"));
    };
    scaled(whole, fraction, scale).ok_or_else(|| error(start..end, "more than can be counted"))
}

/// Whole digits and those behind the point, and blanks.
fn number(text: &str) -> IResult<&str, (&str, &str)> {
    let fraction = opt(preceded(byte('.'), digit0)).map(Option::unwrap_or_default);
    terminated((digit1, fraction), space0).parse(text)
}

/// The number times its scale, rounded down; `None` beyond `i64::MAX`.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> Option<u64> {
    // Digits beyond these are less than a byte in the largest unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let digits = u32::try_from(fraction.len()).ok()?;
    let parts = 10_u128.pow(digits);
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let times = u128::from(scale.times);
    let of_whole = u128::from(whole).checked_mul(times)?;
    let of_fraction = u128::from(fraction) * times;
    // Both over the same denominator, so that only the sum is rounded.
    let over = u128::from(scale.over);
    let sum = of_whole / over + ((of_whole % over) * parts + of_fraction) / (over * parts);
    u64::try_from(sum)
        .ok()
        .filter(|&sum| i64::try_from(sum).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("100G", Ok(100_000_000_000)),
            ("1K", Ok(1000)),
            ("1k", Ok(1000)),
            ("1Ki", Ok(1024)),
            ("1KiB", Ok(1024)),
            ("1KB", Ok(1000)),
            ("2 GiB", Ok(2_147_483_648)),
            (" 5M ", Ok(5_000_000)),
            ("1.5G", Ok(1_500_000_000)),
            ("0.1Ki", Ok(102)),
            ("0.000000001G", Ok(1)),
            ("0.9999999999999999999999P", Ok(999_999_999_999_999)),
            ("12B", Ok(12)),
            ("0B", Ok(0)),
            ("1.G", Ok(1_000_000_000)),
            ("9223P", Ok(9_223_000_000_000_000_000)),
            ("9223372036854775807B", Ok(i64::MAX as u64)),
            ("9223372036854775808B", Err(0..20)),
            ("9224P", Err(0..5)),
            ("8192Pi", Err(0..6)),
            ("99999999999999999999999B", Err(0..24)),
            ("100", Err(0..3)),
            (" 100 ", Err(1..4)),
            ("", Err(0..0)),
            ("G", Err(0..1)),
            ("-1G", Err(0..3)),
            ("1X", Err(1..2)),
            ("1m", Err(1..2)),
            ("1Gb", Err(1..3)),
            ("1 GB x", Err(2..6)),
            (".5G", Err(0..3)),
            ("1e9B", Err(1..4)),
        ] {
            assert_eq!(
                bytes(text).map_err(|error| error.span),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn speeds() {
        for (text, expected) in [
            ("1Mbps", Ok(125_000)),
            ("512kbps", Ok(64_000)),
            ("8bps", Ok(1)),
            ("1.5Gbps", Ok(187_500_000)),
            ("1Kibps", Ok(128)),
            ("1Mbit/s", Ok(125_000)),
            ("100kB/s", Ok(100_000)),
            ("2MiB/s", Ok(2_097_152)),
            ("3B/s", Ok(3)),
            ("7bps", Ok(0)),
            ("0.1kbps", Ok(12)),
            ("1M", Err(1..2)),
            ("1", Err(0..1)),
            ("fast", Err(0..4)),
        ] {
            assert_eq!(
                bytes_per_second(text).map_err(|error| error.span),
                expected,
                "{text:?}"
            );
        }
    }
}
