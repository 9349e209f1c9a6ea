//! Directives into a plan; a line and a plan into a record.
//!
//! A format is compiled once; each line is then one walk over its bytes, without allocating: field
//! after field (`walk`), by the places that an index found (`placed`), by keys (`json`), or
//! column after column (`columns`).
//!
//! The walk is unambiguous: for every line that the server writes, each field is found with exactly
//! the bytes that the server put there, whatever clients send. Compiling proves that from the set
//! of bytes that each directive can hold, and refuses formats for which there is no proof. A line
//! that does not fit to its last byte is an error, never a guess.

mod account;
mod alternatives;
mod carried;
mod columns;
mod compile;
mod enveloped;
mod explain;
mod fields;
mod json;
mod placed;
mod reading;
mod scan;
mod span;
mod url;
mod values;
mod walk;

use std::fmt;

pub use carried::Carried;
pub use explain::Explained;
use fields::{
    Alternative, Alternatives, Anchor, Behind, End, Fields, Reads, Region, Start, Step, Take, Used,
};

use crate::error::{Expected, FormatError, LineError};
use crate::format::{Format, Server};
use crate::index::Text;
use crate::record::{Line, Logged};
use crate::syslog::Envelope;
use crate::text::Escape;

/// How exact a format can be. In rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// Nothing can be said: clients can write whole lines of their own (nginx `escape=none`).
    Forgeable,
    /// Bytes of bodies alone; heads are missing.
    BodyOnly,
    /// What was sent, on the wire; nothing of what was received.
    OutOnly,
    /// Both directions, on the wire.
    Exact,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forgeable => "forgeable",
            Self::BodyOnly => "body only",
            Self::OutOnly => "out only",
            Self::Exact => "exact",
        })
    }
}

/// What a server's user field can be trusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Users {
    /// The server logs a name on a 2xx or 304 only when it checked it.
    Verified,
    /// The name is whatever the client sent.
    Claimed,
}

/// Something that the operator should know about a format that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// nginx `escape=none`: a newline in a user name makes a line of the client's own.
    Forgeable,
    /// HAProxy writes an expression as it is: a newline in a TLS server name makes a line of the client's
    /// own.
    ForgeableExpression,
    /// lighttpd without request, method or status: the lines of whole HTTP/2 connections cannot be
    /// told from requests, and their bytes count twice.
    Http2CountedTwice,
    /// The preset's numbers are bodies in some servers and wire bytes in others; the lesser is
    /// claimed.
    LesserGrade,
    /// The time has no zone; it is taken for the zone that the caller knows.
    NoZone,
    /// What the columns mean is said in the log.
    ColumnsInLog,
    /// The log's `#Fields` line lacks a column without which no line counts.
    WithoutColumn(&'static str),
    /// The site is named by IIS's own name of it alone.
    SiteName,
    /// This directive is not read, since its end cannot be told from what follows it.
    NotRead(String),
    /// HAProxy: lines with a captured cookie are unparsed, since a cookie can look like what is behind it.
    CookiesNotRead,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forgeable => f.write_str(
                "escape=none lets clients write whole lines into this log, so its numbers have no grade; use escape=default or escape=json",
            ),
            Self::ForgeableExpression => f.write_str(
                "clients can put newlines into an expression of this format (%[ssl_fc_sni], or one that decodes) and so write whole lines into this log, so its numbers have no grade; leave it out, or put json(ascii) behind it: %[ssl_fc_sni,json(ascii)]",
            ),
            Self::CookiesNotRead => f.write_str(
                "lines with a cookie that HAProxy captured are unparsed: where the cookie ends cannot be told; leave out capture cookie, or %CC and %CS",
            ),
            Self::Http2CountedTwice => f.write_str(
                "lighttpd writes one more line for each HTTP/2 connection, with the bytes of all its requests; without %r (or %m) and %s they cannot be told apart and count twice",
            ),
            Self::LesserGrade => f.write_str(
                "Debian's Apache logs wire bytes (%O) here, upstream's and nginx bodies (%b); the lines look alike, so the lesser grade is assumed",
            ),
            Self::NoZone => {
                f.write_str("the times have no zone; they are taken for the configured time zone")
            }
            Self::ColumnsInLog => f.write_str(
                "the grade is that of the log's own #Fields line: exact with sc-bytes and cs-bytes, out only without cs-bytes; without sc-bytes, date or time no line counts",
            ),
            Self::WithoutColumn(name) => write!(
                f,
                "the #Fields line has no {name}, so no line behind it can be charged to anybody; in IIS Manager: Logging, Select Fields, {}",
                match *name {
                    "date" => "Date (date)",
                    "time" => "Time (time)",
                    _ => "Bytes Sent (sc-bytes), and Bytes Received (cs-bytes)",
                }
            ),
            Self::SiteName => f.write_str(
                "the site is known by IIS's own name of it (s-sitename) alone; switch on Host (cs-host), or name the site with --vhost NAME (vhost = \"NAME\" in the config)",
            ),
            Self::NotRead(written) => {
                write!(f, "{written} is not read: where it ends cannot be told for certain")
            }
        }
    }
}

