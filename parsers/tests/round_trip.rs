//! The proof of the walk: for any format that compiles, and whatever clients send, the fields that
//! come out are those that the server put in.
//!
//! Formats are drawn at random from directives and literals; values are hostile; they are escaped as
//! each server does it (written here once more, from what the servers were seen to do), and the line
//! is read back. Formats that are refused prove nothing and are drawn again; a last test sees to it
//! that enough of them compile.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tollkeeper_parsers::format::{Format, Spec};
use tollkeeper_parsers::plan::Plan;
use tollkeeper_parsers::record::{Line, Logged};
use tollkeeper_parsers::time::Time;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Nginx,
    NginxJson,
    NginxNone,
    Apache,
    Lighttpd,
    LighttpdJson,
    /// Squid with the user as it is, in brackets' escapes, and as a part of a URL.
    Squid,
    SquidBrackets,
    SquidUrl,
    Varnish,
    VarnishJson,
}

/// How Squid escapes one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Own,
    Quotes,
    Brackets,
    Url,
}

/// What a directive is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vhost,
    User,
    Request,
    Header,
    Address,
    In,
    Out,
    Status,
    Time,
    Port,
    Word,
}

const NGINX: &[(&str, Kind)] = &[
    ("$host", Kind::Vhost),
    ("$remote_user", Kind::User),
    ("$request", Kind::Request),
    ("$http_referer", Kind::Header),
    ("$remote_addr", Kind::Address),
    ("$request_length", Kind::In),
    ("$bytes_sent", Kind::Out),
    ("$status", Kind::Status),
    ("$time_local", Kind::Time),
    ("$server_port", Kind::Port),
    ("$scheme", Kind::Word),
];

const APACHE: &[(&str, Kind)] = &[
    ("%v", Kind::Vhost),
    ("%u", Kind::User),
    ("%r", Kind::Request),
    ("%{Referer}i", Kind::Header),
    ("%a", Kind::Address),
    ("%I", Kind::In),
    ("%O", Kind::Out),
    ("%>s", Kind::Status),
    ("%t", Kind::Time),
    ("%p", Kind::Port),
    ("%X", Kind::Word),
];

const LIGHTTPD: &[(&str, Kind)] = &[
    ("%V", Kind::Vhost),
    ("%u", Kind::User),
    ("%r", Kind::Request),
    ("%{Referer}i", Kind::Header),
    ("%h", Kind::Address),
    ("%I", Kind::In),
    ("%O", Kind::Out),
    ("%s", Kind::Status),
    ("%t", Kind::Time),
    ("%p", Kind::Port),
    ("%X", Kind::Word),
];

const SQUID: &[(&str, Kind)] = &[
    ("%>rd", Kind::Vhost),
    ("%un", Kind::User),
    ("%ru", Kind::Request),
    ("%{Referer}>h", Kind::Header),
    ("%>a", Kind::Address),
    ("%>st", Kind::In),
    ("%<st", Kind::Out),
    ("%>Hs", Kind::Status),
    ("%ts", Kind::Time),
    ("%>p", Kind::Port),
    ("%Ss", Kind::Word),
];
const SQUID_BRACKETS: &[(&str, Kind)] = &[
    ("%[>rd", Kind::Vhost),
    ("%[un", Kind::User),
    ("%[ru", Kind::Request),
    ("%[{Referer}>h", Kind::Header),
    ("%>a", Kind::Address),
    ("%012>st", Kind::In),
    ("%9<st", Kind::Out),
    ("%03>Hs", Kind::Status),
    ("%ts", Kind::Time),
    ("%6>p", Kind::Port),
    ("%Ss", Kind::Word),
];
const SQUID_URL: &[(&str, Kind)] = &[
    ("%#>rd", Kind::Vhost),
    ("%#un", Kind::User),
    ("%#ru", Kind::Request),
    ("%#{Referer}>h", Kind::Header),
    ("%>a", Kind::Address),
    ("%>st", Kind::In),
    ("%<st", Kind::Out),
    ("%>Hs", Kind::Status),
    ("%tl", Kind::Time),
    ("%>p", Kind::Port),
    ("%Ss", Kind::Word),
];

