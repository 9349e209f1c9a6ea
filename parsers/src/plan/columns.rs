//! Lines whose columns a `#Fields` line of the log names.
//!
//! A header is compiled once, where its line is met; each line behind it is then one pass over its
//! separators, without allocating. A line must have exactly as many columns as the header names, or
//! it is unparsed: a column less, and every number behind it would be another's.

use std::sync::Arc;

use memchr::{memchr, memmem};

mod line;
mod told;

pub(super) use told::{better, explain};

use line::Walk;
use told::{missing, notes};

use super::{Body, Plan, Reads};
use crate::error::{Expected, FormatError, LineError};
use crate::format::w3c::{FIELDS, Header, MAX_HEADER_BYTES, Means, read_header};
use crate::format::{Format, Server};
use crate::framing::MAX_LINE_BYTES;
use crate::record::{Ignored, Line};

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
            vhost_in_request: false,
            request: false,
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

// A header that is read is never one that framing cuts.
const _: () = assert!(MAX_HEADER_BYTES < MAX_LINE_BYTES);

#[cfg(test)]
mod tests;