/// What of its envelope names the site, for a format that does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum EnvelopeVhost {
    /// Nothing.
    #[default]
    None,
    /// The host.
    Host,
    /// The program.
    Tag,
}

/// A compiled format.
#[derive(Debug, Clone)]
pub struct Plan {
    format: Format,
    body: Body,
    /// lighttpd formats that show HTTP/2's connection lines.
    tells_http2: bool,
    /// What is read where the format says nothing.
    reads: Reads,
    notes: Vec<Note>,
    /// What names the site where the format does not.
    envelope_vhost: EnvelopeVhost,
}

/// How what the format says is found in a line.
#[derive(Debug, Clone)]
// There are few plans, and each line asks: what it needs is not put behind a pointer.
#[expect(clippy::large_enum_variant)]
enum Body {
    /// Field after field, in the order of the format.
    Fields(Fields),
    /// Column after column, as the log names them.
    Columns(columns::Columns),
    /// By their keys, in one JSON object.
    Json(json::Keys),
    /// In one of several ways.
    Alternatives(Alternatives),
}

impl Plan {
    /// Compiles a format.
    ///
    /// # Errors
    /// When the account cannot do without something that the format lacks, or when clients could
    /// choose bytes that make a line mean something else. The span is in the format's text.
    pub fn compile(format: &Format) -> Result<Self, FormatError> {
        compile::compile(format)
    }

