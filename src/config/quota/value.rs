//! The words of a quota into values, whether they stand in the config or in a column of SQL.
//!
//! Each gives what is wrong with its word, and the remedy.

use std::ops::RangeInclusive;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use tollkeeper_parsers::text;

use super::super::names::{self, RESERVED};
use super::super::table::nearest;
use super::super::{VhostRules, parse_label};
use crate::account::name;
use crate::quota::rule::{Measure, Period};

/// What is wrong, and the remedy.
pub(super) type Refusal = (String, String);

/// The longest name of a quota, in bytes: a part of keys of the store.
pub const MAX_NAME_BYTES: usize = 190;
/// What the names of quotas of the store begin with.
pub const SQL_PREFIX: &str = "sql:";
/// The longest period of minutes: ten years.
pub(super) const MAX_PERIOD_MINUTES: u32 = 3_660 * DAY;
/// The longest rolling window.
pub(super) const MAX_ROLLING_MINUTES: u32 = 366 * DAY;
/// Percentages of warnings and consequences.
pub(super) const PERCENT: RangeInclusive<u32> = 1..=10_000;
/// Percentages below which a window opens again.
pub(super) const REOPEN_PERCENT: RangeInclusive<u32> = 1..=100;

const DAY: u32 = 24 * 60;
const MAX_URL_BYTES: usize = 2_000;
const ADVISED_STATUSES: &str = "429 (too many requests) or 503 (service unavailable)";

/// What an operator calls a quota.
pub(super) fn parse_name(name: &str) -> Result<String, Refusal> {
    if name.starts_with(SQL_PREFIX) {
        let message = format!("{name:?} could be a quota of the database");
        return Err((message, format!("only those begin with {SQL_PREFIX:?}")));
    }
    if name.is_empty() || name.len() > MAX_NAME_BYTES || text::name(name.as_bytes()) != name {
        let help = format!(
            "one to {MAX_NAME_BYTES} bytes, no control characters or backslashes, no blanks at its ends"
        );
        return Err((format!("{name:?} cannot be the name of a quota"), help));
    }
    Ok(name.to_owned())
}

/// A site, `*.suffix` or `*`; folded.
pub(super) fn parse_vhost(name: &str, rules: &VhostRules) -> Result<String, Refusal> {
    if name == "*" {
        return Ok(name.to_owned());
    }
    let vhost = names::fold_pattern(name).map_err(|message| {
        let help = match RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            true => "that row stands for many names, which have no quota together".to_owned(),
            false => "write a site, \"*.suffix\" for each site below one, or \"*\"".to_owned(),
        };
        (message, help)
    })?;
    names::with_rows(&vhost, rules)
}

/// A site of a list; folded.
pub(super) fn parse_site(name: &str, rules: &VhostRules) -> Result<String, Refusal> {
    if name.contains('*') {
        let help = "name each site; without the list the quota is for all".to_owned();
        return Err((format!("{name:?}: this list has sites, not patterns"), help));
    }
    let vhost = names::fold(name).map_err(|message| (message, String::new()))?;
    names::with_rows(&vhost, rules)
}

/// A user in its stored form, or `*`.
pub(super) fn parse_user(user: &str) -> Result<String, Refusal> {
    if name::is_special(user) {
        let message = format!("{user:?} stands for many users");
        return Err((message, "they have no quota together".into()));
    }
    if !name::is_stored_user(user) {
        let help = "write it as `tollkeeper report --by user` prints it, a backslash as \\x5c";
        return Err((format!("{user:?} is no user"), help.into()));
    }
    Ok(user.to_owned())
}

/// One of the owners or classes, which `what` says.
pub(super) fn parse_known<'k>(
    name: &str,
    what: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Result<String, Refusal> {
    parse_label(name)?;
    if known.clone().any(|other| other == name) {
        return Ok(name.to_owned());
    }
    let help = match nearest(name, known) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!(
            "it needs a section [{what}.…]; rows of the table {what} count for those of the table \
             quota alone"
        ),
    };
    Err((format!("there is no {what} {name:?}"), help))
}

