//! What the account is kept from, by name: the usual formats, read without asking of each field what
//! it is.

use super::reading::Reading;
use super::span::Span;
use super::values::{ISO_BYTES, logged, number_before, status};
use super::{Carried, Plan, Take, Used, scan};
use crate::error::{Expected, LineError};
use crate::format::{Count, TimeForm};
use crate::index::Places;
use crate::record::{Ignored, Line, Logged, Record};
use crate::text::Escape;
use crate::time;

/// Where in a line the fields stand that the account is kept from. A field that is not there has no
/// span.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    vhost: Option<(Span, Escape)>,
    user: Option<(Span, Escape)>,
    client: Option<Span>,
    time: Option<(Span, Form)>,
    status: Option<Span>,
    bytes_in: Option<Number>,
    bytes_out: Option<Number>,
    request: Option<(Span, Escape)>,
    method: Option<(Span, Escape)>,
    /// Counts of no use.
    counts: Box<[Span]>,
    /// Other fields of no use, which a line that fits has right all the same.
    checked: Box<[(Span, Take)]>,
}

#[derive(Debug, Clone, Copy)]
struct Number {
    span: Span,
    dash_is_zero: bool,
}

/// The forms of time that are read here.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// In brackets.
    Clf,
    EpochWithFraction,
    Iso8601,
}

impl Account {
    /// Of these fields; `None` where something is to be put together from several, or has a form
    /// that is seldom seen.
    pub(super) fn of(fields: &[(&Take, Span)]) -> Option<Self> {
        let mut account = Self::default();
        let (mut counts, mut checked) = (Vec::new(), Vec::new());
        for &(take, span) in fields {
            match take {
                Take::Vhost(escape) => account.vhost = Some((span, *escape)),
                Take::User { escape, .. } => account.user = Some((span, *escape)),
                Take::Client => account.client = Some(span),
                Take::Status => account.status = Some(span),
                Take::Request(escape) => account.request = Some((span, *escape)),
                Take::Method(escape) => account.method = Some((span, *escape)),
                Take::Path(_) => {}
                Take::Bytes {
                    count,
                    dash_is_zero,
                } => {
                    let number = Some(Number {
                        span,
                        dash_is_zero: *dash_is_zero,
                    });
                    match count {
                        Count::In => account.bytes_in = number,
                        Count::Out | Count::Body => account.bytes_out = number,
                        Count::Both => return None,
                    }
                }
                Take::Time {
                    form,
                    optional: false,
                    used: Used::Whole,
                } => {
                    let form = match form {
                        TimeForm::Clf { brackets: true } => Form::Clf,
                        TimeForm::EpochWithFraction => Form::EpochWithFraction,
                        TimeForm::Iso8601 => Form::Iso8601,
                        _ => return None,
                    };
                    account.time = Some((span, form));
                }
                Take::Time {
                    used: Used::Whole | Used::Part,
                    ..
                } => return None,
                Take::Skip => counts.push(span),
                Take::Duration { .. } | Take::Time { used: Used::No, .. } => {
                    checked.push((span, take.clone()));
                }
            }
        }
        account.counts = counts.into();
        account.checked = checked.into();
        Some(account)
    }

