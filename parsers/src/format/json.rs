//! Which keys of a JSON line carry which meaning.
//!
//! `json:time=ts,out=bytes_sent,vhost=request.host` names a key for each meaning. A dot leads into
//! an object, `|` stands between keys of which the first that a line has a value for is taken, and a
//! key with odd characters stands in double quotes. `caddy` and `traefik` are such formats, with
//! what is known about these servers; `json` alone tries the keys that are usual.

use std::ops::Range;

use super::quoting::error;
use super::{Format, Layout, Server};
use crate::error::FormatError;
use crate::time::{Parts, Pattern, Time};

/// A format of JSON lines: each is one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json {
    /// What is read, in the operator's order.
    pub fields: Vec<Field>,
    /// Which of the lines are about a request.
    pub requests: Requests,
}

/// A meaning and the keys that carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What the value says.
    pub means: Means,
    /// The keys, the preferred one first: each a path of keys from the line's object inwards.
    pub paths: Vec<Vec<String>>,
    /// Where it stands in what the operator wrote.
    pub span: Range<usize>,
    /// The field, as written.
    pub written: String,
}

/// What a value says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// The time.
    Time(Clock),
    /// Bytes received, on the wire.
    In,
    /// Bytes sent, on the wire.
    Out,
    /// Bytes received, bodies alone. A line without them received none.
    BodyIn,
    /// Bytes sent, bodies alone.
    Body,
    /// The site.
    Vhost,
    /// The user.
    User,
    /// The client's address.
    Client,
    /// The status.
    Status,
    /// How long the request took.
    Duration(Unit),
    /// The method.
    Method,
    /// The path with its query.
    Path,
}

/// How a time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clock {
    /// As a number since 1970, whose unit its size tells; or as text that begins
    /// `2026-11-22T08:23:11`, with a space or slashes in it or not, or as in the common log format.
    Told {
        /// Whether a text without a zone is in UTC; else it is in a zone that the caller knows.
        utc: bool,
    },
    /// A number of such units since 1970.
    Since1970(Unit),
    /// strftime's.
    Pattern(Pattern),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Millis,
    /// Millionths of a second.
    Micros,
    /// Thousand-millionths of a second.
    Nanos,
}

/// Which lines are about a request; the others are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// All.
    All,
    /// Those that Caddy's `logger` calls `http.log.access`; without that key those with the `msg`
    /// "handled request"; without either those with a `request`. Caddy writes no others.
    CaddyAccess,
    /// Those with any of the keys but the time's. Traefik's others have a `level` and a
    /// time.
    AnyKey,
}

/// Stands before the keys.
const PREFIX: &str = "json:";

/// Caddy, by its `json` encoder. Its times without a zone are in UTC.
const CADDY: &str = "json:time:utc=ts, body=size, body_in=bytes_read, vhost=request.host, user=user_id, status=status, client=request.client_ip|request.remote_ip, duration=duration, method=request.method, path=request.uri";

/// Traefik, by `format: json`.
const TRAEFIK: &str = "json:time=StartUTC|StartLocal|time, body=DownstreamContentSize, body_in=RequestContentSize, vhost=RequestHost|RequestAddr, user=ClientUsername, status=DownstreamStatus, client=ClientHost, duration:ns=Duration, method=RequestMethod, path=RequestPath";

/// Names that servers and their operators use. Which of them count heads cannot be told, so the
/// lower grade is claimed.
const USUAL: &str = "json:time=time|timestamp|@timestamp|ts|time_iso8601|time_local|msec, body=bytes_sent|http.response.bytes|bytes_out|out|sent|body_bytes_sent|http.response.body.bytes|response_size|size|bytes, body_in=request_length|http.request.bytes|bytes_received|bytes_in|in|received|http.request.body.bytes|request_size|bytes_read, vhost=vhost|url.domain|http_host|server_name|request.host|host, user=remote_user|user_id|user.name|user|username, status=status|http.response.status_code|status_code|response_code, client=remote_addr|client.ip|client_ip|source.ip|request.client_ip|request.remote_ip|remote_ip|client, method=method|request_method|http.request.method|request.method, path=request_uri|uri|url.original|url.path|path|request.uri";

