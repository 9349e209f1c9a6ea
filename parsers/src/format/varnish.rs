//! varnishncsa's format, as `-F` takes it.

use super::apache::time_form;
use super::quoting::{self, Text, inside_quotes};
use super::{ByteSet, Count, Directive, Format, Meaning, Moment, Piece, Server, TimeForm};
use crate::error::FormatError;
use crate::text::Escape;

const EXAMPLE: &str = "paste what stands behind -F, or the whole command: varnishncsa:-F 'FORMAT'";

/// What varnishncsa writes without `-F`.
const DEFAULT: &str = r#"%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i""#;

/// The preset `varnishncsa`.
pub(super) fn default() -> Option<Format> {
    let pieces = pieces(&Text::verbatim(DEFAULT.as_bytes(), 0), false).ok()?;
    let mut format = Format::from_pieces(Server::Varnish, pieces, 0..DEFAULT.len());
    format.preset = Some("varnishncsa");
    DEFAULT.clone_into(&mut format.text);
    Some(format)
}

/// Parses a bare format string, a quoted one, or varnishncsa's command line.
pub(super) fn parse(written: &[u8], at: usize) -> Result<Format, FormatError> {
    let trimmed = written.trim_ascii();
    let at = at + (written.len() - written.trim_ascii_start().len());
    let span = at..at + trimmed.len();
    let is_command = trimmed.starts_with(b"-")
        || [&b"varnishncsa "[..], b"/usr/bin/varnishncsa "]
            .iter()
            .any(|name| trimmed.starts_with(name));
    let (text, json) = if is_command {
        command(trimmed, at)?
    } else if inside_quotes(trimmed).is_some() {
        let words = words(trimmed, at)?;
        (words.into_iter().next(), false)
    } else {
        (Some(Text::verbatim(trimmed, at)), false)
    };
    let Some(text) = text else {
        // Without -F; spans would point at text that the operator did not write.
        let pieces = pieces(&Text::verbatim(DEFAULT.as_bytes(), 0), json)?;
        let mut format = Format::from_pieces(Server::Varnish, pieces, 0..DEFAULT.len());
        DEFAULT.clone_into(&mut format.text);
        return Ok(format);
    };
    if text.bytes.is_empty() {
        return Err(quoting::error(span, "there is no format here", EXAMPLE));
    }
    if !text.bytes.contains(&b'%') {
        let name = text.written(0..text.bytes.len());
        let message = format!("there is no directive in {name:?}");
        return Err(text.error(0..text.bytes.len(), message, EXAMPLE));
    }
    Ok(Format::from_pieces(
        Server::Varnish,
        pieces(&text, json)?,
        span,
    ))
}

/// The format of a command line, if it has one, and whether it writes JSON's escapes.
fn command(line: &[u8], at: usize) -> Result<(Option<Text>, bool), FormatError> {
    let (mut format, mut json) = (None, false);
    let mut words = words(line, at)?.into_iter();
    while let Some(word) = words.next() {
        let refuse =
            |message: &str, help: &str| Err(word.error(0..word.bytes.len(), message, help));
        match word.bytes.as_slice() {
            b"-F" => format = words.next(),
            [b'-', b'F', ..] => format = Some(word.without(2)),
            b"-j" => json = true,
            b"-f" => {
                return refuse(
                    "the format is in a file",
                    "paste what stands in that file: varnishncsa:FORMAT",
                );
            }
            b"-b" => {
                return refuse(
                    "with -b varnishncsa logs what backends sent, not what clients got",
                    "log with -c, which is the default",
                );
            }
            _ => {}
        }
    }
    Ok((format, json))
}

