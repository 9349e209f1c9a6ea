//! lighttpd's `accesslog.format`.

use nom::bytes::complete::{tag, take_until};
use nom::sequence::delimited;
use nom::{IResult, Parser as _};

use super::apache::time_form;
use super::quoting::{self, Text, inside_quotes};
use super::{ByteSet, Count, Directive, Format, Meaning, Moment, Piece, Server, TimeForm};
use crate::error::FormatError;
use crate::text::Escape;

const EXAMPLE: &str = "paste the whole setting: lighttpd:accesslog.format = \"FORMAT\"";

/// Parses a bare format string, a quoted one, or the settings as they stand in lighttpd.conf.
pub(super) fn parse(written: &[u8], at: usize) -> Result<Format, FormatError> {
    let trimmed = written.trim_ascii();
    let at = at + (written.len() - written.trim_ascii_start().len());
    let span = at..at + trimmed.len();
    let (text, json) = if trimmed.starts_with(b"accesslog.") {
        settings(trimmed, at)?
    } else if let Some(inside) = inside_quotes(trimmed).filter(|_| trimmed[0] == b'"') {
        (unquote(inside, at + 1), false)
    } else if memchr::memmem::find(trimmed, b"\\\"").is_some() {
        // The inside of a quoted string, pasted without its quotes.
        (unquote(trimmed, at), false)
    } else {
        (Text::verbatim(trimmed, at), false)
    };
    if text.bytes.is_empty() {
        return Err(quoting::error(span, "the format is empty", EXAMPLE));
    }
    if !text.bytes.contains(&b'%') {
        let name = text.written(0..text.bytes.len());
        let message = format!("there is no directive in {name:?}");
        return Err(text.error(0..text.bytes.len(), message, EXAMPLE));
    }
    Ok(Format::from_pieces(
        Server::Lighttpd,
        pieces(&text, json)?,
        span,
    ))
}

/// `accesslog.format = "…"` and `accesslog.escaping = "…"`, in any order, one to a line.
fn settings(lines: &[u8], at: usize) -> Result<(Text, bool), FormatError> {
    let end = at + lines.len();
    let mut rest = lines;
    let mut format = None;
    let mut json = false;
    loop {
        rest = skip_space(rest);
        if rest.is_empty() {
            let missing = || quoting::error(at..end, "accesslog.format is not here", EXAMPLE);
            return Ok((format.ok_or_else(missing)?, json));
        }
        let start = end - rest.len();
        let key = rest
            .iter()
            .take_while(|&&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            .count();
        let (name, after) = rest.split_at(key);
        let after = after.trim_ascii_start();
        let after = after
            .strip_prefix(b":=")
            .or_else(|| after.strip_prefix(b"="));
        let Some(after) = after.filter(|_| !name.is_empty()) else {
            return Err(quoting::error(
                start..start + key.max(1),
                "not a setting of lighttpd.conf",
                EXAMPLE,
            ));
        };
        let (value, after) = string(after, end)?;
        match name {
            b"accesslog.format" => format = Some(value),
            b"accesslog.escaping" => json = value.bytes == b"json",
            b"accesslog.filename" | b"accesslog.use-syslog" | b"accesslog.syslog-level" => {}
            _ => {
                return Err(quoting::error(
                    start..start + key,
                    "not a setting of the access log",
                    EXAMPLE,
                ));
            }
        }
        rest = after;
    }
}

/// White space and comments.
fn skip_space(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        if text.first() != Some(&b'#') {
            return text;
        }
        text = memchr::memchr(b'\n', text).map_or(&[], |end| &text[end..]);
    }
}

