//! Formats of Squid and varnishncsa as operators paste them.

use super::show;

#[test]
fn squid() {
    for (text, expected) in [
        (
            "squid",
            "%ts[.]%03tu[ ]%6tr[ ]%>a[ ]%Ss[/]%03>Hs[ ]%<st[ ]%rm[ ]%ru[ ]%[un[ ]%Sh[/]%<a[ ]%mt",
        ),
        (
            "squid:common",
            r#"%>a[ - ]%[un[ []%tl[] \"]%'rm[ ]%'ru[ ]HTTP/%rv[\" ]%>Hs[ ]%<st[ ]%Ss[:]%Sh"#,
        ),
        ("squid: logformat tk  %ts %<st\n", "%ts[ ]%<st"),
        ("squid:%ts %<st%%", "%ts[ ]%<st[%]"),
        (
            "squid:%http::>a %-10.5ru %{Host}>h %>h{Host} %ssl::>sni %tls::<cert_errors %icap::<st",
            "%http::>a[ ]%-10.5ru[ ]%{Host}>h[ ]%>h{Host}[ ]%ssl::>sni[ ]%tls::<cert_errors[ ]%icap::<st",
        ),
        (
            r#"squid:%"un%[un%#un%'un%/mt%.3tS%{%F %T %z}tl%err_code%SRCPORT"#,
            r#"%"un%[un%#un%'un%/mt%.3tS%{%F %T %z}tl%err_code%SRCPORT"#,
        ),
        ("squid:%ui \"%ui\"", r#"[- \"]%ui[\"]"#),
        ("squid:", ": there is no format here"),
        (
            "squid:referrer",
            "referrer: this format of Squid's has no number of bytes",
        ),
        ("squid:mine", "mine: there is no format code in \"mine\""),
        (
            "squid:logformat a %ts\nlogformat b %ts",
            "logformat b %ts: something follows the directive",
        ),
        ("squid:%ts %Z", "%Z: unknown format code %Z"),
        ("squid:%ts %", "%: unknown format code %"),
        ("squid:%{x", "{x: the closing } is missing"),
        ("squid:%{%Q}tl", "%Q: unknown time conversion %Q"),
        (
            "squid:%/un",
            "%/un: %/un is quoted now and then, as a shell would have it",
        ),
        ("squid:%.8un", "%.8un: %.8un cuts what it logs"),
        (
            "squid:%-8<st",
            "%-8<st: %-8<st puts spaces around what it logs, which cannot be told from what the value holds",
        ),
        (
            "squid:%20un",
            "%20un: %20un puts spaces around what it logs, which cannot be told from what the value holds",
        ),
    ] {
        assert_eq!(show(text), expected, "{text}");
    }
}

#[test]
fn varnishncsa() {
    let command = r#"%{sec}t[|]%I[|\"]%{Host}i[\"]"#;
    for (text, expected) in [
        (
            "varnishncsa",
            r#"%h[ - ]%u[ ]%t[ \"]%r[\" ]%s[ ]%b[ \"]%{Referer}i[\" \"]%{User-agent}i[\"]"#,
        ),
        ("varnishncsa:%h %l\\t\\q\\%%b", "%h[ -\\tq%]%b"),
        ("varnishncsa:\"%h \\\"%r\\\"\"", "%h[ \\\"]%r[\\\"]"),
        ("varnishncsa:'%h \"%r\"'", "%h[ \\\"]%r[\\\"]"),
        (r#"varnishncsa:-F '%{sec}t|%I|"%{Host}i"'"#, command),
        (
            r#"varnishncsa:varnishncsa -a -w /x/y.log -F "%{sec}t|%I|\"%{Host}i\"" -D"#,
            command,
        ),
        (r#"varnishncsa:-F%{sec}t\|%I\|\"%{Host}i\""#, command),
        (
            "varnishncsa:%{Varnish:vxid}x%{VSL:ReqHeader:X[2]}x%{VCL_Log:a}x%{a{b}c}i%{ms}T",
            "%{Varnish:vxid}x%{VSL:ReqHeader:X[2]}x%{VCL_Log:a}x%{a{b}c}i%{ms}T",
        ),
        ("varnishncsa:", ": there is no format here"),
        ("varnishncsa:x", "x: there is no directive in \"x\""),
        ("varnishncsa:%h %%", "%%: unknown directive %%"),
        ("varnishncsa:%h %a", "%a: unknown directive %a"),
        ("varnishncsa:%{x}x", "%{x}x: unknown directive %{x}x"),
        ("varnishncsa:%{x", "{x: the closing } is missing"),
        ("varnishncsa:%h %", "%: the directive % has no letter"),
        (
            "varnishncsa:%h\\n",
            "\\n: a line of the log must be one line",
        ),
        ("varnishncsa:-F '%h", "': the string's closing ' is missing"),
        (
            "varnishncsa:-b -F %h",
            "-b: with -b varnishncsa logs what backends sent, not what clients got",
        ),
        ("varnishncsa:-f /x", "-f: the format is in a file"),
    ] {
        assert_eq!(show(text), expected, "{text}");
    }
}
