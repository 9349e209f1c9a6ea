//! HAProxy's lines. Those marked as recorded were written by HAProxy 2.6.12.

use super::{check, plan, refused, show};
use crate::plan::{Grade, Note};

const LOCAL: &str = "1795722787L";

#[test]
fn httplog_with_and_without_captures() {
    check(
        "haproxy",
        &[
            // Recorded.
            (
                r#"127.0.0.1:49784 [26/Nov/2026:19:53:07.932] k s/s 0/0/0/0/3 200 93 - - ---- 4/1/0/0/0 0/0 "GET /x HTTP/1.1""#,
                &format!("·|·|127.0.0.1|{LOCAL}|0|93|200|3000|GET|/x"),
            ),
            (
                r#"127.0.0.1:54398 [26/Nov/2026:19:53:07.958] c c/<NOSRV> 0/-1/-1/-1/0 200 73 - - LR-- 1/1/0/0/0 0/0 {a#7Bb#7Cc#7Dd#23e|ua #22%0aX} "GET /x#22y}z?q={|}\] HTTP/1.1""#,
                &format!(r#"a{{b|c}}d#e|·|127.0.0.1|{LOCAL}|0|73|200|0|GET|/x\"y}}z?q={{|}}\\]"#),
            ),
            (
                r#"::1:54398 [26/Nov/2026:19:53:07.958] c~ c/s 0/0/0/0/0 200 73 - - ---- 1/1/0/0/+3 0/0 {b.example} {text/plain} "GET / HTTP/1.1""#,
                &format!("b.example|·|::1|{LOCAL}|0|73|200|0|GET|/"),
            ),
            (
                r#"127.0.0.1:54412 [26/Nov/2026:19:53:07.958] c c/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>""#,
                &format!("·|·|127.0.0.1|{LOCAL}|0|0|400|0|·|·"),
            ),
            (
                r#"127.0.0.1:54412 [26/Nov/2026:19:53:07.958] c c/s 0/0/0/-1/200 -1 0 - - CD-- 1/1/0/0/0 0/0 {|x} {} "POST /upload HTTP/1.1""#,
                &format!("·|·|127.0.0.1|{LOCAL}|0|0|·|200000|POST|/upload"),
            ),
            // A cookie that was captured; whatever it looks like.
            (
                r#"127.0.0.1:49784 [26/Nov/2026:19:53:07.932] k s/s 0/0/0/0/0 200 93 SID=- - ---- 1/1/1/1/0 0/0 {victim} {x} "GET" SID=b "c d ---- 4/1/0/0/0 0/0 {b.example} "GET /x HTTP/1.1""#,
                &format!("b.example|·|127.0.0.1|{LOCAL}|0|93|200|0|GET|/x"),
            ),
            // option logasap.
            (
                r#"127.0.0.1:54398 [26/Nov/2026:19:53:07.958] c c/s 0/0/0/0/+0 200 +73 - - ---- 1/1/0/0/0 0/0 {b.example} "GET / HTTP/1.1""#,
                "byte 57: expected a number without a plus (option logasap writes lines before their bytes are known: leave it out)",
            ),
            // Cut.
            (
                r#"127.0.0.1:54398 [26/Nov/2026:19:53:07.958] c c/s 0/0/0/0/0 200 73 - - ---- 1/1/0/0/0 0/0 {b.example} "GET /yyy"#,
                "byte 110: expected the format's next literal",
            ),
            // What HAProxy says of a connection without a request.
            (
                "127.0.0.1:42198 [26/Nov/2026:19:53:07.781] e/1: Connection closed during SSL handshake",
                "byte 86: expected the format's next literal",
            ),
        ],
    );
}

#[test]
fn the_other_named_formats() {
    check(
        "haproxy:option tcplog",
        &[(
            "127.0.0.1:44794 [26/Nov/2026:19:53:07.933] tcp st/s 1/0/7 109 -- 3/1/0/0/0 0/0",
            &format!("·|·|127.0.0.1|{LOCAL}|0|109|·|7000|·|·"),
        )],
    );
    check(
        "haproxy:option httplog clf",
        &[
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:20:46 +0000] "GET /x#22y HTTP/1.1" 200 73 "" "" 42398 959 "d" "d" "<NOSRV>" 0 -1 -1 -1 0 LR-- 1 1 0 0 0 0 0 "" "" "#,
                r#"·|·|127.0.0.1|1795702846|0|73|200|0|GET|/x\"y"#,
            ),
            (
                r#"127.0.0.1 - - [26/Nov/2026:14:20:46 +0000] "GET / HTTP/1.1" 200 73 "" "" 42398 959 "d~" "d" "s" 0 0 0 0 0 LR-- 1 1 0 0 0 0 0 "SID=a" "c" "200 5" "b.example" "" "x""#,
                "·|·|127.0.0.1|1795702846|0|73|200|0|GET|/",
            ),
        ],
    );
    check(
        "haproxy:option httpslog",
        &[(
            r#"127.0.0.1:42206 [26/Nov/2026:19:53:07.874] e~ e/<NOSRV> 0/-1/-1/-1/0 200 73 - - LR-- 1/1/0/0/0 0/0 {h} "GET /x HTTP/1.1" 0/0000000000000000/0/0/0 a b"c/TLSv1.3/TLS_AES_256_GCM_SHA384"#,
            &format!("h|·|127.0.0.1|{LOCAL}|0|73|200|0|GET|/x"),
        )],
    );
}