/// A string, or several joined by `+`.
fn string(text: &[u8], end: usize) -> Result<(Text, &[u8]), FormatError> {
    let mut rest = skip_space(text);
    let mut joined = Text::at(end - rest.len());
    loop {
        let start = end - rest.len();
        if rest.first() != Some(&b'"') {
            return Err(quoting::error(
                start..(start + 1).min(end),
                "a string in double quotes belongs here",
                EXAMPLE,
            ));
        }
        let mut index = 1;
        loop {
            match rest.get(index) {
                None => {
                    return Err(quoting::error(
                        start..start + 1,
                        "the string's closing \" is missing",
                        EXAMPLE,
                    ));
                }
                Some(b'"') => break,
                Some(b'\\') if rest.get(index + 1) == Some(&b'"') => index += 2,
                Some(_) => index += 1,
            }
        }
        joined.append(&unquote(&rest[1..index], start + 1));
        rest = &rest[index + 1..];
        let after = skip_space(rest);
        match after.split_first() {
            Some((b'+', after)) => rest = skip_space(after),
            _ => return Ok((joined, rest)),
        }
    }
}

/// In lighttpd.conf a backslash hides a quote, and nothing else.
fn unquote(inside: &[u8], at: usize) -> Text {
    let mut text = Text::at(at);
    let mut index = 0;
    while let Some(&byte) = inside.get(index) {
        if byte == b'\\' && inside.get(index + 1) == Some(&b'"') {
            index += 1;
        }
        text.push(inside[index], at + index);
        index += 1;
    }
    text
}

fn pieces(text: &Text, json: bool) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.bytes.get(at) {
        if byte == b'%' {
            let (piece, length) = directive(text, at, json)?;
            pieces.push(piece);
            at += length;
        } else if byte == b'\\' && at + 1 < text.bytes.len() {
            // mod_accesslog undoes C's escapes, and drops a backslash before any other byte.
            let meant = match text.bytes[at + 1] {
                b'%' => None,
                b'a' => Some(0x07),
                b'b' => Some(0x08),
                b't' => Some(b'\t'),
                b'n' => Some(b'\n'),
                b'v' => Some(0x0b),
                b'f' => Some(0x0c),
                b'r' => Some(b'\r'),
                other => Some(other),
            };
            at += 1 + usize::from(meant.is_some());
            pieces.push(Piece::Literal(meant.into_iter().collect()));
        } else {
            pieces.push(Piece::Literal(vec![byte]));
            at += 1;
        }
    }
    Ok(pieces)
}

/// The directive at `at`, and its length.
fn directive(text: &Text, at: usize, json: bool) -> Result<(Piece, usize), FormatError> {
    let bytes = &text.bytes;
    let mut index = at + 1;
    // `<` and `>` are taken and mean nothing: lighttpd has one status.
    if matches!(bytes.get(index), Some(b'<' | b'>')) {
        index += 1;
    }
    let mut argument: &[u8] = b"";
    let argument_at = index + 1;
    if bytes.get(index) == Some(&b'{') {
        let Ok((rest, inside)) = braces(&bytes[index..]) else {
            return Err(text.error(
                index..bytes.len(),
                "the closing } is missing",
                "write %{NAME} and the directive's letter",
            ));
        };
        argument = inside;
        index = bytes.len() - rest.len();
    }
    let end = text.end_of_character(index);
    let span = at..end;
    let Some(&letter) = bytes.get(index) else {
        return Err(text.error(
            span.clone(),
            format!("the directive {} has no letter", text.written(span)),
            "for a literal percent sign write %%",
        ));
    };
    if letter == b'%' {
        return Ok((Piece::Literal(vec![b'%']), end - at));
    }
    let meaning = match letter {
        b't' => time(text, argument, argument_at)?,
        b'T' if !matches!(argument, b"" | b"s" | b"sec" | b"ms" | b"us") => {
            return Err(text.error(
                span.clone(),
                format!("unknown unit in {}", text.written(span)),
                "%{…}T takes s, ms or us",
            ));
        }
        _ => meaning(letter, argument, json).ok_or_else(|| {
            text.error(
                span.clone(),
                format!("unknown directive {}", text.written(span.clone())),
                "for a literal percent sign write %%; all directives: README, \"Log formats\"",
            )
        })?,
    };
    let (meaning, bytes) = meaning;
    let directive = Directive {
        meaning,
        bytes,
        escaped: bytes.contains(b'"'),
        escape: if json {
            Escape::Json
        } else {
            Escape::Backslash
        },
        optional: false,
        empty_is_quotes: false,
        span: text.span(span.clone()),
        written: text.written(span),
    };
    Ok((Piece::Directive(directive), end - at))
}

