//! The proof of HAProxy's formats: for any format that compiles, and whatever clients send, what comes
//! out is what HAProxy put in.
//!
//! Formats are drawn at random; values are hostile; a model of HAProxy writes the line (from its
//! `src/log.c`, and from what version 2.6 was seen to write), with and without captured headers and
//! cookies, and for requests that it could not read. Formats that are refused prove nothing; the test
//! sees to it that enough of them compile.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{Note, Plan};
use tollkeeper_parsers::record::{Line, Record};
use tollkeeper_parsers::time::Time;

/// A request, as HAProxy knows it when it writes the line.
#[derive(Debug, Clone)]
struct Request {
    /// Captured headers of the request: the host and the agent; none: the config captures none.
    captured: Option<(Vec<u8>, Vec<u8>)>,
    /// Of the answer.
    captured_response: Option<Vec<u8>>,
    cookies: (Option<Vec<u8>>, Option<Vec<u8>>),
    uri: Vec<u8>,
    /// Whether it could not be read.
    is_bad: bool,
    status: u16,
    bytes: (u64, u64),
}

const VARIABLES: &[&str] = &[
    "%U",
    "%ST",
    "%ci",
    "%cp",
    "%tr",
    "%Ta",
    "%ft",
    "%b",
    "%rc",
    "%bq",
    "%tsc",
    "%r",
    "%{+Q}r",
    "%HM",
    "%{+E}HU",
    "%hr",
    "%hs",
    "%{+Q}hs",
    "%{+E}hr",
    "%hrl",
    "%{+Q}hsl",
    "%CC",
    "%CS",
    "%{+Q}CC",
    "%[capture.req.hdr(0)]",
    "%{+Q}[capture.req.hdr(0)]",
    "%{+Q,+E}[capture.req.hdr(0)]",
    "%{+Q}[capture.req.hdr(0),json(ascii)]",
    "%[capture.req.uri]",
    "%{+Q}[capture.req.uri]",
    "%{+Q}[capture.req.hdr(1),json]",
    "%[src]",
];
const SEPARATORS: &[&str] = &[
    " ", " ", " ", " ", " ", "  ", "/", ":", " \"", "\" ", "] {", "}", "{", " - ",
];

fn is_control(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte)
}

/// HAProxy's `#HH`, and its backslashes with `+E`.
fn hashed(value: &[u8], also: &[u8], escapes: bool) -> Vec<u8> {
    let mut written = Vec::new();
    for &byte in value {
        if is_control(byte) || also.contains(&byte) {
            written.extend(format!("#{byte:02X}").bytes());
        } else {
            if escapes && matches!(byte, b'\\' | b']' | b'"') {
                written.push(b'\\');
            }
            written.push(byte);
        }
    }
    written
}

/// `json(ascii)`: each byte is a character.
fn json(value: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for &byte in value {
        match byte {
            b'"' | b'\\' => written.extend([b'\\', byte]),
            b'\t' => written.extend(b"\\t"),
            _ if is_control(byte) => written.extend(format!("\\u{byte:04x}").bytes()),
            _ => written.push(byte),
        }
    }
    written
}

/// A text that may be missing: `-`, or two quotes.
fn text(value: Option<Vec<u8>>, quoted: bool) -> Vec<u8> {
    match (value.filter(|value| !value.is_empty()), quoted) {
        (Some(value), false) => value,
        (None, false) => b"-".to_vec(),
        (value, true) => [b"\"", &*value.unwrap_or_default(), b"\""].concat(),
    }
}

