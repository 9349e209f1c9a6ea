//! Nothing that anyone can send makes the parsers fail: no panic, and every span inside its line.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use tollkeeper_parsers::format::{Spec, detect, detect_within};
use tollkeeper_parsers::frames::{Frame, Frames, MAX_MESSAGE_BYTES, datagram};
use tollkeeper_parsers::framing::{Framed, Lines, Rest};
use tollkeeper_parsers::host::{self, Host};
use tollkeeper_parsers::plan::{EnvelopeVhost, Plan};
use tollkeeper_parsers::record::Line;
use tollkeeper_parsers::size;
use tollkeeper_parsers::syslog::{self, Envelope, Message};
use tollkeeper_parsers::text::{self, Escape};
use tollkeeper_parsers::time::{self, Parts, Pattern, Time};

const FORMATS: &[&str] = &[
    "common",
    "combined",
    "vhost_combined",
    "combinedio",
    "lighttpd",
    r#"nginx:escape=json '{"t":"$time_iso8601","h":"$host","u":"$remote_user","o":$bytes_sent}'"#,
    "nginx:escape=none '$msec $bytes_sent $remote_user'",
    "nginx:$msec $bytes_sent $upstream_addr $http_cookie $uri $upstream_response_time $status",
    r#"apache:[%{%A %d/%B/%Y:%H:%M:%S}t.%{msec_frac}t %{%z %Z}t] %S %I %{ms}T %!200u %v:%p "%{Host}i" %U"#,
    "apache:%u %t %b",
    "lighttpd:%{begin:usec}t %{nsec_frac}t%b %V %u",
    "w3c:#Fields: date time cs-host cs-username sc-status sc-bytes cs-bytes time-taken",
    "cloudfront:#Fields: date time sc-bytes x-host-header cs-uri-stem",
    "caddy",
    "traefik",
    "json",
    r#"json:time:"%d %b %Y %H:%M"=a.t,body=b|c|"a.b",duration:ms=d,in=i"#,
    "squid",
    "squid:combined",
    r#"squid:%ts.%03tu %6.2tr %9<st %{Host}>h %#un "%ru" [%{Referer}>h] %tl"#,
    "varnishncsa",
    r#"varnishncsa:-j -F '{"t":%{msec}t,"o":%O,"u":"%u","r":"%r"}'"#,
    "haproxy",
    "haproxy:option httpslog",
    "haproxy:option httplog clf",
    r#"haproxy:%Ts.%ms %B %U %ST %hr %hs %{+Q,+E}[capture.req.hdr(1)] "%[capture.req.hdr(2),json(ascii)]""#,
];

fn plans() -> Vec<Plan> {
    FORMATS
        .iter()
        .map(|format| match Spec::parse(format) {
            Ok(Spec::Format(parsed)) => {
                Plan::compile(&parsed).unwrap_or_else(|error| panic!("{format}: {error}"))
            }
            other => panic!("{format}: {other:?}"),
        })
        .collect()
}

/// The same, also for lines in envelopes.
fn plans_within() -> Vec<Plan> {
    let bare = plans();
    let within = |envelope| bare.iter().cloned().map(move |plan| plan.within(envelope));
    let vhosts = [EnvelopeVhost::Host, EnvelopeVhost::Tag]
        .into_iter()
        .cycle();
    let enveloped = within(Envelope::Wire)
        .chain(within(Envelope::Written))
        .zip(vhosts)
        .map(|(plan, vhost)| plan.with_vhost_from(vhost));
    bare.iter().cloned().chain(enveloped).collect()
}

/// Envelopes that are nearly right.
fn envelope() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"<134>"[..],
        b"<6>",
        b"<",
        b">",
        b" ",
        b" ",
        b"Nov 21 23:59:01 ",
        b"Nov  1 2026 23:59:01.5 +01:00 ",
        b"2026-11-21T23:59:01.123+01:00 ",
        b"1 ",
        b"1 2026-11-21T23:59:01Z h t 12 - ",
        b"- ",
        b"[x@1 a=\"",
        b"\\\"",
        b"\"]",
        b"[y]",
        b"\xef\xbb\xbf",
        b"web1.example ",
        b"::1 ",
        b"nginx:",
        b"haproxy[12]",
        b":",
        b"[",
    ])
    .prop_map(<[u8]>::to_vec);
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

