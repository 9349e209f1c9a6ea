//! nginx's `log_format`.

use nom::branch::alt;
use nom::bytes::complete::take_while1;
use nom::character::complete::char as byte;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser as _};

use super::quoting::{self, Text};
use super::{ByteSet, Count, Directive, Format, Meaning, Moment, Piece, Server, TimeForm};
use crate::error::FormatError;
use crate::text::Escape;

/// The `escape=` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Default,
    Json,
    None,
}

const EXAMPLE: &str = "paste the whole directive: nginx:log_format NAME 'FORMAT';";

/// Parses a bare format string, quoted strings, or a whole `log_format` directive.
pub(super) fn parse(written: &[u8], at: usize) -> Result<Format, FormatError> {
    let trimmed = written.trim_ascii();
    let at = at + (written.len() - written.trim_ascii_start().len());
    let (text, mode) = match trimmed.strip_prefix(b"log_format") {
        Some(rest) if rest.first().is_none_or(u8::is_ascii_whitespace) => {
            read_directive(rest, at + b"log_format".len())?
        }
        _ if trimmed.starts_with(b"escape=") => read_strings(trimmed, at)?,
        _ if is_all_quoted(trimmed) => read_strings(trimmed, at)?,
        _ if trimmed.is_empty() => {
            return Err(quoting::error(at..at, "the format is empty", EXAMPLE));
        }
        _ => (Text::verbatim(trimmed, at), Mode::Default),
    };
    if !text.bytes.contains(&b'$') {
        let name = text.written(0..text.bytes.len());
        return Err(text.error(
            0..text.bytes.len(),
            format!("there is no variable in {name:?}"),
            "paste the log_format directive that defines it; nginx's own combined is the preset combined",
        ));
    }
    let mut format =
        Format::from_pieces(Server::Nginx, pieces(&text, mode)?, at..at + trimmed.len());
    format.forgeable = mode == Mode::None;
    Ok(format)
}

/// Whether the text is quoted strings and nothing else (but a final `;`).
fn is_all_quoted(mut text: &[u8]) -> bool {
    loop {
        text = skip_space(text);
        match text.first() {
            Some(b'\'' | b'"') => {}
            first => return matches!(first, None | Some(b';')),
        }
        match token(text, 0) {
            Ok(Some((_, rest))) => text = rest,
            _ => return false,
        }
    }
}

/// What follows the word `log_format`: a name, perhaps `escape=`, strings.
fn read_directive(text: &[u8], at: usize) -> Result<(Text, Mode), FormatError> {
    let start = skip_space(text);
    let name = token(start, at + text.len() - start.len())?;
    let Some((_, rest)) = name else {
        return Err(quoting::error(
            at..at + text.len(),
            "log_format has no name",
            EXAMPLE,
        ));
    };
    read_strings(rest, at + text.len() - rest.len())
}

/// Perhaps `escape=`, then strings up to `;` or the end.
fn read_strings(text: &[u8], at: usize) -> Result<(Text, Mode), FormatError> {
    let end = at + text.len();
    let mut rest = skip_space(text);
    let mut mode = Mode::Default;
    let mut joined = Text::at(end - rest.len());
    let mut count = 0;
    loop {
        rest = skip_space(rest);
        let start = end - rest.len();
        if rest.first() == Some(&b';') {
            let after = skip_space(&rest[1..]);
            if !after.is_empty() {
                return Err(quoting::error(
                    end - after.len()..end,
                    "something follows the log_format directive",
                    "paste one directive alone; give several formats as a list",
                ));
            }
            break;
        }
        let Some((token, after)) = token(rest, start)? else {
            break;
        };
        if count == 0 && token.bytes.starts_with(b"escape=") {
            mode = match &token.bytes[b"escape=".len()..] {
                b"default" => Mode::Default,
                b"json" => Mode::Json,
                b"none" => Mode::None,
                _ => {
                    return Err(token.error(
                        0..token.bytes.len(),
                        format!("unknown escaping {}", token.written(0..token.bytes.len())),
                        "nginx knows escape=default, escape=json and escape=none",
                    ));
                }
            };
        } else {
            joined.append(&token);
        }
        count += 1;
        rest = after;
    }
    if joined.bytes.is_empty() {
        return Err(quoting::error(at..end, "the format is empty", EXAMPLE));
    }
    Ok((joined, mode))
}

