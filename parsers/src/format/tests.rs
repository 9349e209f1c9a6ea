//! Format strings as operators paste them, and what is refused.

use super::*;

/// The pieces of a format: literals in quotes, directives as written.
fn show(text: &str) -> String {
    let format = match Spec::parse(text) {
        Ok(Spec::Format(format)) => format,
        Ok(Spec::Auto | Spec::AutoWithin(_)) => return "auto".into(),
        Err(error) => {
            assert!(error.help.is_some(), "{text}: {error}");
            let span = text.get(error.span.clone());
            return format!(
                "{}: {}",
                span.unwrap_or_else(|| panic!("{text}: {error:?}")),
                error.message
            );
        }
    };
    for directive in format.directives() {
        assert_eq!(
            format.text.get(directive.span.clone()),
            Some(&*directive.written),
            "{text}"
        );
    }
    let super::Layout::Pieces(pieces) = &format.layout else {
        return format.text[format.span].to_owned();
    };
    let pieces = pieces.iter().map(|piece| match piece {
        Piece::Literal(bytes) => format!("[{}]", bytes.escape_ascii()),
        Piece::Directive(directive) => directive.written.clone(),
    });
    pieces.collect()
}

#[test]
fn pasted_formats() {
    for (text, expected) in [
        ("auto", "auto"),
        (" auto\n", "auto"),
        ("common", r#"%h[ ]%l[ ]%u[ ]%t[ \"]%r[\" ]%>s[ ]%b"#),
        // nginx
        ("nginx:$a ${b}c $d1_e", "$a[ ]${b}[c ]$d1_e"),
        ("nginx:'$a' '$b'", "$a$b"),
        ("nginx:'$a ' \"$b\";", "$a[ ]$b"),
        ("nginx:\"$a\" $b", r#"[\"]$a[\" ]$b"#),
        ("nginx:log_format main $a;", "$a"),
        (
            "nginx:log_format main '$a'\n    ' $b' # rest\n  '\\t\\'\\\"\\\\\\x$c';",
            r#"$a[ ]$b[\t\'\"\\\\x]$c"#,
        ),
        (
            "nginx: log_format main escape=json '{\"a\":\"$a\"}';\n",
            r#"[{\"a\":\"]$a[\"}]"#,
        ),
        (
            "nginx:log_format main escape=xml '$a';",
            "escape=xml: unknown escaping escape=xml",
        ),
        ("nginx:log_format main;", ";: the format is empty"),
        ("nginx:log_format", ": log_format has no name"),
        (
            "nginx:log_format main '$a",
            "': the string's closing ' is missing",
        ),
        (
            "nginx:log_format main '$a'x;",
            "x: a string must be followed by white space or a semicolon",
        ),
        (
            "nginx:log_format main '$a'; log_format",
            "log_format: something follows the log_format directive",
        ),
        ("nginx:$a $ b", "$ : a $ without a variable's name"),
        ("nginx:a ${b", "${: a $ without a variable's name"),
        ("nginx:", ": the format is empty"),
        (
            "nginx:combined",
            "combined: there is no variable in \"combined\"",
        ),
        (
            "lighttpd:combined",
            "combined: there is no directive in \"combined\"",
        ),
        // Apache
        ("apache:%h %%%>s", "%h[ %]%>s"),
        ("apache:\"%h \\\"%r\\\"\"", r#"%h[ \"]%r[\"]"#),
        ("apache:%h \\\"%r\\\"", r#"%h[ \"]%r[\"]"#),
        ("apache:\"%h\" %r", r#"[\"]%h[\" ]%r"#),
        (
            "apache:LogFormat \"%h \\\"%{User-agent}i\\\"\" combined",
            r#"%h[ \"]%{User-agent}i[\"]"#,
        ),
        ("apache:logformat '%h \\t\\\\n%r\\q'", r#"%h[ \t\n]%r[\\q]"#),
        ("apache:LogFormat \"%h \\\n   %b\" x", "%h[    ]%b"),
        ("apache:LogFormat \\\n \"%h\" \\\n x", "%h"),
        ("apache:LogFormat %h%b x", "%h%b"),
        (
            "apache:CustomLog \"/var/log/a b.log\" \"%h %b\" env=!x",
            "%h[ ]%b",
        ),
        (
            "apache:%!200,304{Referer}i%400,501b%^FB%{X}^ti%{X}^to",
            "%!200,304{Referer}i%400,501b%^FB%{X}^ti%{X}^to",
        ),
        (
            "apache:%{c}a%{c}h%{tid}P%{hextid}P%{local}p%k%L%{c}L%R%X%{V}x%{x}C%{x}e%{x}n%{x}o%f%H%m%q%U%V%A%l%D%T%{ms}T%S%B%%",
            "%{c}a%{c}h%{tid}P%{hextid}P%{local}p%k%L%{c}L%R%X%{V}x%{x}C%{x}e%{x}n%{x}o%f%H%m%q%U%V%A%l%D%T%{ms}T%S%B[%]",
        ),
        (
            "apache:%{begin:msec_frac}t%{end:%s}t%{usec}t%{sec}t%{}t",
            "%{begin:msec_frac}t%{end:%s}t%{usec}t%{sec}t%{}t",
        ),
        (
            "apache:CustomLog logs/a combined",
            "combined: \"combined\" is the name of a format, not a format",
        ),
        (
            "apache:CustomLog logs/a",
            "CustomLog logs/a: there is no format here",
        ),
        (
            "apache:TransferLog logs/a",
            "TransferLog logs/a: there is no format here",
        ),
        (
            "apache:LogFormat \"%h\" x\nLogFormat \"%b\" y",
            "LogFormat \"%b\" y: something follows the directive",
        ),
        (
            "apache:LogFormat \"%h",
            "\": the string's closing \" is missing",
        ),
        ("apache:%v %Z %b", "%Z: unknown directive %Z"),
        ("apache:%v %^XY", "%^XY: unknown directive %^XY"),
        ("apache:%v %^X", "%^X: unknown directive %^X"),
        ("apache:%v %{x", "{x: the closing } is missing"),
        ("apache:%v %>", "%>: the directive %> has no letter"),
        ("apache:%{m}T", "%{m}T: unknown unit in %{m}T"),
        ("apache:%{%Y %Q}t", "%Q: unknown time conversion %Q"),
        ("apache:%{end:%Y %Q}t", "%Q: unknown time conversion %Q"),
        ("apache:%ż", "%ż: unknown directive %ż"),
        // lighttpd
        ("lighttpd:%h %s%%", "%h[ ]%s[%]"),
        (
            "lighttpd:accesslog.format = \"%h \\\"%r\\\"\"",
            r#"%h[ \"]%r[\"]"#,
        ),
        (
            "lighttpd:accesslog.filename = \"x\"\naccesslog.format=\"%h\" + \" %b\" # x\naccesslog.escaping = \"json\"",
            "%h[ ]%b",
        ),
        (
            "lighttpd:\"a\\tb\\\\c\\\"d\\n\\x41\\q\\r\\a%s\"",
            r#"[a\tb\\c\"d\nx41q\r\x07]%s"#,
        ),
        ("lighttpd:a\\%s\\", r"[a]%s[\\]"),
        ("lighttpd:%{%Y}T", "%{%Y}T: unknown unit in %{%Y}T"),
        ("lighttpd:%S", "%S: unknown directive %S"),
        ("lighttpd:%200s", "%2: unknown directive %2"),
        ("lighttpd:%{x", "{x: the closing } is missing"),
        ("lighttpd:%", "%: the directive % has no letter"),
        (
            "lighttpd:accesslog.escaping = \"json\"",
            "accesslog.escaping = \"json\": accesslog.format is not here",
        ),
        (
            "lighttpd:accesslog.format = %h",
            "%: a string in double quotes belongs here",
        ),
        (
            "lighttpd:accesslog.format = \"%h",
            "\": the string's closing \" is missing",
        ),
        (
            "lighttpd:accesslog.format = \"%h\"\nserver.port = \"80\"",
            "server.port: not a setting of the access log",
        ),
        ("lighttpd:", ": the format is empty"),
        // No server, no preset.
        ("", ": the format is empty"),
        ("kombined", "kombined: unknown format \"kombined\""),
        ("iis:x", "iis:x: unknown server \"iis\""),
        (
            "%h %b",
            "%h %b: a format string needs its server's name before it",
        ),
    ] {
        assert_eq!(show(text), expected, "{text}");
    }
}

#[test]
fn an_unknown_preset_is_told_what_there_is() {
    let error = Spec::parse("x").expect_err("no preset");
    let help = error.help.expect("help");
    assert!(PRESETS.iter().all(|name| help.contains(name)), "{help}");
}

#[test]
fn formats_in_envelopes() {
    for (text, expected) in [
        ("syslog:common", show("common")),
        (" syslog: common ", show("common")),
        (
            "syslog:nginx:$msec $bytes_sent",
            show("nginx:$msec $bytes_sent"),
        ),
        ("syslog:x", "x: unknown format \"x\"".to_owned()),
        (
            "syslog:nginx:${mzec",
            "${: a $ without a variable's name".to_owned(),
        ),
        ("syslog:", ": the format is empty".to_owned()),
        (
            "syslog:syslog:common",
            "syslog:common: unknown server \"syslog\"".to_owned(),
        ),
    ] {
        assert_eq!(show(text), expected, "{text}");
    }
    let envelope = |spec: Result<Spec, FormatError>| match spec.expect("a format") {
        Spec::Auto => None,
        Spec::AutoWithin(envelope) => Some(envelope),
        Spec::Format(format) => format.envelope,
    };
    for (text, written, wire) in [
        ("auto", None, true),
        ("combined", None, true),
        ("nginx:$msec $bytes_sent", None, true),
        ("syslog:auto", Some(Envelope::Written), false),
        ("syslog:combined", Some(Envelope::Written), false),
        (
            "syslog:nginx:$msec $bytes_sent",
            Some(Envelope::Written),
            false,
        ),
    ] {
        assert_eq!(envelope(Spec::parse(text)), written, "{text}");
        if wire {
            let spec = Spec::parse_on_the_wire(text);
            assert_eq!(envelope(spec), Some(Envelope::Wire), "{text}");
        } else {
            let error = Spec::parse_on_the_wire(text).expect_err("a written envelope");
            assert_eq!(text.get(error.span), Some("syslog:"));
            let help = error.help.expect("a remedy");
            assert!(help.ends_with(&format!("write {}", &text[7..])), "{help}");
        }
    }
}
