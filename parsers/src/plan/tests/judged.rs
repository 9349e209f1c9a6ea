//! What a plan says about itself: grades, explanations, errors and refusals.

use super::*;

#[test]
fn grades_and_accessors() {
    let all = |format: &str| {
        let plan = plan(format);
        (
            plan.grade(),
            plan.has_vhost(),
            plan.has_user(),
            plan.has_status(),
            plan.can_tell_http2(),
            plan.notes(),
        )
    };
    let lesser = || vec![Note::LesserGrade];
    assert_eq!(
        all("common"),
        (Grade::BodyOnly, false, true, true, true, lesser())
    );
    assert_eq!(
        all("combined"),
        (Grade::BodyOnly, false, true, true, true, lesser())
    );
    assert_eq!(
        all("vhost_combined"),
        (Grade::BodyOnly, true, true, true, true, lesser())
    );
    assert_eq!(
        all("combinedio"),
        (Grade::Exact, false, true, true, true, vec![])
    );
    assert_eq!(
        all("lighttpd"),
        (Grade::BodyOnly, true, true, true, true, vec![])
    );
    assert_eq!(
        all("apache:%t %O"),
        (Grade::OutOnly, false, false, false, true, vec![])
    );
    assert_eq!(
        all("apache:%t %I %b"),
        (Grade::BodyOnly, false, false, false, true, vec![])
    );
    assert_eq!(
        all("apache:%t %I %S"),
        (Grade::Exact, false, false, false, true, vec![])
    );
    assert_eq!(
        all("apache:%{%F %T}t %O"),
        (
            Grade::OutOnly,
            false,
            false,
            false,
            true,
            vec![Note::NoZone]
        )
    );
    assert_eq!(
        all("nginx:escape=none '$msec $request_length $bytes_sent'"),
        (
            Grade::Forgeable,
            false,
            false,
            false,
            true,
            vec![Note::Forgeable]
        ),
    );
    assert_eq!(
        all("lighttpd:%t %I %O %s"),
        (
            Grade::Exact,
            false,
            false,
            true,
            false,
            vec![Note::Http2CountedTwice]
        )
    );
    let path = Note::NotRead("$uri".into());
    assert_eq!(all("nginx:$msec $bytes_sent $http_cookie $uri").5, [path]);
    for (format, users) in [
        ("combined", Users::Claimed),
        ("combinedio", Users::Verified),
        ("lighttpd", Users::Verified),
        ("nginx:$msec $bytes_sent", Users::Claimed),
    ] {
        assert_eq!(plan(format).users_default(), users, "{format}");
    }
}

#[test]
fn what_we_recommend_is_exact_and_complete() {
    for format in [
        "nginx:$msec $body_bytes_sent",
        "apache:%t %b",
        "lighttpd:%t %b",
    ] {
        let (server, _) = format.split_once(':').expect("a server");
        let better = plan(format).better().expect("a better format");
        let plan = plan(&format!("{server}:{better}"));
        assert_eq!(plan.grade(), Grade::Exact);
        assert!(plan.has_vhost() && plan.has_user() && plan.has_status() && plan.can_tell_http2());
        assert_eq!((plan.better(), plan.notes()), (None, vec![]));
        assert!(
            plan.explain()
                .iter()
                .filter(|explained| explained.meaning == "skipped")
                .count()
                == 2
        );
    }
    let both = plan("combined").better().expect("both");
    assert!(both.contains("nginx:  log_format") && both.contains("Apache: LogFormat"));
}

#[test]
fn explanations() {
    let explained = plan("apache:%t %I %O %u \"%{Referer}i\"");
    let explained: Vec<_> = explained
        .explain()
        .into_iter()
        .map(|explained| (explained.written, explained.span, explained.meaning))
        .collect();
    assert_eq!(
        explained,
        [
            ("%t".into(), 7..9, "the time"),
            ("%I".into(), 10..12, "bytes received, on the wire"),
            ("%O".into(), 13..15, "bytes sent, on the wire"),
            ("%u".into(), 16..18, "the user"),
            ("%{Referer}i".into(), 20..31, "skipped"),
        ]
    );
}

#[test]
fn errors_name_the_literal() {
    let plan = plan("combined");
    for (line, expected) in [
        (
            r#"1 - - [22/Nov/2026:08:23:11 +0000] "GET / HTTP/1.1 200 5"#,
            r#"byte 56: expected "\" " after %r"#,
        ),
        (
            r#"1 - - [22/Nov/2026:08:23:11 +0000] x "GET" 200 5 "-" "-""#,
            r#"byte 7: expected " " after %u"#,
        ),
        (
            r#"1 - - [22/Nov/2026:08:23:11 +0000] "GET" 200 5 "-" "-"x"#,
            "byte 54: expected the end of the line",
        ),
        (
            r#"1 - - [22/Nov/2026:08:23:11 +0000] "GET" 200 5x "-" "-""#,
            r#"byte 46: expected " \"" after %b"#,
        ),
        (
            r#"1 - - [22/Foo/2026:08:23:11 +0000] "GET" 200 5 "-" "-""#,
            "byte 6: expected a time",
        ),
        ("1", r#"byte 1: expected " " after %h"#),
    ] {
        let error = plan.read(line.as_bytes()).expect_err(line);
        assert_eq!(plan.describe(&error), expected, "{line}");
    }
    let error = LineError {
        at: 3,
        expected: Expected::Literal(999),
    };
    assert!(plan.describe(&error).starts_with("byte 3"));
}

#[test]
fn refusals_point_at_the_cause() {
    for (format, part, message) in [
        (
            "nginx:$msec $status",
            "$msec $status",
            "the format has no number of bytes sent",
        ),
        (
            "nginx:$msec $request_length",
            "$msec $request_length",
            "the format has no number of bytes sent",
        ),
        ("nginx:$bytes_sent", "$bytes_sent", "the format has no time"),
        (
            "apache:%S %t",
            "%S",
            "%S alone does not say which bytes were sent and which received",
        ),
        (
            "apache:%{%H:%M}t %b",
            "%{%H:%M}t %b",
            "the format's time is not whole: it needs a date with an hour, or seconds since 1970",
        ),
        (
            "apache:%t %b %u %{Cookie}i x",
            "%u %{Cookie}i",
            "where %u ends and %{Cookie}i begins cannot be told",
        ),
        (
            "nginx:$msec $bytes_sent $remote_user $http_user_agent",
            "$remote_user $http_user_agent",
            "where $remote_user ends and $http_user_agent begins cannot be told",
        ),
        (
            "nginx:$msec $bytes_sent $host$request_uri",
            "$host$request_uri",
            "where $host ends and $request_uri begins cannot be told",
        ),
        (
            "nginx:$msec $bytes_sent$body_bytes_sent",
            "$bytes_sent$body_bytes_sent",
            "where $bytes_sent ends and $body_bytes_sent begins cannot be told",
        ),
        (
            "apache:%b %{%F %T %Z}tX",
            "%{%F %T %Z}t",
            "where the time ends cannot be told",
        ),
    ] {
        let error = refused(format);
        assert_eq!(
            (&format[error.span.clone()], error.message.as_str()),
            (part, message),
            "{format}"
        );
        assert!(error.help.is_some());
    }
}
