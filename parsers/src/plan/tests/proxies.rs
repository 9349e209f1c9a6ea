//! Squid 5.7 and varnishncsa 7.1; lines marked as recorded were written by them.

use super::{check, plan, refused, show};
use crate::plan::Grade;

#[test]
fn squid_recorded() {
    check(
        "squid",
        &[
            (
                r#"1795703209.964     42 127.0.0.1 TCP_MISS/200 293 GET http://a.example/private/page.html the "boss" FIRSTUP_PARENT/127.0.0.1 text/html"#,
                r#"·|the \"boss\"|127.0.0.1|1795703209|0|293|200|42000|GET|http://a.example/private/page.html"#,
            ),
            (
                r#"1795703210.108     43 127.0.0.1 TCP_MISS/200 293 GET http://a.example/p %5d "get FIRSTUP_PARENT/127.0.0.1 text/html"#,
                r#"·|] \"get|127.0.0.1|1795703210|0|293|200|43000|GET|http://a.example/p"#,
            ),
            (
                "1795703210.256     47 127.0.0.1 TCP_MISS/200 293 GET http://a.example/p  lead FIRSTUP_PARENT/127.0.0.1 text/html",
                "·| lead|127.0.0.1|1795703210|0|293|200|47000|GET|http://a.example/p",
            ),
            (
                "1795703210.500     43 127.0.0.1 TCP_MISS/200 293 GET http://a.example/p per%2520cent FIRSTUP_PARENT/127.0.0.1 text/html",
                "·|per%20cent|127.0.0.1|1795703210|0|293|200|43000|GET|http://a.example/p",
            ),
            (
                r"1795703210.012 123456789 ::1 TCP_MISS/200 293 GET http://a.example/p dom\\carol FIRSTUP_PARENT/::1 -",
                r"·|dom\\carol|::1|1795703210|0|293|200|123456789000|GET|http://a.example/p",
            ),
            (
                "1795704268.311      0 127.0.0.1 NONE_NONE/000 0 - error:transaction-end-before-headers - HIER_NONE/- -",
                "·|·|127.0.0.1|1795704268|0|0|0|0|·|error:transaction-end-before-headers",
            ),
        ],
    );
    check(
        "squid:combined",
        &[
            (
                r#"127.0.0.1 - john doe [26/Nov/2026:14:26:50 +0000] "GET http://a.example/a"b\c HTTP/1.1" 200 299 "a "b" \ c" "-" TCP_HIT:HIER_NONE"#,
                r#"·|john doe|127.0.0.1|1795703210|0|299|200|·|GET|http://a.example/a\"b\\c"#,
            ),
            (
                r#"127.0.0.1 - - [26/Nov/2026:17:44:20 +0300] "- error:transaction-end-before-headers NONE/0.0" 0 0 "-" "-" NONE_NONE:HIER_NONE"#,
                "·|·|127.0.0.1|1795704260|0|0|0|·|·|error:transaction-end-before-headers",
            ),
        ],
    );
    // Who is asked of identd is not read where an answer could hold spaces.
    let ident = br#"127.0.0.1 root - [26/Nov/2026:14:26:50 +0000] "GET / HTTP/1.1" 200 9 A:B"#;
    assert!(plan("squid:common").read(ident).is_err());
    check(
        r#"squid:[%{%F %T %z}tl] "%un" "%{Host}>h" %8<st %08>st %.3tr"#,
        &[(
            r#"[2026-11-26 14:26:50 +0000] "the \"boss\" \\x41" "a.example:8080"      293 00000118 12.345"#,
            r#"a.example:8080|the \"boss\" \\x41|·|1795703210|118|293|·|12345|·|·"#,
        )],
    );
    // Greenwich, or no time at all.
    check(
        "squid:%{%F %T %z}tg %<st",
        &[(
            "2026-11-26 14:26:50 +0000 1",
            "·|·|·|1795703210|0|1|·|·|·|·",
        )],
    );
    assert_eq!(refused("squid:%tg %<st").message, "the format has no time");
    assert_eq!(plan("squid").grade(), Grade::OutOnly);
    assert_eq!(plan("squid:%ts %st %<st").grade(), Grade::Exact);
}

/// Found in the recording: a URL of 8 KiB cuts the line of a built-in format, so that the next line
/// stands behind it, where its fields would be taken for the user's name.
#[test]
fn a_line_that_squid_cut_is_none() {
    let cut = "1795704262.001      0 127.0.0.1 TCP_MISS/200 599 GET http://a.example/ttt\0\
               1795704262.002      0 127.0.0.1 TCP_MISS/200 999 GET http://a.example/ alice HIER_NONE/- text/html";
    let plan = plan("squid");
    let expected = "byte 73: expected the end of the line";
    assert_eq!(show(plan.read(cut.as_bytes())), expected);
    let mut carried = crate::plan::Carried::default();
    assert_eq!(
        show(plan.read_for_account(cut.as_bytes(), &mut carried)),
        expected
    );
}