const VARNISH: &[(&str, Kind)] = &[
    ("%{Host}i", Kind::Vhost),
    ("%u", Kind::User),
    // The URL of a request line is for a test of its own.
    ("%{VCL_Log:request}x", Kind::Request),
    ("%{Referer}i", Kind::Header),
    ("%h", Kind::Address),
    ("%I", Kind::In),
    ("%O", Kind::Out),
    ("%s", Kind::Status),
    ("%t", Kind::Time),
    ("%{Varnish:vxid}x", Kind::Port),
    ("%{Varnish:side}x", Kind::Word),
];

impl Style {
    /// Squid's Format.cc, Quoting.cc and rfc1738.c.
    fn escape(self, value: &[u8], is_escaped_by_itself: bool) -> Vec<u8> {
        let mut written = Vec::new();
        for &byte in value {
            let is_control = !(0x20..0x7f).contains(&byte);
            let is_unsafe = is_control || b" <>\"#{}|\\^~[]`'".contains(&byte);
            let escaped = match self {
                Self::Own if is_escaped_by_itself && is_unsafe => format!("%{byte:02X}"),
                Self::Url if is_unsafe || byte == b'%' => format!("%{byte:02X}"),
                Self::Quotes | Self::Brackets if byte == b'\r' => "\\r".to_owned(),
                Self::Quotes | Self::Brackets if byte == b'\n' => "\\n".to_owned(),
                Self::Quotes | Self::Brackets if byte == b'\\' => "\\\\".to_owned(),
                Self::Quotes if byte == b'\t' => "\\t".to_owned(),
                Self::Quotes if byte == b'"' => "\\\"".to_owned(),
                Self::Brackets if is_control || b"%[]".contains(&byte) => format!("%{byte:02x}"),
                _ => {
                    written.push(byte);
                    continue;
                }
            };
            written.extend(escaped.bytes());
        }
        written
    }

    /// The style inside a literal's quotes or brackets, after it.
    fn behind(mut self, literal: &str) -> Self {
        for byte in literal.bytes() {
            self = match (byte, self) {
                (b'"', Self::Own) => Self::Quotes,
                (b'"', Self::Quotes) | (b']', Self::Brackets) => Self::Own,
                (b'[', Self::Own) => Self::Brackets,
                _ => self,
            };
        }
        self
    }
}

impl Dialect {
    fn is_squid(self) -> bool {
        matches!(self, Self::Squid | Self::SquidBrackets | Self::SquidUrl)
    }

    /// As Squid writes a value where `around` is what the code stands in.
    fn squid(self, kind: Kind, around: Style, value: &[u8]) -> Vec<u8> {
        let style = match self {
            Self::SquidBrackets => Style::Brackets,
            Self::SquidUrl => Style::Url,
            _ => around,
        };
        style.escape(value, matches!(kind, Kind::Vhost | Kind::Header))
    }