/// White space and comments; a `#` starts a comment where a token could start.
fn skip_space(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        if text.first() != Some(&b'#') {
            return text;
        }
        text = memchr::memchr(b'\n', text).map_or(&[], |end| &text[end..]);
    }
}

/// One token of nginx.conf, quoted or not; `None` where the text ends.
fn token(text: &[u8], at: usize) -> Result<Option<(Text, &[u8])>, FormatError> {
    let Some(&first) = text.first() else {
        return Ok(None);
    };
    if first == b';' {
        return Ok(None);
    }
    let quote = matches!(first, b'"' | b'\'').then_some(first);
    let mut read = Text::at(at);
    let mut index = usize::from(quote.is_some());
    while let Some(&byte) = text.get(index) {
        let ends = match quote {
            Some(quote) => byte == quote,
            None => byte.is_ascii_whitespace() || byte == b';',
        };
        if ends {
            let end = index + usize::from(quote.is_some());
            let after = &text[end..];
            if after
                .first()
                .is_some_and(|&byte| !byte.is_ascii_whitespace() && byte != b';')
            {
                return Err(quoting::error(
                    at + end..at + end + 1,
                    "a string must be followed by white space or a semicolon",
                    "nginx refuses this too; see where the string's quotes end",
                ));
            }
            return Ok(Some((read, after)));
        }
        // nginx undoes these escapes alone; before other bytes a backslash is itself.
        let (meant, used) = match (byte, text.get(index + 1)) {
            (b'\\', Some(&next @ (b'"' | b'\'' | b'\\'))) => (next, 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            _ => (byte, 1),
        };
        read.push(meant, at + index);
        index += used;
    }
    match quote {
        None => Ok(Some((read, &[]))),
        Some(quote) => Err(quoting::error(
            at..at + 1,
            format!("the string's closing {} is missing", char::from(quote)),
            EXAMPLE,
        )),
    }
}

/// A format string's literals and variables.
fn pieces(text: &Text, mode: Mode) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut rest: &[u8] = &text.bytes;
    while !rest.is_empty() {
        let at = text.bytes.len() - rest.len();
        if rest[0] != b'$' {
            let (after, literal) = literal(rest).unwrap_or((&[], rest));
            pieces.push(Piece::Literal(literal.to_vec()));
            rest = after;
            continue;
        }
        let Ok((after, name)) = variable(rest) else {
            return Err(text.error(at..(at + 2).min(text.bytes.len()), "a $ without a variable's name", "nginx refuses this too; it has no way to log a dollar sign but a variable that holds one"));
        };
        let end = text.bytes.len() - after.len();
        let (meaning, bytes) = meaning(&name.to_ascii_lowercase());
        let bytes = bytes.written_in(mode);
        let escaped = mode == Mode::Json && bytes.contains(b'"');
        pieces.push(Piece::Directive(Directive {
            meaning,
            bytes,
            escaped,
            escape: match mode {
                Mode::Default => Escape::Backslash,
                Mode::Json => Escape::Json,
                Mode::None => Escape::None,
            },
            optional: false,
            empty_is_quotes: false,
            span: text.span(at..end),
            written: text.written(at..end),
        }));
        rest = after;
    }
    Ok(pieces)
}

fn literal(text: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|byte| byte != b'$').parse(text)
}

/// `$name` or `${name}`.
fn variable(text: &[u8]) -> IResult<&[u8], &[u8]> {
    let name = || take_while1(|byte: u8| byte.is_ascii_alphanumeric() || byte == b'_');
    preceded(
        byte('$'),
        alt((delimited(byte('{'), name(), byte('}')), name())),
    )
    .parse(text)
}

/// Which bytes nginx writes for a variable.
enum Bytes {
    /// These, whatever clients send.
    Only(ByteSet),
    /// No space and no control byte, whatever clients send.
    Word,
    /// Anything; what the escaping leaves of it.
    Any,
}

impl Bytes {
    fn written_in(self, mode: Mode) -> ByteSet {
        match (self, mode) {
            (Self::Only(bytes), _) => bytes,
            // A Host may hold quotes, backslashes and bytes above 0x7e: escaped, or not.
            (Self::Word, Mode::Default) => ByteSet::WORD.without(b'"'),
            (Self::Word, Mode::Json | Mode::None) => ByteSet::EMPTY.range(b'!', 0xff),
            // Written as \xHH: controls, quotes, backslashes and all above 0x7e.
            (Self::Any, Mode::Default) => ByteSet::PRINTABLE.without(b'"'),
            // Written as in JSON: controls, quotes and backslashes; all else as it is.
            (Self::Any, Mode::Json) => ByteSet::ABOVE_CONTROLS,
            (Self::Any, Mode::None) => ByteSet::ALL,
        }
    }
}

