//! The walk over one line.
//!
//! Everything that could be decided beforehand was; here fields are cut and numbers are read. What
//! a line lacks is reported with its offset, and nothing in a line can make this code fail
//! otherwise: every slice is taken with `get` or at an offset that was just found.

use memchr::{memchr, memchr2, memrchr};

use super::{Anchor, Behind, End, Plan, Region, Start, Step, Take, Used};
use crate::error::{Expected, LineError};
use crate::format::{Count, TimeForm};
use crate::record::{Ignored, Line, Logged, Record};
use crate::text::Escape;
use crate::time::{self, Parts};

/// What has been read of a line.
struct Reading<'l> {
    record: Record<'l>,
    both: Option<u64>,
    parts: Parts,
    /// Where the last part of the time stands.
    time_at: usize,
    /// Whether `-` stands for the time or a part of it.
    lacks_time: bool,
    request: Option<&'l [u8]>,
}

pub(super) fn read<'l>(plan: &Plan, line: &'l [u8]) -> Result<Line<'l>, LineError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.trim_ascii().is_empty() {
        return Ok(Line::Ignored(Ignored::Blank));
    }
    match walk(plan, line) {
        Err(_) if line.first() == Some(&b'#') => Ok(Line::Ignored(Ignored::Comment)),
        read => read,
    }
}

fn walk<'l>(plan: &Plan, line: &'l [u8]) -> Result<Line<'l>, LineError> {
    let mut reading = Reading {
        record: Record {
            vhost: None,
            user: None,
            client: None,
            time: None,
            bytes_in: (!plan.reads.wire_in && !plan.reads.both).then_some(0),
            bytes_out: None,
            status: None,
            duration_us: None,
            method: None,
            path: None,
        },
        both: None,
        parts: Parts::default(),
        time_at: 0,
        lacks_time: false,
        request: None,
    };
    let mut at = literal(line, 0, &plan.first, 0)?;
    for step in &plan.steps {
        at = step.walk(line, at, &mut reading)?;
    }
    if at != line.len() {
        return Err(LineError {
            at,
            expected: Expected::End,
        });
    }
    if plan.composes_time && !reading.lacks_time {
        let wrong = LineError {
            at: reading.time_at,
            expected: Expected::Time,
        };
        reading.record.time = Some(reading.parts.time().ok_or(wrong)?);
    }
    if plan.reads.both {
        reading.split_both(plan);
    }
    if plan.tells_http2 && reading.is_http2_connection() {
        return Ok(Line::Ignored(Ignored::Http2Connection));
    }
    Ok(Line::Record(reading.record))
}

/// Checks that `literal` stands at `at`; its end.
#[inline]
fn literal(line: &[u8], at: usize, literal: &[u8], after: u16) -> Result<usize, LineError> {
    let end = at + literal.len();
    match line.get(at..end) {
        Some(found) if is_same(found, literal) => Ok(end),
        _ => {
            let rest = line.get(at..).unwrap_or_default();
            let common = rest.iter().zip(literal).take_while(|(a, b)| a == b).count();
            Err(LineError {
                at: at + common,
                expected: Expected::Literal(after),
            })
        }
    }
}

/// Literals are a few bytes long: a loop takes a third of the time that a call of memcmp takes.
#[inline]
fn is_same(found: &[u8], literal: &[u8]) -> bool {
    found.len() == literal.len() && found.iter().zip(literal).all(|(a, b)| a == b)
}

/// The first byte of the anchor's kind from `from`.
#[inline]
fn find(line: &[u8], from: usize, anchor: Anchor) -> Option<usize> {
    let mut at = from;
    if !anchor.escaped {
        return Some(at + memchr(anchor.byte, line.get(at..)?)?);
    }
    loop {
        at += memchr2(anchor.byte, b'\\', line.get(at..)?)?;
        if line[at] == anchor.byte {
            return Some(at);
        }
        // A backslash and the byte that it hides.
        at += 2;
    }
}

