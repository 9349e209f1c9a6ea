//! What reception has seen, as it can be asked for from any thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::{Snapshot, SourceCounts};
use super::listener::Listener;
use crate::config::SyslogSource;

/// What reception has seen, for whoever asks, from any thread.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    listeners: Vec<Arc<Listener>>,
    sources: Vec<(String, Arc<SourceCounts>)>,
}

impl Counters {
    /// How it is now. Listeners and sources that a reload took out are gone from it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counted = self.counted();
        let listeners = counted.listeners.iter();
        let sources = counted.sources.iter();
        Snapshot {
            listeners: listeners
                .map(|listener| listener.counts.snapshot(listener.listen.to_string()))
                .collect(),
            sources: sources
                .map(|(name, counts)| counts.snapshot(name))
                .collect(),
        }
    }

    /// The counts of a source, which begin anew where it is new.
    pub(super) fn source(&self, name: &str) -> Arc<SourceCounts> {
        let counted = self.counted();
        let mut sources = counted.sources.iter();
        let found = sources.find(|(other, _)| other == name);
        found
            .map(|(_, counts)| Arc::clone(counts))
            .unwrap_or_default()
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, these listeners and sources.
    pub(super) fn publish(&self, listeners: &[Arc<Listener>], sources: &[SyslogSource]) {
        let sources = sources
            .iter()
            .map(|source| (source.name.clone(), self.source(&source.name)))
            .collect();
        *self.counted() = Counted {
            listeners: listeners.to_vec(),
            sources,
        };
    }
}