/// What a sender may write into a stream.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let long = |more| prop::collection::vec(Just(b'x'), MAX_MESSAGE_BYTES + more);
    let part = prop_oneof![
        20 => prop::sample::select(vec![
            &b"<13>a"[..], b"5 <13>a", b"9 <13>a\nb\0c", b"12 <1", b"0 <", b"05 <13>a", b"999999 <",
            b"300000 <13>", b"1234567 <", b"\n", b"\r\n", b"\r", b"\0", b"200 GET", b" ", b"7", b"<",
        ]).prop_map(<[u8]>::to_vec),
        1 => long(0),
        1 => long(1),
    ];
    prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

/// A stream told into messages: each with where it starts, `None` for what is passed over, and how
/// many are too long. `cuts` are the places up to which the stream has come, in turn.
fn framed(stream: &[u8], cuts: &[usize]) -> (Vec<(usize, Vec<u8>)>, usize, usize) {
    let (mut frames, mut at, mut messages, mut too_long) = (Frames::new(), 0, Vec::new(), 0);
    for &cut in cuts {
        while at < cut {
            let buffer = &stream[at..cut];
            at += match frames.next(buffer) {
                Frame::Message { bytes, consumed } => {
                    assert!(bytes.end <= consumed && consumed <= buffer.len());
                    assert!(!bytes.is_empty() && bytes.len() <= MAX_MESSAGE_BYTES);
                    // Between messages stand counts and ends of lines alone.
                    assert!(
                        buffer[..bytes.start]
                            .iter()
                            .all(|byte| byte.is_ascii_digit() || *byte == b' ')
                    );
                    assert!(
                        buffer[bytes.end..consumed]
                            .iter()
                            .all(|byte| b"\r\n\0".contains(byte))
                    );
                    messages.push((at + bytes.start, buffer[bytes].to_vec()));
                    consumed
                }
                Frame::TooLong { consumed } => {
                    too_long += 1;
                    consumed
                }
                Frame::Passed { consumed } => consumed,
                Frame::Incomplete => {
                    assert!(buffer.len() < MAX_MESSAGE_BYTES + 8);
                    break;
                }
            };
            assert!(at <= cut);
        }
    }
    (messages, too_long, at)
}

