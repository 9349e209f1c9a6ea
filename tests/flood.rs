//! A flood of forged names, by every way into the rows: the caps hold, nothing is lost, and what is
//! shown beforehand is what is stored.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::log::{FORMAT, NOON, line};
use support::{Sandbox, gzip, text};

/// Caps that a small log reaches.
const CONFIG: &str =
    "[vhosts]\nmax_new_vhosts_per_day = 5\nmax_new_users_per_day = 3\nknown = [\"*.example\"]\n";
const DAY_SECONDS: u64 = 86_400;

/// On each of two days 40 hosts, each twice, and 20 users of one host: in the order in which they are
/// to be admitted, which is not that of their names.
fn flood() -> String {
    let mut content = String::new();
    for day in 0..2 {
        for number in 0..80_u64 {
            let time = NOON + day * DAY_SECONDS + number;
            let host = format!("f{}.example", (number * 7 + day * 1_000) % 40 + 40 * day);
            content += &line(time, 200, (number, 2 * number), &host, "-");
            if number < 20 {
                let user = format!("u{}", 90 - number);
                content += &line(time, 200, (1, 1), "users.example", &user);
            }
        }
    }
    content
}

/// What is to be stored of it: in, out and requests by day and vhost. It is worked out here by the rule
/// itself: the first names of a day have a row, all others share one.
fn expected(content: &str) -> BTreeMap<(u64, String), [u64; 3]> {
    let mut known: Vec<String> = Vec::new();
    let mut grown: BTreeMap<u64, u32> = BTreeMap::new();
    let mut sums = BTreeMap::new();
    for line in content.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |field: usize| -> u64 { fields[field].parse().expect("a number") };
        let (time, _) = fields[0].split_once('.').expect("a time");
        let day = time.parse::<u64>().expect("a time") / DAY_SECONDS;
        let mut host = fields[4].to_owned();
        let grown = grown.entry(day).or_default();
        if !known.contains(&host) && *grown < 5 {
            *grown += 1;
            known.push(host.clone());
        } else if !known.contains(&host) {
            host = "_overflow".to_owned();
        }
        let sum: &mut [u64; 3] = sums.entry((day, host)).or_default();
        for (part, more) in sum.iter_mut().zip([number(2), number(3), 1]) {
            *part += more;
        }
    }
    sums
}

/// Rows of vhosts, as the program has them in JSON.
fn sums(rows: &[Value]) -> BTreeMap<(u64, String), [u64; 3]> {
    rows.iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().expect("text");
            let date: chrono::NaiveDate = text("day").parse().expect("a day");
            let day = (date - chrono::NaiveDate::default()).num_days();
            let sum = ["in", "out", "requests"].map(|key| row[key].as_u64().expect("a number"));
            ((day.unsigned_abs(), text("vhost").to_owned()), sum)
        })
        .collect()
}

#[test]
fn caps_hold_in_a_dry_run_in_a_log_and_in_an_archive() {
    let content = flood();
    let expected = expected(&content);
    assert_eq!(
        expected.len(),
        6 + 7,
        "five of each day, one of them on both, and what is beyond"
    );
    for threads in ["1", "2"] {
        for packed in [false, true] {
            let sandbox = Sandbox::new();
            let config = sandbox.config(CONFIG);
            let log = if packed {
                sandbox.write("access.log.gz", gzip(content.as_bytes()))
            } else {
                sandbox.write("access.log", &content)
            };
            let arguments = [
                "-c",
                text(&config),
                "--threads",
                threads,
                "--format",
                FORMAT,
            ];
            let dry = [&arguments[..], &["--dry-run", text(&log)]].concat();
            let shown: Value = sandbox.import(&dry).json();
            let case = format!("{threads} threads, packed: {packed}");
            assert_eq!(
                sums(shown["rows"].as_array().expect("rows")),
                expected,
                "dry run, {case}"
            );
            sandbox.import(&[&arguments[..], &[text(&log)]].concat());
            assert_eq!(sums(&sandbox.report(&[])), expected, "{case}");
            let users: Vec<(String, u64)> = sandbox
                .rows()
                .into_iter()
                .filter_map(|row| Some((row.user?, row.requests)))
                .collect();
            let one = |user: &str, requests| (user.to_owned(), requests);
            assert_eq!(
                users,
                [
                    one("_overflow", 17),
                    one("u88", 1),
                    one("u89", 1),
                    one("u90", 1),
                    // They have rows by now, and three others may join them.
                    one("_overflow", 14),
                    one("u85", 1),
                    one("u86", 1),
                    one("u87", 1),
                    one("u88", 1),
                    one("u89", 1),
                    one("u90", 1),
                ],
                "{case}"
            );
        }
    }
}

