//! Reception of syslog, as long as the config has something to receive.
//!
//! It begins before the store is there and ends before the follower does: what arrives meanwhile
//! waits in the spools.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock;
use crate::config::SyslogSource;
use crate::source::syslog::{Counters, Inherited, Reception, ReceptionError, Snapshot};

/// What receives, if anything does.
pub(super) struct Receiving {
    state_dir: PathBuf,
    state: Mutex<State>,
    /// Apart from the rest: who asks how it is does not wait for a reload or a stop.
    counters: Mutex<Option<Arc<Counters>>>,
}

#[derive(Default)]
struct State {
    /// Sockets from systemd, until they are first needed.
    inherited: Inherited,
    reception: Option<Reception>,
    is_over: bool,
}

impl Receiving {
    pub(super) fn new(state_dir: PathBuf, inherited: Inherited) -> Self {
        let state = State {
            inherited,
            ..State::default()
        };
        Self {
            state_dir,
            state: Mutex::new(state),
            counters: Mutex::default(),
        }
    }

    /// Receives for these sources from now on, and for no others.
    ///
    /// # Errors
    /// What cannot be listened on. All goes on as it was then.
    pub(super) fn receive(&self, sources: &[SyslogSource]) -> Result<(), ReceptionError> {
        let mut state = self.state();
        if let Some(reception) = &mut state.reception {
            return reception.reload(sources);
        }
        if state.is_over || sources.is_empty() {
            return Ok(());
        }
        let inherited = std::mem::take(&mut state.inherited);
        let reception = Reception::start(sources, &self.state_dir, inherited, Arc::new(clock))?;
        *self.counters() = Some(reception.counters());
        state.reception = Some(reception);
        Ok(())
    }

    /// Takes what has arrived into the spools, and ends.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_over = true;
        if let Some(reception) = state.reception.take() {
            reception.stop();
        }
    }

    /// The name of a thread that has ended, which none does before [`Self::stop`]. Nothing is said during a
    /// reload: this does not wait.
    pub(super) fn ended_thread(&self) -> Option<String> {
        let state = self.state.try_lock().ok()?;
        state.reception.as_ref()?.ended_thread()
    }

    /// How it is; `None`: nothing has ever been received.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let counters = self.counters().clone();
        counters.map(|counters| counters.snapshot())
    }

    fn counters(&self) -> MutexGuard<'_, Option<Arc<Counters>>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