    fn directives(self) -> &'static [(&'static str, Kind)] {
        match self {
            Self::Nginx | Self::NginxJson | Self::NginxNone => NGINX,
            Self::Apache => APACHE,
            Self::Lighttpd | Self::LighttpdJson => LIGHTTPD,
            Self::Squid => SQUID,
            Self::SquidBrackets => SQUID_BRACKETS,
            Self::SquidUrl => SQUID_URL,
            Self::Varnish | Self::VarnishJson => VARNISH,
        }
    }

    /// As the server writes what a client sent.
    fn escape(self, value: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        for &byte in value {
            let c_escape = match byte {
                7 => Some('a'),
                8 => Some('b'),
                9 => Some('t'),
                10 => Some('n'),
                11 => Some('v'),
                12 => Some('f'),
                13 => Some('r'),
                b'"' | b'\\' => Some(char::from(byte)),
                _ => None,
            };
            let is_printable = (0x20..0x7f).contains(&byte);
            let is_special = matches!(byte, b'"' | b'\\');
            let escaped = match self {
                Self::NginxNone => None,
                Self::Nginx if is_special || !is_printable => Some(format!("\\x{byte:02X}")),
                Self::Nginx => None,
                Self::NginxJson => match (byte, c_escape) {
                    (7 | 11, _) => Some(format!("\\u{byte:04X}")),
                    (_, Some(escape)) => Some(format!("\\{escape}")),
                    (0..0x20, _) => Some(format!("\\u{byte:04X}")),
                    _ => None,
                },
                Self::Apache => match (byte, c_escape) {
                    (7 | 12, _) => Some(format!("\\x{byte:02x}")),
                    (_, Some(escape)) => Some(format!("\\{escape}")),
                    _ if !is_printable => Some(format!("\\x{byte:02x}")),
                    _ => None,
                },
                Self::Lighttpd => match c_escape {
                    Some(escape) => Some(format!("\\{escape}")),
                    None if !is_printable => Some(format!("\\x{byte:02X}")),
                    None => None,
                },
                // Squid's are made elsewhere.
                Self::Squid | Self::SquidBrackets | Self::SquidUrl => None,
                Self::Varnish => match (byte, c_escape) {
                    (b'\n' | b'\r' | b'\t' | b'"' | b'\\', Some(escape)) => {
                        Some(format!("\\{escape}"))
                    }
                    _ if !is_printable => Some(format!("\\x{byte:02x}")),
                    _ => None,
                },
                Self::VarnishJson => match (byte, c_escape) {
                    (b'\n' | b'\r' | b'\t' | b'"' | b'\\', Some(escape)) => {
                        Some(format!("\\{escape}"))
                    }
                    (0..0x20, _) => Some(format!("\\u{byte:04x}")),
                    _ => None,
                },
                Self::LighttpdJson => match (byte, c_escape) {
                    (_, Some(escape)) => Some(format!("\\{escape}")),
                    (0..0x20, _) => Some(format!("\\u{byte:04X}")),
                    _ => None,
                },
            };
            match escaped {
                Some(escaped) => written.extend(escaped.bytes()),
                None => written.push(byte),
            }
        }
        written
    }

    /// What stands for a value that the client did not send.
    fn absent(self, kind: Kind) -> &'static str {
        match self {
            Self::NginxJson | Self::NginxNone => "",
            Self::VarnishJson if kind != Kind::User => "",
            Self::Apache if kind == Kind::User => "\"\"",
            _ => "-",
        }
    }

    fn format(self, text: &str) -> Option<Format> {
        let quoted = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\'', "\\'");
        let spec = match self {
            Self::Nginx => format!("nginx:log_format x '{quoted}';"),
            Self::NginxJson => format!("nginx:log_format x escape=json '{quoted}';"),
            Self::NginxNone => format!("nginx:log_format x escape=none '{quoted}';"),
            Self::Apache => format!("apache:{text}"),
            Self::Lighttpd => format!("lighttpd:{text}"),
            Self::Squid | Self::SquidBrackets | Self::SquidUrl => format!("squid:{text}"),
            Self::Varnish => format!("varnishncsa:{text}"),
            Self::VarnishJson => {
                let quoted = text.replace('\'', r"'\''");
                format!("varnishncsa:-j -F '{quoted}'")
            }
            Self::LighttpdJson => {
                let quoted = text.replace('"', "\\\"");
                format!("lighttpd:accesslog.format = \"{quoted}\"\naccesslog.escaping = \"json\"")
            }
        };
        match Spec::parse(&spec) {
            Ok(Spec::Format(format)) => Some(format),
            other => panic!("{spec}: {other:?}"),
        }
    }
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![
        Just(Dialect::Nginx),
        Just(Dialect::NginxJson),
        Just(Dialect::NginxNone),
        Just(Dialect::Apache),
        Just(Dialect::Lighttpd),
        Just(Dialect::LighttpdJson),
        Just(Dialect::Squid),
        Just(Dialect::SquidBrackets),
        Just(Dialect::SquidUrl),
        Just(Dialect::Varnish),
        Just(Dialect::VarnishJson),
    ]
}

/// Bytes that a client would choose to break a line, and any others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            &b" "[..], b"\"", b"\\", b"] ", b" [", b"\" \"", b"\\\"", b"-", b"\"\"", b"|", b"\t", b"\n",
            b"\x7f", b"\xff", b"\xc3\xa9", b"\0", b",\"o\":", b"200 5", b":80", b"'",
            b"[22/Nov/2026:08:23:11 +0000]", b"22/Nov/2026:08:23:11 +0000", b"{", b"}", b"x", b"22",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(part, 1..7).prop_map(|parts| parts.concat())
}

/// What a server takes for a host: nothing at or below the space.
fn host() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"a.example".to_vec()),
        Just(b"::1".to_vec()),
        Just(b"[::1]".to_vec()),
        hostile().prop_map(|bytes| {
            let kept: Vec<u8> = bytes
                .into_iter()
                .filter(|&byte| byte > b' ' && byte != 0x7f)
                .collect();
            if kept.is_empty() { b"h".to_vec() } else { kept }
        }),
    ]
}

