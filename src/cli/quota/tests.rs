//! Accounts and standings as text.

use std::collections::BTreeMap;

use chrono::DateTime;
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::account::{parse, written};
use super::*;
use crate::cli::report::Layout;
use crate::config::VhostRules;
use crate::quota::rule::{Period, Who};
use crate::quota::verdict::Verdict;
use crate::usage::said::Account;

const G: u64 = 1_000_000_000;
const ZONE: Tz = Tz::Europe__Warsaw;

fn seconds(instant: &str) -> i64 {
    let instant = DateTime::parse_from_rfc3339(instant);
    instant.expect("an instant").timestamp()
}

fn rules() -> VhostRules {
    VhostRules {
        known: Vec::new(),
        known_file: None,
        aliases: BTreeMap::from([("old.example".to_owned(), "example.org".to_owned())]),
        aliases_file: None,
        fold_www: true,
        max_new_vhosts_per_day: 1,
        max_new_users_per_day: 1,
    }
}

fn quota(name: &str, measure: Measure) -> Quota {
    Quota {
        name: name.to_owned(),
        who: Who::Vhost("*".to_owned()),
        class: None,
        measure,
        limit: 1,
        period: Period::Day,
        slice_minutes: None,
        warn: Vec::new(),
        exceeded: Vec::new(),
        report_only: false,
        reopen: 90,
    }
}

/// Ten days into November 2024.
fn now() -> i64 {
    seconds("2024-11-11T00:00:00+01:00")
}

fn standing(used: u64, limit: u64) -> Standing {
    Standing {
        quota: "monthly".to_owned(),
        account: Account::Vhost("example.org".to_owned()),
        used,
        limit,
        granted: 0,
        begins: Some(seconds("2024-11-01T00:00:00+01:00")),
        ends: Some(seconds("2024-12-01T00:00:00+01:00")),
        next_slice: None,
        verdict: Verdict::Within,
        exempt: false,
        uncounted: 0,
    }
}

/// One of each kind.
fn standings() -> Vec<Standing> {
    vec![
        Standing {
            verdict: Verdict::Warned(80),
            granted: 5 * G,
            ..standing(84 * G, 105 * G)
        },
        Standing {
            account: Account::VhostClass("example.org".to_owned(), "campus".to_owned()),
            verdict: Verdict::Exceeded(100),
            exempt: true,
            next_slice: Some(seconds("2024-11-15T00:00:00+01:00")),
            ..standing(30 * G, 25 * G)
        },
        Standing {
            quota: "window".to_owned(),
            account: Account::User("al\u{202e}ice".to_owned()),
            begins: Some(seconds("2024-11-10T23:01:00+01:00")),
            ends: None,
            uncounted: 7,
            ..standing(7, 1_000)
        },
    ]
}

fn quotas() -> Vec<Quota> {
    vec![
        quota("monthly", Measure::Both),
        quota("window", Measure::Requests),
    ]
}

