//! Apache httpd's `LogFormat`: mod_log_config, mod_logio and mod_ssl's additions.

use nom::bytes::complete::{tag, take_until};
use nom::sequence::delimited;
use nom::{IResult, Parser as _};

use super::quoting::{self, Text, inside_quotes};
use super::{ByteSet, Count, Directive, Format, Meaning, Moment, Piece, Server, TimeForm};
use crate::error::FormatError;
use crate::text::Escape;
use crate::time::Pattern;

const EXAMPLE: &str = "paste the whole directive: apache:LogFormat \"FORMAT\" NAME";

/// Parses a bare format string, a quoted one, or a whole `LogFormat` or `CustomLog` directive.
pub(super) fn parse(written: &[u8], at: usize) -> Result<Format, FormatError> {
    let trimmed = written.trim_ascii();
    let at = at + (written.len() - written.trim_ascii_start().len());
    let span = at..at + trimmed.len();
    let word = trimmed
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let is_directive = trimmed.get(word).is_none_or(u8::is_ascii_whitespace);
    let text = if is_directive && trimmed[..word].eq_ignore_ascii_case(b"LogFormat") {
        arguments(trimmed, at, word)?.into_iter().next()
    } else if is_directive && trimmed[..word].eq_ignore_ascii_case(b"CustomLog") {
        let mut arguments = arguments(trimmed, at, word)?.into_iter();
        arguments.next();
        arguments.next()
    } else if is_directive && trimmed[..word].eq_ignore_ascii_case(b"TransferLog") {
        None
    } else if let Some(inside) = inside_quotes(trimmed) {
        Some(unquote(inside, trimmed[0], at + 1))
    } else if memchr::memmem::find(trimmed, b"\\\"").is_some() {
        // The inside of a quoted string, pasted without its quotes.
        Some(unquote(trimmed, b'"', at))
    } else {
        Some(Text::verbatim(trimmed, at))
    };
    let Some(text) = text.filter(|text| !text.bytes.is_empty()) else {
        return Err(quoting::error(span, "there is no format here", EXAMPLE));
    };
    if !text.bytes.contains(&b'%') {
        let name = text.written(0..text.bytes.len());
        return Err(text.error(
            0..text.bytes.len(),
            format!("{name:?} is the name of a format, not a format"),
            format!("paste the line that defines it: apache:LogFormat \"…\" {name}"),
        ));
    }
    let pieces = pieces(&text, Server::Apache)?;
    Ok(Format::from_pieces(Server::Apache, pieces, span))
}

/// The arguments of a directive, quoted or not, as httpd.conf splits them.
fn arguments(line: &[u8], at: usize, mut index: usize) -> Result<Vec<Text>, FormatError> {
    let mut arguments = Vec::new();
    loop {
        while let Some(length) = blank(&line[index..]) {
            index += length;
        }
        match line.get(index) {
            None => return Ok(arguments),
            Some(b'\n') => {
                return Err(quoting::error(
                    at + index + 1..at + line.len(),
                    "something follows the directive",
                    "paste one directive alone; give several formats as a list",
                ));
            }
            Some(&quote @ (b'"' | b'\'')) => {
                let start = index + 1;
                index = start;
                loop {
                    match line.get(index) {
                        None => {
                            return Err(quoting::error(
                                at + start - 1..at + start,
                                format!("the string's closing {} is missing", char::from(quote)),
                                EXAMPLE,
                            ));
                        }
                        Some(&byte) if byte == quote => break,
                        Some(b'\\') => index += 2,
                        Some(_) => index += 1,
                    }
                }
                arguments.push(unquote(&line[start..index], quote, at + start));
                index += 1;
            }
            Some(_) => {
                let length = line[index..]
                    .iter()
                    .take_while(|byte| !byte.is_ascii_whitespace())
                    .count();
                arguments.push(unquote(&line[index..index + length], 0, at + index));
                index += length;
            }
        }
    }
}

