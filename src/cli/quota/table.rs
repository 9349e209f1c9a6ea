//! How accounts stand, for people: a line each, or all that is known of each.

use std::fmt::Write as _;
use std::io::{self, Write};

use chrono::DateTime;
use unicode_width::UnicodeWidthStr as _;

use super::{View, spent_at};
use crate::cli::report::{Layout, fit, human_bytes};
use crate::cli::status::span;
use crate::excerpt::printable;
use crate::quota::rule::Measure;
use crate::quota::verdict::{Standing, Verdict};

const COLUMNS: usize = 9;
/// The columns of names: on a narrow terminal they give way.
const NAMES: [usize; 2] = [0, 1];
/// Columns of numbers are aligned to the right.
const NUMBERS: [usize; 3] = [2, 3, 4];
/// Stands for what is not, or is not known.
const NOTHING: &str = "-";

/// A line for each account and quota. Without a terminal numbers are exact, names whole, and instants on
/// the clock of the store's zone; on one they are so far from now.
///
/// # Errors
/// Those of `out`.
pub fn write_list(out: &mut impl Write, view: &View<'_>, layout: Layout) -> io::Result<()> {
    const GAP: usize = 2;
    const MIN_NAME_COLUMNS: usize = 6;

    let mut rows = vec![header(layout).map(str::to_owned)];
    rows.extend(view.standings.iter().map(|row| cells(row, view, layout)));
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    if let Layout::Terminal { columns } = layout {
        // Notes stand last, and may go on in the next line.
        let used = |widths: &[usize]| -> usize {
            let shown = &widths[..COLUMNS - 1];
            shown.iter().map(|width| width + GAP).sum::<usize>() - GAP
        };
        while used(&widths) > columns
            && let Some(widest) = NAMES.into_iter().max_by_key(|name| widths[*name])
            && widths[widest] > MIN_NAME_COLUMNS
        {
            widths[widest] -= 1;
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = fit(cell, width);
            let room = " ".repeat(width.saturating_sub(cell.width()));
            match NUMBERS.contains(&at) {
                true => line.extend([room.as_str(), &cell, "  "]),
                false => line.extend([&cell, room.as_str(), "  "]),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// All that is known of each, with an empty line between two.
///
/// # Errors
/// Those of `out`.
pub fn write_show(out: &mut impl Write, view: &View<'_>) -> io::Result<()> {
    for (number, standing) in view.standings.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        for (name, what) in lines(standing, view) {
            writeln!(out, "{name:<10} {}", printable(&what))?;
        }
    }
    Ok(())
}

fn header(layout: Layout) -> [&'static str; COLUMNS] {
    let (ends, spent) = match layout {
        Layout::Plain => ("ends", "spent"),
        Layout::Terminal { .. } => ("ends in", "spent in"),
    };
    [
        "quota", "account", "used", "limit", "%", "verdict", ends, spent, "",
    ]
}

fn cells(standing: &Standing, view: &View<'_>, layout: Layout) -> [String; COLUMNS] {
    let measure = view.measure(standing);
    let amount = |count: u64| match layout {
        Layout::Plain => count.to_string(),
        Layout::Terminal { .. } => short(count, measure),
    };
    let time = |instant: i64| match layout {
        Layout::Plain => time(instant, view, "%Y-%m-%d %H:%M"),
        Layout::Terminal { .. } => {
            let seconds = i128::from(instant) - i128::from(view.now);
            span(u64::try_from(seconds).unwrap_or(0))
        }
    };
    let spent = match spent_at(standing, view.now) {
        Some(at) => time(at),
        None if standing.used >= standing.limit => "spent".to_owned(),
        None => NOTHING.to_owned(),
    };
    let mut notes = Vec::new();
    if standing.exempt {
        notes.push("exempt".to_owned());
    }
    if standing.granted > 0 {
        notes.push(format!("{} granted", amount(standing.granted)));
    }
    if let Some(next) = standing.next_slice {
        let at = if layout == Layout::Plain { "at" } else { "in" };
        notes.push(format!("more {at} {}", time(next)));
    }
    if standing.uncounted > 0 {
        notes.push(format!("{} uncounted", amount(standing.uncounted)));
    }
    [
        printable(&standing.quota).into_owned(),
        printable(&standing.account.described()).into_owned(),
        amount(standing.used),
        amount(standing.limit),
        standing.percent().to_string(),
        verdict(standing.verdict, " ", ""),
        standing.ends.map_or_else(|| NOTHING.to_owned(), time),
        spent,
        notes.join(", "),
    ]
}

fn lines(standing: &Standing, view: &View<'_>) -> Vec<(&'static str, String)> {
    let measure = view.measure(standing);
    let amount = |count| exact(count, measure);
    let time = |instant| time(instant, view, "%Y-%m-%d %H:%M:%S %:z");

    let percent = standing.percent();
    let mut limit = amount(standing.limit);
    if standing.granted > 0 {
        let _ = write!(limit, ", of which granted: {}", amount(standing.granted));
    }
    let period = match (standing.begins, standing.ends) {
        (Some(begins), Some(ends)) => format!("{} to {}", time(begins), time(ends)),
        (Some(begins), None) => format!("a window, now from {}", time(begins)),
        (None, Some(ends)) => format!("to {}", time(ends)),
        (None, None) => "endless".to_owned(),
    };
    let spent = match spent_at(standing, view.now) {
        Some(at) => Some(format!("{}, at this rate", time(at))),
        None if standing.used >= standing.limit => Some("all of it".to_owned()),
        None if standing.next_slice.is_some() => {
            Some("not before more opens, at this rate".to_owned())
        }
        None if standing.ends.is_some() => Some("not in this period, at this rate".to_owned()),
        None => None,
    };

    let mut lines = vec![
        ("quota", standing.quota.clone()),
        ("account", standing.account.described()),
        ("verdict", verdict(standing.verdict, " at ", " %")),
        ("used", format!("{}, {percent} %", amount(standing.used))),
        ("limit", limit),
        ("period", period),
    ];
    lines.extend(spent.map(|spent| ("spent", spent)));
    if let Some(next) = standing.next_slice {
        lines.push((
            "slice",
            format!("more of the limit opens at {}", time(next)),
        ));
    }
    if standing.exempt {
        lines.push((
            "exempt",
            "it counts, and nothing is closed to it".to_owned(),
        ));
    }
    if standing.uncounted > 0 {
        let uncounted = amount(standing.uncounted);
        lines.push((
            "uncounted",
            format!("{uncounted} that the period began with: no row tells the minute"),
        ));
    }
    lines
}

/// A verdict, and the percentage that it is about, between these.
fn verdict(verdict: Verdict, before: &str, behind: &str) -> String {
    match verdict.threshold() {
        Some(percent) => format!("{}{before}{percent}{behind}", verdict.word()),
        None => verdict.word().to_owned(),
    }
}

/// With a unit, three figures.
fn short(count: u64, measure: Option<Measure>) -> String {
    match measure {
        Some(Measure::In | Measure::Out | Measure::Both) => human_bytes(u128::from(count)),
        Some(Measure::Requests) | None => count.to_string(),
    }
}

/// With a unit, to the byte.
fn exact(count: u64, measure: Option<Measure>) -> String {
    match measure {
        Some(Measure::In | Measure::Out | Measure::Both) if count >= 1000 => {
            format!("{} ({count} B)", human_bytes(u128::from(count)))
        }
        Some(Measure::In | Measure::Out | Measure::Both) => format!("{count} B"),
        Some(Measure::Requests) => format!("{count} requests"),
        None => count.to_string(),
    }
}

/// On the clock of the store's zone.
fn time(instant: i64, view: &View<'_>, format: &str) -> String {
    match DateTime::from_timestamp(instant, 0) {
        Some(instant) => instant.with_timezone(&view.zone).format(format).to_string(),
        None => NOTHING.to_owned(),
    }
}
