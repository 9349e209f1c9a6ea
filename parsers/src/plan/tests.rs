//! Lines and what they say. Those marked as recorded were written by nginx 1.22, Apache 2.4.71 and
//! lighttpd 1.4.69.

use super::*;
use crate::format::Spec;
use crate::record::{Logged, Record};
use crate::time::Time;

mod enveloped;
mod haproxy;
mod judged;
mod proxies;

fn plan(format: &str) -> Plan {
    match Spec::parse(format) {
        Ok(Spec::Format(parsed)) => {
            Plan::compile(&parsed).unwrap_or_else(|error| panic!("{format}: {error}"))
        }
        other => panic!("{format}: {other:?}"),
    }
}

fn refused(format: &str) -> FormatError {
    match Spec::parse(format) {
        Ok(Spec::Format(parsed)) => Plan::compile(&parsed).expect_err(format),
        Ok(Spec::Auto | Spec::AutoWithin(_)) => panic!("{format}: auto"),
        Err(error) => error,
    }
}

/// A record in one line: vhost, user, client, time, in, out, status, duration, method, path.
fn show(line: Result<Line<'_>, LineError>) -> String {
    let text = |logged: Option<Logged<'_>>| {
        logged.map_or("·".to_owned(), |logged| {
            logged.decode().escape_ascii().to_string()
        })
    };
    let number = |number: Option<u64>| number.map_or("·".to_owned(), |number| number.to_string());
    match line {
        Err(error) => error.to_string(),
        Ok(Line::Ignored(ignored)) => format!("{ignored:?}"),
        Ok(Line::Record(Record {
            vhost,
            user,
            client,
            time,
            bytes_in,
            bytes_out,
            status,
            duration_us,
            method,
            path,
        })) => {
            let time = match time {
                None => "·".to_owned(),
                Some(Time::Instant(seconds)) => seconds.to_string(),
                Some(Time::Local(seconds)) => format!("{seconds}L"),
            };
            format!(
                "{}|{}|{}|{time}|{}|{}|{}|{}|{}|{}",
                text(vhost),
                text(user),
                client
                    .unwrap_or(b"\xb7")
                    .escape_ascii()
                    .to_string()
                    .replace(r"\xb7", "·"),
                number(bytes_in),
                number(bytes_out),
                number(status.map(u64::from)),
                number(duration_us),
                text(method),
                text(path),
            )
        }
    }
}

fn check(format: &str, lines: &[(&str, &str)]) {
    let plan = plan(format);
    for (line, expected) in lines {
        assert_eq!(
            show(plan.read(line.as_bytes())),
            *expected,
            "{format}\n{line}"
        );
    }
}

#[test]
fn combined_recorded_from_nginx() {
    check(
        "combined",
        &[
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET /pw HTTP/1.1" 200 21 "a\x22b\x5Cc \x01\x7F\xFF\xC3\xA9\x09z\x0B\x0C\x07\x08" "-""#,
                "·|·|127.0.0.1|1795335791|0|21|200|·|GET|/pw",
            ),
            (
                r#"127.0.0.1 - al ice] \x22x [22/Nov/2026:08:23:11 +0000] "GET /p/x?q=1 HTTP/1.1" 404 153 "-" "-""#,
                r#"·|al ice] \"x|127.0.0.1|1795335791|0|153|404|·|GET|/p/x?q=1"#,
            ),
            (
                r#"127.0.0.1 - a\x0Ab [22/Nov/2026:08:23:11 +0000] "GET /p HTTP/1.1" 404 153 "-" "-""#,
                r"·|a\nb|127.0.0.1|1795335791|0|153|404|·|GET|/p",
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET /a b\x22c\x5Cd\xFF HTTP/1.1" 400 157 "-" "-""#,
                r#"·|·|127.0.0.1|1795335791|0|157|400|·|GET|/a b\"c\\d\xff"#,
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03\x22\x5C zz" 400 157 "-" "-""#,
                r#"·|·|127.0.0.1|1795335791|0|157|400|·|\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\"\\|zz"#,
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "" 400 0 "-" "-""#,
                "·|·|127.0.0.1|1795335791|0|0|400|·|·|·",
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GE" 400 0 "-" "-""#,
                "·|·|127.0.0.1|1795335791|0|0|400|·|·|·",
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "HEAD /pw HTTP/1.0" 200 0 "-" "-""#,
                "·|·|127.0.0.1|1795335791|0|0|200|·|HEAD|/pw",
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "PRI * HTTP/2.0" 400 157 "-" "-""#,
                "·|·|127.0.0.1|1795335791|0|157|400|·|PRI|*",
            ),
            ("", "Blank"),
            (" \t\r", "Blank"),
            ("# a comment", "Comment"),
            ("#", "Comment"),
        ],
    );
}