fn literal() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        " ",
        " ",
        " ",
        "\" \"",
        " \"",
        "\" ",
        "\"",
        "|",
        "\t",
        " [",
        "] ",
        ",\"o\":",
        "\",\"u\":\"",
        ":",
        " - ",
        "x",
        "-",
        "'",
        "{",
        "\\ ",
        "",
        "22",
        " \" ",
    ])
}

#[derive(Debug, Clone)]
struct Drawn {
    dialect: Dialect,
    pieces: Vec<(&'static str, &'static str, Kind)>,
    last: &'static str,
    vhost: Vec<u8>,
    user: Option<Vec<u8>>,
    request: Option<Vec<u8>>,
    header: Option<Vec<u8>>,
    numbers: (Option<u64>, Option<u64>, u16),
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (dialect(), 0_usize..4).prop_flat_map(|(dialect, dropped)| {
        let directives = dialect.directives().to_vec();
        let kept = directives.len() - dropped * 2;
        let order = Just(directives).prop_shuffle();
        let literals = prop::collection::vec(literal(), 12);
        // Most formats put quotes around what clients choose.
        let quoted = prop::collection::vec(prop::bool::weighted(0.7), 12);
        (order, literals, quoted).prop_flat_map(move |(mut order, literals, quoted)| {
            order.sort_by_key(|(_, kind)| u8::from(!matches!(kind, Kind::Out | Kind::Time)));
            order.truncate(kept.max(3));
            // Put the two that no format can do without somewhere else.
            let length = order.len();
            order.rotate_left(literals[0].len() % length);
            let pieces: Vec<_> = order
                .iter()
                .enumerate()
                .map(|(index, &(written, kind))| {
                    let is_text = matches!(kind, Kind::User | Kind::Request | Kind::Header);
                    let before_is_text = index > 0
                        && matches!(
                            order[index - 1].1,
                            Kind::User | Kind::Request | Kind::Header
                        );
                    let literal = match (before_is_text, is_text) {
                        _ if !quoted[index] => literals[index],
                        (_, true) if index == 0 => "\"",
                        _ if index == 0 => "",
                        (true, true) => "\" \"",
                        (true, false) => "\" ",
                        (false, true) => " \"",
                        (false, false) => " ",
                    };
                    (literal, written, kind)
                })
                .collect();
            (
                (
                    Just(dialect),
                    Just(pieces),
                    prop_oneof![Just("\""), Just(""), literal()],
                ),
                host(),
                (
                    prop::option::of(hostile()),
                    prop::option::of(hostile()),
                    prop::option::of(hostile()),
                ),
                (
                    prop::option::of(any::<u64>()),
                    prop::option::of(any::<u64>()),
                    0_u16..1000,
                ),
            )
                .prop_map(
                    |((dialect, pieces, last), vhost, (user, request, header), numbers)| Drawn {
                        dialect,
                        pieces,
                        last,
                        vhost,
                        user,
                        request,
                        header,
                        numbers,
                    },
                )
        })
    })
}

/// The line that the server would write.
fn render(drawn: &Drawn) -> Vec<u8> {
    let dialect = drawn.dialect;
    let mut line = Vec::new();
    let mut around = Style::Own;
    for (literal, written, kind) in &drawn.pieces {
        line.extend_from_slice(literal.as_bytes());
        around = around.behind(literal);
        let escape = |value: &[u8]| match dialect.is_squid() {
            true => dialect.squid(*kind, around, value),
            false => dialect.escape(value),
        };
        let client = |value: &Option<Vec<u8>>| match value {
            Some(value) => escape(value),
            None => dialect.absent(*kind).into(),
        };
        let absent = match dialect {
            Dialect::VarnishJson => "0",
            _ => "-",
        };
        // Squid's widths: zeros where the format says so, else spaces.
        let number = |number: Option<u64>| {
            let number = number.map_or(absent.to_owned(), |number| number.to_string());
            match *written {
                "%012>st" if number != "-" => format!("{number:0>12}"),
                "%9<st" => format!("{number:>9}"),
                _ => number,
            }
        };
        let value = match kind {
            Kind::Vhost => escape(&drawn.vhost),
            Kind::User => client(&drawn.user),
            Kind::Request => client(&drawn.request),
            Kind::Header => client(&drawn.header),
            Kind::Address => b"2001:db8::1".to_vec(),
            Kind::In => number(drawn.numbers.0).into(),
            Kind::Out => number(drawn.numbers.1).into(),
            Kind::Status => format!("{:03}", drawn.numbers.2).into(),
            Kind::Time if dialect.directives() == NGINX => b"22/Nov/2026:08:23:11 +0000".to_vec(),
            Kind::Time if *written == "%ts" => b"1795335791".to_vec(),
            Kind::Time if *written == "%tl" => b"22/Nov/2026:08:23:11 +0000".to_vec(),
            Kind::Time => b"[22/Nov/2026:08:23:11 +0000]".to_vec(),
            Kind::Port if *written == "%6>p" => b"   443".to_vec(),
            Kind::Port => b"443".to_vec(),
            Kind::Word if dialect.is_squid() => b"TCP_MISS".to_vec(),
            Kind::Word => b"+".to_vec(),
        };
        line.extend(value);
    }
    line.extend_from_slice(drawn.last.as_bytes());
    line
}