/// Splits words as a shell does: quotes of both kinds, and backslashes.
fn words(line: &[u8], at: usize) -> Result<Vec<Text>, FormatError> {
    let mut words = Vec::new();
    let mut word: Option<Text> = None;
    let mut quote = None;
    let mut index = 0;
    while let Some(&byte) = line.get(index) {
        let origin = at + index;
        let next = line.get(index + 1);
        index += 1;
        match (byte, quote) {
            (b' ' | b'\t' | b'\n', None) => words.extend(word.take()),
            (b'"' | b'\'', None) => {
                quote = Some((byte, origin));
                word.get_or_insert_with(|| Text::at(origin));
            }
            (byte, Some((open, _))) if byte == open => quote = None,
            // In double quotes a backslash hides four bytes, outside any.
            (b'\\', None | Some((b'"', _)))
                if quote.is_none() || matches!(next, Some(b'"' | b'\\' | b'$' | b'`')) =>
            {
                if let Some(&next) = next {
                    word.get_or_insert_with(|| Text::at(origin))
                        .push(next, origin + 1);
                }
                index += 1;
            }
            (byte, _) => word
                .get_or_insert_with(|| Text::at(origin))
                .push(byte, origin),
        }
    }
    if let Some((open, origin)) = quote {
        return Err(quoting::error(
            origin..origin + 1,
            format!("the string's closing {} is missing", char::from(open)),
            EXAMPLE,
        ));
    }
    words.extend(word);
    Ok(words)
}

fn pieces(text: &Text, json: bool) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.bytes.get(at) {
        match (byte, text.bytes.get(at + 1)) {
            (b'%', _) => {
                let (found, length) = directive(text, at, json)?;
                pieces.extend(found);
                at += length;
            }
            (b'\\', Some(b'n')) => {
                return Err(text.error(
                    at..at + 2,
                    "a line of the log must be one line",
                    "leave the newline out: varnishncsa ends each line by itself",
                ));
            }
            // varnishncsa undoes \t and drops a backslash before any other byte.
            (b'\\', Some(&escaped)) => {
                let meant = if escaped == b't' { b'\t' } else { escaped };
                pieces.push(Piece::Literal(vec![meant]));
                at += 2;
            }
            _ => {
                pieces.push(Piece::Literal(vec![byte]));
                at += 1;
            }
        }
    }
    Ok(pieces)
}

/// The directive at `at` as pieces, and its length.
fn directive(text: &Text, at: usize, json: bool) -> Result<(Vec<Piece>, usize), FormatError> {
    let bytes = &text.bytes;
    let mut argument: &[u8] = b"";
    let mut letter_at = at + 1;
    if bytes.get(letter_at) == Some(&b'{') {
        let inside = &bytes[letter_at + 1..];
        let Some(length) = closing(inside) else {
            return Err(text.error(
                letter_at..bytes.len(),
                "the closing } is missing",
                "write %{NAME} and the directive's letter",
            ));
        };
        argument = &inside[..length];
        letter_at += length + 2;
    }
    let end = text.end_of_character(letter_at);
    let span = at..end;
    let Some(&letter) = bytes.get(letter_at) else {
        return Err(text.error(
            span.clone(),
            format!("the directive {} has no letter", text.written(span)),
            "varnishncsa cannot log a percent sign",
        ));
    };
    let has_argument = letter_at > at + 1;
    let length = end - at;
    match (letter, argument) {
        (b'l', _) if !has_argument => return Ok((vec![Piece::Literal(b"-".to_vec())], length)),
        (b'x', b"Varnish:default_format") => {
            let default = pieces(&Text::verbatim(DEFAULT.as_bytes(), 0), json)?;
            // What it stands for was written here.
            let moved = default.into_iter().map(|piece| match piece {
                Piece::Directive(directive) => Piece::Directive(Directive {
                    span: text.span(span.clone()),
                    written: text.written(span.clone()),
                    ..directive
                }),
                literal @ Piece::Literal(_) => literal,
            });
            return Ok((moved.collect(), length));
        }
        _ => {}
    }
    let found = match (letter, has_argument) {
        (b't', true) => {
            let (form, bytes) = time_form(text, argument, at + 2)?;
            let moment = Moment::Begin;
            Some((Meaning::Time { form, moment }, bytes))
        }
        (_, false) => plain(letter, json),
        (_, true) => with_argument(letter, argument, json),
    };
    let Some((meaning, bytes)) = found else {
        return Err(text.error(
            span.clone(),
            format!("unknown directive {}", text.written(span)),
            "all directives: man varnishncsa; a percent sign of its own cannot be logged",
        ));
    };
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
    Ok((vec![Piece::Directive(directive)], length))
}

