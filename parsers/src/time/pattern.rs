//! strftime formats, compiled; Apache's and lighttpd's `%{…}t`.
//!
//! Names are those of the C locale. A compiled pattern reads exactly the text that strftime writes
//! for it, and says how long that text is where it is always the same.

use std::fmt;
use std::sync::Arc;

use super::{Parts, digit, month_from_short, offset};

/// A compiled strftime format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    items: Arc<[Item]>,
    /// See [`Pattern::width`].
    width: Option<usize>,
}

/// The last text that a pattern has read, and what it said: busy servers write many lines a second.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastText {
    /// Whose it is. Kept, so that no other pattern comes to lie there.
    items: Option<Arc<[Item]>>,
    text: [u8; MAX_LAST_BYTES],
    parts: Parts,
}

/// Longer texts are read anew each time.
const MAX_LAST_BYTES: usize = 32;

/// Why a strftime format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// Offset of the `%` at fault.
    pub at: usize,
    /// Length of the conversion at fault.
    pub length: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.message)
    }
}

impl std::error::Error for PatternError {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Byte(u8),
    /// So many digits; strftime pads with zeros, or with spaces where `blanks` is set.
    Number {
        part: Part,
        width: u8,
        blanks: bool,
    },
    MonthShort,
    MonthLong,
    DayShort,
    DayLong,
    /// `AM`, `PM`, or lower case.
    Half,
    /// `+0100`.
    Offset,
    /// `CET`, or `+03` where a zone has no name.
    ZoneName,
    Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    Century,
    YearOfCentury,
    Month,
    Day,
    DayOfYear,
    Hour,
    HourOfHalf,
    Minute,
    Second,
    /// A week or a day of the week: digits, of no use to a date.
    Unused,
}

const MONTHS: [&[u8]; 12] = [
    b"January",
    b"February",
    b"March",
    b"April",
    b"May",
    b"June",
    b"July",
    b"August",
    b"September",
    b"October",
    b"November",
    b"December",
];
const DAYS: [&[u8]; 7] = [
    b"Monday",
    b"Tuesday",
    b"Wednesday",
    b"Thursday",
    b"Friday",
    b"Saturday",
    b"Sunday",
];

impl Pattern {
    /// How many spaces there are in each text, if that is always the same and there are no quotes.
    #[must_use]
    pub fn spaces(&self) -> Option<usize> {
        let is_space = |item: &&Item| **item == Item::Byte(b' ');
        let is_certain = |item: &Item| match item {
            Item::Byte(byte) => *byte != b'"',
            Item::Number { blanks, .. } => !blanks,
            Item::MonthShort
            | Item::MonthLong
            | Item::DayShort
            | Item::DayLong
            | Item::Half
            | Item::Offset
            | Item::ZoneName
            | Item::Epoch => true,
        };
        let certain = self.items.iter().all(is_certain);
        certain.then(|| self.items.iter().filter(is_space).count())
    }

    /// Compiles a strftime format.
    ///
    /// # Errors
    /// When a conversion is unknown, or two stand together that cannot be told apart.
    pub fn parse(format: &[u8]) -> Result<Self, PatternError> {
        let mut items = Vec::new();
        let mut at = 0;
        while let Some(&byte) = format.get(at) {
            if byte != b'%' {
                items.push(Item::Byte(byte));
                at += 1;
                continue;
            }
            // In the C locale the modifiers E and O change nothing.
            let modified = matches!(format.get(at + 1), Some(b'E' | b'O'));
            let length = if modified { 3 } else { 2 };
            let Some(&conversion) = format.get(at + length - 1) else {
                return Err(PatternError {
                    at,
                    length: format.len() - at,
                    message: "a % stands at the end of the time format".into(),
                });
            };
            let before = items.len();
            if !push(&mut items, conversion) {
                let written = String::from_utf8_lossy(&format[at..at + length]).into_owned();
                return Err(PatternError {
                    at,
                    length,
                    message: format!("unknown time conversion {written}"),
                });
            }
            if before > 0 && runs_into(items[before - 1], items[before]) {
                return Err(PatternError {
                    at,
                    length,
                    message: "cannot be told from the number or zone name before it".into(),
                });
            }
            at += length;
        }
        // The check above sees conversions; this one sees plain bytes after them.
        for pair in items.windows(2) {
            if runs_into(pair[0], pair[1]) {
                return Err(PatternError {
                    at: 0,
                    length: format.len(),
                    message:
                        "a number of no fixed length, or a zone name, runs into what follows it"
                            .into(),
                });
            }
        }
        let mut widths = items.iter().map(|item| item.width());
        Ok(Self {
            width: widths.try_fold(0, |sum, width| Some(sum + width?)),
            items: items.into(),
        })
    }