#[test]
fn combined_recorded_from_apache() {
    // Apache's presets are those lines with %b; `""` is an empty user.
    check(
        "combined",
        &[
            (
                r#"127.0.0.1 - "" [22/Nov/2026:08:23:11 +0000] "GET /p/x HTTP/1.1" 401 421 "-" "-""#,
                "·|·|127.0.0.1|1795335791|0|421|401|·|GET|/p/x",
            ),
            (
                r#"127.0.0.1 - al ice] \"x [22/Nov/2026:08:23:11 +0000] "GET /p/x?q=1 HTTP/1.1" 404 236 "-" "-""#,
                r#"·|al ice] \"x|127.0.0.1|1795335791|0|236|404|·|GET|/p/x?q=1"#,
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "G\"E T /x" 400 266 "-" "-""#,
                r#"·|·|127.0.0.1|1795335791|0|266|400|·|G\"E|T /x"#,
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "HEAD /pw HTTP/1.0" 200 - "-" "-""#,
                "·|·|127.0.0.1|1795335791|0|0|200|·|HEAD|/pw",
            ),
            // A user that looks like what follows the user.
            (
                r#"::1 - x [22/Nov/2026:08:23:11 +0000] \"GET [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#,
                r#"·|x [22/Nov/2026:08:23:11 +0000] \"GET|::1|1795335791|0|1|200|·|GET|/"#,
            ),
            (
                r#"::1 - a\\" [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#,
                "byte 8: expected the format's next literal",
            ),
        ],
    );
    check(
        "vhost_combined",
        &[
            (
                r#"a.example:80 127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 206 9 "-" "-""#,
                "a.example|·|127.0.0.1|1795335791|0|9|206|·|GET|/",
            ),
            (
                r#"2001:db8::1:443 ::1 - bob [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 304 - "-" "-""#,
                "2001:db8::1|bob|::1|1795335791|0|0|304|·|GET|/",
            ),
        ],
    );
    check(
        "combinedio",
        &[(
            r#"127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 21 "-" "a\"b" 87 253"#,
            "·|·|127.0.0.1|1795335791|87|253|200|·|GET|/",
        )],
    );
}

