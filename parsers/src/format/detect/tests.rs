//! Made-up samples; those that servers wrote are in tests/detection.rs.

use super::*;

const COMBINED: &[u8] =
    br#"127.0.0.1 - alice [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
const COMMON: &[u8] = br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21"#;
const IO: &[u8] =
    br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl" 87 253"#;
const VHOST: &[u8] = br#"a.example:80 127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
const LIGHTTPD: &[u8] =
    br#"127.0.0.1 a.example - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
const IDENT: &[u8] =
    br#"127.0.0.1 root - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "curl""#;
const H2: &[u8] = br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "PRI * HTTP/2.0" 100 518 "-" "-""#;

const HAPROXY: &[u8] = br#"127.0.0.1:49784 [26/Nov/2026:19:53:07.932] k s/s 0/0/0/0/3 200 93 - - ---- 4/1/0/0/0 0/0 {a.example} "GET /x HTTP/1.1""#;
const HAPROXY_BAD: &[u8] = br#"127.0.0.1:49784 [26/Nov/2026:19:53:07.932] k k/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>""#;
const W3C: &[u8] = b"#Fields: date time sc-bytes";
const CLOUDFRONT: &[u8] = b"#Fields: date time x-edge-location sc-bytes";
const VARNISH: &[u8] = br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET http://a.example/ HTTP/1.1" 200 21 "-" "curl""#;
const SQUID: &[u8] =
    b"1795704268.315     12 127.0.0.1 TCP_MISS/200 349 GET http://a.example/ alice FIRSTUP_PARENT/::1 text/html";

fn name(sample: &[&[u8]]) -> String {
    shown(detect(sample))
}

fn shown(detected: Detected) -> String {
    match detected {
        Detected::Preset(Choice { name, envelope, .. }) => match envelope {
            None => name.to_owned(),
            Some(envelope) => format!("{envelope:?} {name}"),
        },
        Detected::Ambiguous { names, .. } => names.join("?"),
        Detected::Nothing { why } => why,
    }
}

#[test]
fn envelopes_are_seen() {
    let written = |line: &[u8]| [b"Nov 21 23:59:01 h nginx: ", line].concat();
    // As a whole this fits combined too, with most of the envelope in the user's name.
    let combined = written(COMBINED);
    let plain = Plan::compile(&match Spec::parse("combined") {
        Ok(Spec::Format(format)) => format,
        other => panic!("{other:?}"),
    });
    assert!(matches!(
        plain.expect("a plan").read(&combined),
        Ok(Line::Record(_))
    ));
    let (combined, lighttpd, ident) = (&*combined, &*written(LIGHTTPD), &*written(IDENT));
    let vhost = &*[&b"1 - h www 12 - - "[..], VHOST].concat();
    let cases: &[(&[&[u8]], &str)] = &[
        (&[combined], "Written combined"),
        (&[lighttpd, lighttpd], "Written lighttpd"),
        (&[vhost], "Written vhost_combined"),
        (&[ident], "combined?lighttpd"),
        (&[&written(HAPROXY)], "Written haproxy"),
        (&[combined, combined, COMBINED], "Written combined"),
        (&[combined, COMBINED, COMBINED], "combined?lighttpd"),
        (
            &[b"Nov 21 23:59:01 h cron[1]: x"],
            "no preset fits; common comes nearest in the first line: byte 28: expected \" \" after %h",
        ),
    ];
    for (sample, expected) in cases {
        assert_eq!(name(sample), *expected);
    }
    let within = |envelope, sample: &[&[u8]]| shown(detect_within(envelope, sample));
    assert_eq!(within(Envelope::Written, &[combined]), "Written combined");
    assert_eq!(
        within(Envelope::Written, &[COMBINED]),
        "no preset fits; common comes nearest in the first line: byte 0: expected what a syslog daemon writes before a line (a time, a host, and a program with a colon)"
    );
    let wire = &*[&b"<190>"[..], combined].concat();
    let local = &*[&b"<190>Nov 21 23:59:01 nginx: "[..], COMBINED].concat();
    let sample: &[&[u8]] = &[wire, local, COMBINED];
    assert_eq!(within(Envelope::Wire, sample), "Wire combined");
}