/// The length of a blank: a space, a tab, or a backslash that hides the end of a line.
fn blank(text: &[u8]) -> Option<usize> {
    match text {
        [b'\\', b'\r', b'\n', ..] => Some(3),
        [b'\\', b'\n', ..] => Some(2),
        [b' ' | b'\t' | b'\r', ..] => Some(1),
        _ => None,
    }
}

/// A backslash hides a backslash or the quote; one at the end of a line joins it to the next.
fn unquote(inside: &[u8], quote: u8, at: usize) -> Text {
    let mut text = Text::at(at);
    let mut index = 0;
    while let Some(&byte) = inside.get(index) {
        if byte == b'\\'
            && let Some(length) = blank(&inside[index..])
        {
            index += length;
            continue;
        }
        let hides = byte == b'\\'
            && inside
                .get(index + 1)
                .is_some_and(|&next| next == b'\\' || (next == quote && quote != 0));
        let from = index + usize::from(hides);
        text.push(inside[from], at + from);
        index = from + 1;
    }
    text
}

/// A format string's literals and directives; `server` is Apache, or Either for the presets.
pub(super) fn pieces(text: &Text, server: Server) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.bytes.get(at) {
        match byte {
            b'%' => {
                let (piece, length) = directive(text, at, server)?;
                pieces.push(piece);
                at += length;
            }
            // mod_log_config's own escapes; before other bytes a backslash is itself.
            b'\\' => {
                let (meant, used) = match text.bytes.get(at + 1) {
                    Some(b'\\') => (b'\\', 2),
                    Some(b't') => (b'\t', 2),
                    Some(b'r') => (b'\r', 2),
                    Some(b'n') => (b'\n', 2),
                    _ => (b'\\', 1),
                };
                pieces.push(Piece::Literal(vec![meant]));
                at += used;
            }
            _ => {
                pieces.push(Piece::Literal(vec![byte]));
                at += 1;
            }
        }
    }
    Ok(pieces)
}

/// What stands between the `%` and the letter, which may come in any order.
#[derive(Default)]
struct Modifiers<'t> {
    conditional: bool,
    /// `<` (true) or `>` (false).
    original: Option<bool>,
    argument: &'t [u8],
    argument_at: usize,
}

/// The directive at `at`, and its length.
fn directive(text: &Text, at: usize, server: Server) -> Result<(Piece, usize), FormatError> {
    let bytes = &text.bytes;
    let end = bytes.len();
    let mut modifiers = Modifiers::default();
    let mut index = at + 1;
    let letter = loop {
        let Some(&byte) = bytes.get(index) else {
            return Err(text.error(
                at..end,
                format!("the directive {} has no letter", text.written(at..end)),
                "for a literal percent sign write %%",
            ));
        };
        match byte {
            b'!' | b',' => index += 1,
            b'<' => {
                modifiers.original = Some(true);
                index += 1;
            }
            b'>' => {
                modifiers.original = Some(false);
                index += 1;
            }
            b'0'..=b'9' => {
                modifiers.conditional = true;
                index += 1;
            }
            b'{' => {
                let Ok((rest, argument)) = braces(&bytes[index..]) else {
                    return Err(text.error(
                        index..end,
                        "the closing } is missing",
                        "write %{NAME} and the directive's letter",
                    ));
                };
                modifiers.argument = argument;
                modifiers.argument_at = index + 1;
                index = end - rest.len();
            }
            b'%' => {
                return Ok((Piece::Literal(vec![b'%']), index + 1 - at));
            }
            _ => break index,
        }
    };
    // Extensions are named by `^` and two more letters.
    let last = letter + if bytes[letter] == b'^' { 2 } else { 0 };
    let end = text.end_of_character(last);
    let name = &bytes[letter..end];
    let span = at..end;
    let unknown = || {
        text.error(
            span.clone(),
            format!("unknown directive {}", text.written(span.clone())),
            "for a literal percent sign write %%; all directives: README, \"Log formats\"",
        )
    };
    let (meaning, mut bytes) =
        meaning(text, name, &modifiers, span.clone())?.ok_or_else(unknown)?;
    let optional = modifiers.conditional;
    if optional {
        bytes = bytes.with(b'-');
    }
    let is_user = meaning == Meaning::User;
    let directive = Directive {
        // ap_escape_logitem: controls and all above 0x7e become \xhh or C escapes, quotes and
        // backslashes get a backslash. nginx, where a preset may be nginx's, writes \x22 and \x5C.
        // mod_ssl escapes nothing.
        escaped: bytes.contains(b'"') && !matches!(name, b"x" | b"c"),
        escape: Escape::Backslash,
        optional,
        // An empty user is written as two bare quotes.
        empty_is_quotes: is_user && matches!(server, Server::Apache | Server::Either),
        meaning,
        bytes,
        span: text.span(span.clone()),
        written: text.written(span),
    };
    Ok((Piece::Directive(directive), end - at))
}

