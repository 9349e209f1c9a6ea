//! Lines in syslog envelopes.

use super::*;

const NUMBERS: &str = "nginx:$msec $status $request_length $bytes_sent \"$remote_user\"";

fn check_within(plan: &Plan, cases: &[(&str, &str)]) {
    for &(line, expected) in cases {
        assert_eq!(show(plan.read(line.as_bytes())), expected, "{line}");
        let for_account = plan.read_for_account(line.as_bytes(), &mut Carried::default());
        assert_eq!(show(for_account), expected, "{line}");
    }
}

#[test]
fn envelopes_are_taken_off() {
    let written = plan(&format!("syslog:{NUMBERS}"));
    assert_eq!(written.envelope(), Some(Envelope::Written));
    assert!(!written.has_vhost());
    check_within(
        &written,
        &[
            (
                r#"Nov 21 23:59:01 h nginx: 5.5 200 1 2 "u""#,
                "·|u|·|5|1|2|200|·|·|·",
            ),
            (
                "Nov 21 23:59:01 h nginx: 5.5 200 1 2 \"u\"\r",
                "·|u|·|5|1|2|200|·|·|·",
            ),
            // Offsets count from the start of the line.
            (
                "Nov 21 23:59:01 h nginx: 5.5 2x0 1 2 \"u\"",
                "byte 29: expected a status",
            ),
            (
                "Nov 21 23:59:01 h nginx: x",
                "byte 26: expected the format's next literal",
            ),
            ("Nov 21 23:59:01 h nginx: ", "Blank"),
            ("Nov 21 23:59:01 h nginx: # x", "Comment"),
            (" ", "Blank"),
            ("# x", "Comment"),
            (
                "5.5 200 1 2 \"u\"",
                "byte 0: expected what a syslog daemon writes before a line (a time, a host, and a program with a colon)",
            ),
        ],
    );
    check_within(
        &plan(NUMBERS).within(Envelope::Wire),
        &[
            (
                r#"<190>Nov 21 23:59:01 nginx: 5.5 200 1 2 "u""#,
                "·|u|·|5|1|2|200|·|·|·",
            ),
            (r#"<190>5.5 200 1 2 "u""#, "·|u|·|5|1|2|200|·|·|·"),
            (r#"5.5 200 1 2 "u""#, "·|u|·|5|1|2|200|·|·|·"),
            (
                "<190>5.5 200 1 x \"u\"",
                "byte 15: expected the format's next literal",
            ),
            (
                "5.5 200 1 x \"u\"",
                "byte 10: expected the format's next literal",
            ),
        ],
    );
}

#[test]
fn an_envelope_names_the_site_where_the_format_does_not() {
    let line = r#"<190>Nov 21 23:59:01 h nginx: 5.5 200 1 2 "u""#;
    for (vhost, expected) in [
        (EnvelopeVhost::None, "·|u|·|5|1|2|200|·|·|·"),
        (EnvelopeVhost::Host, "h|u|·|5|1|2|200|·|·|·"),
        (EnvelopeVhost::Tag, "nginx|u|·|5|1|2|200|·|·|·"),
    ] {
        let plan = plan(NUMBERS).within(Envelope::Wire).with_vhost_from(vhost);
        assert_eq!(plan.has_vhost(), vhost != EnvelopeVhost::None);
        check_within(&plan, &[(line, expected)]);
    }
    let tag = plan(NUMBERS)
        .within(Envelope::Wire)
        .with_vhost_from(EnvelopeVhost::Tag);
    check_within(
        &tag,
        &[(r#"<190>5.5 200 1 2 "u""#, "·|u|·|5|1|2|200|·|·|·")],
    );

    // A client that names no site is not charged to the sender's.
    let named = plan("nginx:$host $msec $bytes_sent");
    let named = named
        .within(Envelope::Wire)
        .with_vhost_from(EnvelopeVhost::Tag);
    check_within(
        &named,
        &[
            ("<190>Nov 21 23:59:01 nginx: a 5.5 2", "a|·|·|5|0|2|·|·|·|·"),
            ("<190>Nov 21 23:59:01 nginx: - 5.5 2", "·|·|·|5|0|2|·|·|·|·"),
        ],
    );
    // Without an envelope there is nothing to take it from.
    assert!(
        !plan(NUMBERS)
            .with_vhost_from(EnvelopeVhost::Tag)
            .has_vhost()
    );
}

#[test]
fn a_plan_in_an_envelope_explains_itself() {
    let bare = plan("combined");
    let written = plan("syslog:combined");
    assert_eq!(written.explain(), bare.explain());
    assert_eq!(written.better(), bare.better());
    assert_eq!(written.grade(), bare.grade());

    let json = plan("syslog:nginx:escape=json '{\"t\":$msec,\"o\":$bytes_sent}'");
    for explained in json.explain() {
        assert_eq!(
            json.format().text.get(explained.span),
            Some(&*explained.written)
        );
    }
    let error = json
        .read(b"Nov 21 23:59:01 h nginx: x")
        .expect_err("no JSON");
    assert_eq!(
        json.describe(&error),
        "byte 25: expected \"{\\\"t\\\":\" at the start of the message"
    );
}