/// With `log_mime_hdrs on` the headers follow, and the user's name would not end before them.
#[test]
fn headers_behind_squid_s_native_format_are_no_part_of_the_user() {
    check(
        "squid",
        &[(
            "1795704262.001      0 127.0.0.1 TCP_MISS/200 599 GET http://a.example/ alice HIER_DIRECT/::1 text/html [Host: a.example\\r\\nAccept: */*\\r\\n] [HTTP/1.1 200 OK\\r\\nServer: x/1 y\\r\\n]",
            "byte 103: expected no bracket, which would be %5b or %5d here",
        )],
    );
    check(
        "squid:%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt [%>h] [%<h]",
        &[(
            "1795704262.001      0 127.0.0.1 TCP_MISS/200 599 GET http://a.example/ al ice HIER_DIRECT/::1 text/html [Host: %5ba%5d\\r\\nAccept: */*\\r\\n] []",
            "·|al ice|127.0.0.1|1795704262|0|599|200|0|GET|http://a.example/",
        )],
    );
}

#[test]
fn varnishncsa_recorded() {
    check(
        "varnishncsa",
        &[
            (
                r#"127.0.0.1 - ] \"GET [26/Nov/2026:14:27:34 +0000] "GET http://a.example/private/page.html HTTP/1.1" 200 6 "-" "-""#,
                r#"a.example|] \"GET|127.0.0.1|1795703254|0|6|200|·|GET|/private/page.html"#,
            ),
            (
                r#"127.0.0.1 -  [26/Nov/2026:14:27:34 +0000] "GET http://a.example/ HTTP/1.1" 200 6 "-" "-""#,
                "a.example|·|127.0.0.1|1795703254|0|6|200|·|GET|/",
            ),
            (
                r#"- - - [26/Nov/2026:14:27:35 +0000] "- http://localhost HTTP/1.0" 400 0 "-" "-""#,
                "·|·|·|1795703255|0|0|400|·|·|·",
            ),
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:27:35 +0000] "GET http://a.example* HTTP/1.1" 404 335 "-" "-""#,
                "a.example|·|127.0.0.1|1795703255|0|335|404|·|GET|*",
            ),
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:27:35 +0000] "GET http://x\"y/index.html HTTP/1.1" 200 6 "-" "-""#,
                r#"x\"y|·|127.0.0.1|1795703255|0|6|200|·|GET|/index.html"#,
            ),
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:27:35 +0000] "GET http://a b/index.html HTTP/1.1" 200 6 "-" "-""#,
                "a b|·|127.0.0.1|1795703255|0|6|200|·|GET|/index.html",
            ),
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:27:35 +0000] "GET http:///index.html HTTP/1.1" 200 6 "-" "-""#,
                "·|·|127.0.0.1|1795703255|0|6|200|·|GET|/index.html",
            ),
            // A Host that would end the URL is no host, whatever it says behind the space.
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:27:35 +0000] "GET http://b.example HTTP/1.1/ HTTP/1.1" 200 6 "-" "-""#,
                "b.example HTTP|·|127.0.0.1|1795703255|0|6|200|·|GET|/1.1/",
            ),
            // Piped: there is no number.
            (
                r#"127.0.0.1 - - [26/Nov/2026:09:46:01 -0500] "get http://a.example/ HTTP/1.1" - - "-" "-""#,
                "a.example|·|127.0.0.1|1795704361|0|·|·|·|get|/",
            ),
            // nginx's or Apache's.
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:27:35 +0000] "GET / HTTP/1.1" 200 6 "-" "-""#,
                "byte 44: expected a request line with a whole URL, http://…",
            ),
        ],
    );
    check(
        r#"varnishncsa:-j -F '{"t":%{msec}t,"i":%I,"o":%O,"h":"%{Host}i","u":"%u","r":"%r"}'"#,
        &[(
            r#"{"t":1795703254123,"i":118,"o":264,"h":"a.example","u":"bell\u0007","r":"GET http://b.example/ HTTP/1.1"}"#,
            r"a.example|bell\x07|·|1795703254|118|264|·|·|GET|http://b.example/",
        )],
    );
    check(
        "varnishncsa:%{Varnish:default_format}x %I %O",
        &[(
            r#"127.0.0.1 - - [26/Nov/2026:14:27:35 +0000] "GET http://a.example/ HTTP/1.1" 200 6 "-" "-" 5 7"#,
            "a.example|·|127.0.0.1|1795703255|5|7|200|·|GET|/",
        )],
    );
}

#[test]
fn what_proxies_are_told_to_log_is_exact() {
    for name in ["squid", "varnishncsa"] {
        let better = plan(name).better().expect("a better format");
        for line in better.lines() {
            let line = line.split_once(" proxy: ").map_or(line, |(_, line)| line);
            let better = plan(&format!("{name}:{line}"));
            assert_eq!(better.grade(), Grade::Exact, "{line}");
            assert_eq!(better.better(), None);
        }
    }
}
