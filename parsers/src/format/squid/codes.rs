//! Squid's format codes: what each says, and what it can hold before it is escaped.

use crate::format::{ByteSet, Count, Meaning, Moment, TimeForm};

/// A format code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// A literal percent sign.
    Percent,
    /// Sent to the client, heads and all.
    Out,
    /// Received from the client, heads and all.
    In,
    /// Both.
    Both,
    /// Of the answer that was sent.
    Status,
    /// In milliseconds.
    Duration,
    /// Seconds since 1970, of the request's end.
    Epoch,
    /// The same with milliseconds, of the request's start.
    EpochOfStart,
    /// strftime in the local zone.
    LocalTime,
    /// strftime in Greenwich.
    Gmt,
    /// The client's address.
    Client,
    /// Its name, or its address.
    ClientName,
    /// The host of the URL that the client asked for.
    Host,
    /// A header of the request, or all of them.
    RequestHeader,
    /// The user.
    User,
    /// The method.
    Method,
    /// The method, escaped as part of a URL.
    ClientMethod,
    /// The URL, as it is.
    Url,
    /// The URL, escaped.
    ClientUrl,
    /// The path, escaped.
    Path,
    /// Whole numbers, or `-`.
    Number,
    /// Numbers with a fraction.
    Decimal,
    /// A word of Squid's own.
    Word,
    /// An address.
    Address,
    /// What identd answered, which is `-` unless Squid was told to ask.
    Ident,
    /// A word that a client or an origin server chose, as it is.
    ForeignWord,
    /// Text that is escaped unless a modifier says otherwise.
    EscapedText,
    /// Text that stands as it is unless a modifier says otherwise.
    Text,
}

/// What a value can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Digits, or `-`.
    Number,
    /// A word without anything that is ever escaped.
    Word,
    /// An address, or `-`.
    Address,
    /// What a time is made of.
    Time(ByteSet),
    /// Anything but white space and control characters; escaped by itself or not.
    ForeignWord { escaped: bool },
    /// Anything but NUL and line ends, escaped by itself.
    EscapedText,
    /// Anything but NUL and line ends.
    Text,
}

impl Holds {
    pub(super) fn bytes(self) -> ByteSet {
        match self {
            Self::Number => ByteSet::COUNT,
            Self::Word => ByteSet::URL,
            Self::Address => ByteSet::COUNT
                .range(b'a', b'z')
                .range(b'A', b'Z')
                .with(b'.')
                .with(b':')
                .with(b'%'),
            Self::Time(bytes) => bytes,
            Self::ForeignWord { .. } => ByteSet::EMPTY.range(b'!', 0xff),
            // Squid answers 401 to a name with a line end in it, and logs none.
            Self::EscapedText | Self::Text => ByteSet::EMPTY
                .range(0x01, 0xff)
                .without(b'\r')
                .without(b'\n'),
        }
    }

    /// Whether the code escapes its value as a part of a URL where nothing else is said.
    pub(super) fn is_escaped_by_itself(self) -> bool {
        matches!(
            self,
            Self::EscapedText | Self::ForeignWord { escaped: true }
        )
    }
}

