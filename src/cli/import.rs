//! `tollkeeper import`: files in, a summary with the balance out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::args::{ImportArgs, Output};
use super::report::human_bytes;
use super::{Failure, Settings, complain, open, print, refuse_vhost_twice};
use crate::account::Rules;
use crate::account::balance::Balance;
use crate::account::growth::KnownNames;
use crate::config::{glob::expand_vhost, quota};
use crate::daemon::{self, clock};
use crate::excerpt::{excerpt, printable};
use crate::import::books::{Account, Books};
use crate::import::{self as engine, FileReport, Input, Meter, Options, Summary, unparsed};
use crate::source::find::source_of;
use crate::store::{Role, Store};

/// Columns that a line which did not parse may take.
const MAX_EXCERPT_COLUMNS: usize = 76;

/// Runs the command.
///
/// # Errors
/// When the store or the config cannot be used; a file that cannot be read makes the exit code 1,
/// after the others are done.
pub(super) fn run(args: &ImportArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    if args.lines.vhost.is_some() {
        refuse_vhost_twice(&args.lines)?;
    }
    let inputs: Vec<Input> = args
        .files
        .iter()
        .map(|file| input(file, args, settings))
        .collect();
    if inputs.iter().filter(|input| input.path.is_none()).count() > 1 {
        return Err(Failure::Usage(
            "standard input (-) can be read once".to_owned(),
        ));
    }
    let threads = args.threads.map_or_else(processors, usize::from);
    let options = Options {
        again: args.again,
        threads,
        now: clock(),
    };
    let meter = Meter::default();
    let summary = with_progress(&inputs, &meter, || match (args.dry_run, args.unparsed) {
        (true, _) => {
            let rules = open::rules_without_store(settings)?;
            // As into a fresh store.
            let names = daemon::names(&settings.config)?;
            let growth = daemon::capped(&settings.config, &names, KnownNames::default());
            let books = Books::dry(&inputs, growth, &rules.classes, options.now);
            engine::run(&inputs, &rules, options, &meter, books, None).map_err(failed)
        }
        (false, reread) => {
            let mut store = open::patient_store(settings).map_err(failed)?;
            let connect = || open::again(settings);
            with_account(settings, options, store.as_mut(), |mut account, rules| {
                if reread {
                    return unparsed::run(&inputs, rules, options, &mut account);
                }
                let books = Books::new(&inputs, account, &rules.classes, options.now);
                engine::run(&inputs, rules, options, &meter, books, Some(&connect))
            })
        }
    })?;
    report_files(&summary);
    let shown = match args.output {
        Output::Json => to_json(&summary, args.dry_run)?,
        Output::Table => to_text(&summary, args.dry_run),
    };
    print(&shown)?;
    let failed = summary.files.iter().any(|file| file.error.is_some());
    let misused = summary.files.iter().any(|file| file.misuse);
    Ok(ExitCode::from(match (misused, failed) {
        (true, _) => 2,
        (false, failed) => u8::from(failed),
    }))
}

