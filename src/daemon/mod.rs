//! Follows files until told to stop: order, threads, signals.
//!
//! ```text
//! notify ──────┐ wakes                 ┌── batches ──> flusher (owns the store)
//! signals ─────┴──> follower (files, lines, ledger) <── how each was settled
//! ```
//!
//! Whatever ends the process, and whenever, the store says how far each file is accounted for: the
//! next start goes on from there.

use std::path::Path;
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono_tz::Tz;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::account::Rules;
use crate::account::class::Classes;
use crate::account::fold::Folding;
use crate::account::growth::Growth;
use crate::config::{Config, ConfigError, VhostRules};
use crate::store::{Role, Store, StoreError};

pub mod flusher;
pub mod follower;
pub mod message;
mod start;
pub mod tracked;
pub mod watch;

use follower::{Ended, Follower};
use message::Message;
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
pub struct Names {
    /// Which site a name is billed to.
    pub folding: Folding,
    /// Names that the operator knows.
    pub known: Vec<String>,
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
    let folding = Folding::new(rules.known, rules.aliases, rules.fold_www);
    Ok(Names { folding, known })
}

/// The rules that a config makes, for a zone's days.
#[must_use]
pub fn rules(config: &Config, names: &Names, zone: Tz) -> Rules {
    Rules {
        zone,
        folding: names.folding.clone(),
        classes: Classes::new(&config.classes),
    }
}

/// The caps of a config, over what a store knows.
///
/// # Errors
/// When the store does not answer.
pub fn growth(config: &Config, names: &Names, store: &mut dyn Store) -> Result<Growth, StoreError> {
    let stored = store.known_names(Growth::since(clock()))?;
    let VhostRules {
        max_new_vhosts_per_day,
        max_new_users_per_day,
        ..
    } = config.vhosts;
    let known = names.known.iter().cloned();
    Ok(Growth::new(
        stored,
        known,
        max_new_vhosts_per_day,
        max_new_users_per_day,
    ))
}

/// Seconds since 1970.
#[must_use]
pub fn clock() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed())
}

/// Runs until SIGTERM or SIGINT. `lock_path` is where one daemon keeps out another; `open` opens the store; it is called twice, once for each thread.
///
/// # Errors
/// See [`DaemonError`].
pub fn run(
    config: Config,
    node: String,
    lock_path: &Path,
    open: &dyn Fn() -> Result<Box<dyn Store>, StoreError>,
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
    let ends = [&mut signals.terminate, &mut signals.interrupt];
    let begun = start::once_there(&runtime, ends, || {
        let (mut store, mut lookups) = (open()?, open()?);
        let growth = growth(&config, &names, lookups.as_mut())?;
        let writer = store.register(&node, Role::Daemon, clock())?;
        Ok((store, lookups, growth, writer))
    })?;
    let Some((mut store, lookups, growth, mut writer)) = begun else {
        return Ok(());
    };
    let rules = rules(&config, &names, store.zone());
    raise_file_limit();

    let (wake, messages) = mpsc::channel();
    let (batches, take_batches) = mpsc::sync_channel(1);
    let watch = Watch::new(wake.clone());
    let mut follower = Follower::new(config, rules, growth, lookups, node.clone(), batches, watch);
    let (give_up, given_up) = mpsc::channel();
    std::thread::scope(|scope| {
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
        if runtime.block_on(signals.wait(has_ended)) {
            let _ = wake.send(Message::Stop);
        }
        let result = following.join().unwrap_or(Err(Ended::NoStore));
        result.map_err(DaemonError::from)
    })
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

    /// `true`: a signal to stop came; `false`: the follower has ended.
    async fn wait(mut self, ended: tokio::sync::oneshot::Receiver<()>) -> bool {
        tokio::pin!(ended);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return true,
                _ = self.interrupt.recv() => return true,
                _ = &mut ended => return false,
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP: this version reads its config at the start alone; restart it for a new one");
                }
            }
        }
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

/// Followed files are held open: as many as the system grants.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}