    /// Reads one line (without its newline; a final CR is not part of the line).
    ///
    /// # Errors
    /// With the first byte that does not fit the format.
    #[inline]
    pub fn read<'l>(&self, line: &'l [u8]) -> Result<Line<'l>, LineError> {
        match self.format.envelope {
            None => self.read_text(line),
            Some(envelope) => enveloped::read(self, envelope, line, |text| self.read_text(text)),
        }
    }

    #[inline]
    fn read_text<'l>(&self, text: &'l [u8]) -> Result<Line<'l>, LineError> {
        match &self.body {
            Body::Fields(fields) if self.needs_finish() => {
                self.finish(text, walk::read(self, fields, text))
            }
            Body::Fields(fields) => walk::read(self, fields, text),
            Body::Columns(columns) => columns.read(text, &mut columns::Known::default()),
            Body::Json(keys) => json::read(keys, text, &mut Carried::default()),
            Body::Alternatives(several) => {
                alternatives::read(several, text, |fields| walk::read(self, fields, text))
            }
        }
    }

    /// As [`Plan::read`], for one line after another: method and path are left out where they stand
    /// in a request line, and `carried` is what the lines before left.
    ///
    /// # Errors
    /// With the first byte that does not fit the format.
    #[inline(always)]
    pub fn read_for_account<'l>(
        &self,
        line: impl Into<Text<'l>>,
        carried: &mut Carried,
    ) -> Result<Line<'l>, LineError> {
        let line = line.into();
        match self.format.envelope {
            None => self.read_text_for_account(line, carried),
            Some(envelope) => enveloped::read(self, envelope, line.bytes(), |text| {
                self.read_text_for_account(text.into(), carried)
            }),
        }
    }

    #[inline(always)]
    fn read_text_for_account<'l>(
        &self,
        text: Text<'l>,
        carried: &mut Carried,
    ) -> Result<Line<'l>, LineError> {
        match &self.body {
            Body::Fields(fields) if self.needs_finish() => {
                let read = self.read_fields_for_account(fields, text, carried);
                self.finish(text.bytes(), read)
            }
            Body::Fields(fields) => self.read_fields_for_account(fields, text, carried),
            Body::Columns(columns) => columns.read(text.bytes(), &mut carried.known),
            Body::Json(keys) => json::read(keys, text.bytes(), carried),
            Body::Alternatives(several) => alternatives::read(several, text.bytes(), |fields| {
                self.read_fields_for_account(fields, text, carried)
            }),
        }
    }

    #[inline(always)]
    fn read_fields_for_account<'l>(
        &self,
        fields: &Fields,
        text: Text<'l>,
        carried: &mut Carried,
    ) -> Result<Line<'l>, LineError> {
        if let Some(placed) = &fields.placed {
            let read = placed.read(self, fields, text, carried);
            if read.is_ok() {
                return read;
            }
        }
        walk::read_for_account(self, fields, text.bytes(), carried)
    }

    /// Whether [`Plan::read_for_account`] is faster where the chunk of a line has an index.
    #[must_use]
    pub fn wants_index(&self) -> bool {
        match &self.body {
            Body::Fields(fields) => self.format.envelope.is_none() && fields.placed.is_some(),
            Body::Alternatives(several) => {
                let mut fields = several.layouts.iter().map(|one| &one.fields);
                self.format.envelope.is_none() && fields.any(|fields| fields.placed.is_some())
            }
            Body::Columns(_) | Body::Json(_) => false,
        }
    }

    /// Whether something is left to do when the walk is done.
    #[inline(always)]
    fn needs_finish(&self) -> bool {
        self.reads.vhost_in_request || self.format.server == Server::Squid
    }

    /// Leaves the host of a request line that was taken for the vhost, and nothing of a line that
    /// Squid cut.
    #[inline(never)]
    fn finish<'l>(
        &self,
        text: &[u8],
        read: Result<Line<'l>, LineError>,
    ) -> Result<Line<'l>, LineError> {
        let Ok(Line::Record(record)) = read else {
            return read;
        };
        // Squid's built-in formats cut a line at 8 KiB (a long URL does it), and put a NUL where the
        // newline was: the next line stands behind it. No value of Squid's can hold a NUL.
        if self.format.server == Server::Squid
            && let Some(at) = memchr::memchr(0, text)
        {
            return Err(LineError {
                at,
                expected: Expected::End,
            });
        }
        // With log_mime_hdrs on, headers stand in brackets at the end of the line, and would be taken
        // for the end of the user's name, which has its own brackets as %5b and %5d.
        if self.format.server == Server::Squid
            && let Some(Logged { bytes, escape }) = record.user
            && escape == Escape::PercentAndBackslash
            && let Some(index) = memchr::memchr2(b'[', b']', bytes)
        {
            return Err(LineError {
                at: url::offset(text, bytes) + index,
                expected: Expected::NoBracket,
            });
        }
        if self.reads.vhost_in_request {
            return url::with_host(text, record).map(Line::Record);
        }
        Ok(Line::Record(record))
    }

    /// The plan for lines that stand in an envelope. It is taken off each; offsets of errors count
    /// from its start all the same.
    #[must_use]
    pub fn within(mut self, envelope: Envelope) -> Self {
        self.format.envelope = Some(envelope);
        self
    }

    /// Takes the site from the envelope, unless the format names it.
    #[must_use]
    pub fn with_vhost_from(mut self, vhost: EnvelopeVhost) -> Self {
        self.envelope_vhost = vhost;
        self
    }

    /// What the lines stand in.
    #[must_use]
    pub fn envelope(&self) -> Option<Envelope> {
        self.format.envelope
    }

    /// How exact the numbers can be.
    #[must_use]
    pub fn grade(&self) -> Grade {
        let Reads {
            wire_in,
            wire_out,
            both,
            ..
        } = self.reads;
        if self.format.forgeable {
            Grade::Forgeable
        } else if both || (wire_in && wire_out) {
            Grade::Exact
        } else if wire_out {
            Grade::OutOnly
        } else {
            Grade::BodyOnly
        }
    }

    /// Whose format it is.
    #[must_use]
    pub fn server(&self) -> Server {
        self.format.server
    }

    /// Whether the format names the vhost, or its envelope does.
    #[must_use]
    pub fn has_vhost(&self) -> bool {
        let by_envelope =
            || self.format.envelope.is_some() && self.envelope_vhost != EnvelopeVhost::None;
        self.reads.vhost || by_envelope()
    }

    /// Whether the log names its columns itself: what is [`Carried`] to a line must then be what all
    /// the lines before it left, from the log's beginning on.
    #[must_use]
    pub fn is_columnar(&self) -> bool {
        matches!(self.body, Body::Columns(_))
    }

    /// Whether a line names the vhost with certainty, so that no other name can stand for it. For a
    /// log that names its columns that is the business of the last `#Fields` line.
    #[must_use]
    #[inline]
    pub fn names_vhost(&self, carried: &Carried) -> bool {
        match &self.body {
            Body::Fields(_) | Body::Alternatives(_) | Body::Json(_) => self.has_vhost(),
            Body::Columns(columns) => columns.name_vhost(&carried.known),
        }
    }

    /// The column without which no line can be charged (`date`, `time` or `sc-bytes`), where the last
    /// `#Fields` line names none.
    #[must_use]
    pub fn missing_column(&self, carried: &Carried) -> Option<&'static str> {
        match &self.body {
            Body::Fields(_) | Body::Alternatives(_) | Body::Json(_) => None,
            Body::Columns(columns) => columns.missing(&carried.known),
        }
    }

    /// The plan for what stands behind this `#Fields` line; `None`: it is none, or the log does not
    /// name its columns.
    #[must_use]
    pub fn with_columns(&self, line: &[u8]) -> Option<Self> {
        let header = crate::format::w3c::read_header(line).ok()?;
        self.is_columnar()
            .then(|| columns::with_header(&self.format, Some(&header)))
    }

    /// Whether the format names the user.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.reads.user
    }

    /// Whether the format gives the status.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.reads.status
    }

    /// Whether lines of whole HTTP/2 connections can be told from requests. Only lighttpd writes
    /// such lines; for other servers this is true.
    #[must_use]
    pub fn can_tell_http2(&self) -> bool {
        self.format.server != Server::Lighttpd || self.tells_http2
    }

    /// What the server's user field can be trusted for, where the operator does not say.
    #[must_use]
    pub fn users_default(&self) -> Users {
        match self.format.server {
            Server::Apache | Server::Lighttpd | Server::Caddy | Server::W3c => Users::Verified,
            Server::Nginx
            | Server::Either
            | Server::Haproxy
            | Server::Traefik
            | Server::Squid
            | Server::Varnish
            | Server::Cloudfront
            | Server::Any => Users::Claimed,
        }
    }

    /// What the operator should know about this format.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    /// What each directive means to the account.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        explain::explain(self)
    }

    /// The line to paste into the server's config for a better grade, where there is one.
    #[must_use]
    pub fn better(&self) -> Option<String> {
        explain::better(self)
    }

    /// An error in words, with the text that the format wants: `byte 57: expected "\" " after %r`.
    #[must_use]
    pub fn describe(&self, error: &LineError) -> String {
        let Expected::Literal(after) = error.expected else {
            return match json::remedy(self.format.server, error) {
                Some(remedy) => format!("{error}; {remedy}"),
                None => error.to_string(),
            };
        };
        let literals = self.body.literals_after(after.checked_sub(1));
        let [first, others @ ..] = literals.as_slice() else {
            return error.to_string();
        };
        let shown = |literal: &[u8]| format!("{:?}", String::from_utf8_lossy(literal));
        let mut literal = shown(first);
        for other in others {
            literal = format!("{literal} or {}", shown(other));
        }
        match after
            .checked_sub(1)
            .and_then(|index| self.format.directives().nth(usize::from(index)))
        {
            Some(directive) => {
                format!(
                    "byte {}: expected {literal} after {}",
                    error.at, directive.written
                )
            }
            None => format!(
                "byte {}: expected {literal} at the start of the {}",
                error.at,
                match self.format.envelope {
                    None => "line",
                    Some(_) => "message",
                }
            ),
        }
    }

    /// The format that was compiled.
    #[must_use]
    pub fn format(&self) -> &Format {
        &self.format
    }
}

#[cfg(test)]
mod tests;