fn braces(text: &[u8]) -> IResult<&[u8], &[u8]> {
    delimited(tag("{"), take_until("}"), tag("}")).parse(text)
}

/// What a directive means and which bytes it can hold; `None`: there is no such directive.
fn meaning(
    text: &Text,
    name: &[u8],
    modifiers: &Modifiers<'_>,
    span: std::ops::Range<usize>,
) -> Result<Option<(Meaning, ByteSet)>, FormatError> {
    let argument = modifiers.argument;
    // As the server escapes it: printable ASCII, with quotes behind backslashes.
    let any = ByteSet::PRINTABLE;
    let word = ByteSet::WORD;
    let plain_word = ByteSet::WORD.without(b'"').without(b'\\');
    let count = |count| Meaning::Bytes {
        count,
        dash_is_zero: false,
    };
    let body = Meaning::Bytes {
        count: Count::Body,
        dash_is_zero: true,
    };
    Ok(Some(match name {
        b"a" if argument == b"c" => (Meaning::Client { rank: 1 }, plain_word),
        b"a" => (Meaning::Client { rank: 0 }, plain_word),
        // Escaped; a name from DNS has no space.
        b"h" if argument == b"c" => (Meaning::Client { rank: 3 }, word),
        b"h" => (Meaning::Client { rank: 2 }, word),
        // The configured ServerName: one word of httpd.conf.
        b"v" => (Meaning::Vhost { rank: 0 }, word),
        // By default (HttpProtocolOptions Strict) a Host with anything but letters, digits, `-`,
        // `_` and `.` is a 400, logged with the ServerName. With Unsafe a space can stand here.
        b"V" => (Meaning::Vhost { rank: 1 }, word),
        b"i" if argument.eq_ignore_ascii_case(b"Host") => (Meaning::Vhost { rank: 2 }, any),
        b"u" => (Meaning::User, any),
        b"I" => (count(Count::In), ByteSet::COUNT),
        b"O" => (count(Count::Out), ByteSet::COUNT),
        b"S" => (count(Count::Both), ByteSet::COUNT),
        b"b" | b"B" => (body, ByteSet::COUNT),
        b"s" => {
            let rank = u8::from(modifiers.original != Some(false));
            (Meaning::Status { rank }, ByteSet::COUNT)
        }
        b"D" => (
            Meaning::Duration {
                per_second: 1_000_000,
            },
            ByteSet::COUNT,
        ),
        b"T" => {
            let per_second = match argument {
                b"" | b"s" => 1,
                b"ms" => 1000,
                b"us" => 1_000_000,
                _ => {
                    return Err(text.error(
                        span,
                        format!(
                            "unknown unit in {}",
                            text.written(
                                modifiers.argument_at - 2
                                    ..modifiers.argument_at + argument.len() + 2
                            )
                        ),
                        "%{…}T takes s, ms or us",
                    ));
                }
            };
            (Meaning::Duration { per_second }, ByteSet::COUNT)
        }
        b"t" => time(text, modifiers)?,
        b"r" => (Meaning::Request, any),
        // A method ends at the first space, whatever else the client sent.
        b"m" => (Meaning::Method, word),
        b"U" => (Meaning::Path { rank: 1 }, any),
        b"q" => (Meaning::Query, any),
        b"k" | b"P" | b"p" if argument != b"hextid" => (Meaning::Skipped, ByteSet::COUNT),
        b"P" => (Meaning::Skipped, plain_word),
        b"A" | b"L" | b"X" => (Meaning::Skipped, plain_word),
        b"^FB" => (Meaning::Skipped, ByteSet::COUNT),
        // identd's answer is cut at white space.
        b"l" => (Meaning::Skipped, word),
        // `HTTP/1.1` and the like; a request whose protocol is anything else is logged as 1.0.
        b"H" => (Meaning::Skipped, word),
        b"x" | b"c" if is_server_tls(argument) => (Meaning::Skipped, plain_word),
        // Names from a client's certificate, as they are.
        b"x" | b"c" => (Meaning::Skipped, ByteSet::ALL),
        b"C" | b"e" | b"f" | b"i" | b"n" | b"o" | b"R" | b"^ti" | b"^to" => (Meaning::Skipped, any),
        _ => return Ok(None),
    }))
}