/// What a variable means, and what it can hold. Unknown ones may hold anything: modules and `map`
/// make variables at will.
fn meaning(name: &[u8]) -> (Meaning, Bytes) {
    let end = Moment::End;
    let count = |count| {
        // These four are written by the log module itself and are always numbers.
        (
            Meaning::Bytes {
                count,
                dash_is_zero: false,
            },
            Bytes::Only(ByteSet::COUNT),
        )
    };
    match name {
        // Lower case, no port; nginx refuses a Host with spaces or control bytes with a 400 and
        // logs its server_name then.
        b"host" => (Meaning::Vhost { rank: 0 }, Bytes::Word),
        b"server_name" => (Meaning::Vhost { rank: 1 }, Bytes::Word),
        b"http_host" => (Meaning::Vhost { rank: 2 }, Bytes::Any),
        b"remote_user" => (Meaning::User, Bytes::Any),
        // An address, or `unix:`.
        b"remote_addr" => (Meaning::Client { rank: 0 }, Bytes::Word),
        b"request_length" => count(Count::In),
        b"bytes_sent" => count(Count::Out),
        b"body_bytes_sent" => count(Count::Body),
        b"status" => (Meaning::Status { rank: 0 }, Bytes::Only(ByteSet::COUNT)),
        b"request_time" => (
            Meaning::Duration { per_second: 1 },
            Bytes::Only(ByteSet::DECIMAL),
        ),
        b"msec" => (
            Meaning::Time {
                form: TimeForm::EpochWithFraction,
                moment: end,
            },
            Bytes::Only(ByteSet::DIGITS.with(b'.')),
        ),
        b"time_iso8601" => (
            Meaning::Time {
                form: TimeForm::Iso8601,
                moment: end,
            },
            Bytes::Only(ByteSet::CLOCK),
        ),
        b"time_local" => (
            Meaning::Time {
                form: TimeForm::Clf { brackets: false },
                moment: end,
            },
            Bytes::Only(ByteSet::CLOCK),
        ),
        b"request" => (Meaning::Request, Bytes::Any),
        // Capital letters, `_` and `-`; other methods are a 400 and log none.
        b"request_method" => (Meaning::Method, Bytes::Word),
        b"request_uri" => (Meaning::Path { rank: 0 }, Bytes::Any),
        b"uri" | b"document_uri" => (Meaning::Path { rank: 1 }, Bytes::Any),
        b"is_args" | b"args" | b"query_string" => (Meaning::Query, Bytes::Any),
        _ => (Meaning::Skipped, skipped(name)),
    }
}

fn skipped(name: &[u8]) -> Bytes {
    const LIST: ByteSet = ByteSet::DECIMAL.with(b' ').with(b',').with(b':');
    match name {
        b"connection"
        | b"connection_requests"
        | b"pid"
        | b"server_port"
        | b"remote_port"
        | b"proxy_protocol_port"
        | b"nginx_version"
        | b"gzip_ratio"
        | b"connection_time" => Bytes::Only(ByteSet::DECIMAL),
        // One number for each upstream asked, with `, ` and ` : ` between them.
        b"upstream_response_time"
        | b"upstream_connect_time"
        | b"upstream_header_time"
        | b"upstream_response_length"
        | b"upstream_bytes_received"
        | b"upstream_bytes_sent"
        | b"upstream_status"
        | b"upstream_queue_time" => Bytes::Only(LIST),
        b"scheme"
        | b"https"
        | b"pipe"
        | b"request_id"
        | b"request_completion"
        | b"server_addr"
        | b"hostname"
        | b"ssl_protocol"
        | b"ssl_cipher"
        | b"ssl_session_reused"
        | b"ssl_session_id"
        | b"server_protocol"
        | b"http2"
        | b"http3"
        | b"realip_remote_addr"
        | b"realip_remote_port"
        | b"proxy_protocol_addr"
        | b"upstream_cache_status" => Bytes::Word,
        _ => Bytes::Any,
    }
}
