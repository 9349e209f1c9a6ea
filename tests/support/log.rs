//! Logs made by us, in one format whose lines are easy to write and to sum by other means.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::DateTime;

use super::Row;

/// The format of all logs made here: vhost, user and both directions.
pub(crate) const FORMAT: &str =
    "nginx:log_format tk '$msec $status $request_length $bytes_sent $host \"$remote_user\"';";

/// 2024-06-15 12:00 UTC: long past, so that no test depends on today.
pub(crate) const NOON: u64 = 1_718_452_800;
/// The day of [`NOON`].
pub(crate) const DAY: &str = "2024-06-15";

/// A line of a log.
pub(crate) fn line(time: u64, status: u16, bytes: (u64, u64), host: &str, user: &str) -> String {
    format!(
        "{time}.000 {status} {} {} {host} \"{user}\"\n",
        bytes.0, bytes.1
    )
}

/// A log of many lines, each different from all others: three sites, two users and nobody, on two
/// days. Logs of different `first` share no line.
pub(crate) fn lines(first: u64, count: u64) -> String {
    let mut log = String::new();
    for number in first..first + count {
        let time = NOON + number % 100_000;
        let status = [200, 304, 404, 206][(number % 4) as usize];
        let host = ["a.example", "b.example", "c.example"][(number / 4 % 3) as usize];
        let user = ["-", "alice", "bob"][(number / 12 % 3) as usize];
        let _ = writeln!(
            log,
            "{time}.{:03} {status} {} {number} {host} \"{user}\"",
            number % 1000,
            number % 997
        );
    }
    log
}

/// What the lines of such logs sum up to in UTC, as [`Sandbox::rows`](super::Sandbox::rows) has it.
pub(crate) fn rows<'l>(logs: impl IntoIterator<Item = &'l str>) -> Vec<Row> {
    let mut sums: BTreeMap<(String, String, Option<String>), [u64; 3]> = BTreeMap::new();
    for line in logs.into_iter().flat_map(str::lines) {
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        let number = |field: usize| {
            fields[field]
                .parse::<u64>()
                .unwrap_or_else(|_| panic!("{line}"))
        };
        let seconds = fields[0]
            .split('.')
            .next()
            .and_then(|seconds| seconds.parse().ok())
            .expect("a time");
        let day = DateTime::from_timestamp(seconds, 0)
            .expect("a time")
            .date_naive()
            .to_string();
        // Further fields may follow the user.
        let user = fields[5]
            .split('"')
            .nth(1)
            .filter(|user| !matches!(*user, "" | "-"));
        let is_credited = matches!(number(1), 200..=299 | 304);
        let user = user.filter(|_| is_credited).map(str::to_owned);
        let sum = sums.entry((day, fields[4].to_owned(), user)).or_default();
        sum[0] += number(2);
        sum[1] += number(3);
        sum[2] += 1;
    }
    let rows = sums.into_iter().map(
        |((day, vhost, user), [bytes_in, bytes_out, requests])| Row {
            day,
            vhost,
            user,
            bytes_in,
            bytes_out,
            requests,
        },
    );
    rows.collect()
}