pub(super) fn parse_measure(text: &str) -> Result<Measure, Refusal> {
    match text {
        "out" => Ok(Measure::Out),
        "in" => Ok(Measure::In),
        "both" => Ok(Measure::Both),
        "requests" => Ok(Measure::Requests),
        _ => {
            let known = ["out", "in", "both", "requests"];
            let help = match nearest(text, known.into_iter()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => {
                    "write \"out\" (bytes sent), \"in\" (received), \"both\" or \"requests\"".into()
                }
            };
            Err((format!("unknown measure {text:?}"), help))
        }
    }
}

/// A number of requests.
pub(super) fn parse_requests(text: &str) -> Result<u64, Refusal> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| i64::try_from(*number).is_ok());
    match number.filter(|_| is_digits) {
        Some(number) => Ok(number),
        None => {
            let message = format!("{text:?} is no number of requests");
            Err((
                message,
                format!("write a whole number without a unit, at most {}", i64::MAX),
            ))
        }
    }
}

/// `4W`, into minutes.
pub(super) fn parse_minutes(text: &str, most: u32) -> Result<u32, Refusal> {
    let help = "write a whole number and a unit: 90M (minutes), 6H (hours), 30D (days), 4W (weeks)";
    let refused = |message: String| Err((message, help.to_owned()));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return refused(format!("{text:?} is no length of time"));
    }
    let minutes: u64 = match unit.trim() {
        "M" => 1,
        "H" => 60,
        "D" => 24 * 60,
        "W" => 7 * 24 * 60,
        "" => return refused(format!("{text:?}: the unit is missing")),
        "S" => return refused(format!("{text:?}: nothing is shorter than a minute here")),
        unit => match unit.to_ascii_uppercase().as_str() {
            upper @ ("M" | "H" | "D" | "W") => {
                let help = format!("did you mean \"{number}{upper}\"?");
                return Err((format!("{text:?}: unknown unit {unit:?}"), help));
            }
            _ => return refused(format!("{text:?}: unknown unit {unit:?}")),
        },
    };
    let total = number.parse::<u64>().ok();
    let total = total.and_then(|number| number.checked_mul(minutes));
    match total.and_then(|total| u32::try_from(total).ok()) {
        Some(0) => refused(format!("{text:?} is no time at all")),
        Some(total) if total <= most => Ok(total),
        _ => {
            let message = format!("{text:?} is too long");
            Err((message, format!("{} days at most", most / DAY)))
        }
    }
}

/// `day`, `week`, `month`, `year`, or so many minutes from the default anchor.
pub(super) fn parse_period(text: &str) -> Result<Period, Refusal> {
    match text {
        "day" => Ok(Period::Day),
        "week" => Ok(Period::Week),
        "month" => Ok(Period::Month { day: 1 }),
        "year" => Ok(Period::Year { month: 1, day: 1 }),
        text if text.starts_with(|first: char| first.is_ascii_digit()) => Ok(Period::Minutes {
            minutes: parse_minutes(text, MAX_PERIOD_MINUTES)?,
            anchor: default_anchor(),
        }),
        _ => {
            let known = ["day", "week", "month", "year"];
            let help = match nearest(text, known.into_iter()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => "write \"day\", \"week\", \"month\" or \"year\", or a number with M, H, D \
                         or W, such as \"4W\""
                    .into(),
            };
            Err((format!("unknown period {text:?}"), help))
        }
    }
}

/// Midnight of 1 January 2024, a Monday.
fn default_anchor() -> NaiveDateTime {
    let day = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap_or(NaiveDate::MIN);
    day.and_time(NaiveTime::MIN)
}