fn braces(text: &[u8]) -> IResult<&[u8], &[u8]> {
    delimited(tag("{"), take_until("}"), tag("}")).parse(text)
}

/// What a directive means and which bytes it can hold; `None`: there is no such directive.
fn meaning(letter: u8, argument: &[u8], json: bool) -> Option<(Meaning, ByteSet)> {
    // Controls, quotes and backslashes are escaped; bytes above 0x7e too, but not in json.
    let any = if json {
        ByteSet::ABOVE_CONTROLS
    } else {
        ByteSet::PRINTABLE
    };
    let word = any.without(b' ');
    let plain_word = ByteSet::WORD.without(b'"').without(b'\\');
    // It writes `-` for a count of zero, and for that alone.
    let count = |count| Meaning::Bytes {
        count,
        dash_is_zero: true,
    };
    Some(match letter {
        b'a' | b'h' => (
            Meaning::Client {
                rank: u8::from(letter == b'h'),
            },
            plain_word,
        ),
        b'A' | b'k' | b'l' | b'p' | b'X' => (Meaning::Skipped, plain_word),
        // Without server.name set it is the Host, as %V. By default (host-strict) a Host with
        // spaces or quotes is a 400, logged as `-`.
        b'v' => (Meaning::Vhost { rank: 0 }, word),
        b'V' => (Meaning::Vhost { rank: 1 }, word),
        b'i' if argument.eq_ignore_ascii_case(b"Host") => (Meaning::Vhost { rank: 2 }, any),
        b'u' => (Meaning::User, any),
        b'I' => (count(Count::In), ByteSet::COUNT),
        b'O' => (count(Count::Out), ByteSet::COUNT),
        b'b' | b'B' => (count(Count::Body), ByteSet::COUNT),
        b's' => (Meaning::Status { rank: 0 }, ByteSet::COUNT),
        b'D' => (
            Meaning::Duration {
                per_second: 1_000_000,
            },
            ByteSet::COUNT,
        ),
        b'T' => {
            let per_second = match argument {
                b"ms" => 1000,
                b"us" => 1_000_000,
                _ => 1,
            };
            (Meaning::Duration { per_second }, ByteSet::COUNT)
        }
        b'r' => (Meaning::Request, any),
        // A word from a fixed list, or nothing.
        b'm' => (Meaning::Method, plain_word),
        b'H' => (Meaning::Skipped, plain_word),
        b'U' => (Meaning::Path { rank: 1 }, any),
        b'q' => (Meaning::Query, any),
        // %P and an absent cookie are written as nothing at all.
        b'C' | b'e' | b'f' | b'i' | b'n' | b'o' | b'P' => (Meaning::Skipped, any),
        _ => return None,
    })
}

/// `%t` and `%{…}t`; a format without `begin:` is of the request's end.
fn time(text: &Text, argument: &[u8], at: usize) -> Result<(Meaning, ByteSet), FormatError> {
    let (moment, format, skipped) = match argument {
        argument if argument.starts_with(b"begin:") => (Moment::Begin, &argument[6..], 6),
        argument if argument.starts_with(b"end:") => (Moment::End, &argument[4..], 4),
        argument => (Moment::End, argument, 0),
    };
    let (form, bytes) = match format {
        b"nsec" => (
            TimeForm::Epoch {
                per_second: 1_000_000_000,
            },
            ByteSet::DIGITS,
        ),
        b"nsec_frac" => (TimeForm::Fraction { digits: 9 }, ByteSet::DIGITS),
        _ => time_form(text, format, at + skipped)?,
    };
    Ok((Meaning::Time { form, moment }, bytes))
}
