//! `tollkeeper report`: stored rows, summed by the keys that were asked for.
//!
//! The numbers are exact wherever a program may read them: in JSON, in CSV, and in a table that
//! does not go to a terminal. Sums are of 128 bits and cannot overflow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::args::{ReportArgs, ReportOutput};
use super::{Failure, Settings, complain};
use crate::config::names;
use crate::excerpt::printable;
use crate::usage::{UsageQuery, UsageRow, UsageTable};

/// What a report is broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The calendar day.
    Day,
    /// The calendar month.
    Month,
    /// The site.
    Vhost,
    /// The user; null for what no user is credited with.
    User,
    /// The owner of the site, from the config; null for sites that have none.
    Owner,
    /// The client class; null for clients of no class.
    Class,
}

const KEYS: [Key; 6] = [
    Key::Day,
    Key::Month,
    Key::Vhost,
    Key::User,
    Key::Owner,
    Key::Class,
];

impl Key {
    /// Its name, on the command line and in every output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Vhost => "vhost",
            Self::User => "user",
            Self::Owner => "owner",
            Self::Class => "class",
        }
    }
}

/// The keys of a report, in their order; never empty, none twice, never both user and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    keys: Vec<Key>,
}

impl By {
    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The stored table that holds the parts, beside the totals of [`UsageTable::Vhosts`], which
    /// every report needs.
    #[must_use]
    pub fn parts(&self) -> Option<UsageTable> {
        if self.keys.contains(&Key::User) {
            Some(UsageTable::Users)
        } else if self.keys.contains(&Key::Class) {
            Some(UsageTable::Classes)
        } else {
            None
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.keys.iter().map(|key| key.name())
    }
}

impl Default for By {
    fn default() -> Self {
        Self {
            keys: vec![Key::Day, Key::Vhost],
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for name in text.split(',') {
            let Some(key) = KEYS.into_iter().find(|key| key.name() == name) else {
                let known: Vec<_> = KEYS.iter().map(|key| key.name()).collect();
                return Err(format!("unknown key {name:?}; known: {}", known.join(", ")));
            };
            if keys.contains(&key) {
                return Err(format!("{name:?} stands there twice"));
            }
            keys.push(key);
        }
        if keys.contains(&Key::User) && keys.contains(&Key::Class) {
            return Err(
                "the store has rows of users and rows of classes, not of both: ask for one \
                        after the other"
                    .into(),
            );
        }
        if let [part @ (Key::User | Key::Class)] = keys[..] {
            keys = vec![Key::Day, Key::Vhost, part];
        }
        Ok(Self { keys })
    }
}

/// The value of a key. Null comes first, then bytewise order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value<'r> {
    /// None.
    Null,
    /// A day.
    Day(NaiveDate),
    /// A month: its year and number.
    Month(i32, u32),
    /// A name.
    Name(&'r str),
}

impl<'r> Value<'r> {
    /// As it is printed; `None` for null.
    #[must_use]
    pub fn text(self) -> Option<Cow<'r, str>> {
        match self {
            Self::Null => None,
            Self::Day(day) => Some(day.format("%Y-%m-%d").to_string().into()),
            Self::Month(year, month) => Some(format!("{year:04}-{month:02}").into()),
            Self::Name(name) => Some(name.into()),
        }
    }
}

/// Totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Bytes received.
    pub bytes_in: u128,
    /// Bytes sent.
    pub bytes_out: u128,
    /// Requests served.
    pub requests: u128,
}

impl Sums {
    fn add(&mut self, row: &UsageRow) {
        self.bytes_in += u128::from(row.bytes_in);
        self.bytes_out += u128::from(row.bytes_out);
        self.requests += u128::from(row.requests);
    }
}

/// One row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow<'r> {
    /// A value for each key of the report, in their order.
    pub values: Vec<Value<'r>>,
    /// What was summed for them.
    pub sums: Sums,
}