impl Step {
    /// Reads the field at `at` and what stands behind it; where that ends.
    #[inline]
    fn walk<'l>(
        &self,
        line: &'l [u8],
        at: usize,
        reading: &mut Reading<'l>,
    ) -> Result<usize, LineError> {
        let is_quotes =
            self.empty_is_quotes && line.get(at..).is_some_and(|rest| rest.starts_with(b"\"\""));
        let from = if is_quotes { at + 2 } else { at };
        let end = match &self.end {
            End::Byte(anchor) => self.find_end(line, from, *anchor)?,
            End::Count => {
                let rest = &line[from..];
                let is_count = |byte: &&u8| byte.is_ascii_digit() || **byte == b'-';
                from + rest.iter().take_while(is_count).count()
            }
            End::Run(bytes) => {
                from + line[from..]
                    .iter()
                    .take_while(|&&byte| bytes.contains(byte))
                    .count()
            }
            End::Line => self.line_end(line, from)?,
            End::Time => {
                let length = reading.open_time(&self.take, line, at)?;
                return literal(line, at + length, &self.literal, self.directive + 1);
            }
            End::Region(region) => return self.walk_region(region, line, at, from, reading),
        };
        reading.take(&self.take, line, at, end)?;
        literal(line, end, &self.literal, self.directive + 1)
    }

    /// Where the literal with the anchor starts.
    #[inline]
    fn find_end(&self, line: &[u8], from: usize, anchor: Anchor) -> Result<usize, LineError> {
        let expected = Expected::Literal(self.directive + 1);
        let found = find(line, from, anchor).ok_or(LineError {
            at: line.len(),
            expected,
        })?;
        // Too near for the literal's own bytes before the anchor: it is not the literal's.
        found
            .checked_sub(anchor.index)
            .filter(|&end| end >= from)
            .ok_or(LineError {
                at: found,
                expected,
            })
    }

    /// Where the literal at the line's end starts.
    fn line_end(&self, line: &[u8], from: usize) -> Result<usize, LineError> {
        let end = line
            .len()
            .checked_sub(self.literal.len())
            .filter(|&end| end >= from);
        let expected = Expected::Literal(self.directive + 1);
        end.ok_or(LineError {
            at: line.len(),
            expected,
        })
    }

    fn walk_region<'l>(
        &self,
        region: &Region,
        line: &'l [u8],
        at: usize,
        from: usize,
        reading: &mut Reading<'l>,
    ) -> Result<usize, LineError> {
        let region_end = match region.anchor {
            Some(anchor) => self.find_end(line, from, anchor)?,
            None => self.line_end(line, from)?,
        };
        let mut end = region_end;
        for field in &region.behind {
            let start = field.start(line, from, end)?;
            reading.take(&field.take, line, start, end)?;
            end = start - field.literal.len();
        }
        reading.take(&self.take, line, at, end)?;
        let last = region
            .behind
            .first()
            .map_or(self.directive, |field| field.directive);
        literal(line, region_end, &self.literal, last + 1)
    }
}

impl Behind {
    /// Where the field that ends at `end` starts; its literal stands before that.
    fn start(&self, line: &[u8], from: usize, end: usize) -> Result<usize, LineError> {
        let error = |at| LineError {
            at,
            expected: Expected::Literal(self.directive),
        };
        let start = match self.start {
            Start::Width(width) => end.checked_sub(width),
            Start::Byte { byte, from_end } => {
                memrchr(byte, line.get(from..end).unwrap_or_default())
                    .map(|index| from + index + from_end)
                    .filter(|&start| start <= end)
            }
        };
        let start = start.ok_or(error(end))?;
        let before = start
            .checked_sub(self.literal.len())
            .filter(|&before| before >= from);
        match before {
            Some(before) if is_same(&line[before..start], &self.literal) => Ok(start),
            Some(before) => Err(error(before)),
            None => Err(error(from)),
        }
    }
}

