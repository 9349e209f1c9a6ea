//! The walk over one line.
//!
//! Everything that could be decided beforehand was; here fields are cut and numbers are read. What
//! a line lacks is reported with its offset, and nothing in a line can make this code fail
//! otherwise: every slice is taken with `get` or at an offset that was just found.

use memchr::memrchr;

use super::reading::{Misfit, Reading};
use super::values::{digits, is_same, logged, split_request};
use super::{Anchor, Behind, Carried, End, Fields, Plan, Region, Start, Step, Take, scan};
use crate::error::{Expected, LineError};
use crate::record::{Ignored, Line, Logged};

/// Reads a line whole.
pub(super) fn read<'l>(
    plan: &Plan,
    fields: &Fields,
    line: &'l [u8],
) -> Result<Line<'l>, LineError> {
    read_line(plan, fields, line, &mut Carried::default(), |reading| {
        if let Some(Logged { bytes, escape }) = reading.request {
            let (method, path) = split_request(bytes);
            reading.record.method = method.and_then(|bytes| logged(bytes, escape));
            reading.record.path = path.and_then(|bytes| logged(bytes, escape));
        }
    })
}

/// Reads what the account needs of a line: a request line is not split.
pub(super) fn read_for_account<'l>(
    plan: &Plan,
    fields: &Fields,
    line: &'l [u8],
    carried: &mut Carried,
) -> Result<Line<'l>, LineError> {
    read_line(plan, fields, line, carried, |_| {})
}

#[inline]
fn read_line<'l>(
    plan: &Plan,
    fields: &Fields,
    line: &'l [u8],
    carried: &mut Carried,
    finish: impl FnOnce(&mut Reading<'l, '_>),
) -> Result<Line<'l>, LineError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(Line::Ignored(Ignored::Blank));
    }
    match walk(plan, fields, line, carried, finish) {
        Err(_) if line.first() == Some(&b'#') => Ok(Line::Ignored(Ignored::Comment)),
        read => read,
    }
}

#[inline]
fn walk<'l>(
    plan: &Plan,
    fields: &Fields,
    line: &'l [u8],
    carried: &mut Carried,
    finish: impl FnOnce(&mut Reading<'l, '_>),
) -> Result<Line<'l>, LineError> {
    let mut reading = Reading::new(plan, carried);
    if let Err(Misfit) = reading.walk(plan, fields, line) {
        let nothing = LineError {
            at: 0,
            expected: Expected::End,
        };
        return Err(reading.misfit.unwrap_or(nothing));
    }
    finish(&mut reading);
    Ok(reading.line(plan))
}

/// The first byte of the anchor's kind from `from`.
#[inline(always)]
fn find(line: &[u8], from: usize, anchor: Anchor) -> Option<usize> {
    if !anchor.escaped {
        return Some(from + scan::one(anchor.byte, line.get(from..)?)?);
    }
    let at = from + scan::either(anchor.byte, b'\\', line.get(from..)?)?;
    if line[at] == anchor.byte {
        return Some(at);
    }
    find_behind_backslashes(line, at, anchor.byte)
}

/// The first such byte that no backslash hides; `at` is a backslash.
#[inline(never)]
fn find_behind_backslashes(line: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    loop {
        // A backslash and the byte that it hides.
        at += 2;
        at += scan::either(byte, b'\\', line.get(at..)?)?;
        if line[at] == byte {
            return Some(at);
        }
    }
}

