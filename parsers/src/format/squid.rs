//! Squid's `logformat`, of Squid 5 and 6.
//!
//! Squid escapes a value by the modifier of its code, else by the quotes or brackets that it stands in,
//! else in a way that each code has of its own; a user's name and the URL then stand as they are. What
//! a value can hold was read in Squid's source and seen in logs of Squid 5.7.

mod codes;

use super::apache::time_form;
use super::quoting::{self, Text};
use super::{ByteSet, Directive, Format, Meaning, Piece, Server, TimeForm};
use crate::error::FormatError;
use crate::text::Escape;

use codes::{Code, Holds};

const EXAMPLE: &str = "paste the whole directive: squid:logformat NAME FORMAT";

/// The native format, which Squid writes unless told otherwise.
const NATIVE: &str = "%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt";
/// These two are written by code of their own, which leaves text between quotes as it is.
const COMMON: &str = r#"%>a %[ui %[un [%tl] "%'rm %'ru HTTP/%rv" %>Hs %<st %Ss:%Sh"#;
const COMBINED: &str = r#"%>a %[ui %[un [%tl] "%'rm %'ru HTTP/%rv" %>Hs %<st "%'{Referer}>h" "%'{User-Agent}>h" %Ss:%Sh"#;

/// The preset `squid`.
pub(super) fn native() -> Option<Format> {
    let mut format = built_in(NATIVE).ok()?;
    format.preset = Some("squid");
    Some(format)
}

fn built_in(text: &str) -> Result<Format, FormatError> {
    let mut pieces = pieces(&Text::verbatim(text.as_bytes(), 0))?;
    protocol_is_a_word(&mut pieces);
    let mut format = Format::from_pieces(Server::Squid, pieces, 0..text.len());
    text.clone_into(&mut format.text);
    Ok(format)
}

/// The built-in formats write `NONE/0.0` for `HTTP/%rv` where there was no request.
fn protocol_is_a_word(pieces: &mut Vec<Piece>) {
    const PROTOCOL: &[u8] = b"HTTP/";
    let literal =
        |piece: &Piece, byte: u8| matches!(piece, Piece::Literal(bytes) if *bytes == [byte]);
    let found = pieces.windows(PROTOCOL.len()).position(|window| {
        let mut both = window.iter().zip(PROTOCOL);
        both.all(|(piece, &byte)| literal(piece, byte))
    });
    let Some(found) = found else { return };
    pieces.drain(found..found + PROTOCOL.len());
    if let Some(Piece::Directive(version)) = pieces.get_mut(found) {
        version.bytes = ByteSet::WORD.without(b'"');
        version.span.start -= PROTOCOL.len();
        version.written.insert_str(0, "HTTP/");
    }
}

/// Parses a bare format string, a whole `logformat` directive, or the name of a built-in format.
pub(super) fn parse(written: &[u8], at: usize) -> Result<Format, FormatError> {
    let trimmed = written.trim_ascii();
    let at = at + (written.len() - written.trim_ascii_start().len());
    let span = at..at + trimmed.len();
    let built_in = match trimmed {
        b"squid" => Some(built_in(NATIVE)),
        b"common" => Some(built_in(COMMON)),
        b"combined" => Some(built_in(COMBINED)),
        b"referrer" | b"useragent" => {
            return Err(quoting::error(
                span,
                "this format of Squid's has no number of bytes",
                "log the format squid, or one of your own with %>st and %<st",
            ));
        }
        _ => None,
    };
    if let Some(built_in) = built_in {
        return built_in;
    }
    let text = match word(trimmed) {
        (b"logformat", rest) => {
            let (_, format) = word(rest.trim_ascii_start());
            let format = format.trim_ascii_start();
            Text::verbatim(format, at + trimmed.len() - format.len())
        }
        _ => Text::verbatim(trimmed, at),
    };
    if text.bytes.is_empty() {
        return Err(quoting::error(span, "there is no format here", EXAMPLE));
    }
    if let Some(newline) = text.bytes.iter().position(|&byte| byte == b'\n') {
        return Err(text.error(
            newline + 1..text.bytes.len(),
            "something follows the directive",
            "paste one directive alone; give several formats as a list",
        ));
    }
    if !text.bytes.contains(&b'%') {
        let name = text.written(0..text.bytes.len());
        let message = format!("there is no format code in {name:?}");
        return Err(text.error(0..text.bytes.len(), message, EXAMPLE));
    }
    Ok(Format::from_pieces(Server::Squid, pieces(&text)?, span))
}