#[test]
fn apache_directives() {
    check(
        r#"apache:LogFormat "%{%Y-%m-%dT%H:%M:%S%z}t %>s %I %O %D %a %v \"%u\" \"%r\" \"%{Referer}i\"" tk"#,
        &[
            (
                r#"2026-11-22T08:23:11+0000 401 80 639 209 127.0.0.1 main.example """" "GET /p/x HTTP/1.1" "-""#,
                "main.example|·|127.0.0.1|1795335791|80|639|401|209|GET|/p/x",
            ),
            (
                r#"2026-11-22T08:23:11+0000 404 103 519 289 127.0.0.1 main.example "al ice] \"x" "GET /p/x?q=1 HTTP/1.1" "-""#,
                r#"main.example|al ice] \"x|127.0.0.1|1795335791|103|519|404|289|GET|/p/x?q=1"#,
            ),
            (
                r#"2026-11-31T08:23:11+0000 404 103 519 289 127.0.0.1 main.example "-" "-" "-""#,
                "byte 0: expected a time",
            ),
            (
                r#"2026-11-22T08:23:11+0000 40 103 519 289 127.0.0.1 main.example "-" "-" "-""#,
                "byte 25: expected a status",
            ),
            (
                r#"2026-11-22T08:23:11+0000 404 99999999999999999999999 18446744073709551616 289 127.0.0.1 v "-" "-" "-""#,
                "v|·|127.0.0.1|1795335791|18446744073709551615|18446744073709551615|404|289|·|·",
            ),
            (
                r#"2026-11-22T08:23:11+0000 404 - - - - - "-" "-" "-""#,
                "·|·|·|1795335791|·|·|404|·|·|·",
            ),
        ],
    );
    // Both ways at once, and what one of them leaves of it.
    check(
        "apache:%{msec}t %S %O %b %s %>s",
        &[
            (
                "1795335791214 533 448 266 302 200",
                "·|·|·|1795335791|85|448|200|·|·|·",
            ),
            (
                "1795335791214 - 448 266 302 200",
                "·|·|·|1795335791|·|448|200|·|·|·",
            ),
            (
                "1795335791214 5 448 266 302 200",
                "·|·|·|1795335791|0|448|200|·|·|·",
            ),
        ],
    );
    check(
        "apache:%{usec}t %S %I",
        &[("1795335791214113 533 85", "·|·|·|1795335791|85|448|·|·|·|·")],
    );
    // One time out of several directives.
    check(
        "apache:[%{%d/%b/%Y:%H:%M:%S}t.%{msec_frac}t %{%z}t] %B %{ms}T %{c}a %V",
        &[
            (
                "[22/Nov/2026:09:23:11.214 +0100] 7 260 ::1 ::1",
                "::1|·|::1|1795335791|0|7|·|260000|·|·",
            ),
            (
                "[22/Nov/2026:09:23:11.2x4 +0100] 7 260 ::1 ::1",
                "byte 22: expected a time",
            ),
            (
                "[31/Feb/2026:09:23:11.214 +0100] 7 260 ::1 ::1",
                "byte 26: expected a time",
            ),
        ],
    );
    check(
        "apache:%{%F %T}t %b",
        &[("2026-11-22 08:23:11 -", "·|·|·|1795335791L|0|0|·|·|·|·")],
    );
    // The request's start before its end, if it is whole.
    check(
        "apache:%{end:%s}t %{begin:%s}t %b",
        &[("2 1 0", "·|·|·|1|0|0|·|·|·|·")],
    );
    check(
        "apache:%{end:%s}t %{begin:%H}t %b",
        &[("2 01 0", "·|·|·|2|0|0|·|·|·|·")],
    );
    // Conditions, trailers, and literals of all sorts.
    check(
        r#"apache:%t "%!200,304{Referer}i" %400b %b %^FB "%{X-T}^ti" %%\t\\ "%{Host}i""#,
        &[(
            "[22/Nov/2026:08:23:11 +0000] \"-\" - 5 62 \"-\" %\t\\ \"a b\"",
            "a b|·|·|1795335791|0|5|·|·|·|·",
        )],
    );
    // mod_ssl's log, and a client's certificate, which is not escaped.
    check(
        r#"apache:%t %h %{SSL_PROTOCOL}x %{SSL_CIPHER}x "%r" %b"#,
        &[(
            r#"[22/Nov/2026:08:23:11 +0000] ::1 TLSv1.3 TLS_AES_256_GCM_SHA384 "GET / HTTP/1.1" 7"#,
            "·|·|::1|1795335791|0|7|·|·|GET|/",
        )],
    );
    check(
        r#"apache:%t %b "%{SSL_CLIENT_S_DN}x" %>s"#,
        &[(
            r#"[22/Nov/2026:08:23:11 +0000] 7 "CN=" 200" 404"#,
            "·|·|·|1795335791|0|7|404|·|·|·",
        )],
    );
    // Hand-made JSON.
    check(
        r#"apache:{"t":"%{%Y-%m-%dT%H:%M:%S%z}t","h":"%v","u":"%u","o":%O,"i":%I,"s":%>s}"#,
        &[
            (
                r#"{"t":"2026-11-22T08:23:11+0000","h":"a","u":""","o":1,"i":2,"s":200}"#,
                "byte 49: expected the format's next literal",
            ),
            (
                r#"{"t":"2026-11-22T08:23:11+0000","h":"a","u":"""","o":1,"i":2,"s":200}"#,
                "a|·|·|1795335791|2|1|200|·|·|·",
            ),
            (
                r#"{"t":"2026-11-22T08:23:11+0000","h":"a","u":"\",\"o\":9","o":1,"i":2,"s":200}"#,
                r#"a|\",\"o\":9|·|1795335791|2|1|200|·|·|·"#,
            ),
        ],
    );
}

