//! The threads that tell the web servers, one for each gate: one that hangs keeps no other waiting.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::daemon::clock;
use crate::daemon::threads::Threads;
use crate::enforce::Hosts;
use crate::excerpt::printable;
use crate::publish::{Applied, Gate};
use crate::quota::verdict::Verdicts;

/// Of what a server cannot be told, so much is shown.
const MAX_REFUSED: usize = 20;
/// Without a change, and without a gate that asks for it, nobody looks.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Tells the gates.
#[derive(Debug)]
pub struct Gatekeeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    verdicts: Arc<Verdicts>,
    hosts: Arc<Hosts>,
    /// Another one whenever one of those is.
    version: u64,
    /// Threads of another generation end.
    generation: u64,
    /// By gate.
    reports: Vec<GateReport>,
    /// Of this generation.
    threads: Threads,
}

/// How a gate is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateReport {
    /// The server, and where.
    pub name: String,
    /// Flags and lines that stand there.
    pub standing: u64,
    /// When it was last changed, in seconds since 1970.
    pub changed: Option<i64>,
    /// How many subjects the server cannot be told of, and the first of them with the reasons.
    pub refused: (u64, Vec<String>),
    /// What failed last, and since when.
    pub failed: Option<(String, i64)>,
}

impl Gatekeeper {
    /// Without gates.
    pub(super) fn new(hosts: Hosts) -> Self {
        let state = State {
            verdicts: Arc::new(Verdicts::default()),
            hosts: Arc::new(hosts),
            version: 0,
            generation: 0,
            reports: Vec::new(),
            threads: Threads::default(),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// These gates instead of those so far.
    pub(super) fn replace(&self, gates: Vec<Box<dyn Gate>>) -> std::io::Result<()> {
        let generation = {
            let mut state = self.shared.state();
            state.generation += 1;
            state.reports = gates
                .iter()
                .map(|gate| GateReport {
                    name: gate.name().to_owned(),
                    ..GateReport::default()
                })
                .collect();
            state.threads = Threads::default();
            state.generation
        };
        self.shared.changed.notify_all();
        for (index, gate) in gates.into_iter().enumerate() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name("gate".to_owned())
                .spawn(move || shared.keep(gate, index, generation))?;
            self.shared.state().threads.add(thread);
        }
        Ok(())
    }

    /// Other verdicts.
    pub(super) fn tell(&self, verdicts: Verdicts) {
        let mut state = self.shared.state();
        state.verdicts = Arc::new(verdicts);
        state.version += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Other names of sites.
    pub(super) fn hosts(&self, hosts: Hosts) {
        let mut state = self.shared.state();
        if *state.hosts == hosts {
            return;
        }
        state.hosts = Arc::new(hosts);
        state.version += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        self.shared.state().generation += 1;
        self.shared.changed.notify_all();
    }

    /// The name of a thread that has ended, which none does before [`Self::stop`].
    pub(super) fn ended_thread(&self) -> Option<String> {
        self.shared.state().threads.ended()
    }

    /// How the gates are.
    pub(super) fn reports(&self) -> Vec<GateReport> {
        self.shared.state().reports.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one gate until others take its place.
    fn keep(&self, mut gate: Box<dyn Gate>, index: usize, generation: u64) {
        let mut seen = 0;
        let mut again: Option<Instant> = None;
        let mut applied_last: Option<(Arc<Verdicts>, Arc<Hosts>)> = None;
        loop {
            let (verdicts, hosts) = {
                let mut state = self.state();
                loop {
                    if state.generation != generation {
                        return;
                    }
                    let now = Instant::now();
                    // Before the first verdicts there is nothing to tell.
                    let is_due = again.is_some_and(|at| at <= now) && state.version > 0;
                    if state.version != seen || is_due {
                        seen = state.version;
                        break (Arc::clone(&state.verdicts), Arc::clone(&state.hosts));
                    }
                    let wait = again.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(now));
                    let waited = self.changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            };
            let now = Instant::now();
            let applied = match &applied_last {
                Some((old, same)) if Arc::ptr_eq(same, &hosts) => {
                    match Arc::ptr_eq(old, &verdicts) {
                        true => gate.look_after(&verdicts, &hosts, now),
                        false => gate.apply_news(old, &verdicts, &hosts, now),
                    }
                }
                _ => gate.apply(&verdicts, &hosts, now),
            };
            applied_last = Some((verdicts, hosts));
            again = applied.again;
            let mut state = self.state();
            if state.generation != generation {
                return;
            }
            if let Some(report) = state.reports.get_mut(index) {
                report.note(&applied);
            }
        }
    }
}

impl GateReport {
    fn note(&mut self, applied: &Applied) {
        self.standing = applied.standing;
        if applied.changed > 0 {
            self.changed = Some(clock());
        }
        let refused: Vec<String> = applied
            .refused
            .iter()
            .take(MAX_REFUSED)
            .map(|refused| {
                format!(
                    "{}: {}",
                    printable(&refused.subject.described()),
                    refused.why
                )
            })
            .collect();
        if refused != self.refused.1 {
            for refused in &refused {
                tracing::warn!(
                    gate = self.name,
                    "{}: cannot be told of {refused}",
                    self.name
                );
            }
        }
        self.refused = (applied.refused.len() as u64, refused);
        match (&applied.failed, &mut self.failed) {
            (None, None) => {}
            (None, failed @ Some(_)) => {
                *failed = None;
                tracing::info!(gate = self.name, "{}: is told again", self.name);
            }
            (Some(what), Some((said, _))) if what == said => {}
            (Some(what), failed) => {
                let since = failed.as_ref().map_or_else(clock, |(_, since)| *since);
                tracing::error!(gate = self.name, "{}: {}", self.name, printable(what));
                *failed = Some((what.clone(), since));
            }
        }
    }
}
