//! The status for people. Names of files are what customers chose: nothing of them reaches the
//! terminal unescaped.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::report::human_bytes;
use crate::daemon::status::{
    FileStatus, GapStatus, ListenerStatus, ReloadResult, Running, SourceStatus, Status,
};
use crate::excerpt::printable;

/// What has been unread for longer lags.
const LAGS_SECONDS: u64 = 60;
/// Files that are listed without `--files`.
const MAX_FILES: usize = 20;
/// What to read where there is a gap.
const GAP_HELP: &str =
    "what a gap means and what to do: docs/service.md, \"When status shows a gap\"";

/// All of it; `all_files`: not only those that need attention.
pub(super) fn of(status: &Status, all_files: bool) -> String {
    let mut text = String::new();
    head(&mut text, status);
    if !status.sources.is_empty() {
        text.push('\n');
        sources(&mut text, &status.sources);
    }
    if !status.listeners.is_empty() {
        text.push('\n');
        listeners(&mut text, &status.listeners);
    }
    gates(&mut text, status);
    files(&mut text, status, all_files);
    let gaps = status.gaps.recent.as_deref().unwrap_or_default();
    if !gaps.is_empty() {
        text.push_str("\nlatest gaps:\n");
        for gap in gaps {
            let _ = writeln!(text, "  {}", gap_line(gap, &time(status, gap.noticed)));
        }
        let _ = writeln!(text, "{GAP_HELP}");
    }
    text
}

/// What is weighed, and how the web servers are told; nothing, where nothing is.
fn gates(text: &mut String, status: &Status) {
    let quotas = &status.quotas;
    if quotas.in_force > 0 {
        let weighed = match quotas.weighed {
            Some(at) => format!("weighed at {}", time(status, at)),
            None => "not weighed yet: nothing opens".to_owned(),
        };
        let _ = writeln!(text, "\nquotas in force: {}, {weighed}", quotas.in_force);
    }
    if let Some(error) = &quotas.error {
        let error = printable(error);
        let _ = writeln!(text, "  verdicts stay as they are: {error}");
    }
    for fault in &quotas.faults {
        let _ = writeln!(text, "  left out: {}", printable(fault));
    }
    if !status.gates.is_empty() {
        text.push_str("\ngates:\n");
    }
    for gate in &status.gates {
        let changed = gate.changed.map_or_else(String::new, |at| {
            format!(", last changed {}", time(status, at))
        });
        let (name, standing) = (printable(&gate.name), gate.standing);
        let _ = writeln!(text, "  {name}: {standing} closed{changed}");
        if let Some(error) = &gate.error {
            let since = gate
                .error_since
                .map_or_else(String::new, |at| time(status, at));
            let _ = writeln!(text, "    fails since {since}: {}", printable(error));
        }
        if gate.refused > 0 {
            let _ = writeln!(text, "    cannot be told of {}:", gate.refused);
        }
        for refusal in &gate.refusals {
            let _ = writeln!(text, "      {}", printable(refusal));
        }
    }
}

fn head(text: &mut String, status: &Status) {
    let mut line = |name: &str, what: &str| {
        let _ = writeln!(text, "{name:<9}{}", printable(what));
    };
    let doing = match status.state {
        Running::NotRunning => "not running",
        Running::Starting => "starting",
        Running::Running => "running",
        Running::Stopping => "stopping",
    };
    let mut daemon = format!("{doing}, node {}", status.node);
    if let (Some(pid), Some(uptime)) = (status.pid, status.uptime_seconds) {
        let _ = write!(daemon, ", pid {pid}, up {}", span(uptime));
    }
    let _ = write!(daemon, ", version {}", status.version);
    line("daemon", &daemon);
    if status.turn_seconds > LAGS_SECONDS {
        let turn = span(status.turn_seconds);
        line(
            "",
            &format!("in one turn for {turn}: it reads a lot, or a file system hangs"),
        );
    }
    if status.age_seconds > 1 {
        let age = span(status.age_seconds);
        line("", &format!("busy: what is said of files is {age} old"));
    }
    line("config", status.config.as_deref().unwrap_or("none"));
    if let Some(reload) = &status.reload {
        let at = time(status, reload.at);
        let result = match reload.result {
            ReloadResult::Waiting => "waits until the store has taken the batch on its way",
            ReloadResult::Done => "done",
            ReloadResult::Refused => "refused, the old config stays in force:",
        };
        line("reload", &format!("{at}: {result}"));
        for part in reload.error.iter().flat_map(|error| error.lines()) {
            line("", part);
        }
    }
    let store = &status.store;
    let zone = store
        .timezone
        .as_deref()
        .map(|zone| format!(", days of {zone}"));
    let answers = match (store.answers, store.since) {
        (true, _) => "answers".to_owned(),
        (false, Some(since)) => format!("away since {}", time(status, since)),
        (false, None) => "cannot be read".to_owned(),
    };
    let zone = zone.unwrap_or_default();
    line("store", &format!("{}{zone}: {answers}", store.name));
    if let Some(error) = &store.error {
        line("", error);
    }
    if let Some(flush) = &status.last_flush {
        let ago = span(u64::try_from(status.now - flush.at).unwrap_or(0));
        let (rows, took) = (flush.rows, flush.milliseconds);
        line("flush", &format!("{ago} ago, {rows} rows in {took} ms"));
    }
    if let Some(flight) = &status.in_flight {
        line("batch", &format!("on its way for {}", span(flight.seconds)));
    }
    if status.pid.is_some() {
        let ledger = &status.ledger;
        line(
            "ledger",
            &format!(
                "{} accounts of at most {}",
                ledger.accounts, ledger.max_accounts
            ),
        );
        line(
            "gaps",
            &format!("{} since the start", status.gaps.since_start),
        );
    }
}

