//! `tollkeeper run`: the daemon, set up and started.

use std::cell::Cell;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;

use super::args::{Common, RunArgs};
use super::{Environment, Failure, Settings, logging, open, status};
use crate::account::day::same_clock;
use crate::config::glob::literal;
use crate::config::{FileSource, Layer};
use crate::daemon::service::{Control, OpenStore, ReadConfig};
use crate::daemon::{self, DaemonError, follower::Ended};
use crate::detect;
use crate::source::open as files;
use crate::source::syslog::Inherited;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it did not start, or ended by itself; with an exit code of sysexits.
pub(super) fn run(
    args: &RunArgs,
    common: &Common,
    settings: Settings,
) -> Result<ExitCode, Failure> {
    let mut settings = following(args, settings)?;
    // Before any file is opened: they are told by their numbers.
    let inherited = Inherited::from_environment().map_err(|error| {
        Failure::Failed(anyhow::anyhow!("the sockets that systemd passes: {error}"))
    })?;
    let limits = logging::start();
    let config = std::mem::take(&mut settings.config);
    let settings = Arc::new(settings);
    let quiet = Arc::clone(&limits);
    let control = Control {
        state_dir: std::path::absolute(&settings.state_dir)
            .map_err(|error| Failure::Failed(error.into()))?,
        inherited,
        socket: status::socket(&settings),
        config_path: settings.config_path.clone(),
        store_name: open::store_name(&settings),
        open_store: opener(&settings),
        read_config: reader(args, common, &settings),
        housekeeping: Box::new(move || quiet.summarise(false)),
    };
    let told = Cell::new(false);
    let reopen = || {
        let store = open::store(&settings)?;
        if !told.replace(true) {
            let (name, zone) = (open::store_name(&settings), store.zone());
            tracing::info!(node = settings.node, "counting into {name}, days of {zone}");
        }
        Ok(store)
    };
    let lock = open::lock_path(&settings);
    let ended = daemon::run(config, settings.node.clone(), &lock, &reopen, control);
    limits.summarise(true);
    ended.map_err(coded)?;
    Ok(ExitCode::SUCCESS)
}

/// The settings with the sources that are to be followed.
fn following(args: &RunArgs, mut settings: Settings) -> Result<Settings, Failure> {
    if !args.logs.is_empty() {
        settings.config.file_sources = args
            .logs
            .iter()
            .map(|log| source(log, args))
            .collect::<Result<_, _>>()?;
        settings.config.syslog_sources.clear();
        settings.config.pipe_sources.clear();
    }
    if settings.config.has_no_source() {
        return Err(Failure::Usage(
            "there is nothing to follow: name log files, or a config with [[source.file]], [[source.syslog]] or [[source.pipe]]"
                .to_owned(),
        ));
    }
    Ok(settings)
}

fn opener(settings: &Arc<Settings>) -> OpenStore {
    let settings = Arc::clone(settings);
    Arc::new(move || open::store(&settings))
}

/// Reads the config as the start does, the command line over it.
fn reader(args: &RunArgs, common: &Common, old: &Arc<Settings>) -> ReadConfig {
    let (args, common, old) = (args.clone(), common.clone(), Arc::clone(old));
    Arc::new(move |zone| {
        let new = Settings::resolve(&common, &Environment::of_process())
            .and_then(|settings| following(&args, settings))
            .map_err(|failure| failure.to_string())?;
        let changed = |what: &str| {
            Err(format!(
                "{what} cannot be changed while the daemon runs: restart it, or put the old one back"
            ))
        };
        let is_other = |wanted| !same_clock(wanted, zone);
        if new.store != old.store {
            return changed("the store");
        }
        if new.node != old.node {
            return changed("the node");
        }
        if new.timezone.is_some_and(is_other) {
            return changed("the timezone");
        }
        Ok(new.config)
    })
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
    if let Some(auto) = formats.iter().find(|spec| spec.is_auto()) {
        detectable(&path, auto, args)?;
    }
    Ok(FileSource {
        name: text.to_owned(),
        paths: vec![literal(text)],
        formats,
        users: args.lines.users,
        vhost: args.lines.vhost.clone(),
        olddir: None,
        layer: Layer::default(),
    })
}

/// A log whose format cannot be told is found out while somebody is watching.
fn detectable(path: &Path, auto: &Spec, args: &RunArgs) -> Result<(), Failure> {
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
    let (spec, _) = detect::detect(auto, &sample[..=end])
        .map_err(|why| Failure::Failed(anyhow::anyhow!("{}: {why}", path.display())))?;
    let names_site = matches!(&spec, Spec::Format(format) if Plan::compile(format).is_ok_and(|plan| plan.has_vhost()));
    match spec {
        Spec::Format(format) if names_site && args.lines.vhost.is_some() => Err(
            Failure::vhost_given_twice(format.preset.unwrap_or_default()),
        ),
        _ => Ok(()),
    }
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
        DaemonError::Ended(Ended::NoStore | Ended::NoThread(_)) => EX_SOFTWARE,
        DaemonError::Reception(_) | DaemonError::System { .. } => EX_OSERR,
    };
    Failure::Coded {
        code,
        error: error.into(),
    }
}
