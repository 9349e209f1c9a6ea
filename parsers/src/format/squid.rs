//! Squid's `logformat`, of Squid 5 and 6.
//!
//! Squid escapes a value by the modifier of its code, else by the quotes or brackets that it stands in,
//! else in a way that each code has of its own; a user's name and the URL then stand as they are. What
//! a value can hold was read in Squid's source and seen in logs of Squid 5.7.

mod codes;
mod filled;

use super::quoting::{self, Text};
use super::{ByteSet, Directive, Format, Meaning, Piece, Server};
use crate::error::FormatError;
use crate::text::Escape;

use codes::Code;
use filled::Filled;

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
            span: text.span(at..at),
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