fn sources(text: &mut String, sources: &[SourceStatus]) {
    let names = [
        "source",
        "files",
        "unread",
        "oldest",
        "attention",
        "today",
        "counted",
        "unparsed",
        "ignored",
        "unattributed",
        "since start",
    ];
    let mut rows = vec![names.map(str::to_owned).to_vec()];
    let has_layers = sources.iter().any(|source| source.layer.inner().is_some());
    for source in sources {
        let today = source.balance.today;
        let of_today = |part: fn(&crate::daemon::status::BalanceStatus) -> u64| {
            today
                .as_ref()
                .map_or("?".to_owned(), |today| part(today).to_string())
        };
        rows.push(vec![
            printable(&source.name).into_owned(),
            source.files.to_string(),
            human_bytes(u128::from(source.unread_bytes)),
            age(source.unread_bytes, source.unread_seconds),
            source.attention.to_string(),
            of_today(|today| today.lines),
            of_today(|today| today.counted),
            of_today(|today| today.unparsed),
            of_today(|today| today.ignored),
            of_today(|today| today.unattributed),
            source.balance.since_start.lines.to_string(),
        ]);
    }
    if has_layers {
        let layers = sources.iter().map(|source| source.layer.name());
        for (row, layer) in rows.iter_mut().zip(["layer"].into_iter().chain(layers)) {
            row.insert(1, layer.to_owned());
        }
    }
    columns(text, "", &rows, 1 + usize::from(has_layers));
    for source in sources {
        let refusal = source
            .spool
            .as_ref()
            .and_then(|spool| spool.refusal.as_ref());
        if let Some(refusal) = refusal {
            let name = printable(&source.name);
            let _ = writeln!(text, "{name} writes no spool: {}", printable(refusal));
        }
    }
}

fn listeners(text: &mut String, listeners: &[ListenerStatus]) {
    let names = [
        "listener",
        "messages",
        "lost: kernel",
        "queue",
        "too long",
        "cut off",
        "not allowed",
        "no source",
        "connections",
        "refused",
    ];
    let mut rows = vec![names.map(str::to_owned).to_vec()];
    for listener in listeners {
        let lost = &listener.lost;
        let kernel = match listener.listen.starts_with("unix:") {
            // Nobody counts those.
            true => "?".to_owned(),
            false => lost.receive_buffer.to_string(),
        };
        let numbers = [
            lost.queue,
            lost.too_long,
            lost.cut_off,
            listener.not_allowed,
            listener.no_source,
            listener.connections,
            listener.refused + listener.slow,
        ];
        let mut row = vec![
            printable(&listener.listen).into_owned(),
            listener.messages.to_string(),
            kernel,
        ];
        row.extend(numbers.iter().map(u64::to_string));
        rows.push(row);
    }
    columns(text, "", &rows, 1);
}

fn files(text: &mut String, status: &Status, all: bool) {
    let needs = |file: &&FileStatus| {
        let lags = file.unread_bytes > 0 && file.unread_seconds >= LAGS_SECONDS;
        status.pid.is_some() && (file.state.needs_attention() || lags)
    };
    let chosen: Vec<&FileStatus> = match all {
        true => status.files.iter().collect(),
        false => status.files.iter().filter(needs).collect(),
    };
    if chosen.is_empty() {
        return;
    }
    let most = if all { chosen.len() } else { MAX_FILES };
    text.push_str(if all {
        "\nfiles:\n"
    } else {
        "\nfiles that need attention:\n"
    });
    let header = ["file", "state", "offset", "size", "oldest", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for file in chosen.iter().take(most) {
        rows.push(vec![
            printable(&file.path).into_owned(),
            file.state.name().to_owned(),
            file.offset.to_string(),
            file.size.map_or("?".to_owned(), |size| size.to_string()),
            age(file.unread_bytes, file.unread_seconds),
            printable(file.reason.as_deref().unwrap_or_default()).into_owned(),
        ]);
    }
    columns(text, "  ", &rows, 2);
    if chosen.len() > most {
        let _ = writeln!(
            text,
            "  and {} more: --files shows all",
            chosen.len() - most
        );
    }
}

fn gap_line(gap: &GapStatus, noticed: &str) -> String {
    let to = gap.to.map_or("?".to_owned(), |to| to.to_string());
    let (path, reason) = (printable(&gap.path), printable(&gap.reason));
    format!("{noticed}  {path}: byte {} to {to}: {reason}", gap.from)
}

/// Aligned: so many columns to the left, the rest to the right; the last one as it is, where it has
/// no name.
fn columns(text: &mut String, indent: &str, rows: &[Vec<String>], left: usize) {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].width())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    for row in rows {
        let mut line = indent.to_owned();
        for (at, cell) in row.iter().enumerate() {
            let room = " ".repeat(widths[at].saturating_sub(cell.width()));
            let is_free = at + 1 == count && rows[0][at].is_empty();
            match at < left || is_free {
                true => line.extend([cell, room.as_str(), "  "]),
                false => line.extend([room.as_str(), cell, "  "]),
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn age(unread: u64, seconds: u64) -> String {
    match unread {
        0 => "-".to_owned(),
        _ => span(seconds),
    }
}

/// Two units at most.
pub(in crate::cli) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// In the store's zone.
fn time(status: &Status, seconds: i64) -> String {
    let zone = status.store.timezone.as_deref();
    let zone = zone.and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC);
    let at = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
    at.with_timezone(&zone)
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}