/// Adds to the parts (rows of users, or of classes) what they leave over of the totals: for each
/// day and vhost one row without user and class, unless nothing is left.
///
/// The parts of a day and vhost are never more than its total, for one transaction writes both. A
/// store that was changed by hand may say otherwise; then nothing is left over, never less.
#[must_use]
pub fn remainder(totals: &[UsageRow], parts: Vec<UsageRow>) -> Vec<UsageRow> {
    let mut sums: BTreeMap<(NaiveDate, &str), Sums> = BTreeMap::new();
    for part in &parts {
        sums.entry((part.day, &part.vhost)).or_default().add(part);
    }
    let mut left = Vec::new();
    for total in totals {
        let part = sums
            .get(&(total.day, total.vhost.as_str()))
            .copied()
            .unwrap_or_default();
        let over = |total: u64, part: u128| {
            // At most `total`, so it fits.
            u64::try_from(u128::from(total).saturating_sub(part)).unwrap_or(total)
        };
        let row = UsageRow {
            user: None,
            class: None,
            bytes_in: over(total.bytes_in, part.bytes_in),
            bytes_out: over(total.bytes_out, part.bytes_out),
            requests: over(total.requests, part.requests),
            ..total.clone()
        };
        if (row.bytes_in, row.bytes_out, row.requests) != (0, 0, 0) {
            left.push(row);
        }
    }
    drop(sums);
    let mut rows = parts;
    rows.append(&mut left);
    rows
}

/// Sums rows by the keys, sorted by them in their order. `owners` has the vhosts of each owner.
#[must_use]
pub fn aggregate<'r>(
    by: &By,
    rows: &'r [UsageRow],
    owners: &'r BTreeMap<String, Vec<String>>,
) -> Vec<ReportRow<'r>> {
    let owner_of: BTreeMap<&str, &str> = owners
        .iter()
        .flat_map(|(owner, vhosts)| vhosts.iter().map(|vhost| (vhost.as_str(), owner.as_str())))
        .collect();
    let name = |name: Option<&'r str>| name.map_or(Value::Null, Value::Name);
    let mut groups: BTreeMap<[Value<'r>; KEYS.len()], Sums> = BTreeMap::new();
    for row in rows {
        let mut values = [Value::Null; KEYS.len()];
        for (value, key) in values.iter_mut().zip(&by.keys) {
            *value = match key {
                Key::Day => Value::Day(row.day),
                Key::Month => Value::Month(row.day.year(), row.day.month()),
                Key::Vhost => Value::Name(&row.vhost),
                Key::User => name(row.user.as_deref()),
                Key::Owner => name(owner_of.get(row.vhost.as_str()).copied()),
                Key::Class => name(row.class.as_deref()),
            };
        }
        groups.entry(values).or_default().add(row);
    }
    groups
        .into_iter()
        .map(|(values, sums)| ReportRow {
            values: values[..by.keys.len()].to_vec(),
            sums,
        })
        .collect()
}

/// Runs the command; `load` hands out the rows of a stored table.
///
/// # Errors
/// Days in the wrong order, or what `load` or the output ran into.
pub fn run(
    args: &ReportArgs,
    settings: &Settings,
    mut load: impl FnMut(UsageTable, &UsageQuery) -> anyhow::Result<Vec<UsageRow>>,
) -> Result<ExitCode, Failure> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(Failure::Usage(format!("--from {from} is after --to {to}")));
    }
    let query = UsageQuery {
        from: args.from,
        to: args.to,
        vhosts: args
            .vhosts
            .iter()
            .map(|name| billed_vhost(name, settings))
            .collect(),
    };
    let mut wanted = |table| -> Result<Vec<UsageRow>, Failure> {
        let mut rows = load(table, &query)?;
        rows.retain(|row| query.wants(row));
        Ok(rows)
    };
    let mut stored = wanted(UsageTable::Vhosts)?;
    if let Some(table) = args.by.parts() {
        stored = remainder(&stored, wanted(table)?);
    }
    let rows = aggregate(&args.by, &stored, &settings.config.owners);
    if rows.is_empty() && args.output == ReportOutput::Table {
        complain(match query == UsageQuery::default() {
            true => {
                "nothing has been counted yet: start with `tollkeeper import FILE`, or `tollkeeper \
                 run`"
            }
            false => "nothing was counted there: try without --from, --to and --vhost",
        });
    }
    let stdout = io::stdout();
    let layout = Layout::of(&stdout);
    let mut out = io::BufWriter::new(stdout.lock());
    match args.output {
        ReportOutput::Json => write_json(&mut out, &args.by, &rows),
        ReportOutput::Csv => write_csv(&mut out, &args.by, &rows),
        ReportOutput::Table => write_table(&mut out, &args.by, &rows, layout),
    }
    .and_then(|()| out.flush())
    .map_err(Failure::output)?;
    Ok(ExitCode::SUCCESS)
}

