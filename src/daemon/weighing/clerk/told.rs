//! A change of a verdict in words: for the journal, and for the hook.

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde_json::json;

use crate::enforce::json::consequence;
use crate::excerpt::printable;
use crate::quota::rule::Measure;
use crate::quota::verdict::{Account, Change, Verdict};

/// Into the journal.
pub(super) fn log(change: &Change) {
    let standing = &change.standing;
    let account = account(&change.account);
    let what = match change.to {
        Verdict::Within => "is within its quota again".to_owned(),
        Verdict::Warned(at) => format!("has used {at} % of its quota"),
        Verdict::Exceeded(at) => format!("has exceeded its quota, at {at} %"),
    };
    tracing::info!(
        quota = %printable(&change.quota),
        used = standing.used,
        limit = standing.limit,
        "{account} {what}"
    );
}

/// For the hook: one object, in one line. Its keys are a contract: docs/quotas.md.
pub(super) fn json(change: &Change, measure: Option<Measure>, node: &str, zone: Tz) -> String {
    let standing = &change.standing;
    let time = |seconds: i64| {
        let at = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
        at.with_timezone(&zone)
            .to_rfc3339_opts(SecondsFormat::Secs, false)
    };
    let mut told = json!({
        "quota": change.quota,
        "account": account(&change.account),
        "measure": measure.map(Measure::word),
        "was": change.from.word(),
        "verdict": change.to.word(),
        "threshold": change.to.threshold(),
        "consequence": change.consequence.as_ref().map(consequence),
        "used": standing.used,
        "limit": standing.limit,
        "percent": standing.percent(),
        "granted": standing.granted,
        "begins": standing.begins.map(time),
        "ends": standing.ends.map(time),
        "exempt": standing.exempt,
        "at": time(change.at),
        "node": node,
    })
    .to_string();
    told.push('\n');
    told
}

/// An account in words.
fn account(account: &Account) -> String {
    printable(&account.described()).into_owned()
}