#[test]
fn json_is_told_apart() {
    const CADDY: &[u8] = br#"{"ts":1,"logger":"http.log.access","msg":"handled request","request":{"host":"a"},"size":6,"status":200}"#;
    const STARTED: &[u8] = br#"{"level":"info","ts":1,"logger":"http.log","msg":"server running"}"#;
    const TRAEFIK: &[u8] =
        br#"{"DownstreamContentSize":5,"StartUTC":"2026-11-22T08:23:11Z","level":"info","msg":""}"#;
    let cases: &[(&[&[u8]], &str)] = &[
        (&[CADDY], "caddy"),
        (&[STARTED, CADDY, CADDY], "caddy"),
        (&[TRAEFIK], "traefik"),
        (&[STARTED, STARTED, CADDY], "caddy"),
        (
            &[br#"{"ts":1,"logger":"http.log.access","request":{"host":"a"},"status":200}"#],
            "the lines are caddy's, but have no usable time or no number of bytes sent: let the server log both",
        ),
        (
            &[br#"{"time":1,"bytes":5,"host":"a"}"#],
            "no preset fits; the lines are JSON, with neither Caddy's keys nor Traefik's: name the keys, as in json:time=KEY,out=KEY,vhost=KEY,user=KEY,status=KEY",
        ),
        (
            &[b"2026/11/26 14:20:42.570\tINFO\thttp.log.access\thandled request\t{\"request\": {}}"],
            "these lines are of Caddy's console encoder, which quotes nothing that clients send: write \"format json\" into the Caddyfile's log block",
        ),
    ];
    for (sample, expected) in cases {
        assert_eq!(name(sample), *expected);
    }
}

#[test]
fn presets_are_told_apart() {
    let cases: &[(&[&[u8]], &str)] = &[
        (&[COMBINED], "combined"),
        (&[COMMON], "common"),
        (&[IO], "combinedio"),
        (&[VHOST], "vhost_combined"),
        (&[LIGHTTPD], "lighttpd"),
        (&[LIGHTTPD, H2, LIGHTTPD], "lighttpd"),
        (&[HAPROXY, HAPROXY_BAD], "haproxy"),
        (&[IDENT], "combined?lighttpd"),
        (&[COMBINED, LIGHTTPD], "combined?lighttpd"),
        (&[VARNISH], "varnishncsa"),
        // Somebody asks nginx for another site.
        (&[VARNISH, COMBINED], "combined"),
        (&[SQUID], "squid"),
        (&[b"", b"# x", COMBINED, COMBINED, b"garbage"], "combined"),
        (
            &[COMBINED, b"x", b"y"],
            "combined comes nearest, and fits only 1 of 3 lines",
        ),
        (&[], "there are no lines to judge by"),
        (&[b"", b"#Fields: x"], "there are no lines to judge by"),
        (&[b"#Version: 1.0", W3C], "w3c"),
        (
            &[
                W3C,
                b"2026-11-22 08:23:11 1",
                b"2026-11-22 08:23:11 2",
                b"x",
            ],
            "w3c",
        ),
        (&[W3C, b"2026-11-22\t08:23:11\t1"], "cloudfront"),
        (
            &[CLOUDFRONT, b"2026-11-22\t08:23:11\tLAX1\t1"],
            "cloudfront",
        ),
        (&[CLOUDFRONT], "cloudfront"),
        (&[CLOUDFRONT, b"2026-11-22 08:23:11 LAX1 1"], "w3c"),
        // A line of a client's, in a log of another kind.
        (&[W3C, COMBINED, COMBINED], "combined"),
        (
            &[
                b"2026-11-22 08:23:11 1",
                W3C,
                b"2026-11-22 08:23:11 1",
                b"2026-11-22 08:23:11 1",
            ],
            "w3c",
        ),
    ];
    for (sample, expected) in cases {
        assert_eq!(name(sample), *expected);
    }
    let near = name(&[br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 2x0 21"#]);
    assert!(
        near.starts_with("no preset fits; ") && near.contains("byte 60"),
        "{near}"
    );
}

fn choice(sample: &[&[u8]]) -> Choice {
    match detect(sample) {
        Detected::Preset(choice) => choice,
        other => panic!("{other:?}"),
    }
}

#[test]
fn how_sure_it_is() {
    use Certainty::{Certain, Likely, Unsure};
    let repeated = |line: &'static [u8], count: usize| std::iter::repeat_n(line, count);
    let sample = |parts: &[(&'static [u8], usize)]| -> Vec<&'static [u8]> {
        let parts = parts
            .iter()
            .flat_map(|&(line, count)| repeated(line, count));
        parts.collect()
    };
    for (parts, certainty, lines, fit, runner_up) in [
        (&[(COMMON, 10)][..], Certain, 10, 10, None),
        (&[(COMMON, 9)], Likely, 9, 9, None),
        (&[(COMMON, 18), (b"x", 2)], Certain, 20, 18, None),
        (&[(COMMON, 17), (b"x", 3)], Likely, 20, 17, None),
        (
            &[(COMMON, 20), (IO, 2)],
            Certain,
            22,
            20,
            Some(("combinedio", 2)),
        ),
        (
            &[(COMMON, 20), (IO, 10)],
            Likely,
            30,
            20,
            Some(("combinedio", 10)),
        ),
        (
            &[(COMMON, 20), (IO, 11)],
            Unsure,
            31,
            20,
            Some(("combinedio", 11)),
        ),
        // The same rows so far.
        (&[(COMBINED, 20)], Certain, 20, 20, Some(("lighttpd", 20))),
        // Or of a forward proxy.
        (&[(VARNISH, 20)], Likely, 20, 20, Some(("combined", 20))),
        // By the look of the second word.
        (&[(LIGHTTPD, 20)], Likely, 20, 20, Some(("combined", 20))),
        // All its lines fit combined too.
        (&[(VHOST, 20)], Certain, 20, 20, Some(("combined", 20))),
        (
            &[(b"# x", 5), (COMMON, 10), (b"", 5)],
            Certain,
            10,
            10,
            None,
        ),
    ] {
        let found = choice(&sample(parts));
        let next = found.runner_up.map(|next| (next.name, next.fit));
        assert_eq!(
            (found.certainty, found.lines, found.fit, next),
            (certainty, lines, fit, runner_up),
            "{}",
            found.why
        );
        assert!(
            found.why.contains(&format!("; {certainty}, ")),
            "{}",
            found.why
        );
    }
    assert_eq!(
        choice(&sample(&[(LIGHTTPD, 20)])).why,
        "20 of 20 lines fit lighttpd, and their second word is a host, where combined has an identd name; likely, next is combined, which fits 20"
    );
}

#[test]
fn what_two_presets_read_alike_is_taken_at_the_lower_grade() {
    // Both are bodies alone; the first of the list is taken.
    let found = choice(&[COMBINED]);
    assert_eq!(found.name, "combined");
    assert!(
        found
            .why
            .ends_with("next is lighttpd, which fits 1, with the same rows")
    );
}

#[test]
fn lighttpd_names_no_host_for_what_it_refuses() {
    let refused: &[u8] =
        br#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 400 345 "-" "-""#;
    assert_eq!(name(&[refused, refused, refused, LIGHTTPD]), "lighttpd");
    assert_eq!(name(&[COMBINED, COMBINED, LIGHTTPD]), "combined?lighttpd");
    // One of many hosts may be a single word.
    let mut sample = vec![LIGHTTPD; 10];
    sample.push(IDENT);
    assert_eq!(name(&sample), "lighttpd");
    sample.push(IDENT);
    assert_eq!(name(&sample), "combined?lighttpd");
}
