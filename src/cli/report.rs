//! `tollkeeper report`: stored rows, summed by the keys that were asked for.
//!
//! The numbers are exact wherever a program may read them: in JSON, in CSV, and in a table that
//! does not go to a terminal. Sums are of 128 bits and cannot overflow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate};

use super::args::{ReportArgs, ReportOutput};
use super::{Failure, Settings, complain};
use crate::config::{Layer, names};
use crate::usage::{UsageQuery, UsageRow, UsageTable};

mod table;

/// Why layers do not go together with users or classes.
const NO_PARTS_OF_LAYERS: &str = "the rows of a layer have no users and no classes, only the edge's \
                                  have: ask for one after the other";

/// The columns behind the keys.
const COUNTERS: [&str; 3] = ["in", "out", "requests"];

pub(in crate::cli) use table::fit;
pub use table::{Layout, human_bytes, write_table};

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
    /// The owner of the site, from the config or the table `owner`; null for sites that have none.
    Owner,
    /// The client class; null for clients of no class.
    Class,
    /// The layer of servers: the edge, or one behind it.
    Layer,
}

const KEYS: [Key; 7] = [
    Key::Day,
    Key::Month,
    Key::Vhost,
    Key::User,
    Key::Owner,
    Key::Class,
    Key::Layer,
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
            Self::Layer => "layer",
        }
    }
}

/// The keys of a report, in their order; never empty, none twice, never two of user, class and layer.
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

    /// Whether it matters who owns a site.
    #[must_use]
    pub fn has_owners(&self) -> bool {
        self.keys.contains(&Key::Owner)
    }

    /// Whether layers stand side by side.
    #[must_use]
    pub fn has_layers(&self) -> bool {
        self.keys.contains(&Key::Layer)
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
        if keys.contains(&Key::Layer)
            && keys.iter().any(|key| matches!(key, Key::User | Key::Class))
        {
            return Err(NO_PARTS_OF_LAYERS.into());
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
    let edge = Layer::EDGE.name();
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
                Key::Layer => Value::Name(row.layer.as_deref().unwrap_or(edge)),
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

/// Runs the command; `load` hands out the rows of a stored table, `owners` has the vhosts of each owner.
///
/// # Errors
/// Days in the wrong order, users or classes of a layer, or what `load` or the output ran into.
pub fn run(
    args: &ReportArgs,
    settings: &Settings,
    owners: &BTreeMap<String, Vec<String>>,
    mut load: impl FnMut(UsageTable, &UsageQuery) -> anyhow::Result<Vec<UsageRow>>,
) -> Result<ExitCode, Failure> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(Failure::Usage(format!("--from {from} is after --to {to}")));
    }
    let inner = args.layer.as_ref().and_then(Layer::inner);
    if inner.is_some() && args.by.parts().is_some() {
        return Err(Failure::Usage(NO_PARTS_OF_LAYERS.to_owned()));
    }
    let query = UsageQuery {
        from: args.from,
        to: args.to,
        vhosts: args
            .vhosts
            .iter()
            .map(|name| billed_vhost(name, settings))
            .collect(),
        layer: inner.map(str::to_owned),
    };
    let mut wanted = |table| -> Result<Vec<UsageRow>, Failure> {
        let mut rows = load(table, &query)?;
        rows.retain(|row| query.wants(row));
        Ok(rows)
    };
    let mut stored = match inner {
        Some(_) => wanted(UsageTable::Layers)?,
        None => wanted(UsageTable::Vhosts)?,
    };
    if let Some(table) = args.by.parts() {
        stored = remainder(&stored, wanted(table)?);
    } else if args.by.has_layers() && args.layer.is_none() {
        stored.append(&mut wanted(UsageTable::Layers)?);
    }
    let rows = aggregate(&args.by, &stored, owners);
    if rows.is_empty() && args.output == ReportOutput::Table {
        complain(match query == UsageQuery::default() {
            true => {
                "nothing has been counted yet: start with `tollkeeper import FILE`, or `tollkeeper \
                 run`"
            }
            false => "nothing was counted there: try without --from, --to, --vhost and --layer",
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
    names::billed(name, &settings.config.vhosts).to_owned()
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
    write_records(out, by, rows).map_err(|error| match error.into_kind() {
        // As it came: whoever has closed the pipe is known by it.
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })
}

fn write_records(out: &mut impl Write, by: &By, rows: &[ReportRow<'_>]) -> Result<(), csv::Error> {
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
    csv.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests;