impl<'l> Reading<'l> {
    /// Takes the field `line[start..end]`.
    #[inline]
    fn take(
        &mut self,
        take: &Take,
        line: &'l [u8],
        start: usize,
        end: usize,
    ) -> Result<(), LineError> {
        let field = &line[start..end];
        match take {
            Take::Skip => {}
            Take::Bytes {
                count,
                dash_is_zero,
            } => {
                let number = match field {
                    b"-" if *dash_is_zero => Some(0),
                    b"-" | b"" => None,
                    _ => Some(number(field, start)?),
                };
                match count {
                    Count::In => self.record.bytes_in = number,
                    Count::Out | Count::Body => self.record.bytes_out = number,
                    Count::Both => self.both = number,
                }
            }
            Take::Status => self.record.status = status(field, start)?,
            Take::Vhost(escape) => self.record.vhost = logged(field, *escape),
            Take::User {
                escape,
                empty_is_quotes,
            } => {
                let is_empty = *empty_is_quotes && field == b"\"\"";
                self.record.user = if is_empty {
                    None
                } else {
                    logged(field, *escape)
                };
            }
            Take::Client => {
                self.record.client = Some(field).filter(|field| !matches!(*field, b"" | b"-"));
            }
            Take::Request(escape) => {
                self.request = Some(field);
                let (method, path) = split_request(field);
                self.record.method = method.and_then(|bytes| logged(bytes, *escape));
                self.record.path = path.and_then(|bytes| logged(bytes, *escape));
            }
            Take::Method(escape) => self.record.method = logged(field, *escape),
            Take::Path(escape) => self.record.path = logged(field, *escape),
            Take::Duration { per_second } => {
                self.record.duration_us = duration(field, *per_second, start)?;
            }
            Take::Time { .. } => {
                let length = self.open_time(take, &line[..end], start)?;
                if start + length != end {
                    return Err(LineError {
                        at: start + length,
                        expected: Expected::Time,
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes a time that ends where its shape does; its length.
    #[inline]
    fn open_time(&mut self, take: &Take, line: &[u8], at: usize) -> Result<usize, LineError> {
        let Take::Time {
            form,
            optional,
            used,
        } = take
        else {
            return Ok(0);
        };
        let rest = &line[at..];
        if *optional && rest.first() == Some(&b'-') {
            self.lacks_time |= *used != Used::No;
            return Ok(1);
        }
        let wrong = LineError {
            at,
            expected: Expected::Time,
        };
        let (time, length) = match form {
            TimeForm::Clf { brackets } => {
                let length = time::CLF_BYTES + if *brackets { 2 } else { 0 };
                let text = rest.get(..length).ok_or(wrong)?;
                let text = match (brackets, text) {
                    (true, [b'[', inside @ .., b']']) => inside,
                    (true, _) => return Err(wrong),
                    (false, text) => text,
                };
                (time::clf(text), length)
            }
            TimeForm::Iso8601 => (
                time::iso8601(rest.get(..ISO_BYTES).ok_or(wrong)?),
                ISO_BYTES,
            ),
            TimeForm::EpochWithFraction => (time::epoch(rest), rest.len()),
            TimeForm::Epoch { per_second } => (time::epoch_in_units(rest, *per_second), rest.len()),
            TimeForm::Fraction { digits } => {
                let text = rest
                    .get(..*digits)
                    .filter(|text| text.iter().all(u8::is_ascii_digit));
                text.ok_or(wrong)?;
                return Ok(*digits);
            }
            TimeForm::Pattern(pattern) => {
                let mut unused = Parts::default();
                let parts = if *used == Used::No {
                    &mut unused
                } else {
                    &mut self.parts
                };
                self.time_at = at;
                return pattern.read(rest, parts).ok_or(wrong);
            }
        };
        let time = time.ok_or(wrong)?;
        match used {
            Used::Whole => self.record.time = Some(time),
            Used::Part => self.parts.set(time),
            Used::No => {}
        }
        Ok(length)
    }

    /// From the sum of both directions and one of them, the other.
    fn split_both(&mut self, plan: &Plan) {
        let record = &mut self.record;
        let rest = |part: Option<u64>| Some(self.both?.saturating_sub(part?));
        if plan.reads.wire_out && !plan.reads.wire_in {
            record.bytes_in = rest(record.bytes_out);
        } else if plan.reads.wire_in && !plan.reads.wire_out {
            record.bytes_out = rest(record.bytes_in);
        }
    }

    fn is_http2_connection(&self) -> bool {
        let is_preface = match self.request {
            Some(request) => request == b"PRI * HTTP/2.0",
            None => self
                .record
                .method
                .is_some_and(|method| method.bytes == b"PRI"),
        };
        is_preface && self.record.status == Some(100)
    }
}

/// nginx `$time_iso8601`: always with an offset, even where that is zero.
const ISO_BYTES: usize = 25;

/// `-` and nothing are no value.
#[inline]
fn logged(bytes: &[u8], escape: Escape) -> Option<Logged<'_>> {
    (!matches!(bytes, b"" | b"-")).then_some(Logged { bytes, escape })
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

/// Three digits (nginx may write 000 or 009), or a lone 0 where the server never chose one.
#[inline]
fn status(field: &[u8], start: usize) -> Result<Option<u16>, LineError> {
    match *field {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => Ok(Some(
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'),
        )),
        [b'0'] => Ok(Some(0)),
        [] | [b'-'] => Ok(None),
        _ => Err(LineError {
            at: start,
            expected: Expected::Status,
        }),
    }
}

/// A number of units, perhaps with a fraction, in microseconds; digits beyond those are dropped.
fn duration(field: &[u8], per_second: u64, start: usize) -> Result<Option<u64>, LineError> {
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
fn split_request(request: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
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