/// The first word, and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text
        .iter()
        .take_while(|byte| !byte.is_ascii_whitespace())
        .count();
    text.split_at(length)
}

/// How a value is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As the code itself has it.
    Own,
    /// `"`: a backslash before quotes and backslashes, `\r`, `\n`, `\t`.
    Quotes,
    /// `[`: brackets, the percent sign, controls and all above 0x7e as `%hh`; `\r`, `\n`, `\\`.
    Brackets,
    /// `#`: all that is not safe in a URL, and the percent sign, as `%HH`.
    Url,
    /// `/`: as a word of a shell.
    Shell,
    /// `'`: as it is.
    Raw,
}

fn pieces(text: &Text) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    // What a code without a modifier is escaped by, from the text before it.
    let mut around = Style::Own;
    while let Some(&byte) = text.bytes.get(at) {
        if byte == b'%' {
            let (found, length) = directive(text, at, around)?;
            pieces.extend(found);
            at += length;
            continue;
        }
        around = match (byte, around) {
            (b'"', Style::Own) => Style::Quotes,
            (b'"', Style::Quotes) | (b']', Style::Brackets) => Style::Own,
            (b'[', Style::Own) => Style::Brackets,
            (_, around) => around,
        };
        pieces.push(Piece::Literal(vec![byte]));
        at += 1;
    }
    Ok(pieces)
}

/// What stands between the `%` and the code.
#[derive(Default)]
struct Modifiers<'t> {
    is_left: bool,
    is_zero: bool,
    width: usize,
    precision: Option<usize>,
    argument: &'t [u8],
    argument_at: usize,
}

/// The code at `at` as pieces, and its length.
fn directive(text: &Text, at: usize, around: Style) -> Result<(Vec<Piece>, usize), FormatError> {
    let bytes = &text.bytes;
    let mut index = at + 1;
    let explicit = match bytes.get(index) {
        Some(b'"') => Some(Style::Quotes),
        Some(b'[') => Some(Style::Brackets),
        Some(b'#') => Some(Style::Url),
        Some(b'/') => Some(Style::Shell),
        Some(b'\'') => Some(Style::Raw),
        _ => None,
    };
    index += usize::from(explicit.is_some());
    let style = explicit.unwrap_or(around);
    let mut modifiers = Modifiers::default();
    if bytes.get(index) == Some(&b'-') {
        modifiers.is_left = true;
        index += 1;
    }
    if bytes.get(index) == Some(&b'0') {
        modifiers.is_zero = true;
        index += 1;
    }
    (modifiers.width, index) = digits(bytes, index);
    if bytes.get(index) == Some(&b'.') && bytes.get(index + 1).is_some_and(u8::is_ascii_digit) {
        let (precision, end) = digits(bytes, index + 1);
        modifiers.precision = Some(precision);
        index = end;
    }
    index = argument(text, index, &mut modifiers)?;
    let Some((code, length)) = codes::find(&bytes[index..]) else {
        let end = text.end_of_character(index.min(bytes.len() - 1));
        return Err(text.error(
            at..end,
            format!("unknown format code {}", text.written(at..end)),
            "for a literal percent sign write %%; all codes: docs/formats.md, \"Squid\"",
        ));
    };
    let name = index..index + length;
    let mut end = name.end;
    if modifiers.argument.is_empty() {
        end = argument(text, end, &mut modifiers)?;
    }
    match code {
        Code::Percent => return Ok((vec![Piece::Literal(vec![b'%'])], end - at)),
        // It may hold spaces, as the user's name beside it, unless nobody was asked.
        Code::Ident if style != Style::Quotes => {
            return Ok((vec![Piece::Literal(vec![b'-'])], end - at));
        }
        _ => {}
    }
    let filled = Filled::new(text, at..end, code, style, &modifiers)?;
    let written = Directive {
        meaning: filled.meaning,
        bytes: filled.bytes,
        escaped: filled.escaped,
        escape: filled.escape,
        optional: false,
        empty_is_quotes: false,
        span: text.span(at..end),
        written: text.written(at..end),
    };
    let mut pieces = Vec::new();
    if filled.is_padded {
        // Spaces before the value are a field of their own.
        pieces.push(Piece::Directive(Directive {
            meaning: Meaning::Padding,
            bytes: ByteSet::SPACE,
            escaped: false,
            escape: Escape::None,
            written: String::new(),
            ..written.clone()
        }));
    }
    pieces.push(Piece::Directive(written));
    Ok((pieces, end - at))
}

