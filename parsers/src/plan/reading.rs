//! What has been read of a line, field by field, and what comes of it.

use super::values::{ISO_BYTES, duration, is_same, logged, number_before, status};
use super::{Carried, Fields, Plan, Take, Used};
use crate::error::{Expected, LineError};
use crate::format::{Count, TimeForm};
use crate::record::{Ignored, Line, Logged, Record};
use crate::time::{self, Parts};

/// What has been read of a line.
pub(super) struct Reading<'l, 'm> {
    pub(super) record: Record<'l>,
    both: Option<u64>,
    pub(super) request: Option<Logged<'l>>,
    /// Of a time that is put together from several fields.
    composed: Option<Composed>,
    carried: &'m mut Carried,
    /// What did not fit.
    pub(super) misfit: Option<LineError>,
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
    pub(super) fn fail<T>(&mut self, at: usize, expected: Expected) -> Result<T, Misfit> {
        self.misfit = Some(LineError { at, expected });
        Err(Misfit)
    }

    /// Checks that `literal` stands at `at`; its end. Most are a byte or two: looking at each in
    /// place takes a third of the time that a call of memcmp takes.
    #[inline(always)]
    pub(super) fn literal(
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
    pub(super) fn lacks(
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
    pub(super) fn bytes(&mut self, count: Count, number: Option<u64>) {
        match count {
            Count::In => self.record.bytes_in = number,
            Count::Out | Count::Body => self.record.bytes_out = number,
            Count::Both => self.both = number,
        }
    }

    /// Takes a time that ends where its shape does; its length.
    #[inline]
    pub(super) fn open_time(
        &mut self,
        take: &Take,
        line: &[u8],
        at: usize,
    ) -> Result<usize, Misfit> {
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
                let is_first = self.composed.is_none();
                let composed = self.composed.get_or_insert_default();
                composed.at = at;
                let last = &mut self.carried.pattern;
                let length = match used {
                    Used::No => pattern.read_next(rest, &mut unused, last),
                    _ if is_first => pattern.read_next(rest, &mut composed.parts, last),
                    _ => pattern.read(rest, &mut composed.parts),
                };
                return match length {
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
    pub(super) fn split_both(&mut self, plan: &Plan) {
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