/// Runs an import with a writer of its own in the store, which it takes off again.
fn with_account(
    settings: &Settings,
    options: Options,
    store: &mut dyn Store,
    work: impl for<'a> FnOnce(Account<'a>, &'a Rules) -> Result<Summary, engine::ImportError>,
) -> Result<Summary, Failure> {
    let names = daemon::names(&settings.config)?;
    let mut rules = daemon::rules(&settings.config, &names, store.zone());
    let mut growth = daemon::growth(&settings.config, &names, store).map_err(failed)?;
    let said = store.said().map_err(failed)?;
    let config = settings.config.with_side_files()?;
    let (weighed, faults) = quota::rules(&config, &said);
    for fault in &faults {
        complain(&printable(fault));
    }
    daemon::weigh(&mut rules, &mut growth, &weighed);
    let writer = store
        .register(&settings.node, Role::Import, options.now)
        .map_err(failed)?;
    let registered = writer.clone();
    let account = Account {
        store: &mut *store,
        writer,
        node: settings.node.clone(),
        growth,
    };
    let result = work(account, &rules);
    let retired = store.retire(&registered, options.now);
    let summary = result.map_err(failed)?;
    retired.map_err(failed)?;
    Ok(summary)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Failed(error.into())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How a file is read: as the command line says, else as the source of the config that follows it.
fn input(file: &Path, args: &ImportArgs, settings: &Settings) -> Input {
    let lines = &args.lines;
    let mut input = Input {
        path: (file.as_os_str() != "-").then(|| file.to_owned()),
        formats: lines.specs(),
        users: lines.users,
        vhost: lines.vhost.clone(),
        vhost_given: lines.vhost.is_some(),
        layer: args.layer.clone().unwrap_or_default(),
        log: None,
    };
    let path = input.path.as_deref().unwrap_or(Path::new("-"));
    if let Some(owner) = source_of(&settings.config.file_sources, path) {
        let source = owner.source;
        if lines.formats.is_empty() {
            input.formats = source.formats.clone();
        }
        input.users = input.users.or(source.users);
        if args.layer.is_none() {
            input.layer = source.layer.clone();
        }
        if input.vhost.is_none() {
            let template = source.vhost.as_ref();
            input.vhost = template.and_then(|vhost| expand_vhost(vhost, &owner.captures));
        }
        input.log = Some(owner.log);
    }
    input
}

/// Draws bytes, lines a second and the time left, where somebody is watching.
fn with_progress(
    inputs: &[Input],
    meter: &Meter,
    work: impl FnOnce() -> Result<Summary, Failure>,
) -> Result<Summary, Failure> {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let size = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    let total = inputs
        .iter()
        .filter_map(|input| input.path.as_ref())
        .map(size)
        .sum();
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let shape = "{bar:24} {bytes}/{total_bytes}  {msg}  {elapsed}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(shape) {
        bar.set_style(style);
    }
    let done = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let lines = meter.lines.load(Ordering::Relaxed);
                let seconds = bar.elapsed().as_secs_f64().max(0.001);
                bar.set_message(format!("{lines} lines, {:.0}/s", lines as f64 / seconds));
                bar.set_position(meter.bytes.load(Ordering::Relaxed));
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        watcher.thread().unpark();
        result
    });
    bar.finish_and_clear();
    result
}

/// What is to be said about single files: on standard error, it is no result.
fn report_files(summary: &Summary) {
    let mut notes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in &summary.files {
        for note in &file.notes {
            notes.entry(note).or_default().push(&file.name);
        }
    }
    for (note, files) in &notes {
        match files.as_slice() {
            [one] => complain(&format!("{}: {note}", printable(one))),
            [first, rest @ ..] => {
                complain(&format!(
                    "{} and {} more: {note}",
                    printable(first),
                    rest.len()
                ));
            }
            [] => {}
        }
    }
    for file in &summary.files {
        if file.partial > 0 {
            let bytes = file.partial;
            complain(&format!(
                "{}: its last line is not finished ({bytes} bytes); it waits",
                printable(&file.name)
            ));
        }
        for (failure, wanted) in &file.failures {
            let at = failure.error.at;
            let shown = excerpt(&failure.text, at..at, MAX_EXCERPT_COLUMNS);
            complain(&format!(
                "{}: the line at byte {} does not parse: {wanted}\n  {}\n  {}",
                printable(&file.name),
                failure.offset,
                shown.text,
                shown.carets
            ));
        }
        if let Some(error) = &file.error {
            complain(&format!("{}: {error}", printable(&file.name)));
        }
    }
    for refused in &summary.refused {
        complain(&format!(
            "the store refuses a row; its bytes went to _invalid: {}",
            printable(refused)
        ));
    }
}

