//! Usage against quotas while the daemon runs: who weighs, who asks the store, who tells the servers.
//!
//! ```text
//! follower ── what lines spend, batches ──> weigher ── verdicts ──> gatekeeper, a thread a gate
//!                                            ^   └─── changes ──> clerk ──> hook
//!                      rows, rules, grants ──┘                     └─ a connection of its own
//! ```
//!
//! The weigher only computes: it waits for no store, no disk and no program, so that a gate closes as
//! soon as the lines are summed that spend its quota. A store that hangs keeps the clerk alone waiting,
//! and a server that hangs its own gate.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use chrono_tz::Tz;

use super::clock;
use super::message::Message;
use super::service::OpenStore;
use super::threads::Threads;
use crate::account::spent::Spent;
use crate::config::Config;
use crate::enforce::Hosts;
use crate::quota::engine::Engine;
use crate::quota::rule::Rules;
use crate::store::Writer;
use crate::usage::said::{AllTold, Said};

mod clerk;
mod gatekeeper;
mod hook;
mod weigher;

pub use clerk::{ClerkReport, Errand};
pub use gatekeeper::{GateReport, Gatekeeper};
pub use weigher::Weigh;

pub use clerk::weighed;
use clerk::{Clerk, Ways};

/// Messages to the weigher that may wait; then whoever sends waits.
const MAX_WAITING: usize = 1_024;

/// What was known when the daemon started.
pub struct Beginning {
    /// The tables of operators.
    pub said: Said,
    /// What was told before.
    pub told: AllTold,
    /// The rules that config and tables make.
    pub rules: Rules,
}

/// The follower's end: what it has summed, and what became of it.
#[derive(Debug)]
pub struct Scales {
    weigher: SyncSender<Weigh>,
    /// Batches of this process that are committed.
    committed: u64,
    /// All lines have been read once that were there when this process, or what it had summed, began.
    is_level: bool,
}

impl Scales {
    /// Lines were summed.
    pub fn spent(&self, spent: Vec<Spent>) {
        if !spent.is_empty() {
            self.tell(Weigh::Spent(spent));
        }
    }

    /// All that was told so far is in the batch that is handed over now.
    pub fn taken(&self) {
        self.tell(Weigh::Taken(self.committed + 1));
    }

    /// The batch on its way is committed.
    pub fn committed(&mut self) {
        self.committed += 1;
    }

    /// What is not committed is read again.
    pub fn start_over(&mut self) {
        self.tell(Weigh::StartOver(self.committed));
        if std::mem::take(&mut self.is_level) {
            self.tell(Weigh::Level(false));
        }
    }

    /// All that stands in the logs has been summed.
    pub fn level(&mut self) {
        if !std::mem::replace(&mut self.is_level, true) {
            self.tell(Weigh::Level(true));
        }
    }

    /// Whether that was told.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.is_level
    }

    fn tell(&self, what: Weigh) {
        // One that has ended has nobody to tell: the main thread sees it, and ends the daemon.
        let _ = self.weigher.send(what);
    }
}

/// The threads, and how to talk to them.
#[derive(Debug)]
pub struct Weighing {
    weigher: SyncSender<Weigh>,
    clerk: Sender<Errand>,
    gatekeeper: Arc<Gatekeeper>,
    report: Arc<std::sync::Mutex<ClerkReport>>,
    threads: Threads,
}

/// What [`start`] needs.
pub struct Start {
    /// The config in force.
    pub config: Arc<Config>,
    /// The names of sites.
    pub hosts: Hosts,
    /// What the store said.
    pub beginning: Beginning,
    /// This process in the store.
    pub writer: Writer,
    /// For messages and hooks.
    pub node: String,
    /// Whose days.
    pub zone: Tz,
    /// Opens the clerk's connection.
    pub open: OpenStore,
    /// To the follower.
    pub wake: Sender<Message>,
}

/// Starts the threads. They end with [`Weighing::stop`], or with the process.
///
/// # Errors
/// When the system has no threads for them.
pub fn start(start: Start) -> std::io::Result<(Arc<Weighing>, Scales)> {
    let (weigher, weighed) = sync_channel(MAX_WAITING);
    let (errands, errands_due): (Sender<Errand>, Receiver<Errand>) = channel();
    let gatekeeper = Arc::new(Gatekeeper::new(start.hosts));
    let Beginning { said, told, rules } = start.beginning;
    gatekeeper.replace(crate::publish::gates(&start.config.gates, &rules.classes))?;
    let now = clock();
    let mut engine = Engine::new(rules.clone(), told, start.zone, now);
    engine.set_overrides(said.overrides.clone(), now);
    let (tells, asks) = (Arc::clone(&gatekeeper), errands.clone());
    let mut threads = Threads::default();
    let thread = std::thread::Builder::new()
        .name("weigher".to_owned())
        .spawn(move || weigher::run(&mut engine, &weighed, &tells, &asks))?;
    threads.add(thread);
    let scales = Scales {
        weigher: weigher.clone(),
        committed: start.writer.seq,
        is_level: false,
    };
    let clerk = Clerk::new(
        start.open,
        start.writer,
        start.node,
        start.config,
        (said, rules),
        Ways {
            weigher: weigher.clone(),
            follower: start.wake,
            gatekeeper: Arc::clone(&gatekeeper),
        },
    );
    let report = clerk.report();
    let thread = std::thread::Builder::new()
        .name("clerk".to_owned())
        .spawn(move || clerk.run(&errands_due))?;
    threads.add(thread);
    let weighing = Weighing {
        weigher,
        clerk: errands,
        gatekeeper,
        report,
        threads,
    };
    Ok((Arc::new(weighing), scales))
}

impl Weighing {
    /// Another config is in force, or its side files have changed.
    pub fn reload(&self, config: &Config, hosts: Hosts) {
        self.gatekeeper.hosts(hosts);
        match config.with_side_files() {
            Ok(config) => drop(self.clerk.send(Errand::Config(Arc::new(config)))),
            // It could be read a moment ago.
            Err(error) => {
                tracing::error!("{error}\nthe quotas that were read before stay in force")
            }
        }
    }

    /// What the gates say.
    #[must_use]
    pub fn gates(&self) -> Vec<GateReport> {
        self.gatekeeper.reports()
    }

    /// What the clerk says.
    #[must_use]
    pub fn clerk(&self) -> ClerkReport {
        let report = self.report.lock();
        report
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// The name of a thread that has ended, which none does before [`Self::stop`].
    #[must_use]
    pub fn ended_thread(&self) -> Option<String> {
        self.threads
            .ended()
            .or_else(|| self.gatekeeper.ended_thread())
    }

    /// Ends the threads; what is on disk stays as it is.
    pub fn stop(&self) {
        let _ = self.weigher.send(Weigh::Stop);
        let _ = self.clerk.send(Errand::Stop);
        self.gatekeeper.stop();
    }
}
