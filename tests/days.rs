//! The day is the one in which the line says it was served, in the store's one zone.

mod support;

use std::collections::BTreeMap;

use chrono::DateTime;
use support::log::{FORMAT, NOON, line};
use support::{Balance, Sandbox, text};

/// Imports a line for each instant, and gives the requests of each day.
fn days(zone: &str, instants: &[&str]) -> BTreeMap<String, u64> {
    let sandbox = Sandbox::new();
    let content: String = instants
        .iter()
        .map(|instant| {
            let seconds = DateTime::parse_from_rfc3339(instant)
                .expect("an instant")
                .timestamp();
            line(seconds.cast_unsigned(), 200, (1, 1), "a.example", "-")
        })
        .collect();
    let log = sandbox.write("access.log", content);
    sandbox.import(&["--timezone", zone, "--format", FORMAT, text(&log)]);
    let rows = sandbox.report(&["--by", "day"]);
    rows.iter()
        .map(|row| {
            (
                row["day"].as_str().expect("a day").to_owned(),
                row["requests"].as_u64().expect("a number"),
            )
        })
        .collect()
}

#[track_caller]
fn check(zone: &str, cases: &[(&str, &str)]) {
    let instants: Vec<&str> = cases.iter().map(|(instant, _)| *instant).collect();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (_, day) in cases {
        *expected.entry((*day).to_owned()).or_default() += 1;
    }
    assert_eq!(days(zone, &instants), expected, "{zone}");
}

#[test]
fn nights_in_which_the_clocks_change() {
    // 23 hours.
    check(
        "Europe/Warsaw",
        &[
            ("2024-03-30T22:59:59Z", "2024-03-30"),
            ("2024-03-30T23:00:00Z", "2024-03-31"),
            ("2024-03-31T00:59:59Z", "2024-03-31"),
            ("2024-03-31T01:00:00Z", "2024-03-31"),
            ("2024-03-31T21:59:59Z", "2024-03-31"),
            ("2024-03-31T22:00:00Z", "2024-04-01"),
        ],
    );
    // 25 hours.
    check(
        "Europe/Warsaw",
        &[
            ("2024-10-26T21:59:59Z", "2024-10-26"),
            ("2024-10-26T22:00:00Z", "2024-10-27"),
            ("2024-10-27T00:30:00Z", "2024-10-27"),
            ("2024-10-27T01:30:00Z", "2024-10-27"),
            ("2024-10-27T22:59:59Z", "2024-10-27"),
            ("2024-10-27T23:00:00Z", "2024-10-28"),
        ],
    );
    // Midnight itself does not exist.
    check(
        "America/Sao_Paulo",
        &[
            ("2018-11-04T02:59:59Z", "2018-11-03"),
            ("2018-11-04T03:00:00Z", "2018-11-04"),
            ("2018-11-05T01:59:59Z", "2018-11-04"),
            ("2018-11-05T02:00:00Z", "2018-11-05"),
        ],
    );
    // Midnight comes twice.
    check(
        "America/Sao_Paulo",
        &[
            ("2018-02-18T01:59:59Z", "2018-02-17"),
            ("2018-02-18T02:30:00Z", "2018-02-17"),
            ("2018-02-18T03:00:00Z", "2018-02-18"),
        ],
    );
    // A whole day does not exist.
    check(
        "Pacific/Apia",
        &[
            ("2011-12-30T09:59:59Z", "2011-12-29"),
            ("2011-12-30T10:00:00Z", "2011-12-31"),
        ],
    );
    check(
        "Asia/Kathmandu",
        &[
            ("2024-06-15T18:14:59Z", "2024-06-15"),
            ("2024-06-15T18:15:00Z", "2024-06-16"),
        ],
    );
}

#[test]
fn the_ends_of_months_and_years() {
    check(
        "UTC",
        &[
            ("2024-02-28T23:59:59Z", "2024-02-28"),
            ("2024-02-29T00:00:00Z", "2024-02-29"),
            ("2024-02-29T23:59:59Z", "2024-02-29"),
            ("2024-03-01T00:00:00Z", "2024-03-01"),
            ("2023-12-31T23:59:59Z", "2023-12-31"),
            ("2024-01-01T00:00:00Z", "2024-01-01"),
            ("2023-02-28T23:59:59Z", "2023-02-28"),
            ("2023-03-01T00:00:00Z", "2023-03-01"),
        ],
    );
}