impl Code {
    /// What it says, and what it holds; of the times, only what they hold.
    pub(super) fn means(self, argument: &[u8], precision: Option<usize>) -> (Meaning, Holds) {
        let count = |count| {
            let meaning = Meaning::Bytes {
                count,
                dash_is_zero: false,
            };
            (meaning, Holds::Number)
        };
        let time = |form, moment| Meaning::Time { form, moment };
        let word = |escaped| Holds::ForeignWord { escaped };
        match self {
            Self::Out => count(Count::Out),
            Self::In => count(Count::In),
            Self::Both => count(Count::Both),
            Self::Status => (Meaning::Status { rank: 0 }, Holds::Number),
            Self::Duration => {
                let holds = match precision {
                    None => Holds::Number,
                    Some(_) => Holds::Time(ByteSet::DECIMAL),
                };
                (Meaning::Duration { per_second: 1000 }, holds)
            }
            Self::Epoch => {
                let form = TimeForm::Epoch { per_second: 1 };
                (time(form, Moment::End), Holds::Time(ByteSet::DIGITS))
            }
            Self::EpochOfStart => (
                time(TimeForm::EpochWithFraction, Moment::Begin),
                Holds::Time(ByteSet::DIGITS.with(b'.')),
            ),
            Self::Client => (Meaning::Client { rank: 0 }, Holds::Address),
            Self::ClientName => (Meaning::Client { rank: 1 }, Holds::Word),
            Self::Address => (Meaning::Skipped, Holds::Address),
            Self::Host => (Meaning::Vhost { rank: 0 }, word(true)),
            Self::RequestHeader if argument.eq_ignore_ascii_case(b"Host") => {
                (Meaning::Vhost { rank: 1 }, Holds::EscapedText)
            }
            Self::User => (Meaning::User, Holds::Text),
            Self::Method => (Meaning::Method, word(false)),
            Self::ClientMethod => (Meaning::Method, word(true)),
            Self::Url => (Meaning::Path { rank: 1 }, word(false)),
            Self::ClientUrl | Self::Path => (Meaning::Path { rank: 0 }, word(true)),
            Self::Number => (Meaning::Skipped, Holds::Number),
            Self::Decimal => (Meaning::Skipped, Holds::Time(ByteSet::DECIMAL)),
            Self::Word | Self::Percent => (Meaning::Skipped, Holds::Word),
            Self::ForeignWord => (Meaning::Skipped, word(false)),
            Self::RequestHeader | Self::EscapedText => (Meaning::Skipped, Holds::EscapedText),
            Self::Text | Self::Ident | Self::LocalTime | Self::Gmt => {
                (Meaning::Skipped, Holds::Text)
            }
        }
    }

    /// Whether a precision is a number of digits, not a limit on the length.
    pub(super) fn takes_precision(self) -> bool {
        matches!(
            self,
            Self::Duration | Self::Decimal | Self::Epoch | Self::EpochOfStart
        )
    }
}

/// The code that a format goes on with, and its length. Squid looks for long names first.
pub(super) fn find(rest: &[u8]) -> Option<(Code, usize)> {
    let (rest, skipped) = match rest.strip_prefix(b"http::") {
        Some(code) if code.first() != Some(&b'%') => (code, 6),
        _ => (rest, 0),
    };
    let named = |&(name, code): &(&str, Code)| {
        // Both prefixes stand for the same.
        let older = name.strip_prefix("tls::").and_then(|name| {
            let rest = rest.strip_prefix(b"ssl::")?;
            Some(rest.starts_with(name.as_bytes()))
        });
        let fits = rest.starts_with(name.as_bytes()) || older == Some(true);
        fits.then_some((code, skipped + name.len()))
    };
    let found = CODES.iter().filter_map(named);
    found.max_by_key(|&(_, length)| length)
}