impl Step {
    /// Reads the field at `at` and what stands behind it; where that ends.
    #[inline(always)]
    pub(super) fn walk<'l>(
        &self,
        line: &'l [u8],
        at: usize,
        reading: &mut Reading<'l, '_>,
    ) -> Result<usize, Misfit> {
        let from = match self.empty_is_quotes {
            true => behind_quotes(line, at),
            false => at,
        };
        let end = match &self.end {
            End::Byte(anchor) => {
                let end = self.find_end(line, from, *anchor, reading)?;
                if self.literal.len() == 1 {
                    // The anchor is all of it.
                    reading.take(&self.take, line, at, end)?;
                    return Ok(end + 1);
                }
                end
            }
            End::Count => {
                let (number, end) = digits(line, from);
                match (&self.take, number) {
                    (Take::Bytes { count, .. }, Some(number)) => {
                        reading.bytes(*count, Some(number));
                        return reading.literal(line, end, &self.literal, self.directive + 1);
                    }
                    (_, Some(_)) => end,
                    (_, None) => count_end(line, from),
                }
            }
            End::Run(bytes) => {
                from + line[from..]
                    .iter()
                    .take_while(|&&byte| bytes.contains(byte))
                    .count()
            }
            End::Line => self.line_end(line, from, reading)?,
            End::Time => {
                let length = reading.open_time(&self.take, line, at)?;
                return reading.literal(line, at + length, &self.literal, self.directive + 1);
            }
            End::Region(region) => return self.walk_region(region, line, at, from, reading),
        };
        reading.take(&self.take, line, at, end)?;
        reading.literal(line, end, &self.literal, self.directive + 1)
    }

    /// Where the literal with the anchor starts.
    #[inline(always)]
    fn find_end(
        &self,
        line: &[u8],
        from: usize,
        anchor: Anchor,
        reading: &mut Reading<'_, '_>,
    ) -> Result<usize, Misfit> {
        match find(line, from, anchor) {
            Some(found) if found - from >= anchor.index => Ok(found - anchor.index),
            // Too near for the literal's own bytes before the anchor: it is not the literal's.
            found => reading.fail(
                found.unwrap_or(line.len()),
                Expected::Literal(self.directive + 1),
            ),
        }
    }

    /// Where the literal at the line's end starts.
    #[inline]
    fn line_end(
        &self,
        line: &[u8],
        from: usize,
        reading: &mut Reading<'_, '_>,
    ) -> Result<usize, Misfit> {
        match line.len().checked_sub(self.literal.len()) {
            Some(end) if end >= from => Ok(end),
            _ => reading.fail(line.len(), Expected::Literal(self.directive + 1)),
        }
    }

    #[inline]
    fn walk_region<'l>(
        &self,
        region: &Region,
        line: &'l [u8],
        at: usize,
        from: usize,
        reading: &mut Reading<'l, '_>,
    ) -> Result<usize, Misfit> {
        let region_end = match region.anchor {
            Some(anchor) => self.find_end(line, from, anchor, reading)?,
            None => self.line_end(line, from, reading)?,
        };
        let mut end = region_end;
        for field in &region.behind {
            let start = match field.start(line, from, end) {
                Ok(start) => start,
                Err(at) => return reading.fail(at, Expected::Literal(field.directive)),
            };
            reading.take(&field.take, line, start, end)?;
            end = start - field.literal.len();
        }
        reading.take(&self.take, line, at, end)?;
        let last = region
            .behind
            .first()
            .map_or(self.directive, |field| field.directive);
        reading.literal(line, region_end, &self.literal, last + 1)
    }
}

impl Behind {
    /// Where the field that ends at `end` starts; its literal stands before that. Where there is no
    /// such place: where it was looked for.
    #[inline]
    fn start(&self, line: &[u8], from: usize, end: usize) -> Result<usize, usize> {
        let start = match self.start {
            Start::Width(width) => end.checked_sub(width),
            Start::Byte { byte, from_end } => {
                memrchr(byte, line.get(from..end).unwrap_or_default())
                    .map(|index| from + index + from_end)
                    .filter(|&start| start <= end)
            }
        };
        let start = start.ok_or(end)?;
        let before = start
            .checked_sub(self.literal.len())
            .filter(|&before| before >= from);
        match before {
            Some(before) if is_same(&line[before..start], &self.literal) => Ok(start),
            Some(before) => Err(before),
            None => Err(from),
        }
    }
}

impl<'l> Reading<'l, '_> {
    #[inline]
    fn walk(&mut self, plan: &Plan, fields: &Fields, line: &'l [u8]) -> Result<(), Misfit> {
        let mut at = self.literal(line, 0, &fields.first, 0)?;
        for step in &fields.steps {
            at = step.walk(line, at, self)?;
        }
        if at != line.len() {
            return self.fail(at, Expected::End);
        }
        self.put_together(plan, fields)
    }
}

/// Behind two quotes, if they stand at `at`.
#[inline(never)]
fn behind_quotes(line: &[u8], at: usize) -> usize {
    match line.get(at..) {
        Some([b'"', b'"', ..]) => at + 2,
        _ => at,
    }
}

/// Where digits and dashes end.
fn count_end(line: &[u8], from: usize) -> usize {
    let is_count = |byte: &&u8| byte.is_ascii_digit() || **byte == b'-';
    from + line[from..].iter().take_while(is_count).count()
}
