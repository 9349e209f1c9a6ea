//! Lines whose columns a `#Fields` line of the log names.
//!
//! A header is compiled once, where its line is met; each line behind it is then one pass over its
//! separators, without allocating. A line must have exactly as many columns as the header names, or
//! it is unparsed: a column less, and every number behind it would be another's.
//!
//! The W3C's draft quotes text that holds separators; IIS does not quote, and clients can put quotes
//! into its lines. So a line with as many separators as columns is taken as it is, which all of IIS's
//! are, and quotes are looked at only in lines with more.

use std::sync::Arc;

use memchr::{memchr, memchr_iter, memmem};

use super::{Body, Explained, Note, Plan, Reads};
use crate::error::{Expected, FormatError, LineError};
use crate::format::w3c::{FIELDS, Header, MAX_HEADER_BYTES, Means, SITE_NAME_RANK, read_header};
use crate::format::{Format, Server};
use crate::framing::MAX_LINE_BYTES;
use crate::record::{Ignored, Line, Logged, Record};
use crate::text::Escape;
use crate::time::{self, Time};

/// How lines are read whose columns the log names.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Tabs, percent-encoding and seconds, instead of spaces, nothing and milliseconds.
    is_cloudfront: bool,
    /// In force until the log has a header.
    initial: Option<Arc<Compiled>>,
}

/// What is known of the columns at some place of a log.
#[derive(Debug, Clone, Default)]
pub(super) enum Known {
    /// No header yet.
    #[default]
    Nothing,
    /// What the last one says.
    Header(Arc<Compiled>),
    /// The last one could not be read, or was longer than any line that is.
    Unreadable,
}

/// A header, and how the lines behind it are read.
#[derive(Debug)]
pub(super) struct Compiled {
    header: Header,
    w3c: Walk,
    cloudfront: Walk,
}

/// One pass over a line.
#[derive(Debug)]
struct Walk {
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
    has_site_name: bool,
    has_vhost: bool,
}

impl Known {
    pub(super) fn header(&self) -> Option<&Header> {
        match self {
            Self::Header(compiled) => Some(&compiled.header),
            Self::Nothing | Self::Unreadable => None,
        }
    }

    /// Takes note of a line; `Some`: it is a header, and why it cannot be read.
    pub(super) fn note(&mut self, line: &[u8]) -> Option<Result<(), LineError>> {
        if !line.starts_with(FIELDS) {
            return None;
        }
        // IIS writes the same one whenever it starts.
        let is_same = |known: &Header| known.line.as_bytes() == line.trim_ascii_end();
        if self.header().is_some_and(is_same) {
            return Some(Ok(()));
        }
        Some(match read_header(line) {
            Ok(header) => {
                *self = Self::Header(Arc::new(Compiled::of(header)));
                Ok(())
            }
            Err(fault) => {
                *self = Self::Unreadable;
                Err(LineError {
                    at: fault.span.start,
                    expected: Expected::Header(fault.message),
                })
            }
        })
    }

    pub(super) fn pass(&mut self, lines: &[u8]) {
        // The last header is the one that counts, but a block holds few, and one that is too long is
        // seen most simply from the front.
        let mut at = match lines.starts_with(FIELDS) {
            true => Some(0),
            false => next_header(lines, 0),
        };
        while let Some(start) = at {
            let rest = &lines[start..];
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            if end > MAX_LINE_BYTES {
                *self = Self::Unreadable;
            } else {
                let _ = self.note(&rest[..end]);
            }
            at = next_header(lines, start + end);
        }
    }
}

/// The next line behind `from` that begins like a header.
fn next_header(lines: &[u8], from: usize) -> Option<usize> {
    const NEEDLE: &[u8] = b"\n#Fields:";
    let rest = lines.get(from..)?;
    memmem::find(rest, NEEDLE).map(|found| from + found + 1)
}

impl Compiled {
    fn of(header: Header) -> Self {
        Self {
            w3c: Walk::of(&header, false),
            cloudfront: Walk::of(&header, true),
            header,
        }
    }
}

