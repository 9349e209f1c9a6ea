//! The walk over one line.
//!
//! Everything that could be decided beforehand was; here fields are cut and numbers are read. What
//! a line lacks is reported with its offset, and nothing in a line can make this code fail
//! otherwise: every slice is taken with `get` or at an offset that was just found.

use memchr::{memchr, memrchr};

use super::{Anchor, Behind, Carried, End, Fields, Plan, Region, Start, Step, Take, Used, scan};
use crate::error::{Expected, LineError};
use crate::format::{Count, TimeForm};
use crate::record::{Ignored, Line, Logged, Record};
use crate::text::Escape;
use crate::time::{self, Parts};

/// What has been read of a line.
pub(super) struct Reading<'l, 'm> {
    pub(super) record: Record<'l>,
    both: Option<u64>,
    request: Option<Logged<'l>>,
    /// Of a time that is put together from several fields.
    composed: Option<Composed>,
    carried: &'m mut Carried,
    /// What did not fit.
    misfit: Option<LineError>,
}

/// The line does not fit; what and where is in [`Reading::misfit`]. Steps pass their results on
/// in registers that way, which an error of two words would not fit into.
pub(super) struct Misfit;

#[derive(Default)]
struct Composed {
    parts: Parts,
    /// Where the last part of the time stands.
    at: usize,
    /// Whether `-` stands for the time or a part of it.
    is_lacking: bool,
}

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