    /// Reads a line. Any error means that the walk is to say what is wrong with it.
    #[inline(always)]
    pub(super) fn read<'l>(
        &self,
        plan: &Plan,
        line: &'l [u8],
        places: &Places<'_>,
        carried: &mut Carried,
    ) -> Result<Line<'l>, LineError> {
        let time = match &self.time {
            Some((span, form)) => {
                let (start, end) = so(span.of(line, places))?;
                let field = &line[start..end];
                Some(match form {
                    Form::Clf => match field {
                        [b'[', inside @ .., b']'] => so(carried.clf.read(inside))?,
                        _ => return Err(FOR_THE_WALK),
                    },
                    Form::EpochWithFraction => so(time::epoch(field))?,
                    Form::Iso8601 => {
                        so((field.len() == ISO_BYTES).then_some(()))?;
                        so(time::iso8601(field))?
                    }
                })
            }
            None => None,
        };
        let status = match self.status {
            Some(span) => {
                let (start, end) = so(span.of(line, places))?;
                so(status(&line[start..end]))?
            }
            None => None,
        };
        let client = match self.client {
            Some(span) => {
                let (start, end) = so(span.of(line, places))?;
                Some(&line[start..end]).filter(|field| !matches!(*field, b"" | b"-"))
            }
            None => None,
        };
        for span in &self.counts {
            let (start, end) = so(span.of(line, places))?;
            let word = line.get(..end).and_then(<[u8]>::last_chunk);
            if word.is_none_or(|word| scan::trailing_number(*word, end - start).is_none()) {
                so(is_count(&line[start..end]).then_some(()))?;
            }
        }
        if !self.checked.is_empty() {
            so(self.check(plan, line, places, carried))?;
        }
        let bytes_in = match self.bytes_in {
            Some(field) => so(field.read(line, places))?,
            None => Some(0),
        };
        let bytes_out = match self.bytes_out {
            Some(field) => so(field.read(line, places))?,
            None => None,
        };
        let vhost = so(text(&self.vhost, line, places))?;
        let user = so(text(&self.user, line, places))?;
        // Nothing is ignored that does not fit.
        if plan.tells_http2 && status == Some(100) {
            let is = |field: &Option<(Span, Escape)>, bytes: &[u8]| {
                let field: Option<Logged<'_>> = text(field, line, places)?;
                Some(field?.bytes == bytes)
            };
            let is_preface = match self.request {
                Some(_) => is(&self.request, b"PRI * HTTP/2.0"),
                None => is(&self.method, b"PRI"),
            };
            if is_preface == Some(true) {
                return Ok(Line::Ignored(Ignored::Http2Connection));
            }
        }
        Ok(Line::Record(Record {
            vhost,
            user,
            client,
            time,
            bytes_in,
            bytes_out,
            status,
            duration_us: None,
            method: None,
            path: None,
        }))
    }

    /// Whether the fields of no use are what the format says.
    fn check(
        &self,
        plan: &Plan,
        line: &[u8],
        places: &Places<'_>,
        carried: &mut Carried,
    ) -> Option<()> {
        for (span, take) in &self.checked {
            let (start, end) = span.of(line, places)?;
            let mut reading = Reading::new(plan, carried);
            reading.take(take, line, start, end).ok()?;
        }
        Some(())
    }
}

/// Of a line that does not come out: nobody is told.
pub(super) const FOR_THE_WALK: LineError = LineError {
    at: 0,
    expected: Expected::End,
};

/// What is there, or the walk's business. A result is handed on as it stands, where an option
/// would have to be copied into one.
#[inline(always)]
pub(super) fn so<T>(option: Option<T>) -> Result<T, LineError> {
    option.ok_or(FOR_THE_WALK)
}

/// A text that the line has; `None` if it does not fit.
#[inline(always)]
fn text<'l>(
    field: &Option<(Span, Escape)>,
    line: &'l [u8],
    places: &Places<'_>,
) -> Option<Option<Logged<'l>>> {
    let Some((span, escape)) = field else {
        return Some(None);
    };
    let (start, end) = span.of(line, places)?;
    Some(logged(&line[start..end], *escape))
}

impl Number {
    /// The number that the line has; `None` if it does not fit.
    #[inline(always)]
    fn read(self, line: &[u8], places: &Places<'_>) -> Option<Option<u64>> {
        let (start, end) = self.span.of(line, places)?;
        let word = line.get(..end).and_then(<[u8]>::last_chunk);
        match word.and_then(|word| scan::trailing_number(*word, end - start)) {
            Some(number) => Some(Some(number)),
            None => seldom(line, start, end, self.dash_is_zero),
        }
    }
}

/// Digits and dashes.
#[inline(never)]
pub(super) fn is_count(field: &[u8]) -> bool {
    let is_count = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    field.iter().all(is_count)
}

/// A number that is none, or a long one; `None` if the walk is to say what is wrong with it.
#[inline(never)]
fn seldom(line: &[u8], start: usize, end: usize, dash_is_zero: bool) -> Option<Option<u64>> {
    match &line[start..end] {
        b"-" if dash_is_zero => Some(Some(0)),
        b"-" | b"" => Some(None),
        _ => number_before(line, start, end).ok().map(Some),
    }
}