#[test]
fn a_server_name_can_hold_a_newline() {
    let https = plan("haproxy:option httpslog");
    assert_eq!(https.grade(), Grade::Forgeable);
    assert!(https.notes().contains(&Note::ForgeableExpression));
    let escaped = plan("haproxy:%trg %B %ST %{+Q}[ssl_fc_sni,json(ascii)]");
    assert_eq!((escaped.grade(), escaped.notes()), (Grade::OutOnly, vec![]));
}

#[test]
fn the_recommended_format_is_exact() {
    let better = plan("haproxy").better().expect("a better format");
    let best = plan(&format!("haproxy:{better}"));
    assert_eq!((best.grade(), best.notes()), (Grade::Exact, vec![]));
    assert!(best.has_vhost() && best.has_status() && best.better().is_none());
}

#[test]
fn the_host_is_looked_for_where_it_is_captured() {
    let line = br#"1795702846 93 {x|b.example|y} {z} "GET / HTTP/1.1""#;
    let response = "capture response header Y len 9\n";
    for (captures, host) in [
        (String::new(), "x"),
        (
            format!(
                "capture request header X len 9\ncapture request header host len 9\n{response}"
            ),
            "b.example",
        ),
        (
            format!(
                "declare capture request len 9\nhttp-request capture req.hdr(Host),lower len 9\n{response}"
            ),
            "b.example",
        ),
        (
            format!(
                "declare capture request len 9\ndeclare capture request len 9\nhttp-request capture hdr(host) id 1\n{response}"
            ),
            "b.example",
        ),
        (format!("capture request header X len 9\n{response}"), "·"),
    ] {
        let format = format!("haproxy:{captures}log-format \"%Ts %B %hr %hs %{{+Q}}r\"");
        let shown = show(plan(&format).read(line));
        assert!(shown.starts_with(&format!("{host}|")), "{format}\n{shown}");
    }
    // The answer's alone.
    let format = format!("haproxy:{response}log-format \"%Ts %B %hr %hs %{{+Q}}r\"");
    let shown = show(plan(&format).read(br#"1795702846 93 {z} "GET / HTTP/1.1""#));
    assert_eq!(shown, "·|·|·|1795702846|0|93|·|·|GET|/");
}

#[test]
fn expressions() {
    check(
        r#"haproxy:%[request_date(us)] %B %[src] %{+Q,+E}[var(txn.host)] "%[var(txn.user),json(ascii)]""#,
        &[(
            r#"1795702846000000 93 ::1 "a\"b\\c\]d" "\u00c5\u00bc\"""#,
            r#"a\"b\\c]d|\xc5\xbc\"|::1|1795702846|0|93|·|·|·|·"#,
        )],
    );
    check(
        "haproxy:%[date,ltime(%Y-%m-%dT%H:%M:%S%z)] %B %{+X}Ts",
        &[(
            "2026-11-26T19:53:07+0530 93 6B08403E",
            "·|·|·|1795702987|0|93|·|·|·|·",
        )],
    );
    // The request's start before the connection's.
    check(
        "haproxy:%Ts %trg %B",
        &[(
            "5 26/Nov/2026:14:20:46 +0000 93",
            "·|·|·|1795702846|0|93|·|·|·|·",
        )],
    );
}

#[test]
fn where_ends_cannot_be_told_formats_are_refused() {
    for (format, message) in [
        (
            "haproxy:%trg %B %[capture.req.hdr(0)] %[capture.req.hdr(1)]",
            "where %[capture.req.hdr(0)] ends and %[capture.req.hdr(1)] begins cannot be told",
        ),
        (
            "haproxy:%ms %B",
            "the format's time is not whole: it needs a date with an hour, or seconds since 1970",
        ),
        ("haproxy:%trg %U", "the format has no number of bytes sent"),
    ] {
        let error = refused(format);
        assert_eq!(error.message, message);
        assert!(error.help.is_some());
    }
}

/// Found by the property test of these formats: each line was read by a layout not its own.
#[test]
fn lines_are_read_by_their_own_layout() {
    // A cookie, in a format whose layouts with cookies and headers have no proof.
    let found = plan("haproxy:%trg %B %CS/%hr/%[capture.req.uri]");
    assert!(found.notes().contains(&Note::CookiesNotRead));
    let line = b"26/Nov/2026:14:20:46 +0000 0 SID=/{a|}//";
    assert!(found.read(line).is_err());
    // A cookie that ends like one that is not there.
    refused("haproxy:%CS %trg %B %[capture.req.hdr(0)] %{+Q}CC");
    // Headers of the answer that are not there, before a quote that is.
    check(
        "haproxy:%trg %B %ci %{+Q}hsl %ft %{+Q}[capture.req.uri]",
        &[(
            r#"26/Nov/2026:14:20:46 +0000 0 2001:db8::1 web~ "/""#,
            "·|·|2001:db8::1|1795702846|0|0|·|·|·|/",
        )],
    );
    // A host that looks like a comment to a layout that does not fit.
    check(
        r#"haproxy:%[capture.req.hdr(0)]/%hs "%HM %trg %B"#,
        &[(
            r##"#/ "GET 26/Nov/2026:14:20:46 +0000 0"##,
            "#|·|·|1795702846|0|0|·|·|GET|·",
        )],
    );
}