impl Walk {
    fn of(header: &Header, is_cloudfront: bool) -> Self {
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

    fn read<'l>(&self, line: &'l [u8]) -> Result<Record<'l>, LineError> {
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
fn instant(date: &[u8], time: &[u8]) -> Option<i64> {
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

impl Columns {
    /// Reads one line. `known`: what the lines before it say of the columns.
    pub(super) fn read<'l>(
        &self,
        line: &'l [u8],
        known: &mut Known,
    ) -> Result<Line<'l>, LineError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            Some(b'#') => {
                return match known.note(line) {
                    Some(Err(error)) => Err(error),
                    Some(Ok(())) | None => Ok(Line::Ignored(Ignored::Comment)),
                };
            }
            Some(byte) if !byte.is_ascii_whitespace() => {}
            _ if line.iter().all(u8::is_ascii_whitespace) => {
                return Ok(Line::Ignored(Ignored::Blank));
            }
            _ => {}
        }
        match self.walk(known) {
            Some(walk) => walk.read(line).map(Line::Record),
            None => Err(LineError {
                at: 0,
                expected: Expected::Fields,
            }),
        }
    }

    fn walk<'k>(&'k self, known: &'k Known) -> Option<&'k Walk> {
        let compiled = match known {
            Known::Header(compiled) => compiled,
            Known::Nothing => self.initial.as_ref()?,
            Known::Unreadable => return None,
        };
        Some(match self.is_cloudfront {
            true => &compiled.cloudfront,
            false => &compiled.w3c,
        })
    }

    /// Whether the columns name the site, and by a host's name.
    pub(super) fn name_vhost(&self, known: &Known) -> bool {
        let walk = self.walk(known);
        walk.is_some_and(|walk| walk.has_vhost && !walk.has_site_name)
    }

    /// What no line here can be charged without, and the header in force lacks.
    pub(super) fn missing(&self, known: &Known) -> Option<&'static str> {
        match known {
            Known::Header(compiled) => missing(&compiled.header),
            // The one that was given is complete.
            Known::Nothing | Known::Unreadable => None,
        }
    }

    pub(super) fn header(&self) -> Option<&Header> {
        self.initial.as_ref().map(|compiled| &compiled.header)
    }
}

pub(super) fn compile(format: &Format, header: Option<&Header>) -> Result<Plan, FormatError> {
    if format.envelope.is_some() {
        return Err(FormatError {
            span: format.span.clone(),
            message: "a log that names its own columns cannot be read from syslog: a message does not say under which #Fields line it stands".into(),
            help: Some("have the server write to a file, and follow that".into()),
        });
    }
    let plan = with_header(format, header);
    if let Some(header) = header
        && let Some(missing) = missing(header)
    {
        return Err(FormatError {
            span: format.span.clone(),
            message: format!("the columns have no {missing}"),
            help: Some("date, time and sc-bytes are needed, or no line can be counted".into()),
        });
    }
    Ok(plan)
}

/// The plan for a log with this header so far, whatever it lacks.
pub(super) fn with_header(format: &Format, header: Option<&Header>) -> Plan {
    let has = |means| header.is_some_and(|header| header.has(means));
    let vhost = header.and_then(Header::vhost);
    Plan {
        format: format.clone(),
        body: Body::Columns(Columns {
            is_cloudfront: format.server == Server::Cloudfront,
            initial: header.map(|header| Arc::new(Compiled::of(header.clone()))),
        }),
        tells_http2: false,
        reads: Reads {
            vhost: vhost.is_some(),
            user: has(Means::User),
            status: has(Means::Status),
            wire_in: has(Means::In),
            // No line counts without it.
            wire_out: header.is_none() || has(Means::Out),
            both: false,
        },
        notes: notes(header),
        envelope_vhost: super::EnvelopeVhost::None,
    }
}

