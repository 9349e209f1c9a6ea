use super::*;

/// `facility.severity host tag text`, with `-` for what is not there.
fn shown(message: Option<Message<'_>>) -> String {
    let Some(message) = message else {
        return "none".to_owned();
    };
    let number = |number: Option<u8>| number.map_or("-".to_owned(), |number| number.to_string());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}.{} {} {} {}",
        number(message.facility),
        number(message.severity),
        message.host.map_or("-".to_owned(), text),
        message.tag.map_or("-".to_owned(), text),
        text(message.text)
    )
}

#[test]
fn on_the_wire() {
    for (bytes, expected) in [
        // RFC 3164, with and without a host.
        ("<190>Nov 21 23:59:01 h nginx: a b", "23.6 h nginx a b"),
        ("<190>Nov 21 23:59:01 nginx: a b", "23.6 - nginx a b"),
        (
            "<134>Nov  1 23:59:01 haproxy[12]: a: b",
            "16.6 - haproxy a: b",
        ),
        (
            "<134>Nov 1 23:59:01 2001:db8:: haproxy[12]: a",
            "16.6 2001:db8:: haproxy a",
        ),
        ("<13>Nov 21 23:59:01 h www:", "1.5 h www "),
        ("<13>Nov 21 23:59:01 h www[x]: a", "1.5 h www[x] a"),
        ("<13>Nov 21 23:59:01 www:  a", "1.5 - www  a"),
        (
            "<30>2026-11-21T23:59:01.123456+01:00 h Foo::Bar[1]: a",
            "3.6 h Foo::Bar a",
        ),
        // Times in every shape.
        ("<13>Nov 21 23:59:01.123 h t: a", "1.5 h t a"),
        ("<13>Nov 21 2026 23:59:01 h t: a", "1.5 h t a"),
        ("<13>2026 Nov 21 23:59:01 h t: a", "1.5 h t a"),
        ("<13>Nov 21 23:59:01 2026 h t: a", "1.5 h t a"),
        ("<13>Nov 21 23:59:01+01:00 h t: a", "1.5 h t a"),
        ("<13>Nov 21 23:59:01.5 -0530 h t: a", "1.5 h t a"),
        ("<13>Nov 21 23:59:01 Z t: a", "1.5 - t a"),
        ("<13>2026-11-21T23:59:01Z h t: a", "1.5 h t a"),
        ("<13>2026-11-21T23:59:01 h t: a", "1.5 h t a"),
        // No names: whether the message stands behind the time cannot be told.
        ("<13>Nov 21 23:59:01 h a b: c", "none"),
        ("<13>2026-11-21T23:59:01+01:00 h t a", "none"),
        ("<13>Nov 21 23:59:01 \"h\" t: a", "none"),
        ("<13>Nov 21 23:59:01 - t[12] a", "1.5 - t a"),
        // Senders that write no facility write no names.
        (
            "<6>Nov 21 23:59:01 1795692717.507 200 a",
            "0.6 - - 1795692717.507 200 a",
        ),
        (
            "<6>2026-11-21T23:59:01.123456+01:00 1.2.3.4:5 a",
            "0.6 - - 1.2.3.4:5 a",
        ),
        // No time: the message stands behind the priority.
        ("<134>a b", "16.6 - - a b"),
        ("<0>", "0.0 - - "),
        ("<134>nginx: a", "16.6 - - nginx: a"),
        (
            "<134>Nov 32 23:59:01 h t: a",
            "16.6 - - Nov 32 23:59:01 h t: a",
        ),
        (
            "<134>Nov 21 24:59:01 h t: a",
            "16.6 - - Nov 21 24:59:01 h t: a",
        ),
        (
            "<134>Now 21 23:59:01 h t: a",
            "16.6 - - Now 21 23:59:01 h t: a",
        ),
        // RFC 5424.
        (
            "<134>1 2026-11-21T23:59:01.5+01:00 h haproxy 12 - - a b",
            "16.6 h haproxy a b",
        ),
        ("<134>1 - - - - - -", "16.6 - - "),
        ("<134>1 - - - - - - \u{feff}a", "16.6 - - a"),
        ("<134>1 - h t - - -  a", "16.6 h t a"),
        ("<134>1 - h t - - [x@1 a=\"b\"][y] a", "16.6 h t a"),
        (
            r#"<134>1 - h t - - [x a="\"] \\" b="\] \x"] a"#,
            "16.6 h t a",
        ),
        (r#"<134>1 - h t - - [x a=""] [b] a"#, "16.6 h t [b] a"),
        // Nearly RFC 5424.
        (
            "<134>1 - h t - - [x a=\"b\\\"] a",
            "16.6 - - 1 - h t - - [x a=\"b\\\"] a",
        ),
        ("<134>2 - h t - - - a", "16.6 - - 2 - h t - - - a"),
        ("<134>1 - h t - - -a", "16.6 - - 1 - h t - - -a"),
        // No envelope.
        ("", "none"),
        ("a b", "none"),
        ("<>a", "none"),
        ("<192>a", "none"),
        ("<013>a", "none"),
        ("<1345>a", "none"),
        ("< 13>a", "none"),
        ("<134", "none"),
        (" <134>a", "none"),
        ("Nov 21 23:59:01 h t: a", "none"),
        ("2026-11-21T23:59:01.123456+01:00 a", "none"),
    ] {
        assert_eq!(shown(message(bytes.as_bytes())), expected, "{bytes}");
    }
}

#[test]
fn in_files() {
    for (line, expected) in [
        ("Nov 21 23:59:01 h nginx: a b", "-.- h nginx a b"),
        ("Nov 21 23:59:01 h haproxy[12]: a", "-.- h haproxy a"),
        ("Nov 21 23:59:01 h haproxy[12] a: b", "-.- h haproxy a: b"),
        ("Nov 21 23:59:01 haproxy[12]: a", "-.- - haproxy a"),
        (
            "2026-11-21T23:59:01.123456+01:00 h nginx: a",
            "-.- h nginx a",
        ),
        (
            "2026 Nov 21 23:59:01.123 s_net@h/relay nginx: a",
            "-.- s_net@h/relay nginx a",
        ),
        ("1 2026-11-21T23:59:01+01:00 h t 12 - - a", "-.- h t a"),
        (
            "<134>1 2026-11-21T23:59:01+01:00 h t 12 - - a",
            "16.6 h t a",
        ),
        ("<134>Nov 21 23:59:01 h t: a", "16.6 h t a"),
        // A time alone may be the log's own.
        ("2026-11-21T23:59:01+01:00 200 87 253 a", "none"),
        ("Nov 21 23:59:01 h t a", "none"),
        ("<134>a", "none"),
        ("nginx: a", "none"),
        (
            "127.0.0.1 - - [22/Nov/2026:08:23:11 +0000] \"GET /: HTTP/1.1\" 200 1",
            "none",
        ),
        ("", "none"),
        ("# a", "none"),
    ] {
        assert_eq!(shown(written(line.as_bytes())), expected, "{line}");
    }
}

#[test]
fn the_text_is_the_end_of_what_was_read() {
    for bytes in [
        &b"<134>a"[..],
        b"<134>1 - - - - - -",
        b"<13>Nov 21 23:59:01 t:",
    ] {
        let text = message(bytes).expect("an envelope").text;
        assert_eq!(text.as_ptr_range().end, bytes.as_ptr_range().end);
    }
}
