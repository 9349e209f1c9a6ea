//! Follows files until told to stop: order, threads, signals.
//!
//! ```text
//! notify ──────┐ wakes                 ┌── batches ──> flusher (owns the store)
//! service ─────┴──> follower (files, lines, ledger) <── how each was settled
//!  signals, reloads, watchdog, status
//! ```
//!
//! Whatever ends the process, and whenever, the store says how far each file is accounted for: the
//! next start goes on from there.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use chrono_tz::Tz;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::account::Rules;
use crate::account::class::Classes;
use crate::account::fold::Folding;
use crate::account::growth::{Growth, KnownNames};
use crate::config::{self, Config, ConfigError, VhostRules};
use crate::enforce::Hosts;
use crate::quota;
use crate::source::syslog::ReceptionError;
use crate::store::{Role, Store, StoreError};

pub mod ask;
pub mod flusher;
pub mod follower;
pub mod message;
pub mod notify;
pub mod progress;
pub mod published;
mod receiving;
pub mod service;
pub mod socket;
mod start;
pub mod status;
mod threads;
mod time;
pub mod tracked;
pub mod watch;
pub mod weighing;

use follower::{Ended, Follower};
use published::Published;
use receiving::Receiving;
use service::{Control, Service};
use watch::Watch;

/// Why the daemon did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The config does not.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// Another one runs.
    #[error(
        "another daemon runs as node {node} (it holds {lock})\nstop it, or give this one a name of its own with --node"
    )]
    Running {
        /// Its name.
        node: String,
        /// The file that it holds.
        lock: String,
    },
    /// Nothing can be received.
    #[error(transparent)]
    Reception(#[from] ReceptionError),
    /// The system refused something.
    #[error("{doing}: {cause}")]
    System {
        /// What was being done.
        doing: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// What a config says of names: which site each is billed to, and those that are never capped.
#[derive(Debug)]
pub struct Names {
    /// Which site a name is billed to.
    pub folding: Folding,
    /// Names that the operator knows.
    pub known: Vec<String>,
    /// A site into all its names, for the gates.
    pub hosts: Hosts,
}

/// The operator's names of sites, side files included.
///
/// # Errors
/// Where a side file cannot be read or understood.
pub fn names(config: &Config) -> Result<Names, ConfigError> {
    let rules = config.vhosts.with_files()?;
    let known = rules
        .known
        .iter()
        .chain(rules.aliases.values())
        .cloned()
        .collect();
    let hosts = Hosts::new(rules.aliases.clone(), rules.fold_www);
    let folding = Folding::new(rules.known, rules.aliases, rules.fold_www);
    Ok(Names {
        folding,
        known,
        hosts,
    })
}

/// The rules that a config makes, for a zone's days.
#[must_use]
pub fn rules(config: &Config, names: &Names, zone: Tz) -> Rules {
    Rules {
        zone,
        folding: names.folding.clone(),
        classes: Classes::new(&config.classes),
        watched: Arc::default(),
    }
}

/// The caps of a config, over what a store knows.
///
/// # Errors
/// When the store does not answer.
pub fn growth(config: &Config, names: &Names, store: &mut dyn Store) -> Result<Growth, StoreError> {
    let stored = store.known_names(Growth::since(clock()))?;
    Ok(capped(config, names, stored))
}

/// The caps of a config, over these names.
#[must_use]
pub fn capped(config: &Config, names: &Names, stored: KnownNames) -> Growth {
    let VhostRules {
        max_new_vhosts_per_day,
        max_new_users_per_day,
        ..
    } = config.vhosts;
    let known = names.known.iter().cloned();
    Growth::new(stored, known, max_new_vhosts_per_day, max_new_users_per_day)
}

/// Adds to the rules of the lines what quotas need to know of them.
pub fn weigh(rules: &mut Rules, growth: &mut Growth, weighed: &quota::rule::Rules) {
    let message::Weighed { watched, classes } = weighing::weighed(weighed);
    watched.let_in(growth);
    rules.watched = watched;
    rules.classes = classes;
}

/// Seconds since 1970.
#[must_use]
pub fn clock() -> i64 {
    time::clock()
}

/// Runs until SIGTERM or SIGINT. `lock_path` is where one daemon keeps out another; `open` opens the
/// store; it is called twice, once for each thread. SIGHUP reads the config again.
///
/// # Errors
/// See [`DaemonError`].
pub fn run(
    config: Config,
    node: String,
    lock_path: &Path,
    open: &dyn Fn() -> Result<Box<dyn Store>, StoreError>,
    mut control: Control,
) -> Result<(), DaemonError> {
    let system = |doing: &str| {
        let doing = doing.to_owned();
        move |cause| DaemonError::System { doing, cause }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("starting to wait for signals"))?;
    // From here on a signal ends the daemon in order, also while it is starting.
    let mut signals = runtime
        .block_on(async { Signals::new() })
        .map_err(system("waiting for signals"))?;
    let _lock = lock(lock_path, &node)?;
    let names = names(&config)?;
    let state_dir = control.state_dir.clone();
    let open_store = Arc::clone(&control.open_store);
    let receiving = Arc::new(Receiving::new(
        state_dir.clone(),
        std::mem::take(&mut control.inherited),
    ));
    receiving.receive(&config.syslog_sources)?;
    let ends = [&mut signals.terminate, &mut signals.interrupt];
    let started = start::once_there(&runtime, ends, || {
        let (mut store, mut lookups) = (open()?, open()?);
        let growth = growth(&config, &names, lookups.as_mut())?;
        let (said, told) = (lookups.said()?, lookups.told()?);
        let writer = store.register(&node, Role::Daemon, clock())?;
        Ok((store, lookups, growth, writer, said, told))
    });
    if !matches!(started, Ok(Some(_))) {
        receiving.stop();
    }
    let Some((mut store, lookups, mut growth, mut writer, said, told)) = started? else {
        return Ok(());
    };
    let zone = store.zone();
    let mut rules = rules(&config, &names, zone);
    let with_files = config.with_side_files()?;
    // The clerk finds the same, and says what is wrong with it.
    let (weighed, _) = config::quota::rules(&with_files, &said);
    weigh(&mut rules, &mut growth, &weighed);
    let mut config = config;
    config.max_held_files = Some(max_held_files(raise_file_limit(), config.max_held_files));

    let (wake, messages) = mpsc::channel();
    let (batches, take_batches) = mpsc::sync_channel(1);
    let watch = Watch::new(wake.clone());
    let published = Arc::new(Published::new(Instant::now(), clock()));
    let (weighing, scales) = weighing::start(weighing::Start {
        config: Arc::new(with_files),
        hosts: names.hosts,
        beginning: weighing::Beginning {
            said,
            told,
            rules: weighed,
        },
        writer: writer.clone(),
        node: node.clone(),
        zone,
        open: Arc::clone(&open_store),
        wake: wake.clone(),
    })
    .map_err(system("starting to weigh"))?;
    let service = Service::new(
        control,
        node.clone(),
        zone,
        Arc::clone(&published),
        Arc::clone(&receiving),
        Arc::clone(&weighing),
        wake.clone(),
    );
    let mut follower = Follower::new(config, rules, growth, lookups, node.clone(), batches, watch)
        .spooling(&state_dir)
        .publishing(Arc::clone(&published))
        .weighing(Arc::clone(&weighing), scales);
    let (give_up, given_up) = mpsc::channel();
    let ended = std::thread::scope(|scope| {
        let answers = wake.clone();
        scope.spawn(move || {
            let store = store.as_mut();
            flusher::run(
                store,
                &mut writer,
                &node,
                &take_batches,
                &answers,
                &given_up,
                &published,
            );
        });
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let following = scope.spawn(move || {
            let result = follower.run(&messages);
            // With the follower go the channel of batches and the hope for an answer: the flusher ends.
            drop((follower, give_up));
            let _ = ended.send(());
            result
        });
        drop(wake);
        let service = Arc::new(service);
        runtime.block_on(Arc::clone(&service).run(signals, has_ended));
        weighing.stop();
        // Also where the follower has ended by itself.
        receiving.stop();
        let result = following.join().unwrap_or(Err(Ended::NoStore));
        match service.ended_thread() {
            Some(name) if result.is_ok() => Err(Ended::NoThread(name.to_owned()).into()),
            _ => result.map_err(DaemonError::from),
        }
    });
    // The socket goes before the lock: what lies there afterwards may be another daemon's.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The signals that concern us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// One daemon a node and store; the lock goes with the process, however it ends.
fn lock(path: &Path, node: &str) -> Result<std::fs::File, DaemonError> {
    let failed = |cause| DaemonError::System {
        doing: format!("locking {}", path.display()),
        cause,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(DaemonError::Running {
            node: node.to_owned(),
            lock: path.display().to_string(),
        }),
        Err(std::fs::TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Files can be held open: as many as the system grants, which is returned.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!("the limit of open files stays as it is: {error}");
            before.unwrap_or(u64::MAX)
        }
    }
}

/// How many log files are held open: three quarters of the open files that the system grants, or as
/// many as the operator said.
fn max_held_files(limit: u64, wanted: Option<u64>) -> u64 {
    const DEFAULT: u64 = 100_000;
    let granted = limit / 4 * 3;
    if let Some(wanted) = wanted.filter(|wanted| *wanted > granted) {
        tracing::warn!(
            "max_held_files is {wanted}, and {granted} is what the limit of {limit} open files leaves; raise LimitNOFILE"
        );
    }
    wanted.unwrap_or(DEFAULT).min(granted).max(1)
}