/// A preset by its name.
pub(super) fn preset(name: &str) -> Option<Format> {
    let (text, server, requests) = match name {
        "caddy" => (CADDY, Server::Caddy, Requests::CaddyAccess),
        "traefik" => (TRAEFIK, Server::Traefik, Requests::AnyKey),
        "json" => (USUAL, Server::Any, Requests::All),
        _ => return None,
    };
    let keys = text.strip_prefix(PREFIX)?;
    let mut format = parse(keys.as_bytes(), PREFIX.len()).ok()?;
    format.text = text.to_owned();
    format.server = server;
    if let Layout::Json(json) = &mut format.layout {
        json.requests = requests;
    }
    Some(format)
}

/// Parses what stands behind `json:`, `start` bytes into what the operator wrote.
pub(super) fn parse(text: &[u8], start: usize) -> Result<Format, FormatError> {
    let mut cursor = Cursor { text, at: 0, start };
    let mut fields: Vec<Field> = Vec::new();
    loop {
        let field = cursor.field()?;
        let is_same = |other: &&Field| {
            std::mem::discriminant(&other.means) == std::mem::discriminant(&field.means)
        };
        if let Some(other) = fields.iter().find(is_same) {
            return Err(error(
                field.span,
                "this meaning has its keys already",
                format!("write the keys into {}, with | between them", other.written),
            ));
        }
        fields.push(field);
        cursor.space();
        match cursor.peek() {
            None => break,
            Some(b',') => cursor.at += 1,
            Some(_) => {
                return Err(cursor.error_here(
                    "expected a comma or the end",
                    "put a comma between two meanings, | between two keys, and double quotes around a key with odd characters",
                ));
            }
        }
    }
    Ok(Format {
        server: Server::Any,
        layout: Layout::Json(Json {
            fields,
            requests: Requests::All,
        }),
        preset: None,
        forgeable: false,
        envelope: None,
        text: String::new(),
        span: start..start + text.len(),
    })
}

const MEANINGS: &str = "time, out (bytes sent, on the wire) or body (bodies alone), in or body_in, vhost, user, client, status, duration, method, path";

struct Cursor<'t> {
    text: &'t [u8],
    at: usize,
    /// Where the text starts in what the operator wrote.
    start: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn span(&self, from: usize) -> Range<usize> {
        self.start + from..self.start + self.at
    }

    fn written(&self, from: usize) -> String {
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
    }

    fn error_here(&self, message: &str, help: &str) -> FormatError {
        let at = self.start + self.at;
        error(
            at..at + usize::from(self.at < self.text.len()),
            message,
            help,
        )
    }

    /// Bytes that need no quotes: of a meaning, a form or a key.
    fn bare(&mut self) -> String {
        let from = self.at;
        while let Some(byte) = self.peek() {
            if byte.is_ascii_whitespace() || matches!(byte, b',' | b'=' | b'|' | b'.' | b':' | b'"')
            {
                break;
            }
            self.at += 1;
        }
        self.written(from)
    }

    /// Text in double quotes, in which a backslash hides a quote or a backslash; or bare.
    fn text(&mut self) -> Result<String, FormatError> {
        if self.peek() != Some(b'"') {
            return Ok(self.bare());
        }
        let from = self.at;
        let mut text = Vec::new();
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match (byte, self.peek()) {
                (b'"', _) => return Ok(String::from_utf8_lossy(&text).into_owned()),
                (b'\\', Some(hidden @ (b'"' | b'\\'))) => {
                    text.push(hidden);
                    self.at += 1;
                }
                _ => text.push(byte),
            }
        }
        Err(error(
            self.span(from),
            "the quote is not closed",
            "put a double quote behind the key",
        ))
    }

    /// `time:ms=ts|"odd key".at`.
    fn field(&mut self) -> Result<Field, FormatError> {
        self.space();
        let from = self.at;
        let name = self.bare();
        let name_span = self.span(from);
        let mut form = None;
        if self.peek() == Some(b':') {
            self.at += 1;
            let form_from = self.at;
            let text = self.text()?;
            form = Some((text, self.span(form_from)));
        }
        let means = means(&name, name_span, form)?;
        self.space();
        if self.peek() != Some(b'=') {
            return Err(self.error_here(
                "expected = and a key",
                &format!("write it so: {name}=key, or {name}=object.key"),
            ));
        }
        self.at += 1;
        let mut paths = Vec::new();
        loop {
            self.space();
            paths.push(self.path()?);
            let end = self.at;
            self.space();
            if self.peek() != Some(b'|') {
                self.at = end;
                break;
            }
            self.at += 1;
        }
        Ok(Field {
            means,
            paths,
            span: self.span(from),
            written: self.written(from),
        })
    }

    fn path(&mut self) -> Result<Vec<String>, FormatError> {
        let mut keys = Vec::new();
        loop {
            let from = self.at;
            let key = self.text()?;
            if self.at == from {
                return Err(self.error_here(
                    "expected a key",
                    "put double quotes around a key that is empty or has a dot, a comma, a colon, an equals sign, a bar or a space in it",
                ));
            }
            keys.push(key);
            if self.peek() != Some(b'.') {
                return Ok(keys);
            }
            self.at += 1;
        }
    }
}

