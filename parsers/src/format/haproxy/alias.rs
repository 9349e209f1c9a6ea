//! The variables of `log-format` that stand without brackets: `%ci`, `%B`, `%hr`.

use super::super::{ByteSet, Count, Meaning, Moment};

/// How HAProxy writes a variable, flags aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// A number, never in quotes.
    Number,
    /// A number, in hexadecimal with `+X`, never in quotes.
    HexNumber,
    /// A number with a plus before it where a server was given up for another.
    Retries,
    /// An address, in hexadecimal with `+X`.
    Address,
    /// A word of the config's, or of HAProxy's own; `-` for none.
    Word(ByteSet),
    /// What the client sent, byte by byte; `-` for nothing.
    Raw,
    /// A part of the request line, with `#HH` for what would break the line.
    Url(ByteSet),
    /// `name=value` as the client or the server sent it; `-` where none is captured.
    Cookie,
    /// Captured headers, with `#HH`; nothing at all where none are captured.
    Headers {
        /// Whether they are the request's.
        of_request: bool,
        /// Whether they stand in braces.
        in_braces: bool,
    },
    /// `26/Nov/2026:14:20:46.955`, never in quotes.
    LocalTime,
    /// `26/Nov/2026:14:20:46 +0000`, never in quotes.
    ZonedTime,
    /// Seconds since 1970, in hexadecimal with `+X`, never in quotes.
    Seconds,
    /// Three digits, or hexadecimal with `+X`, never in quotes.
    Milliseconds,
    /// Letters and dashes, never in quotes.
    State,
}

const LETTERS: ByteSet = ByteSet::DIGITS.range(b'A', b'Z').range(b'a', b'z');
/// Names of frontends, backends and servers, and `<NOSRV>`; `~` marks TLS.
const NAME: ByteSet = LETTERS
    .with(b'.')
    .with(b':')
    .with(b'_')
    .with(b'-')
    .with(b'<')
    .with(b'>')
    .with(b'~');
/// An address, `unix`, or `-`.
pub(super) const ADDRESS: ByteSet = LETTERS.with(b'.').with(b':').with(b'%').with(b'-');
pub(super) const HEX: ByteSet = ByteSet::DIGITS.range(b'A', b'F').with(b'-');
/// Termination states.
pub(super) const STATE: ByteSet = LETTERS.with(b'-');
/// Ciphers, versions and host names of our own.
pub(super) const OWN_WORD: ByteSet = ByteSet::WORD
    .without(b'"')
    .without(b'\\')
    .without(b'/')
    .without(b'{')
    .without(b'}');
/// A request line: printable, and `#22` for a quote. HAProxy's `url_encode_map`.
const REQUEST: ByteSet = ByteSet::PRINTABLE.without(b'"');
/// A part of it that ends at the first space.
const REQUEST_WORD: ByteSet = REQUEST.without(b' ');
/// Captured headers: as a request line, but `{`, `|` and `}` are `#HH` too. HAProxy's
/// `hdr_encode_map`; `|` stands between two of them.
pub(super) const HEADERS: ByteSet = REQUEST.without(b'{').without(b'}');

/// What a variable is; `None`: there is none of that name.
pub(super) fn alias(name: &[u8]) -> Option<(Written, Meaning)> {
    let skipped = |written| (written, Meaning::Skipped);
    let bytes = |count| {
        let meaning = Meaning::Bytes {
            count,
            dash_is_zero: false,
        };
        (Written::Number, meaning)
    };
    let duration = (Written::Number, Meaning::Duration { per_second: 1000 });
    let headers = |of_request, in_braces| {
        skipped(Written::Headers {
            of_request,
            in_braces,
        })
    };
    // The form follows from how it is written.
    let time = |written, moment| {
        let form = super::super::TimeForm::Clf { brackets: false };
        (written, Meaning::Time { form, moment })
    };
    Some(match name {
        b"B" => bytes(Count::Out),
        b"U" => bytes(Count::In),
        b"ST" => (Written::Number, Meaning::Status { rank: 0 }),
        b"ci" => (Written::Address, Meaning::Client { rank: 0 }),
        b"tr" => time(Written::LocalTime, Moment::Begin),
        b"trg" | b"trl" => time(Written::ZonedTime, Moment::Begin),
        b"t" => time(Written::LocalTime, Moment::Accept),
        b"T" | b"Tl" => time(Written::ZonedTime, Moment::Accept),
        b"Ts" => time(Written::Seconds, Moment::Accept),
        b"ms" => time(Written::Milliseconds, Moment::Accept),
        b"Ta" | b"Tt" | b"Tu" => duration,
        b"r" => (Written::Url(REQUEST), Meaning::Request),
        b"HM" => (Written::Url(REQUEST_WORD), Meaning::Method),
        b"HU" => (Written::Url(REQUEST_WORD), Meaning::Path { rank: 0 }),
        b"HP" | b"HPO" => (Written::Url(REQUEST_WORD), Meaning::Path { rank: 1 }),
        b"HQ" => (Written::Url(REQUEST_WORD), Meaning::Query),
        b"HV" => skipped(Written::Url(REQUEST)),
        b"hr" => headers(true, true),
        b"hs" => headers(false, true),
        b"hrl" => headers(true, false),
        b"hsl" => headers(false, false),
        b"CC" | b"CS" => skipped(Written::Cookie),
        b"ID" => skipped(Written::Raw),
        b"b" | b"f" | b"ft" | b"s" => skipped(Written::Word(NAME)),
        b"H" | b"sslc" | b"sslv" | b"OG" => skipped(Written::Word(OWN_WORD)),
        b"bi" | b"fi" | b"si" => skipped(Written::Address),
        b"bp" | b"cp" | b"fp" | b"lc" | b"pid" | b"rt" | b"sp" => skipped(Written::HexNumber),
        b"Tc" | b"Td" | b"Th" | b"Ti" | b"Tq" | b"TR" | b"Tr" | b"Tw" | b"ac" | b"bc" | b"bq"
        | b"fc" | b"sc" | b"sq" => skipped(Written::Number),
        b"rc" => skipped(Written::Retries),
        b"ts" | b"tsc" => skipped(Written::State),
        _ => return None,
    })
}