#[test]
fn lighttpd_recorded() {
    check(
        "lighttpd:accesslog.format = \"%h %V %u %t \\\"%r\\\" %>s %b \\\"%{Referer}i\\\" %I %O %{us}T\"",
        &[
            (
                r#"127.0.0.1 a.example:80 - [22/Nov/2026:08:24:04 +0000] "GET /pw HTTP/1.1" 401 347 "a\"b\\c \x01\x7F\xFF\xC3\xA9\tz\v\f\a\b" 87 555 439"#,
                "a.example:80|·|127.0.0.1|1795335844|87|555|401|439|GET|/pw",
            ),
            (
                r#"127.0.0.1 [::1]:80 al ice] \"x [22/Nov/2026:08:24:04 +0000] "GET /p/x?q=1 HTTP/1.1" 404 341 "-" 103 494 66"#,
                r#"[::1]:80|al ice] \"x|127.0.0.1|1795335844|103|494|404|66|GET|/p/x?q=1"#,
            ),
            // Nothing was read of a request that is a newline alone: the server writes - for 0.
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:24:08 +0000] "  " 400 345 "-" - 500 94"#,
                "·|·|127.0.0.1|1795335848|0|500|400|94|·|·",
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:24:09 +0000] "PRI * HTTP/2.0" 100 518 "-" 117 518 828"#,
                "Http2Connection",
            ),
            (
                r#"127.0.0.1 - - [22/Nov/2026:08:24:09 +0000] "PRI * HTTP/2.0" 400 518 "-" 117 518 828"#,
                "·|·|127.0.0.1|1795335849|117|518|400|828|PRI|*",
            ),
        ],
    );
    check(
        "lighttpd:accesslog.format = \"{\\\"h\\\":\\\"%V\\\",\\\"u\\\":\\\"%u\\\",\\\"t\\\":%{sec}t,\\\"in\\\":%I,\\\"out\\\":%O,\\\"s\\\":%s,\\\"m\\\":\\\"%m\\\"}\"\naccesslog.escaping = \"json\"\n",
        &[
            (
                r#"{"h":"a.example","u":"a\"b\\\u0001","t":1795335844,"in":-,"out":1,"s":200,"m":"GET"}"#,
                r#"a.example|a\"b\\\x01|·|1795335844|0|1|200|·|GET|·"#,
            ),
            (
                r#"{"h":"-","u":"-","t":1795335844,"in":5,"out":7,"s":100,"m":"PRI"}"#,
                "Http2Connection",
            ),
        ],
    );
    check(
        "lighttpd:%{begin:sec}t.%{begin:msec_frac}t %b",
        &[("1795335857.362 9", "·|·|·|1795335857|0|9|·|·|·|·")],
    );
    check(
        "lighttpd:%{nsec}t %b",
        &[("1795335844824742311 9", "·|·|·|1795335844|0|9|·|·|·|·")],
    );
}