fn shown(write: impl Fn(&mut Vec<u8>, &View<'_>) -> std::io::Result<()>) -> String {
    let (standings, quotas) = (standings(), quotas());
    let mut out = Vec::new();
    write(&mut out, &View::new(&standings, &quotas, ZONE, now())).expect("memory");
    String::from_utf8(out).expect("text")
}

#[test]
fn accounts_are_understood_and_written_back() {
    let name = str::to_owned;
    for (text, account, back, words) in [
        (
            "example.org",
            Account::Vhost(name("example.org")),
            "example.org",
            "vhost example.org",
        ),
        (
            "vhost:WWW.Example.ORG.",
            Account::Vhost(name("example.org")),
            "example.org",
            "vhost example.org",
        ),
        (
            "old.example",
            Account::Vhost(name("example.org")),
            "example.org",
            "vhost example.org",
        ),
        (
            "żółw.example:8080",
            Account::Vhost(name("xn--w-uga1v8h.example")),
            "xn--w-uga1v8h.example",
            "vhost xn--w-uga1v8h.example",
        ),
        (
            "[2001:DB8::1]:80",
            Account::Vhost(name("2001:db8::1")),
            "2001:db8::1",
            "vhost 2001:db8::1",
        ),
        (
            "user:alice@example.org",
            Account::User(name("alice@example.org")),
            "user:alice@example.org",
            "user alice@example.org",
        ),
        (
            "user:a\\x0ab\\x5cx",
            Account::User(name("a\\x0ab\\x5cx")),
            "user:a\\x0ab\\x5cx",
            "user a\\x0ab\\x5cx",
        ),
        (
            "user:\\x5foverflow",
            Account::User(name("\\x5foverflow")),
            "user:\\x5foverflow",
            "user \\x5foverflow",
        ),
        (
            "owner:Dembol & sons: all",
            Account::Owner(name("Dembol & sons: all")),
            "owner:Dembol & sons: all",
            "owner Dembol & sons: all",
        ),
        (
            "class:campus@www.example.org",
            Account::VhostClass(name("example.org"), name("campus")),
            "class:campus@example.org",
            "class campus of example.org",
        ),
        (
            "class:a@b@vhost:old.example",
            Account::VhostClass(name("example.org"), name("a@b")),
            "class:a@b@example.org",
            "class a@b of example.org",
        ),
        (
            "class:campus@owner:bob@example.org",
            Account::OwnerClass(name("bob@example.org"), name("campus")),
            "class:campus@owner:bob@example.org",
            "class campus of owner bob@example.org",
        ),
    ] {
        assert_eq!(parse(text, &rules()), Ok(account.clone()), "{text}");
        assert_eq!(written(&account), back);
        assert_eq!(account.described(), words);
        assert_eq!(parse(back, &rules()), Ok(account));
    }
}

#[test]
fn what_names_no_account_is_refused_with_help() {
    for (text, error) in [
        ("", "cannot be the name of a host"),
        ("vhost:", "cannot be the name of a host"),
        ("a b.example", "cannot be the name of a host"),
        ("_none", "is reserved"),
        ("vhost:_overflow", "is reserved"),
        ("*.example.org", "is a pattern"),
        ("*", "is a pattern"),
        ("usr:alice", "there is no kind \"usr\": write example.org"),
        ("User:alice", "there is no kind \"User\""),
        ("user:", "is no user"),
        ("user:*", "is no user"),
        ("user:_overflow", "stands for many users"),
        ("user:a\\b", "a backslash as \\x5c"),
        ("user:a\nb", "is no user"),
        ("user: alice", "is no user"),
        ("owner:", "cannot be the name of an owner"),
        ("owner:a\nb", "\"a\\nb\" cannot be the name of an owner"),
        ("class:campus", "does not say of whom"),
        ("class:@example.org", "cannot be the name of a class"),
        ("class:campus@", "cannot be the name of a host"),
        ("class:campus@owner:", "cannot be the name of an owner"),
        ("class:campus@user:alice", "cannot be the name of a host"),
        ("class:campus@*.example.org", "is a pattern"),
    ] {
        match parse(text, &rules()) {
            Err(message) => assert!(message.contains(error), "{text}: {message}"),
            Ok(account) => panic!("{text}: {account:?}"),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(text in "((vhost|user|owner|class):)?[a-z@:.\\\\x5f* ]{0,20}") {
        if let Ok(account) = parse(&text, &rules()) {
            prop_assert_eq!(parse(&written(&account), &rules()), Ok(account));
        }
    }
}

#[test]
fn when_all_is_spent_at_this_rate() {
    let at = |instant| Some(seconds(instant));
    let slice = |standing| Standing {
        next_slice: at("2024-11-15T00:00:00+01:00"),
        ..standing
    };
    for (standing, expected) in [
        // Ten days of thirty have passed.
        (standing(50, 100), at("2024-11-21T00:00:00+01:00")),
        (standing(34, 100), at("2024-11-30T09:52:57+01:00")),
        (standing(33, 100), None),
        (standing(99, 100), at("2024-11-11T02:25:28+01:00")),
        (standing(0, 100), None),
        (standing(100, 100), None),
        (standing(0, 0), None),
        (
            standing(u64::MAX / 2, u64::MAX),
            at("2024-11-21T00:00:01+01:00"),
        ),
        // More opens before it is spent.
        (slice(standing(20, 25)), at("2024-11-13T12:00:00+01:00")),
        (slice(standing(17, 25)), None),
        // The very first second; a clock that was set back.
        (
            Standing {
                begins: Some(now()),
                ..standing(1, 100)
            },
            None,
        ),
        (
            Standing {
                begins: Some(now() + 60),
                ..standing(1, 100)
            },
            None,
        ),
        // No end, no rate.
        (
            Standing {
                ends: None,
                ..standing(50, 100)
            },
            None,
        ),
        (
            Standing {
                begins: None,
                ends: None,
                ..standing(50, 100)
            },
            None,
        ),
    ] {
        assert_eq!(spent_at(&standing, now()), expected, "{standing:?}");
    }
}

#[test]
fn json_is_exact() {
    let text = shown(write_json);
    assert_eq!(
        text,
        concat!(
            "[\n",
            r#"{"quota":"monthly","account":"vhost example.org","measure":"both","#,
            r#""used":84000000000,"limit":105000000000,"percent":80,"granted":5000000000,"#,
            r#""begins":"2024-11-01T00:00:00+01:00","ends":"2024-12-01T00:00:00+01:00","#,
            r#""spent_at":"2024-11-13T12:00:00+01:00","next_slice":null,"#,
            r#""verdict":"warned","threshold":80,"exempt":false,"uncounted":0},"#,
            "\n",
            r#"{"quota":"monthly","account":"class campus of example.org","measure":"both","#,
            r#""used":30000000000,"limit":25000000000,"percent":120,"granted":0,"#,
            r#""begins":"2024-11-01T00:00:00+01:00","ends":"2024-12-01T00:00:00+01:00","#,
            r#""spent_at":null,"next_slice":"2024-11-15T00:00:00+01:00","#,
            r#""verdict":"exceeded","threshold":100,"exempt":true,"uncounted":0},"#,
            "\n",
            "{\"quota\":\"window\",\"account\":\"user al\u{202e}ice\",\"measure\":\"requests\",",
            r#""used":7,"limit":1000,"percent":0,"granted":0,"#,
            r#""begins":"2024-11-10T23:01:00+01:00","ends":null,"#,
            r#""spent_at":null,"next_slice":null,"#,
            r#""verdict":"within","threshold":null,"exempt":false,"uncounted":7}"#,
            "\n]\n",
        )
    );
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(parsed.as_array().map(Vec::len), Some(3));

    let mut out = Vec::new();
    write_json(&mut out, &View::new(&[], &[], ZONE, now())).expect("memory");
    assert_eq!(out, b"[]\n");
    // A quota that is gone.
    let standings = [standing(1, 2)];
    let mut out = Vec::new();
    write_json(&mut out, &View::new(&standings, &[], Tz::UTC, now())).expect("memory");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("\"measure\":null"), "{text}");
    assert!(
        text.contains("\"ends\":\"2024-11-30T23:00:00+00:00\""),
        "{text}"
    );
}

#[test]
fn a_list_is_exact_without_a_terminal() {
    assert_eq!(
        shown(|out, view| write_list(out, view, Layout::Plain)),
        "\
quota    account                             used         limit    %  verdict       ends              spent
monthly  vhost example.org            84000000000  105000000000   80  warned 80     2024-12-01 00:00  2024-11-13 12:00  5000000000 granted
monthly  class campus of example.org  30000000000   25000000000  120  exceeded 100  2024-12-01 00:00  spent             exempt, more at 2024-11-15 00:00
window   user al\\xe2\\x80\\xaeice                 7          1000    0  within        -                 -                 7 uncounted
"
    );
}

#[test]
fn a_list_fits_a_terminal() {
    assert_eq!(
        shown(|out, view| write_list(out, view, Layout::Terminal { columns: 160 })),
        "\
quota    account                         used    limit    %  verdict       ends in   spent in
monthly  vhost example.org            84.0 GB   105 GB   80  warned 80     20 d 0 h  2 d 12 h  5.00 GB granted
monthly  class campus of example.org  30.0 GB  25.0 GB  120  exceeded 100  20 d 0 h  spent     exempt, more in 4 d 0 h
window   user al\\xe2\\x80\\xaeice             7     1000    0  within        -         -         7 uncounted
"
    );
    let narrow = shown(|out, view| write_list(out, view, Layout::Terminal { columns: 80 }));
    let header = narrow.lines().next().unwrap_or_default();
    assert!(header.width() <= 80, "{narrow}");
    assert!(narrow.contains("vhost example…  84.0 GB"), "{narrow}");
    assert!(narrow.contains("spent     exempt, more"), "{narrow}");
}

#[test]
fn all_that_is_known_of_each() {
    assert_eq!(
        shown(write_show),
        "\
quota      monthly
account    vhost example.org
verdict    warned at 80 %
used       84.0 GB (84000000000 B), 80 %
limit      105 GB (105000000000 B), of which granted: 5.00 GB (5000000000 B)
period     2024-11-01 00:00:00 +01:00 to 2024-12-01 00:00:00 +01:00
spent      2024-11-13 12:00:00 +01:00, at this rate

quota      monthly
account    class campus of example.org
verdict    exceeded at 100 %
used       30.0 GB (30000000000 B), 120 %
limit      25.0 GB (25000000000 B)
period     2024-11-01 00:00:00 +01:00 to 2024-12-01 00:00:00 +01:00
spent      all of it
slice      more of the limit opens at 2024-11-15 00:00:00 +01:00
exempt     it counts, and nothing is closed to it

quota      window
account    user al\\xe2\\x80\\xaeice
verdict    within
used       7 requests, 0 %
limit      1000 requests
period     a window, now from 2024-11-10 23:01:00 +01:00
uncounted  7 requests that the period began with: no row tells the minute
"
    );
}
