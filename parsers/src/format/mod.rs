//! An operator's format string into directives.
//!
//! A format is taken as it stands in the web server's config: the bare string or the whole
//! directive. What comes out says for every directive what it means to the account and which bytes
//! the server can write for it; the plan is compiled from that alone. Nothing is guessed: what the
//! server would refuse is refused here, with the place and a remedy.

mod apache;
mod bytes;
mod detect;
mod haproxy;
mod json;
mod lighttpd;
mod nginx;
mod preset;
mod quoting;
mod squid;
mod varnish;
pub mod w3c;

use std::ops::Range;

pub use bytes::ByteSet;
pub use detect::{Certainty, Choice, Detected, RunnerUp, detect, detect_within};
pub(crate) use json::time_of;
pub use json::{Clock, Field, Json, Means, Requests, Unit};
pub use preset::PRESETS;

use crate::error::FormatError;
use crate::syslog::Envelope;
use crate::text::Escape;
use crate::time::Pattern;

/// What the operator wrote for a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Try the presets on a sample, and whether its lines stand in a written envelope.
    Auto,
    /// Try the presets on a sample whose lines stand in this envelope.
    AutoWithin(Envelope),
    /// A preset, or a pasted format.
    Format(Format),
}

/// Whose conventions a format follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// nginx.
    Nginx,
    /// Apache httpd.
    Apache,
    /// lighttpd.
    Lighttpd,
    /// Could be nginx or Apache.
    Either,
    /// HAProxy.
    Haproxy,
    /// Caddy.
    Caddy,
    /// Traefik.
    Traefik,
    /// Squid.
    Squid,
    /// Varnish, by varnishncsa.
    Varnish,
    /// The W3C's extended format, as IIS writes it.
    W3c,
    /// CloudFront.
    Cloudfront,
    /// Whoever writes JSON with the keys that the operator names.
    Any,
}

/// A format string, understood: literals and directives in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Whose format it is.
    pub server: Server,
    /// How a line is made up.
    pub layout: Layout,
    /// The preset's name, if it is one.
    pub preset: Option<&'static str>,
    /// Whether the server writes what clients send as it is, newlines included.
    pub forgeable: bool,
    /// What every line stands in.
    pub envelope: Option<Envelope>,
    /// What the operator wrote, or the format string that a preset stands for. All spans are in it.
    pub text: String,
    /// Where the format stands in the text.
    pub span: Range<usize>,
}

/// How the lines of a format are made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Literals and directives in their order; two literals never stand together.
    Pieces(Vec<Piece>),
    /// Columns, which a `#Fields` line of the log names; this one, until the log has one of its own.
    Columns(Option<w3c::Header>),
    /// One JSON object, its keys in any order.
    Json(Json),
    /// In one of several ways, by what there was to write.
    OneOf(OneOf),
}

/// Several layouts of one format. A line is in the first that fits: whoever makes this sees to it that
/// no line fits one before its own, whatever clients send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOf {
    /// All that the operator wrote.
    pub whole: Vec<Piece>,
    /// In the order in which they are tried.
    pub layouts: Vec<Vec<Piece>>,
    /// The first so many must be readable; where the others are not, their lines are unparsed.
    pub needed: usize,
    /// Where a vhost is written with [`Escape::Hash`] it is this one of several, from 0, with `|`
    /// between them.
    pub host_in_list: usize,
}

/// A piece of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes that stand in every line.
    Literal(Vec<u8>),
    /// What the server fills in.
    Directive(Directive),
}

/// What the server fills in at one place of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// What it says.
    pub meaning: Meaning,
    /// Every byte that can stand in the field, escapes as they are written.
    pub bytes: ByteSet,
    /// Whether a quote stands in the field behind a backslash only, and a backslash is always the
    /// first of two bytes.
    pub escaped: bool,
    /// How to undo the server's escaping.
    pub escape: Escape,
    /// Whether `-` can stand for the whole field, whatever it otherwise holds.
    pub optional: bool,
    /// Whether the server writes an empty value as two bare quotes (Apache's `%u`).
    pub empty_is_quotes: bool,
    /// Where it stands in what the operator wrote.
    pub span: Range<usize>,
    /// The directive, as written.
    pub written: String,
}