/// Lines that are nearly right, and bytes that are not.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"127.0.0.1"[..],
        b" ",
        b" ",
        b"-",
        b"[22/Nov/2026:08:23:11 +0000]",
        b"\"",
        b"\"\"",
        b"\\",
        b"GET / HTTP/1.1",
        b"200",
        b"5",
        b"a.example:80",
        b"{\"t\":\"",
        b"2026-11-22T08:23:11+00:00",
        b"\",\"h\":\"",
        b"1795335791.215",
        b"{\"ts\":1795335791.215,\"size\":5,",
        b"\"request\":{\"host\":\"",
        b"\"}}",
        b"{\"time\":\"2026-11-22T08:23:11Z\",\"DownstreamContentSize\":",
        b"\\u00e9",
        b"#",
        b"[Sunday 22/November/2026:08:23:11.214 +0000 UTC]",
        b"99999999999999999999999",
        b"\xff",
        b"\0",
        b"\r",
    ])
    .prop_map(<[u8]>::to_vec);
    prop_oneof![
        3 => prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn is_inside(line: &[u8], span: &[u8]) -> bool {
    let (line, span) = (line.as_ptr_range(), span.as_ptr_range());
    line.start <= span.start && span.end <= line.end
}

#[test]
fn spans_lie_in_their_line() {
    let plans = plans_within();
    proptest!(|(envelope in envelope(), line in line())| {
        let line = [envelope, line].concat();
        for plan in &plans {
            match plan.read(&line) {
                Ok(Line::Record(record)) => {
                    for logged in [record.vhost, record.user, record.method, record.path].into_iter().flatten() {
                        prop_assert!(is_inside(&line, logged.bytes));
                        let _ = logged.decode();
                    }
                    prop_assert!(record.client.is_none_or(|client| is_inside(&line, client)));
                }
                Ok(Line::Ignored(_)) => {}
                Err(error) => {
                    prop_assert!(error.at <= line.len());
                    let _ = plan.describe(&error);
                }
            }
        }
        let _ = detect(&[&line, &line]);
        let _ = detect_within(Envelope::Wire, &[&line, &line]);
    });
}

proptest! {
    #[test]
    fn any_format_string_is_read_or_refused_with_a_span(
        server in prop::sample::select(vec!["", "syslog:", "syslog:nginx:", "nginx:", "apache:", "lighttpd:", "json:", "json:time=a,out=b", "nginx:log_format x ", "apache:LogFormat ", "lighttpd:accesslog.format = "]),
        parts in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(vec![
                "%", "$", "{", "}", "\"", "'", "\\", " ", ";", "#", "\n", "%t", "%b", "%u", "%{x}i", "$host", "$msec", "$bytes_sent",
                "${", "%{%Y-%m-%d %H}t", "%{begin:", "msec}t", "%^", "%>", "%!2", "+", "escape=json ", "ż", "-", "%Z", "%r",
                "time", ":ms", "=", "|", ".", ",", "body", "out=x", "\"%F",
            ]).prop_map(str::to_owned),
            1 => any::<String>(),
        ], 0..12),
    ) {
        let text = format!("{server}{}", parts.concat());
        let compiled = match Spec::parse(&text) {
            Ok(Spec::Auto | Spec::AutoWithin(_)) => return Ok(()),
            Ok(Spec::Format(format)) => Plan::compile(&format),
            Err(error) => Err(error),
        };
        match compiled {
            Ok(plan) => {
                for explained in plan.explain() {
                    prop_assert_eq!(plan.format().text.get(explained.span), Some(&*explained.written));
                }
                let _ = (plan.better(), plan.notes(), plan.read(b"x"));
            }
            Err(error) => {
                prop_assert!(text.get(error.span.clone()).is_some(), "{} {:?}", text, error);
                prop_assert!(error.help.is_some());
            }
        }
    }

    #[test]
    fn any_lines_of_haproxy_are_read_or_refused_with_a_span(
        start in prop::sample::select(vec!["haproxy:", "haproxy:log-format ", "syslog:haproxy:", "haproxy:http-request capture "]),
        parts in prop::collection::vec(prop_oneof![
            6 => prop::sample::select(vec![
                "%", "$", "{", "}", "\"", "'", "\\", " ", "#", "\n", "[", "]", "(", ")", ",", "%ci", "%B ", "%trg ", "%tr", "%hr",
                "%hrl", "%hs", "%CC", "%{+Q}r", "%[", "%{+Q}", "%{+E,-M}", "%{+X}o", "capture.req.hdr(0)", ",json(ascii)", "date",
                "\nlog-format ", "\noption httplog\n", "${HAPROXY_HTTP_LOG_FMT}", "\\x41", "id 0", "ż", "%Z",
            ]).prop_map(str::to_owned),
            1 => any::<String>(),
        ], 0..12),
    ) {
        let text = format!("{start}{}", parts.concat());
        let compiled = match Spec::parse(&text) {
            Ok(Spec::Auto | Spec::AutoWithin(_)) => return Ok(()),
            Ok(Spec::Format(format)) => Plan::compile(&format),
            Err(error) => Err(error),
        };
        match compiled {
            Ok(plan) => {
                for explained in plan.explain() {
                    // Words may be quoted in parts, and hold variables.
                    let there = plan.format().text.get(explained.span);
                    let is_quoted = there.is_some_and(|there| there.contains(['\\', '"', '\'', '$']));
                    prop_assert!(is_quoted || there == Some(&*explained.written), "{} {:?}", text, there);
                }
                if let Err(error) = plan.read(text.as_bytes()) {
                    prop_assert!(error.at <= text.len());
                    let _ = plan.describe(&error);
                }
            }
            Err(error) => {
                prop_assert!(text.get(error.span.clone()).is_some(), "{} {:?}", text, error);
                prop_assert!(error.help.is_some());
            }
        }
    }

    #[test]
    fn names_are_injective(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
        // What was meant comes back from the stored form, so no two names have the same.
        for name in [&a, &b] {
            let stored = text::name(name);
            prop_assert_eq!(&*Escape::Backslash.decode(stored.as_bytes()), &**name);
            prop_assert!(!stored.chars().any(char::is_control));
            prop_assert!(!stored.starts_with(' ') && !stored.ends_with(' '));
        }
        prop_assert_eq!(text::name(&a) == text::name(&b), a == b);
    }

    #[test]
    fn hosts_fold_to_what_folds_to_itself(logged in prop_oneof!["[a-zA-Z0-9._:*\\[\\]ąŻ-]{0,20}".prop_map(String::into_bytes), any::<Vec<u8>>()]) {
        let (mut buffer, mut again) = (Vec::new(), Vec::new());
        match host::fold(&logged, &mut buffer) {
            Host::Folded(folded) => {
                prop_assert!(folded.len() <= 253 && folded.is_ascii() && !folded.starts_with('_') || folded.contains('.'));
                prop_assert_eq!(host::fold(folded.as_bytes(), &mut again), Host::Folded(folded));
            }
            Host::Unicode(folded) => prop_assert!(!folded.is_ascii()),
            Host::Missing | Host::Invalid => {}
        }
    }

    #[test]
    fn ipv6_hosts_have_one_spelling(bits in any::<u128>(), port in any::<u16>()) {
        let address = Ipv6Addr::from(bits);
        let long = address.segments().map(|segment| format!("{segment:04X}")).join(":");
        let canonical = address.to_string();
        for spelling in [format!("[{long}]:{port}"), format!("[{canonical}]"), long.clone(), canonical.clone()] {
            let mut buffer = Vec::new();
            prop_assert_eq!(host::fold(spelling.as_bytes(), &mut buffer), Host::Folded(&canonical));
        }
    }

    #[test]
    fn lines_are_every_byte_once(chunk in prop::collection::vec(prop::sample::select(vec![b'a', b'\n', b'\r', 0]), 0..50)) {
        let mut lines = Lines::new(&chunk);
        let mut seen = Vec::new();
        for framed in lines.by_ref() {
            let Framed::Line { bytes, end } = framed else { panic!("{framed:?}") };
            seen.extend_from_slice(bytes);
            seen.push(b'\n');
            prop_assert_eq!(end, seen.len());
        }
        let Rest::Partial(rest) = lines.rest() else { panic!("{:?}", lines.rest()) };
        seen.extend_from_slice(rest);
        prop_assert_eq!(seen, chunk);
    }

    #[test]
    fn envelopes_stand_before_their_message(envelope in envelope(), rest in any::<Vec<u8>>()) {
        let bytes = [envelope, rest].concat();
        for message in [syslog::message(&bytes), syslog::written(&bytes)].into_iter().flatten() {
            let Message { facility, severity, host, tag, text } = message;
            prop_assert!(bytes.ends_with(text) && is_inside(&bytes, text));
            let before = &bytes[..bytes.len() - text.len()];
            for name in [host, tag].into_iter().flatten() {
                prop_assert!(is_inside(before, name) && !name.is_empty());
            }
            prop_assert!(facility.is_none_or(|facility| facility < 24));
            prop_assert!(severity.is_none_or(|severity| severity < 8));
            prop_assert_eq!(facility.is_some(), syslog::has_priority(&bytes));
        }
    }

    #[test]
    fn streams_lose_no_byte_however_they_are_cut(stream in stream(), mut cuts in prop::collection::vec(0_usize..600_000, 0..20)) {
        let whole = framed(&stream, &[stream.len()]);
        // A message that is too long is the end of what is here, however much that is: where it is
        // seen first depends on the cuts; that it is one does not.
        cuts.retain(|&cut| cut < stream.len());
        cuts.sort_unstable();
        cuts.push(stream.len());
        let pieces = framed(&stream, &cuts);
        prop_assert_eq!(&pieces.0, &whole.0);
        prop_assert_eq!((pieces.1, pieces.2), (whole.1, whole.2));
        if whole.1 == 0 {
            let single: Vec<usize> = (0..=stream.len()).collect();
            prop_assert_eq!(framed(&stream, &single), whole);
        }
    }

    #[test]
    fn datagrams_are_every_byte_once(envelopes in prop::collection::vec(envelope(), 0..4), separator in prop::sample::select(vec![&b"\n"[..], b"\r\n", b"\0", b" "])) {
        let bytes = envelopes.join(separator);
        let mut end = 0;
        for message in datagram(&bytes) {
            let start = message.as_ptr().addr() - bytes.as_ptr().addr();
            prop_assert!(!message.is_empty() && start >= end);
            prop_assert!(bytes[end..start].iter().all(|byte| b"\r\n\0".contains(byte)));
            end = start + message.len();
        }
        prop_assert!(bytes[end..].iter().all(|byte| b"\r\n\0".contains(byte)));
    }

    #[test]
    fn sizes_are_whole_and_fit(text in "\\PC{0,20}|[0-9]{1,25}(\\.[0-9]{0,25})? ?[kKMGTP]?i?(B|bps|B/s)?") {
        for read in [size::bytes(&text), size::bytes_per_second(&text)] {
            match read {
                Ok(size) => prop_assert!(i64::try_from(size).is_ok()),
                Err(error) => prop_assert!(text.get(error.span).is_some()),
            }
        }
    }

    #[test]
    fn clocks_agree(day in 0_i64..2_932_897, second in 0_i64..86_400, offset in -1439_i64..1440) {
        let (year, month, date, of_year) = civil(day);
        let name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month - 1];
        let (hour, minute, seconds) = (second / 3600, second / 60 % 60, second % 60);
        let zone = format!("{}{:02}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 60, offset.abs() % 60);
        let clock = format!("{hour:02}:{minute:02}:{seconds:02}");
        let local = day * 86_400 + second;
        let expected = Some(Time::Instant(local - offset * 60));
        prop_assert_eq!(time::clf(format!("{date:02}/{name}/{year:04}:{clock} {zone}").as_bytes()), expected);
        let iso = format!("{year:04}-{month:02}-{date:02}T{clock}");
        prop_assert_eq!(time::iso8601(format!("{iso}{zone}").as_bytes()), expected);
        prop_assert_eq!(time::iso8601(iso.as_bytes()), Some(Time::Local(local)));
        let read = |format: &[u8], text: String| {
            let mut parts = Parts::default();
            Pattern::parse(format).expect("a good pattern").read(text.as_bytes(), &mut parts).and_then(|_| parts.time())
        };
        prop_assert_eq!(read(b"%d %b %Y %T%z", format!("{date:02} {name} {year:04} {clock}{zone}")), expected);
        prop_assert_eq!(read(b"%Y-%j %T", format!("{year:04}-{:03} {clock}", of_year)), Some(Time::Local(local)));
        if local >= 0 {
            prop_assert_eq!(time::epoch(format!("{local}.5").as_bytes()), Some(Time::Instant(local)));
        }
    }

    #[test]
    fn times_of_any_bytes(bytes in any::<Vec<u8>>(), format in any::<Vec<u8>>()) {
        let _ = (time::clf(&bytes), time::iso8601(&bytes), time::epoch(&bytes));
        if let Ok(pattern) = Pattern::parse(&format) {
            let mut parts = Parts::default();
            let length = pattern.read(&bytes, &mut parts);
            prop_assert!(length.is_none_or(|length| length <= bytes.len()));
            let _ = parts.time();
        }
    }
}

/// Year, month, day and day of the year, counted out year by year and month by month.
fn civil(mut day: i64) -> (i64, usize, i64, i64) {
    let is_leap = |year: i64| year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let of_year = day + 1;
    for (month, length) in (1..).zip([
        31,
        28 + i64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ]) {
        if day < length {
            return (year, month, day + 1, of_year);
        }
        day -= length;
    }
    unreachable!("a year has twelve months")
}
