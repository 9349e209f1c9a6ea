//! A row of the table `quota` into a quota: the words of the config, as text.

use super::super::table::nearest;
use super::follows::{Follows, RungWords};
use super::value::SQL_PREFIX;
use super::words::{Fault, Known, Understanding, Words};
use crate::quota::rule::Quota;
use crate::usage::said::QuotaRow;

/// The longest message about a row, in bytes: a column may hold anything.
const MAX_FAULT_BYTES: usize = 600;

/// The quota that a row means, called `sql:` and its key.
///
/// # Errors
/// All that is wrong with it: table, row, column, what, and the remedy.
pub fn quota_of_row(row: &QuotaRow, known: &Known<'_>) -> Result<Quota, Vec<String>> {
    let place = format!("row {}", row.id);
    let told_of = |fault: &Fault| {
        let column = column(fault.key);
        told("quota", &place, column, &fault.message, &fault.help)
    };
    let exceeded = word(&row.exceeded).map(rungs).transpose();
    let exceeded = exceeded
        .map_err(|(message, help)| vec![told("quota", &place, "exceeded", &message, &help)])?;
    let words = Words {
        vhost: word(&row.vhost),
        user: word(&row.user),
        vhosts: word(&row.vhosts).map(list),
        owner: word(&row.owner),
        class: word(&row.class),
        limit: word(&row.amount),
        measure: word(&row.measure),
        period: word(&row.period),
        rolling: word(&row.rolling),
        billing_day: word(&row.billing_day),
        anchor: word(&row.anchor),
        slice: word(&row.slice),
        reopen: word(&row.reopen),
        report_only: row.report_only,
        follows: Follows {
            warn: word(&row.warn).map(list).unwrap_or_default(),
            exceeded,
        },
    };
    let mut quota = Understanding::quota(&words, known)
        .map_err(|faults| faults.iter().map(told_of).collect::<Vec<_>>())?;
    quota.name = format!("{SQL_PREFIX}{}", row.id);
    Ok(quota)
}

/// `table quota, row 7, column amount: what is wrong; what to do`
pub(super) fn told(table: &str, place: &str, column: &str, message: &str, help: &str) -> String {
    let mut told = format!("table {table}, {place}");
    for (before, text) in [(", column ", column), (": ", message), ("; ", help)] {
        if !text.is_empty() {
            told.push_str(before);
            told.push_str(text);
        }
    }
    if told.len() > MAX_FAULT_BYTES {
        told.truncate(told.floor_char_boundary(MAX_FAULT_BYTES));
        told.push('…');
    }
    told
}

/// What a key of the config is called here.
fn column(key: &'static str) -> &'static str {
    match key {
        "limit" => "amount",
        "at" | "deny" | "redirect" | "speed" => "exceeded",
        key => key,
    }
}

/// What a column says; empty is as good as nothing.
fn word(column: &Option<String>) -> Option<&str> {
    let word = column.as_deref()?.trim();
    (!word.is_empty()).then_some(word)
}

/// Words between commas and blanks.
fn list(text: &str) -> Vec<&str> {
    let words = text.split(|between: char| between == ',' || between.is_whitespace());
    words.filter(|word| !word.is_empty()).collect()
}

/// `100 speed 1Mbps, 150 deny 429`, or `none`.
fn rungs(text: &str) -> Result<Vec<RungWords<'_>>, (String, String)> {
    if text == "none" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|rung| rung_words(rung.trim()))
        .collect()
}

fn rung_words(text: &str) -> Result<RungWords<'_>, (String, String)> {
    const KINDS: [&str; 3] = ["deny", "redirect", "speed"];
    let help = "write a percentage and what follows, such as 100 deny 429, 100 speed 1Mbps or \
                100 redirect https://…, several with commas between";
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let is_percent = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    let at = words.first().copied().filter(is_percent);
    if at.is_some() {
        words.remove(0);
    }
    let [what, value] = words.as_slice() else {
        return Err((format!("{text:?} is not what can follow"), help.to_owned()));
    };
    match KINDS.into_iter().find(|kind| kind == what) {
        Some(what) => Ok(RungWords { at, what, value }),
        None => {
            let help = match nearest(what, KINDS.into_iter()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => help.to_owned(),
            };
            Err((format!("{what:?} is not what can follow"), help))
        }
    }
}