#[inline]
fn is_same(found: &[u8], literal: &[u8]) -> bool {
    found.len() == literal.len() && found.iter().zip(literal).all(|(a, b)| a == b)
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

impl<'l, 'm> Reading<'l, 'm> {
    #[inline(always)]
    pub(super) fn new(plan: &Plan, carried: &'m mut Carried) -> Self {
        Self {
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
            request: None,
            composed: None,
            carried,
            misfit: None,
        }
    }

    /// What the line is, once all of it has been read.
    #[inline(always)]
    pub(super) fn line(self, plan: &Plan) -> Line<'l> {
        if plan.tells_http2 && self.is_http2_connection() {
            return Line::Ignored(Ignored::Http2Connection);
        }
        Line::Record(self.record)
    }

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

    /// What comes of several fields.
    #[inline(always)]
    pub(super) fn put_together(&mut self, plan: &Plan, fields: &Fields) -> Result<(), Misfit> {
        if fields.composes_time {
            self.compose_time()?;
        }
        if plan.reads.both {
            self.split_both(plan);
        }
        Ok(())
    }

    #[cold]
    fn fail<T>(&mut self, at: usize, expected: Expected) -> Result<T, Misfit> {
        self.misfit = Some(LineError { at, expected });
        Err(Misfit)
    }

    /// Checks that `literal` stands at `at`; its end. Most are a byte or two: looking at each in
    /// place takes a third of the time that a call of memcmp takes.
    #[inline(always)]
    fn literal(
        &mut self,
        line: &[u8],
        at: usize,
        literal: &[u8],
        after: u16,
    ) -> Result<usize, Misfit> {
        let end = at + literal.len();
        let stands = match (literal, line.get(at..end)) {
            ([a], Some([x])) => a == x,
            ([a, b], Some([x, y])) => a == x && b == y,
            (_, Some(found)) => is_same(found, literal),
            (_, None) => false,
        };
        if stands {
            Ok(end)
        } else {
            self.lacks(line, at, literal, after)
        }
    }

    #[cold]
    fn lacks(
        &mut self,
        line: &[u8],
        at: usize,
        literal: &[u8],
        after: u16,
    ) -> Result<usize, Misfit> {
        let rest = line.get(at..).unwrap_or_default();
        let common = rest.iter().zip(literal).take_while(|(a, b)| a == b).count();
        self.fail(at + common, Expected::Literal(after))
    }

    /// Takes the field `line[start..end]`.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        take: &Take,
        line: &'l [u8],
        start: usize,
        end: usize,
    ) -> Result<(), Misfit> {
        if matches!(take, Take::Skip) {
            return Ok(());
        }
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
                    _ => match number_before(line, start, end) {
                        Ok(number) => Some(number),
                        Err(error) => return self.fail(error.at, error.expected),
                    },
                };
                self.bytes(*count, number);
            }
            Take::Status => match status(field) {
                Some(status) => self.record.status = status,
                None => return self.fail(start, Expected::Status),
            },
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
                self.request = Some(Logged {
                    bytes: field,
                    escape: *escape,
                });
            }
            Take::Method(escape) => self.record.method = logged(field, *escape),
            Take::Path(escape) => self.record.path = logged(field, *escape),
            Take::Duration { per_second } => match duration(field, *per_second, start) {
                Ok(duration) => self.record.duration_us = duration,
                Err(error) => return self.fail(error.at, error.expected),
            },
            Take::Time { .. } => {
                let length = self.open_time(take, &line[..end], start)?;
                if start + length != end {
                    return self.fail(start + length, Expected::Time);
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn bytes(&mut self, count: Count, number: Option<u64>) {
        match count {
            Count::In => self.record.bytes_in = number,
            Count::Out | Count::Body => self.record.bytes_out = number,
            Count::Both => self.both = number,
        }
    }

    /// Takes a time that ends where its shape does; its length.
    #[inline]
    fn open_time(&mut self, take: &Take, line: &[u8], at: usize) -> Result<usize, Misfit> {
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
            if *used != Used::No {
                self.composed.get_or_insert_default().is_lacking = true;
            }
            return Ok(1);
        }
        let read = match form {
            TimeForm::Clf { brackets } => {
                let length = time::CLF_BYTES + if *brackets { 2 } else { 0 };
                let text = match (brackets, rest.get(..length)) {
                    (true, Some([b'[', inside @ .., b']'])) => Some(inside),
                    (true, _) => None,
                    (false, text) => text,
                };
                text.and_then(|text| self.carried.clf.read(text))
                    .map(|time| (time, length))
            }
            TimeForm::Iso8601 => rest
                .get(..ISO_BYTES)
                .and_then(time::iso8601)
                .map(|time| (time, ISO_BYTES)),
            TimeForm::EpochWithFraction => time::epoch(rest).map(|time| (time, rest.len())),
            TimeForm::Epoch { per_second } => {
                time::epoch_in_units(rest, *per_second).map(|time| (time, rest.len()))
            }
            TimeForm::Fraction { digits } => {
                let text = rest.get(..*digits);
                return match text.filter(|text| text.iter().all(u8::is_ascii_digit)) {
                    Some(_) => Ok(*digits),
                    None => self.fail(at, Expected::Time),
                };
            }
            TimeForm::Pattern(pattern) => {
                let mut unused = Parts::default();
                let composed = self.composed.get_or_insert_default();
                composed.at = at;
                let parts = if *used == Used::No {
                    &mut unused
                } else {
                    &mut composed.parts
                };
                return match pattern.read(rest, parts) {
                    Some(length) => Ok(length),
                    None => self.fail(at, Expected::Time),
                };
            }
        };
        let Some((time, length)) = read else {
            return self.fail(at, Expected::Time);
        };
        match used {
            Used::Whole => self.record.time = Some(time),
            Used::Part => self.composed.get_or_insert_default().parts.set(time),
            Used::No => {}
        }
        Ok(length)
    }

    /// The time, from its parts.
    fn compose_time(&mut self) -> Result<(), Misfit> {
        let composed = self.composed.take().unwrap_or_default();
        if composed.is_lacking {
            return Ok(());
        }
        match composed.parts.time() {
            Some(time) => self.record.time = Some(time),
            None => return self.fail(composed.at, Expected::Time),
        }
        Ok(())
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
            Some(request) => request.bytes == b"PRI * HTTP/2.0",
            None => self
                .record
                .method
                .is_some_and(|method| method.bytes == b"PRI"),
        };
        is_preface && self.record.status == Some(100)
    }
}

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
fn digits(line: &[u8], from: usize) -> (Option<u64>, usize) {
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
        [] | [b'-'] => Some(None),
        _ => None,
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