    /// The length of every text that the pattern reads, where there is one.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Whether a byte can occur in a text that the pattern reads.
    #[must_use]
    pub fn can_hold(&self, byte: u8) -> bool {
        self.items.iter().any(|item| match *item {
            Item::Byte(literal) => literal == byte,
            Item::Number { blanks, .. } => byte.is_ascii_digit() || (blanks && byte == b' '),
            Item::Epoch => byte.is_ascii_digit(),
            Item::Offset => byte.is_ascii_digit() || matches!(byte, b'+' | b'-'),
            Item::ZoneName => is_zone_byte(byte),
            Item::MonthShort | Item::MonthLong | Item::DayShort | Item::DayLong | Item::Half => {
                byte.is_ascii_alphabetic()
            }
        })
    }

    /// Whether the pattern's last item, `Epoch` or a zone name, has no end of its own.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        matches!(self.items.last(), Some(Item::Epoch | Item::ZoneName))
    }

    /// Reads a text of the pattern's shape from the start of `bytes`, into `parts`; its length.
    #[must_use]
    pub fn read(&self, bytes: &[u8], parts: &mut Parts) -> Option<usize> {
        let mut at = 0;
        for item in &*self.items {
            at += item.read(bytes.get(at..)?, parts)?;
        }
        Some(at)
    }

    /// The same into no parts, for one text after the other.
    pub(crate) fn read_next(
        &self,
        bytes: &[u8],
        parts: &mut Parts,
        last: &mut LastText,
    ) -> Option<usize> {
        let Some(width) = self.width.filter(|width| *width <= MAX_LAST_BYTES) else {
            return self.read(bytes, parts);
        };
        let text = bytes.get(..width)?;
        let items = last.items.as_ref();
        if !items.is_some_and(|items| Arc::ptr_eq(items, &self.items)) {
            let read = self.read(text, parts);
            if read.is_some() {
                last.items = Some(Arc::clone(&self.items));
                last.text[..width].copy_from_slice(text);
                last.parts = *parts;
            }
            return read;
        }
        *parts = last.parts;
        let both = text.iter().zip(&last.text);
        let same = both.take_while(|(byte, before)| byte == before).count();
        if same == width {
            return Some(width);
        }
        let mut at = 0;
        for item in &*self.items {
            let end = at + item.width()?;
            // What it says is what it said.
            if end > same {
                item.read(text.get(at..)?, parts)?;
            }
            at = end;
        }
        last.text[..width].copy_from_slice(text);
        last.parts = *parts;
        Some(width)
    }
}

/// Whether `item` can go on with bytes that `next` starts with.
fn runs_into(item: Item, next: Item) -> bool {
    match item {
        Item::Epoch => match next {
            Item::Byte(byte) => byte.is_ascii_digit(),
            Item::Number { .. } | Item::Epoch => true,
            _ => false,
        },
        Item::ZoneName => match next {
            Item::Byte(byte) => is_zone_byte(byte),
            Item::Number { blanks, .. } => !blanks,
            _ => true,
        },
        _ => false,
    }
}

fn is_zone_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-')
}

/// Appends what a conversion stands for; false if it is unknown.
fn push(items: &mut Vec<Item>, conversion: u8) -> bool {
    let number = |part, width| Item::Number {
        part,
        width,
        blanks: false,
    };
    let blank = |part| Item::Number {
        part,
        width: 2,
        blanks: true,
    };
    let several: &[u8] = match conversion {
        b'D' | b'x' => b"m/d/y",
        b'F' => b"Y-m-d",
        b'T' | b'X' => b"H:M:S",
        b'R' => b"H:M",
        b'r' => b"I:M:S p",
        b'c' => b"a b e H:M:S Y",
        _ => b"",
    };
    if !several.is_empty() {
        return several.iter().all(|&byte| {
            if byte.is_ascii_alphabetic() {
                push(items, byte)
            } else {
                items.push(Item::Byte(byte));
                true
            }
        });
    }
    items.push(match conversion {
        b'Y' => number(Part::Year, 4),
        b'C' => number(Part::Century, 2),
        b'y' => number(Part::YearOfCentury, 2),
        b'm' => number(Part::Month, 2),
        b'd' => number(Part::Day, 2),
        b'e' => blank(Part::Day),
        b'j' => number(Part::DayOfYear, 3),
        b'H' => number(Part::Hour, 2),
        b'k' => blank(Part::Hour),
        b'I' => number(Part::HourOfHalf, 2),
        b'l' => blank(Part::HourOfHalf),
        b'M' => number(Part::Minute, 2),
        b'S' => number(Part::Second, 2),
        b'u' | b'w' => number(Part::Unused, 1),
        b'U' | b'W' | b'V' | b'g' => number(Part::Unused, 2),
        b'G' => number(Part::Unused, 4),
        b'b' | b'h' => Item::MonthShort,
        b'B' => Item::MonthLong,
        b'a' => Item::DayShort,
        b'A' => Item::DayLong,
        b'p' | b'P' => Item::Half,
        b'z' => Item::Offset,
        b'Z' => Item::ZoneName,
        b's' => Item::Epoch,
        b'n' => Item::Byte(b'\n'),
        b't' => Item::Byte(b'\t'),
        b'%' => Item::Byte(b'%'),
        _ => return false,
    });
    true
}

