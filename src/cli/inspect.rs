//! `tollkeeper check`: tries formats on a log, and gathers what there is to say about both.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tollkeeper_parsers::format::{Format, Layout, Piece, Server, Spec};
use tollkeeper_parsers::plan::{Carried, Plan};
use tollkeeper_parsers::record::{Line, Record};
use tollkeeper_parsers::syslog::Envelope;
use tollkeeper_parsers::time::Time;

mod gates;
mod headers;
mod quotas;

use headers::Headers;

use super::args::CheckArgs;
use super::check::{
    CheckReport, DetectedReport, DirectiveReport, FailedLine, FormatReport, Sample,
};
use super::{Failure, Settings, open, refuse_vhost_twice};
use crate::account::{Rules, SourceRules, credits_user, name};
use crate::config::{FileSource, Listen, SyslogSource, Users};
use crate::daemon::clock;
use crate::detect;
use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
use crate::source::content::Hasher;
use crate::source::find::{Finder, Folders, rotation_folder, source_of};
use crate::source::{open as files, packed};
use crate::tally::{Progress, Tally};

/// What becomes of the lines of a layer behind the edge.
pub(super) const COUNTED_APART: &str = "counted apart from the edge's rows, and not billed";
/// Lines shown as understood.
const SAMPLES: usize = 5;
/// Lines shown that do not parse.
const FAILURES: usize = 5;

/// Runs the command.
///
/// # Errors
/// When config, format or log cannot be used.
pub(super) fn run(args: &CheckArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    if args.lines.vhost.is_some() {
        refuse_vhost_twice(&args.lines)?;
    }
    let rules = open::rules_without_store(settings)?;
    let mut report = CheckReport {
        config: settings
            .config_path
            .as_ref()
            .map(|path| path.display().to_string()),
        ..CheckReport::default()
    };
    report.notes.push(format!(
        "days of {}, from the time zone database {}",
        rules.zone,
        chrono_tz::IANA_TZDB_VERSION
    ));
    match &args.log {
        Some(log) => check_log(&mut report, log, args, settings, &rules)?,
        None => check_formats(&mut report, args, settings)?,
    }
    report.print(args.output)
}

/// Without a log: what each format means.
fn check_formats(
    report: &mut CheckReport,
    args: &CheckArgs,
    settings: &Settings,
) -> Result<(), Failure> {
    let mut specs = Vec::new();
    if args.lines.formats.is_empty() {
        let config = &settings.config;
        let files = config
            .file_sources
            .iter()
            .flat_map(|source| &source.formats);
        let pipes = config
            .pipe_sources
            .iter()
            .flat_map(|source| &source.formats);
        let syslog = config
            .syslog_sources
            .iter()
            .flat_map(|source| &source.formats);
        specs.extend(files.chain(pipes).cloned());
        specs.extend(syslog.map(|spec| spec.clone().within(Envelope::Wire)));
    } else {
        specs = args.lines.specs();
    }
    if specs.is_empty() && settings.config_path.is_none() {
        return Err(Failure::Usage(
            "there is nothing to check: name a log, a format with --format, or a config with -c"
                .to_owned(),
        ));
    }
    describe(report, &specs);
    if args.lines.formats.is_empty() {
        let sources = &settings.config.file_sources;
        report.notes.extend(sources.iter().filter_map(olddir_note));
        let streams = &settings.config.syslog_sources;
        report.notes.extend(streams.iter().flat_map(listener_notes));
        report.notes.extend(quotas::notes(&settings.config));
        report.notes.extend(gates::notes(&settings.config.gates));
        let layers = settings.config.layers();
        report.notes.extend(layers.filter_map(|(source, layer)| {
            let layer = layer.inner()?;
            Some(format!("{source}: layer {layer}: {COUNTED_APART}"))
        }));
    }
    Ok(())
}

/// Where the rotations of a source's logs are looked for, and which of these folders is not there.
fn olddir_note(source: &FileSource) -> Option<String> {
    let olddir = source.olddir.as_deref()?;
    let (mut logs, mut folders) = (BTreeSet::new(), Folders::new());
    for finder in source.paths.iter().filter_map(|path| Finder::new(path)) {
        finder.find(&mut logs, &mut folders);
    }
    let folders: BTreeSet<PathBuf> = logs
        .iter()
        .map(|log| rotation_folder(olddir, log))
        .collect();
    let shown = olddir.display();
    let mut note = format!(
        "{}: rotated logs are looked for in olddir {shown} too",
        source.name
    );
    if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
        let _ = write!(note, "; {} is no folder", missing.display());
    }
    Some(note)
}