/// So many names that those of the caps are known long before the end: most are refused where the lines are
/// walked.
#[test]
fn caps_hold_in_a_long_flood() {
    let mut content = String::new();
    for number in 0..30_000_u64 {
        let day = number / 15_000;
        let time = NOON + day * DAY_SECONDS + number % 15_000;
        // Every tenth line is one of a site that has a row, by all its spellings.
        let host = match number % 30 {
            0 => "f0.example".to_owned(),
            10 => "F0.Example:80".to_owned(),
            20 => "f0.example.".to_owned(),
            _ => format!("f{number}.example"),
        };
        content += &line(time, 200, (number, 2 * number), &host, "-");
        let user = format!("u{number}");
        content += &line(time, 200, (1, 1), "f0.example", &user);
    }
    let told = content
        .replace("F0.Example:80", "f0.example")
        .replace("f0.example. ", "f0.example ");
    let expected = expected(&told);
    assert_eq!(expected.len(), (5 + 1) + (1 + 5 + 1));
    for threads in ["1", "2"] {
        let sandbox = Sandbox::new();
        let config = sandbox.config(CONFIG);
        let log = sandbox.write("access.log", &content);
        let arguments = [
            "-c",
            text(&config),
            "--threads",
            threads,
            "--format",
            FORMAT,
            text(&log),
        ];
        let shown: Value = sandbox
            .import(&[&arguments[..], &["--dry-run"]].concat())
            .json();
        let rows = shown["rows"].as_array().expect("rows");
        assert_eq!(sums(rows), expected, "dry run, {threads} threads");
        sandbox.import(&arguments);
        assert_eq!(sums(&sandbox.report(&[])), expected, "{threads} threads");
        let of_users = sandbox.rows().into_iter().filter(|row| row.user.is_some());
        let users: Vec<u64> = of_users.map(|row| row.requests).collect();
        assert_eq!(users.len(), (3 + 1) + (3 + 1));
        assert_eq!(users.iter().sum::<u64>(), 30_000);
    }
}

/// Sites that first appear on other days, which have room, and soon after on one that has none: however many
/// threads walk the lines, the order in the log decides.
#[test]
fn a_site_has_its_row_in_a_flood_whoever_met_it_first() {
    let mut content = String::new();
    let mut number = 0;
    // Long names, so that the lines come to many blocks.
    let label = "x".repeat(60);
    let mut flood = |content: &mut String, lines: u64| {
        for _ in 0..lines {
            number += 1;
            let host = format!("f{number}.{label}.{label}.{label}.example");
            *content += &line(NOON, 200, (number, 1), &host, "-");
        }
    };
    flood(&mut content, 20_000);
    for day in 1..40 {
        for site in 0..6 {
            let host = format!("s{day}-{site}.example");
            content += &line(NOON + day * DAY_SECONDS, 200, (7, 7), &host, "-");
            flood(&mut content, 300);
            content += &line(NOON, 200, (9, 9), &host, "-");
        }
    }
    let expected = expected(&content);
    // Five of six of each day have rows on both.
    assert_eq!(expected.len(), (5 + 1) + 39 * (5 + 1) + 39 * 5);
    for threads in ["1", "2", "3"] {
        let sandbox = Sandbox::new();
        let config = sandbox.config(CONFIG);
        let log = sandbox.write("access.log", &content);
        sandbox.import(&[
            "-c",
            text(&config),
            "--threads",
            threads,
            "--format",
            FORMAT,
            text(&log),
        ]);
        assert_eq!(sums(&sandbox.report(&[])), expected, "{threads} threads");
    }
}

#[test]
fn a_broken_archive_takes_no_place_in_the_day() {
    let hosts = |from: u64| -> String {
        (from..from + 10)
            .map(|n| line(NOON + n, 200, (1, 2), &format!("f{n}.example"), "-"))
            .collect()
    };
    for threads in ["1", "2"] {
        let sandbox = Sandbox::new();
        let config = sandbox.config(CONFIG);
        let packed = gzip(hosts(0).as_bytes());
        let broken = sandbox.write("broken.gz", &packed[..packed.len() - 4]);
        let sound = sandbox.write("sound.gz", gzip(hosts(100).as_bytes()));
        let later = sandbox.write("later.log", hosts(0));
        let arguments = [
            "-c",
            text(&config),
            "--threads",
            threads,
            "--format",
            FORMAT,
        ];
        let files = [text(&broken), text(&sound), text(&later)];
        let all = [&arguments[..], &files].concat();
        let rows = |rows: &[Value]| -> Vec<(String, u64)> {
            sums(rows)
                .into_iter()
                .map(|((_, vhost), sum)| (vhost, sum[2]))
                .collect()
        };
        let expected = [
            ("_overflow", 15),
            ("f100.example", 1),
            ("f101.example", 1),
            ("f102.example", 1),
            ("f103.example", 1),
            ("f104.example", 1),
        ]
        .map(|(vhost, requests)| (vhost.to_owned(), requests));
        let dry = sandbox.import_fails(&[&["--dry-run"], &all[..]].concat());
        let shown: Value = dry.json();
        assert_eq!(rows(shown["rows"].as_array().expect("rows")), expected);
        sandbox.import_fails(&all);
        assert_eq!(rows(&sandbox.report(&[])), expected);
    }
}
