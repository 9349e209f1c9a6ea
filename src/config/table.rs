//! TOML tables with their positions, read key by key.
//!
//! Every fault is reported and reading goes on, so that one run names all of them; a derived
//! deserializer stops at the first. Keys that nobody asked for are faults: [`Table::finish`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Findings;

/// A string of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t> {
    /// What it says, escapes undone.
    pub(super) value: &'t str,
    start: usize,
    end: usize,
}

impl Text<'_> {
    /// Where it stands, with its quotes.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Table<'t> {
    /// As the operator would write it: `[vhosts]`, or empty for the top of the file.
    title: String,
    span: Range<usize>,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// The whole file.
    pub(super) fn root(table: &'t Spanned<DeTable<'t>>) -> Self {
        Self {
            title: String::new(),
            span: table.span(),
            table: table.get_ref(),
            asked: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Where the table stands: its header, or all of an inline one.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// A string.
    pub(super) fn string(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Text<'t>> {
        let value = self.take(key)?;
        let text = text(value);
        if text.is_none() {
            wrong_type(key, "a string", value, findings);
        }
        text
    }

    /// A list of strings, or one alone. `None` where the key is absent.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Vec<Text<'t>>> {
        let value = self.take(key)?;
        if let Some(text) = text(value) {
            return Some(vec![text]);
        }
        let DeValue::Array(array) = value.get_ref() else {
            wrong_type(key, "a list of strings", value, findings);
            return Some(Vec::new());
        };
        let mut texts = Vec::with_capacity(array.len());
        for value in array {
            match text(value) {
                Some(text) => texts.push(text),
                None => wrong_type(key, "a string", value, findings),
            }
        }
        Some(texts)
    }

    /// A list of strings and of whole numbers, or one alone; the numbers as they are written.
    /// `None` where the key is absent.
    pub(super) fn words(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Vec<Text<'t>>> {
        let value = self.take(key)?;
        let values = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let mut words = Vec::with_capacity(values.len());
        for value in values {
            match word(value) {
                Some(word) => words.push(word),
                None => wrong_type(key, "a name or a number", value, findings),
            }
        }
        Some(words)
    }

    /// A string, or a whole number as it is written.
    pub(super) fn word(&mut self, key: &'static str, findings: &mut Findings) -> Option<Text<'t>> {
        let value = self.take(key)?;
        let word = word(value);
        if word.is_none() {
            wrong_type(key, "a string or a whole number", value, findings);
        }
        word
    }

    /// A list of inline tables, or one alone. `None` where the key is absent.
    pub(super) fn inline_tables(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Vec<Self>> {
        let value = self.take(key)?;
        let values = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let tables = values
            .into_iter()
            .filter_map(|value| as_table(key.to_owned(), key, value, findings));
        Some(tables.collect())
    }

    /// As [`Table::strings`], and at least one.
    pub(super) fn some_strings(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Vec<Text<'t>>> {
        let texts = self.strings(key, findings);
        if let Some(value) = self.table.get(key)
            && value
                .get_ref()
                .as_array()
                .is_some_and(|array| array.is_empty())
        {
            let help = "put something in, or take the line out";
            findings.report(value.span(), format!("{key}: the list is empty"), help);
        }
        texts
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, findings: &mut Findings) -> Option<bool> {
        let value = self.take(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            wrong_type(key, "true or false", value, findings);
        }
        boolean
    }

    /// A whole number, zero included, that fits the store.
    pub(super) fn count(&mut self, key: &'static str, findings: &mut Findings) -> Option<u64> {
        let value = self.take(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            wrong_type(key, "a whole number", value, findings);
            return None;
        };
        let count = i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|count| u64::try_from(count).ok());
        if count.is_none() {
            let message = format!("{key}: must be between 0 and {}", i64::MAX);
            findings.report(value.span(), message, "");
        }
        count
    }

    /// A whole number within these bounds.
    pub(super) fn count_within(
        &mut self,
        key: &'static str,
        bounds: &Range<u64>,
        findings: &mut Findings,
    ) -> Option<u64> {
        let count = self.count(key, findings)?;
        if !bounds.contains(&count) {
            let (least, most) = (bounds.start, bounds.end - 1);
            let message = format!("{key}: must be between {least} and {most}");
            let place = self.table.get(key).map_or(self.span(), Spanned::span);
            findings.report(place, message, "");
            return None;
        }
        Some(count)
    }

    /// Whether the key is there at all, of whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table in this one.
    pub(super) fn table(&mut self, key: &'static str, findings: &mut Findings) -> Option<Self> {
        let value = self.take(key)?;
        let title = self.title_of(key);
        as_table(title, key, value, findings)
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Self> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let title = format!("[{}]", self.title_of(key));
        let DeValue::Array(array) = value.get_ref() else {
            let message = format!("{key}: expected {title}, found {}", kind(value.get_ref()));
            findings.report(
                value.span(),
                message,
                format!("write the header as {title}"),
            );
            return Vec::new();
        };
        array
            .iter()
            .filter_map(|value| as_table(title.clone(), key, value, findings))
            .collect()
    }

    /// All keys with the tables behind them, in the order of the file, for tables whose keys the
    /// operator chooses.
    pub(super) fn named_tables(self, findings: &mut Findings) -> Vec<(Text<'t>, Self)> {
        let mut tables = Vec::with_capacity(self.table.len());
        for (key, value) in self.table {
            let title = self.title_of(key.get_ref());
            if let Some(table) = as_table(title, key.get_ref(), value, findings) {
                tables.push((key_text(key), table));
            }
        }
        tables.sort_by_key(|(key, _)| key.start);
        tables
    }

    /// All keys with the strings behind them, in the order of the file, for tables whose keys the
    /// operator chooses.
    pub(super) fn named_strings(self, findings: &mut Findings) -> Vec<(Text<'t>, Text<'t>)> {
        let mut strings = Vec::with_capacity(self.table.len());
        for (key, value) in self.table {
            match text(value) {
                Some(text) => strings.push((key_text(key), text)),
                None => wrong_type(key.get_ref(), "a string", value, findings),
            }
        }
        strings.sort_by_key(|(key, _)| key.start);
        strings
    }

    /// Refuses a key that later versions know.
    pub(super) fn refuse(
        &mut self,
        key: &'static str,
        message: &str,
        help: &str,
        findings: &mut Findings,
    ) {
        self.refused.push(key);
        let Some((key, value)) = self.table.get_key_value(key) else {
            return;
        };
        let first = match value.get_ref() {
            DeValue::Array(array) => array.iter().next().map(Spanned::span),
            // `[gate.nginx]` or `[[gate.nginx]]`: the first header below.
            DeValue::Table(table) => table
                .values()
                .map(|value| match value.get_ref() {
                    DeValue::Array(array) => {
                        array.iter().next().map_or(value.span(), Spanned::span)
                    }
                    _ => value.span(),
                })
                .min_by_key(|span| span.start),
            _ => None,
        };
        // A header's keys come before its table; show the whole header then.
        let span = match first {
            Some(first) if first.start <= key.span().start => first,
            _ => key.span(),
        };
        findings.report(span, message, help);
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) || self.refused.contains(&name) {
                continue;
            }
            let place = match self.title.is_empty() {
                true => String::new(),
                false => format!(" in {}", self.title),
            };
            let help = match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("did you mean {known:?}?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            findings.report(key.span(), format!("unknown key {name:?}{place}"), help);
        }
    }

    fn title_of(&self, key: &str) -> String {
        match self.title.as_str() {
            "" => format!("[{key}]"),
            title => format!("{}.{key}]", title.trim_end_matches(']')),
        }
    }
}