/// The index of the brace that closes what stands open; braces can stand in one another.
fn closing(inside: &[u8]) -> Option<usize> {
    let mut depth = 1;
    inside.iter().position(|&byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Text as it is escaped: `\xhh`, C's escapes, a backslash before quotes and backslashes; with `-j` as
/// in JSON, with all bytes from 0x7f up as they are.
fn any(json: bool) -> ByteSet {
    if json {
        ByteSet::ABOVE_CONTROLS
    } else {
        ByteSet::PRINTABLE
    }
}

/// A directive without an argument.
fn plain(letter: u8, json: bool) -> Option<(Meaning, ByteSet)> {
    let any = any(json);
    let word = any.without(b' ');
    let plain_word = ByteSet::WORD.without(b'"').without(b'\\');
    let count = |count| Meaning::Bytes {
        count,
        dash_is_zero: false,
    };
    Some(match letter {
        b'b' => (count(Count::Body), ByteSet::COUNT),
        b'D' => (duration(1_000_000), ByteSet::COUNT),
        b'T' => (duration(1), ByteSet::COUNT),
        b'h' => (Meaning::Client { rank: 0 }, plain_word),
        b'H' => (Meaning::Skipped, word),
        b'I' => (count(Count::In), ByteSet::COUNT),
        b'O' => (count(Count::Out), ByteSet::COUNT),
        // A request line is cut at its spaces.
        b'm' => (Meaning::Method, word),
        b'q' => (Meaning::Query, word),
        b'U' => (Meaning::Path { rank: 1 }, word),
        b'r' => (Meaning::UrlRequest, any),
        b's' => (Meaning::Status { rank: 0 }, ByteSet::COUNT),
        b't' => {
            let form = TimeForm::Clf { brackets: true };
            let moment = Moment::Begin;
            (Meaning::Time { form, moment }, ByteSet::CLOCK)
        }
        b'u' => (Meaning::User, any),
        _ => return None,
    })
}

/// A directive with one.
fn with_argument(letter: u8, argument: &[u8], json: bool) -> Option<(Meaning, ByteSet)> {
    let any = any(json);
    let plain_word = ByteSet::WORD.without(b'"').without(b'\\');
    Some(match (letter, argument) {
        (b'i', argument) if argument.eq_ignore_ascii_case(b"Host") => {
            (Meaning::Vhost { rank: 0 }, any)
        }
        (b'i' | b'o', _) => (Meaning::Skipped, any),
        (b'T', b"s") => (duration(1), ByteSet::COUNT),
        (b'T', b"ms") => (duration(1000), ByteSet::COUNT),
        (b'T', b"us") => (duration(1_000_000), ByteSet::COUNT),
        (b'x', b"Varnish:time_firstbyte") => (Meaning::Skipped, ByteSet::DECIMAL),
        (b'x', b"Varnish:hitmiss" | b"Varnish:handling" | b"Varnish:side") => {
            (Meaning::Skipped, plain_word)
        }
        (b'x', b"Varnish:vxid") => (Meaning::Skipped, ByteSet::COUNT),
        (b'x', argument) if argument.starts_with(b"VCL_Log:") => (Meaning::Skipped, any),
        (b'x', argument) if argument.starts_with(b"VSL:") && argument.len() > 4 => {
            (Meaning::Skipped, any)
        }
        _ => return None,
    })
}

fn duration(per_second: u64) -> Meaning {
    Meaning::Duration { per_second }
}