impl Item {
    /// Of each text that it reads, where that is always so.
    #[inline]
    fn width(self) -> Option<usize> {
        match self {
            Self::Byte(_) => Some(1),
            Self::Number { width, .. } => Some(usize::from(width)),
            Self::MonthShort | Self::DayShort => Some(3),
            Self::Half => Some(2),
            Self::Offset => Some(5),
            Self::MonthLong | Self::DayLong | Self::ZoneName | Self::Epoch => None,
        }
    }

    fn read(self, bytes: &[u8], parts: &mut Parts) -> Option<usize> {
        match self {
            Self::Byte(byte) => (bytes.first() == Some(&byte)).then_some(1),
            Self::Number {
                part,
                width,
                blanks,
            } => {
                let width = usize::from(width);
                let mut value = 0;
                for (index, &byte) in bytes.get(..width)?.iter().enumerate() {
                    let blank = blanks && byte == b' ' && index + 1 < width;
                    value = value * 10 + if blank { 0 } else { digit(byte)? };
                }
                part.set(value, parts);
                Some(width)
            }
            Self::MonthShort => {
                parts.month = Some(month_from_short(*bytes.first_chunk()?)?);
                Some(3)
            }
            Self::MonthLong => {
                let (number, name) = (1..)
                    .zip(MONTHS)
                    .find(|(_, name)| bytes.starts_with(name))?;
                parts.month = Some(number);
                Some(name.len())
            }
            Self::DayShort => {
                let name = bytes.get(..3)?;
                DAYS.iter().any(|day| day.starts_with(name)).then_some(3)
            }
            Self::DayLong => Some(DAYS.iter().find(|day| bytes.starts_with(day))?.len()),
            Self::Half => {
                parts.afternoon = Some(match bytes.first_chunk()? {
                    b"AM" | b"am" => false,
                    b"PM" | b"pm" => true,
                    _ => return None,
                });
                Some(2)
            }
            Self::Offset => {
                parts.offset = Some(offset(*bytes.first_chunk()?)?);
                Some(5)
            }
            Self::ZoneName => {
                let length = bytes.iter().take_while(|&&byte| is_zone_byte(byte)).count();
                // These two mean the same everywhere; of other names many stand for several zones.
                if matches!(&bytes[..length], b"UTC" | b"GMT") && parts.offset.is_none() {
                    parts.offset = Some(0);
                }
                (length > 0).then_some(length)
            }
            Self::Epoch => {
                let length = bytes
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                parts.set(super::epoch_in_units(&bytes[..length], 1)?);
                Some(length)
            }
        }
    }
}

impl Part {
    fn set(self, value: u32, parts: &mut Parts) {
        let slot = match self {
            Self::Year => &mut parts.year,
            Self::Century => &mut parts.century,
            Self::YearOfCentury => &mut parts.year_of_century,
            Self::Month => &mut parts.month,
            Self::Day => &mut parts.day,
            Self::DayOfYear => &mut parts.day_of_year,
            Self::Hour => &mut parts.hour,
            Self::HourOfHalf => &mut parts.hour_of_half,
            Self::Minute => &mut parts.minute,
            Self::Second => &mut parts.second,
            Self::Unused => return,
        };
        *slot = Some(value);
    }
}