#[test]
fn months_are_sums_of_days_and_both_ends_are_inclusive() {
    let sandbox = Sandbox::new();
    let day = 86_400;
    // 2024-06-01 to 2024-07-10.
    let content: String = (0..40)
        .map(|n| line(NOON - 14 * day + n * day, 200, (1, 10), "a.example", "-"))
        .collect();
    let log = sandbox.write("access.log", content);
    sandbox.import(&["--format", FORMAT, text(&log)]);
    let months = sandbox.report(&["--by", "month"]);
    let months: Vec<_> = months
        .iter()
        .map(|row| (row["month"].as_str(), row["requests"].as_u64()))
        .collect();
    assert_eq!(
        months,
        [(Some("2024-06"), Some(30)), (Some("2024-07"), Some(10))]
    );
    for (from, to, expected) in [
        ("2024-06-01", "2024-06-30", 30),
        ("2024-06-15", "2024-06-15", 1),
        ("2024-06-30", "2024-07-01", 2),
        ("2024-07-11", "2030-01-01", 0),
    ] {
        let rows = sandbox.report(&["--by", "day", "--from", from, "--to", to]);
        assert_eq!(rows.len(), expected, "{from} to {to}");
    }
    assert_eq!(
        sandbox
            .ran(["report", "--output", "json", "--from", "2024-07-11"])
            .exited(0)
            .stdout,
        "[]\n"
    );
}

#[test]
fn late_lines_go_to_their_own_day_whatever_zone_they_are_written_in() {
    let sandbox = Sandbox::new();
    let combined = |time: &str, bytes: u64| {
        format!("192.0.2.1 - - [{time}] \"GET / HTTP/1.1\" 200 {bytes} \"-\" \"-\"\n")
    };
    let content = [
        combined("16/Jun/2024:00:30:00 +0200", 1),
        combined("15/Jun/2024:23:30:00 -0300", 10),
        combined("15/Jun/2024:23:59:59 +0000", 100),
        // Two days late, behind newer ones.
        combined("14/Jun/2024:01:00:00 +0530", 1_000),
        combined("16/Jun/2024:12:00:00 +0200", 10_000),
    ]
    .concat();
    let log = sandbox.write("access.log", content);
    let ran = sandbox.import(&["--timezone", "UTC", "--format", "combined", text(&log)]);
    assert_eq!(ran.balance(), Balance::counted(5));
    let rows = sandbox.report(&["--by", "day"]);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row["day"].as_str(), row["out"].as_u64()))
        .collect();
    assert_eq!(
        rows,
        [
            (Some("2024-06-13"), Some(1_000)),
            (Some("2024-06-15"), Some(101)),
            (Some("2024-06-16"), Some(10_010)),
        ]
    );
}

#[test]
fn a_store_keeps_the_days_of_one_zone() {
    let sandbox = Sandbox::new();
    let first = sandbox.write("first.log", line(NOON, 200, (1, 1), "a.example", "-"));
    let second = sandbox.write("second.log", line(NOON + 1, 200, (1, 1), "a.example", "-"));
    sandbox.import(&[
        "--timezone",
        "Europe/Warsaw",
        "--format",
        FORMAT,
        text(&first),
    ]);
    let refused = sandbox
        .ran([
            "import",
            "--timezone",
            "UTC",
            "--format",
            FORMAT,
            text(&second),
        ])
        .exited(1);
    for named in ["Europe/Warsaw", "UTC"] {
        assert!(
            refused.stderr.contains(named),
            "{named} is not in:\n{}",
            refused.stderr
        );
    }
    sandbox.ran(["report", "--timezone", "UTC"]).exited(1);
    assert_eq!(sandbox.requests(), 1);
    // Where nothing is said, the store's zone counts, not the machine's.
    sandbox.import(&["--format", FORMAT, text(&second)]);
    assert_eq!(sandbox.requests(), 2);
}