impl Request {
    /// What HAProxy writes for a variable; none: nothing, and it does not remember that it was there.
    fn written(&self, variable: &str) -> Option<Vec<u8>> {
        const HEADER: &[u8] = b"\"#{|}";
        let captured = self.captured.as_ref().filter(|_| !self.is_bad);
        let response = self.captured_response.as_ref().filter(|_| !self.is_bad);
        let host = captured.map(|(host, _)| host.clone());
        let agent = captured.map(|(_, agent)| agent.clone());
        let uri = Some(self.uri.clone()).filter(|_| !self.is_bad);
        let quoted = variable.contains("+Q");
        let escapes = variable.contains("+E");
        let in_quotes = |value: Vec<u8>| match quoted {
            true => [b"\"", &*value, b"\""].concat(),
            false => value,
        };
        let request = |value: &[u8]| match self.is_bad {
            true => in_quotes(b"<BADREQ>".to_vec()),
            false => in_quotes(hashed(value, b"\"#", escapes)),
        };
        let escaped = |value: Option<Vec<u8>>| {
            value.map(|value| {
                let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b']');
                let bytes = value.iter().flat_map(|byte| match special(byte) {
                    true => vec![b'\\', *byte],
                    false => vec![*byte],
                });
                bytes.collect::<Vec<u8>>()
            })
        };
        let line = [b"GET ", &*self.uri, b" HTTP/1.1"].concat();
        let name = variable
            .rsplit('}')
            .next()
            .unwrap_or(variable)
            .trim_start_matches('%');
        Some(match name {
            "B" => self.bytes.1.to_string().into_bytes(),
            "U" => self.bytes.0.to_string().into_bytes(),
            "ST" => self.status.to_string().into_bytes(),
            "ci" => b"2001:db8::1".to_vec(),
            "[src]" => b"192.0.2.7".to_vec(),
            "cp" => b"49786".to_vec(),
            "trg" => b"26/Nov/2026:14:20:46 +0000".to_vec(),
            "tr" => b"25/Oct/2025:13:19:45.955".to_vec(),
            "Ta" => b"12".to_vec(),
            "ft" => b"web~".to_vec(),
            "b" => b"site".to_vec(),
            "rc" => b"+3".to_vec(),
            "bq" => b"0".to_vec(),
            "tsc" => b"LR--".to_vec(),
            "r" => request(&line),
            "HM" => request(b"GET"),
            "HU" => request(&self.uri),
            "hr" => {
                let (host, agent) = captured?;
                let (host, agent) = (
                    hashed(host, HEADER, escapes),
                    hashed(agent, HEADER, escapes),
                );
                in_quotes([b"{", &*host, b"|", &*agent, b"}"].concat())
            }
            "hs" => in_quotes([b"{", &*hashed(response?, HEADER, escapes), b"}"].concat()),
            "hrl" => {
                let (host, agent) = captured?;
                [hashed(host, HEADER, false), hashed(agent, HEADER, false)].join(&b' ')
            }
            "hsl" => in_quotes(hashed(response?, HEADER, false)),
            "CC" => text(self.cookies.0.clone().filter(|_| !self.is_bad), quoted),
            "CS" => text(self.cookies.1.clone().filter(|_| !self.is_bad), quoted),
            "[capture.req.hdr(0)]" if escapes => text(escaped(host), quoted),
            "[capture.req.hdr(0)]" => text(host, quoted),
            "[capture.req.hdr(0),json(ascii)]" => text(host.map(|host| json(&host)), quoted),
            "[capture.req.hdr(1),json]" => text(agent.map(|agent| json(&agent)), quoted),
            "[capture.req.uri]" => text(uri, quoted),
            other => panic!("{other}"),
        })
    }

    /// The line: spaces of the format are separators, of which never two stand together.
    fn line(&self, format: &[(&str, &str)]) -> Vec<u8> {
        let mut line = Vec::new();
        let mut after_space = true;
        for (variable, separator) in format {
            if let Some(written) = self.written(variable) {
                line.extend(written);
                after_space = false;
            }
            for byte in separator.bytes() {
                if byte != b' ' || !after_space {
                    line.push(byte);
                }
                after_space = byte == b' ';
            }
        }
        line
    }
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"a"[..],
        b"b.example",
        b" ",
        b" ",
        b"\"",
        b"\" \"",
        b"{",
        b"}",
        b"} {",
        b"} \"",
        b" {x} ",
        b"|",
        b"#",
        b"#22",
        b"\\",
        b"]",
        b"-",
        b" - - ",
        b"0",
        b" 200 7",
        b"/",
        b":",
        b"\x01",
        b"\t",
        b"\xff",
        b"SID=",
        b"\"\"",
        b" 1.2.3.4 ",
    ]);
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// Neither spaces nor controls: what HAProxy lets through in a URI, and more.
fn uri() -> impl Strategy<Value = Vec<u8>> {
    hostile().prop_map(|value| {
        let kept = value
            .into_iter()
            .filter(|byte| !is_control(*byte) && *byte != b' ');
        [b"/"[..].to_vec(), kept.collect()].concat()
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let cookie =
        || prop::option::weighted(0.3, hostile().prop_map(|value| [b"SID=", &*value].concat()));
    let captured = prop::option::of((hostile(), hostile()));
    let response = prop::option::of(hostile());
    let numbers = (100..600_u16, 0..10_000_u64, any::<u64>());
    (
        captured,
        response,
        cookie(),
        cookie(),
        uri(),
        prop::bool::weighted(0.2),
        numbers,
    )
        .prop_map(
            |(captured, response, request_cookie, response_cookie, uri, is_bad, numbers)| Request {
                // Of the answer alone is a format of its own, without %hr.
                captured_response: response.filter(|_| captured.is_some()),
                captured,
                cookies: (request_cookie, response_cookie),
                uri,
                is_bad,
                status: numbers.0,
                bytes: (numbers.1, numbers.2),
            },
        )
}

fn formats() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let variables = prop::sample::subsequence(VARIABLES, 0..6).prop_shuffle();
    let must = Just(vec!["%trg", "%B"]);
    let all = (variables, must)
        .prop_map(|(some, must)| [some, must].concat())
        .prop_shuffle();
    // Numbers first, as often as not.
    let first = (all, any::<bool>()).prop_map(|(mut all, first)| {
        if first {
            all.sort_by_key(|variable| !matches!(*variable, "%trg" | "%B" | "%U" | "%ST"));
        }
        all
    });
    let separators = prop::collection::vec(prop::sample::select(SEPARATORS), 8);
    (first, separators, prop::bool::weighted(0.6)).prop_map(|(variables, separators, plain)| {
        let last = variables.len() - 1;
        let of = |index: usize| match (index == last, plain) {
            (true, _) => "",
            (false, true) => " ",
            (false, false) => separators[index],
        };
        variables
            .into_iter()
            .enumerate()
            .map(|(index, variable)| (variable, of(index)))
            .collect()
    })
}

static READ: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn check(format: &[(&str, &str)], request: &Request) -> Result<(), TestCaseError> {
    let string: String = format
        .iter()
        .flat_map(|(variable, separator)| [*variable, separator])
        .collect();
    let spec = Spec::parse(&format!("haproxy:log-format '{string}'"));
    let Ok(Spec::Format(parsed)) = spec else {
        // Whether headers are there cannot be told; nothing else of these is refused so early.
        let message = spec
            .map(|_| String::new())
            .unwrap_or_else(|error| error.message);
        prop_assert!(
            ["may be left out", "stands before what"]
                .iter()
                .any(|known| message.contains(known)),
            "{string}: {message}"
        );
        REFUSED.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    };
    let Ok(plan) = Plan::compile(&parsed) else {
        REFUSED.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    };
    READ.fetch_add(1, Ordering::Relaxed);
    let line = request.line(format);
    let shown = || format!("{string}\n{}", line.escape_ascii());
    let has = |name: &str| format.iter().any(|(variable, _)| *variable == name);
    let has_cookie = request.cookies != (None, None);
    let record = match plan.read(&line) {
        Ok(Line::Record(record)) => record,
        Err(_) if has_cookie && plan.notes().contains(&Note::CookiesNotRead) => return Ok(()),
        other => return Err(TestCaseError::fail(format!("{}\n{other:?}", shown()))),
    };
    let Record {
        vhost,
        client,
        bytes_in,
        bytes_out,
        status,
        time,
        ..
    } = record;
    prop_assert_eq!(time, Some(Time::Instant(1_795_702_846)), "{}", shown());
    prop_assert_eq!(bytes_out, Some(request.bytes.1), "{}", shown());
    let sent = if has("%U") { request.bytes.0 } else { 0 };
    prop_assert_eq!(bytes_in, Some(sent), "{}", shown());
    prop_assert_eq!(status, has("%ST").then_some(request.status), "{}", shown());
    let address: Option<&[u8]> = match (has("%ci"), has("%[src]")) {
        (true, _) => Some(b"2001:db8::1"),
        (false, true) => Some(b"192.0.2.7"),
        (false, false) => None,
    };
    prop_assert_eq!(client, address, "{}", shown());
    let names_host = |(variable, _): &(&str, &str)| {
        matches!(*variable, "%hr" | "%{+E}hr") || variable.contains("hdr(0)")
    };
    let host = request
        .captured
        .clone()
        .filter(|_| !request.is_bad && format.iter().any(names_host));
    let host = host
        .map(|(host, _)| host)
        .filter(|host| !matches!(host.as_slice(), b"" | b"-"));
    prop_assert_eq!(
        vhost.map(|vhost| vhost.decode().into_owned()),
        host,
        "{}",
        shown()
    );
    Ok(())
}

#[test]
fn what_haproxy_writes_is_what_is_read() {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: cases.unwrap_or(6000),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let drawn = (formats(), requests());
    if let Err(error) = runner.run(&drawn, |(format, request)| check(&format, &request)) {
        panic!("{error}");
    }
    let (read, refused) = (
        READ.load(Ordering::Relaxed),
        REFUSED.load(Ordering::Relaxed),
    );
    assert!(
        read * 4 > refused,
        "only {read} formats compiled, {refused} were refused"
    );
}