fn to_json(summary: &Summary, dry_run: bool) -> Result<String, Failure> {
    let mut object = balance_fields(&summary.balance);
    object.insert("in".into(), summary.total.bytes_in.into());
    object.insert("out".into(), summary.total.bytes_out.into());
    object.insert("requests".into(), summary.total.requests.into());
    let layers = summary.layers.iter().map(|(layer, total)| {
        let total = json!({
            "in": total.bytes_in, "out": total.bytes_out, "requests": total.requests,
        });
        (layer.clone(), total)
    });
    let layers: serde_json::Map<String, Value> = layers.collect();
    object.insert("layers".into(), layers.into());
    let partial = summary.files.iter().filter(|file| file.partial > 0).count();
    object.insert("partial".into(), partial.into());
    let files: Vec<Value> = summary.files.iter().map(file_json).collect();
    object.insert("files".into(), files.into());
    if dry_run {
        let rows: Vec<Value> = summary
            .rows
            .iter()
            .map(|row| {
                json!({
                    "day": row.day.to_string(), "vhost": &*row.vhost,
                    "in": row.amount.bytes_in, "out": row.amount.bytes_out, "requests": row.amount.requests,
                })
            })
            .collect();
        object.insert("rows".into(), rows.into());
        let rows = summary.layer_rows.iter().map(|row| {
            json!({
                "day": row.day.to_string(), "vhost": &*row.vhost, "layer": &*row.part,
                "in": row.amount.bytes_in, "out": row.amount.bytes_out, "requests": row.amount.requests,
            })
        });
        object.insert("layer_rows".into(), rows.collect::<Vec<Value>>().into());
    }
    let text = serde_json::to_string(&object).map_err(failed)?;
    Ok(text + "\n")
}

fn file_json(file: &FileReport) -> Value {
    let mut object = balance_fields(&file.balance);
    object.insert("file".into(), printable(&file.name).into());
    object.insert("already".into(), file.already.into());
    object.insert("partial_bytes".into(), file.partial.into());
    object.insert("notes".into(), file.notes.clone().into());
    object.insert("error".into(), file.error.clone().into());
    object.into()
}

fn balance_fields(balance: &Balance) -> serde_json::Map<String, Value> {
    let mut object = serde_json::Map::new();
    for (name, count) in named(balance) {
        object.insert(name.into(), count.lines.into());
    }
    for (name, count) in named(balance) {
        object.insert(format!("{name}_bytes"), count.bytes.into());
    }
    object
}

fn named(balance: &Balance) -> [(&'static str, crate::account::balance::Count); 5] {
    [
        ("lines", balance.read()),
        ("counted", balance.counted),
        ("unparsed", balance.unparsed),
        ("ignored", balance.ignored),
        ("unattributed", balance.unattributed),
    ]
}

fn to_text(summary: &Summary, dry_run: bool) -> String {
    let mut text = String::new();
    let counts = named(&summary.balance);
    let width = counts
        .iter()
        .map(|(_, count)| count.lines.to_string().len())
        .max()
        .unwrap_or(1);
    for (name, count) in counts {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{name:<13} {:>width$}   {} of log",
            count.lines,
            human_bytes(count.bytes.into())
        );
    }
    let total = summary.total;
    let verb = if dry_run {
        "would be counted"
    } else {
        "counted"
    };
    let _ = writeln!(
        text,
        "{verb}: {} requests, {} in, {} out",
        total.requests,
        human_bytes(total.bytes_in.into()),
        human_bytes(total.bytes_out.into())
    );
    for (layer, total) in &summary.layers {
        let _ = writeln!(
            text,
            "{verb} apart, in layer {layer}: {} requests, {} in, {} out",
            total.requests,
            human_bytes(total.bytes_in.into()),
            human_bytes(total.bytes_out.into())
        );
    }
    let already = summary.files.iter().filter(|file| file.already).count();
    if already > 0 {
        let _ = writeln!(
            text,
            "{already} of {} files had been counted already",
            summary.files.len()
        );
    }
    text
}