/// What a directive says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing that accounting needs.
    Skipped,
    /// The site. Of several, the one with the lowest rank is taken: the server's own folded or
    /// configured name (nginx `$host`, `$server_name`; `%v`, `%V`) before what the client sent.
    Vhost {
        /// The order of preference.
        rank: u8,
    },
    /// The user.
    User,
    /// The client. The lowest rank is taken: an address before a name.
    Client {
        /// The order of preference.
        rank: u8,
    },
    /// A time, or a part of one.
    Time {
        /// How it is written.
        form: TimeForm,
        /// What it is the time of.
        moment: Moment,
    },
    /// A number of bytes.
    Bytes {
        /// Which bytes.
        count: Count,
        /// Whether `-` says zero, not that there is no number.
        dash_is_zero: bool,
    },
    /// The status; the lowest rank is taken: the final status before the original one.
    Status {
        /// The order of preference.
        rank: u8,
    },
    /// How long the request took; of so many units to the second.
    Duration {
        /// Units in a second.
        per_second: u64,
    },
    /// The request line.
    Request,
    /// A request line with a whole URL, which names the host where nothing else does.
    UrlRequest,
    /// The method.
    Method,
    /// The path; with rank 0 with its query.
    Path {
        /// The order of preference.
        rank: u8,
    },
    /// The query, or a part of it, which may follow a path at once.
    Query,
    /// Spaces that bring the next field to a width. That field is never empty, and holds no space.
    Padding,
}

/// Which bytes a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Received, on the wire.
    In,
    /// Sent, on the wire.
    Out,
    /// Received and sent, on the wire.
    Both,
    /// Sent, bodies alone.
    Body,
}

/// What a time is the time of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The request's start.
    Begin,
    /// The request's end.
    End,
    /// When the connection could take the request, which may be long before its start (HAProxy).
    Accept,
}

/// How a time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeForm {
    /// `22/Nov/2026:08:23:11 +0000`, in brackets or not.
    Clf {
        /// Whether it stands in brackets.
        brackets: bool,
    },
    /// `2026-11-22T08:23:11+00:00`.
    Iso8601,
    /// `1795335791.214`.
    EpochWithFraction,
    /// A whole number of units since 1970.
    Epoch {
        /// Units in a second.
        per_second: u64,
    },
    /// A fraction of a second, of so many digits.
    Fraction {
        /// How many digits.
        digits: usize,
    },
    /// strftime's.
    Pattern(Pattern),
}

impl Spec {
    /// `auto`, a preset's name, or `nginx:…`, `apache:…`, `lighttpd:…`, `haproxy:…`, `squid:…`,
    /// `varnishncsa:…`. Behind the colon stands the format string, bare or in quotes, or the whole
    /// directive as it stands in the config. Behind `json:` stand the keys that are read. With
    /// `syslog:` before any of these each line stands in what a syslog daemon wrote.
    ///
    /// # Errors
    /// With the place in `text` and a remedy.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let (name, start) = trimmed(text, 0);
        match name.strip_prefix(WRITTEN) {
            None => Self::bare(text, name, start),
            Some(inner) => {
                let (name, start) = trimmed(inner, start + WRITTEN.len());
                Ok(Self::bare(text, name, start)?.within(Envelope::Written))
            }
        }
    }

    /// As [`Spec::parse`], for messages that come over a socket: `syslog:` is refused.
    ///
    /// # Errors
    /// With the place in `text` and a remedy.
    pub fn parse_on_the_wire(text: &str) -> Result<Self, FormatError> {
        let (name, start) = trimmed(text, 0);
        if let Some(inner) = name.strip_prefix(WRITTEN) {
            let inner = inner.trim();
            return Err(quoting::error(
                start..start + WRITTEN.len(),
                "syslog: stands before the format of files that a syslog daemon wrote",
                format!(
                    "a message that comes over a socket has its envelope taken off anyway: write {inner}"
                ),
            ));
        }
        Ok(Self::bare(text, name, start)?.within(Envelope::Wire))
    }

    /// The same for lines that stand in an envelope.
    #[must_use]
    pub fn within(self, envelope: Envelope) -> Self {
        match self {
            Self::Auto | Self::AutoWithin(_) => Self::AutoWithin(envelope),
            Self::Format(format) => Self::Format(Format {
                envelope: Some(envelope),
                ..format
            }),
        }
    }

    /// Whether the format is detected.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        match self {
            Self::Auto | Self::AutoWithin(_) => true,
            Self::Format(_) => false,
        }
    }

    /// A format without an envelope: `name`, which stands at `start` of `text`.
    fn bare(text: &str, name: &str, start: usize) -> Result<Self, FormatError> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        if let Some(format) = preset::preset(name) {
            return Ok(Self::Format(format));
        }
        let servers: [(&str, ServerParser); 7] = [
            ("nginx:", nginx::parse),
            ("apache:", apache::parse),
            ("lighttpd:", lighttpd::parse),
            ("haproxy:", haproxy::parse),
            ("squid:", squid::parse),
            ("varnishncsa:", varnish::parse),
            ("json:", json::parse),
        ];
        for (prefix, parse) in servers {
            if let Some(written) = name.strip_prefix(prefix) {
                let parsed = parse(written.as_bytes(), start + prefix.len());
                let mut format = parsed.map_err(|error| on_characters(error, text))?;
                // A format that goes by a name (`option httplog`, `squid:combined`) has brought its own.
                if format.text.is_empty() {
                    format.text = text.to_owned();
                }
                return Ok(Self::Format(format));
            }
        }
        let servers = [("w3c:", Server::W3c), ("cloudfront:", Server::Cloudfront)];
        for (prefix, server) in servers {
            if let Some(written) = name.strip_prefix(prefix) {
                let parsed = w3c::parse(server, written.as_bytes(), start + prefix.len());
                let mut format = parsed.map_err(|error| on_characters(error, text))?;
                format.text = text.to_owned();
                return Ok(Self::Format(format));
            }
        }
        Err(unknown(name, start))
    }
}

