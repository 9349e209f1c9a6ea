//! What operators paste, and what is refused.

use super::super::{Piece, Spec};

/// The pieces of a format: literals in brackets, variables as written; or where and why it is refused.
fn show(text: &str) -> String {
    let format = match Spec::parse(text) {
        Ok(Spec::Format(format)) => format,
        Ok(Spec::Auto | Spec::AutoWithin(_)) => panic!("{text}: auto"),
        Err(error) => {
            assert!(error.help.is_some(), "{text}: {error}");
            let span = text.get(error.span.clone()).expect("whole characters");
            return format!("{span}: {}", error.message);
        }
    };
    let pieces = format.pieces().iter().map(|piece| match piece {
        Piece::Literal(bytes) => format!("[{}]", bytes.escape_ascii()),
        Piece::Directive(directive) => directive.written.clone(),
    });
    pieces.collect()
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(show(&format!("haproxy:{text}")), *expected, "{text}");
    }
}

const TCP: &str = r"%ci[:]%cp[ []%t%t[] ]%ft[ ]%b[/]%s[ ]%Tw[/]%Tc[/]%Tt[ ]%B[ ]%ts[ ]%ac[/]%fc[/]%bc[/]%sc[/]%rc[ ]%sq[/]%bq";

#[test]
fn pasted_formats() {
    check(&[
        // As it stands, in quotes, with backslashes, and the whole line.
        ("%ci  %B %%", "%ci[ ]%B[ %]"),
        (r#""%ci %{+Q}r""#, r#"%ci[ \"]%{+Q}r[\"]"#),
        (r#"'%ci "%B"'"#, r#"%ci[ \"]%B[\"]"#),
        (r#""%ci" %B"#, r#"[\"]%ci[\" ]%B"#),
        (r#"%ci \"%B\""#, r#"%ci[ \"]%B[\"]"#),
        (r"%ci\ %B", "%ci[ ]%B"),
        (
            r#"log-format %ci\ "%B \x41\t"'\ %ST' # rest"#,
            r"%ci[ ]%B[ A\t\\ ]%ST",
        ),
        ("log-format \"%ci \\\n    %B\"", "%ci[ ]%B"),
        // By name, and in the lines around it; the last counts.
        ("option tcplog", TCP),
        (
            "frontend web\n  bind :80\n  option httplog\n  log-format %B\\ %ci\n",
            "%B[ ]%ci",
        ),
        (
            r#"log-format "${HAPROXY_TCP_LOG_FMT} %U""#,
            &format!("{TCP}[ ]%U"),
        ),
    ]);
}

#[test]
fn flags_and_names() {
    check(&[
        (
            "%{+Q}o %ci %{-Q}ft %b %cp",
            r#"[\"]%ci[\" ]%{-Q}ft[ \"]%b[\" ]%cp"#,
        ),
        (
            "%{+Q,+E}[capture.req.hdr(0)]",
            r#"[\"]%{+Q,+E}[capture.req.hdr(0)][\"]"#,
        ),
        (
            "%(name)ci %(a:str){+Q}b",
            r#"%(name)ci[ \"]%(a:str){+Q}b[\"]"#,
        ),
        (
            r#"%[path,regsub(")]",x)] %B"#,
            r#"%[path,regsub(")]",x)][ ]%B"#,
        ),
    ]);
}

#[test]
fn all_variables_are_known() {
    for variables in [
        "%B%CC%CS%H%ID%ST%T%Ta%Tc%Th%Ti%Tl%Tq%Tr%TR%Td%Ts%Tt%Tu%Tw%U%ac%b%bc%bi%bp%bq%ci%cp%f%fc%fi%fp%ft",
        "%HM%HP%HPO%HQ%HU%HV%lc%ms%pid%r%rc%rt%s%sc%si%sp%sq%sslc%sslv%trg%trl%ts%tsc%OG",
        "%hrl%hsl",
    ] {
        assert_eq!(show(&format!("haproxy:{variables}")), variables);
    }
    // A time and its milliseconds; what stands in braces.
    check(&[("%t%tr%hs", "%t%t%tr%tr[{]%hs[}]")]);
}

#[test]
fn refused_formats() {
    check(&[
        ("", ": the format is empty"),
        ("httplog", "httplog: there is no variable in \"httplog\""),
        ("log-format", "log-format: log-format has no format"),
        (
            "log-format %ci %B",
            "%B: log-format takes one word, and HAProxy refuses a second",
        ),
        (
            "log-format \"%ci",
            "\": the string's closing quote is missing",
        ),
        (
            "log-format \"%ci $HOME\"",
            "$HOME: $HOME is a variable of HAProxy's environment",
        ),
        (
            "frontend web",
            "frontend web: there is no log-format and no option httplog in these lines",
        ),
        (
            "option logasap\noption httplog",
            "logasap: option logasap writes a line before its bytes are known",
        ),
        ("%B %STx", "%STx: unknown variable %STx"),
        ("%B % x", "% : a % stands before no variable"),
        ("%B %", "%: a % stands before no variable"),
        ("%B %ż", "%ż: a % stands before no variable"),
        ("%B %{+Qci", "{+Qci: the closing } is missing"),
        ("%{+json}o %B", "%{+json}: +json is not read"),
        ("%B %[src", "%[src: the closing ] is missing"),
        ("%B %[]", "%[]: there is no expression in the brackets"),
        (
            "%B %hr %r",
            "%hr: %hr may be left out, and what stands behind it can look like it",
        ),
        (
            "%[capture.req.uri] %hr %B",
            "%hr: %hr may be left out, and what stands before it can look like it",
        ),
        (
            "%hrl %B",
            "%hrl: %hrl stands before what the account needs, and HAProxy leaves it out where nothing is captured",
        ),
    ]);
}