/// What can be lost on the way to a source without anybody counting it, and what is better.
fn listener_notes(source: &SyslogSource) -> Vec<String> {
    let mut notes = Vec::new();
    for listen in &source.listen {
        if let Listen::Unix(_) = listen {
            notes.push(format!(
                "{}: what the kernel drops on {listen} cannot be counted, and nginx drops where the reader lags; over UDP it is counted, in a file nothing is lost",
                source.name
            ));
        }
    }
    let limit = receive_buffer_limit();
    let takes_datagrams = source.listen.iter().any(|listen| !listen.is_connected());
    if let Some(limit) =
        limit.filter(|limit| takes_datagrams && *limit < u64::from(source.receive_buffer_bytes))
    {
        notes.push(format!(
            "{}: the kernel grants {limit} bytes of receive buffer, and receive_buffer asks for {}: sysctl -w net.core.rmem_max={}",
            source.name, source.receive_buffer_bytes, source.receive_buffer_bytes
        ));
    }
    notes
}

/// The largest receive buffer that a process without rights gets.
fn receive_buffer_limit() -> Option<u64> {
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?;
    limit.trim().parse().ok()
}

fn check_log(
    report: &mut CheckReport,
    log: &Path,
    args: &CheckArgs,
    settings: &Settings,
    rules: &Rules,
) -> Result<(), Failure> {
    let shown = log.display().to_string();
    report.log = Some(shown.clone());
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Failed(anyhow::anyhow!("{shown}: {error}"));
    let stream: Box<dyn std::io::Read + Send> = if log.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let (file, _) = files::regular(log).map_err(|error| wrong(&error))?;
        let packing = packed::packing(&file).map_err(|error| wrong(&error))?;
        packed::content_ahead(file, packing, 0, Arc::default()).map_err(|error| wrong(&error))?
    };
    let sources = &settings.config.file_sources;
    let source = source_of(sources, log).map(|owner| owner.source);
    report.layer = source.map(|source| source.layer.clone());
    let mut specs = match source {
        _ if !args.lines.formats.is_empty() => args.lines.specs(),
        Some(source) => source.formats.clone(),
        // A log from elsewhere, to try the formats of a config on.
        None if !sources.is_empty() => sources.iter().flat_map(|s| s.formats.clone()).collect(),
        None => args.lines.specs(),
    };
    let users = args.lines.users.or(source.and_then(|source| source.users));

    let mut blocks = Blocks::new(stream, Hasher::new(0), LastLine::Counts, SMALL_BLOCK_BYTES);
    let mut block = blocks.next(Vec::new()).map_err(|error| wrong(&error))?;
    if let Some(first) = &block {
        for spec in specs.iter_mut().filter(|spec| spec.is_auto()) {
            let chosen = detect::choose(spec, first.lines()).map_err(|why| wrong(&why))?;
            report.notes.push(chosen.note());
            report.detected.push(DetectedReport::new(&chosen));
            *spec = chosen.spec;
        }
    }
    let (of_log, others) = specs
        .iter()
        .cloned()
        .partition::<Vec<Spec>, _>(headers::is_columnar);
    describe(report, &others);
    let mut headers = Headers::new(&of_log);
    let mut how = SourceRules::new(&specs, users, args.lines.vhost.as_deref(), &rules.folding)
        .map_err(|(_, error)| wrong(&error))?;
    how.gives_up = false;

    let mut tally = Tally::new(rules);
    let mut progress = Progress::default();
    let mut lines = 0;
    while let Some(read) = block.take() {
        headers.describe(report, read.lines());
        sample(
            report,
            read.lines(),
            lines,
            &how,
            users,
            rules,
            tally.carried.clone(),
        );
        let mut outcome = if read.lines().is_empty() {
            Tally::pass_over(&progress, read.base, read.covers)
        } else {
            tally.read(rules, &how, &mut progress, read.lines(), read.base, clock())
        };
        outcome.accept_held(progress.last_day);
        for failure in &outcome.failures {
            if let Some(plan) = how
                .plans
                .get(failure.format)
                .filter(|_| report.failures.len() < FAILURES)
            {
                let number = lines + failure.line + 1;
                report
                    .failures
                    .push(FailedLine::new(number, &failure.text, &failure.error, plan));
            }
        }
        if let Some((offset, why)) = outcome.unattributed
            && report.unattributed == 0
        {
            report.notes.push(format!(
                "the line at byte {offset} is charged to nobody: {}",
                why.reason()
            ));
        }
        for (_, balance) in &outcome.balance {
            report.counted += balance.counted.lines;
            report.unparsed += balance.unparsed.lines;
            report.ignored += balance.ignored.lines;
            report.unattributed += balance.unattributed.lines;
        }
        lines = report.counted + report.unparsed + report.ignored + report.unattributed;
        block = blocks
            .next(read.into_spare())
            .map_err(|error| wrong(&error))?;
    }
    if !headers.are_found() {
        describe(report, &of_log);
    }
    report.lines = lines;
    if lines == 0 {
        report.notes.push("the log is empty".to_owned());
    }
    let names_site =
        how.plans.iter().any(Plan::has_vhost) || headers.name_vhost() || how.vhost.is_some();
    if !names_site && source.is_none_or(|source| source.vhost.is_none()) && lines > 0 {
        report.notes.push(detect::NO_VHOST.to_owned());
    }
    Ok(())
}