/// The number at `index`, and where it ends.
fn digits(bytes: &[u8], index: usize) -> (usize, usize) {
    let rest = bytes.get(index..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = rest[..length].iter().fold(0_usize, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    (value, index + length)
}

/// Takes an argument in braces at `index`; where it ends.
fn argument<'t>(
    text: &'t Text,
    index: usize,
    modifiers: &mut Modifiers<'t>,
) -> Result<usize, FormatError> {
    if text.bytes.get(index) != Some(&b'{') {
        return Ok(index);
    }
    let inside = &text.bytes[index + 1..];
    let Some(length) = inside.iter().position(|&byte| byte == b'}') else {
        return Err(text.error(
            index..text.bytes.len(),
            "the closing } is missing",
            "write %{NAME} and the format code",
        ));
    };
    modifiers.argument = &inside[..length];
    modifiers.argument_at = index + 1;
    Ok(index + 1 + length + 1)
}

/// What a code is filled with, as it is escaped, cut and padded.
struct Filled {
    meaning: Meaning,
    bytes: ByteSet,
    escaped: bool,
    escape: Escape,
    /// Whether spaces may stand before it.
    is_padded: bool,
}

impl Filled {
    fn new(
        text: &Text,
        span: std::ops::Range<usize>,
        code: Code,
        style: Style,
        modifiers: &Modifiers<'_>,
    ) -> Result<Self, FormatError> {
        let (meaning, holds) = code.means(modifiers.argument, modifiers.precision);
        let (meaning, holds) = match code {
            Code::LocalTime | Code::Gmt => time(text, code, modifiers)?,
            _ => (meaning, holds),
        };
        let escaping = escaping(style, holds);
        let is_counted = matches!(
            meaning,
            Meaning::Bytes { .. } | Meaning::Status { .. } | Meaning::Duration { .. }
        );
        let is_needed = matches!(
            meaning,
            Meaning::Vhost { .. }
                | Meaning::User
                | Meaning::Client { .. }
                | Meaning::Bytes { .. }
                | Meaning::Status { .. }
                | Meaning::Time { .. }
        );
        let refuse = |message: &str, help: &str| {
            let written = text.written(span.clone());
            Err(text.error(span.clone(), format!("{written} {message}"), help))
        };
        if is_needed && style == Style::Shell && !is_counted {
            return refuse(
                "is quoted now and then, as a shell would have it",
                "use [ instead: its escapes can always be undone",
            );
        }
        // Numbers are never cut.
        let is_cut = modifiers.precision.is_some() && !is_counted && !code.takes_precision();
        if is_needed && is_cut {
            return refuse("cuts what it logs", "leave the precision out");
        }
        let is_wide = modifiers.width > 1;
        let pads_with_zeros = modifiers.is_zero && matches!(holds, Holds::Number | Holds::Time(_));
        let is_padded = is_wide && !pads_with_zeros;
        if is_padded && is_needed && (modifiers.is_left || meaning == Meaning::User) {
            return refuse(
                "puts spaces around what it logs, which cannot be told from what the value holds",
                "leave the width out",
            );
        }
        // A fraction in its own number of digits, and times in one shape, are never padded.
        let is_padded = is_padded && !matches!(meaning, Meaning::Time { .. });
        let keeps_spaces = is_padded && !is_needed && !is_counted;
        Ok(Self {
            bytes: if keeps_spaces || (is_padded && modifiers.is_left) {
                escaping.bytes.with(b' ')
            } else {
                escaping.bytes
            },
            meaning: if is_padded && modifiers.is_left {
                Meaning::Skipped
            } else {
                meaning
            },
            escaped: escaping.escaped,
            escape: escaping.escape,
            is_padded: is_padded && !keeps_spaces && !modifiers.is_left,
        })
    }
}

/// What becomes of a value.
struct Escaping {
    bytes: ByteSet,
    escaped: bool,
    escape: Escape,
}

fn escaping(style: Style, holds: Holds) -> Escaping {
    let raw = holds.bytes();
    let as_is = Escaping {
        bytes: raw,
        escaped: false,
        escape: Escape::None,
    };
    let is_plain = matches!(
        holds,
        Holds::Number | Holds::Word | Holds::Address | Holds::Time(_)
    );
    if is_plain {
        return as_is;
    }
    match (style, holds.is_escaped_by_itself()) {
        (Style::Raw, _) | (Style::Own, false) => as_is,
        // The percent sign stays, so that `%20` may have been one already: it is a URL's all the same.
        (Style::Own, true) | (Style::Url, _) => Escaping {
            bytes: ByteSet::URL,
            escaped: false,
            escape: Escape::Percent,
        },
        (Style::Quotes, _) => Escaping {
            bytes: raw.without(b'\t').with(b'\\'),
            escaped: true,
            escape: Escape::Backslash,
        },
        (Style::Brackets, _) => {
            let printable = if raw.contains(b' ') {
                ByteSet::PRINTABLE
            } else {
                ByteSet::WORD
            };
            Escaping {
                bytes: printable.without(b'[').without(b']'),
                escaped: false,
                escape: Escape::Percent,
            }
        }
        (Style::Shell, _) => Escaping {
            bytes: raw.with(b'\\').with(b'"'),
            escaped: false,
            escape: Escape::None,
        },
    }
}

/// `%tl` and `%tg`, with strftime's conversions or without.
fn time(
    text: &Text,
    code: Code,
    modifiers: &Modifiers<'_>,
) -> Result<(Meaning, Holds), FormatError> {
    let moment = super::Moment::End;
    if modifiers.argument.is_empty() && code == Code::LocalTime {
        let form = TimeForm::Clf { brackets: false };
        return Ok((Meaning::Time { form, moment }, Holds::Time(ByteSet::CLOCK)));
    }
    let (pattern, at) = match modifiers.argument {
        b"" => (&b"%d/%b/%Y:%H:%M:%S"[..], 0),
        argument => (argument, modifiers.argument_at),
    };
    // The names that Apache has for units of time are text to Squid.
    let (form, bytes) = match pattern {
        pattern if pattern.contains(&b'%') => time_form(text, pattern, at)?,
        _ => return Ok((Meaning::Skipped, Holds::Text)),
    };
    let has_zone = [&b"%z"[..], b"%s"]
        .iter()
        .any(|zone| memchr::memmem::find(pattern, zone).is_some());
    // Greenwich time without a zone would be taken for local time.
    let meaning = if code == Code::Gmt && !has_zone {
        Meaning::Skipped
    } else {
        Meaning::Time { form, moment }
    };
    Ok((meaning, Holds::Time(bytes)))
}