static READ: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// What can reach a log of Squid's: no NUL and no line end in a name or a header, no percent sign in a
/// host, no white space or control character in a URL.
fn as_squid_has_it(drawn: &Drawn) -> Drawn {
    let without = |value: &Option<Vec<u8>>, refused: &dyn Fn(u8) -> bool| {
        let kept = value.iter().flatten().copied();
        let kept: Vec<u8> = kept.filter(|&byte| !refused(byte)).collect();
        (!kept.is_empty()).then_some(kept)
    };
    let ends_line = |byte: u8| matches!(byte, b'\0' | b'\r' | b'\n');
    let vhost = without(&Some(drawn.vhost.clone()), &|byte| byte == b'%');
    Drawn {
        vhost: vhost.unwrap_or_else(|| b"h".to_vec()),
        user: without(&drawn.user, &ends_line),
        header: without(&drawn.header, &ends_line),
        request: without(&drawn.request, &|byte| byte <= b' ' || byte == 0x7f),
        ..drawn.clone()
    }
}

fn check(drawn: &Drawn) -> Result<(), TestCaseError> {
    let squid = drawn.dialect.is_squid().then(|| as_squid_has_it(drawn));
    let drawn = squid.as_ref().unwrap_or(drawn);
    let mut text: String = drawn
        .pieces
        .iter()
        .flat_map(|(literal, written, _)| [*literal, *written])
        .collect();
    text.push_str(drawn.last);
    // What a bare format would be read as something else by.
    if drawn.dialect != Dialect::NginxNone && text.trim() != text || text.contains("\\\"") {
        return Ok(());
    }
    let bare = matches!(drawn.dialect, Dialect::Apache | Dialect::Lighttpd);
    let in_quotes = ['"', '\'']
        .iter()
        .any(|&quote| text.starts_with(quote) && text.ends_with(quote));
    if bare && (in_quotes || text.contains('\\')) {
        return Ok(());
    }
    let undoes_backslashes = matches!(
        drawn.dialect,
        Dialect::LighttpdJson | Dialect::Varnish | Dialect::VarnishJson
    );
    if undoes_backslashes && text.contains('\\') {
        return Ok(());
    }
    // What varnishncsa would be given as an option, or in quotes.
    if drawn.dialect == Dialect::Varnish && (text.starts_with('-') || in_quotes) {
        return Ok(());
    }
    // A variable's name would go on with what follows it.
    let runs_on = drawn
        .pieces
        .iter()
        .skip(1)
        .map(|(literal, ..)| *literal)
        .chain([drawn.last]);
    if drawn.dialect.directives() == NGINX
        && runs_on
            .clone()
            .any(|literal| literal.starts_with(['x', '2']))
    {
        return Ok(());
    }
    // Squid takes a brace behind a code for its argument, and some codes go on with an x.
    if drawn.dialect.is_squid()
        && runs_on
            .clone()
            .any(|literal| literal.starts_with(['{', 'x']))
    {
        return Ok(());
    }
    let Some(format) = drawn.dialect.format(&text) else {
        return Ok(());
    };
    let Ok(plan) = Plan::compile(&format) else {
        REFUSED.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    };
    READ.fetch_add(1, Ordering::Relaxed);
    let mut line = render(drawn);
    // A CR at the end is taken for the line's.
    if line.ends_with(b"\r") {
        line.push(b'\r');
    }
    let record = match plan.read(&line) {
        Ok(Line::Record(record)) => record,
        other => {
            return Err(TestCaseError::fail(format!(
                "{text}\n{}\n{other:?}",
                line.escape_ascii()
            )));
        }
    };
    let has = |wanted: Kind| drawn.pieces.iter().any(|(.., kind)| *kind == wanted);
    let decoded = |logged: Option<Logged<'_>>| logged.map(|logged| logged.decode().into_owned());
    // A client cannot make a name of a dash: the server writes the same for none.
    let sent = |value: &[u8]| (value != b"-").then(|| value.to_vec());
    let shown = || format!("{text}\n{}", line.escape_ascii());
    prop_assert_eq!(
        decoded(record.vhost),
        sent(&drawn.vhost).filter(|_| has(Kind::Vhost)),
        "{}",
        shown()
    );
    let user = drawn
        .user
        .as_deref()
        .and_then(sent)
        .filter(|_| has(Kind::User));
    prop_assert_eq!(decoded(record.user), user, "{}", shown());
    let dash = if drawn.dialect.directives() == LIGHTTPD || drawn.dialect == Dialect::VarnishJson {
        Some(0)
    } else {
        None
    };
    let bytes_in = if has(Kind::In) {
        drawn.numbers.0.or(dash)
    } else {
        Some(0)
    };
    prop_assert_eq!(record.bytes_in, bytes_in, "{}", shown());
    prop_assert_eq!(record.bytes_out, drawn.numbers.1.or(dash), "{}", shown());
    prop_assert_eq!(
        record.status,
        Some(drawn.numbers.2).filter(|_| has(Kind::Status)),
        "{}",
        shown()
    );
    prop_assert_eq!(
        record.time,
        Some(Time::Instant(1_795_335_791)),
        "{}",
        shown()
    );
    if has(Kind::Request) {
        let request = drawn.request.clone().and_then(|request| {
            request
                .split(|&byte| byte == b' ')
                .next()
                .map(<[u8]>::to_vec)
        });
        if let Some(method) = decoded(record.method) {
            prop_assert_eq!(Some(method), request, "{}", shown());
        }
    }
    Ok(())
}