/// Whether a variable of mod_ssl is a word of the server's own, whatever the client is.
fn is_server_tls(variable: &[u8]) -> bool {
    const WORDS: [&[u8]; 11] = [
        b"HTTPS",
        b"SSL_PROTOCOL",
        b"SSL_CIPHER",
        b"SSL_CIPHER_EXPORT",
        b"SSL_CIPHER_USEKEYSIZE",
        b"SSL_CIPHER_ALGKEYSIZE",
        b"SSL_COMPRESS_METHOD",
        b"SSL_SESSION_ID",
        b"SSL_SESSION_RESUMED",
        b"version",
        b"cipher",
    ];
    WORDS.contains(&variable)
}

/// `%t` and `%{…}t`.
fn time(text: &Text, modifiers: &Modifiers<'_>) -> Result<(Meaning, ByteSet), FormatError> {
    let (moment, format, skipped) = match modifiers.argument {
        argument if argument.starts_with(b"begin:") => (Moment::Begin, &argument[6..], 6),
        argument if argument.starts_with(b"end:") => (Moment::End, &argument[4..], 4),
        argument => (Moment::Begin, argument, 0),
    };
    let at = modifiers.argument_at + skipped;
    let (form, bytes) = time_form(text, format, at)?;
    Ok((Meaning::Time { form, moment }, bytes))
}

/// What stands in `%{…}t`, behind `begin:` or `end:`.
pub(super) fn time_form(
    text: &Text,
    format: &[u8],
    at: usize,
) -> Result<(TimeForm, ByteSet), FormatError> {
    let epoch = |per_second| (TimeForm::Epoch { per_second }, ByteSet::DIGITS);
    let fraction = |digits| (TimeForm::Fraction { digits }, ByteSet::DIGITS);
    Ok(match format {
        b"" => (TimeForm::Clf { brackets: true }, ByteSet::CLOCK),
        b"sec" => epoch(1),
        b"msec" => epoch(1000),
        b"usec" => epoch(1_000_000),
        b"msec_frac" => fraction(3),
        b"usec_frac" => fraction(6),
        _ => {
            let pattern = Pattern::parse(format).map_err(|error| {
                let at = at + error.at;
                text.error(
                    at..at + error.length,
                    error.message,
                    "use strftime's conversions, such as %Y-%m-%dT%H:%M:%S%z",
                )
            })?;
            let bytes = (0..=u8::MAX).filter(|&byte| pattern.can_hold(byte));
            let bytes = bytes.fold(ByteSet::EMPTY, ByteSet::with);
            (TimeForm::Pattern(pattern), bytes)
        }
    })
}
