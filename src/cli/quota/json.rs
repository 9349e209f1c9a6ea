//! How accounts stand, for programs.

use std::io::{self, Write};

use chrono::DateTime;
use serde::Serialize;

use super::{View, spent_at};
use crate::quota::rule::Measure;
use crate::quota::verdict::Standing;

/// One account and quota. Names are as they are stored, numbers are exact.
#[derive(Serialize)]
struct Row<'r> {
    quota: &'r str,
    account: String,
    measure: Option<&'static str>,
    used: u64,
    limit: u64,
    percent: u64,
    granted: u64,
    begins: Option<String>,
    ends: Option<String>,
    spent_at: Option<String>,
    next_slice: Option<String>,
    verdict: &'static str,
    threshold: Option<u32>,
    exempt: bool,
    uncounted: u64,
}

/// An array, one object a line. Instants are those of RFC 3339, on the clock of the store's zone.
///
/// # Errors
/// Those of `out`.
pub fn write_json(out: &mut impl Write, view: &View<'_>) -> io::Result<()> {
    if view.standings.is_empty() {
        return writeln!(out, "[]");
    }
    for (number, standing) in view.standings.iter().enumerate() {
        out.write_all(if number == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &row(standing, view))?;
    }
    writeln!(out, "\n]")
}

fn row<'r>(standing: &'r Standing, view: &View<'_>) -> Row<'r> {
    let time = |seconds: Option<i64>| {
        let instant = DateTime::from_timestamp(seconds?, 0)?;
        Some(instant.with_timezone(&view.zone).to_rfc3339())
    };
    Row {
        quota: &standing.quota,
        account: standing.account.described(),
        measure: view.measure(standing).map(Measure::word),
        used: standing.used,
        limit: standing.limit,
        percent: standing.percent(),
        granted: standing.granted,
        begins: time(standing.begins),
        ends: time(standing.ends),
        spent_at: time(spent_at(standing, view.now)),
        next_slice: time(standing.next_slice),
        verdict: standing.verdict.word(),
        threshold: standing.verdict.threshold(),
        exempt: standing.exempt,
        uncounted: standing.uncounted,
    }
}
