//! Reports as tables: for people on a terminal, exact and plain elsewhere.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{By, COUNTERS, Key, ReportRow, Sums, Value};
use crate::excerpt::printable;

/// Where a table goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A file or a pipe: exact numbers, whole names.
    Plain,
    /// A terminal of so many columns: units, bars, names cut to fit.
    Terminal {
        /// Its width.
        columns: usize,
    },
}

impl Layout {
    /// That of standard output.
    #[must_use]
    pub fn of(stdout: &io::Stdout) -> Self {
        const USUAL_COLUMNS: usize = 80;
        if !stdout.is_terminal() {
            return Self::Plain;
        }
        let size = rustix::termios::tcgetwinsize(stdout);
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        Self::Terminal {
            columns: if columns == 0 { USUAL_COLUMNS } else { columns },
        }
    }
}

/// Aligned columns with a header and a line of totals; without that where layers stand side by side.
///
/// # Errors
/// Those of `out`.
pub fn write_table(
    out: &mut impl Write,
    by: &By,
    rows: &[ReportRow<'_>],
    layout: Layout,
) -> io::Result<()> {
    const GAP: usize = 2;
    const MIN_BAR_COLUMNS: usize = 4;
    const MAX_BAR_COLUMNS: usize = 20;
    const MIN_NAME_COLUMNS: usize = 6;

    let total = rows.iter().fold(Sums::default(), |sum, row| Sums {
        bytes_in: sum.bytes_in + row.sums.bytes_in,
        bytes_out: sum.bytes_out + row.sums.bytes_out,
        requests: sum.requests + row.sums.requests,
    });
    let bytes = |count: u128| match layout {
        Layout::Plain => count.to_string(),
        Layout::Terminal { .. } => human_bytes(count),
    };
    let counters = |sums: Sums| {
        [
            bytes(sums.bytes_in),
            bytes(sums.bytes_out),
            sums.requests.to_string(),
        ]
    };

    // Widths first: every cell is made twice, which is cheaper than keeping a million of them.
    let names: Vec<&str> = by.names().collect();
    let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
    let mut counter_widths = COUNTERS.map(str::len);
    widths[0] = widths[0].max("total".len());
    let mut largest = 0;
    for row in rows {
        for (width, value) in widths.iter_mut().zip(&row.values) {
            *width = (*width).max(cell(*value).width());
        }
        for (width, count) in counter_widths.iter_mut().zip(counters(row.sums)) {
            *width = (*width).max(count.len());
        }
        largest = largest.max(row.sums.bytes_in + row.sums.bytes_out);
    }
    for (width, count) in counter_widths.iter_mut().zip(counters(total)) {
        *width = (*width).max(count.len());
    }

    let mut bar_columns = 0;
    if let Layout::Terminal { columns } = layout {
        let used = |widths: &[usize]| -> usize {
            let cells = widths.iter().chain(&counter_widths);
            cells.map(|width| width + GAP).sum::<usize>() - GAP
        };
        // The widest name gives way first; a day that is cut is worth nothing.
        while used(&widths) > columns
            && let Some((_, widest)) = by
                .keys
                .iter()
                .zip(&mut widths)
                .filter(|(key, _)| !matches!(key, Key::Day | Key::Month))
                .max_by_key(|(_, width)| **width)
            && *widest > MIN_NAME_COLUMNS
        {
            *widest -= 1;
        }
        bar_columns = columns
            .saturating_sub(used(&widths) + GAP)
            .min(MAX_BAR_COLUMNS);
        if bar_columns < MIN_BAR_COLUMNS || largest == 0 {
            bar_columns = 0;
        }
    }

    let mut line = |cells: &[Cow<'_, str>], counts: [&str; 3], bar: &str| -> io::Result<()> {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let cell = fit(cell, *width);
            text.push_str(&cell);
            text.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(cell.width()) + GAP,
            ));
        }
        for (count, width) in counts.iter().zip(&counter_widths) {
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(count.len())));
            text.push_str(count);
            text.extend(std::iter::repeat_n(' ', GAP));
        }
        text.push_str(bar);
        writeln!(out, "{}", text.trim_end())
    };
    let header: Vec<Cow<'_, str>> = names.iter().map(|name| Cow::Borrowed(*name)).collect();
    line(&header, COUNTERS, "")?;
    for row in rows {
        let cells: Vec<Cow<'_, str>> = row.values.iter().map(|value| cell(*value)).collect();
        let [bytes_in, bytes_out, requests] = counters(row.sums);
        let bar = bar(row.sums.bytes_in + row.sums.bytes_out, largest, bar_columns);
        line(&cells, [&bytes_in, &bytes_out, &requests], &bar)?;
    }
    if !adds_up(by, rows) {
        return Ok(());
    }
    let mut cells = vec![Cow::Borrowed(""); names.len()];
    cells[0] = "total".into();
    let [bytes_in, bytes_out, requests] = counters(total);
    line(&cells, [&bytes_in, &bytes_out, &requests], "")
}

/// Whether rows may be summed: two layers have seen the same requests.
fn adds_up(by: &By, rows: &[ReportRow<'_>]) -> bool {
    let layer = by.keys.iter().position(|key| *key == Key::Layer);
    layer.is_none_or(|at| {
        let mut layers = rows.iter().map(|row| row.values[at]);
        let first = layers.next();
        layers.all(|layer| Some(layer) == first)
    })
}

/// A value as it stands in a table; stored names are printable, but nobody relies on that here.
fn cell(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::Null => "-".into(),
        Value::Name(name) => printable(name),
        value => value.text().unwrap_or_default(),
    }
}

/// The text in at most so many columns; `…` stands for what was cut.
pub(in crate::cli) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return text.into();
    }
    let mut room = columns.saturating_sub(1);
    let mut cut = String::new();
    for char in text.chars() {
        let width = char.width().unwrap_or(0);
        if width > room {
            break;
        }
        room -= width;
        cut.push(char);
    }
    cut.push('…');
    cut.into()
}

/// A bar of at most so many columns, in eighths.
pub(super) fn bar(part: u128, whole: u128, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if whole == 0 {
        return String::new();
    }
    // Sums of u64 rows leave room for this many eighths.
    let eighths = part.saturating_mul(columns as u128 * 8) / whole;
    let full = usize::try_from(eighths / 8).unwrap_or(columns).min(columns);
    let rest = usize::try_from(eighths % 8).unwrap_or(0);
    let rest = if full == columns { 0 } else { rest };
    "█".repeat(full) + EIGHTHS[rest]
}

/// Three figures and a decimal unit: 1 kB is 1000 B.
#[must_use]
pub fn human_bytes(count: u128) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut scale = 1u128;
    for (number, unit) in UNITS.iter().enumerate() {
        let last = number + 1 == UNITS.len();
        // The first unit in which the rounded number has at most three figures before the point.
        for (decimals, step) in [(2u32, 100u128), (1, 10), (0, 1)] {
            if number == 0 || scale < step {
                continue;
            }
            let rounded = round_to(count, scale / step);
            if rounded < 1000 || (last && decimals == 0) {
                let (whole, rest) = (rounded / step, rounded % step);
                return match decimals {
                    0 => format!("{whole} {unit}"),
                    _ => format!("{whole}.{rest:0width$} {unit}", width = decimals as usize),
                };
            }
        }
        scale = scale.saturating_mul(1000);
    }
    format!("{count} B")
}

/// `count / unit`, half up.
fn round_to(count: u128, unit: u128) -> u128 {
    count / unit + u128::from(count % unit >= unit.div_ceil(2))
}
