//! A format string into what HAProxy makes of it: text, separators and variables.

use super::super::quoting::Text;
use super::super::{ByteSet, Directive, Meaning, TimeForm};
use super::alias::{self, Written};
use super::{Captures, expression};
use crate::error::FormatError;
use crate::text::Escape;
use crate::time::Pattern;

/// A part of a format.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Text that stands in every line.
    Text(Vec<u8>),
    /// A space in the format: written unless one has just been written, or nothing yet.
    Space,
    Field(Field),
}

/// A variable.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) directive: Directive,
    pub(super) is_quoted: bool,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Always written.
    Plain,
    /// A cookie: what was captured, or what stands for none.
    Cookie { absent: &'static str },
    /// Captured headers, or nothing at all.
    Headers { of_request: bool, in_braces: bool },
}

pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    /// Whether clients can write whole lines.
    pub(super) is_forgeable: bool,
}

/// `+Q`, `+X`, `+E`, and whether `-` stands for nothing.
#[derive(Debug, Clone, Copy)]
struct Flags {
    quotes: bool,
    hexadecimal: bool,
    escapes: bool,
    dash: bool,
}

/// Reads a format string.
pub(super) fn parse(text: &Text, captures: &Captures) -> Result<Parsed, FormatError> {
    let mut parser = Parser {
        text,
        captures,
        flags: Flags {
            quotes: false,
            hexadecimal: false,
            escapes: false,
            dash: true,
        },
        parsed: Parsed {
            nodes: Vec::new(),
            is_forgeable: false,
        },
    };
    let mut at = 0;
    while let Some(&byte) = text.bytes.get(at) {
        match byte {
            b'%' => at = parser.variable(at)?,
            b' ' => {
                parser.parsed.nodes.push(Node::Space);
                at += 1;
            }
            _ => {
                parser.text(byte);
                at += 1;
            }
        }
    }
    Ok(parser.parsed)
}

struct Parser<'t> {
    text: &'t Text,
    captures: &'t Captures,
    /// Those that `%o` has set for all that follow.
    flags: Flags,
    parsed: Parsed,
}