/// `2026-01-05` or `2026-01-05 14:00`.
pub(super) fn parse_anchor(text: &str) -> Result<NaiveDateTime, Refusal> {
    let date = |text: &str| {
        let is_plain = text.len() == 10 && text.is_ascii();
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .filter(|_| is_plain)
    };
    let time = |text: &str| {
        let is_plain = text.len() == 5 && text.is_ascii();
        NaiveTime::parse_from_str(text, "%H:%M")
            .ok()
            .filter(|_| is_plain)
    };
    let anchor = match text.split_once([' ', 'T']) {
        Some((day, clock)) => date(day).zip(time(clock)),
        None => date(text).zip(Some(NaiveTime::MIN)),
    };
    let anchor = anchor.map(|(day, clock)| day.and_time(clock));
    let years = 1970..2200;
    match anchor.filter(|anchor| years.contains(&chrono::Datelike::year(anchor))) {
        Some(anchor) => Ok(anchor),
        None => {
            let help = "write a day, or a day and a time: \"2026-01-05\", \"2026-01-05 14:00\"";
            Err((format!("{text:?} cannot be an anchor"), help.into()))
        }
    }
}

/// The day of a month from which on it is billed.
pub(super) fn parse_day_of_month(text: &str) -> Result<u32, Refusal> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text
        .parse()
        .ok()
        .filter(|day| (1..=31).contains(day) && is_digits)
    {
        Some(day) => Ok(day),
        None => {
            let help = "write 1 to 31; where a month is shorter, that is its last day";
            Err((format!("{text:?} is no day of a month"), help.into()))
        }
    }
}

/// `07-01`: month and day.
pub(super) fn parse_day_of_year(text: &str) -> Result<(u32, u32), Refusal> {
    // A leap year: it has all days that there are.
    let in_leap_year = format!("2024-{text}");
    let date = NaiveDate::parse_from_str(&in_leap_year, "%Y-%m-%d").ok();
    match date.filter(|_| text.len() == 5 && text.is_ascii()) {
        Some(date) => Ok((chrono::Datelike::month(&date), chrono::Datelike::day(&date))),
        None => {
            let help = "write month and day: \"07-01\" is the first of July";
            Err((format!("{text:?} is no day of a year"), help.into()))
        }
    }
}

pub(super) fn parse_percent(text: &str, bounds: &RangeInclusive<u32>) -> Result<u32, Refusal> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text
        .parse()
        .ok()
        .filter(|percent| bounds.contains(percent) && is_digits)
    {
        Some(percent) => Ok(percent),
        None => {
            let message = format!("{text:?} is no percentage here");
            let (least, most) = (bounds.start(), bounds.end());
            Err((
                message,
                format!("write a whole number from {least} to {most}"),
            ))
        }
    }
}

pub(super) fn parse_status(text: &str) -> Result<u16, Refusal> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text
        .parse()
        .ok()
        .filter(|status| (400..=599).contains(status) && is_digits)
    {
        Some(status) => Ok(status),
        None => {
            let message = format!("{text:?} is no status that refuses a request");
            Err((
                message,
                format!("write {ADVISED_STATUSES}, or another one from 400 to 599"),
            ))
        }
    }
}

/// The host of a URL that [`parse_url`] has accepted, with its port.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// A URL that can stand in the configs of all servers as it is.
pub(super) fn parse_url(url: &str) -> Result<String, Refusal> {
    let refused = |why: &str, help: &str| Err((format!("{url:?}: {why}"), help.to_owned()));
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    if host.is_none_or(str::is_empty) {
        let help = "write it whole: https://panel.example/over-quota";
        return refused("this is no absolute http or https URL", help);
    }
    if url.len() > MAX_URL_BYTES {
        return refused("the URL is too long", "2000 bytes at most");
    }
    let bad =
        |character: char| !matches!(character, '!'..='~') || r#""'`\<>${};^|"#.contains(character);
    if let Some(bad) = url.chars().find(|character| bad(*character)) {
        let why = format!("{bad:?} cannot stand in the configs of web servers");
        let help = "write it as %hh, its bytes in hexadecimal digits; a host in punycode";
        return refused(&why, help);
    }
    if url.matches('#').count() > 1 {
        return refused("a URL has one # at most", "for a literal # write %23");
    }
    let is_escape = |behind: &str| {
        let digits = behind.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if url.split('%').skip(1).any(|behind| !is_escape(behind)) {
        return refused(
            "two hexadecimal digits belong behind a %",
            "for a literal % write %25",
        );
    }
    Ok(url.to_owned())
}