/// All codes of Squid 5 and 6, and those that older versions had for the same.
const CODES: &[(&str, Code)] = &[
    ("%", Code::Percent),
    // Connection.
    (">a", Code::Client),
    (">A", Code::ClientName),
    (">p", Code::Number),
    (">eui", Code::Word),
    (">la", Code::Address),
    (">lp", Code::Number),
    (">qos", Code::Word),
    (">nfmark", Code::Word),
    ("transport::>connection_id", Code::Word),
    ("la", Code::Address),
    ("lp", Code::Number),
    ("<a", Code::Address),
    ("<A", Code::ForeignWord),
    ("<p", Code::Number),
    ("<la", Code::Address),
    ("oa", Code::Address),
    ("<lp", Code::Number),
    ("<qos", Code::Word),
    ("<nfmark", Code::Word),
    (">handshake", Code::Word),
    // Time.
    ("ts", Code::Epoch),
    ("tu", Code::Number),
    ("tl", Code::LocalTime),
    ("tg", Code::Gmt),
    ("tS", Code::EpochOfStart),
    ("tr", Code::Duration),
    ("dt", Code::Decimal),
    ("<pt", Code::Decimal),
    ("<tt", Code::Decimal),
    ("busy_time", Code::Decimal),
    // Access control.
    ("et", Code::EscapedText),
    ("ea", Code::EscapedText),
    ("un", Code::User),
    ("ul", Code::User),
    ("ue", Code::User),
    ("ui", Code::Ident),
    ("credentials", Code::Text),
    // HTTP.
    (">h", Code::RequestHeader),
    (">ha", Code::EscapedText),
    ("<h", Code::EscapedText),
    ("mt", Code::ForeignWord),
    (">Hs", Code::Status),
    ("Hs", Code::Status),
    ("<Hs", Code::Number),
    ("Ss", Code::Word),
    ("Sh", Code::Word),
    ("<bs", Code::Number),
    ("rm", Code::Method),
    (">rm", Code::ClientMethod),
    ("<rm", Code::EscapedText),
    ("ru", Code::Url),
    (">ru", Code::ClientUrl),
    ("<ru", Code::EscapedText),
    (">rs", Code::EscapedText),
    ("<rs", Code::EscapedText),
    (">rd", Code::Host),
    ("<rd", Code::EscapedText),
    (">rP", Code::Number),
    ("<rP", Code::Number),
    ("rp", Code::Path),
    (">rp", Code::Path),
    ("<rp", Code::EscapedText),
    ("rv", Code::Decimal),
    (">rv", Code::Decimal),
    ("<rv", Code::Decimal),
    (">st", Code::In),
    ("<st", Code::Out),
    ("st", Code::Both),
    (">sh", Code::Number),
    ("<sh", Code::Number),
    ("<sH", Code::Number),
    ("<sS", Code::Number),
    // What happened.
    ("sn", Code::Number),
    ("err_code", Code::Word),
    ("err_detail", Code::ForeignWord),
    ("note", Code::EscapedText),
    ("master_xaction", Code::Word),
    ("request_attempts", Code::Number),
    // The same under their names of old.
    ("ACL", Code::Text),
    ("DATA", Code::Text),
    ("DST", Code::Host),
    ("EXT_LOG", Code::EscapedText),
    ("EXT_TAG", Code::EscapedText),
    ("EXT_USER", Code::User),
    ("IDENT", Code::Ident),
    ("LOGIN", Code::User),
    ("METHOD", Code::ClientMethod),
    ("MYADDR", Code::Address),
    ("MYPORT", Code::Number),
    ("PATH", Code::Path),
    ("PORT", Code::Number),
    ("PROTO", Code::EscapedText),
    ("SRC", Code::Client),
    ("SRCEUI48", Code::Word),
    ("SRCEUI64", Code::Word),
    ("SRCPORT", Code::Number),
    ("TAG", Code::EscapedText),
    ("URI", Code::ClientUrl),
    ("USER_CERTCHAIN", Code::Text),
    ("USER_CERT", Code::Text),
    // Other protocols.
    ("proxy_protocol::>h", Code::EscapedText),
    ("adapt::all_trs", Code::Text),
    ("adapt::sum_trs", Code::Text),
    ("adapt::<last_h", Code::EscapedText),
    ("icap::tt", Code::Decimal),
    ("icap::<last_h", Code::EscapedText),
    ("icap::<A", Code::Address),
    ("icap::<service_name", Code::Text),
    ("icap::ru", Code::Text),
    ("icap::rm", Code::Word),
    ("icap::>st", Code::Number),
    ("icap::<st", Code::Number),
    ("icap::<bs", Code::Number),
    ("icap::>h", Code::EscapedText),
    ("icap::<h", Code::EscapedText),
    ("icap::tr", Code::Decimal),
    ("icap::tio", Code::Decimal),
    ("icap::to", Code::Word),
    ("icap::Hs", Code::Number),
    ("tls::bump_mode", Code::Word),
    ("tls::>cert_subject", Code::Text),
    ("tls::>cert_issuer", Code::Text),
    ("tls::>sni", Code::Text),
    ("tls::<cert_subject", Code::Text),
    ("tls::<cert_issuer", Code::Text),
    ("tls::<cert_errors", Code::Text),
    ("tls::<cert", Code::Text),
    ("tls::>negotiated_version", Code::Word),
    ("tls::<negotiated_version", Code::Word),
    ("tls::>negotiated_cipher", Code::Word),
    ("tls::<negotiated_cipher", Code::Word),
    ("tls::>received_hello_version", Code::Word),
    ("tls::<received_hello_version", Code::Word),
    ("tls::>received_supported_version", Code::Word),
    ("tls::<received_supported_version", Code::Word),
];