impl Parser<'_> {
    fn text(&mut self, byte: u8) {
        match self.parsed.nodes.last_mut() {
            Some(Node::Text(text)) => text.push(byte),
            _ => self.parsed.nodes.push(Node::Text(vec![byte])),
        }
    }

    fn error(&self, part: std::ops::Range<usize>, message: String, help: &str) -> FormatError {
        self.text.error(part, message, help)
    }

    /// The variable whose `%` is at `start`; where it ends.
    fn variable(&mut self, start: usize) -> Result<usize, FormatError> {
        let bytes = &self.text.bytes;
        let mut at = start + 1;
        let mut flags = self.flags;
        loop {
            match bytes.get(at) {
                Some(b'%') if at == start + 1 => {
                    self.text(b'%');
                    return Ok(at + 1);
                }
                // `%(name:type)` names the value for encodings that have names.
                Some(&open @ (b'{' | b'(')) => {
                    let close = if open == b'{' { b'}' } else { b')' };
                    let inside = &bytes[at + 1..];
                    let Some(length) = memchr::memchr(close, inside) else {
                        return Err(self.error(
                            at..bytes.len(),
                            format!("the closing {} is missing", char::from(close)),
                            "write %{+Q}NAME or %{+Q}[EXPRESSION]",
                        ));
                    };
                    if open == b'{' {
                        flags = self.changed(flags, &inside[..length], start, at + 1)?;
                    }
                    at += length + 2;
                }
                Some(b'[') => return self.expression(start, at, flags),
                Some(byte) if byte.is_ascii_alphabetic() => break,
                _ => {
                    let end = self.text.end_of_character(at.min(bytes.len()));
                    return Err(self.error(
                        start..end.max(start + 1),
                        "a % stands before no variable".to_owned(),
                        "for a literal percent sign write %%",
                    ));
                }
            }
        }
        let length = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        let end = at + length;
        let name = &bytes[at..end];
        if name == b"o" {
            self.flags = flags;
            return Ok(end);
        }
        let Some((written, meaning)) = alias::alias(name) else {
            return Err(self.error(
                start..end,
                format!("unknown variable {}", self.text.written(start..end)),
                "for a literal percent sign write %%; all variables: docs/formats.md, \"HAProxy\"",
            ));
        };
        self.alias(start..end, written, meaning, flags);
        Ok(end)
    }

    /// `+Q,-E`: what it makes of the flags. Others than these HAProxy passes over.
    fn changed(
        &self,
        mut flags: Flags,
        arguments: &[u8],
        start: usize,
        at: usize,
    ) -> Result<Flags, FormatError> {
        for argument in arguments.split(|&byte| byte == b',') {
            let Some((sign @ (b'+' | b'-'), name)) = argument.split_first() else {
                continue;
            };
            let is_set = *sign == b'+';
            match name {
                b"Q" => flags.quotes = is_set,
                b"X" => flags.hexadecimal = is_set,
                b"E" => flags.escapes = is_set,
                b"M" => flags.dash = is_set,
                b"json" | b"cbor" | b"bin" if is_set => {
                    return Err(self.error(
                        start..at + arguments.len() + 1,
                        format!("+{} is not read", String::from_utf8_lossy(name)),
                        "write the variables one by one: see docs/formats.md, \"HAProxy\"",
                    ));
                }
                _ => {}
            }
        }
        Ok(flags)
    }

    fn alias(
        &mut self,
        part: std::ops::Range<usize>,
        written: Written,
        meaning: Meaning,
        flags: Flags,
    ) {
        let hexadecimal = flags.hexadecimal;
        let encoded = if flags.escapes {
            Escape::HashAndBackslash
        } else {
            Escape::Hash
        };
        let mut field = |meaning, bytes, is_quoted, kind| {
            self.field(&part, meaning, bytes, is_quoted && flags.quotes, kind);
        };
        let plain = Kind::Plain;
        match written {
            Written::HexNumber | Written::Seconds | Written::Milliseconds if hexadecimal => {
                field(Meaning::Skipped, Bytes::plain(alias::HEX), false, plain);
            }
            Written::Number | Written::HexNumber => {
                field(meaning, Bytes::plain(ByteSet::COUNT), false, plain);
            }
            Written::Retries => {
                let bytes = Bytes::plain(ByteSet::COUNT.with(b'+'));
                field(meaning, bytes, false, plain);
            }
            Written::Address if hexadecimal => {
                field(Meaning::Skipped, Bytes::plain(alias::HEX), false, plain);
            }
            Written::Address => field(meaning, Bytes::plain(alias::ADDRESS), true, plain),
            Written::Word(bytes) => field(meaning, Bytes::plain(bytes), true, plain),
            Written::Raw => field(meaning, Bytes::raw(flags.escapes), true, plain),
            Written::Cookie => {
                let absent = match (flags.quotes, flags.dash) {
                    (true, _) => "\"\"",
                    (false, true) => "-",
                    (false, false) => "",
                };
                let bytes = Bytes::raw(flags.escapes);
                field(meaning, bytes, true, Kind::Cookie { absent });
            }
            Written::Url(bytes) => {
                let bytes = Bytes {
                    set: bytes,
                    escaped: false,
                    escape: encoded,
                };
                field(meaning, bytes, true, plain);
            }
            Written::Headers {
                of_request,
                in_braces,
            } => {
                let is_host = of_request && in_braces && !flags.quotes;
                let is_host = is_host && self.captures.host().is_some();
                let meaning = if is_host {
                    Meaning::Vhost { rank: 2 }
                } else {
                    Meaning::Skipped
                };
                // Each of a list has quotes of its own.
                let set = if in_braces || !flags.quotes {
                    alias::HEADERS
                } else {
                    alias::HEADERS.with(b'"')
                };
                let bytes = Bytes {
                    set,
                    escaped: false,
                    escape: encoded,
                };
                let kind = Kind::Headers {
                    of_request,
                    in_braces,
                };
                self.field(&part, meaning, bytes, flags.quotes, kind);
            }
            Written::State => field(meaning, Bytes::plain(alias::STATE), false, plain),
            Written::ZonedTime => field(meaning, Bytes::plain(ByteSet::CLOCK), false, plain),
            Written::Seconds => {
                let meaning = with_form(meaning, TimeForm::Epoch { per_second: 1 });
                field(meaning, Bytes::plain(ByteSet::DIGITS), false, plain);
            }
            Written::Milliseconds => {
                let meaning = with_form(meaning, TimeForm::Fraction { digits: 3 });
                field(meaning, Bytes::plain(ByteSet::DIGITS), false, plain);
            }
            Written::LocalTime => {
                // Two fields of one variable: the time, and its milliseconds.
                if let Ok(pattern) = Pattern::parse(b"%d/%b/%Y:%H:%M:%S.") {
                    let clock = ByteSet::CLOCK.with(b'.');
                    let whole = with_form(meaning.clone(), TimeForm::Pattern(pattern));
                    field(whole, Bytes::plain(clock), false, plain);
                }
                let fraction = with_form(meaning, TimeForm::Fraction { digits: 3 });
                field(fraction, Bytes::plain(ByteSet::DIGITS), false, plain);
            }
        }
    }

    /// `[…]` at `open`, of the variable that starts at `start`; where it ends.
    fn expression(
        &mut self,
        start: usize,
        open: usize,
        flags: Flags,
    ) -> Result<usize, FormatError> {
        let bytes = &self.text.bytes;
        let mut at = open + 1;
        loop {
            match bytes.get(at) {
                Some(b']') => break,
                Some(b'(') => at += expression::closing(&bytes[at..]).unwrap_or(bytes.len()) + 1,
                Some(_) => at += 1,
                None => {
                    return Err(self.error(
                        start..bytes.len(),
                        "the closing ] is missing".to_owned(),
                        "write %[EXPRESSION]",
                    ));
                }
            }
        }
        let inside = &bytes[open + 1..at];
        if inside.is_empty() {
            return Err(self.error(
                start..at + 1,
                "there is no expression in the brackets".to_owned(),
                "write %[EXPRESSION], such as %[capture.req.hdr(0)]",
            ));
        }
        let sample = expression::sample(inside, self.captures);
        self.parsed.is_forgeable |= sample.is_forgeable;
        let mut bytes = Bytes {
            set: sample.bytes,
            escaped: sample.escaped,
            escape: sample.escape,
        };
        let mut meaning = sample.meaning;
        if flags.escapes {
            let holds_any = sample.bytes == ByteSet::ALL;
            if holds_any && sample.escape == Escape::None {
                bytes = Bytes::raw(true);
            } else if sample.escaped {
                // Escaped twice: it still cannot hold a bare quote, but who reads that?
                meaning = Meaning::Skipped;
            }
        }
        self.field(&(start..at + 1), meaning, bytes, flags.quotes, Kind::Plain);
        Ok(at + 1)
    }

    fn field(
        &mut self,
        part: &std::ops::Range<usize>,
        meaning: Meaning,
        bytes: Bytes,
        is_quoted: bool,
        kind: Kind,
    ) {
        let directive = Directive {
            meaning,
            bytes: bytes.set,
            escaped: bytes.escaped,
            escape: bytes.escape,
            optional: false,
            empty_is_quotes: false,
            span: self.text.span(part.clone()),
            written: self.text.written(part.clone()),
        };
        self.parsed.nodes.push(Node::Field(Field {
            directive,
            is_quoted,
            kind,
        }));
    }
}

/// What can stand in a field.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    set: ByteSet,
    escaped: bool,
    escape: Escape,
}

impl Bytes {
    fn plain(set: ByteSet) -> Self {
        Self {
            set,
            escaped: false,
            escape: Escape::None,
        }
    }

    /// Anything; with a backslash before `"`, `\` and `]` if `escapes`.
    fn raw(escapes: bool) -> Self {
        Self {
            set: ByteSet::ALL,
            escaped: escapes,
            escape: if escapes {
                Escape::StructuredData
            } else {
                Escape::None
            },
        }
    }
}

fn with_form(meaning: Meaning, form: TimeForm) -> Meaning {
    match meaning {
        Meaning::Time { moment, .. } => Meaning::Time { form, moment },
        other => other,
    }
}