/// What no line can be charged without, and the header lacks.
fn missing(header: &Header) -> Option<&'static str> {
    let needed = [
        ("date", Means::Date),
        ("time", Means::Time),
        ("sc-bytes", Means::Out),
    ];
    let mut missing = needed.iter().filter(|(_, means)| !header.has(*means));
    missing.next().map(|(name, _)| *name)
}

fn notes(header: Option<&Header>) -> Vec<Note> {
    let Some(header) = header else {
        return vec![Note::ColumnsInLog];
    };
    let mut notes = Vec::new();
    notes.extend(missing(header).map(Note::WithoutColumn));
    if header
        .vhost()
        .is_some_and(|(_, rank)| rank == SITE_NAME_RANK)
    {
        notes.push(Note::SiteName);
    }
    notes
}

/// What each column of the header means to the account; spans are in the header's line.
pub(super) fn explain(plan: &Plan, columns: &Columns) -> Vec<Explained> {
    let Some(header) = columns.header() else {
        return Vec::new();
    };
    let vhost = header.vhost().map(|(index, _)| index);
    let explained = header.columns.iter().enumerate().map(|(index, column)| {
        let is_taken = !matches!(column.means, Means::Vhost { .. }) || vhost == Some(index);
        let means = if is_taken {
            column.means
        } else {
            Means::Nothing
        };
        Explained {
            written: header.name(column).to_owned(),
            span: column.span.clone(),
            meaning: meaning(means),
            footnote: footnote(plan.format.server, means),
        }
    });
    explained.collect()
}

fn meaning(means: Means) -> &'static str {
    match means {
        Means::Nothing => "skipped",
        Means::Date | Means::Time => "a part of the time",
        Means::In => "bytes received, on the wire",
        Means::Out => "bytes sent, on the wire",
        Means::Vhost { .. } => "the vhost",
        Means::User => "the user",
        Means::Client => "the client",
        Means::Status => "the status",
        Means::Duration => "the duration",
        Means::Method => "the method",
        Means::Path => "the path",
    }
}

/// What the vendors' documentation says: neither server could be measured.
fn footnote(server: Server, means: Means) -> Option<&'static str> {
    Some(match (server, means) {
        (_, Means::Date | Means::Time) => "UTC, at the end of the request",
        (Server::Cloudfront, Means::Out) => {
            "to the viewer, heads included, as documented; not measured here"
        }
        (Server::Cloudfront, Means::In) => {
            "from the viewer, heads included, as documented; not measured here"
        }
        (_, Means::In | Means::Out) => "heads included, as documented; not measured here",
        (_, Means::Vhost { rank: 0 }) => "as the viewer sent it",
        (
            _,
            Means::Vhost {
                rank: SITE_NAME_RANK,
            },
        ) => "IIS's own name of the site; a name that you set goes before it, and so would cs-host",
        (Server::Cloudfront, Means::Vhost { .. }) => "the distribution's own domain name",
        (_, Means::Vhost { .. }) => "as the client sent it",
        (Server::W3c, Means::User) => "checked by the server; spaces in it are written as +",
        _ => return None,
    })
}

/// What to switch on for a better grade.
pub(super) fn better(plan: &Plan, columns: &Columns) -> Option<String> {
    match (plan.format.server, columns.header()) {
        (Server::Cloudfront, None) => None,
        (Server::Cloudfront, Some(_)) => Some(CLOUDFRONT.to_owned()),
        _ => Some(IIS.to_owned()),
    }
}

const IIS: &str = r#"<logFile logFormat="W3C" logExtFileFlags="Date, Time, ClientIP, UserName, SiteName, Method, UriStem, UriQuery, HttpStatus, BytesSent, BytesRecv, TimeTaken, ServerPort, UserAgent, Host" />"#;
const CLOUDFRONT: &str = "date, time, sc-bytes, cs-bytes, c-ip, x-host-header, cs-method, cs-uri-stem, sc-status, time-taken";

// A header that is read is never one that framing cuts.
const _: () = assert!(MAX_HEADER_BYTES < MAX_LINE_BYTES);

#[cfg(test)]
mod tests;