/// Explains the formats.
fn describe(report: &mut CheckReport, specs: &[Spec]) {
    for spec in specs {
        let Spec::Format(format) = spec else {
            report
                .notes
                .push("auto: the presets are tried on the first lines of each log".to_owned());
            continue;
        };
        // Formats compile: the command line and the config have been checked.
        let Ok(plan) = Plan::compile(format) else {
            continue;
        };
        describe_plan(report, &plan, written(format));
    }
}

/// Explains a format; `text`: how it is written, or the line that names the columns.
fn describe_plan(report: &mut CheckReport, plan: &Plan, text: String) {
    let format = plan.format();
    let name = format.preset.unwrap_or(server(plan.server()));
    let name = match format.envelope {
        Some(Envelope::Written) => format!("syslog:{name}"),
        Some(Envelope::Wire) | None => name.to_owned(),
    };
    let directives = plan.explain().into_iter().map(|explained| DirectiveReport {
        text: explained.written,
        meaning: explained.meaning.to_owned(),
        note: explained.footnote.map(str::to_owned),
    });
    let mut notes: Vec<String> = plan.notes().iter().map(ToString::to_string).collect();
    if plan.has_user() && !plan.has_status() {
        notes.push(
            "without the status no user is credited: who was answered with 2xx cannot be told"
                .to_owned(),
        );
    }
    report.formats.push(FormatReport {
        name: name.clone(),
        text,
        grade: Some(plan.grade()),
        directives: directives.collect(),
        notes,
        better: plan.better(),
    });
    report.grade = Some(
        report
            .grade
            .map_or(plan.grade(), |grade| grade.min(plan.grade())),
    );
    report.format.get_or_insert(name);
}

/// The format string, put together again.
fn written(format: &Format) -> String {
    if let Layout::OneOf(_) = format.layout {
        // Put together, it would show what the server adds.
        return format
            .text
            .get(format.span.clone())
            .unwrap_or_default()
            .to_owned();
    }
    let mut text = String::new();
    match &format.layout {
        Layout::Json(_) => return format.text.clone(),
        Layout::Columns(header) => {
            return header
                .as_ref()
                .map_or_else(String::new, |header| header.line.clone());
        }
        Layout::Pieces(_) | Layout::OneOf(_) => {}
    }
    for piece in format.pieces() {
        match piece {
            Piece::Literal(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
            Piece::Directive(directive) => text.push_str(&directive.written),
        }
    }
    text
}

fn server(server: Server) -> &'static str {
    match server {
        Server::Nginx => "nginx",
        Server::Apache => "apache",
        Server::Lighttpd => "lighttpd",
        Server::Either => "nginx or apache",
        Server::Haproxy => "haproxy",
        Server::Caddy => "caddy",
        Server::Traefik => "traefik",
        Server::Squid => "squid",
        Server::Varnish => "varnish",
        Server::W3c => "iis",
        Server::Cloudfront => "cloudfront",
        Server::Any => "json",
    }
}

/// Shows the first lines as they are understood.
fn sample(
    report: &mut CheckReport,
    bytes: &[u8],
    before: u64,
    how: &SourceRules,
    users: Option<Users>,
    rules: &Rules,
    mut carried: Carried,
) {
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if report.samples.len() >= SAMPLES || number >= 100 {
            return;
        }
        carried.note(line);
        let read = how.plans.iter().find_map(|plan| {
            let read = plan.read_for_account(line, &mut carried).ok()?;
            Some((plan.names_vhost(&carried), read))
        });
        if let Some((names_vhost, Line::Record(record))) = read {
            let gives_way = !names_vhost && how.vhost.is_some();
            let vhost = match &record.vhost {
                Some(logged) if !gives_way => rules.folding.site(&logged.decode()),
                None if names_vhost => name::NONE.to_owned(),
                _ => how.vhost.clone().unwrap_or_else(|| name::NONE.to_owned()),
            };
            let credited = users != Some(Users::None) && credits_user(record.status);
            let user = record
                .user
                .filter(|_| credited)
                .map(|logged| name::user(&logged.decode()).into_owned());
            report.samples.push(Sample {
                line: before + number as u64 + 1,
                vhost: Some(vhost),
                user,
                time: time(&record, rules.zone),
                bytes_in: record.bytes_in,
                bytes_out: record.bytes_out,
                status: record.status,
            });
        }
    }
}

fn time(record: &Record<'_>, zone: Tz) -> Option<String> {
    let instant = |seconds| DateTime::<Utc>::from_timestamp(seconds, 0);
    match record.time? {
        Time::Instant(seconds) => Some(instant(seconds)?.with_timezone(&zone).to_rfc3339()),
        Time::Local(seconds) => Some(instant(seconds)?.format("%Y-%m-%dT%H:%M:%S").to_string()),
    }
}