#[test]
fn nginx_formats() {
    check(
        r#"nginx:log_format tk '$msec $status $request_length $bytes_sent $request_time $remote_addr $host '
            # a comment
            '"$remote_user" "$request"' " $http_user_agent";"#,
        &[
            (
                r#"1795335791.215 404 103 303 0.001 127.0.0.1 [::1] "al ice] \x22x" "GET /p/x?q=1 HTTP/1.1" a "b"#,
                r#"[::1]|al ice] \"x|127.0.0.1|1795335791|103|303|404|1000|GET|/p/x?q=1"#,
            ),
            (
                r#"1795335791.215 009 0 0 0.000 unix: _ "-" "" -"#,
                "_|·|unix:|1795335791|0|0|9|0|·|·",
            ),
            (
                r#"1795335791.215 000 0 - - ::1 _ "-" "" -"#,
                "_|·|::1|1795335791|0|·|0|·|·|·",
            ),
            (
                r#"1795335791.215 000 0 1 - ::1 _ "-" ""#,
                "byte 36: expected the format's next literal",
            ),
        ],
    );
    check(
        r#"nginx:log_format j escape=json '{"t":"$time_iso8601","h":"$host","u":"$remote_user","i":$request_length,"o":$bytes_sent,"up":$upstream_response_time,"r":"$request"}';"#,
        &[
            (
                r#"{"t":"2026-11-22T08:23:11+00:00","h":"a","u":"","i":1,"o":2,"up":,"r":""}"#,
                "a|·|·|1795335791|1|2|·|·|·|·",
            ),
            (
                r#"{"t":"2026-11-22T08:23:11+00:00","h":"a","u":"x\",\"i\":9\\","i":1,"o":,"up":0.1, 0.2 : 0.3,"r":"GET / HTTP/1.1"}"#,
                r#"a|x\",\"i\":9\\|·|1795335791|1|·|·|·|GET|/"#,
            ),
        ],
    );
    // Of several names and times, the ones that the rules prefer.
    check(
        r#"nginx:$time_local $msec "$http_host" $server_name $host $body_bytes_sent $bytes_sent"#,
        &[(
            r#"22/Nov/2026:08:23:11 +0000 5.000 "x y" y z 1 2"#,
            "z|·|·|5|0|2|·|·|·|·",
        )],
    );
    // Adjacent variables that the account need not tell apart.
    check(
        r#"nginx:$msec $request_method "$uri$is_args$args" ${bytes_sent}B"#,
        &[(r#"5.000 GET "/a b?c" 12B"#, "·|·|·|5|0|12|·|·|GET|/a b?c")],
    );
    // Loose ones that the account need not tell apart.
    check(
        r#"nginx:$msec $bytes_sent $upstream_addr $http_cookie $uri $upstream_response_time $status"#,
        &[(
            "5.000 12 1.2.3.4:80 a=b c /x 0.1 200",
            "·|·|·|5|0|12|200|·|·|·",
        )],
    );
    check(
        r#"nginx:escape=none '$msec $bytes_sent $remote_user'"#,
        &[("5.000 12 a \"b\"\\", r#"·|a \"b\"\\|·|5|0|12|·|·|·|·"#)],
    );
}

/// Lines in the usual formats are read the short way, where the processor has one.
#[test]
fn usual_lines_are_read_by_their_places() {
    let line = r#"203.0.113.7 - alice [22/Nov/2026:08:23:11 +0000] "GET /a b HTTP/1.1" 200 21"#;
    let numbers = r#"1795335791.215 200 512 51600 0.013 203.0.113.7 www.example.org "alice" "GET / HTTP/1.1" "-" "a b""#;
    let usual = [
        ("common", line.to_owned()),
        ("combined", format!(r#"{line} "-" "a (b; c) d""#)),
        (
            "vhost_combined",
            format!(r#"a.example:80 {line} "-" "a b""#),
        ),
        ("combinedio", format!(r#"{line} "-" "a b" 12 3456"#)),
        ("lighttpd", format!(r#"{line} "-" "a b""#)),
        (
            &super::explain::recommended(Server::Nginx),
            numbers.to_owned(),
        ),
        (
            &super::explain::recommended(Server::Apache),
            format!(r#"2026-11-22T08:23:11+0000{}"#, &numbers[14..]).replace(" 0.013", " 13"),
        ),
    ];
    for (format, line) in usual {
        let format = match format.split_once(' ') {
            Some(("log_format", _)) => format!("nginx:{format}"),
            Some(_) => format!("apache:{format}"),
            None => format.to_owned(),
        };
        let plan = plan(&format);
        let super::Body::Fields(fields) = &plan.body else {
            panic!("{format}");
        };
        let placed = fields.placed.as_ref().expect("places");
        let chunk = [line.as_bytes(), b"\nbehind it"].concat();
        let mut index = crate::index::Index::default();
        let text = index.lines(&chunk).next().expect("a line");
        if text.is_indexed() {
            let read = placed.read(&plan, fields, text, &mut Carried::default());
            assert!(read.is_ok(), "{format}: {line}");
        }
    }
}

/// What a line comes to, or what is wrong with it, is the same whether layouts are passed over or not.
#[test]
fn marks_change_nothing() {
    let lines = [
        r#"10.0.1.2:33317 [06/Feb/2026:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1""#,
        r#"10.0.1.2:33317 [06/Feb/2026:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {a.example|x} "GET / HTTP/1.1""#,
        r#"10.0.1.2:33317 [06/Feb/2026:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 a=b c=d ---- 1/1/1/1/0 0/0 {h} {i} "GET / HTTP/1.1""#,
        r#"10.0.1.2:33317 [06/Feb/2026:12:14:14.655] http-in static/srv1 10/0/30/69/+109 200 +2750 a=b - ---- 1/1/1/1/0 0/0 "GET / HTTP/1.1""#,
        r#"10.0.1.2:33317 [06/Feb/2026:12:14:14.655] http-in static/<NOSRV> -1/-1/-1/-1/0 400 187 - - PR-- 1/1/1/1/0 0/0 "<BADREQ>""#,
        "# a comment",
        "  ",
    ];
    for format in [
        "haproxy",
        "haproxy:option httpslog",
        "haproxy:option httplog clf",
    ] {
        let with = plan(format);
        let mut without = with.clone();
        let super::Body::Alternatives(several) = &mut without.body else {
            panic!("{format}");
        };
        assert!(several.layouts.iter().any(|one| one.marks.len() > 1) || format != "haproxy");
        for layout in &mut several.layouts {
            layout.marks = Box::default();
        }
        let alike = |line: &[u8]| assert_eq!(with.read(line), without.read(line), "{line:?}");
        for line in lines.map(str::as_bytes) {
            alike(line);
            for at in 0..line.len() {
                let (before, behind) = line.split_at(at);
                alike(before);
                alike(&[before, &behind[1..]].concat());
                for byte in b"{}\" -|/" {
                    alike(&[before, &[*byte], behind].concat());
                    alike(&[before, &[*byte], &behind[1..]].concat());
                }
            }
        }
    }
}
