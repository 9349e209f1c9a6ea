//! `tollkeeper run`: the daemon, set up and started.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use super::args::RunArgs;
use super::{Failure, Settings, open};
use crate::config::FileSource;
use crate::daemon::{self, DaemonError, follower::Ended};
use crate::detect;
use crate::source::open as files;

/// Says more, or less: `debug`, or `tollkeeper=warn`.
const LOG_VARIABLE: &str = "TOLLKEEPER_LOG";

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it did not start, or ended by itself; with an exit code of sysexits.
pub(super) fn run(args: &RunArgs, mut settings: Settings) -> Result<ExitCode, Failure> {
    if !args.logs.is_empty() {
        settings.config.file_sources = args
            .logs
            .iter()
            .map(|log| source(log, args))
            .collect::<Result<_, _>>()?;
    }
    if settings.config.file_sources.is_empty() {
        return Err(Failure::Usage(
            "there is nothing to follow: name log files, or a config with [[source.file]]"
                .to_owned(),
        ));
    }
    start_logging();
    let config = std::mem::take(&mut settings.config);
    let told = Cell::new(false);
    let reopen = || {
        let store = open::store(&settings)?;
        if !told.replace(true) {
            let (name, zone) = (open::store_name(&settings), store.zone());
            tracing::info!("counting into {name}, days of {zone}");
        }
        Ok(store)
    };
    let lock = open::lock_path(&settings);
    daemon::run(config, settings.node.clone(), &lock, &reopen).map_err(coded)?;
    Ok(ExitCode::SUCCESS)
}

fn source(log: &Path, args: &RunArgs) -> Result<FileSource, Failure> {
    let path = std::path::absolute(log).map_err(|error| Failure::Failed(error.into()))?;
    let Some(text) = path.to_str() else {
        return Err(Failure::Usage(format!(
            "the path {} is not UTF-8",
            path.display()
        )));
    };
    let formats = args.lines.specs();
    if args.lines.vhost.is_some() {
        super::refuse_vhost_twice(&args.lines)?;
    }
    if formats.iter().any(|spec| matches!(spec, Spec::Auto)) {
        detectable(&path, args)?;
    }
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if "*?[]{},\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    Ok(FileSource {
        name: text.to_owned(),
        paths: vec![pattern],
        formats,
        users: args.lines.users,
        vhost: args.lines.vhost.clone(),
    })
}

/// A log whose format cannot be told is found out while somebody is watching.
fn detectable(path: &Path, args: &RunArgs) -> Result<(), Failure> {
    const SAMPLE_BYTES: usize = 256 << 10;
    let Ok((file, _)) = files::followed(path) else {
        return Ok(());
    };
    let mut sample = vec![0; SAMPLE_BYTES];
    let Ok(read) = files::read_full_at(&file, &mut sample, 0) else {
        return Ok(());
    };
    let Some(end) = memchr::memrchr(b'\n', &sample[..read]) else {
        return Ok(());
    };
    let (spec, _) = detect::detect(&sample[..=end])
        .map_err(|why| Failure::Failed(anyhow::anyhow!("{}: {why}", path.display())))?;
    let names_site = matches!(&spec, Spec::Format(format) if Plan::compile(format).is_ok_and(|plan| plan.has_vhost()));
    match spec {
        Spec::Format(format) if names_site && args.lines.vhost.is_some() => Err(
            Failure::vhost_given_twice(format.preset.unwrap_or_default()),
        ),
        _ => Ok(()),
    }
}

fn start_logging() {
    let filter = std::env::var(LOG_VARIABLE)
        .ok()
        .and_then(|filter| filter.parse::<Targets>().ok());
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(is_terminal);
    // The journal has the time already.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = if in_journal {
        lines.without_time().boxed()
    } else {
        lines.boxed()
    };
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    // Fails only where a subscriber has been set already.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init();
}

fn coded(error: DaemonError) -> Failure {
    const EX_UNAVAILABLE: u8 = 69;
    const EX_SOFTWARE: u8 = 70;
    const EX_OSERR: u8 = 71;
    const EX_TEMPFAIL: u8 = 75;
    let code = match error {
        DaemonError::Config(error) => return Failure::Config(error),
        DaemonError::Store(_) => EX_UNAVAILABLE,
        DaemonError::Running { .. } | DaemonError::Ended(Ended::Replaced | Ended::NotFlushed) => {
            EX_TEMPFAIL
        }
        DaemonError::Ended(Ended::NoStore) => EX_SOFTWARE,
        DaemonError::System { .. } => EX_OSERR,
    };
    Failure::Coded {
        code,
        error: error.into(),
    }
}