/// Stands before a format whose lines a syslog daemon wrote.
const WRITTEN: &str = "syslog:";

/// Text without space around it, and where it then starts.
fn trimmed(text: &str, start: usize) -> (&str, usize) {
    let inner = text.trim_start();
    (inner.trim_end(), start + text.len() - inner.len())
}

/// Takes what stands behind the server's name, and its offset in what the operator wrote.
type ServerParser = fn(&[u8], usize) -> Result<Format, FormatError>;

/// Widens an error's span to whole characters.
fn on_characters(mut error: FormatError, text: &str) -> FormatError {
    error.span =
        text.floor_char_boundary(error.span.start)..text.ceil_char_boundary(error.span.end);
    error
}

fn unknown(name: &str, start: usize) -> FormatError {
    let looks_pasted = name.contains(['%', '$']);
    let message = match (name.split_once(':'), looks_pasted) {
        _ if name.is_empty() => "the format is empty".to_owned(),
        (Some((server, _)), _) if server.chars().all(char::is_alphanumeric) => {
            format!("unknown server {server:?}")
        }
        (_, true) => "a format string needs its server's name before it".to_owned(),
        _ => format!("unknown format {name:?}"),
    };
    quoting::error(
        start..start + name.len(),
        message,
        format!(
            "write auto, a preset ({}), or nginx:…, apache:…, lighttpd:…, haproxy:…, squid:… or varnishncsa:… with the format as it stands in the server's config, or json:… with the keys",
            PRESETS.join(", ")
        ),
    )
}

impl Format {
    fn from_pieces(server: Server, pieces: Vec<Piece>, span: Range<usize>) -> Self {
        Self {
            server,
            layout: Layout::Pieces(Self::joined(pieces)),
            preset: None,
            forgeable: false,
            envelope: None,
            text: String::new(),
            span,
        }
    }

    /// Puts literals that stand together into one, and drops empty ones.
    fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
        let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (_, Piece::Literal(bytes)) if bytes.is_empty() => {}
                (Some(Piece::Literal(before)), Piece::Literal(bytes)) => before.extend(bytes),
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    /// Literals and directives in their order; of several layouts, all that the operator wrote.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        match &self.layout {
            Layout::Pieces(pieces) => pieces,
            Layout::OneOf(one_of) => &one_of.whole,
            Layout::Columns(_) | Layout::Json(_) => &[],
        }
    }

    /// The directives, in their order; columns are none.
    pub fn directives(&self) -> impl Iterator<Item = &Directive> {
        self.pieces().iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Directive(directive) => Some(directive),
        })
    }
}

#[cfg(test)]
mod tests;