fn means(
    name: &str,
    span: Range<usize>,
    form: Option<(String, Range<usize>)>,
) -> Result<Means, FormatError> {
    let means = match (name, &form) {
        ("time", None) => Means::Time(Clock::Told { utc: false }),
        ("time", Some((form, span))) => Means::Time(clock(form, span)?),
        ("duration", None) => Means::Duration(Unit::Seconds),
        ("duration", Some((form, span))) => Means::Duration(unit(form).ok_or_else(|| {
            error(
                span.clone(),
                format!("unknown unit {form:?}"),
                "write duration:s, duration:ms, duration:us or duration:ns",
            )
        })?),
        ("in", _) => Means::In,
        ("out", _) => Means::Out,
        ("body_in", _) => Means::BodyIn,
        ("body", _) => Means::Body,
        ("vhost", _) => Means::Vhost,
        ("user", _) => Means::User,
        ("client", _) => Means::Client,
        ("status", _) => Means::Status,
        ("method", _) => Means::Method,
        ("path", _) => Means::Path,
        _ => {
            let message = match name {
                "" => "expected a meaning".to_owned(),
                _ => format!("unknown meaning {name:?}"),
            };
            return Err(error(span, message, format!("meanings are {MEANINGS}")));
        }
    };
    match form {
        Some((_, span)) if !matches!(means, Means::Time(_) | Means::Duration(_)) => Err(error(
            span,
            format!("{name} has no forms"),
            format!("write {name}=key"),
        )),
        _ => Ok(means),
    }
}

fn unit(form: &str) -> Option<Unit> {
    Some(match form {
        "s" => Unit::Seconds,
        "ms" => Unit::Millis,
        "us" => Unit::Micros,
        "ns" => Unit::Nanos,
        _ => return None,
    })
}

fn clock(form: &str, span: &Range<usize>) -> Result<Clock, FormatError> {
    if let Some(unit) = unit(form) {
        return Ok(Clock::Since1970(unit));
    }
    if form == "utc" {
        return Ok(Clock::Told { utc: true });
    }
    let fail = |message: String| {
        Err(error(
            span.clone(),
            message,
            "write time:s, time:ms, time:us or time:ns for a number of these since 1970, time:utc for text that is in UTC where it has no zone, time:\"%Y-%m-%d %H:%M:%S\" for another text, or time alone",
        ))
    };
    if !form.contains('%') {
        return fail(format!("unknown form of a time {form:?}"));
    }
    let pattern = match Pattern::parse(form.as_bytes()) {
        Ok(pattern) => pattern,
        Err(wrong) => return fail(wrong.message),
    };
    if time_of(&pattern).is_none() {
        return fail(
            "the time is not whole: it needs a date with an hour, or seconds since 1970".to_owned(),
        );
    }
    Ok(Clock::Pattern(pattern))
}

/// A time of no meaning, in or without a zone as the pattern's are; none if they are not whole.
pub(crate) fn time_of(pattern: &Pattern) -> Option<Time> {
    let mut parts = Parts::default();
    pattern.mark(&mut parts);
    parts.time()
}

#[cfg(test)]
mod tests;