/// The one of `known` that was most likely meant.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let lower = name.to_lowercase();
    known
        .map(|known| {
            (
                strsim::damerau_levenshtein(&lower, &known.to_lowercase()),
                known,
            )
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= 1 + known.chars().count() / 4)
        .map(|(_, known)| known)
}

fn as_table<'t>(
    title: String,
    key: &str,
    value: &'t Spanned<DeValue<'t>>,
    findings: &mut Findings,
) -> Option<Table<'t>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(Table {
            title,
            span: value.span(),
            table,
            asked: Vec::new(),
            refused: Vec::new(),
        }),
        _ => {
            wrong_type(key, "a table", value, findings);
            None
        }
    }
}

fn text<'t>(value: &'t Spanned<DeValue<'t>>) -> Option<Text<'t>> {
    let Range { start, end } = value.span();
    value
        .get_ref()
        .as_str()
        .map(|value| Text { value, start, end })
}

fn word<'t>(value: &'t Spanned<DeValue<'t>>) -> Option<Text<'t>> {
    let decimal = |value: &'t DeValue<'t>| {
        let integer = value.as_integer()?;
        (integer.radix() == 10).then(|| integer.as_str())
    };
    let Range { start, end } = value.span();
    text(value).or_else(|| decimal(value.get_ref()).map(|value| Text { value, start, end }))
}

fn key_text<'t>(key: &'t Spanned<std::borrow::Cow<'t, str>>) -> Text<'t> {
    let Range { start, end } = key.span();
    Text {
        value: key.get_ref(),
        start,
        end,
    }
}

fn wrong_type(key: &str, expected: &str, value: &Spanned<DeValue<'_>>, findings: &mut Findings) {
    let found = kind(value.get_ref());
    findings.report(
        value.span(),
        format!("{key}: expected {expected}, found {found}"),
        "",
    );
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