#[test]
fn what_servers_write_is_what_is_read() {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(6000);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    if let Err(error) = runner.run(&drawn(), |drawn| check(&drawn)) {
        panic!("{error}");
    }
    let (read, refused) = (
        READ.load(Ordering::Relaxed),
        REFUSED.load(Ordering::Relaxed),
    );
    assert!(
        read * 20 > refused,
        "only {read} formats compiled, {refused} were refused"
    );
}

/// A request line as varnishncsa puts it together: the host ends where the URL begins.
fn whole_url() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u8>)> {
    let without_slash = |bytes: Vec<u8>| {
        let kept = bytes.into_iter().filter(|&byte| byte != b'/');
        kept.collect::<Vec<u8>>()
    };
    let word = |bytes: Vec<u8>| {
        let kept = bytes.into_iter().filter(|&byte| byte > b' ');
        kept.collect::<Vec<u8>>()
    };
    let method = prop_oneof![Just(b"GET".to_vec()), hostile().prop_map(word)];
    let path = hostile().prop_map(move |path| [b"/", &*word(path)].concat());
    (method, hostile().prop_map(without_slash), path)
}

proptest! {
    #[test]
    fn the_host_of_a_whole_url_is_found((method, host, path) in whole_url()) {
        let Ok(Spec::Format(format)) = Spec::parse("varnishncsa:%{sec}t \"%r\" %I %O") else {
            panic!("a format");
        };
        let plan = Plan::compile(&format).expect("a plan");
        let request = [&*method, b" http://", &host, &path, b" HTTP/1.1"].concat();
        let line = [b"1795335791 \"", &*Dialect::Varnish.escape(&request), b"\" 5 7"].concat();
        let Ok(Line::Record(record)) = plan.read(&line) else {
            panic!("{}: {:?}", line.escape_ascii(), plan.read(&line));
        };
        let named = !matches!(&*host, b"" | b"-" | b"localhost");
        let decoded = |logged: Option<Logged<'_>>| logged.map(|logged| logged.decode().into_owned());
        prop_assert_eq!(decoded(record.vhost), named.then_some(host));
        prop_assert_eq!(decoded(record.path), Some(path));
        prop_assert_eq!(decoded(record.method), Some(method).filter(|method| method != b"-"));
        prop_assert_eq!((record.bytes_in, record.bytes_out), (Some(5), Some(7)));
    }
}
