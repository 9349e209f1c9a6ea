//! JSON lines into records.

use std::borrow::Cow;

use crate::format::Spec;
use crate::plan::{Grade, Plan, Users};
use crate::record::{Line, Record};
use crate::time::Time;

fn plan(format: &str) -> Plan {
    match Spec::parse(format) {
        Ok(Spec::Format(parsed)) => {
            Plan::compile(&parsed).unwrap_or_else(|error| panic!("{format}: {error}"))
        }
        other => panic!("{format}: {other:?}"),
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What there is of a record, in one line.
fn shown(record: &Record<'_>) -> String {
    let mut parts = Vec::new();
    match record.time {
        Some(Time::Instant(seconds)) => parts.push(format!("@{seconds}")),
        Some(Time::Local(seconds)) => parts.push(format!("local@{seconds}")),
        None => {}
    }
    for (name, number) in [
        ("in", record.bytes_in),
        ("out", record.bytes_out),
        ("status", record.status.map(u64::from)),
        ("us", record.duration_us),
    ] {
        parts.extend(number.map(|number| format!("{name}={number}")));
    }
    for (name, logged) in [
        ("vhost", record.vhost),
        ("user", record.user),
        ("method", record.method),
        ("path", record.path),
    ] {
        parts.extend(logged.map(|logged| format!("{name}={}", text(&logged.decode()))));
    }
    parts.extend(
        record
            .client
            .map(|client| format!("client={}", text(client))),
    );
    parts.join(" ")
}

fn read(plan: &Plan, line: &[u8]) -> String {
    match plan.read(line) {
        Ok(Line::Record(record)) => shown(&record),
        Ok(Line::Ignored(ignored)) => format!("{ignored:?}"),
        Err(error) => plan.describe(&error),
    }
}

fn check(format: &str, cases: &[(&str, &str)]) {
    let plan = plan(format);
    for (line, expected) in cases {
        assert_eq!(read(&plan, line.as_bytes()), *expected, "{line}");
    }
}

/// Caddy 2.6.2, recorded.
const CADDY: &str = r#"{"level":"info","ts":1795702592.0415604,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"127.0.0.1","remote_port":"38632","proto":"HTTP/1.1","method":"GET","host":"A.Example:8080","uri":"/x.txt?a=\"\\é%00","headers":{"User-Agent":["curl/7.88.1"],"Accept":["*/*"],"Authorization":[]}},"user_id":"alice","duration":0.027055989,"size":6,"status":200,"resp_headers":{"Etag":["\"tp44zi6\""],"Server":["Caddy"]}}"#;

#[test]
fn caddys_lines() {
    let whole = "@1795702592 in=0 out=6 status=200 us=27055 vhost=A.Example:8080 user=alice method=GET path=/x.txt?a=\"\\é%00 client=127.0.0.1";
    let replaced = |from: &str, to: &str| {
        assert!(CADDY.contains(from), "{from}");
        CADDY.replace(from, to)
    };
    let ts = |written: &str| replaced("1795702592.0415604", written);
    let cases: &[(String, &str)] = &[
        (CADDY.to_owned(), whole),
        (format!("{CADDY}\r"), whole),
        // Every time_format of Caddy's; those without a zone are in UTC.
        (ts("1795702592041.5604"), whole),
        (ts("1795702592041560400"), whole),
        (ts("1795702592"), whole),
        (ts(r#""2026-11-26T14:16:32.041Z""#), whole),
        (ts(r#""2026-11-26T14:16:32Z""#), whole),
        (ts(r#""2026-11-26T15:16:32.041560400+01:00""#), whole),
        (ts(r#""2026-11-26T15:16:32.041+0100""#), whole),
        (ts(r#""2026/11/26 14:16:32""#), whole),
        (ts(r#""2026/11/26 14:16:32.041""#), whole),
        (ts(r#""2026/11/26 14:16:32.041560400""#), whole),
        (ts(r#""26/Nov/2026:14:16:32 +0000""#), whole),
        (ts(r#""2026-11-26 14:16:32""#), whole),
        (
            ts(r#""Nov 26 2026 14:16:32 UTC""#),
            "byte 21: expected a time; a time_format of your own is read so: json:time:\"%F %T %Z\"=ts,body=size,vhost=request.host,…",
        ),
        // Caddy 2.7 and later.
        (
            replaced(r#""user_id""#, r#""bytes_read":512,"user_id""#),
            &whole.replace("in=0", "in=512"),
        ),
        (
            replaced(r#""proto""#, r#""client_ip":"203.0.113.7","proto""#),
            &whole.replace("127.0.0.1", "203.0.113.7"),
        ),
        (
            replaced(r#""remote_ip""#, r#""client_ip":"203.0.113.7","remote_ip""#),
            &whole.replace("127.0.0.1", "203.0.113.7"),
        ),
        // duration_format string, and nano, which cannot be told from whole seconds.
        (replaced("0.027055989", "\"27.055989ms\""), whole),
        (
            replaced("0.027055989", "27055989"),
            &whole.replace(" us=27055", ""),
        ),
        (replaced("0.027055989", "0"), &whole.replace("27055", "0")),
        (
            replaced("0.027055989", "\"1h2m3.5s\""),
            &whole.replace("27055", "3723500000"),
        ),
        // What filter deletes, and name_key and message_key "".
        (
            replaced(r#""level":"info","ts":1795702592.0415604,"#, ""),
            whole.strip_prefix("@1795702592 ").unwrap_or_default(),
        ),
        (
            replaced(r#""size":6,"#, ""),
            &whole.replace(" out=6", ""),
        ),
        (replaced(r#""logger":"http.log.access.log0","#, ""), whole),
        (
            replaced(
                r#""logger":"http.log.access.log0","msg":"handled request","#,
                "",
            ),
            whole,
        ),
        (
            replaced("http.log.access.log0", "http.log.access"),
            whole,
        ),
        // Other lines of the same file.
        (
            replaced("http.log.access.log0", "http.log.error.log0"),
            "NotARequest",
        ),
        (
            replaced("http.log.access.log0", "http.log.accessible"),
            "NotARequest",
        ),
        (
            r#"{"level":"warn","ts":1795702594.5760226,"msg":"exiting; byeee!! 👋","signal":"SIGTERM"}"#.to_owned(),
            "NotARequest",
        ),
        (
            r#"{"level":"info","ts":1795702590.48,"logger":"http.log","msg":"server running","name":"srv0","protocols":["h1","h2","h3"]}"#.to_owned(),
            "NotARequest",
        ),
        (
            r#"{"status":200,"size":5,"ts":1}"#.to_owned(),
            "byte 30: expected the keys that this server's lines have",
        ),
        (
            "2026/11/26 14:20:42.570\tINFO\thttp.log.access\thandled request\t{}".to_owned(),
            "byte 0: expected a JSON object, {…}; of Caddy's encoders json is read, by itself or in filter: write \"format json\" into the Caddyfile's log block, for the console encoder quotes nothing that clients send",
        ),
    ];
    let plan = plan("caddy");
    for (line, expected) in cases {
        assert_eq!(read(&plan, line.as_bytes()), *expected, "{line}");
    }
    assert_eq!(plan.grade(), Grade::BodyOnly);
    assert_eq!(plan.users_default(), Users::Verified);
    assert_eq!(plan.better(), None);
}

#[test]
fn a_header_that_looks_like_a_key_is_none() {
    let plan = plan("caddy");
    let forged = CADDY.replace(
        r#""Accept":["*/*"]"#,
        r#""Size":["1"],"size":["1"],"Host":["\",\"size\":9,\"x\":\""],"request":{"host":"b"}"#,
    );
    assert_eq!(
        read(&plan, forged.as_bytes()),
        read(&plan, CADDY.as_bytes())
    );
}

#[test]
fn a_line_that_is_cut_anywhere_is_no_line() {
    let plan = plan("caddy");
    for end in 1..CADDY.len() {
        assert!(plan.read(&CADDY.as_bytes()[..end]).is_err(), "{end}");
    }
    // Cut and gone on with another line, or with the zeros that a crash leaves.
    for end in 1..CADDY.len() {
        let (head, tail) = CADDY.as_bytes().split_at(end);
        assert!(plan.read(&[head, CADDY.as_bytes()].concat()).is_err());
        assert!(plan.read(&[head, &[0; 9], tail].concat()).is_err());
    }
}

const KEYS: &str = "json:time=t,out=o,in=i,vhost=r.h|h,user=r.u,status=s,duration:ms=d,client=\"c.d\",path=p,method=m";

#[test]
fn keys_in_any_order_and_any_json() {
    check(
        KEYS,
        &[
            (
                r#"{"t":1,"o":2,"i":3,"r":{"h":"a","u":"b"},"s":200,"d":1.5,"c.d":"c","p":"/","m":"GET"}"#,
                "@1 in=3 out=2 status=200 us=1500 vhost=a user=b method=GET path=/ client=c",
            ),
            (
                "\t{ \"r\" : { \"x\" : [ ] , \"u\":\"b\" } , \"o\" : 2\n, \"t\" :1 ,\"i\":3 } ",
                "@1 in=3 out=2 user=b",
            ),
            // The preferred of two keys, in either order; the other where that says nothing.
            (r#"{"h":"x","r":{"h":"a"}}"#, "vhost=a"),
            (r#"{"r":{"h":"a"},"h":"x"}"#, "vhost=a"),
            (r#"{"r":{"h":"-"},"h":"x"}"#, "vhost=x"),
            (r#"{"h":"x","r":{"h":null}}"#, "vhost=x"),
            (r#"{"r":5,"h":"x"}"#, "vhost=x"),
            (r#"{"r":[{"h":"a"}],"h":"x"}"#, "vhost=x"),
            // Numbers.
            (
                r#"{"o":"2","i":2.0,"s":"404","d":1e3}"#,
                "in=2 out=2 status=404 us=1000000",
            ),
            (r#"{"o":1.5e3,"i":12.9,"d":0.0004}"#, "in=12 out=1500 us=0"),
            (r#"{"o":-1,"i":-0}"#, "in=0"),
            (
                r#"{"o":18446744073709551615,"i":0.5E+1}"#,
                "in=5 out=18446744073709551615",
            ),
            (
                r#"{"o":18446744073709551616,"i":1e999999999999}"#,
                "in=18446744073709551615 out=18446744073709551615",
            ),
            (r#"{"o":1e-999999999999,"i":0e99999}"#, "in=0 out=0"),
            (
                r#"{"o":100000000000000000000000000000000000000000000000000e-50,"i":0.00000000000000000000000000000000000000000000000000000007e56}"#,
                "in=7 out=1",
            ),
            (r#"{"o":"","i":null,"s":"-","h":"-","d":"-","p":""}"#, ""),
            (r#"{"o":true,"i":[1],"s":{},"h":false}"#, ""),
            (r#"{"h":5,"p":1e3}"#, "vhost=5 path=1e3"),
            (r#"{"s":0}"#, "status=0"),
            (r#"{"s":2e2}"#, "status=200"),
            // Text.
            (
                r#"{"h":"a\u002eb\"\\\/","p":"\ud83d\ude00\u00e9\n"}"#,
                "vhost=a.b\"\\/ path=😀é\n",
            ),
            // As Apache and lighttpd write "JSON".
            (r#"{"x":"\xff\x0b\v\a\e","o":1}"#, "out=1"),
            // A key is a key however it is written.
            (r#"{"\u006f":5,"\u0072":{"\u0068":"a"}}"#, "out=5 vhost=a"),
            (r#"{"o\u0000":5,"\\o":6}"#, ""),
            ("{}", ""),
            ("", "Blank"),
            (" \t", "Blank"),
            ("# {}", "Comment"),
        ],
    );
}

#[test]
fn what_is_not_json_is_refused_where_it_stands() {
    check(
        KEYS,
        &[
            ("[]", "byte 0: expected a JSON object, {…}"),
            ("x", "byte 0: expected a JSON object, {…}"),
            ("{", "byte 1: expected a key in quotes"),
            ("{a:1}", "byte 1: expected a key in quotes"),
            (r#"{"a" 1}"#, "byte 5: expected a colon"),
            (r#"{"a":}"#, "byte 5: expected a JSON value"),
            (r#"{"a":nul}"#, "byte 5: expected a JSON value"),
            (
                r#"{"a":nulls}"#,
                "byte 9: expected a comma, or the end of the object or array",
            ),
            (r#"{"a":1,}"#, "byte 7: expected a key in quotes"),
            (r#"{"a":[1,]}"#, "byte 8: expected a JSON value"),
            (
                r#"{"a":[1}"#,
                "byte 7: expected a comma, or the end of the object or array",
            ),
            (
                r#"{"a":1]"#,
                "byte 6: expected a comma, or the end of the object or array",
            ),
            (
                r#"{"a":01}"#,
                "byte 6: expected a comma, or the end of the object or array",
            ),
            (r#"{"a":-}"#, "byte 6: expected a JSON number"),
            (r#"{"o":-}"#, "byte 6: expected a JSON number"),
            (r#"{"a":1.}"#, "byte 7: expected a JSON number"),
            (r#"{"a":1e+}"#, "byte 8: expected a JSON number"),
            (r#"{"a":.5}"#, "byte 5: expected a JSON value"),
            (r#"{"a":1}x"#, "byte 7: expected the end of the line"),
            (r#"{"a":1}{"a":1}"#, "byte 7: expected the end of the line"),
            (
                r#"{"a":"b}"#,
                "byte 8: expected the rest of a JSON string (no control character, a known escape, a quote at its end)",
            ),
            (
                "{\"a\":\"1234567890\t\"}",
                "byte 16: expected the rest of a JSON string (no control character, a known escape, a quote at its end)",
            ),
            (
                r#"{"a":"\q1234567"}"#,
                "byte 6: expected the rest of a JSON string (no control character, a known escape, a quote at its end)",
            ),
            (
                r#"{"a":"\u12g4"}"#,
                "byte 6: expected the rest of a JSON string (no control character, a known escape, a quote at its end)",
            ),
            // Which of the two is meant cannot be told.
            (
                r#"{"o":1,"o":1}"#,
                "byte 8: expected another key (this one stands in the line twice)",
            ),
            (
                r#"{"o":1,"\u006f":2}"#,
                "byte 8: expected another key (this one stands in the line twice)",
            ),
            (
                r#"{"r":{"u":"a"},"r":{"u":"b"}}"#,
                "byte 21: expected another key (this one stands in the line twice)",
            ),
            (r#"{"x":1,"x":2,"r":{},"r":{},"o":1}"#, "out=1"),
            (r#"{"o":"12 kB"}"#, "byte 5: expected a number"),
            (r#"{"d":"soon"}"#, "byte 5: expected a number"),
            (r#"{"s":99}"#, "byte 5: expected a status"),
            (r#"{"s":"OK"}"#, "byte 5: expected a status"),
            (r#"{"t":"yesterday"}"#, "byte 5: expected a time"),
            (r#"{"t":-1}"#, "byte 5: expected a time"),
            (r#"{"t":1e30}"#, "byte 5: expected a time"),
        ],
    );
}

#[test]
fn nesting_has_a_limit() {
    let plan = plan(KEYS);
    let nested = |depth: usize| {
        let (open, close) = ("[{\"a\":".repeat(depth), "}]".repeat(depth));
        format!("{{\"x\":{open}1{close},\"o\":7}}")
    };
    assert_eq!(read(&plan, nested(15).as_bytes()), "out=7");
    assert!(read(&plan, nested(16).as_bytes()).ends_with("nested less deeply"));
    assert!(read(&plan, nested(100_000).as_bytes()).ends_with("nested less deeply"));
}

#[test]
fn bytes_that_are_no_utf8_are_let_through() {
    let plan = plan(KEYS);
    let line = b"{\"\xff\":\"\xfe\",\"h\":\"a\xffb\",\"o\":1}";
    let Ok(Line::Record(record)) = plan.read(line) else {
        panic!("{}", read(&plan, line));
    };
    assert_eq!(record.vhost.map(|vhost| vhost.bytes), Some(&b"a\xffb"[..]));
}

#[test]
fn times_as_they_are_told() {
    for (form, value, expected) in [
        ("time", "1795335791", "@1795335791"),
        ("time", "\"1795335791.214\"", "@1795335791"),
        ("time", "1795335791214", "@1795335791"),
        ("time", "1795335791214113", "@1795335791"),
        ("time", "1.795335791214e9", "@1795335791"),
        ("time", "253402300799", "@253402300799"),
        ("time", "253402300800", "@253402300"),
        ("time", "\"2026-11-22T08:23:11+00:00\"", "@1795335791"),
        ("time", "\"2026-11-22T08:23:11\"", "local@1795335791"),
        ("time", "\"2026/11/22 08:23:11\"", "local@1795335791"),
        ("time:utc", "\"2026/11/22 08:23:11\"", "@1795335791"),
        ("time:utc", "\"2026-11-22T09:23:11+01:00\"", "@1795335791"),
        ("time", "\"[22/Nov/2026:08:23:11 +0000]\"", "@1795335791"),
        ("time", r#""[22\/Nov\/2026:08:23:11 +0000]""#, "@1795335791"),
        ("time", "\"2026/11-22 08:23:11\"", "byte 5: expected a time"),
        ("time", "\"2026/02/30 08:23:11\"", "byte 5: expected a time"),
        (
            "time",
            "\"2026/11/22 08:23:11.0000000000000000000000000\"",
            "byte 5: expected a time",
        ),
        ("time:s", "253402300800", "byte 5: expected a time"),
        ("time:s", "\"x\"", "byte 5: expected a time"),
        ("time:ms", "1795335791214.9", "@1795335791"),
        ("time:ms", "1000", "@1"),
        ("time:us", "1795335791214113", "@1795335791"),
        ("time:ns", "1795335791214113000", "@1795335791"),
        (
            "time:\"%F %T\"",
            "\"2026-11-22 08:23:11\"",
            "local@1795335791",
        ),
        (
            "time:\"%F %T\"",
            "\"2026-11-22 08:23:11 \"",
            "byte 5: expected a time",
        ),
        (
            "time:\"%b %d %Y %T %Z\"",
            "\"Nov 22 2026 08:23:11 UTC\"",
            "@1795335791",
        ),
        ("time", "null", ""),
        ("time", "\"-\"", ""),
    ] {
        let plan = plan(&format!("json:{form}=t,out=o,in=i"));
        let line = format!("{{\"t\":{value}}}");
        assert_eq!(read(&plan, line.as_bytes()), expected, "{form} {value}");
    }
}

#[test]
fn what_the_account_cannot_do_without() {
    for (format, expected) in [
        ("json:out=a", "out=a: the format has no time"),
        (
            "json:time=t,in=i",
            "time=t,in=i: the format has no number of bytes sent",
        ),
        (
            "json:time=t,out=a,body=b",
            "body=b: bytes on the wire and bytes of bodies cannot both be summed",
        ),
        (
            "json:time=t,out=a,in=b,body_in=c",
            "body_in=c: bytes on the wire and bytes of bodies cannot both be summed",
        ),
        ("json:time=t,out=t", "out=t: the key t is read twice"),
        (
            "json:time=t,out=a.b|a.b",
            "out=a.b|a.b: the key a.b is read twice",
        ),
    ] {
        let Ok(Spec::Format(parsed)) = Spec::parse(format) else {
            panic!("{format}");
        };
        let error = Plan::compile(&parsed).expect_err(format);
        assert!(error.help.is_some());
        let at = format.get(error.span).unwrap_or_default();
        assert_eq!(format!("{at}: {}", error.message), expected);
    }
    let many: Vec<String> = (0..65).map(|index| format!("k{index}")).collect();
    let format = format!("json:time=t,out={}", many.join("|"));
    let Ok(Spec::Format(parsed)) = Spec::parse(&format) else {
        panic!("{format}");
    };
    let error = Plan::compile(&parsed).expect_err("too many keys");
    assert_eq!(error.message, "more than 64 keys");
}

#[test]
fn grades_and_what_is_known() {
    for (format, grade, notes) in [
        ("json:time=t,out=o,in=i", Grade::Exact, 0),
        ("json:time=t,out=o", Grade::OutOnly, 0),
        ("json:time=t,out=o,body_in=i", Grade::OutOnly, 0),
        ("json:time=t,body=o,in=i", Grade::BodyOnly, 0),
        ("json:time:\"%F %T\"=t,body=o", Grade::BodyOnly, 1),
        ("json", Grade::BodyOnly, 0),
        ("caddy", Grade::BodyOnly, 0),
        ("traefik", Grade::BodyOnly, 0),
    ] {
        let plan = plan(format);
        assert_eq!(plan.grade(), grade, "{format}");
        assert_eq!(plan.notes().len(), notes, "{format}");
        for explained in plan.explain() {
            let there = plan.format().text.get(explained.span);
            assert_eq!(there, Some(&*explained.written), "{format}");
        }
        assert!(plan.has_vhost() == plan.has_user() && plan.has_user() == plan.has_status());
    }
    assert_eq!(plan("traefik").users_default(), Users::Claimed);
    assert_eq!(plan("json").users_default(), Users::Claimed);
}

#[test]
fn the_usual_keys() {
    check(
        "json",
        &[
            (
                r#"{"@timestamp":"2026-11-22T08:23:11.000Z","http":{"response":{"bytes":5,"status_code":200},"request":{"bytes":3,"method":"GET"}},"url":{"domain":"a.example","path":"/"},"user":{"name":"bob"},"source":{"ip":"192.0.2.1"},"host":{"name":"web1"}}"#,
                "@1795335791 in=3 out=5 status=200 vhost=a.example user=bob method=GET path=/ client=192.0.2.1",
            ),
            (
                r#"{"time_local":"22/Nov/2026:08:23:11 +0000","remote_addr":"192.0.2.1","remote_user":"","request":"GET / HTTP/1.1","status":"200","bytes_sent":"253","body_bytes_sent":"21","request_length":"87","host":"a.example"}"#,
                "@1795335791 in=87 out=253 status=200 vhost=a.example client=192.0.2.1",
            ),
        ],
    );
}

#[test]
fn traefiks_lines() {
    check(
        "traefik",
        &[
            (
                r#"{"ClientAddr":"192.0.2.1:63261","ClientHost":"192.0.2.1","ClientUsername":"-","DownstreamContentSize":287,"DownstreamStatus":207,"Duration":8184335,"OriginContentSize":99,"OriginStatus":500,"RequestAddr":"a.example:8080","RequestContentSize":366,"RequestHost":"a.example","RequestMethod":"REPORT","RequestPath":"/dav/","RetryAttempts":1,"StartLocal":"2026-11-22T09:23:11.503803974+01:00","StartUTC":"2026-11-22T08:23:11.503803974Z","level":"info","msg":"","time":"2026-11-22T09:23:12+01:00"}"#,
                "@1795335791 in=366 out=287 status=207 us=8184 vhost=a.example method=REPORT path=/dav/ client=192.0.2.1",
            ),
            (
                r#"{"DownstreamContentSize":5,"RequestAddr":"a.example:8080","time":"2026-11-22T09:23:12+01:00"}"#,
                "@1795335792 in=0 out=5 vhost=a.example:8080",
            ),
            (
                r#"{"level":"info","msg":"Configuration loaded","time":"2026-11-22T09:23:12+01:00"}"#,
                "NotARequest",
            ),
            (
                r#"{"time":"2026-11-22T09:23:12+01:00","size":5}"#,
                "byte 45: expected the keys that this server's lines have",
            ),
            (
                r#"{"level":"info","ts":1,"logger":"http.log.access","msg":"handled request"}"#,
                "byte 74: expected the keys that this server's lines have",
            ),
            (
                r#"192.0.2.1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1" 200 5 "-" "-" 1 "web@docker" "http://172.29.0.2" 3ms"#,
                "byte 0: expected a JSON object, {…}; of Traefik's formats json is read: set accessLog.format to json, for common quotes nothing that clients send",
            ),
        ],
    );
}
