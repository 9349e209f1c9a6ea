//! Rows a second into a MariaDB of our own: by flushes, and row by row for comparison.
//!
//!     cargo bench --bench mysql
//!
//! The server has its defaults but for a buffer pool of 512 MB; each commit is synced. What is measured is
//! the time from the call to the answer, of a batch whose rows are not there yet and of one whose rows are.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Value};
use support::mariadb::{MariaDb, PASSWORD};
use tollkeeper::account::delta::{Amount, Delta};
use tollkeeper::store::{Batch, Role, Store};

const ROUNDS: usize = 5;

fn main() {
    let server = MariaDb::start(&[
        "--innodb-buffer-pool-size=512M",
        "--innodb-log-file-size=96M",
        "--innodb-flush-log-at-trx-commit=1",
    ]);
    say("| what | rows | not there yet, s | there, s | rows/s |");
    say("|---|---:|---:|---:|---:|");
    flushes(&server, "flush, sites alone", 10_000, 0);
    row_by_row(&server, 10_000);
    flushes(
        &server,
        "flush, 50,000 sites and 50,000 users",
        50_000,
        50_000,
    );
    flushes(
        &server,
        "flush, 2,000 sites and 98,000 users",
        2_000,
        98_000,
    );
    flushes(&server, "flush, 100,000 sites", 100_000, 0);
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody who reads");
}

fn row(what: &str, rows: usize, first: Duration, mut others: Vec<Duration>) {
    others.sort();
    let median = others[others.len() / 2].as_secs_f64();
    let (first, rate) = (first.as_secs_f64(), rows as f64 / median);
    say(&format!(
        "| {what} | {rows} | {first:.3} | {median:.3} | {rate:.0} |"
    ));
}

fn delta(vhost: String, part: String) -> Delta {
    Delta {
        vhost: vhost.into(),
        part: part.into(),
        day: NaiveDate::from_ymd_opt(2026, 11, 21).expect("a day"),
        amount: Amount {
            bytes_in: 500,
            bytes_out: 100_000,
            requests: 7,
        },
    }
}

fn flushes(server: &MariaDb, what: &str, sites: usize, users: usize) {
    let database = server.database();
    let mut store = database.open();
    let mut writer = store.register("n", Role::Import, 0).expect("a writer");
    let site = |number: usize| format!("site-{number:05}.example.org");
    let mut batch = Batch::default();
    let vhosts = (0..sites).map(|number| delta(site(number), String::new()));
    batch.deltas.vhosts = vhosts.collect();
    let users = (0..users).map(|number| delta(site(number % sites), format!("user{number:06}")));
    batch.deltas.users = users.collect();
    let key = |delta: &Delta| (delta.vhost.clone(), delta.part.clone());
    batch.deltas.users.sort_by_key(key);
    let mut took = Vec::new();
    for _ in 0..=ROUNDS {
        let began = Instant::now();
        store.flush(&mut writer, "n", &batch, 0).expect("a flush");
        took.push(began.elapsed());
    }
    let rows = batch.deltas.vhosts.len() + batch.deltas.users.len();
    row(what, rows, took.remove(0), took);
}

/// The same statement, prepared once, for one row at a time, all in one transaction.
fn row_by_row(server: &MariaDb, rows: usize) {
    let database = server.database();
    let statement = include_str!("../sql/mysql/upsert_bandwidth.sql").replace(['{', '}'], "");
    let begin = include_str!("../sql/mysql/begin.sql");
    let commit = include_str!("../sql/mysql/commit.sql");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let url = &database.url;
    let options = OptsBuilder::default()
        .ip_or_hostname(url.host.as_str())
        .tcp_port(url.port)
        .tcp_nodelay(true)
        .user(Some(url.user.as_str()))
        .pass(Some(PASSWORD))
        .db_name(Some(url.database.as_str()));
    let mut took = Vec::new();
    runtime.block_on(async {
        let mut conn = Conn::new(options).await.expect("a connection");
        let prepared = conn.prep(statement).await.expect("a statement");
        for _ in 0..=ROUNDS {
            let began = Instant::now();
            conn.query_drop(begin).await.expect("a transaction");
            for number in 0..rows {
                let values: Vec<Value> = vec![
                    format!("site-{number:05}.example.org").into(),
                    "2026-11-21".into(),
                    500.into(),
                    100_000.into(),
                    7.into(),
                ];
                conn.exec_drop(&prepared, values).await.expect("a row");
            }
            conn.query_drop(commit).await.expect("an answer");
            took.push(began.elapsed());
        }
        conn.disconnect().await.expect("a goodbye");
    });
    row(
        "one row a statement, sites alone",
        rows,
        took.remove(0),
        took,
    );
}