impl Pattern {
    /// The parts that every text of this pattern gives, with values of no meaning.
    pub(crate) fn mark(&self, parts: &mut Parts) {
        for item in &*self.items {
            match *item {
                Item::Number { part, .. } => part.set(1, parts),
                Item::MonthShort | Item::MonthLong => parts.month = Some(1),
                Item::Half => parts.afternoon = Some(false),
                Item::Offset => parts.offset = Some(0),
                Item::Epoch => parts.epoch = Some(1),
                Item::Byte(_) | Item::DayShort | Item::DayLong | Item::ZoneName => {}
            }
        }
        // A year of 1 would be out of range.
        parts.year = parts.year.map(|_| 2001);
        parts.century = parts.century.map(|_| 20);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Time;

    fn read(format: &str, text: &str) -> Option<Time> {
        let pattern = Pattern::parse(format.as_bytes()).expect("a good pattern");
        let mut parts = Parts::default();
        let length = pattern.read(text.as_bytes(), &mut parts)?;
        assert!(pattern.width().is_none_or(|width| width == length));
        assert!(
            text.as_bytes()[..length]
                .iter()
                .all(|&byte| pattern.can_hold(byte))
        );
        (length == text.len()).then(|| parts.time())?
    }

    proptest! {
        /// Whatever was read before, by whichever pattern.
        #[test]
        fn the_last_text_changes_nothing(
            texts in prop::collection::vec((
                0..5_usize,
                0..7_usize,
                prop::option::of((0..20_usize, prop::sample::select(&b"0129/:x NDe"[..]))),
            ), 1..30),
        ) {
            let formats = ["%d/%b/%Y:%H:%M:%S", "%F %T", "%D %e %p", "%d %d %H", "%s"];
            let patterns = formats.map(|format| Pattern::parse(format.as_bytes()).expect("a good pattern"));
            let bases = [
                "22/Nov/2026:08:23:11", "22/Dec/2025:09:24:12", "2026-11-22 08:23:11", "11/22/26  5 AM",
                "11/22/26 15 PM", "11 12 13", "1795335791",
            ];
            let mut last = LastText::default();
            for (pattern, base, change) in texts {
                let mut text = bases[base].as_bytes().to_vec();
                if let Some((at, byte)) = change && at < text.len() {
                    text[at] = byte;
                }
                let (mut once, mut next) = (Parts::default(), Parts::default());
                let read = patterns[pattern].read(&text, &mut once);
                prop_assert_eq!(patterns[pattern].read_next(&text, &mut next, &mut last), read);
                prop_assert!(read.is_none() || once == next, "{:?}", text);
            }
        }
    }

    #[test]
    fn patterns() {
        let instant = Some(Time::Instant(1_795_335_791));
        let local = Some(Time::Local(1_795_335_791));
        for (format, text, expected) in [
            ("%Y-%m-%dT%H:%M:%S%z", "2026-11-22T08:23:11+0000", instant),
            ("%F %T %z", "2026-11-22 09:23:11 +0100", instant),
            ("%F %T", "2026-11-22 08:23:11", local),
            ("%F %T %Z", "2026-11-22 08:23:11 CET", local),
            ("%F %T%z %Z", "2026-11-22 08:23:11+0000 UTC", instant),
            ("%F %T %Z", "2026-11-22 08:23:11 UTC", instant),
            ("%d/%b/%Y:%H:%M:%S", "22/Nov/2026:08:23:11", local),
            (
                "%A, %e %B %Y %r",
                "Sunday, 22 November 2026 08:23:11 AM",
                local,
            ),
            ("%c", "Sun Nov 22 08:23:11 2026", local),
            ("%D %X", "11/22/26 08:23:11", local),
            ("%C%y-%j %R:%S", "2026-326 08:23:11", local),
            ("%s", "1795335791", instant),
            ("%Ey%%%Om%d%t%k.%M.%S", "26%1122\t 8.23.11", local),
            ("%l:%M:%S %P %F", " 8:23:11 am 2026-11-22", local),
            (
                "%l:%M:%S %p %F",
                "12:00:00 AM 1970-01-02",
                Some(Time::Local(86_400)),
            ),
            ("%F %H", "1970-01-01 01", Some(Time::Local(3600))),
            ("%F %T", "2026-02-29 08:23:11", None),
            ("%F %T", "2026-2-29 08:23:11", None),
            ("%j %Y %H", "366 2023 00", None),
            ("%e %b %Y %H", " 1 Jan 1970 00", Some(Time::Local(0))),
            ("%e %b %Y %H", "1  Jan 1970 00", None),
            ("%I %p %F", "13 PM 2026-11-22", None),
            ("%T", "08:23:11", None),
        ] {
            assert_eq!(read(format, text), expected, "{format}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (format, at) in [
            ("%Y-%Q", 3),
            ("%", 0),
            ("a%E", 1),
            ("%-d", 0),
            ("%s%H", 2),
            ("%s5", 0),
            ("%Z%p", 2),
        ] {
            let error = Pattern::parse(format.as_bytes()).expect_err(format);
            assert_eq!(error.at, at, "{format}: {error}");
        }
    }
}