/// The name that has the rows: an alias stands for its site.
fn billed_vhost(name: &str, settings: &Settings) -> String {
    let rules = &settings.config.vhosts;
    let name = match rules.fold_www {
        true => names::without_www(name),
        false => name,
    };
    names::alias_of(&rules.aliases, name)
        .unwrap_or(name)
        .to_owned()
}

/// An array, one row a line.
///
/// # Errors
/// Those of `out`.
pub fn write_json(out: &mut impl Write, by: &By, rows: &[ReportRow<'_>]) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "[]");
    }
    for (number, row) in rows.iter().enumerate() {
        out.write_all(if number == 0 { b"[\n{" } else { b",\n{" })?;
        for (name, value) in by.names().zip(&row.values) {
            write!(out, "\"{name}\":")?;
            serde_json::to_writer(&mut *out, &value.text())?;
            out.write_all(b",")?;
        }
        let Sums {
            bytes_in,
            bytes_out,
            requests,
        } = row.sums;
        write!(
            out,
            "\"in\":{bytes_in},\"out\":{bytes_out},\"requests\":{requests}}}"
        )?;
    }
    writeln!(out, "\n]")
}

/// With a header; null is an empty field.
///
/// # Errors
/// Those of `out`.
pub fn write_csv(out: &mut impl Write, by: &By, rows: &[ReportRow<'_>]) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(by.names().chain(COUNTERS))?;
    for row in rows {
        for value in &row.values {
            csv.write_field(value.text().unwrap_or_default().as_bytes())?;
        }
        for count in [row.sums.bytes_in, row.sums.bytes_out, row.sums.requests] {
            csv.write_field(count.to_string())?;
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}

/// The columns behind the keys.
const COUNTERS: [&str; 3] = ["in", "out", "requests"];

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

/// Aligned columns with a header and a line of totals.
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
    let mut cells = vec![Cow::Borrowed(""); names.len()];
    cells[0] = "total".into();
    let [bytes_in, bytes_out, requests] = counters(total);
    line(&cells, [&bytes_in, &bytes_out, &requests], "")
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
fn fit(text: &str, columns: usize) -> Cow<'_, str> {
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
fn bar(part: u128, whole: u128, columns: usize) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap_or_default()
    }

    fn row(on: u32, vhost: &str, user: Option<&str>, numbers: [u64; 3]) -> UsageRow {
        UsageRow {
            day: day(on),
            vhost: vhost.into(),
            user: user.map(str::to_owned),
            class: None,
            bytes_in: numbers[0],
            bytes_out: numbers[1],
            requests: numbers[2],
        }
    }

    fn by(text: &str) -> By {
        text.parse().expect(text)
    }

    /// The report as JSON.
    fn json(keys: &str, rows: &[UsageRow]) -> String {
        let by = by(keys);
        let owners = BTreeMap::from([("bob".to_owned(), vec!["b.example".to_owned()])]);
        let mut out = Vec::new();
        write_json(&mut out, &by, &aggregate(&by, rows, &owners)).expect("memory");
        String::from_utf8(out).expect("text")
    }

    fn table(keys: &str, rows: &[UsageRow], layout: Layout) -> String {
        let by = by(keys);
        let owners = BTreeMap::new();
        let mut out = Vec::new();
        write_table(&mut out, &by, &aggregate(&by, rows, &owners), layout).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn keys_are_understood() {
        for (text, expected) in [
            ("day,vhost", Ok("day,vhost")),
            ("user", Ok("day,vhost,user")),
            ("class", Ok("day,vhost,class")),
            ("vhost,user", Ok("vhost,user")),
            ("user,vhost", Ok("user,vhost")),
            ("owner", Ok("owner")),
            (
                "month,owner,vhost,user,day",
                Ok("month,owner,vhost,user,day"),
            ),
            ("", Err("unknown key")),
            ("day,", Err("unknown key")),
            ("day, vhost", Err("unknown key")),
            ("Day", Err("unknown key")),
            ("day,day", Err("twice")),
            ("user,class", Err("not of both")),
            ("day,vhost,class,user", Err("not of both")),
        ] {
            match (text.parse::<By>(), expected) {
                (Ok(by), Ok(expected)) => assert_eq!(by.to_string(), expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
        assert_eq!(By::default().to_string(), "day,vhost");
        assert_eq!(by("day").parts(), None);
        assert_eq!(by("month,user").parts(), Some(UsageTable::Users));
        assert_eq!(by("class").parts(), Some(UsageTable::Classes));
    }

    #[test]
    fn what_no_user_has_is_left_over() {
        let totals = [
            row(1, "a.example", None, [10, 100, 5]),
            row(1, "b.example", None, [1, 2, 3]),
            row(2, "a.example", None, [7, 7, 7]),
            row(3, "a.example", None, [1, 1, 1]),
        ];
        let parts = vec![
            row(1, "a.example", Some("alice"), [4, 40, 2]),
            row(1, "a.example", Some("bob"), [1, 60, 1]),
            row(2, "a.example", Some("bob"), [7, 7, 7]),
            row(3, "a.example", Some("bob"), [2, 0, 9]),
        ];
        let mut expected = parts.clone();
        expected.push(row(1, "a.example", None, [5, 0, 2]));
        expected.push(row(1, "b.example", None, [1, 2, 3]));
        expected.push(row(3, "a.example", None, [0, 1, 0]));
        assert_eq!(remainder(&totals, parts), expected);
        assert_eq!(remainder(&[], vec![]), []);
    }

    #[test]
    fn json_has_exactly_the_keys_in_their_order() {
        let rows = [
            row(21, "b.example", Some("alice"), [1, 2, 3]),
            row(21, "a.example", Some("alice"), [u64::MAX, 2, 1]),
            row(20, "a.example", Some("alice"), [u64::MAX, 2, 1]),
            row(21, "a.example", None, [4, 5, 6]),
        ];
        for (keys, expected) in [
            (
                "user",
                "[\n\
                 {\"day\":\"2026-11-20\",\"vhost\":\"a.example\",\"user\":\"alice\",\"in\":18446744073709551615,\"out\":2,\"requests\":1},\n\
                 {\"day\":\"2026-11-21\",\"vhost\":\"a.example\",\"user\":null,\"in\":4,\"out\":5,\"requests\":6},\n\
                 {\"day\":\"2026-11-21\",\"vhost\":\"a.example\",\"user\":\"alice\",\"in\":18446744073709551615,\"out\":2,\"requests\":1},\n\
                 {\"day\":\"2026-11-21\",\"vhost\":\"b.example\",\"user\":\"alice\",\"in\":1,\"out\":2,\"requests\":3}\n]\n",
            ),
            (
                "owner,month",
                "[\n\
                 {\"owner\":null,\"month\":\"2026-11\",\"in\":36893488147419103234,\"out\":9,\"requests\":8},\n\
                 {\"owner\":\"bob\",\"month\":\"2026-11\",\"in\":1,\"out\":2,\"requests\":3}\n]\n",
            ),
            (
                "vhost",
                "[\n\
                 {\"vhost\":\"a.example\",\"in\":36893488147419103234,\"out\":9,\"requests\":8},\n\
                 {\"vhost\":\"b.example\",\"in\":1,\"out\":2,\"requests\":3}\n]\n",
            ),
        ] {
            assert_eq!(json(keys, &rows), expected, "{keys}");
        }
        assert_eq!(json("day,vhost", &[]), "[]\n");
    }

    #[test]
    fn json_and_csv_keep_every_name_exact() {
        let rows = [
            row(1, "a.example", Some("x,\"y\"\\x0a"), [1, 2, 3]),
            row(1, "a.example", None, [4, 5, 6]),
        ];
        assert!(json("vhost,user", &rows).contains(r#""user":"x,\"y\"\\x0a","#));

        let by = by("vhost,user");
        let owners = BTreeMap::new();
        let mut out = Vec::new();
        write_csv(&mut out, &by, &aggregate(&by, &rows, &owners)).expect("memory");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "vhost,user,in,out,requests\na.example,,4,5,6\na.example,\"x,\"\"y\"\"\\x0a\",1,2,3\n"
        );
        let mut out = Vec::new();
        write_csv(&mut out, &by, &[]).expect("memory");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "vhost,user,in,out,requests\n"
        );
    }

    #[test]
    fn a_plain_table_is_exact_and_whole() {
        let rows = [
            row(1, "a.example", None, [1_234_567_890, 5, 6]),
            row(2, "long-name.b.example", None, [1, 22, 333]),
        ];
        assert_eq!(
            table("day,vhost", &rows, Layout::Plain),
            "day         vhost                        in  out  requests\n\
             2026-11-01  a.example            1234567890    5         6\n\
             2026-11-02  long-name.b.example           1   22       333\n\
             total                            1234567891   27       339\n"
        );
        assert_eq!(
            table("vhost", &[], Layout::Plain),
            "vhost  in  out  requests\ntotal   0    0         0\n"
        );
    }

    #[test]
    fn a_table_on_a_terminal_has_units_and_bars() {
        let rows = [
            row(1, "a.example", None, [1_000_000, 1_234_567_890, 6]),
            row(2, "b.example", None, [1, 617_783_944, 333]),
        ];
        assert_eq!(
            table("day,vhost", &rows, Layout::Terminal { columns: 64 }),
            "day         vhost           in      out  requests\n\
             2026-11-01  a.example  1.00 MB  1.23 GB         6  █████████████\n\
             2026-11-02  b.example      1 B   618 MB       333  ██████▌\n\
             total                  1.00 MB  1.85 GB       339\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_names() {
        let rows = [row(
            1,
            "a-rather-long-name.of-a-site.example",
            None,
            [1, 1000, 6],
        )];
        let text = table("day,vhost", &rows, Layout::Terminal { columns: 48 });
        assert!(text.lines().all(|line| line.width() <= 48), "{text}");
        assert!(text.contains('…'), "{text}");
        let text = table("day,vhost", &rows, Layout::Terminal { columns: 10 });
        assert!(text.contains("2026-11-01  a-rat…  1 B"), "{text}");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let rows = [row(
            1,
            "a\u{1b}[2J\n.example",
            Some("\u{9b}x\u{202e}y"),
            [1, 1, 1],
        )];
        for layout in [Layout::Plain, Layout::Terminal { columns: 100 }] {
            let text = table("vhost,user", &rows, layout);
            assert!(
                text.contains("a\\x1b[2J\\x0a.example  \\xc2\\x9bx\\xe2\\x80\\xaey"),
                "{text}"
            );
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        }
    }

    #[test]
    fn units_have_three_figures() {
        for (count, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1234, "1.23 kB"),
            (1235, "1.24 kB"),
            (9994, "9.99 kB"),
            (9995, "10.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_230_000_000, "1.23 GB"),
            (u128::from(u64::MAX), "18.4 EB"),
            (1_234_567 * 10u128.pow(24), "1234567 YB"),
        ] {
            assert_eq!(human_bytes(count), expected, "{count}");
        }
        assert!(human_bytes(u128::MAX).ends_with(" YB"));
    }

    #[test]
    fn bars_grow_by_eighths() {
        for (part, whole, columns, expected) in [
            (8, 8, 2, "██"),
            (4, 8, 2, "█"),
            (1, 16, 2, "▏"),
            (15, 16, 2, "█▉"),
            (0, 8, 2, ""),
            (0, 0, 2, ""),
            (1, 2, 0, ""),
        ] {
            assert_eq!(bar(part, whole, columns), expected);
        }
    }
}
