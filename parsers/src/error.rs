//! Where reading failed, and what was expected there.

use std::fmt;
use std::ops::Range;

/// A format string that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// The bytes of the operator's text that are at fault.
    pub span: Range<usize>,
    /// What is wrong, in one line without a final stop.
    pub message: String,
    /// What to do about it; may be several lines.
    pub help: Option<String>,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.span.start, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n{help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FormatError {}

/// A line that does not fit the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineError {
    /// Offset in the line of the first byte that does not fit.
    pub at: usize,
    /// What the format wants there.
    pub expected: Expected,
}

/// What a format wants at a place in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// These bytes, from the format string: index of the directive that they follow (0: the start).
    Literal(u16),
    /// A decimal number.
    Number,
    /// A time in the format's shape.
    Time,
    /// A three-digit status.
    Status,
    /// A request line with a whole URL.
    Url,
    /// A name whose brackets are escaped.
    NoBracket,
    /// The end of the line.
    End,
    /// What a syslog daemon writes before each line.
    Envelope,
    /// A `#Fields` line before it, which says what its columns mean.
    Fields,
    /// A `#Fields` line that can be read.
    Header(&'static str),
    /// As many columns as the `#Fields` line before it names.
    Columns(u16),
    /// What makes a line one JSON object.
    Json(Syntax),
    /// A line no longer than the limit (the line was cut).
    ShorterLine,
    /// A number without a plus, which HAProxy writes where it logs before the answer is sent.
    FinishedRequest,
}

/// What JSON wants at a place in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// The object that the line is.
    Object,
    /// A key, in quotes.
    Key,
    /// The colon behind a key.
    Colon,
    /// A value.
    Value,
    /// What goes on with an object or an array, or ends it.
    CommaOrEnd,
    /// The rest of a string: a quote that ends it, no control character, a known escape.
    Text,
    /// A number.
    Number,
    /// Another key: one that is read stands in the object twice.
    OtherKey,
    /// A value that is nested less deeply.
    Shallower,
    /// The keys that the server writes into every line.
    KnownKeys,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for LineError {}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header(why) => return write!(f, "a #Fields line that can be read: {why}"),
            Self::Columns(count) => {
                return write!(f, "{count} columns, as the #Fields line before it names");
            }
            Self::Fields => "a #Fields line before it that can be read, which says what its columns mean",
            Self::Literal(_) => "the format's next literal",
            Self::Number => "a number",
            Self::Time => "a time",
            Self::Status => "a status",
            Self::Url => "a request line with a whole URL, http://…",
            Self::NoBracket => "no bracket, which would be %5b or %5d here",
            Self::End => "the end of the line",
            Self::Envelope => {
                "what a syslog daemon writes before a line (a time, a host, and a program with a colon)"
            }
            Self::Json(syntax) => match syntax {
                Syntax::Object => "a JSON object, {…}",
                Syntax::Key => "a key in quotes",
                Syntax::Colon => "a colon",
                Syntax::Value => "a JSON value",
                Syntax::CommaOrEnd => "a comma, or the end of the object or array",
                Syntax::Text => "the rest of a JSON string (no control character, a known escape, a quote at its end)",
                Syntax::Number => "a JSON number",
                Syntax::OtherKey => "another key (this one stands in the line twice)",
                Syntax::KnownKeys => "the keys that this server's lines have",
                Syntax::Shallower => "a value that is nested less deeply",
            },
            Self::ShorterLine => "a shorter line",
            Self::FinishedRequest => {
                "a number without a plus (option logasap writes lines before their bytes are known: leave it out)"
            }
        })
    }
}
